"""What users see of a hub: children, results, and what happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from covey.core.errors import CoveyError, DeadlineExceeded, UnavailableError, UsageError
from covey.core.ids import Site
from covey.protocols.registry.rows import State
from covey.protocols.registry.vocabulary import Trouble
from covey.wire.keys import Key


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
    """A child as this node knows it. `copies` is empty while it runs nowhere, and has two after a split for a while."""

    id: Key
    start: str
    metadata: Any
    copies: tuple[ChildCopy, ...]

    @property
    def tag(self) -> Any:
        """What its metadata says under "tag", or None."""
        return self.metadata.get("tag") if isinstance(self.metadata, dict) else None

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
    """What became of a batch that was to start. `rolled_back`: something failed, and all of it was stopped again."""

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


def error_of(errors: tuple[ChildError, ...]) -> CoveyError:
    """Several errors as one: `DeadlineExceeded` where something was not heard of in time."""
    told = "; ".join(
        f"{error.id!r}: {error.reason}" + (f" ({error.name})" if error.name else "") for error in errors[:5]
    )
    more = f"; and {len(errors) - 5} more" if len(errors) > 5 else ""
    late = Trouble.NO_RESPONSE.name.lower()
    if any(error.trouble == late for error in errors):
        return DeadlineExceeded(told + more)
    if all(error.trouble == "gone" for error in errors):
        return UnavailableError(told + more)
    return ChildStartFailed(told + more)


# --- events ---------------------------------------------------------------------------------------------------------


class ChildRegistered(msgspec.Struct, frozen=True):
    """There is a child from now on, running or not yet."""

    child: Child


class ChildUpdated(msgspec.Struct, frozen=True):
    """A child runs elsewhere, or anew, or is otherwise than before."""

    child: Child


class ChildUnregistered(msgspec.Struct, frozen=True):
    """A child is none any more: it was stopped, or is done. `child` is as it was before."""

    child: Child


class CopyEnded(msgspec.Struct, frozen=True):
    """A copy on this node was ended, not by its own will. `why`: "fenced", "duplicate", or "gave up".

    "refused": it was to start here and did not, for this node does not allow that, or cannot read its arguments.
    Else a sentence: `resolve` could not make one state of two, and that of the copy on this node counts.
    """

    id: Key
    why: str
    winner: Site | None
    error: str


class ChildUnplaced(msgspec.Struct, frozen=True):
    """Nobody who takes part can run this child, as this node sees it: it waits. Said again once it was placed
    meanwhile."""

    child: Child


class MoveFailed(msgspec.Struct, frozen=True):
    """A child could not be handed over to the node `target`, and stays here."""

    id: Key
    target: Site
    error: str


class HubNodesChanged(msgspec.Struct, frozen=True):
    """Other nodes take part in the hub."""

    nodes: tuple[HubNode, ...]


class ConfigMismatch(msgspec.Struct, frozen=True):
    """Nodes with another configuration take part. `places`: whether ours is the one by which children are placed.

    Those of the other one run no children, and pass calls on. `explanation` says what differs, and what to do.
    """

    ours: str
    theirs: tuple[tuple[Site, str], ...]
    places: bool
    explanation: str = ""


class StrategyFailed(msgspec.Struct, frozen=True):
    """This function of the hub's synchronisation strategy raised, or returned what makes no sense. Said once for each.

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
    | HubNodesChanged
    | ConfigMismatch
    | StrategyFailed
)

STATE_NAMES = {state: state.name.lower() for state in State}
