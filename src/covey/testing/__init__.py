"""Whole nodes, and the coroutines that use them, on a virtual clock: a minute passes in milliseconds, twice alike.

Internal for now; it needs the extra `dev`.
"""

from covey.testing.cluster import Cluster, run
from covey.testing.loop import new_event_loop

__all__ = ["Cluster", "new_event_loop", "run"]
