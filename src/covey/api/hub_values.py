"""What users see of a hub: children, results, and what happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from covey.core.errors import CoveyError, DeadlineExceeded, UnavailableError, UnknownName, UsageError
from covey.core.ids import Site
from covey.protocols.registry.rows import State
from covey.protocols.registry.vocabulary import Trouble
from covey.wire.keys import Key

_metadata_decoder = msgspec.msgpack.Decoder()


class ChildCopy(msgspec.Struct, frozen=True):
    """One copy of a child: where it runs, and how.

    `state` is "starting", "running", "moving", "stuck" (told to end, and does not) or "failed" (it failed too often,
    and is not started again). `instance` is another number after each start. `fencing_token` is that of `ctx`.
    `error` has the end of the last traceback.
    """

    site: Site
    name: str
    incarnation: int
    state: str
    instance: int
    fencing_token: int
    error: str = ""


class Child(msgspec.Struct, frozen=True):
    """A child as this node knows it. `copies` is empty while it runs nowhere, and has two after a split for a while.

    One that was stopped, and of which a copy does not end, is seen until that does: `start` is "" then.
    `encoded` is its metadata as it travels.
    """

    id: Key
    start: str
    encoded: bytes
    copies: tuple[ChildCopy, ...]

    @property
    def metadata(self) -> Any:
        """What is said of it: read anew each time, so whoever changes it changes its own."""
        try:
            return _metadata_decoder.decode(self.encoded) if self.encoded else {}
        except (ValueError, RecursionError):
            return {}

    def __repr__(self) -> str:
        return f"Child(id={self.id!r}, start={self.start!r}, metadata={self.metadata!r}, copies={self.copies!r})"

    @property
    def tag(self) -> Any:
        """What its metadata says under "tag", or None."""
        metadata = self.metadata
        return metadata.get("tag") if isinstance(metadata, dict) else None

    @property
    def site(self) -> Site | None:
        """The site of the node that runs it, if one does."""
        return self.copies[0].site if self.copies else None

    @property
    def node(self) -> str:
        """The name of that node, or ""."""
        return self.copies[0].name if self.copies else ""

    @property
    def state(self) -> str:
        """How it is there; "waiting" while it runs nowhere."""
        return self.copies[0].state if self.copies else "waiting"

    @property
    def error(self) -> str:
        """The end of the last traceback, where it raised."""
        return self.copies[0].error if self.copies else ""


class HubNode(msgspec.Struct, frozen=True):
    """A node that takes part in a hub. Unless it `places`, its configuration is another one, and it runs nothing."""

    site: Site
    name: str
    weight: int
    zone: str
    draining: bool
    starts: tuple[str, ...]
    settings: str
    app_version: str
    places: bool


class ChildError(msgspec.Struct, frozen=True):
    """What went wrong with one child. `trouble`: "exists", "no_host", "raised", "no_response", "gone", "not_found" …"""

    id: Key
    site: Site | None
    name: str
    trouble: str
    reason: str


class _Result(msgspec.Struct, frozen=True):
    errors: tuple[ChildError, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not self.errors

    @property
    def status(self) -> str:
        """ "ok" or "error"."""
        return "error" if self.errors else "ok"

    def raise_for_errors(self) -> None:
        """Raises the errors as one: `DeadlineExceeded` where something was not heard of in time."""
        if self.errors:
            raise error_of(self.errors)


class StartResult(_Result, frozen=True):
    """What became of a batch that was to start. `rolled_back`: something failed, and all of it was stopped again.

    But for what somebody else started too, which stays, and is an error `exists`.
    """

    started: tuple[Child, ...] = ()
    rolled_back: bool = False

    def __iter__(self) -> Iterator[Child]:
        return iter(self.started)


class StopResult(_Result, frozen=True):
    """What became of a batch that was to end: the ids that did, and the sites that ran each."""

    stopped: tuple[tuple[Key, tuple[Site, ...]], ...] = ()


class ChildStartFailed(UsageError):
    """A child could not be started: it raised as it started, or nobody can run it."""


def explain_mismatch(ours: str, theirs: Mapping[str, str], places: bool) -> str:
    """What of their settings, by the names of nodes, is not as ours, and what to do about it."""
    here = ours.split("; ")
    told = []
    for name, settings in list(theirs.items())[:5]:
        there = settings.split("; ")
        differs = "; ".join(part for part in there if part not in here) or "less"
        instead = "; ".join(part for part in here if part not in there) or "less"
        told.append(f"{name} has {differs:.300} where this node has {instead:.300}")
    more = f", and {len(theirs) - 5} nodes more have others" if len(theirs) > 5 else ""
    who = "the others run" if places else "this node runs"
    return (
        f"{', '.join(told)}{more}; {who} nothing of the hub until all nodes open it with the same: choose one for all"
    )


def explain_missing(voters: tuple[str, ...], missing: tuple[str, ...], agreed: bool) -> str:
    """What it means that these voters take no part. `agreed`: all were there together before, as this node knows."""
    if not missing:
        return ""
    needed, left = len(voters) // 2 + 1, len(voters) - len(missing)
    told = f"of the voters {', '.join(voters)} these take no part: {', '.join(missing)}"
    if not agreed:
        start = f"no child is started before all {len(voters)} have been there together once"
        return f"{told}; {start}, afterwards {needed} of them are enough"
    if left < needed:
        return f"{told}; no child runs until {needed} of them are there"
    return f"{told}; the {left} others are enough, and {left - needed} of these may go as well"


def error_of(errors: tuple[ChildError, ...]) -> CoveyError:
    """Several errors as one: `DeadlineExceeded` where something was not heard of in time, `UnknownName` for what is no
    child and was to be stopped."""
    told = "; ".join(
        f"{error.id!r}: {error.reason}" + (f" ({error.name})" if error.name else "") for error in errors[:5]
    )
    more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
    late = Trouble.NO_RESPONSE.name.lower()
    if any(error.trouble == late for error in errors):
        return DeadlineExceeded(told + more)
    if all(error.trouble == "gone" for error in errors):
        return UnavailableError(told + more)
    if all(error.trouble == "not_found" for error in errors):
        return UnknownName(told + more)
    return ChildStartFailed(told + more)


# --- events ---------------------------------------------------------------------------------------------------------


class ChildRegistered(msgspec.Struct, frozen=True):
    """There is a child from now on, running or not yet."""

    child: Child


class ChildUpdated(msgspec.Struct, frozen=True):
    """A child runs elsewhere, or anew, or is otherwise than before; or a copy of one that was stopped is "stuck"."""

    child: Child


class ChildUnregistered(msgspec.Struct, frozen=True):
    """A child is none any more: it was stopped, or is done. `child` is as it was before.

    Said again when a copy that was stuck has ended.
    """

    child: Child


class CopyEnded(msgspec.Struct, frozen=True):
    """A copy on this node (`site`) was ended, not by its own will. `copies` is how many of the child were shown then.

    `why`: "fenced": its lease ended. "duplicate": that on `winner` stays. "merged": this one stays, and is started anew
    with the state that `resolve` makes of two. "gave up": it failed too often. "refused": it was to start here and did
    not, for this node does not allow that, or cannot read its arguments. Else a sentence: `resolve` could not make one
    state of two (`error` says why), and that of the copy on this node counts. Otherwise `error` has the end of the last
    traceback.
    """

    id: Key
    why: str
    winner: Site | None
    error: str
    site: Site
    copies: int = 1


class ChildUnplaced(msgspec.Struct, frozen=True):
    """Nobody who takes part can run this child, as this node sees it: it waits. Said again once it was placed
    meanwhile."""

    child: Child


class MoveFailed(msgspec.Struct, frozen=True):
    """A child could not be handed over to the node `target`, and stays here."""

    id: Key
    target: Site
    error: str


class HandoverLost(msgspec.Struct, frozen=True):
    """What a copy on this node left cannot be sent (`error` says why): it is lost, and the next copy starts without."""

    id: Key
    error: str


class HubNodesChanged(msgspec.Struct, frozen=True):
    """Other nodes take part in the hub."""

    nodes: tuple[HubNode, ...]


class ConfigMismatch(msgspec.Struct, frozen=True):
    """Nodes with another configuration take part. `places`: whether ours is the one by which children are placed.

    Those of the other one run no children, and pass calls on. `explanation` says what differs, and what to do. While
    it holds, whoever opens `events()` hears it first.
    """

    ours: str
    theirs: tuple[tuple[Site, str], ...]
    places: bool
    explanation: str = ""


class VotersMissing(msgspec.Struct, frozen=True):
    """Of the nodes that `on_split=Majority(…)` names, these take no part, or cannot vote; (): all take part again.

    `explanation` says what follows. No child is started before all of them have been there together once. While some
    take no part, whoever opens `events()` hears it first.
    """

    names: tuple[str, ...]
    explanation: str


class StrategyFailed(msgspec.Struct, frozen=True):
    """This function of the hub's synchronisation strategy raised, or returned what makes no sense. Said once for each,
    and first of all to whoever opens `events()` later.

    Rows travel all the same: instead of what it would have said, what is new goes to all nodes, and one at random is
    told everything.
    """

    function: str
    reason: str


HubEvent = (
    ChildRegistered
    | ChildUpdated
    | ChildUnregistered
    | ChildUnplaced
    | CopyEnded
    | MoveFailed
    | HandoverLost
    | HubNodesChanged
    | ConfigMismatch
    | VotersMissing
    | StrategyFailed
)

STATE_NAMES = {state: state.name.lower() for state in State}
