"""Mail between mailboxes. Tag 128."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.core.ids import IncarnationField

TARGETS_MAX = 4_096

Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Targets: TypeAlias = Annotated[tuple[tuple[Number, Number], ...], msgspec.Meta(max_length=TARGETS_MAX)]


class Mail(msgspec.Struct, frozen=True, array_like=True, tag=128, gc=False):
    """One value from a mailbox of the sender's life to mailboxes of the receiver's life `to`.

    Each target comes with the number of this value between those two mailboxes, so that a gap shows. `kind` is 0 for a
    value, 1 for a call, 2 for its reply, 3 for the reason why there is none, and 4 where there is none because the
    mailbox closed first; `number` tells calls apart.
    """

    to: IncarnationField
    sender: Number
    targets: Targets
    kind: Annotated[int, msgspec.Meta(ge=0, le=4)]
    number: Number
    payload: msgspec.Raw


GroupMessage = Mail
