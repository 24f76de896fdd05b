"""What a client may ask of a node, and what it is answered; over the memory transport, on the virtual clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any

import msgspec
import pytest

import covey
from covey.api.clients import TASKS_MAX, find
from covey.api.members import Member
from covey.core.ids import Site, cluster_id
from covey.protocols.links.config import LinksConfig
from covey.runtime.client import Client
from covey.testing import Cluster, run
from covey.wire import codec
from covey.wire.messages.client import Ask
from tests.testing.virtual import running, until

SECRET = b"only for a test of covey"


@asynccontextmanager
async def asking(cluster: Cluster, address: str, number: int = 0, **options: Any) -> AsyncIterator[Client]:
    """A client that is connected to `address`."""
    name, secret = options.get("name", "test"), options.get("secret", SECRET)
    async with Client(cluster.network.transport(), address, cluster_id(name), secret, Random(number)) as client:
        await client.connect(5.0)
        yield client


async def ask(cluster: Cluster, node: covey.Node, what: str, **arguments: Any) -> Any:
    async with asking(cluster, node.address) as client:
        return await client.ask(what, arguments)


async def settled(nodes: list[covey.Node]) -> list[covey.Node]:
    """All of them see each other alive."""
    for node in nodes:
        await node.wait_members(len(nodes))
    return nodes


async def kicked(cluster: Cluster) -> list[covey.Node]:
    """Two nodes, the second of which was thrown out by the first."""
    one, other = await settled(await cluster.start(2))
    await one.kick(other.site)
    await until(lambda: other.alone)
    return [one, other]


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


# --- clients that fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, kind, said",
    [
        ({"secret": b"another secret of 16"}, covey.AuthenticationError, "another secret"),
        ({"name": "herd"}, covey.ClusterMismatch, "cluster of another name"),
    ],
)
def test_a_client_of_another_secret_or_cluster_is_refused(options, kind, said):
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        with pytest.raises(kind, match=rf"{said}.*; nothing was asked"):
            async with asking(cluster, node.address, **options):
                pass
        assert node.statistics().machines["clients"].clients == 0

    run(test)


def test_nobody_there_and_nobody_who_answers_are_said_apart():
    async def test(cluster: Cluster) -> None:
        with pytest.raises(covey.PeerUnreachable, match=r"\(refused: nobody listens there\); nothing was asked"):
            async with asking(cluster, "127.0.0.1:9"):
                pass
        silent = cluster.network.transport()
        address = await silent.listen("127.0.0.1:0")
        with pytest.raises(covey.DeadlineExceeded, match=r"no answer from .* in 5 s; nothing was asked"):
            async with asking(cluster, address):
                pass

    run(test)


def test_an_ask_that_nobody_knows_and_arguments_that_are_none_are_errors_with_their_names():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        with pytest.raises(covey.UnknownName, match="does not know how to 'fly'; it can members, why"):
            await ask(cluster, node, "fly")
        async with asking(cluster, node.address) as client:
            for body in (b"\xc1", b"\x93\x01\x02\x03", b"\x81\x01\x02"):
                client._number += 1
                number = client._number
                client._write(codec.join_body([codec.encode_message(Ask(number, "members", body))]))
                with pytest.raises(covey.UsageError, match="the arguments are"):
                    await client._answer(number)
            assert (await client.ask("members"))["site"] == node.site
        with pytest.raises(covey.UsageError, match="too long"):
            await ask(cluster, node, "members", by="x" * 5000)

    run(test)


def test_a_bug_in_an_answer_is_logged_and_ends_nothing_but_the_ask(caplog):
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)

        async def broken(arguments: Any) -> None:
            raise ZeroDivisionError("oh")

        node._desk._asks["broken"] = broken
        with pytest.raises(covey.CoveyError, match="a bug in covey; see the log of the node"):
            await ask(cluster, node, "broken")
        assert (await ask(cluster, node, "members"))["site"] == node.site

    run(test)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


def test_every_ask_is_logged_with_who_asks(caplog):
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        await ask(cluster, node, "members", by="ann@host\n")
        with pytest.raises(covey.UnknownName):
            await ask(cluster, node, "kick", by="bob", who="nobody")

    with caplog.at_level(logging.INFO, "covey.api.clients"):
        run(test)
    said = [record.getMessage() for record in caplog.records if record.name == "covey.api.clients"]
    assert "by='ann@host\\n' what='members'" in said[0]
    assert "by='bob' what='kick' arguments=\"who='nobody'\"" in said[1]
    assert "event=client_refused" in said[2] and "UnknownName" in said[2]


def test_a_client_that_goes_while_it_is_answered_leaves_nothing_behind():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(arguments: Any) -> str:
            begun.set()
            await go_on.wait()
            return "done"

        node._desk._asks["slow"] = slow
        async with asking(cluster, node.address) as client, running(client.ask("slow")):
            await begun.wait()
        await until(lambda: node.statistics().machines["clients"].clients == 0)
        assert len(node._desk._tasks) == 1
        go_on.set()
        await until(lambda: not node._desk._tasks)
        assert (await ask(cluster, node, "members"))["site"] == node.site

    run(test)


def test_a_node_that_closes_ends_what_it_does_for_clients_and_tells_them():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        begun = asyncio.Event()

        async def endless(arguments: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        node._desk._asks["endless"] = endless
        async with asking(cluster, node.address) as client, running(client.ask("endless")) as (asked,):
            await begun.wait()
            await node.close()
            with pytest.raises(covey.PeerUnreachable, match="ended the connection"):
                await asked
        assert not node._desk._tasks

    run(test)


def test_a_client_that_waits_long_is_not_taken_for_dead_and_gives_up_in_time():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)

        async def slow(arguments: Any) -> str:
            await asyncio.sleep(20)
            return "done"

        node._desk._asks["slow"] = slow
        async with asking(cluster, node.address) as client:
            assert await client.ask("slow", timeout=30) == "done"
        async with asking(cluster, node.address) as client:
            with pytest.raises(covey.DeadlineExceeded, match="did not answer 'slow' in 3 s; it may still take effect"):
                await client.ask("slow", timeout=3)

    run(test)


def test_a_hundred_clients_at_once_are_answered_or_told_to_come_again():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)

        async def one(number: int) -> str:
            try:
                async with asking(cluster, node.address, number) as client:
                    return (await client.ask("members"))["cluster"]
            except covey.Overloaded as error:
                return str(error).rpartition(": ")[2]

        answers = await asyncio.gather(*(one(number) for number in range(100)))
        counts = {answer: answers.count(answer) for answer in answers}
        assert counts["test"] >= 16
        assert all("try again" in answer for answer in counts if answer != "test"), counts
        assert (await ask(cluster, node, "members"))["site"] == node.site
        assert node.statistics().machines["clients"].clients <= LinksConfig().clients_max

    run(test)


def test_more_asks_than_there_may_be_are_refused_also_where_their_clients_have_gone():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)

        async def endless(arguments: Any) -> None:
            await asyncio.Event().wait()

        node._desk._asks["endless"] = endless
        while (begun := len(node._desk._tasks)) < TASKS_MAX:
            async with asking(cluster, node.address, begun) as client, running(client.ask("endless")):
                await until(partial(more_than, begun, node._desk._tasks))
        with pytest.raises(covey.Overloaded, match="64 asks are under way"):
            await ask(cluster, node, "members")

    run(test)


def more_than(count: int, found: Collection[Any]) -> bool:
    return len(found) > count


# --- names ----------------------------------------------------------------------------------------------------------


def member(site: str, name: str = "") -> Member:
    return Member(Site(bytes.fromhex(site.ljust(32, "0"))), name, "", "alive", 1, {}, False)


MEMBERS = [member("cafe01", "a"), member("cafe02", "b"), member("beef", "cafe01"), member("abcd", "b")]


@pytest.mark.parametrize("who, index", [("a", 0), ("cafe02", 1), ("CAFE02", 1), ("beef", 2), ("abcd" + "0" * 28, 3)])
def test_a_member_is_found_by_its_name_or_the_beginning_of_its_site(who, index):
    assert find(MEMBERS, who) is MEMBERS[index]


@pytest.mark.parametrize("who", ["cafe", "cafe0", "b", "cafe01"])
def test_what_may_be_two_members_is_neither(who):
    with pytest.raises(covey.UsageError, match="may be 2 members; nothing was changed"):
        find(MEMBERS, who)


@pytest.mark.parametrize("who", ["c", "caf", "bee", "A", "x", "cafe01" + "0" * 27, "-"])
def test_what_is_too_short_too_long_or_nobody_is_unknown(who):
    with pytest.raises(covey.UnknownName, match="nothing was changed"):
        find(MEMBERS, who)
