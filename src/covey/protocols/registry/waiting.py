"""Which requests wait for which child."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from covey.core.errors import invariant


class Waiting:
    """Requests by the children that they wait for.

    Law: it is what `missing` of all requests says, turned round.
    """

    def __init__(self) -> None:
        self._requests: dict[bytes, tuple[int, ...]] = {}

    def check(self, missing: Mapping[int, Iterable[bytes]]) -> None:
        """The law, with what each request misses."""
        filed = {(id, request) for id, requests in self._requests.items() for request in requests}
        invariant(
            filed == {(id, request) for request, ids in missing.items() for id in ids}, "what is missing is filed"
        )

    def of(self, id: bytes) -> tuple[int, ...]:
        """Who waits for a child."""
        return self._requests.get(id, ())

    def add(self, id: bytes, request: int) -> None:
        """A request waits for a child, and did not before."""
        self._requests[id] = (*self._requests.get(id, ()), request)

    def found(self, request: int, missing: dict[bytes, Any], id: bytes) -> None:
        """It does not any more."""
        del missing[id]
        left = tuple([one for one in self._requests[id] if one != request])
        if left:
            self._requests[id] = left
        else:
            del self._requests[id]

    def give_up(self, request: int, missing: dict[bytes, Any]) -> None:
        """It waits for nothing any more."""
        for id in list(missing):
            self.found(request, missing, id)

    def clear(self) -> None:
        """Nobody waits."""
        self._requests.clear()
