"""`covey hub` against nodes of processes: hubs and children, all about one, and stopping some."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

import covey
from covey.cli.hub import batches
from tests.cli.command import SECRET, at

pytestmark = pytest.mark.serial


async def session(ctx: covey.Context, *given: object) -> None:
    async for call in ctx.mailbox:
        if call.payload == "fail":
            raise RuntimeError("told to")
        call.reply(call.payload)


@pytest.fixture
def member(tmp_path, monkeypatch):
    """A node of `orders` in this process."""
    monkeypatch.setenv("COVEY_RUNTIME_DIR", str(tmp_path / "runtime"))

    @contextlib.asynccontextmanager
    async def start(*seeds: str, name: str):
        async with covey.Node(
            "orders", listen="127.0.0.1:0", seeds=list(seeds) or ["127.0.0.1:1"], secret=SECRET, name=name
        ) as node:
            yield node, {"address": node.address, "site": node.site.hex()}

    return start


@pytest.fixture
def hub(run, secret_file):
    """Run `covey hub WHAT orders …`: its status, its lines, and its one line on stderr."""

    async def call(what: str, *arguments: str):
        async with run("hub", what, "orders", "--secret-file", secret_file, *arguments) as command:
            status, out, err = await command.ended()
        assert len(err) == (status != 0), err
        return status, out, "".join(err)

    return call


def opened(node: covey.Node, name: str = "sessions") -> covey.Hub:
    return node.hub(name, children=[session], on_split="both")


async def answer(hub, what: str, *arguments: str):
    status, out, err = await hub(what, *arguments, "--json")
    assert (status, err, len(out)) == (0, "", 1)
    return json.loads(out[0])


async def test_hubs_and_the_children_of_one_are_listed(member, hub):
    async with member(name="a") as (node, one):
        status, lines, _ = await hub("ls", *at(one))
        assert (status, lines) == (0, [f"0 hubs, as {one['site'][:8]} a sees them"])
        async with opened(node) as sessions, opened(node, "empty"):
            specs = [
                covey.ChildSpec("user-1", session).with_options(tag="eu"),
                covey.ChildSpec(1, session).with_options(metadata={"plan": 2}),
                covey.ChildSpec(("order", 1), session),
            ]
            started = await sessions.start_children(specs)
            started.raise_for_errors()
            found = await answer(hub, "ls", *at(one))
            told = {each["key"]: each for each in found["hubs"]}
            assert list(told) == ["empty", "sessions"]
            assert (told["sessions"]["children"], told["sessions"]["running"]) == (3, 3)
            assert told["sessions"]["nodes"] == [{"site": one["site"], "name": "a"}]
            status, lines, _ = await hub("ls", *at(one))
            assert lines[0].split() == ["HUB", "CHILDREN", "RUNNING", "NODES", "SETTINGS"]
            assert lines[2].split()[:5] == ["'sessions'", "3", "3", one["site"][:8], "a"]
            assert lines[3] == f"2 hubs, as {one['site'][:8]} a sees them"

            found = await answer(hub, "ls", *at(one), "sessions")
            children = {json.dumps(child["id"]): child for child in found["children"]}
            assert set(children) == {'"user-1"', "1", '["order", 1]'}
            tokens = {child.id: child.copies[0].fencing_token for child in started}
            assert children['"user-1"']["tag"] == "eu" and children["1"]["metadata"] == {"plan": 2}
            (copy,) = children["1"]["copies"]
            assert (copy["name"], copy["state"], copy["token"]) == ("a", "running", tokens[1])
            status, lines, _ = await hub("ls", *at(one), "sessions")
            assert lines[0].split() == ["ID", "WHERE", "STATE", "TOKEN", "TAG"]
            rows = {line.split("  ")[0]: line for line in lines[1:-1]}
            assert rows["'user-1'"].split()[1:] == ["a", "running", str(tokens["user-1"]), '"eu"']
            assert lines[-1] == f"3 children, as {one['site'][:8]} a sees them"


async def test_one_child_is_shown_with_why_it_is_there_and_how_it_failed_last(member, hub):
    async with member(name="a") as (node, one), opened(node) as sessions:
        spec = covey.ChildSpec("user-1", session, 7).with_options(tag="eu", idle_timeout=60.0)
        await sessions.start_child(spec)
        with pytest.raises(covey.DeadlineExceeded):
            await sessions.call("user-1", "fail")
        assert await sessions.call("user-1", "again") == "again"
        found = await answer(hub, "show", *at(one), "sessions", "user-1")
        assert (found["id"], found["tag"], found["idle_timeout"], found["arguments"]) == (
            "user-1",
            "eu",
            60.0,
            [[7], {}],
        )
        assert found["explain"] == {"belongs": "a", "ranking": ["a"], "runs": ["a"], "reasons": []}
        assert "RuntimeError: told to" in found["copies"][0]["error"]
        status, lines, _ = await hub("show", *at(one), "sessions", "user-1")
        told = dict(
            line.split(maxsplit=1) for line in lines if line.split()[0] in ("id", "belongs", "metadata", "runs")
        )
        assert (told["id"], told["belongs"], told["metadata"]) == ("'user-1'", "a", '{"tag":"eu"}')
        assert told["runs"].startswith("a (running), instance ")
        at_line = lines.index("how it failed last on a:")
        assert lines[at_line + 1].startswith("  Traceback") and lines[-1] == "  RuntimeError: told to"
        status, out, said = await hub("show", *at(one), "sessions", "user-2")
        assert (status, out, said) == (
            1, [], "covey: 'user-2' (str) of the hub 'sessions': there is no such child",
        )  # fmt: skip


async def test_children_are_stopped_and_those_that_are_none_are_named(member, hub):
    async with member(name="a") as (node, one), opened(node) as sessions:
        await sessions.start_children([covey.ChildSpec(id, session) for id in ("x", "y", 1)])
        status, lines, said = await hub("stop", *at(one), "sessions", "x", "1", "x")
        assert (status, lines) == (0, [f"'x' stopped, on {one['site'][:8]} a", f"1 stopped, on {one['site'][:8]} a"])
        status, lines, said = await hub("stop", *at(one), "sessions", "y", "z", "'1'")
        assert (status, lines) == (1, [f"'y' stopped, on {one['site'][:8]} a"])
        assert said == "covey: 'z': there is no such child; '1': there is no such child"
        assert sessions.children() == []
        status, lines, said = await hub("stop", *at(one), "sessions", "z", "--json")
        assert (status, json.loads(lines[0])["errors"][0]["trouble"]) == (1, "not_found")


async def test_a_node_without_the_hub_names_one_that_has_it_and_an_unknown_hub_is_one_line(member, hub):
    async with member(name="a") as (used, one), member(one["address"], name="b") as (asked, two):
        await asked.wait_members(2)
        async with opened(used) as sessions:
            await sessions.start_child(covey.ChildSpec("x", session))
            async with asyncio.timeout(10):
                while not (found := await answer(hub, "ls", *at(two)))["hubs"]:
                    pass  # that there is one has not reached it yet
            assert (found["hubs"][0]["key"], found["hubs"][0]["children"]) == ("sessions", None)
            found = await answer(hub, "ls", *at(two), "sessions")
            assert (found["site"], [child["id"] for child in found["children"]]) == (one["site"], ["x"])
            status, out, said = await hub("ls", *at(two), "1")
            assert (status, out) == (1, [])
            assert said == "covey: no node of 'orders' has the hub 1 (int) open; in use: 'sessions'"


async def test_more_children_than_fit_in_a_page_are_told_once(member, hub):
    async with member(name="a") as (node, one), opened(node) as sessions:
        await sessions.start_children([covey.ChildSpec(number, session) for number in range(2_500)])
        found = await answer(hub, "ls", *at(one), "sessions")
        assert sorted(child["id"] for child in found["children"]) == list(range(2_500))
        found = await answer(hub, "stop", *at(one), "sessions", *map(str, range(1_500)))
        assert [child["id"] for child in found["stopped"]] == list(range(1_500))
        assert sorted(sessions.children()) == list(range(1_500, 2_500))


def test_ids_are_asked_for_in_pieces_that_fit():
    ids = [bytes([number]) * (number * 10) for number in range(1, 100)]
    found = batches(ids)
    assert [id for some in found for id in some] == ids
    assert all(sum(map(len, some)) <= 2_000 for some in found) and all(found)
    assert batches([b"x" * 3_000]) == [[b"x" * 3_000]]


async def test_what_is_no_key_has_status_2_and_asks_nobody(hub):
    for given in (("ls", "(1, 1.5)"), ("show", "h", "x" * 2000), ("stop", "h"), ("stop", "h", "9" * 30)):
        status, out, said = await hub(given[0], "--node", "127.0.0.1:1", *given[1:])
        assert (status, out) == (2, []) and "Traceback" not in said, said


async def test_a_singleton_is_found_by_its_id(member, hub):
    async with member(name="a") as (node, one), node.singleton("cron", session, on_split="both"):
        for hub_named in ("cron", "('singleton', 'cron')"):
            (child,) = (await answer(hub, "ls", *at(one), hub_named))["children"]
            assert child["id"] == "cron"
        assert (await answer(hub, "show", *at(one), "cron", "cron"))["id"] == "cron"
        status, _, err = await hub("ls", *at(one), "other")
        assert status != 0 and "has the hub 'other' (str) open" in err
