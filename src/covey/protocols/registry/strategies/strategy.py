"""When and to whom the rows of a hub travel: the one thing about it that can be put in and taken out.

The seed is ProcessHub's synchronisation protocol, with its six functions under their names. Its strategies also merge,
and there absence deletes and clocks decide. Here merging is always the row rule: by the time a strategy hears that
something came, it has been applied, and a strategy can neither lose nor forge what a row says. It is asked when
something happened, and *returns* what to tell whom. So it is pure, and runs in the simulator as everything does.

What travels are values: requests, which are the operations that the row machine made and others apply in whatever
order and however often; or all rows, which are encoded when they are sent.
"""

from __future__ import annotations

from random import Random
from typing import Any, Protocol, TypeAlias

import msgspec

from covey.core.ids import Site
from covey.wire.messages.rows import OwnedOps, SharedOps

CrossNodeRequest: TypeAlias = OwnedOps | SharedOps
"""Something that was done to rows: operations of one owner, or of one life on shared rows."""

FUNCTIONS = (
    "init",
    "init_sync",
    "handle_synchronization",
    "propagate",
    "broadcast_local_data",
    "handle_node_join_data",
)


class Member(msgspec.Struct, frozen=True, gc=False):
    """A node that holds the rows of a hub. `name` is empty while its own row has not come."""

    site: Site
    name: str


class HubView(msgspec.Struct, frozen=True):
    """A hub as a strategy sees it: this node, the others (in the order of their sites), the time, and chance."""

    hub: bytes
    me: Member
    members: tuple[Member, ...]
    now_us: int
    rng: Random


class OurRows(msgspec.Struct, frozen=True):
    """What this node owns, whole, and the shared rows as they are known here: what is alive and what is dead."""


class AllRows(msgspec.Struct, frozen=True):
    """The same, with what others own as far as it is shown here."""


Told: TypeAlias = tuple[CrossNodeRequest, ...] | OurRows | AllRows


class Tell(msgspec.Struct, frozen=True):
    """Tell this to these nodes. `note` is for the strategy there; with all rows it comes behind the last of them."""

    to: tuple[Site, ...]
    what: Told
    note: bytes = b""


class Step(msgspec.Struct, frozen=True):
    """What a strategy wants told, and itself from now on; None: as it was."""

    tells: tuple[Tell, ...] = ()
    strategy: SynchronizationStrategy | None = None


class Data(msgspec.Struct, frozen=True):
    """What came, and was applied: requests, or (`rows`) all rows of the sender. `note` is what its strategy wrote."""

    requests: tuple[CrossNodeRequest, ...] = ()
    rows: bool = False
    note: bytes = b""


class SynchronizationStrategy(Protocol):
    """The seed's six functions.

    Each but `init` returns what to tell, and the strategy as it is from then on where it remembers something: it is a
    value and changes nothing. It may draw from `hub.rng` and from nothing else. A gap that a lost message leaves is
    closed when somebody is told all rows, so whoever comes and whoever missed something must be told them at some time.
    All nodes of a hub must have the same strategy: how it is written (`repr`) is part of the hub's configuration.
    """

    @property
    def sync_interval(self) -> float | None:
        """Seconds between two `init_sync`; None: the row machine itself keeps rows alike, and no function is needed."""
        ...

    def init(self, hub: HubView) -> SynchronizationStrategy:
        """The hub is opened on this node. Returns the strategy as it begins."""
        ...

    def init_sync(self, hub: HubView, nodes: tuple[Site, ...]) -> Step:
        """`sync_interval` is over: begin the repair of all of `nodes`. Not called while there are none."""
        ...

    def handle_synchronization(self, hub: HubView, data: Data, sender: Site) -> Step:
        """Something came that was told by `init_sync`, `propagate` or this."""
        ...

    def propagate(self, hub: HubView, requests: tuple[CrossNodeRequest, ...], nodes: tuple[Site, ...]) -> Step:
        """This was done here: deliver it to `nodes`. Called at the end of a turn, with all that was done in it."""
        ...

    def broadcast_local_data(self, hub: HubView, local_data: Told, targets: tuple[Site, ...]) -> Step:
        """`targets` have come, or come back: give them our rows. Who comes is asked the same about all others."""
        ...

    def handle_node_join_data(self, hub: HubView, data: Data, sender: Site) -> Step:
        """Something came that was told by `broadcast_local_data`, or by this."""
        ...


def described(strategy: Any) -> str:
    """A strategy in words, the same on every node: as it is written, if it says that."""
    kind: Any = type(strategy)
    if kind.__repr__ is object.__repr__:
        return f"{kind.__qualname__}(sync_interval={strategy.sync_interval})"
    return repr(strategy)
