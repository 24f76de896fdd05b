"""A strategy of a user's own, as one might write it: what is new goes to two at random, and so does everything."""

from __future__ import annotations

from covey.classic import AllRows, CrossNodeRequest, Data, HubView, OurRows, Step, Tell
from covey.core.ids import Site


class TwoAtRandom:
    """It has no base class, passes nothing on, and remembers nothing. That is enough to converge."""

    def __init__(self, sync_interval: float = 1.0) -> None:
        self.sync_interval: float | None = sync_interval

    def init(self, hub: HubView) -> TwoAtRandom:
        return self

    def init_sync(self, hub: HubView, nodes: tuple[Site, ...]) -> Step:
        return Step((Tell(self._two(hub, nodes), AllRows()),))

    def handle_synchronization(self, hub: HubView, data: Data, sender: Site) -> Step:
        return Step()

    def propagate(self, hub: HubView, requests: tuple[CrossNodeRequest, ...], nodes: tuple[Site, ...]) -> Step:
        return Step((Tell(self._two(hub, nodes), requests),))

    def broadcast_local_data(self, hub: HubView, local_data: OurRows, targets: tuple[Site, ...]) -> Step:
        return Step((Tell(targets, local_data),))

    def handle_node_join_data(self, hub: HubView, data: Data, sender: Site) -> Step:
        return Step()

    def _two(self, hub: HubView, nodes: tuple[Site, ...]) -> tuple[Site, ...]:
        return tuple(hub.rng.sample(nodes, min(2, len(nodes))))
