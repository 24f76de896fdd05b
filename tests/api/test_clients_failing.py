"""Clients that are refused, go away, wait long, or are many; and asks that fail. No node minds any of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from functools import partial
from typing import Any

import pytest

import covey
from covey.api.clients import TASKS_MAX
from covey.protocols.links.config import LinksConfig
from covey.testing import Cluster, run
from covey.wire import codec
from covey.wire.messages.client import Ask
from tests.api.asking import ask, asking
from tests.testing.virtual import running, until


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
