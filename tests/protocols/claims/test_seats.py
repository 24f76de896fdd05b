"""Who sits for a voter's name: nobody votes before all have promised, and a promise is for ever."""

from __future__ import annotations

from random import Random
from typing import Any

from covey.api.members import encode_meta
from covey.core.claims import Elect
from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import (
    Channel,
    ClusterChanged,
    Emit,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    Persist,
    Send,
    Tick,
)
from covey.protocols.claims import seats as reasons
from covey.protocols.claims.config import ClaimsConfig
from covey.protocols.claims.electorate import electorate_of
from covey.protocols.claims.stored import read
from covey.protocols.claims.vocabulary import SeatEmpty
from covey.protocols.claims.voter import Voter
from covey.wire.messages.claims import PROMISED, SEATED, SEEN, Seats

HUB = b"hub"
NAMES = ("ann", "bob", "eve")
LIST = electorate_of(NAMES)
ANN, BOB, EVE, NEW = (Site(bytes([number]) * 16) for number in range(4))
SITES = (ANN, BOB, EVE)
CONFIG = ClaimsConfig()


class Node:
    """A voter, what it keeps, and what it said."""

    def __init__(self, site: Site, name: str, disk: dict[bytes, bytes] | None = None, durable: bool = True) -> None:
        self.site = site
        self.name = name
        self.disk = {} if disk is None else disk
        self.now_us = 0
        self.voter = Voter(CONFIG, Random(0), 0, me=Contact(site, 1, ""), durable=durable, stored=dict(self.disk))
        self.said: list[tuple[Site, Any]] = []
        self.events: list[SeatEmpty] = []

    def feed(self, incoming: Any) -> None:
        for effect in self.voter.handle(incoming, self.now_us):
            match effect:
                case Persist(_, records):
                    assert not self.said or len(records) == 1
                    self.disk.update({record.key: record.value for record in records if record.value is not None})
                case Send(to, message):
                    self.said.append((to, message))
                case Emit(event):
                    self.events.append(event)
                case _:
                    raise AssertionError(effect)
        self.voter.check()

    def meets(self, site: Site, name: str, ephemeral: bool = False) -> None:
        self.feed(MemberAdded(Contact(site, 1, f"{name}:1"), ephemeral, True, encode_meta(name, {})))

    def hears(self, peer: Site, sites: tuple[Site, ...], stage: int, digest: bytes = LIST.digest) -> None:
        self.feed(MessagesReceived(peer, (Seats(digest, sites, stage),)))

    def opens(self) -> None:
        self.feed(Elect(HUB, NAMES, self.name))

    def wait(self, duration_us: int) -> None:
        end_us = self.now_us + duration_us
        while (due_us := self.voter.deadline()) is not None and due_us <= end_us:
            self.now_us = due_us
            self.feed(Tick())
        self.now_us = end_us

    def promised(self) -> list[tuple[tuple[Site, ...], bool]]:
        return [(seating.sites, seating.seated) for seating in read(self.disk).seatings.values()]


def ann(**options: Any) -> Node:
    """Ann, who has opened the hub and met the others."""
    node = Node(ANN, "ann", **options)
    node.opens()
    node.meets(BOB, "bob")
    node.meets(EVE, "eve")
    return node


def deliver(*nodes: Node) -> None:
    """Everything that was said, until nobody says anything."""
    at = {node.site: node for node in nodes}
    for _ in range(50):
        said = [(node.site, *said) for node in nodes for said in node.said]
        for node in nodes:
            node.said.clear()
        if not said:
            return
        for source, to, message in said:
            if to in at:
                at[to].feed(MessagesReceived(source, (message,)))
    raise AssertionError("they never stop talking")


def three() -> list[Node]:
    nodes = [Node(site, name) for site, name in zip(SITES, NAMES, strict=True)]
    for node in nodes:
        node.opens()
        for other in nodes:
            if other is not node:
                node.meets(other.site, other.name)
    return nodes


def test_three_who_see_each_other_promise_and_sit_and_then_are_silent():
    nodes = three()
    deliver(*nodes)
    for node in nodes:
        assert node.voter.votes_for(HUB)
        assert node.promised() == [(SITES, True)]
        assert node.voter.deadline() is None
        node.wait(3_600_000_000)
        assert (node.said, node.events) == ([], [])


def test_nobody_votes_before_all_have_promised():
    node = ann()
    assert node.said == [(BOB, Seats(LIST.digest, SITES, SEEN)), (EVE, Seats(LIST.digest, SITES, SEEN))]
    node.hears(BOB, SITES, PROMISED)
    assert node.promised() == []
    node.hears(EVE, SITES, SEEN)
    assert node.promised() == [(SITES, False)]
    assert not node.voter.votes_for(HUB)
    node.hears(EVE, SITES, PROMISED)
    assert node.promised() == [(SITES, True)]
    assert node.voter.votes_for(HUB)


def test_a_promise_is_on_disk_before_anybody_hears_of_it():
    node = ann()
    node.hears(BOB, SITES, SEEN)
    effects = node.voter.handle(MessagesReceived(EVE, (Seats(LIST.digest, SITES, SEEN),)), 0)
    assert [type(effect) for effect in effects] == [Persist, Send, Send]


def test_whoever_restarts_goes_on_where_it_was():
    node = ann()
    node.hears(BOB, SITES, SEEN)
    node.hears(EVE, SITES, SEEN)
    again = Node(ANN, "ann", node.disk)
    again.opens()
    assert not again.voter.votes_for(HUB)
    again.meets(NEW, "bob")  # whoever it meets now
    again.hears(EVE, SITES, SEATED)
    assert again.voter.votes_for(HUB)
    third = Node(ANN, "ann", again.disk)
    third.opens()
    assert third.voter.votes_for(HUB)
    assert third.voter.deadline() is None


def test_a_promise_is_never_changed_and_a_name_that_lost_its_disk_has_no_vote():
    nodes = three()
    deliver(*nodes)
    ann, _, eve = nodes
    new = Node(NEW, "bob")
    for node in (ann, eve):
        node.feed(MemberRemoved(BOB, BOB))
        node.meets(NEW, "bob")
        assert node.events == [SeatEmpty("bob", (NEW,), reasons.TAKEN)]
    new.meets(ANN, "ann")
    new.meets(EVE, "eve")
    new.opens()
    deliver(ann, new, eve)
    new.wait(20_000_000)
    deliver(ann, new, eve)
    assert (new.voter.votes_for(HUB), new.promised()) == (False, [])
    assert new.events == [SeatEmpty("bob", (peer,), reasons.OTHERS) for peer in (ANN, EVE)]
    assert ann.voter.votes_for(HUB)
    assert eve.voter.votes_for(HUB)


def test_two_halves_that_never_met_do_not_both_vote_for_one_name():
    """Bob stands in the list of both, and is another machine for each: neither half has all three."""
    here = [Node(ANN, "ann"), Node(BOB, "bob")]
    there = [Node(NEW, "bob"), Node(EVE, "eve")]
    for half in (here, there):
        for node in half:
            node.opens()
            for other in half:
                if other is not node:
                    node.meets(other.site, other.name)
        deliver(*half)
    assert not any(node.voter.votes_for(HUB) for node in here + there)


def test_two_durable_nodes_of_one_name_have_no_vote_until_one_is_thrown_out():
    node = ann()
    node.meets(NEW, "eve")
    node.hears(BOB, SITES, SEEN)
    node.hears(EVE, SITES, SEEN)
    assert node.promised() == []
    node.wait(CONFIG.seats_patience_us * 2)
    assert node.events == [SeatEmpty("eve", (EVE, NEW), reasons.SEVERAL)]
    node.feed(MemberRemoved(NEW, ANN))
    assert node.promised() == [(SITES, False)]


def test_what_another_has_promised_us_settles_who_of_two_is_meant():
    node = ann()
    node.meets(NEW, "eve")
    node.hears(BOB, SITES, SEEN)
    node.hears(EVE, SITES, PROMISED)
    assert node.promised() == [(SITES, False)]


def test_who_is_not_there_is_named_after_a_while_and_who_has_no_storage_never_votes():
    node = Node(ANN, "ann")
    node.opens()
    node.meets(BOB, "bob")
    node.meets(EVE, "eve", ephemeral=True)
    node.wait(CONFIG.seats_patience_us - 1)
    assert node.events == []
    node.wait(CONFIG.seats_patience_us * 10)
    assert (node.events, node.said) == ([SeatEmpty("eve", (), reasons.MISSING)], [])
    guest = ann(durable=False)
    guest.hears(BOB, SITES, SEATED)
    guest.hears(EVE, SITES, SEATED)
    assert (guest.voter.votes_for(HUB), guest.said) == (False, [])
    guest.wait(CONFIG.seats_patience_us * 2)
    assert guest.events == [SeatEmpty("ann", (), reasons.NO_STORAGE)]


def test_they_say_it_again_more_and_more_rarely_and_answer_who_begins_anew():
    node = ann()
    node.said.clear()
    node.wait(CONFIG.seats_period_us)
    assert [to for to, _ in node.said] == [BOB, EVE]
    node.wait(3_600_000_000)
    assert len(node.said) < 2 * 3_600 / 30
    node.said.clear()
    node.hears(BOB, SITES, SEEN)
    node.hears(BOB, SITES, SEEN)
    assert node.said == [(BOB, Seats(LIST.digest, SITES, SEEN))]
    node.feed(PeerConnected(Contact(BOB, 2, ""), Channel.CONTROL))
    node.hears(BOB, SITES, SEEN)
    assert len(node.said) == 2


def test_a_disk_from_before_the_promise_learns_it_from_the_others():
    node = ann()
    node.hears(EVE, SITES, SEATED)
    assert node.promised() == [(SITES, True)]
    node.hears(BOB, SITES, SEEN)
    assert node.said[-1] == (BOB, Seats(LIST.digest, SITES, SEATED))


def test_nonsense_and_strangers_change_nothing():
    node = ann()
    node.said.clear()
    node.hears(NEW, SITES, SEATED)
    node.hears(BOB, SITES[:2], SEATED)
    node.hears(BOB, (BOB, BOB, EVE), SEATED)
    node.hears(BOB, SITES, SEATED, bytes(8))
    node.hears(BOB, (NEW, BOB, EVE), SEATED)  # not beside us
    assert node.promised() == []
    for number in range(10, 100):
        site = Site(bytes([number]) * 16)
        node.hears(site, (ANN, BOB, site), SEEN)
    node.hears(BOB, SITES, SEEN)
    assert node.promised() == []


def test_another_cluster_is_met_anew():
    node = ann()
    node.feed(ClusterChanged(ClusterId(bytes(16)), 2, False))
    node.hears(BOB, SITES, SEEN)
    node.hears(EVE, SITES, SEEN)
    assert node.promised() == []
    node.meets(BOB, "bob")
    node.meets(EVE, "eve")
    assert node.promised() == [(SITES, False)]
