"""What only hubs say and hear. What they say to the world that runs children stands in `core.children`."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import msgspec

from covey.core.ids import Origin, Site
from covey.protocols.registry.rows import Child, Running, Spec
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.strategy import SynchronizationStrategy


class NewChild(msgspec.Struct, frozen=True, gc=False):
    """A child as it is to be started: its encoded id, what to start, and its encoded metadata."""

    id: bytes
    spec: Spec
    meta: bytes


class HubOptions(msgspec.Struct, frozen=True):
    """What this node says of itself in a hub, and what all nodes must have alike (`settings`)."""

    name: str
    starts: tuple[str, ...]
    settings: str
    voters: tuple[str, ...] = ()  # with any, never two copies at one time
    resolves: bool = False  # the user makes one state of two
    weight: int = 1
    zone: str = ""
    app_version: str = ""
    synchronization: SynchronizationStrategy = Delta()


# --- commands -------------------------------------------------------------------------------------------------------


class OpenHub(msgspec.Struct, frozen=True, gc=False):
    """Take part in a hub. Resolved once this node places children and all of `static` run somewhere.

    With a `StartOutcome` that has only errors where some of these did not start; the hub is open all the same. Refused
    with `DeadlineExceeded` where others do not show what they run.
    """

    request: int
    hub: bytes
    options: HubOptions
    static: tuple[NewChild, ...] = ()


class CloseHub(msgspec.Struct, frozen=True, gc=False):
    """Take part no more: what runs here moves, and what has nowhere to go ends. Resolved when nothing runs here."""

    request: int
    hub: bytes


class StartChildren(msgspec.Struct, frozen=True, gc=False):
    """Start children. Resolved with a `StartOutcome`, within `timeout_us`.

    `unchecked`: do not look first whether one is there already. `rollback`: if one fails, all of them end.
    `everywhere`: wait until every participant shows them.
    """

    request: int
    hub: bytes
    children: tuple[NewChild, ...]
    timeout_us: int
    unchecked: bool = False
    rollback: bool = False
    everywhere: bool = False


class StopChildren(msgspec.Struct, frozen=True, gc=False):
    """End children for good. Resolved with a `StopOutcome`, within `timeout_us`."""

    request: int
    hub: bytes
    ids: tuple[bytes, ...]
    timeout_us: int


class CallChild(msgspec.Struct, frozen=True, gc=False):
    """One letter to a child, started with `start` where it is not there. Resolved with its `Answer`.

    Refused with `PeerUnreachable` when it did not get it, with `DeadlineExceeded` when it may have. Request 0: a cast.
    """

    request: int
    hub: bytes
    id: bytes
    payload: bytes
    timeout_us: int
    start: NewChild | None = None


class UpdateChild(msgspec.Struct, frozen=True, gc=False):
    """A child's metadata (encoded) is this from now on. Refused, at once, where there is no room; never resolved."""

    request: int
    hub: bytes
    id: bytes
    meta: bytes


class Synchronize(msgspec.Struct, frozen=True, gc=False):
    """Call one of the functions of a hub's strategy (`init_sync`, …) by hand, with all its arguments but the hub."""

    hub: bytes
    function: str
    arguments: tuple[Any, ...]


# --- outcomes -------------------------------------------------------------------------------------------------------


class Trouble(IntEnum):
    """Why a child was not started or stopped."""

    EXISTS = 0  # it is there already
    NO_HOST = 1  # nobody who takes part can run it
    RAISED = 2  # it failed as it started
    NO_RESPONSE = 3  # nothing was heard in time; it may still happen
    GONE = 4  # somebody stopped it meanwhile
    NOT_FOUND = 5  # there is none to stop
    REFUSED = 6  # its rows do not fit


class ChildError(msgspec.Struct, frozen=True, gc=False):
    """What went wrong with one child, and with whom (None: nobody in particular)."""

    id: bytes
    site: Site | None
    trouble: Trouble
    reason: str


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a child runs."""

    id: bytes
    life: Origin
    running: Running


class StartOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a batch: whoever started, whoever did not, and whether all were taken back because of that."""

    started: tuple[Place, ...]
    errors: tuple[ChildError, ...]
    rolled_back: bool = False


class StopOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a batch: the children that ended, and who ran each."""

    stopped: tuple[tuple[bytes, tuple[Site, ...]], ...]
    errors: tuple[ChildError, ...]


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A child's answer; `failed`: why there is none."""

    failed: bool
    payload: bytes


# --- events ---------------------------------------------------------------------------------------------------------


class Shown(msgspec.Struct, frozen=True, gc=False):
    """A child as it is shown: its row (None: it is no child any more) and who runs it."""

    child: Child | None
    runs: tuple[tuple[Origin, Running], ...]


class ChildChanged(msgspec.Struct, frozen=True, gc=False):
    """The event: what is shown of a child changed. The fold of these is the registry."""

    hub: bytes
    id: bytes
    before: Shown | None
    after: Shown | None


class ParticipantsChanged(msgspec.Struct, frozen=True, gc=False):
    """The event: other nodes take part in a hub, or the same ones otherwise. `others` have another configuration."""

    hub: bytes
    hosts: tuple[Site, ...]
    others: tuple[Site, ...]


class ConfigDiffers(msgspec.Struct, frozen=True, gc=False):
    """The event: nodes with another configuration take part. `places`: whether it is ours that places children."""

    hub: bytes
    ours: str
    theirs: tuple[tuple[Site, str], ...]
    places: bool


class VotersMissing(msgspec.Struct, frozen=True, gc=False):
    """The event: of the voters, these take no part, as this node sees it. Said of each set that lasts, also of none."""

    hub: bytes
    names: tuple[str, ...]


class CopyEnded(msgspec.Struct, frozen=True, gc=False):
    """The event: a copy that ran here was ended, not by its own will. `why` is one of these.

    "fenced": its lease ended. "duplicate": another copy stays, that of `winner`. "merged": this one stays, and starts
    anew with the state that is made of two. "gave up": it failed too often.
    "refused": this node does not have what it starts, or cannot read its arguments. Else a sentence: its state and that
    of another copy were not made one, and its own counts.
    """

    hub: bytes
    id: bytes
    epoch: int
    why: str
    winner: Site | None = None
    error: str = ""
    copies: int = 1  # as they were shown then, with this one


class NobodyRuns(msgspec.Struct, frozen=True, gc=False):
    """The event: nobody who takes part can run these children, and they run nowhere. Said again of one that was placed
    meanwhile."""

    hub: bytes
    ids: tuple[bytes, ...]


class MoveFailed(msgspec.Struct, frozen=True, gc=False):
    """The event: a child could not be handed over to `target`, and stays here."""

    hub: bytes
    id: bytes
    target: Site
    error: str


class HandoverLost(msgspec.Struct, frozen=True, gc=False):
    """The event: what a copy here left cannot be handed over, and the next one starts without it."""

    hub: bytes
    id: bytes
    error: str


class StrategyFailed(msgspec.Struct, frozen=True, gc=False):
    """The event: this function of the hub's strategy raised, or returned what makes no sense; said once for each kind.

    What the strategy would have said is not said; rows travel all the same.
    """

    hub: bytes
    function: str
    reason: str
