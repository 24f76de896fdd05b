"""Metrics: how often each machine heard and said each kind of thing. A pure fold, like stories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from covey.core.vocabulary import MessagesReceived


class Metrics:
    """Counts by machine and kind. Invariant: the keys are kinds that exist in the code, so their number is bounded."""

    def __init__(self) -> None:
        self.heard: dict[tuple[str, str], int] = {}
        self.said: dict[tuple[str, str], int] = {}

    def observe(self, now_us: int, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
        """Fold in one step of one machine."""
        parts = incoming.messages if isinstance(incoming, MessagesReceived) else (incoming,)
        for part in parts:
            key = (machine, type(part).__name__)
            self.heard[key] = self.heard.get(key, 0) + 1
        for effect in effects:
            key = (machine, type(effect).__name__)
            self.said[key] = self.said.get(key, 0) + 1
