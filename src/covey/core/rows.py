"""What machines that keep rows say to the one that spreads them, and hear from it."""

from __future__ import annotations

from typing import Any

import msgspec

from covey.core.errors import CoveyError
from covey.core.ids import Dot, Site


class HoldInstance(msgspec.Struct, frozen=True, gc=False):
    """This node wants the rows of `instance` from now on, and tells all others so.

    `durable`: where the node has storage its shared rows are kept there, and are here again when a later life of the
    node holds the instance durably again. To hold it otherwise, or to release it, takes away what was kept.
    `driven`: somebody else decides when and to whom its rows travel. Then what is done here is said in `RowsToTell`,
    nothing is pushed, compared or asked for, and what arrives is given back in `TakeOperations` and `TakeRows`.
    """

    instance: bytes
    durable: bool = False
    driven: bool = False


class ReleaseInstance(msgspec.Struct, frozen=True, gc=False):
    """This node does not want them any more; its own rows of that instance go everywhere.

    What its storage keeps of the shared ones goes too, or with `keep` stays for whoever holds the instance again.
    """

    instance: bytes
    keep: bool = False


class RowsToTell(msgspec.Struct, frozen=True, gc=False):
    """This was done here to rows of an instance that is driven, and nobody was told: operations as messages have
    them."""

    instance: bytes
    operations: tuple[Any, ...]


class TakeOperations(msgspec.Struct, frozen=True, gc=False):
    """A peer tells what was done to rows of an instance, by whomever, in whatever order and however often."""

    instance: bytes
    peer: Site
    operations: tuple[Any, ...]


class TakeRows(msgspec.Struct, frozen=True, gc=False):
    """A peer tells all that it knows of an instance; this is one piece of it, as a message has it."""

    instance: bytes
    peer: Site
    piece: Any


class WriteRows(msgspec.Struct, frozen=True, gc=False):
    """Change rows of our own life, all in this order: a key and its value from now on, None to remove it."""

    instance: bytes
    changes: tuple[tuple[bytes, bytes | None], ...]


class RowsChanged(msgspec.Struct, frozen=True, gc=False):
    """What is shown of one owner's rows changed: its rows are there, changed, gone or (it is held for down) hidden.

    The fold of these facts is what is shown.
    """

    instance: bytes
    owner: Site
    incarnation: int
    changes: tuple[tuple[bytes, bytes | None], ...]


class Start(msgspec.Struct, frozen=True, gc=False):
    """A shared row begins: beside the one of this key that may be there, or be started elsewhere at this moment."""

    key: bytes
    value: bytes


class Put(msgspec.Struct, frozen=True, gc=False):
    """A field of a shared row has this value from now on, as long as the row is there as it is now."""

    key: bytes
    field: bytes
    value: bytes


class Remove(msgspec.Struct, frozen=True, gc=False):
    """A shared row goes, as it is known here: what was started elsewhere and is not known yet stays.

    With `births` only these of it go, and it stays as long as it has others.
    """

    key: bytes
    births: tuple[Dot, ...] = ()


SharedWrite = Start | Put | Remove


class WriteShared(msgspec.Struct, frozen=True, gc=False):
    """Change shared rows, in this order; what cannot be done is told by `SharedRefused`, and the rest is done.

    Of a row that is not here any more nothing is changed.
    """

    instance: bytes
    changes: tuple[SharedWrite, ...]


class SharedRefused(msgspec.Struct, frozen=True, gc=False):
    """These changes of shared rows were not made, and why: there is no room for them, or they are too large."""

    instance: bytes
    refused: tuple[tuple[SharedWrite, CoveyError], ...]


class SharedRow(msgspec.Struct, frozen=True, gc=False):
    """A shared row as it is shown: its births with their values, and its fields with theirs, each in order of rank.

    There are several where they were written without knowing of each other. The last one counts; or all do, by whatever
    rule who reads them likes, if it is the same everywhere.
    """

    births: tuple[tuple[Dot, bytes], ...]
    fields: tuple[tuple[bytes, tuple[tuple[Dot, bytes], ...]], ...]

    @property
    def value(self) -> bytes:
        """The value of the birth that counts."""
        return self.births[-1][1]

    def get(self, field: bytes) -> bytes | None:
        """The value of a field that counts; None for one that was never written."""
        return next((values[-1][1] for name, values in self.fields if name == field), None)

    def values(self, field: bytes) -> list[bytes]:
        """All values of a field that were written without knowing of each other, in order of rank."""
        return [value for name, values in self.fields if name == field for _, value in values]


class SharedChanged(msgspec.Struct, frozen=True, gc=False):
    """Shared rows are shown otherwise: keys, and what each has from now on. The fold of these is what is shown."""

    instance: bytes
    rows: tuple[tuple[bytes, SharedRow | None], ...]
