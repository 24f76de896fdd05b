"""Bugs to plant in what is kept of shared rows on disks, for the simulator to find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from covey.core.vocabulary import Record
from covey.protocols.replication.saving import Saving
from covey.protocols.replication.shelf import Shelf
from covey.rows.keeping import Keeping

Plant = Callable[[pytest.MonkeyPatch], None]
begin = Keeping._begin


def digests_tell_what_is_not_on_the_disk(patch: pytest.MonkeyPatch) -> None:
    """Whoever has received something says that its disk has it."""
    patch.setattr(Saving, "saved", lambda self, instance: True)


def rows_are_stored_without_their_context(patch: pytest.MonkeyPatch) -> None:
    """Neither what is known nor what was received is stored: removals are forgotten."""

    def bare(self: Keeping) -> None:
        begin(self)
        self._context.clear()
        self._received.clear()

    patch.setattr(Keeping, "_begin", bare)


def context_is_stored_before_the_rows(patch: pytest.MonkeyPatch) -> None:
    """What is known and is not there counts for removed."""
    following = Keeping._next

    def early(self: Keeping) -> Record | None:
        left, self._left = self._left, []
        record = following(self)
        self._left = left
        return record or following(self)

    patch.setattr(Keeping, "_next", early)


def the_shelf_says_so_before_it_is_true(patch: pytest.MonkeyPatch) -> None:
    """`RowsStored` is not held behind the `Persist`."""
    handle = Shelf.handle
    patch.setattr(Shelf, "handle", lambda self, incoming, now_us: [*reversed(handle(self, incoming, now_us))])


PLANT: dict[str, Plant] = {
    bug.__name__: bug
    for bug in (
        digests_tell_what_is_not_on_the_disk,
        rows_are_stored_without_their_context,
        context_is_stored_before_the_rows,
        the_shelf_says_so_before_it_is_true,
    )
}
