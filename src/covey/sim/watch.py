"""What looks on while a world runs: laws, and tests that listen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from covey.engine.gate import Store

if TYPE_CHECKING:
    from covey.sim.node import SimNode


class Watch(Protocol):
    """What looks on at every step, and asserts what must hold of it."""

    def started(self, node: SimNode) -> None:
        """A process begins; it has heard nothing yet."""

    def observed(self, node: SimNode, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
        """A machine has handled something and said something."""

    def emitted(self, node: SimNode, event: Any) -> None:
        """A process told its user an event."""

    def stored(self, node: SimNode, store: Store) -> None:
        """A disk took this, and the process does not know it yet."""
