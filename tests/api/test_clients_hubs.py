"""What a client may ask of hubs: pages that hang together, one child, stopping some, and nodes without the hub."""

from __future__ import annotations

from typing import Any

import pytest

import covey
from covey.api import hub_listing
from covey.testing import Cluster, run
from covey.wire.keys import encode_key
from tests.api.asking import ask, asking
from tests.api.together import together
from tests.testing.virtual import until

HUB = encode_key("h")


async def waits(ctx: covey.Context, *given: object) -> None:
    await ctx.stopping.wait()


def opened(node: covey.Node) -> covey.Hub:
    return node.hub("h", children=[waits], on_split="both")


async def all_children(cluster: Cluster, node: covey.Node) -> list[list[dict[str, Any]]]:
    async with asking(cluster, node.address) as client:
        pages = [await client.ask("hub", {"hub": HUB})]
        while pages[-1]["next"] is not None:
            pages.append(await client.ask("hub", {"hub": HUB, "after": pages[-1]["next"]}))
    return [page["children"] for page in pages]


def test_children_come_in_pages_of_so_many_and_so_many_bytes(monkeypatch):
    monkeypatch.setattr(hub_listing, "CHILDREN_AT_ONCE", 3)
    monkeypatch.setattr(hub_listing, "BYTES_AT_ONCE", 1000)

    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        async with opened(node) as hub:
            specs = [
                covey.ChildSpec(n, waits).with_options(metadata={"x": "x" * (600 if n < 4 else 0)}) for n in range(9)
            ]
            (await hub.start_children(specs)).raise_for_errors()
            pages = await all_children(cluster, node)
            assert [len(page) for page in pages] == [1, 1, 1, 3, 3]
            assert [child["id"] for page in pages for child in page] == [encode_key(n) for n in range(9)]

    run(test)


def test_one_child_is_told_whole_and_is_stopped_from_another_node():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        async with opened(one) as hub, opened(other):
            spec = covey.ChildSpec("x", waits, 1).with_options(tag="eu", restart="permanent")
            child = await hub.start_child(spec, wait="visible_everywhere")
            for node in (one, other):
                told = await ask(cluster, node, "hub_child", hub=HUB, id=encode_key("x"))
                (copy,) = told["child"]["copies"]
                assert (copy["site"], copy["state"], copy["token"]) == (
                    child.site, "running", child.copies[0].fencing_token,
                )  # fmt: skip
                assert (told["child"]["restart"], told["child"]["author"], told["reasons"]) == (
                    "permanent",
                    one.site,
                    [],
                )
                assert (len(told["ranking"]), told["ranking"][0]) == (2, told["belongs"])
            nobody = await ask(cluster, one, "hub_child", hub=HUB, id=encode_key("y"))
            assert (nobody["child"], nobody["reasons"]) == (None, ["there is no such child"])
            ids = [encode_key("x"), encode_key("y")]
            told = await ask(cluster, other, "hub_stop", hub=HUB, ids=ids)
            assert told["stopped"] == [{"id": ids[0], "nodes": [child.site]}]
            assert [(error["id"], error["trouble"]) for error in told["errors"]] == [(ids[1], "not_found")]
            await until(lambda: not hub.children())

    run(test)


def test_a_node_without_the_hub_does_nothing_and_says_who_has_it():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        async with opened(one) as hub:
            await hub.start_child(covey.ChildSpec("x", waits))
            asked: dict[str, Any] = {}
            while not asked.get("hubs"):
                asked = await ask(cluster, other, "hubs")
            assert asked["hubs"] == [{"key": HUB, "nodes": [one.site]}]
            for what in ("hub", "hub_child", "hub_stop"):
                told = await ask(cluster, other, what, hub=HUB, id=encode_key("x"), ids=[encode_key("x")])
                assert (told["known"], told["elsewhere"], told["hubs"]) == (False, [one.address], [HUB])
            assert hub.children() == ["x"]
            (told,) = (await ask(cluster, one, "hubs"))["hubs"]
            assert (told["children_count"], told["running"]) == (1, 1)
            unknown = await ask(cluster, one, "hub", hub=encode_key("g"))
            assert (unknown["known"], unknown["elsewhere"], unknown["hubs"]) == (False, [], [HUB])

    run(test)


@pytest.mark.parametrize(
    "what, arguments, said",
    [
        ("hub", {"hub": 7}, "hub must be bytes, not 7"),
        ("hub", {"hub": HUB, "after": "x"}, "after must be bytes, not 'x'"),
        ("hub_child", {"hub": HUB, "id": b"\xc1"}, "is not the canonical encoding of a key"),
        ("hub_stop", {"hub": HUB}, "ids must be a list"),
        ("hub_stop", {"hub": HUB, "ids": []}, "ids must be a list"),
        ("hub_stop", {"hub": HUB, "ids": ["x"]}, "ids must be a list"),
        ("hub_stop", {"hub": HUB, "ids": [b"\xc1"]}, "is not the canonical encoding of a key"),
        ("hub_stop", {"hub": HUB, "ids": [encode_key(1)], "timeout": "soon"}, "timeout must be seconds"),
    ],
)
def test_what_makes_no_sense_is_refused_as_a_mistake_of_the_caller(what, arguments, said):
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        async with opened(node):
            with pytest.raises(covey.UsageError, match=said):
                await ask(cluster, node, what, **arguments)

    run(test)
