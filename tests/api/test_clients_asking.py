"""What a client may ask of a node, and what it is answered; over the memory transport, on the virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import covey
from covey.core.ids import cluster_id
from covey.testing import Cluster, run
from tests.api.asking import ask, asking, kicked, settled
from tests.testing.virtual import until

# --- reading --------------------------------------------------------------------------------------------------------


def test_members_are_those_that_the_node_sees():
    async def test(cluster: Cluster) -> None:
        nodes = await settled(await cluster.start(3, name="a", meta={"zone": "eu", "raw": b"\x00"}))
        answer = await ask(cluster, nodes[1], "members")
        assert answer == {
            "cluster": "test",
            "site": nodes[1].site,
            "solo": False,
            "kicked": None,
            "members": [msgspec.structs.asdict(member) for member in nodes[1].members()],
        }

    run(test)


def test_members_come_with_their_stories_where_that_is_asked():
    async def test(cluster: Cluster) -> None:
        one, other = await settled(await cluster.start(2))
        answer = await ask(cluster, one, "members", why=True)
        stories = {member["site"]: tuple(member["why"]) for member in answer["members"]}
        assert stories == {one.site: (), other.site: one.why(other.site)}
        assert stories[other.site]

    run(test)


def test_why_tells_the_story_of_one():
    async def test(cluster: Cluster) -> None:
        one, other = await settled(await cluster.start(2, name="b"))
        answer = await ask(cluster, one, "why", who=other.site.hex())
        assert answer == {"site": other.site, "name": "b", "status": "alive", "why": list(one.why(other.site))}

    run(test)


def test_a_dump_has_the_record_the_floors_and_the_liveness_table():
    async def test(cluster: Cluster) -> None:
        one, other = await settled(await cluster.start(2, name="n", meta={"zone": "eu"}))
        answer = await ask(cluster, one, "dump")
        assert (answer["site"], answer["solo"], answer["cluster"]) == (one.site, False, cluster_id("test"))
        record = {(entry["site"], entry["kind"]): entry for entry in answer["record"]}
        assert sorted(record) == sorted((node.site, kind) for node in (one, other) for kind in ("mem", "host", "meta"))
        host = record[other.site, "host"]
        assert (host["value"], host["origin"], host["magic"]) == (other.address, other.site, other.incarnation)
        assert record[other.site, "meta"]["value"] == {"name": "n", "meta": {"zone": "eu"}}
        assert host["clock"]["stamp"] == host["clock"]["ms"] << 16 | host["clock"]["counter"]
        assert abs(host["wall_ms"] - host["clock"]["ms"]) < 60_000
        assert answer["clock"]["stamp"] >= record[one.site, "host"]["clock"]["stamp"]
        (floor,) = answer["floors"]
        assert (floor["site"], floor["incarnation"]) == (other.site, other.incarnation)
        assert floor["acked_out"] <= answer["imports"] and floor["acked_in"] > 0
        assert [(life["site"], life["incarnation"], life["state"]) for life in answer["liveness"]] == [
            (one.site, one.incarnation, "alive"),
            (other.site, other.incarnation, "alive"),
        ]

    run(test)


def test_an_answer_longer_than_a_frame_comes_whole():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)

        async def much(arguments: Any) -> list[str]:
            return ["y" * 3_000_000]

        node._desk._asks["much"] = much
        assert await ask(cluster, node, "much") == ["y" * 3_000_000]

    run(test)


# --- changing -------------------------------------------------------------------------------------------------------


def test_kick_throws_out_whoever_is_named_and_tells_who_knows():
    async def test(cluster: Cluster) -> None:
        one, two, three = await settled(await cluster.start(3))
        answer = await ask(cluster, one, "kick", who=two.site.hex()[:8])
        assert (answer["site"], answer["itself"]) == (two.site, False)
        assert (answer["acknowledged"], answer["missing"]) == ([three.site], [])
        await until(lambda: two.alone)
        assert [member.site for member in three.members()] == sorted([one.site, three.site])
        assert two.kicked is not None and two.kicked.by == one.site

    run(test)


def test_a_node_does_not_throw_itself_out():
    async def test(cluster: Cluster) -> None:
        one, other = await settled(await cluster.start(2))
        answer = await ask(cluster, one, "kick", who=one.site.hex())
        assert answer["itself"] is True
        assert len(one.members()) == len(other.members()) == 2

    run(test)


@pytest.mark.parametrize(
    "who, kind, said",
    [
        ("nobody", covey.UnknownName, "no member is called 'nobody'"),
        ("ffffffffffff", covey.UnknownName, "no site begins so; nothing was changed"),
        ("", covey.UsageError, "who is meant?"),
        (7, covey.UsageError, "who is meant?"),
        ("twin", covey.UsageError, "'twin' may be 3 members; nothing was changed"),
    ],
)
def test_a_kick_of_nobody_or_of_one_of_several_changes_nothing(who, kind, said):
    async def test(cluster: Cluster) -> None:
        nodes = await settled(await cluster.start(3, name="twin"))
        before = nodes[0].statistics().machines["membership"]
        with pytest.raises(kind, match=said.replace("?", r"\?")):
            await ask(cluster, nodes[0], "kick", who=who)
        assert nodes[0].statistics().machines["membership"].imports == before.imports
        assert [len(node.members()) for node in nodes] == [3, 3, 3]

    run(test)


def test_who_leaves_answers_before_its_client_has_gone_and_afterwards():
    async def test(cluster: Cluster) -> None:
        one, other = await settled(await cluster.start(2))
        async with asking(cluster, other.address) as client:
            answer = await client.ask("leave")
            assert (answer["site"], answer["acknowledged"], answer["missing"]) == (other.site, [one.site], [])
            await until(lambda: other.alone and len(one.members()) == 1)
            alone = await client.ask("members")
        assert (alone["solo"], alone["kicked"]) == (True, None)
        assert [member["site"] for member in alone["members"]] == [other.site]

    run(test)


def test_a_node_that_was_thrown_out_says_so():
    async def test(cluster: Cluster) -> None:
        one, other = await kicked(cluster)
        answer = await ask(cluster, other, "members")
        assert other.kicked is not None
        assert (answer["solo"], answer["kicked"]) == (True, {"by": one.site, "wall_ms": other.kicked.wall_ms})
        dumped = await ask(cluster, other, "dump")
        assert dumped["solo"] is True and dumped["cluster"] != cluster_id("test")

    run(test)


def test_who_was_thrown_out_is_dialled_in_vain_and_nobody_is_alarmed():
    async def test(cluster: Cluster) -> None:
        one, other = await kicked(cluster)
        async with one.events() as events, other.events() as others:
            with pytest.raises(covey.JoinFailed, match="alone"):
                await one.join(other.address)
            await asyncio.sleep(20)
            assert [event for event in (*events._queue, *others._queue) if isinstance(event, covey.LinkRefused)] == []

    run(test)


def test_who_was_thrown_out_joins_again():
    async def test(cluster: Cluster) -> None:
        one, other = await kicked(cluster)
        await other.join(one.address)
        assert (other.alone, other.kicked) == (False, None)
        assert [member["site"] for member in (await ask(cluster, other, "members"))["members"]] == sorted(
            [one.site, other.site]
        )

    run(test)
