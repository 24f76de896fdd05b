"""Children that are given wrongly: each is refused, says what to do, and changes nothing."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

import covey
from covey import ChildSpec
from covey.testing import Cluster, run
from tests.api.hub_children import ALL, Late, Picky, fails, session, waits
from tests.api.hubs_open import flock, now, specs
from tests.testing.virtual import until


async def not_allowed(ctx: covey.Context) -> None:
    """A child that no hub of these tests lists."""


def plain(ctx: covey.Context) -> None:
    """No coroutine function."""


async def generator(ctx: covey.Context) -> Any:
    yield ctx


class NoRun:
    """A class without `run`."""


class Methods:
    async def run(self) -> None:
        """What a child does."""


# --- what to start --------------------------------------------------------------------------------------------------


def test_a_start_that_no_node_allows_is_refused_and_says_where_to_pass_it():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            hub = f.hubs[0]
            result = await hub.start_children([ChildSpec("x", not_allowed), ChildSpec("y", session)])
            (error,) = result.errors
            assert (error.id, error.trouble) == ("x", "no_host")
            assert "test_hub_bad_children:not_allowed" in error.reason and "`children`" in error.reason
            assert [child.id for child in result] == ["y"]
            with pytest.raises(covey.ChildStartFailed, match="not_allowed"):
                result.raise_for_errors()
            with pytest.raises(covey.UnknownName, match=r"not_allowed.*not delivered"):
                await hub.call("x", 1, start=not_allowed)  # type: ignore[arg-type]
            assert "x" not in hub.dump()

    run(test)


@pytest.mark.parametrize("id", ["one", "two", "three", "four"])
def test_a_call_whose_child_raises_as_it_is_started_hears_why_at_once(id):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            hub, began = f.hubs[0], now()
            with pytest.raises(covey.PeerUnreachable, match=r"TypeError.*not delivered"):
                await hub.call(id, 1, start=fails, timeout=30)  # type: ignore[arg-type]
            assert now() - began < 1
            assert id not in hub.dump()

    run(test)


def test_a_start_that_only_one_node_allows_runs_there():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            await f.join(children=[*ALL, not_allowed, Methods])
            await until(lambda: len(f.hubs[0].nodes()) == 2)
            result = await f.hubs[0].start_children([ChildSpec(id, waits) for id in range(3)])
            result.raise_for_errors()
            result = await f.hubs[0].start_children([ChildSpec("there", not_allowed)])
            assert [child.node for child in result] == ["n1"]

    run(test)


@pytest.mark.parametrize(
    "start, says",
    [
        (plain, "async def"),
        (generator, "yield"),
        (NoRun, "async def run"),
        (functools.partial(session), "partial"),
        (lambda ctx: None, "lambda"),
        (Methods().run, "method"),
        ("tests.api.hub_children:session", "no name"),
        (None, "no name"),
    ],
)
def test_what_cannot_be_started_is_refused_at_once(start, says):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            with pytest.raises(covey.UsageError, match=says):
                await f.hubs[0].start_children([ChildSpec("fine", session), ChildSpec("x", start)])
            with pytest.raises(covey.ConfigError, match=says):
                f.hub_of(f.nodes[0], children=[start])
            assert f.hubs[0].dump() == {}

    run(test)


@pytest.mark.parametrize(
    "given, says",
    [
        ([session], "ChildSpec"),
        ([("x", session)], "ChildSpec"),
        ([ChildSpec("x", session, object())], "arguments"),
        ([ChildSpec("x", session, 2**70)], "arguments"),
        ([ChildSpec("x", session, bytes(70_000))], "arguments"),
        ([ChildSpec(3.5, session)], "key"),  # type: ignore[arg-type]
        ([ChildSpec(None, session)], "key"),  # type: ignore[arg-type]
        ([ChildSpec("x", session).with_options(tag=object())], "metadata"),
        ([ChildSpec("x", session).with_options(tag="x" * 20_000)], "metadata"),
        ([], "no children"),
    ],
)
def test_children_that_cannot_be_written_down_are_refused_and_nothing_starts(given, says):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            with pytest.raises(covey.UsageError, match=says):
                await f.hubs[0].start_children([*([ChildSpec("fine", session)] if given else []), *given])
            await asyncio.sleep(1)
            assert f.hubs[0].dump() == {} and not f.copies.started

    run(test)


@pytest.mark.parametrize(
    "options",
    [
        {"on_failure": "panic"},
        {"wait": "long"},
        {"timeout": -1},
        {"timeout": "soon"},
        {"metadata": {"x": object()}},
        {"metadata": [1]},
    ],
)
def test_options_of_a_start_that_mean_nothing_are_refused(options):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            (name,) = options
            with pytest.raises(covey.UsageError, match=name):
                await f.hubs[0].start_children(specs(2), **options)
            assert f.hubs[0].dump() == {}

    run(test)


# --- starts that go wrong -------------------------------------------------------------------------------------------


def test_a_start_that_raises_is_an_error_of_its_child_on_whichever_node():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            f.copies.failing.update({"picky": f.hubs[0].explain("picky").ranking[0]})
            batch: list[ChildSpec] = [ChildSpec("a", fails), ChildSpec("b", Late, 0.1, "late")]
            batch += [ChildSpec("picky", Picky), ChildSpec("c", session, unexpected=1)]  # type: ignore[arg-type]
            result = await f.hubs[0].start_children([*batch, ChildSpec("d", session)])
            troubles = {error.id: (error.trouble, error.reason) for error in result.errors}
            assert {id: trouble for id, (trouble, _) in troubles.items()} == dict.fromkeys(
                ["a", "b", "picky", "c"], "raised"
            )
            for id, reason in (("a", "no luck"), ("b", "late"), ("picky", "no such device"), ("c", "TypeError")):
                assert reason in troubles[id][1]
            assert [child.id for child in result] == ["d"]
            await until(lambda: all(list(hub.dump()) == ["d"] for hub in f.hubs), 1)

    run(test)


def test_a_start_that_never_returns_ends_with_the_deadline_and_can_be_stopped():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            began = now()
            result = await f.hubs[0].start_children([ChildSpec("x", Late, 1e6)], timeout=2)
            assert 2 <= now() - began <= 2.01
            (error,) = result.errors
            assert (error.trouble, error.name) == ("no_response", f.hubs[0].explain("x").belongs)
            with pytest.raises(covey.DeadlineExceeded):
                result.raise_for_errors()
            assert f.hubs[1].dump()["x"].state == "starting"
            with pytest.raises(covey.PeerUnreachable, match="did not come to read it"):
                await f.hubs[1].call("x", 1, timeout=1)
            (await f.hubs[1].stop_children(["x"])).raise_for_errors()
            await until(lambda: not f.hubs[0].dump())

    run(test)


def test_a_cancelled_start_with_rollback_leaves_nothing_and_without_goes_on():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            for on_failure, left in (("rollback", set[Any]()), ("continue", {0, 1, 2})):
                batch = specs(3, Late, 0.5)
                starting = asyncio.create_task(f.hubs[0].start_children(batch, on_failure=on_failure))  # type: ignore[arg-type]
                await asyncio.sleep(0.2)
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                await asyncio.sleep(2)
                assert set(f.hubs[1].dump()) == left
            await f.settled()

    run(test)


# --- ids ------------------------------------------------------------------------------------------------------------


def test_ids_twice_in_a_batch_and_ids_that_run_are_told_and_started_once():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            batch = [*specs(3), *specs(4)]
            result = await f.hubs[0].start_children(batch)
            assert sorted(child.id for child in result) == [0, 1, 2, 3]
            assert [(error.id, error.trouble) for error in result.errors] == [(id, "exists") for id in range(3)]
            assert all(error.site == f.hubs[0].dump()[error.id].site for error in result.errors)
            result = await f.hubs[1].start_children(batch)
            assert not result.started
            assert {error.trouble for error in result.errors} == {"exists"}
            with pytest.raises(covey.ChildStartFailed, match="it is there already"):
                await f.hubs[1].start_child(ChildSpec(0, session))
            rolled = await f.hubs[1].start_children(
                [ChildSpec(0, session), ChildSpec(9, session)], on_failure="rollback"
            )
            assert rolled.rolled_back
            await f.settled()
            assert sorted(f.hubs[0].dump()) == [0, 1, 2, 3], "what was there before is not rolled back"
            assert {id: f.copies.started[id] for id in range(4)} == dict.fromkeys(range(4), 1)

    run(test)


def test_two_nodes_that_start_the_same_at_once_get_one():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            batches = await asyncio.gather(*(hub.start_children(specs(20), check_existing=False) for hub in f.hubs))
            replies = await asyncio.gather(*(hub.call("called", 1, start=session) for hub in f.hubs))
            await f.settled()
            assert sorted(replies) == [1, 2, 3]
            assert all(
                {child.id for child in result} | {e.id for e in result.errors} == {*range(20)} for result in batches
            )
            assert set(f.copies.started.values()) == {1} and len(f.copies.started) == 21

    run(test)


def test_a_stop_of_ids_that_are_no_list_and_of_nothing():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            for ids in ("device-7", b"device-7"):
                with pytest.raises(covey.UsageError, match="list"):
                    await f.hubs[0].stop_children(ids)
            assert (await f.hubs[0].stop_children([])).ok
            with pytest.raises(covey.UsageError):
                await f.hubs[0].stop_children([object()])  # type: ignore[list-item]

    run(test)


# --- calls ----------------------------------------------------------------------------------------------------------


def test_calls_that_cannot_be_made():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            hub = f.hubs[0]
            with pytest.raises(covey.UnknownName, match="no such child"):
                await hub.call("x", 1)
            with pytest.raises(covey.UsageError, match="payload"):
                await hub.call("x", object(), start=session)
            with pytest.raises(covey.ValueTooLarge, match="payload"):
                await hub.call("x", bytes(2 << 20), start=session)
            with pytest.raises(covey.UsageError, match="start has the id 'y'"):
                await hub.call("x", 1, start=ChildSpec("y", session))
            with pytest.raises(covey.UsageError, match="timeout"):
                await hub.call("x", 1, start=session, timeout=-1)
            with pytest.raises(covey.UnknownName):
                hub.update_child("x", {"tag": "a"})
            with pytest.raises(covey.UsageError, match="something to look for"):
                hub.find()
            with pytest.raises(covey.UsageError, match="scope"):
                hub.children("here")  # type: ignore[arg-type]
            assert hub.dump() == {}

    run(test)
