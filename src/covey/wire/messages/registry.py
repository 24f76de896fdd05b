"""Messages between the nodes of one hub: calls of children, children on their way, and rows where a strategy decides
when and to whom they travel. Tags 160-191."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.core.clock import STAMP_MAX
from covey.core.ids import IncarnationField, SiteField
from covey.wire.limits import KEY_BYTES_MAX
from covey.wire.messages.rows import (
    INSTANCE_BYTES_MAX,
    Digest,
    OwnedOps,
    RowKey,
    RowTuple,
    Seq,
    SharedEntries,
    SharedOps,
    ToldTuple,
)

TEXT_MAX = 4_096  # characters of a reason
LETTERS_MAX = 4_096  # in one message; likewise answers, and ids that are asked about
NUMBER_MAX = 2**53
MAILBOXES_MAX = 8  # names of one
NOTE_BYTES_MAX = 65_536  # what a strategy writes for itself
REQUESTS_MAX = 1_024  # in one message

HubField: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=INSTANCE_BYTES_MAX)]
IdField: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES_MAX)]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]
Epoch: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=STAMP_MAX)]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=TEXT_MAX)]
Mailboxes: TypeAlias = Annotated[tuple[Number, ...], msgspec.Meta(max_length=MAILBOXES_MAX)]

NIL = b"\xc0"  # the payload where there is none: None, encoded
CALL, CAST = 0, 1  # kinds of letters
REPLY, FAILURE, GONE, ELSEWHERE, FULL, UNREAD = 0, 1, 2, 3, 4, 5  # kinds of answers


class ChildCall(msgspec.Struct, frozen=True, array_like=True, tag=160, gc=False):
    """For a child that you run, or are about to, in your life `to`.

    `number` tells the letters of the sender's life in this hub apart; none below `low` is asked about any more.
    `attempt`: the how-many-th time it is sent; the answer repeats it, for who says that it was not delivered speaks of
    one attempt, and another may still be on its way.
    `left_us`: after that nobody waits for the answer. `kind`: CALL, or CAST, which has none. `mailbox`: who has another
    one does not take it.
    """

    hub: HubField
    to: IncarnationField
    id: IdField
    number: Number
    attempt: Number
    low: Number
    left_us: Number
    kind: Annotated[int, msgspec.Meta(ge=0, le=1)]
    payload: msgspec.Raw
    mailbox: Number


class ChildAnswer(msgspec.Struct, frozen=True, array_like=True, tag=161, gc=False):
    """What became of your letter `number`.

    `kind`: REPLY and FAILURE are the child's own; GONE: it ended before it answered, and may have acted; ELSEWHERE,
    FULL and UNREAD (nobody waits for it any more): it did not get it. `host`: where it may be.
    """

    hub: HubField
    to: IncarnationField
    number: Number
    attempt: Number
    kind: Annotated[int, msgspec.Meta(ge=0, le=5)]
    payload: msgspec.Raw
    host: SiteField | None = None


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=162, gc=False):
    """The child that you started under the epoch `birth` failed as it started (`error`), or it ran here and has ended:
    it is removed."""

    hub: HubField
    id: IdField
    instance: Number
    epoch: Epoch
    error: Text
    birth: Epoch


class Prepare(msgspec.Struct, frozen=True, array_like=True, tag=163, gc=False):
    """Build this child, which I run: you are to run it when it has ended here. `move` is my number for that."""

    hub: HubField
    move: Number
    id: IdField


class Prepared(msgspec.Struct, frozen=True, array_like=True, tag=164, gc=False):
    """It is built; or, with an error, it cannot be, and stays with you."""

    hub: HubField
    move: Number
    id: IdField
    error: Text


Sender: TypeAlias = tuple[SiteField, IncarnationField]


class Carried(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One letter that a child had not taken when it ended, on its way to the next host."""

    sender: Sender
    number: Number
    attempt: Number
    left_us: Number
    kind: Annotated[int, msgspec.Meta(ge=0, le=1)]
    payload: msgspec.Raw


class Answered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a letter was answered before the move, should it be sent again."""

    sender: Sender
    number: Number
    left_us: Number
    kind: Annotated[int, msgspec.Meta(ge=0, le=4)]
    payload: msgspec.Raw


class Handover(msgspec.Struct, frozen=True, array_like=True, tag=165, gc=False):
    """The child has ended here: run it, with what it left.

    `merges`: it runs with you, and here it was one too many. `freed`: its claim, which has ended. `parts`: so many
    `HandoverPart` came before. `mailboxes`: the names of its mailbox.
    """

    hub: HubField
    move: Number
    id: IdField
    epoch: Epoch
    state: bytes | None
    merges: bool
    freed: tuple[SiteField, IncarnationField, Epoch] | None
    parts: Number
    mailboxes: Mailboxes


class HandoverPart(msgspec.Struct, frozen=True, array_like=True, tag=166, gc=False):
    """What belongs to a `Handover`: letters not taken, and answers given."""

    hub: HubField
    move: Number
    id: IdField
    part: Number
    letters: Annotated[tuple[Carried, ...], msgspec.Meta(max_length=LETTERS_MAX)]
    answered: Annotated[tuple[Answered, ...], msgspec.Meta(max_length=LETTERS_MAX)]


class HandedOver(msgspec.Struct, frozen=True, array_like=True, tag=167, gc=False):
    """It runs here now; or, with an error, it does not, and is yours again."""

    hub: HubField
    move: Number
    id: IdField
    error: Text


class Duplicate(msgspec.Struct, frozen=True, array_like=True, tag=168, gc=False):
    """I run this child as well as you do, and hold that yours stays."""

    hub: HubField
    id: IdField


class Kept(msgspec.Struct, frozen=True, array_like=True, tag=169, gc=False):
    """So do I: end yours."""

    hub: HubField
    id: IdField


class Watch(msgspec.Struct, frozen=True, array_like=True, tag=170, gc=False):
    """Tell me when you show all of these running, or some of them gone.

    Of what I ask under one `number` only the last counts; without ids I do not want to know it any more.
    """

    hub: HubField
    number: Number
    ids: Annotated[tuple[IdField, ...], msgspec.Meta(max_length=LETTERS_MAX)]


class Watched(msgspec.Struct, frozen=True, array_like=True, tag=171, gc=False):
    """I do."""

    hub: HubField
    number: Number


class WhichAbsent(msgspec.Struct, frozen=True, array_like=True, tag=176, gc=False):
    """Which of these are no children, as you know it who run them, or are to?"""

    hub: HubField
    number: Number
    ids: Annotated[tuple[IdField, ...], msgspec.Meta(max_length=LETTERS_MAX)]


class Absent(msgspec.Struct, frozen=True, array_like=True, tag=177, gc=False):
    """These of what you asked about under that number are none, and no copy of them is here."""

    hub: HubField
    number: Number
    ids: Annotated[tuple[IdField, ...], msgspec.Meta(max_length=LETTERS_MAX)]


# --- rows, where a strategy decides when and to whom they travel ----------------------------------------------------

NoteField: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=NOTE_BYTES_MAX)]


class Requests(msgspec.Struct, frozen=True, array_like=True, tag=172, gc=False):
    """What was done to rows, by the sender or by others. `note` is the strategy's own."""

    hub: HubField
    note: NoteField
    requests: Annotated[tuple[OwnedOps | SharedOps, ...], msgspec.Meta(max_length=REQUESTS_MAX)]


class WholeOwner(msgspec.Struct, frozen=True, array_like=True, tag=173, gc=False):
    """All rows that a life owned at `seq`, in parts: these stand behind `cursor`. `last`: nothing comes behind."""

    hub: HubField
    owner: SiteField
    incarnation: IncarnationField
    seq: Seq
    cursor: RowKey | None
    rows: RowTuple
    last: bool


class WholeRows(msgspec.Struct, frozen=True, array_like=True, tag=174, gc=False):
    """Some of the shared rows that are alive at the sender."""

    hub: HubField
    entries: SharedEntries


class WholeKnown(msgspec.Struct, frozen=True, array_like=True, tag=175, gc=False):
    """These operations on shared rows are known to the sender, and nothing of them is alive any more.

    It is part `part` of telling `number`; with the `last` one all is told, and it says what the sender has received,
    the digest of what is alive there, whether all of it is on its disk, and the strategy's own `note`. `joins`: the
    sender told it because somebody came.
    """

    hub: HubField
    number: Number
    part: Number
    dead: ToldTuple
    last: bool
    received: ToldTuple = ()
    alive: Digest = bytes(8)
    saved: bool = False
    joins: bool = False
    note: NoteField = b""


RegistryMessage: TypeAlias = (
    ChildCall
    | ChildAnswer
    | Ended
    | Prepare
    | Prepared
    | Handover
    | HandoverPart
    | HandedOver
    | Duplicate
    | Kept
    | Watch
    | Watched
    | Requests
    | WholeOwner
    | WholeRows
    | WholeKnown
    | WhichAbsent
    | Absent
)
