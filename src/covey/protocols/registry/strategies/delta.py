"""Delta: rows are pushed once, compared by digest and asked for where they are missing. That is the row machine itself.

Quiet hubs cost nothing that grows with their rows, and what was lost is found within a second. It is the default, and
there is no reason for another one but to have exactly what ProcessHub had, or something of one's own.
"""

from __future__ import annotations

from covey.core.ids import Site
from covey.protocols.registry.strategies.strategy import CrossNodeRequest, Data, HubView, OurRows, Step, Tell, Told


class Delta:
    """Leave it to the row machine.

    Its functions do nothing but one thing: a node of another strategy is told our rows when it tells its own. So both
    learn that they are not configured alike.
    """

    __slots__ = ()

    sync_interval: float | None = None

    def init(self, hub: HubView) -> Delta:
        return self

    def init_sync(self, hub: HubView, nodes: tuple[Site, ...]) -> Step:
        return Step()

    def handle_synchronization(self, hub: HubView, data: Data, sender: Site) -> Step:
        return Step((Tell((sender,), OurRows()),)) if data.rows else Step()

    def propagate(self, hub: HubView, requests: tuple[CrossNodeRequest, ...], nodes: tuple[Site, ...]) -> Step:
        return Step()

    def broadcast_local_data(self, hub: HubView, local_data: Told, targets: tuple[Site, ...]) -> Step:
        return Step()

    def handle_node_join_data(self, hub: HubView, data: Data, sender: Site) -> Step:
        return Step((Tell((sender,), OurRows()),)) if data.rows else Step()

    def __repr__(self) -> str:
        return "Delta()"

    def __eq__(self, other: object) -> bool:
        return type(other) is Delta

    def __hash__(self) -> int:
        return hash(Delta)
