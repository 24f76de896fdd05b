"""Where a node gets its time, chance and bytes from: the real world, or a test's."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from covey.runtime.guard import Watch
from covey.runtime.transport.base import Transport
from covey.runtime.transport.tcp import TcpTransport, Tls
from covey.runtime.watchdog import Watchdog

_BOOTTIME_NS: Callable[[], int] = (
    partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns
)


class Environment(Protocol):
    """The outside of one node."""

    def monotonic_us(self) -> int:
        """Microseconds of a clock that never goes back, and goes on while the computer is suspended."""
        ...

    def wall_us(self) -> int:
        """Microseconds since 1970, as far as this machine knows."""
        ...

    def rng(self) -> random.Random:
        """Chance for protocols."""
        ...

    def nonces(self) -> random.Random:
        """Chance for identities and handshakes: unpredictable where it matters."""
        ...

    def transport(self, tls: Tls | None) -> Transport:
        """What carries the node's bytes."""
        ...

    def watchdog(self) -> Watch:
        """What ends this process where a child outlives its lease."""
        ...


def boottime_us() -> int:
    """Microseconds since this computer was started, suspended or not.

    `time.monotonic` stands still in suspend (Linux: CLOCK_MONOTONIC), and whoever wakes up with it takes every lease
    for as good as before. Where there is no CLOCK_BOOTTIME it has to do: on macOS it stands still too, on Windows it
    does not. All processes of one computer read the same.
    """
    return _BOOTTIME_NS() // 1000


class RealEnvironment:
    """This machine's clocks, the system's generator, TCP."""

    def monotonic_us(self) -> int:
        return boottime_us()

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def rng(self) -> random.Random:
        return random.Random(random.SystemRandom().getrandbits(128))

    def nonces(self) -> random.Random:
        return random.SystemRandom()

    def transport(self, tls: Tls | None) -> Transport:
        return TcpTransport(tls)

    def watchdog(self) -> Watch:
        return Watchdog()
