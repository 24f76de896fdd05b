"""Strategies without a network: nodes that hand each other what a strategy wants told, in a random order.

Rows are counted, not carried: `knows` has for each node whose rows it has been given, which is all that a strategy can
get wrong. Requests are one operation of whoever did it.
"""

from __future__ import annotations

from random import Random
from typing import Any

from covey.core.ids import Site
from covey.protocols.registry.strategies.strategy import (
    AllRows,
    CrossNodeRequest,
    Data,
    HubView,
    Member,
    OurRows,
    Step,
    Told,
)
from covey.wire.messages.rows import OwnedOps

SECOND = 1_000_000


def site(number: int) -> Site:
    return Site(bytes([number]) * 16)


class Play:
    """So many nodes with one strategy. `blackholed` members are listed, and get nothing."""

    def __init__(self, strategy: Any, count: int, seed: int = 0, blackholed: tuple[int, ...] = ()) -> None:
        self.rng = Random(seed)
        self.now_us = 0
        self.members = [Member(site(number), f"n{number:03}") for number in range(count)]
        self.blackholed = tuple(site(number) for number in blackholed)
        self.nodes: dict[Site, Any] = {}
        self.knows: dict[Site, set[Site]] = {one.site: {one.site} for one in self.members}
        self.heard: dict[Site, list[CrossNodeRequest]] = {one.site: [] for one in self.members}
        self.on_the_way: list[tuple[Site, Site, Told, bytes, frozenset[Site], bool]] = []
        self.messages = 0
        self.copies = 0  # messages with all rows of somebody
        for one in self.members:
            self.nodes[one.site] = strategy.init(self.view(one.site))

    def view(self, me: Site) -> HubView:
        others = tuple(one for one in self.members if one.site != me)
        mine = next(one for one in self.members if one.site == me)
        return HubView(b"hub:h", mine, others, self.now_us, self.rng)

    def others(self, me: Site) -> tuple[Site, ...]:
        return tuple(one.site for one in self.members if one.site != me)

    def do(self, me: Site, function: str, *arguments: Any) -> None:
        """Call one function at one node, and send what it returns."""
        step = getattr(self.nodes[me], function)(self.view(me), *arguments)
        assert type(step) is Step
        if step.strategy is not None:
            self.nodes[me] = step.strategy
        for tell in step.tells:
            assert me not in tell.to
            for to in tell.to:
                self.messages += 1
                rows = frozenset(self.knows[me]) if isinstance(tell.what, AllRows) else frozenset((me,))
                self.copies += isinstance(tell.what, (OurRows, AllRows))
                joins = function == "broadcast_local_data"
                if to not in self.blackholed and me not in self.blackholed:
                    self.on_the_way.append((me, to, tell.what, tell.note, rows, joins))

    def settle(self) -> None:
        """Deliver everything, in any order, until nothing is said any more."""
        while self.on_the_way:
            at = self.rng.randrange(len(self.on_the_way))
            sender, to, what, note, rows, joins = self.on_the_way.pop(at)
            if isinstance(what, tuple):
                self.heard[to] += what
                data = Data(what, False, note)
            else:
                self.knows[to] |= rows
                data = Data((), True, note)
            self.do(to, "handle_node_join_data" if joins else "handle_synchronization", data, sender)

    def tick(self) -> None:
        """Every node's interval is over, in any order."""
        self.now_us += SECOND
        for one in self.rng.sample(self.members, len(self.members)):
            self.do(one.site, "init_sync", self.others(one.site))
            self.settle()

    def event(self, me: Site) -> CrossNodeRequest:
        """Something is done at one node."""
        request = OwnedOps(b"hub:h", me, 1, 1, ((b"k", b"v"),), False)
        self.do(me, "propagate", (request,), self.others(me))
        return request

    def lacking(self) -> list[tuple[Site, Site]]:
        """Who has not been given whose rows, of those that can be reached."""
        well = [one.site for one in self.members if one.site not in self.blackholed]
        return [(one, other) for one in well for other in well if other not in self.knows[one]]
