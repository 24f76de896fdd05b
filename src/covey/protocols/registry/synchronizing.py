"""A strategy at work: it is asked at the right moments, and what it returns is said.

    RowsToTell ─▶ propagate ─────────────┐
    every sync_interval ─▶ init_sync ────┼─▶ Step(tells) ─▶ Requests, or WholeOwner … WholeRows … WholeKnown
    who comes ─▶ broadcast_local_data ───┤
    what arrives ─▶ TakeOperations, TakeRows; then handle_synchronization or handle_node_join_data

What a strategy does wrong is its own affair: what arrived has been applied before it is asked, and a step that raises
or makes no sense is left out and reported once. In its place the node does the least that keeps rows alike: what is
new goes to all, as Delta pushes it; a round tells one node at random everything that is known here, as Delta compares
with one; who comes is given our rows; and nothing is passed on. A strategy that cannot even begin is Delta from then
on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.rng import jittered
from covey.core.rows import TakeOperations, TakeRows
from covey.core.vocabulary import Emit
from covey.protocols.registry.strategies.checking import check_step, check_strategy
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.strategy import (
    AllRows,
    CrossNodeRequest,
    Data,
    HubView,
    Member,
    OurRows,
    Tell,
)
from covey.protocols.registry.vocabulary import StrategyFailed
from covey.wire.messages import registry as wire

Effect = Any
POUR_US = 10_000  # between two pieces of a telling. Guess
POUR_BYTES = 262_144  # of all tellings together in that time: 25 MB a second, and links wait for no more. Guess
TELLINGS_MAX = 64  # under way; more are lost, and the next round tells again. Guess
BYTES_AT_ONCE = 262_144  # of requests in one message
REASON_MAX = 200

_encoder = msgspec.msgpack.Encoder()


class WholeView(Protocol):
    """What a hub may ask the row machine about what it drives."""

    def telling(self, instance: bytes, relayed: bool, joins: bool, note: bytes) -> Iterator[tuple[Any, int]]:
        """All that is known here, in pieces with their sizes. `relayed`: others' owned rows, too."""
        ...


class Ways(Protocol):
    """What a strategy at work stands on: the ground of its hub."""

    hub: bytes
    now_us: int
    rng: Any

    def say(self, effect: Effect) -> None:
        """An effect."""
        ...

    def send(self, site: Site, message: Any, size: int = 128) -> None:
        """A message at the end of the turn."""
        ...

    def alarm(self, what: str, key: Any, at_us: int) -> None:
        """Have something happen then."""
        ...

    def members(self) -> tuple[Member, ...]:
        """The others who hold the rows, in order."""
        ...

    def myself(self) -> Member:
        """This node."""
        ...


class Synchronizing:
    """One hub's strategy.

    Law: whatever a strategy returns or raises, what arrives is applied and this node goes on.
    Invariants: tellings under way are bounded; with Delta nothing waits to be told.
    """

    def __init__(self, ways: Ways, whole: WholeView, strategy: Any) -> None:
        self._ways = ways
        self._whole = whole
        self.strategy = strategy
        self._interval: float | None = None  # what it said as it began: it may be anybody's, and say no more
        self._joiners: dict[Site, None] = {}
        self._requests: list[CrossNodeRequest] = []
        self._tellings: list[tuple[tuple[Site, ...], Iterator[tuple[Any, int]]]] = []
        self._failed: dict[tuple[str, str], None] = {}
        self.counts = dict.fromkeys(("told", "lost", "failed"), 0)

    @property
    def driven(self) -> bool:
        """Whether it decides what travels; else the row machine does."""
        return self._interval is not None

    @property
    def is_busy(self) -> bool:
        """Whether something is to be done at the end of the turn."""
        return bool(self._joiners or self._requests)

    def check(self) -> None:
        """Every invariant."""
        invariant(len(self._tellings) <= TELLINGS_MAX, "tellings are bounded")
        invariant(self.driven or not self._requests, "with Delta nothing waits to be told")

    # --- what happens -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """The hub is opened here: who holds it already is new to us, as we are to it."""
        try:
            strategy = self.strategy.init(self._view())
            self._interval = check_strategy(strategy, "it begins as")
            self.strategy = strategy
        except Exception as error:
            self._report("init", error)
            self.strategy, self._interval = Delta(), None
        for site in self._nodes():
            self.joined(site)
        self._again()

    def _again(self) -> None:
        if self._interval is not None:
            period_us = int(self._interval * 1_000_000)
            self._ways.alarm("sync", None, self._ways.now_us + jittered(self._ways.rng, period_us))

    def joined(self, site: Site) -> None:
        """Somebody holds the rows of this hub who did not, or was held for down."""
        self._joiners[site] = None

    def gather(self, operations: tuple[CrossNodeRequest, ...]) -> None:
        """This was done here, and is to be told."""
        self._requests += operations

    def on_turn_ended(self) -> None:
        """What was done in this turn, and who came."""
        requests, self._requests = self._requests, []
        joiners, self._joiners = self._joiners, {}
        nodes = self._nodes()
        while requests and nodes:
            some, requests = _some(requests)
            self._step("propagate", lambda some=some: [Tell(nodes, some)], some, nodes)  # type: ignore[misc]
        targets = tuple(site for site in nodes if site in joiners)
        if targets:
            self._step("broadcast_local_data", lambda: [Tell(targets, OurRows())], OurRows(), targets)

    def on_interval(self) -> None:
        """Another round of repair."""
        self._again()
        nodes = self._nodes()
        if nodes:
            self._step("init_sync", lambda: [Tell((self._ways.rng.choice(nodes),), AllRows())], nodes)

    def on_message(self, peer: Site, message: Any) -> None:
        """Somebody's strategy told us something: apply it, and then ask ours."""
        if isinstance(message, wire.Requests):
            self.take(peer, Data(message.requests, False, message.note), False)
            return
        self._ways.say(TakeRows(self._ways.hub, peer, message))
        if isinstance(message, wire.WholeKnown) and message.last:
            self.take(peer, Data((), True, message.note), message.joins)

    def take(self, peer: Site, data: Data, joins: bool) -> None:
        """All of it is here, or on its way to the row machine; whoever sent it is a member, or nothing follows."""
        if data.requests:
            self._ways.say(TakeOperations(self._ways.hub, peer, data.requests))
        if peer in self._nodes():
            self._step("handle_node_join_data" if joins else "handle_synchronization", list, data, peer)

    def run(self, function: str, *arguments: Any) -> None:
        """Call one of the functions by hand."""
        if function in ("handle_synchronization", "handle_node_join_data"):
            data, sender = arguments
            self.take(sender, data, function == "handle_node_join_data")
        else:
            self._step(function, list, *arguments)

    # --- what it returns --------------------------------------------------------------------------------------------

    def _step(self, function: str, instead: Callable[[], list[Tell]], *arguments: Any) -> None:
        try:
            step = getattr(self.strategy, function)(self._view(), *arguments)
            check_step(step, self._ways.hub, dict.fromkeys(self._nodes()), self._interval)
            tells = list(step.tells)
            if step.strategy is not None:
                self.strategy = step.strategy
        except Exception as error:
            self._report(function, error)
            tells = instead()
        for tell in tells:
            self._say(tell, function in ("broadcast_local_data", "handle_node_join_data"))

    def _say(self, tell: Tell, joins: bool) -> None:
        if not tell.to:
            return
        if not isinstance(tell.what, tuple):
            self._begin(tell, joins)
            return
        requests = list(tell.what)
        while True:
            some, requests = _some(requests)
            size = len(tell.note) + sum(map(_size, some))
            message = wire.Requests(self._ways.hub, tell.note, some)
            for site in dict.fromkeys(tell.to):
                self._ways.send(site, message, size)
                self.counts["told"] += 1
            if not requests:
                return

    def _report(self, function: str, error: Exception) -> None:
        """Once for each function and kind of error."""
        self.counts["failed"] += 1
        key = function, type(error).__name__
        if key not in self._failed:
            self._failed[key] = None
            self._ways.say(Emit(StrategyFailed(self._ways.hub, function, _reason(error))))

    # --- all rows ---------------------------------------------------------------------------------------------------

    def _begin(self, tell: Tell, joins: bool) -> None:
        """Tell all rows: some now, the rest some each 10 ms."""
        if len(self._tellings) >= TELLINGS_MAX:
            self.counts["lost"] += 1
            return
        relayed = isinstance(tell.what, AllRows)
        pieces = self._whole.telling(self._ways.hub, relayed, joins, tell.note)
        self._tellings.append((tuple(dict.fromkeys(tell.to)), pieces))
        self._ways.alarm("pour", None, self._ways.now_us)

    def pour(self) -> None:
        """Some more pieces."""
        left = POUR_BYTES
        while self._tellings and left > 0:
            to, pieces = self._tellings.pop(0)
            piece, size = next(pieces, (None, 0))
            if piece is None:
                continue
            for site in to:
                self._ways.send(site, piece, size)
                self.counts["told"] += 1
            left -= max(size, 1) * len(to)
            self._tellings.append((to, pieces))
        if self._tellings:
            self._ways.alarm("pour", None, self._ways.now_us + POUR_US)

    # --- the view ---------------------------------------------------------------------------------------------------

    def _view(self) -> HubView:
        ways = self._ways
        return HubView(ways.hub, ways.myself(), ways.members(), ways.now_us, ways.rng)

    def _nodes(self) -> tuple[Site, ...]:
        return tuple(member.site for member in self._ways.members())


def _size(request: CrossNodeRequest) -> int:
    return len(_encoder.encode(request))


def _some(requests: list[CrossNodeRequest]) -> tuple[tuple[CrossNodeRequest, ...], list[CrossNodeRequest]]:
    """As many as one message has room for, one at least; and the rest."""
    size = 0
    for at, request in enumerate(requests):
        size += _size(request)
        if at and (size > BYTES_AT_ONCE or at >= wire.REQUESTS_MAX):
            return tuple(requests[:at]), requests[at:]
    return tuple(requests), []


def _reason(error: Exception) -> str:
    """What it says, if it can."""
    try:
        return f"{type(error).__name__}: {error}"[:REASON_MAX]
    except Exception:
        return type(error).__name__[:REASON_MAX]
