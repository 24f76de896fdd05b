"""Addresses that were written down. A host name among them is looked up by who dials it, each time anew."""

from __future__ import annotations

from collections.abc import Sequence


class StaticSeed:
    """Answers what it was given."""

    resolve_every = 0.0

    def __init__(self, text: str, addresses: Sequence[str]) -> None:
        self.text = text
        self.trouble = ""
        self._addresses = tuple(addresses)

    async def resolve(self) -> list[str]:
        return list(self._addresses)

    def announce(self, address: str) -> None:
        """Nothing to tell: what is written down stays so."""

    def withdraw(self) -> None:
        """Nothing to take back."""
