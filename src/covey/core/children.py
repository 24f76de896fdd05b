"""What the machine that keeps children says to the world that runs them, and hears from it.

A *copy* is one run of one child: its number is drawn anew at each start and never again in this life. Effects name the
copy that they are for, and facts the one that they come from, so that no late word is about another one.

::

    PrepareChild ─▶ ChildPrepared ─▶ StartChild ─▶ ChildStarted ─▶ ChildReceives ─▶ DeliverToChild ─▶ ChildReplied
                                                        └─▶ AskHandover ─▶ HandoverGiven ─▶ ChildExited
                                                        └─▶ StopChild ───────────────────▶ ChildExited
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from covey.core.ids import Site


class Copy(msgspec.Struct, frozen=True, order=True, gc=False):
    """One run of one child of one hub."""

    hub: bytes
    id: bytes
    number: int


class Ending(IntEnum):
    """How a copy ended."""

    RETURNED = 0
    RAISED = 1
    STOPPED = 2  # it was told to end, and did
    REFUSED = 3  # this node does not know what to start, or cannot read what it is to be started with


# --- effects --------------------------------------------------------------------------------------------------------


class PrepareChild(msgspec.Struct, frozen=True, gc=False):
    """Build a copy, and do not run it yet. Ends in `ChildPrepared` or `ChildExited`."""

    copy: Copy
    start: str
    arguments: bytes


class StartChild(msgspec.Struct, frozen=True, gc=False):
    """Run a copy, which may be prepared. Ends in `ChildStarted`, later or instead in `ChildExited`.

    `token`: its fencing token; 0 while it has none. `handed_over`: what the copy before left, encoded.
    """

    copy: Copy
    start: str
    arguments: bytes
    token: int
    handed_over: bytes | None


class TellToken(msgspec.Struct, frozen=True, gc=False):
    """A copy that runs has another fencing token from now on."""

    copy: Copy
    token: int


class DeliverToChild(msgspec.Struct, frozen=True, gc=False):
    """The letter that a copy waits for. `call` is what to answer to; 0: nobody waits for an answer."""

    copy: Copy
    call: int
    sender: Site
    payload: bytes


class AskHandover(msgspec.Struct, frozen=True, gc=False):
    """A copy is to end soon, and may leave a state to the next one. After `grace_us` it is ended.

    `target` runs it next. `duplicate`: it runs there already, and this copy is one too many.
    """

    copy: Copy
    grace_us: int
    target: Site
    duplicate: bool


class StopChild(msgspec.Struct, frozen=True, gc=False):
    """A copy is to end: told first, ended after `grace_us`. `deposed`: it has lost the right to run."""

    copy: Copy
    grace_us: int
    deposed: bool = False


class AskResolver(msgspec.Struct, frozen=True, gc=False):
    """Two copies of a child ran; the user makes one state of what both left. Ends in `StatesResolved`."""

    copy: Copy
    ours: bytes | None
    theirs: bytes | None


# --- facts ----------------------------------------------------------------------------------------------------------


class ChildPrepared(msgspec.Struct, frozen=True, gc=False):
    """A copy is built."""

    copy: Copy


class ChildStarted(msgspec.Struct, frozen=True, gc=False):
    """A copy runs, and did not fail at once."""

    copy: Copy


class ChildReceives(msgspec.Struct, frozen=True, gc=False):
    """A copy waits for its next letter."""

    copy: Copy


class ChildReplied(msgspec.Struct, frozen=True, gc=False):
    """A copy answered a call, or (`failed`) said why it does not."""

    copy: Copy
    call: int
    failed: bool
    payload: bytes


class HandoverGiven(msgspec.Struct, frozen=True, gc=False):
    """A copy that is about to end left this to the next one; with an `error` it cannot be handed over, and is lost."""

    copy: Copy
    state: bytes | None
    error: str = ""


class ChildStuck(msgspec.Struct, frozen=True, gc=False):
    """A copy was told to end, its grace is over, and it still runs."""

    copy: Copy


class ChildExited(msgspec.Struct, frozen=True, gc=False):
    """A copy has ended; nothing comes from it any more. `error`: what it raised, in a line; `trace`: the whole."""

    copy: Copy
    ending: Ending
    error: str = ""
    trace: str = ""


class StatesResolved(msgspec.Struct, frozen=True, gc=False):
    """The user's answer to `AskResolver`; with an `error` there is none, and ours stays."""

    copy: Copy
    state: bytes | None
    error: str = ""
