"""`Direct` and `Links` together: what one hands over the other carries, and their bounds fit each other."""

from __future__ import annotations

from covey.core.vocabulary import (
    Channel,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    PeerLost,
    PeerUnreached,
    Refuse,
    Resolve,
)
from covey.protocols.direct.machine import Direct, DirectConfig, SendPayloads
from covey.protocols.links.vocabulary import ConnectionPaused, ConnectionResumed
from tests.protocols.direct.direct_words import value
from tests.protocols.links.links_harness import Net, Node

FACTS = (PeerConnected, PeerLost, PeerUnreached, PeerCongested, PeerDrained)


class Conversation:
    """Node a speaks to node b; b's notes are what arrived."""

    def __init__(self) -> None:
        self.net = Net()
        self.a, self.b = self.net.node("a", 1), self.net.node("b", 2)
        self.direct = Direct(DirectConfig(), self.a.site)
        self.outcomes: dict[int, bool] = {}
        self.told = 0
        carry_out = self.a._carry_out

        def carry_out_and_tell(effect) -> None:
            carry_out(effect)
            if isinstance(effect, FACTS):
                self.feed(effect)

        self.a._carry_out = carry_out_and_tell  # type: ignore[method-assign]

    def feed(self, incoming) -> None:
        effects = self.direct.handle(incoming, 0)
        self.direct.check()
        for effect in effects:
            match effect:
                case Resolve(request):
                    assert self.outcomes.setdefault(request, True), "one outcome"
                case Refuse(request, _):
                    assert not self.outcomes.setdefault(request, False), "one outcome"
                case _:
                    self.a.feed(effect)

    def send(self, request: int, *texts: str) -> None:
        self.feed(SendPayloads(request, self.b.site, self.b.address, tuple(map(value, texts))))

    def heard(self) -> list[str]:
        self.net.run()
        return self.b.heard(self.a)


def node_end(node: Node, other: Node) -> int:
    return node.end(other, Channel.DATA).number


def test_values_arrive_in_order_however_the_link_came_about():
    talk = Conversation()
    talk.send(1, "with the dial")
    talk.send(2, "behind it", "and this")
    talk.net.run()
    talk.send(3, "over the link")
    assert talk.heard() == ["with the dial", "behind it", "and this", "over the link"]
    assert talk.outcomes == {1: True, 2: True, 3: True}


def test_a_command_of_many_values_is_sent_whole_or_not_at_all_when_it_has_to_dial():
    """Refused means that none was sent. Two megabytes are less than may wait here, and more than may wait at a dial."""
    talk = Conversation()
    texts = [f"{index}" + "x" * 10_000 for index in range(200)]
    talk.send(1, *texts)
    heard = talk.heard()
    assert heard == (texts if talk.outcomes[1] else [])


def test_a_second_command_does_not_suffer_for_the_length_of_the_first():
    talk = Conversation()
    talk.send(1, "x" * 1_000_000)
    talk.send(2, *(["y" * 100_000] * 20))
    assert len(talk.heard()) == 21 and talk.outcomes == {1: True, 2: True}


def test_all_that_waited_for_a_slow_receiver_reaches_it():
    """More than the link's own queue holds: what was resolved must not be lost to a link dropped as slow."""
    talk = Conversation()
    talk.send(1, "first")
    talk.net.run()
    talk.a.feed(ConnectionPaused(node_end(talk.a, talk.b)))
    for request in range(2, 102):
        talk.send(request, "x" * 100_000)
    talk.a.feed(ConnectionResumed(node_end(talk.a, talk.b)))
    assert len(talk.heard()) == 101 and all(talk.outcomes.values()) and len(talk.outcomes) == 101


def test_a_receiver_that_never_reads_costs_its_values_and_nothing_else():
    talk = Conversation()
    talk.send(1, "first")
    talk.net.run()
    talk.a.feed(ConnectionPaused(node_end(talk.a, talk.b)))
    talk.send(2, "never read")
    talk.net.wait(talk.a.links._config.congested_us_max)
    assert talk.outcomes == {1: True, 2: False}
    talk.send(3, "again")
    assert talk.heard() == ["first", "again"] and talk.outcomes[3]
