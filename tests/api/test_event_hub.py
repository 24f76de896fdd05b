"""A hub of events by itself: who is subscribed, and who is not."""

from __future__ import annotations

import pytest

from covey.api.events import EventHub
from covey.testing import Cluster, run


def test_a_snapshot_that_cannot_be_taken_subscribes_nobody():
    """Found by reading: who asked while there was no answer stayed subscribed, and was told everything for ever."""

    async def test(_: Cluster) -> None:
        states: list[int] = []
        hub: EventHub[int, int] = EventHub(lambda: states[0])
        with pytest.raises(IndexError):
            async with hub.subscription(1):
                raise AssertionError("it is not open")
        assert not hub
        states.append(7)
        async with hub.subscription(1) as events:
            assert (events.snapshot, bool(hub)) == (7, True)

    run(test)
