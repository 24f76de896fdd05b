"""A child that was stopped and ignores it is none any more, and is seen as stuck until it has ended."""

from __future__ import annotations

import asyncio
import contextlib

import covey
from covey.cli.hub import _child_lines
from covey.testing import Cluster, run
from covey.wire.keys import encode_key
from tests.api.asking import ask
from tests.api.hub_children import copies
from tests.api.hubs_open import flock
from tests.testing.virtual import until


async def stubborn(ctx: covey.Context) -> None:
    """It ignores being cancelled, until a test lets it go."""
    with copies.copy(ctx):
        while not let_go:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)


let_go: list[bool] = []


def test_what_was_stopped_and_runs_on_is_seen_as_stuck_by_all_until_it_has_ended():
    let_go.clear()

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2, children=[stubborn]) as f:
            spec = covey.ChildSpec("x", stubborn).with_options(shutdown_timeout=0.1)
            child = await f.hubs[0].start_child(spec, wait="visible_everywhere")
            async with f.hubs[1].events() as events:
                with contextlib.suppress(covey.DeadlineExceeded):
                    await f.hubs[0].stop_child("x", timeout=0.05)
                for hub in f.hubs:
                    assert (hub.lookup("x"), hub.dump()) == (None, {}), "it may end yet"
                    reasons = (
                        "there is no such child",
                        f"the copy on {child.node} was told to end, and has not yet (running)",
                    )
                    assert hub.explain("x").reasons == reasons
                await until(lambda: all(hub.lookup("x") for hub in f.hubs), 5)
                for hub, node in zip(f.hubs, f.nodes, strict=True):
                    (seen,) = hub.dump().values()
                    assert seen == hub.lookup("x")
                    assert (seen.state, seen.node, seen.start) == ("stuck", child.node, "")
                    assert hub.children() == []
                    told = await ask(cluster, node, "hub", hub=encode_key("h"))
                    assert [one["copies"][0]["state"] for one in told["children"]] == ["stuck"]
                    told = await ask(cluster, node, "hub_child", hub=encode_key("h"), id=encode_key("x"))
                    lines = _child_lines(told)
                    assert any(child.node in line and "(stuck)" in line for line in lines)
                let_go.append(True)
                await until(lambda: not any(hub.lookup("x") or hub.dump() for hub in f.hubs), 5)
                kinds = [type(await anext(events)).__name__ for _ in range(3)]
                assert kinds == ["ChildUnregistered", "ChildUpdated", "ChildUnregistered"]

    run(test)
