"""A strategy at work on the ground of no hub, and one that does what a test says."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from covey.core.ids import Site
from covey.core.vocabulary import Emit
from covey.protocols.registry.strategies.pubsub import PubSub
from covey.protocols.registry.strategies.strategy import HubView, Member, Step
from covey.protocols.registry.synchronizing import Synchronizing
from covey.wire.messages.registry import WholeKnown, WholeOwner
from covey.wire.messages.rows import OwnedOps
from tests.protocols.registry.strategies.strategies_play import site

H = b"hub:h"
A, B, C, STRANGER = site(0), site(1), site(2), site(9)
REQUEST = OwnedOps(H, A, 1, 1, ((b"k", b"v"),), False)


class Ways:
    """The ground of a hub, as far as a strategy needs one."""

    def __init__(self) -> None:
        self.hub = H
        self.now_us = 0
        self.rng = Random(1)
        self.others: tuple[Member, ...] = (Member(B, "b"), Member(C, "c"))
        self.said: list[Any] = []
        self.sent: list[tuple[Site, Any]] = []
        self.alarms: dict[str, int] = {}

    def say(self, effect: Any) -> None:
        self.said.append(effect)

    def send(self, site: Site, message: Any, size: int = 128) -> None:
        self.sent.append((site, message))

    def alarm(self, what: str, key: Any, at_us: int) -> None:
        self.alarms[what] = at_us

    def members(self) -> tuple[Member, ...]:
        return self.others

    def myself(self) -> Member:
        return Member(A, "a")

    @property
    def events(self) -> list[Any]:
        return [effect.event for effect in self.said if type(effect) is Emit]


class Whole:
    """What a row machine would tell: so many pieces of so many bytes."""

    pieces, size = 3, 100

    def __init__(self) -> None:
        self.asked: list[tuple[bool, bool, bytes]] = []

    def telling(self, instance: bytes, relayed: bool, joins: bool, note: bytes) -> Iterator[tuple[Any, int]]:
        self.asked.append((relayed, joins, note))
        for _ in range(self.pieces - 1):
            yield WholeOwner(instance, A, 1, 1, None, (), True), self.size
        yield WholeKnown(instance, 1, 0, (), True, joins=joins, note=note), self.size


class Scripted(PubSub):
    """Does what it is told, or raises it, and remembers how it was called."""

    __slots__ = ("called", "does")

    def __init__(self, **does: Any) -> None:
        super().__init__(1.0)
        self.does = does
        self.called: list[tuple[Any, ...]] = []

    def _step(self, function: str, *arguments: Any) -> Any:
        self.called.append((function, *arguments))
        what = self.does.get(function, Step())
        if isinstance(what, Exception):
            raise what
        return what

    def init_sync(self, hub: HubView, nodes: Any) -> Step:
        return self._step("init_sync", nodes)

    def propagate(self, hub: HubView, requests: Any, nodes: Any) -> Step:
        return self._step("propagate", requests, nodes)

    def broadcast_local_data(self, hub: HubView, local_data: Any, targets: Any) -> Step:
        return self._step("broadcast_local_data", local_data, targets)

    def handle_synchronization(self, hub: HubView, data: Any, sender: Any) -> Step:
        return self._step("handle_synchronization", data, sender)

    def handle_node_join_data(self, hub: HubView, data: Any, sender: Any) -> Step:
        return self._step("handle_node_join_data", data, sender)


def at_work(strategy: Any) -> tuple[Ways, Whole, Synchronizing]:
    """A strategy that has begun, and was told of who is there."""
    ways, whole = Ways(), Whole()
    one = Synchronizing(ways, whole, strategy)
    one.open()
    one.on_turn_ended()
    whole.asked.clear()
    one.check()
    return ways, whole, one
