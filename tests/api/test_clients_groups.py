"""What a client may ask of groups: pages that hang together, and nodes that know a scope or who does."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import covey
from covey.api import group_listing
from covey.testing import Cluster, run
from covey.wire.keys import encode_key
from covey.wire.payloads import decode_payload
from tests.api.asking import ask, asking
from tests.api.together import together
from tests.testing.virtual import until


async def all_pages(cluster: Cluster, node: covey.Node, what: str, **arguments: Any) -> list[dict[str, Any]]:
    async with asking(cluster, node.address) as client:
        pages = [await client.ask(what, arguments)]
        while pages[-1]["next"] is not None:
            pages.append(await client.ask(what, {**arguments, "after": pages[-1]["next"]}))
    return pages


def test_groups_come_in_pages_with_how_often_each_node_joined(monkeypatch):
    monkeypatch.setattr(group_listing, "GROUPS_AT_ONCE", 2)

    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        async with one.group("a").join() as mine, other.group("a").join() as theirs:
            for key in ("b", "c", 1):
                one.group(key).join(member=mine)
            other.group("a").join(member=theirs)
            await until(lambda: one.group("a").member_count() == 3)
            pages = await all_pages(cluster, one, "groups")
            assert [len(page["groups"]) for page in pages] == [2, 2]
            told = {group["key"]: group for page in pages for group in page["groups"]}
            assert list(told) == sorted([*map(encode_key, "abc"), encode_key(1)])
            assert dict(map(tuple, told[encode_key("a")]["nodes"])) == {one.site: 1, other.site: 2}
            assert (told[encode_key("a")]["mailboxes"], told[encode_key("c")]["mailboxes"]) == (2, 1)

    run(test)


def test_a_page_of_groups_ends_where_it_has_looked_at_enough_members(monkeypatch):
    monkeypatch.setattr(group_listing, "MEMBERS_AT_ONCE", 3)

    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        boxes = [await node.group(key).join().start() for key in range(3) for _ in range(4)]
        pages = await all_pages(cluster, node, "groups")
        assert [[group["mailboxes"] for group in page["groups"]] for page in pages] == [[4]] * 3
        assert len(boxes) == 12

    run(test)


def test_members_come_in_pages_of_so_many_and_so_many_bytes(monkeypatch):
    monkeypatch.setattr(group_listing, "MEMBERS_AT_ONCE", 3)
    monkeypatch.setattr(group_listing, "BYTES_AT_ONCE", 1000)

    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        boxes = [await node.group("g").join(meta=[n, "x" * (600 if n < 4 else 0)]).start() for n in range(9)]
        pages = await all_pages(cluster, node, "group", key=encode_key("g"))
        assert [len(page["members"]) for page in pages] == [1, 1, 1, 3, 3]
        told = [member for page in pages for member in page["members"]]
        assert [decode_payload(member[4])[0] for member in told] == list(range(9))
        assert [tuple(member[:4]) for member in told] == [(*box.member.address, 1) for box in boxes]

    run(test)


def test_what_comes_and_goes_between_pages_spoils_no_other(monkeypatch):
    monkeypatch.setattr(group_listing, "GROUPS_AT_ONCE", 2)

    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        boxes = {key: await node.group(key).join().start() for key in range(2, 8)}
        async with asking(cluster, node.address) as client:
            first = await client.ask("groups")
            boxes[3].close()  # what the next page goes on behind
            boxes[0] = await node.group(0).join().start()
            rest = await client.ask("groups", {"after": first["next"]})
        assert [group["key"] for group in first["groups"]] == [b"\x02", b"\x03"]
        assert [group["key"] for group in rest["groups"]] == [b"\x04", b"\x05"]

    run(test)


def test_a_node_that_knows_no_groups_of_a_scope_holds_none_and_says_who_does():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        async with one.group("g", "blue").join():
            engine, others_engine = one._engine, other._engine
            assert engine is not None and others_engine is not None
            await until(lambda: "blue" in group_listing.scopes(others_engine))
            answer = await ask(cluster, other, "groups", scope="blue")
            assert (answer["known"], answer["elsewhere"], answer["scopes"]) == (False, [one.address], ["blue"])
            assert "groups" not in answer
            unknown = await ask(cluster, other, "group", scope="green", key=encode_key("g"))
            assert (unknown["known"], unknown["elsewhere"]) == (False, [])
            await asyncio.sleep(5)
            assert list(group_listing.scopes(engine)) == ["blue"]

    run(test)


@pytest.mark.parametrize(
    "what, arguments, said",
    [
        ("groups", {"scope": 7}, "scope must be text, not 7"),
        ("groups", {"after": "x"}, "after must be bytes, not 'x'"),
        ("group", {}, "is not the canonical encoding of a key"),
        ("group", {"key": b"\xc1"}, "is not the canonical encoding of a key"),
        ("group", {"key": encode_key("g"), "after": b"\x93"}, "is no address to go on behind"),
        ("group", {"key": encode_key("g"), "after": msgspec.msgpack.encode(["a", 1, 2])}, "is no address"),
    ],
)
def test_what_makes_no_sense_is_refused_as_a_mistake_of_the_caller(what, arguments, said):
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        async with node.group("g").join():
            with pytest.raises(covey.UsageError, match=said):
                await ask(cluster, node, what, **arguments)

    run(test)
