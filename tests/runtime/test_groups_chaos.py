"""Five durable processes, 10,000 groups: joins, leaves, SIGKILLs and restarts, then quiet; and all views are equal."""

from __future__ import annotations

import pytest

from benchmarks.group_chaos import CHAOS_S, GROUPS, chaos

EQUAL_S_MAX = 2.0


@pytest.mark.serial
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seconds", [12.0, pytest.param(CHAOS_S, marks=pytest.mark.nightly)])
async def test_after_chaos_all_views_are_equal_at_once(seconds):
    """And each is what its owner has: a view tells of its own members what their mailboxes joined."""
    seen = await chaos(seconds, seed=int(seconds))
    assert seen["kills"] >= seconds // 12 and seen["steps"] > 100 * seconds
    assert seen["groups"] == GROUPS and seen["memberships"] > GROUPS
    assert seen["equal_s"] <= EQUAL_S_MAX, seen
