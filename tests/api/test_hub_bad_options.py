"""Hubs that are opened wrongly, nodes that differ, and peers that lie: explained, and nothing of it is run."""

from __future__ import annotations

import asyncio
import sys

import msgspec
import pytest

import covey
from covey import ChildSpec
from covey.api.hub_values import explain_mismatch
from covey.protocols.registry import rows
from covey.testing import Cluster, run
from covey.wire.keys import encode_key
from tests.api.hub_children import session, waits
from tests.api.hubs_open import flock, machine, owners, specs, unread
from tests.testing.virtual import next_of, until


async def not_allowed(ctx: covey.Context) -> None:
    """A child that no hub of these tests lists."""


# --- specs from peers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["os:system", "shutil:rmtree", "antigravity:open", "tests.api.hub_children:secret"])
def test_a_spec_of_a_peer_that_names_what_this_node_does_not_allow_runs_and_imports_nothing(start, caplog):
    """A peer writes what no covey writes: its row is there, explained, and nobody runs it."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2) as f:
            modules = set(sys.modules)
            id = encode_key("evil")
            child = rows.Birth(
                rows.Spec(start, b"\x92\x91\xa4true\x80", rows.Restart.PERMANENT, 0, 0), b"\x80", 1, None
            )
            hub = machine(f.hubs[0])
            hub.ground.begin(id, rows.encode(child))
            f.hubs[0].cast("nobody", start=session)  # anything that has the rows written
            await until(lambda: "evil" in f.hubs[1].dump(), 5)
            await asyncio.sleep(5)
            explained = f.hubs[1].explain("evil")
            assert any(start in reason and "no node" in reason for reason in explained.reasons)
            assert owners(f.hubs[1])["evil"] == ""
            with pytest.raises(covey.PeerUnreachable):
                await f.hubs[1].call("evil", 1, timeout=1)
            assert set(sys.modules) == modules
            (await f.hubs[1].stop_children(["evil"])).raise_for_errors()

    run(test)


def test_a_peer_that_claims_to_allow_it_does_not_make_others_run_it():
    """Placed at a node that then does not know the start: refused there, reported with the fix, never imported."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2, children=[session, waits]) as f:
            lied = machine(f.hubs[1]).ground
            lied.options = msgspec.structs.replace(lied.options, starts=(*lied.options.starts, "os:system"))
            machine(f.hubs[1])._say_participant()
            f.hubs[1].cast("nobody", start=session)
            await until(lambda: any("os:system" in node.starts for node in f.hubs[0].nodes()))
            hub = machine(f.hubs[0])
            child = rows.Birth(
                rows.Spec("os:system", b"\x92\x91\xa4true\x80", rows.Restart.TRANSIENT, 0, 0), b"\x80", 1, None
            )
            hub.ground.begin(encode_key("evil"), rows.encode(child))
            f.hubs[0].cast("nobody", 2)
            await until(lambda: "failed" in [c.state for c in f.hubs[0].dump().values()], 60)
            assert "does not run 'os:system'" in f.hubs[0].dump()["evil"].error

    run(test)


@pytest.mark.parametrize(
    "option, value",
    [
        ("restart", "often"),
        ("restart", ["permanent"]),
        ("shutdown_timeout", -1),
        ("shutdown_timeout", "5"),
        ("idle_timeout", float("nan")),
        ("metadata", [1]),
        ("metadata", {1: 2}),
    ],
)
def test_how_a_child_is_run_is_checked_where_it_is_said(option, value):
    with pytest.raises(covey.UsageError, match=option):
        ChildSpec("x", session).with_options(**{option: value})


def test_one_spec_where_a_list_is_wanted_says_so():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            with pytest.raises(covey.UsageError, match="must be a list of ChildSpecs"):
                await f.hubs[0].start_children(ChildSpec("x", session))  # type: ignore[arg-type]

    run(test)


# --- the hub itself -------------------------------------------------------------------------------------------------


def test_a_hub_without_a_choice_for_splits_explains_the_choice():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        for wrong in (None, "one", "majority", ["a", "b", "c"], 3):
            with pytest.raises(covey.ConfigError, match=r"on_split: must be chosen.*'both'.*covey\.Majority\(\["):
                node.hub("h", children=[session], on_split=wrong)  # type: ignore[arg-type]
        with pytest.raises(covey.ConfigError, match="on_split"):
            node.singleton("s", waits)

    run(test)


@pytest.mark.parametrize(
    "voters, says",
    [
        ([], "three"),
        (["a"], "with one nothing runs"),
        (["a", "b"], "even number"),
        (["a", "b", "c", "d"], "even number"),
        (list("abcdefg"), "five"),
        (["a", "b", "a"], "twice"),
        (["a", "b", ""], "names of nodes"),
        (["a", "b", 3], "names of nodes"),
        ("abc", "list of names"),
        (None, "list of names"),
        (3, "list of names"),
    ],
)
def test_a_majority_of_wrong_voters_says_what_to_do(voters, says):
    with pytest.raises(covey.ConfigError, match=says):
        covey.Majority(voters)


def test_a_voter_without_a_storage_is_refused():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1, name="a")
        with pytest.raises(covey.ConfigError, match=r"'a', is to vote and has no storage"):
            node.hub("h", children=[session], on_split=covey.Majority(["a", "b", "c"]))

    run(test)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"children": session}, "list"),
        ({"children": None}, "children: must be a list"),
        ({"children": "session"}, "children: must be a list"),
        ({"static": ChildSpec("x", session)}, "static: must be a list"),
        ({"static": None}, "static: must be a list"),
        ({"static": ["x"]}, "static: a child to start is a ChildSpec"),
        ({"static": [ChildSpec("x", session, object())]}, "static: arguments"),
        ({"allow": None}, "allow: must be a list"),
        ({"zone": 3}, "zone"),
        ({"wieght": 1}, "wieght: a hub has no such option; those it has are children, on_split, static, weight"),
        ({"weight": -1}, "weight"),
        ({"weight": True}, "weight"),
        ({"weight": 65}, "weight"),
        ({"app_version": 3}, "app_version"),
        ({"resolve": "newest"}, "resolve"),
        ({"static": [ChildSpec("x", not_allowed)]}, "children="),
        ({"static": [ChildSpec("x", session), ChildSpec("x", session)]}, "twice"),
    ],
)
def test_options_of_a_hub_that_cannot_work_are_refused(options, says):
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        with pytest.raises(covey.ConfigError, match=says):
            node.hub("h", **{"children": [session], "on_split": "both", **options})

    run(test)


def test_one_hub_twice_on_a_node_is_shared_with_equal_options_and_refused_with_others():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            second = f.hub_of(f.nodes[0])
            async with second:
                await second.start_child(ChildSpec("x", session))
            assert f.copies.running() == 1, "the first handle keeps it open"
            with pytest.raises(covey.ConfigError, match="other options"):
                await f.hub_of(f.nodes[0], weight=2).start()
            with pytest.raises(covey.ConfigError, match=r"with on_split=both; .* this handle has on_split=majority of"):
                await f.hub_of(f.nodes[0], on_split=covey.Majority(["a", "b", "c"])).call("x", 1, start=session)
            assert await f.nodes[0].hub("h", on_split="both").call("x", 1, start=session) == 1
            with pytest.raises(covey.ClosedError):
                await f.nodes[0].hub("other", children=[session], on_split="both").call("x", 1)

    run(test)


# --- nodes that differ ----------------------------------------------------------------------------------------------


def test_voters_that_differ_between_nodes_are_named_with_what_to_do_and_nothing_runs_by_the_fewer():
    """Both sides hear which voters each has; a child runs once, and the node that differed can come back."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0, children=[session]) as f:
            nodes = [await f.node(name=name, storage=covey.MemoryStorage()) for name in "abcd"]
            for node in nodes:
                await node.wait_members(4)
            right, wrong = covey.Majority(["a", "b", "c"]), covey.Majority(["a", "d", "b"])
            hubs = await asyncio.gather(*[f.enter(f.hub_of(node, on_split=right)) for node in nodes[:3]])
            other = f.hub_of(nodes[3], on_split=wrong)
            async with hubs[0].events() as events, other:
                async with other.events() as others:
                    await until(lambda: len(other.nodes()) == 4)
                    told = await next_of(events, covey.ConfigMismatch)
                    assert told.places and told.theirs[0][0] == nodes[3].site
                    assert told.explanation == (
                        "d has on_split=majority of a, b, d where this node has on_split=majority of a, b, c; the "
                        "others run nothing of the hub until all nodes open it with the same: choose one for all"
                    )
                    assert not (await next_of(others, covey.ConfigMismatch)).places
                    assert not unread(others, covey.ConfigMismatch), "whoever listens later hears it once"
                    result = await other.start_children(specs(6), timeout=30)
                    result.raise_for_errors()
                    assert {child.node for child in result} <= {"a", "b", "c"}
                    assert any("another configuration" in reason for reason in other.explain(0).reasons)
            await f.enter(f.hub_of(nodes[3], on_split=right))
            await until(lambda: all(node.places for node in hubs[0].nodes()) and len(hubs[0].nodes()) == 4)
            assert max(f.copies.most.values()) == 1

    run(test)


@pytest.mark.parametrize("places, who", [(True, "the others run"), (False, "this node runs")])
def test_a_mismatch_says_what_of_the_settings_differs_and_of_how_many_nodes(places, who):
    ours = "on_split=both; resolve=no; synchronization=Delta()"
    theirs = {f"n{number}": "on_split=both; resolve=yes; synchronization=Delta()" for number in range(7)}
    said = explain_mismatch(ours, theirs, places)
    assert said.startswith("n0 has resolve=yes where this node has resolve=no, n1 has")
    assert f"n4 has resolve=yes where this node has resolve=no, and 2 nodes more have others; {who} nothing" in said
    assert "choose one for all" in said
    assert len(explain_mismatch("", {"evil": "x" * 60_000}, places)) < 1_000


def test_two_configurations_are_explained_and_only_one_of_them_places():
    """Both nodes hear of it, with both settings; one of them runs all children, and calls go through the other."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f, f.hubs[0].events() as events:
            (await f.hubs[0].start_children(specs(10))).raise_for_errors()
            other = f.hub_of(await f.node(), resolve=lambda id, ours, theirs: ours)
            await f.enter(other)
            async with other.events() as others:
                told = await next_of(events, covey.ConfigMismatch)
                assert "resolve=no" in told.ours
                assert "n1 has resolve=yes where this node has resolve=no" in told.explanation
                ((site, theirs),) = told.theirs
                assert site == f.nodes[1].site and "resolve=yes" in theirs
                await until(lambda: f.copies.running() == 10, 10)
                await asyncio.sleep(10)
                assert f.copies.running() == 10
                places = [node.name for node in other.nodes() if node.places]
                assert len(places) == 1
                assert set(owners(f.hubs[0]).values()) == set(places)
                assert [node.places for node in f.hubs[0].nodes()].count(False) == 1
                for hub in (f.hubs[0], other):
                    assert await hub.call(3, "x") >= 1
                    assert any("another configuration" in reason for reason in hub.explain(3).reasons)
                result = await f.hubs[0].start_children([ChildSpec("new", session)])
                assert [child.node for child in result] == places
                assert len(unread(events, covey.ConfigMismatch)) <= 1 and len(unread(others, covey.ConfigMismatch)) == 1

    run(test)
