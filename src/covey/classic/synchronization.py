"""ProcessHub's synchronisation strategy (`Strategy.Synchronization.Base`, 0.5), by its six names, over an open hub.

There a strategy is a struct with six functions, which send and merge as they like. Here it is an object with methods
of these names (`covey.PubSub`, `covey.Gossip`, or your own), which return what to send, and the hub calls them: so who
only uses a hub needs nothing of this. To call one by hand, for a test or from an old script, is what this is for.

What differs throughout: rows are merged by the row rule alone, before a strategy hears of them, so no function can lose
or undo anything, absence deletes nothing and no clock decides. With `covey.Delta()` the row machine keeps rows alike,
and its functions do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from covey.api.hubs import Hub
from covey.core.errors import UsageError
from covey.core.ids import Site
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.strategies.strategy import (
    AllRows,
    CrossNodeRequest,
    Data,
    OurRows,
)
from covey.protocols.registry.strategies.strategy import SynchronizationStrategy as Strategy


class SynchronizationStrategy:
    """The six functions for one hub, each with ProcessHub's arguments behind the strategy and the hub.

    Law: nothing is kept here; each call is one of the hub's strategy, and what it returns is told. Raises `ClosedError`
    where the hub is not open on this node. Nothing here waits.
    """

    def __init__(self, hub: Hub) -> None:
        if not isinstance(hub, Hub):
            raise UsageError(f"SynchronizationStrategy needs a covey.Hub, not {type(hub).__name__}")
        self.hub = hub

    def init(self) -> Strategy:
        """The strategy as it is by now. It began when the hub was opened; to begin again there is nothing to do."""
        strategy: Strategy = self.hub._open().machine.synchronizing.strategy
        return strategy

    def init_sync(self, nodes: Iterable[Site] | None = None) -> None:
        """Begin the periodic repair now, for these nodes; None: for all others."""
        self._run("init_sync", self._nodes(nodes))

    def handle_synchronization(self, data: Data, sender: Site) -> None:
        """Take repair data as if `sender` had sent it: its requests are applied, and its note is the strategy's."""
        self._run("handle_synchronization", *_arrived(data, sender))

    def propagate(
        self, requests: Iterable[CrossNodeRequest], *, members: str | Iterable[Site] = "external", priority: str = ""
    ) -> None:
        """Deliver requests to the other members.

        `members`: "external" (the others), "global" (the same: what was done here has been applied here), or some
        sites. `priority` is taken and means nothing: a frame has no second lane.
        """
        some = tuple(requests)
        if not all(isinstance(request, CrossNodeRequest) for request in some):
            raise UsageError("requests: must be CrossNodeRequests, as a strategy is given them; nothing was sent")
        if isinstance(members, str) and members not in ("external", "global"):
            raise UsageError(f"members: must be 'external', 'global' or some sites, not {members!r}; nothing was sent")
        self._run("propagate", some, self._nodes(None if isinstance(members, str) else members))

    def broadcast_local_data(self, local_data: OurRows | AllRows | None = None, targets: Iterable[Site] = ()) -> None:
        """Give our rows to those who have come. `local_data` is encoded as it is sent; None: `OurRows()`."""
        self._run("broadcast_local_data", OurRows() if local_data is None else local_data, self._nodes(targets))

    def handle_node_join_data(self, data: Data, sender: Site) -> None:
        """Take join data as if `sender` had sent it."""
        self._run("handle_node_join_data", *_arrived(data, sender))

    def _nodes(self, nodes: Iterable[Site] | None) -> tuple[Site, ...]:
        others = tuple(member.site for member in self.hub._open().machine.ground.members())
        some = others if nodes is None else tuple(nodes)
        if stranger := next((site for site in some if site not in others), None):
            raise UsageError(f"{stranger!r:.60} is no other member of this hub; nothing was sent")
        return some

    def _run(self, function: str, *arguments: object) -> None:
        self.hub._open()
        self.hub._hubs.feed(h.Synchronize(self.hub._instance, function, arguments))


def _arrived(data: Data, sender: Site) -> tuple[Data, Site]:
    if not isinstance(data, Data):
        raise UsageError(f"data: must be a covey.classic.Data, not {type(data).__name__}; nothing was taken")
    return data, sender
