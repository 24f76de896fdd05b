"""A hub's machine that a test plays: it writes down what children say, and has the letters that the test gave it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from covey.core import children as c
from covey.core.children import Copy
from covey.core.ids import Site
from covey.runtime.children import Children, Start, encode_arguments
from covey.runtime.children.children import DEFAULTS, ChildrenConfig
from covey.testing import Cluster, run
from covey.wire.keys import Key, encode_key
from covey.wire.payloads import decode_payload, encode_payload

HUB = encode_key("sessions")
ME, OTHER = Site(b"m" * 16), Site(b"o" * 16)
NEVER = 1 << 63
SECOND_US = 1_000_000

F = TypeVar("F")


class FakeHub:
    """Feeds one `Children` with effects, and hears its facts."""

    def __init__(self, config: ChildrenConfig = DEFAULTS, clock_us: Callable[[], int] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.facts: list[Any] = []
        self.letters: dict[Copy, deque[tuple[int, bytes]]] = {}
        self.hungry: set[Copy] = set()
        self.lease_us: dict[Copy, int] = {}
        self.handle = object()
        self._calls = self._copies = 0
        self._news = asyncio.Event()
        self.clock_us = clock_us or (lambda: int(loop.time() * 1e6))
        self.children = Children(self._hear, self.clock_us, lambda copy: self.lease_us.get(copy, NEVER), config)

    def _hear(self, fact: Any) -> None:
        self.facts.append(fact)
        self._news.set()
        if isinstance(fact, c.ChildReceives):
            assert fact.copy not in self.hungry, "it asks once for each letter"
            self.hungry.add(fact.copy)
            self._feed(fact.copy)

    def _feed(self, copy: Copy) -> None:
        letters = self.letters.get(copy)
        if letters and copy in self.hungry:
            self.hungry.remove(copy)
            call, payload = letters.popleft()
            self.say(c.DeliverToChild(copy, call, OTHER, payload))

    # --- what a test says -------------------------------------------------------------------------------------------

    def open(self, starts: Mapping[str, Any], resolve: Any = None) -> None:
        """The hub, with these; a plain callable is a task."""
        made = {name: start if isinstance(start, Start) else Start(start) for name, start in starts.items()}
        self.children.open(HUB, made, self.handle, resolve)

    def say(self, effect: Any) -> None:
        """One effect, as the runner carries it out."""
        self.children.hands[type(effect)](effect)

    def copy(self, id: Key = "child") -> Copy:
        """A new copy."""
        self._copies += 1
        return Copy(HUB, encode_key(id), self._copies)

    def start(
        self, name: str, *arguments: Any, id: Key = "child", token: int = 7, handed_over: Any = None, **named: Any
    ) -> Copy:
        """Start a new copy."""
        copy = self.copy(id)
        state = None if handed_over is None else encode_payload(handed_over)
        self.say(c.StartChild(copy, name, encode_arguments(arguments, named), token, state))
        return copy

    def prepare(self, name: str, *arguments: Any, id: Key = "child", **named: Any) -> Copy:
        """Build a new copy."""
        copy = self.copy(id)
        self.say(c.PrepareChild(copy, name, encode_arguments(arguments, named)))
        return copy

    def go(self, copy: Copy, name: str, token: int = 7, handed_over: Any = None) -> None:
        """Start what was built."""
        state = None if handed_over is None else encode_payload(handed_over)
        self.say(c.StartChild(copy, name, encode_arguments((), {}), token, state))

    def call(self, copy: Copy, value: Any = None) -> int:
        """A call for it; returns its number."""
        self._calls += 1
        self.post(copy, self._calls, encode_payload(value))
        return self._calls

    def cast(self, copy: Copy, value: Any = None) -> None:
        """A cast for it."""
        self.post(copy, 0, encode_payload(value))

    def post(self, copy: Copy, call: int, payload: bytes) -> None:
        """A letter of these bytes."""
        self.letters.setdefault(copy, deque()).append((call, payload))
        self._feed(copy)

    def stop(self, copy: Copy, grace: float = 0.0, deposed: bool = False) -> None:
        """End it."""
        self.say(c.StopChild(copy, int(grace * SECOND_US), deposed))

    def leave(self, copy: Copy, grace: float = 1.0, duplicate: bool = False) -> None:
        """Have it move to the other node."""
        self.say(c.AskHandover(copy, int(grace * SECOND_US), OTHER, duplicate))

    # --- what a test sees -------------------------------------------------------------------------------------------

    async def wait(self, condition: Callable[[], F], seconds: float = 30.0) -> F:
        """Until that is true of what was heard."""
        async with asyncio.timeout(seconds):
            while not (found := condition()):
                self._news.clear()
                await self._news.wait()
        return found

    async def turns(self) -> None:
        """A few turns of the event loop, so that children do what they can do at once."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def wait_for(self, kind: type[F], copy: Copy, count: int = 1) -> F:
        """Until it said that so often; returns the last."""
        await self.wait(lambda: len(self.of(copy, kind)) >= count)
        last: F = self.of(copy, kind)[-1]
        return last

    async def wait_exit(self, copy: Copy) -> c.ChildExited:
        """Until it has ended; nothing more must be said of it."""
        exited = await self.wait_for(c.ChildExited, copy)
        assert self.of(copy)[-1] is exited
        return exited

    def of(self, copy: Copy, kind: type | None = None) -> list[Any]:
        """What was said of one copy."""
        return [fact for fact in self.facts if fact.copy == copy and (kind is None or type(fact) is kind)]

    def kinds(self, copy: Copy) -> list[str]:
        """The same, by name, without what only asks for letters."""
        return [type(fact).__name__ for fact in self.of(copy) if not isinstance(fact, c.ChildReceives)]

    def replies(self, copy: Copy) -> list[tuple[int, bool, Any]]:
        """Its answers: the call, whether it failed, and the value or the reason."""
        return [(fact.call, fact.failed, decode_payload(fact.payload)) for fact in self.of(copy, c.ChildReplied)]


def on_hub(test: Callable[[FakeHub], Any], **options: Any) -> None:
    """Run `test(hub)` on the virtual clock; at its end no child is left."""

    async def main(_: Cluster) -> None:
        hub = FakeHub(**options)
        await test(hub)
        assert await hub.children.aclose() == 0
        assert len(hub.children) == 0

    run(main)
