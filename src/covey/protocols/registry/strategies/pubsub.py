"""PubSub: what is done goes to all others at once, and now and then everybody tells everybody everything.

ProcessHub's default. It is the simplest strategy there is, and needs nothing of the others but to be there. A quiet
hub of N nodes costs N(N-1) copies of its shared rows in each interval, so it is for few nodes and few children.
"""

from __future__ import annotations

from covey.core.errors import ConfigError
from covey.core.ids import Site
from covey.protocols.registry.strategies.strategy import CrossNodeRequest, Data, HubView, OurRows, Step, Tell, Told

SYNC_INTERVAL = 15.0  # seconds; ProcessHub's up to 0.4.1
SECONDS_MIN, SECONDS_MAX = 0.1, 86_400.0


class PubSub:
    """Tell all others: what is done, at once; everything, every `sync_interval` seconds and to whoever comes."""

    __slots__ = ("sync_interval",)

    def __init__(self, sync_interval: float = SYNC_INTERVAL) -> None:
        """Raises `ConfigError`."""
        self.sync_interval: float | None = check_interval(sync_interval)

    def init(self, hub: HubView) -> PubSub:
        return self

    def init_sync(self, hub: HubView, nodes: tuple[Site, ...]) -> Step:
        return Step((Tell(nodes, OurRows()),))

    def handle_synchronization(self, hub: HubView, data: Data, sender: Site) -> Step:
        return Step()

    def propagate(self, hub: HubView, requests: tuple[CrossNodeRequest, ...], nodes: tuple[Site, ...]) -> Step:
        return Step((Tell(nodes, requests),))

    def broadcast_local_data(self, hub: HubView, local_data: Told, targets: tuple[Site, ...]) -> Step:
        return Step((Tell(targets, local_data),))

    def handle_node_join_data(self, hub: HubView, data: Data, sender: Site) -> Step:
        return Step()

    def __repr__(self) -> str:
        return f"PubSub(sync_interval={self.sync_interval:g})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PubSub) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


def check_interval(seconds: float) -> float:
    """Seconds between two rounds. Raises `ConfigError`."""
    if type(seconds) not in (int, float) or not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise ConfigError(f"sync_interval: must be seconds from {SECONDS_MIN} to {SECONDS_MAX:g}, not {seconds!r}")
    return float(seconds)
