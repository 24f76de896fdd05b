"""Mailboxes that come and go, lives that end: the views are a plain count of joins, and mail keeps its laws."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from covey.core.errors import PeerUnreachable
from covey.core.ids import Site
from covey.protocols.groups import vocabulary as g
from tests.protocols.groups.groups_net import G, H, Net, S

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove

NODES = 3
WHICH = st.integers(0, NODES - 1)
GROUPS = st.sampled_from([G, H])
Key = tuple[Site, int, int]


class Grouping(RuleBasedStateMachine):
    """The oracle: what every open mailbox joined, and for each pair of mailboxes the numbers of what arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net(NODES)
        self.open: list[dict[int, Counter]] = [{} for _ in range(NODES)]  # mailboxes of each node, and their joins
        self.meta: dict[tuple[int, int, bytes], bytes] = {}
        self.sent: dict[tuple[Key, Key], int] = {}  # letters between two mailboxes in two lives
        self.seen = [0] * NODES
        self.heard: dict[tuple[Key, Key], int] = {}
        self.request = 0

    def key(self, node: int, mailbox: int) -> Key:
        member = self.net.members[node]
        return member.site, member.incarnation, mailbox

    def some(self, data, node: int) -> int | None:
        return data.draw(st.sampled_from(sorted(self.open[node]))) if self.open[node] else None

    @rule(node=WHICH)
    def open_mailbox(self, node):
        self.open[node][self.net.members[node].open()] = Counter()

    @rule(node=WHICH, group=GROUPS, meta=st.sampled_from([None, b"a", b"b"]), data=st.data())
    def join(self, node, group, meta, data):
        if (mailbox := self.some(data, node)) is not None:
            self.net.members[node].join(mailbox, group, meta)
            joined = self.open[node][mailbox][group]
            self.open[node][mailbox][group] += 1
            if meta is not None or not joined:
                self.meta[node, mailbox, group] = meta or b""

    @rule(node=WHICH, group=GROUPS, count=st.integers(1, 3), data=st.data())
    def leave(self, node, group, count, data):
        if (mailbox := self.some(data, node)) is not None:
            self.net.members[node].leave(mailbox, count, group)
            joins = self.open[node][mailbox]
            joins[group] = max(joins[group] - count, 0)

    @rule(node=WHICH, data=st.data())
    def close(self, node, data):
        if (mailbox := self.some(data, node)) is not None:
            self.net.members[node].feed(g.CloseMailbox(mailbox))
            del self.open[node][mailbox]

    @rule(node=WHICH)
    def start_again(self, node):
        self.net.restart(node)
        self.open[node] = {}
        self.seen[node] = 0

    @rule(node=WHICH)
    def begin_another_life(self, node):
        self.net.collect()
        self.net.new_life(node)

    @rule(source=WHICH, other=WHICH, times=st.integers(1, 3), data=st.data())
    def send(self, source, other, times, data):
        mailbox, to = self.some(data, source), self.some(data, other)
        if mailbox is None or to is None:
            return
        pair = self.key(source, mailbox), self.key(other, to)
        for _ in range(times):
            number = self.sent[pair] = self.sent.get(pair, 0) + 1
            self.net.members[source].send(mailbox, pair[1], msgspec.msgpack.encode(number))

    @rule(source=WHICH, other=WHICH, back=st.integers(1, 2), data=st.data())
    def send_to_a_life_that_is_over(self, source, other, back, data):
        mailbox = self.some(data, source)
        if mailbox is None or self.net.members[other].incarnation <= back:
            return
        self.request += 1
        site, incarnation, _ = self.key(other, 1)
        member = self.net.members[source]
        member.send(mailbox, (site, incarnation - back, 1), request=self.request)
        assert isinstance(member.outcomes.pop(self.request), PeerUnreachable)

    @rule(source=WHICH, other=WHICH, lose=st.booleans())
    def arrive(self, source, other, lose):
        if source != other:
            self.net.deliver(source, other, lose)

    @precondition(lambda self: any(self.net.mail.values()))
    @rule()
    def all_arrives(self):
        self.net.settle()
        assert not any(self.net.mail.values())

    @invariant()
    def every_view_is_the_count_of_joins(self):
        expected: dict[bytes, dict[g.Address, g.GroupEntry]] = {G: {}, H: {}}
        for node, mailboxes in enumerate(self.open):
            for mailbox, joins in mailboxes.items():
                for group, count in joins.items():
                    if count:
                        address = g.Address(*self.key(node, mailbox))
                        entry = g.GroupEntry(address, count, self.meta[node, mailbox, group])
                        expected[group][address] = entry
        for member in self.net.members:
            for group, view in expected.items():
                assert member.groups.view(S, group) == view
            assert sorted(member.groups.groups(S)) == [group for group, view in expected.items() if view]

    @invariant()
    def what_arrived_is_in_order_once_and_its_gaps_are_exact(self):
        for node, member in enumerate(self.net.members):
            for letter in member.letters[self.seen[node] :]:
                assert letter.mailbox in self.open[node], "nothing comes to a closed mailbox"
                a = letter.sender
                pair = (a.site, a.incarnation, a.mailbox), self.key(node, letter.mailbox)
                place = self.heard.get(pair, 0) + letter.lost + 1
                assert msgspec.msgpack.decode(letter.payload) == place <= self.sent[pair]
                self.heard[pair] = place
            self.seen[node] = len(member.letters)


TestGrouping = Grouping.TestCase
TestGrouping.settings = settings(stateful_step_count=40)
