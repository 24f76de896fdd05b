"""The runner: one node in the real world. It carries out effects without waiting and brings facts in.

Everything happens on one thread, the event loop's. `feed` is the only way in, and is refused from any other thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from covey.core.errors import ClosedError, CoveyError, UsageError
from covey.core.ids import Contact, Site
from covey.core.vocabulary import (
    AddressLearned,
    Emit,
    LoopLagged,
    Refuse,
    Resolve,
    Stop,
    Tick,
    TurnEnded,
    WallOffset,
    WantTurn,
)
from covey.engine.engine import Engine
from covey.engine.gate import Gate, Store
from covey.engine.pump import Observer, Pump
from covey.protocols.links.vocabulary import CloseConnection, CloseLinks, OpenConnection, Write
from covey.protocols.overlay.vocabulary import LeaveOverlay, SeedsResolved
from covey.runtime.addresses import format_address, is_loopback, is_wildcard, parse_address, split_address
from covey.runtime.discovery import Seed
from covey.runtime.environment import Environment
from covey.runtime.storage import MemoryStorage, Storage
from covey.runtime.transport.base import Transport

log = logging.getLogger(__name__)

LATE_US = 50_000  # DESIGN 2: a Tick later than this waits for a turn without reads
LATE_TURNS_MAX = 4  # the same
LAG_PERIOD_S = 0.1  # membership.md 11: loop lag is measured each 100 ms
OFFSET_US_MIN = 1_000  # DESIGN 2: wall time is told when it moved by more than 1 ms


class Runner:
    """Drives one engine on the running event loop.

    Law: effects are carried out in the order the pump gives them, none is awaited, and after `close` or a death no
    fact reaches the engine and every outcome that was still open is a `ClosedError`.
    """

    def __init__(
        self,
        engine: Engine,
        gate: Gate,
        transport: Transport,
        *,
        contact: Contact,
        storage: Storage | None = None,
        seeds: list[Seed],
        on_event: Callable[[Any], None],
        environment: Environment,
        observe: Observer | None = None,
    ) -> None:
        self.engine = engine
        self.contact = contact
        self.lag_us = 0  # how late the event loop was at the last look
        self.dead: BaseException | None = None
        self._gate = gate
        self._transport = transport
        self._storage = storage if storage is not None else MemoryStorage(durable=False)
        self._storage.sink = self._take
        self._seeds = seeds
        self._on_event = on_event
        self._clock = environment.monotonic_us
        self._wall = environment.wall_us
        self._pump = Pump(engine, gate, self._execute, observe)
        self._port = 0
        self._guessing = False  # our address is not known, or only good on this host
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._outcomes: dict[int, asyncio.Future[Any]] = {}
        self._request = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_us = 0
        self._turn_wanted = False
        self._last_words: list[Callable[[], None]] = []
        self._reading = True
        self._open = False
        self._ended = False
        self._tasks: list[asyncio.Task[None]] = []
        self._lag_due_us = 0
        self._lag_timer: asyncio.TimerHandle | None = None
        self._offset_us = 0
        self._hands: dict[type, Callable[[Any], None]] = {
            Write: self._write,
            Emit: self._emit,
            Resolve: self._resolve,
            Refuse: self._refuse,
            WantTurn: self._want_turn,
            Store: self._storage.store,
            OpenConnection: lambda effect: transport.open(effect.connection, effect.address),
            CloseConnection: lambda effect: transport.close(effect.connection),
        }

    def carry_out(self, hands: dict[type, Callable[[Any], None]]) -> None:
        """These effects are somebody else's to carry out, at once and without an error."""
        self._hands.update(hands)

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self, listen: str, advertise: str = "") -> None:
        """Listen and begin. `advertise` is `host` or `host:port`; without it our end of the first link is advertised.

        Raises `ConfigError` when no port is free; then nothing is left open.
        """
        self._transport.sink = self._take
        self._transport.local_host = self._on_local_host
        bound = await self._transport.listen(listen)
        if self._ended:  # closed while it started
            await self._transport.aclose()
            raise ClosedError("the node was closed while it started")
        self._open = True
        self._tell_wall()
        host, port = parse_address(bound)
        self._port = port
        if advertise or not is_wildcard(host):
            self._learn_address(self._with_port(advertise) if advertise else bound)
        else:
            self._guessing = True
            for seed in self._seeds:  # those of this host need not wait until a link shows our address
                seed.announce(format_address("127.0.0.1", port))
        self._measure_lag()
        self._set_alarm()
        for seed in self._seeds:
            self._tasks.append(self._loop.create_task(self._resolve_seed(seed), name=f"covey seed {seed.text}"))

    def _with_port(self, advertise: str) -> str:
        host, port_text = split_address(advertise, "advertise")
        return advertise if port_text is not None else format_address(host, self._port)

    def _learn_address(self, address: str) -> None:
        self.contact = Contact(self.contact.site, self.contact.incarnation, address)
        self.feed(AddressLearned(address))
        for seed in self._seeds:
            seed.announce(address)

    def _on_local_host(self, host: str) -> None:
        """The local end of our first link is what we advertise where nothing was given (DESIGN 3.1).

        A loopback end is only good for this host, so the first end of another kind takes its place.
        """
        if not self._open or not self._guessing or is_wildcard(host):
            return
        self._guessing = is_loopback(host)
        if not self.contact.address or not self._guessing:
            self._learn_address(format_address(host, self._port))

    async def _resolve_seed(self, seed: Seed) -> None:
        told = ""
        while True:
            addresses = await seed.resolve()
            trouble = getattr(seed, "trouble", "")
            if trouble != told:
                told = trouble
                if trouble:
                    log.warning("event=seed_trouble seed=%r reason=%r", seed.text, trouble)
            if addresses and self._open:
                self.feed(SeedsResolved(tuple(addresses)))
            if not seed.resolve_every:
                return
            await asyncio.sleep(seed.resolve_every)

    async def close(self) -> None:
        """Tell the neighbours, write what is to be written, and end. Does nothing the second time."""
        if self._open:
            for seed in self._seeds:
                seed.withdraw()
            with contextlib.suppress(ClosedError):  # it may die of its goodbye
                self._end_turn()
                self.feed(Stop())
                self.feed(LeaveOverlay())
                self.feed(TurnEnded())
                self.feed(CloseLinks())
        if self._open:
            self._end(ClosedError("the node was closed"))
        await self._finish()

    async def abort(self) -> None:
        """End without a word, as if the process had been killed."""
        if self._open:
            self._end(ClosedError("the node was aborted"))
        await self._finish()

    def _end(self, cause: BaseException) -> None:
        self._open = False
        for handle in (self._alarm, self._lag_timer):
            if handle is not None:
                handle.cancel()
        outcomes, self._outcomes = self._outcomes, {}
        for future in outcomes.values():
            if not future.done():
                error = ClosedError("the node is closed; whether this took effect is not known")
                error.__cause__ = cause
                future.set_exception(error)
                future.exception()  # whoever gave the command that killed us hears it from `feed`, and waits no more

    async def _finish(self) -> None:
        self._ended = True
        if self.dead is None:
            for task in self._tasks:
                task.cancel()
            self._tasks.append(self._loop.create_task(self._let_go(), name="covey end"))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _let_go(self) -> None:
        await self._transport.aclose()
        await self._storage.aclose()

    def end(self, error: CoveyError) -> None:
        """This node must not go on; `error` says why. Its users hear of it as of a bug of ours."""
        self._die(error)

    def _die(self, error: BaseException) -> None:
        """A law does not hold: our bug. This node stops; nothing else does."""
        if self.dead is not None:
            return
        self.dead = error
        log.critical("event=node_died reason=%r", str(error), exc_info=error)
        for seed in self._seeds:
            seed.withdraw()
        self._end(error)
        for task in self._tasks:
            task.cancel()
        self._tasks = [self._loop.create_task(self._let_go(), name="covey death")]
        self._on_event(error)

    # --- in ---------------------------------------------------------------------------------------------------------

    def feed(self, incoming: Any) -> None:
        """Give the machines a fact or a command, now. Raises `UsageError` from another thread or for a wrong one."""
        self.check_thread()
        if not self._open:
            raise ClosedError("the node is closed") from self.dead
        self._feed(incoming)

    def now_us(self) -> int:
        """The clock by which machines live."""
        return self._clock()

    @property
    def is_open(self) -> bool:
        """Whether facts and commands still reach the machines."""
        return self._open

    def ready(self, site: Site) -> bool:
        """Whether data for `site` would be on its link at once; always for ourselves."""
        return site == self.contact.site or self.engine.direct.ready(site)

    def check_thread(self) -> None:
        """Raises `UsageError` on any thread but the event loop's."""
        if threading.get_ident() != self._thread:
            raise UsageError(
                "covey was called from a thread that does not run its event loop; nothing was done: "
                "use loop.call_soon_threadsafe or asyncio.run_coroutine_threadsafe"
            )

    def at_end_of_turn(self, action: Callable[[], None]) -> None:
        """Call `action` just before this turn's messages are written."""
        self._last_words.append(action)
        self._want_turn(WantTurn())

    def _take(self, fact: Any) -> None:
        """The transport's way in. A death was reported where it happened; the event loop need not hear of it again."""
        if self._open:
            with contextlib.suppress(ClosedError):
                self._feed(fact)

    def _feed(self, incoming: Any) -> None:
        try:
            self._pump.feed(incoming, self._clock())
        except CoveyError:
            raise
        except Exception as error:
            self._die(error)
            raise ClosedError("the node died of a bug in covey; see its cause, and please report it") from error
        if not self._turn_wanted:  # else all this is done once, when the turn ends
            self._look()

    def _look(self) -> None:
        """See whether there is room to read, and when time is up next."""
        if self._gate.full is self._reading:
            self._reading = not self._reading
            (self._transport.resume_reading if self._reading else self._transport.pause_reading)()
        self._set_alarm()

    def request(self) -> tuple[int, asyncio.Future[Any]]:
        """A number for a command that has an outcome, and the outcome."""
        self._request += 1
        future = self._loop.create_future()
        self._outcomes[self._request] = future
        return self._request, future

    def forget_request(self, request: int) -> None:
        """Nobody waits for this outcome."""
        self._outcomes.pop(request, None)

    # --- out --------------------------------------------------------------------------------------------------------

    def _execute(self, effect: Any) -> None:
        self._hands[type(effect)](effect)

    def _write(self, effect: Write) -> None:
        self._transport.write(effect.connection, effect.data)

    def _emit(self, effect: Emit) -> None:
        self._on_event(effect.event)

    def _resolve(self, effect: Resolve) -> None:
        future = self._outcomes.pop(effect.request, None)
        if future is not None and not future.done():
            future.set_result(effect.value)

    def _refuse(self, effect: Refuse) -> None:
        future = self._outcomes.pop(effect.request, None)
        if future is not None and not future.done():
            future.set_exception(effect.error)

    def _want_turn(self, _: WantTurn) -> None:
        if not self._turn_wanted:
            self._turn_wanted = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        for action in self._last_words:
            action()
        self._last_words.clear()
        self._turn_wanted = False
        self._take(TurnEnded())
        if self._turn_wanted:  # one turn may want the next for a long time
            self._look()

    # --- time -------------------------------------------------------------------------------------------------------

    def _set_alarm(self) -> None:
        due_us = self._pump.deadline()
        if due_us is None or not self._open:
            return
        if self._alarm is not None:
            if self._alarm_us <= due_us:
                return
            self._alarm.cancel()
        self._alarm_us = due_us
        delay_s = max(due_us - self._clock(), 1_000) / 1e6  # event loops count in milliseconds at best
        self._alarm = self._loop.call_later(delay_s, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if not self._open:
            return
        now_us = self._clock()
        if now_us < self._alarm_us:
            self._set_alarm()
        elif now_us - self._alarm_us > LATE_US:
            # What is called soon comes before the next turn's reads, so the first call only gets us into that turn.
            self._loop.call_soon(self._ring_late, LATE_TURNS_MAX, self._transport.reads)
        else:
            self._take(Tick())

    def _ring_late(self, turns: int, reads: int) -> None:
        """We were away. What has arrived meanwhile is heard before anyone is accused of silence."""
        if not self._open:
            return
        now_reads = self._transport.reads
        if turns == 0 or (turns < LATE_TURNS_MAX and now_reads == reads):
            self._take(Tick())
        else:
            self._loop.call_soon(self._ring_late, turns - 1, now_reads)

    def _measure_lag(self) -> None:
        now_us = self._clock()
        if self._lag_due_us:
            before_us, self.lag_us = self.lag_us, max(now_us - self._lag_due_us, 0)
            if self.lag_us > LATE_US or before_us > LATE_US:
                self._take(LoopLagged(self.lag_us))
        if (
            self._alarm is not None and now_us - self._alarm_us > LATE_US
        ):  # our clock counts suspend, the loop's may not
            self._alarm.cancel()
            self._ring()
        self._lag_due_us = now_us + int(LAG_PERIOD_S * 1e6)
        self._tell_wall()
        self._lag_timer = self._loop.call_later(LAG_PERIOD_S, self._measure_lag)

    def _tell_wall(self) -> None:
        offset_us = self._wall() - self._clock()
        if abs(offset_us - self._offset_us) > OFFSET_US_MIN:
            self._offset_us = offset_us
            self._take(WallOffset(offset_us))
