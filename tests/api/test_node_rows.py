"""Durable instances beneath real nodes: what their storage kept of shared rows is there in the next life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import covey
from covey.core.rows import HoldInstance, Put, ReleaseInstance, Remove, Start, WriteShared
from covey.rows.stored import read
from covey.runtime.storage.checks import read_all
from covey.testing import Cluster, run
from tests.api.together import durable
from tests.runtime.transport.tcp_harness import wait_until
from tests.testing.virtual import until

HUB = b"hub:test"
SECRET = "a secret for tests of covey"


def runner_of(node: covey.Node) -> Any:
    return node._runner


def hold(node: covey.Node, durable: bool = True) -> None:
    runner_of(node).feed(HoldInstance(HUB, durable))


def write(node: covey.Node, *changes: Start | Put | Remove) -> None:
    runner_of(node).feed(WriteShared(HUB, changes))


def shows(node: covey.Node) -> dict[bytes, bytes]:
    tables = runner_of(node).engine.replication.shared.tables
    return {key: row.value for key, row in tables[HUB].view().items()}


def saved(node: covey.Node) -> bool:
    return bool(runner_of(node).engine.replication.shared.saving.saved(HUB))


def test_a_cluster_that_stopped_as_a_whole_has_its_rows_again():
    async def test(cluster: Cluster) -> None:
        nodes = await durable(cluster, 3)
        for node in nodes:
            hold(node)
        write(nodes[0], Start(b"1", b"one"), Start(b"2", b"two"), Put(b"1", b"field", b""))
        await until(lambda: all(len(shows(node)) == 2 for node in nodes), 5)
        write(nodes[1], Remove(b"2"), Start(b"3", b"three"))  # and it ends in this very turn
        for node in (nodes[1], nodes[0], nodes[2]):
            await node.close()
        again: list[covey.Node] = []
        for node in nodes:  # at other addresses than before
            storage: Any = node._options.storage
            again.append(cluster.node(storage=storage, seeds=[other.address for other in again[:1]]))
            await again[-1].start()
            hold(again[-1])
        assert [node.site for node in again] == [node.site for node in nodes]
        assert shows(again[1]) == {b"1": b"one", b"3": b"three"}
        await until(lambda: all(shows(node) == {b"1": b"one", b"3": b"three"} for node in again), 10)

    run(test)


def test_a_node_without_storage_keeps_nothing_and_holds_it_as_any_other():
    async def test(cluster: Cluster) -> None:
        (node,) = await cluster.start(1)
        hold(node)
        write(node, Start(b"1", b"one"))
        assert shows(node) == {b"1": b"one"}
        assert saved(node)
        assert node.statistics().machines["shelf"].records == 0

    run(test)


async def started(path: Path) -> covey.Node:
    node = covey.Node("kept", listen="127.0.0.1:0", seeds=[], secret=SECRET, storage=str(path))
    await node.start()
    return node


@pytest.mark.asyncio
async def test_rows_in_a_file_outlive_a_process_that_ends_without_a_word(tmp_path):
    path = tmp_path / "a.db"
    node = await started(path)
    hold(node)
    write(node, *(Start(b"%d" % number, b"value") for number in range(3_000)), Remove(b"7"))
    await wait_until(lambda: saved(node))
    await node._abort()
    again = await started(path)
    assert again.site == node.site
    hold(again)
    assert sorted(shows(again)) == sorted(b"%d" % number for number in range(3_000) if number != 7)
    write(again, Put(b"8", b"field", b"later"))
    await again.close()
    stored = read(read_all(str(path)).logs["shelf"])[HUB]
    assert len(stored.rows) == 2_999
    assert sorted(stored.received) == [(node.site, node.incarnation), (node.site, again.incarnation)]


@pytest.mark.asyncio
async def test_what_is_released_is_not_in_the_file_any_more(tmp_path):
    path = tmp_path / "a.db"
    node = await started(path)
    hold(node)
    write(node, *(Start(b"%d" % number, b"value") for number in range(3_000)))
    await wait_until(lambda: saved(node))
    runner_of(node).feed(ReleaseInstance(HUB))
    await node.close()
    assert "shelf" not in read_all(str(path)).logs
