"""Where a node gets its time, chance and bytes from: the real world, or a test's."""

from __future__ import annotations

import random
import time
from typing import Protocol

from covey.runtime.transport.base import Transport
from covey.runtime.transport.tcp import TcpTransport, Tls


class Environment(Protocol):
    """The outside of one node."""

    def monotonic_us(self) -> int:
        """Microseconds of a clock that never goes back."""
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


class RealEnvironment:
    """This machine's clocks, the system's generator, TCP."""

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def rng(self) -> random.Random:
        return random.Random(random.SystemRandom().getrandbits(128))

    def nonces(self) -> random.Random:
        return random.SystemRandom()

    def transport(self, tls: Tls | None) -> Transport:
        return TcpTransport(tls)
