"""`covey groups` against nodes of processes: keys of every kind, many pages, and nodes that know no groups."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

import covey
from covey.wire.keys import Key
from tests.cli.command import SECRET, answer, at, until_members

pytestmark = pytest.mark.serial

KEYS = ["orders", "1", 1, True, b"\x00\xff", ("order", 1, (b"x", False))]
IN_JSON = ["orders", "1", 1, True, {"bytes": "00ff"}, ["order", 1, [{"bytes": "78"}, False]]]
TYPED = ["orders", "'1'", "1", "True", "b'\\x00\\xff'", "('order', 1, (b'x', False))"]


@pytest.fixture
def member(tmp_path, monkeypatch):
    """A node of `orders` in this process, whose groups are asked about."""
    monkeypatch.setenv("COVEY_RUNTIME_DIR", str(tmp_path / "runtime"))

    @contextlib.asynccontextmanager
    async def start(*seeds: str, name: str | None = None):
        async with covey.Node(
            "orders", listen="127.0.0.1:0", seeds=list(seeds) or ["127.0.0.1:1"], secret=SECRET, name=name
        ) as node:
            yield node, {"address": node.address, "site": node.site.hex()}

    return start


async def until_members_of(node: covey.Node, key: Key, count: int) -> None:
    async with asyncio.timeout(10):
        async with node.group(key).events() as events:
            while node.group(key).member_count() != count:
                await anext(events)


async def test_keys_of_every_kind_are_told_apart_and_found_again(member, ask):
    async with member(name="a") as (node, one), contextlib.AsyncExitStack() as stack:
        boxes = [await stack.enter_async_context(node.group(key).join(meta=index)) for index, key in enumerate(KEYS)]
        found = await answer(ask, "groups", *at(one))
        assert (found["cluster"], found["site"], found["scope"]) == ("orders", one["site"], "")
        told = {json.dumps(group["key"]): group for group in found["groups"]}
        assert set(told) == set(map(json.dumps, IN_JSON)) and len(found["groups"]) == len(KEYS)
        nodes = [{"site": one["site"], "name": "a", "members": 1}]
        for index, (in_json, typed) in enumerate(zip(IN_JSON, TYPED, strict=True)):
            group = told[json.dumps(in_json)]
            assert (group["members"], group["mailboxes"], group["nodes"]) == (1, 1, nodes)
            for given in (typed, group["literal"]):
                one_group = await answer(ask, "groups", *at(one), given)
                assert one_group["key"] == in_json
                assert one_group["members"] == [
                    {
                        "site": one["site"],
                        "name": "a",
                        "incarnation": node.incarnation,
                        "mailbox": boxes[index].member.mailbox,
                        "count": 1,
                        "meta": index,
                    }
                ]
        status, lines, _ = await ask("groups", *at(one))
        assert (status, lines[0].split()) == (0, ["GROUP", "MEMBERS", "MAILBOXES", "NODES"])
        shown = [line.split("  ")[0] for line in lines[1:-1]]
        assert shown == ["True", "b'\\x00\\xff'", "1", "'1'", "'orders'", "('order', 1, (b'x', False))"]
        assert lines[-1] == f"6 groups, as {one['site'][:8]} a sees them"


async def test_members_are_told_with_how_often_they_joined_and_what_they_say(member, ask):
    async with member(name="a") as (first, one), member(one["address"], name="b") as (second, two):
        await first.wait_members(2)
        async with first.group("g").join(meta={"load": 1}) as mine, second.group("g").join(meta="\x1b" * 500) as theirs:
            first.group("g").join(member=mine)
            await until_members_of(first, "g", 3)
            status, lines, _ = await ask("groups", *at(one), "g")
            assert (status, lines[0].split()) == (
                0,
                ["SITE", "NAME", "INCARNATION", "MAILBOX", "COUNT", "META"],
            )
            rows = {line.removeprefix("*").split()[0]: line for line in lines[1:3]}
            numbers = f"{first.incarnation}  {mine.member.mailbox}"
            assert rows[one["site"][:8]].split() == ["*", one["site"][:8], "a", *numbers.split(), "2", '{"load":1}']
            told = rows[two["site"][:8]]
            assert told.isprintable() and told.endswith("… (3002 characters)") and not told.startswith("*")
            assert lines[3] == "3 members, 2 distinct"
            found = await answer(ask, "groups", *at(one), "g")
            assert [(each["name"], each["count"]) for each in sorted(found["members"], key=lambda m: m["name"])] == [
                ("a", 2),
                ("b", 1),
            ]
            assert theirs.member.meta in [each["meta"] for each in found["members"]]
            status, lines, _ = await ask("groups", *at(two))
            assert lines[1].split()[:3] == ["'g'", "3", "2"]
            assert f"{one['site'][:8]} a (2)" in lines[1] and f"{two['site'][:8]} b (1)" in lines[1]
            assert lines[2] == f"1 group, as {two['site'][:8]} b sees them"


async def test_other_scopes_are_named_and_presence_shows_as_whom_somebody_is_there(member, ask):
    async with member() as (node, one):
        async with node.presence("room").track(("ann", 1), {"device": "phone"}), node.group("g", "blue").join():
            found = await answer(ask, "groups", *at(one), "--scope", "presence")
            assert ([group["key"] for group in found["groups"]], found["scope"]) == (["room"], "presence")
            (entry,) = (await answer(ask, "groups", *at(one), "--scope", "presence", "room"))["members"]
            assert (entry["meta"], entry["entry"]["key"]) == ({"device": "phone"}, ["ann", 1])
            status, lines, _ = await ask("groups", *at(one), "--scope", "presence", "room")
            assert (status, lines[0].split()[-2:]) == (0, ["ENTRY", "META"])
            assert lines[1].endswith("""('ann', 1)  {"device":"phone"}""")
            status, lines, _ = await ask("groups", *at(one), "--scope", "blue")
            assert lines[-1] == f"1 group in the scope 'blue', as {one['site'][:8]} sees them"
            status, out, said = await ask("groups", *at(one), "--scope", "green")
            assert (status, out) == (1, [])
            assert said == "covey: no node of 'orders' uses the scope 'green'; in use: 'blue', 'presence'"


async def test_a_group_that_nobody_is_in_is_one_line_and_status_1(member, ask):
    async with member() as (node, one):
        status, lines, _ = await ask("groups", *at(one))
        assert (status, lines) == (0, [f"0 groups, as {one['site'][:8]} sees them"])
        assert (await answer(ask, "groups", *at(one)))["groups"] == []
        async with node.group(1).join():
            for typed, kind in (("'1'", "'1' (str)"), ("True", "True (bool)"), ("1.0", "'1.0' (str)")):
                status, out, said = await ask("groups", *at(one), typed)
                assert (status, out, said) == (1, [], f"covey: the group {kind} has no member")


async def test_what_is_no_key_and_no_scope_has_status_2_and_asks_nobody(ask):
    for given in (("(1, 1.5)",), ("('a', None)",), ("9" * 30,), ("x" * 2000,), ("--scope", "s" * 2000)):
        status, out, said = await ask("groups", "--node", "127.0.0.1:1", *given)
        assert (status, out) == (2, []) and "Traceback" not in said, said


async def test_a_node_that_uses_no_groups_names_one_that_does(member, node, ask):
    async with member(name="a") as (used, one), node("--seed", one["address"], name="b") as (_, two):
        await until_members(ask, two, 2)
        async with used.group("g").join():
            async with asyncio.timeout(10):
                while (found := await answer(ask, "groups", *at(two)))["site"] != one["site"]:
                    assert found["groups"] == []  # that there is one has not reached it yet
            assert [group["key"] for group in found["groups"]] == ["g"]
            assert (await answer(ask, "groups", *at(two), "g"))["members"][0]["name"] == "a"


async def test_ten_thousand_groups_come_in_pages_and_each_once(member, ask):
    async with member() as (node, one), node.group(0).join() as me:
        for number in range(1, 10_000):
            node.group(number).join(member=me)
        found = await answer(ask, "groups", *at(one))
        assert [group["key"] for group in found["groups"]] == list(range(10_000))
        status, lines, _ = await ask("groups", *at(one))
        assert (status, len(lines)) == (0, 10_002)


async def test_metadata_of_several_megabytes_comes_in_pages(member, ask):
    async with member() as (node, one), contextlib.AsyncExitStack() as stack:
        for number in range(100):
            await stack.enter_async_context(node.group("big").join(meta=[number, "x" * 60_000]))
        found = await answer(ask, "groups", *at(one), "big")
        assert [each["meta"][0] for each in found["members"]] == list(range(100))
