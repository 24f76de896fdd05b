"""Scenarios of hubs with real processes, sockets and signals; the node in the test asks, and runs nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import covey
from tests.runtime.hub_child import CHILDREN, SECRET, counter, failing
from tests.runtime.transport.tcp_harness import wait_until

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(120)]


class Hosts:
    """Processes that run children, and the hub as the test sees it."""

    def __init__(self, node: covey.Node, hub: Any) -> None:
        self.node = node
        self.hub = hub
        self.processes: dict[str, Process] = {}

    async def start(self, *names: str) -> None:
        """So many processes more, until they take part."""
        for name in names:
            options = json.dumps({"seeds": [self.node.address], "name": name})
            command = [sys.executable, "-W", "error", "-m", "tests.runtime.hub_child", options]
            self.processes[name] = await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=ROOT)
        for name in names:
            stdout = self.processes[name].stdout
            assert stdout is not None
            assert json.loads(await stdout.readline())["address"]
        await wait_until(lambda: {*self.processes} <= {one.name for one in self.hub.nodes()}, 30)

    async def end(self, name: str, sent: signal.Signals) -> None:
        """One of them goes."""
        process = self.processes.pop(name)
        process.send_signal(sent)
        await process.communicate()

    def runs(self) -> dict[Any, str]:
        """Where each child runs that runs once."""
        found = self.hub.dump()
        return {id: one.node for id, one in found.items() if [copy.state for copy in one.copies] == ["running"]}

    def spread(self) -> Counter[str]:
        return Counter(self.runs().values())


@contextlib.asynccontextmanager
async def hosts(*names: str) -> AsyncIterator[Hosts]:
    node = covey.Node("hubs", listen="127.0.0.1:0", secret=SECRET, name="asks", config=covey.Config.laptop())
    async with node, node.hub("h", children=CHILDREN, on_split="both", weight=0) as hub:
        some = Hosts(node, hub)
        try:
            await some.start(*names)
            yield some
        finally:
            for process in some.processes.values():
                process.kill()
                await process.communicate()


def specs(count: int) -> list[covey.ChildSpec[Any]]:
    return [covey.ChildSpec(number, counter) for number in range(count)]


async def test_s5_a_rollback_is_cluster_wide():
    async with hosts("a", "b", "c") as some:
        batch = [*specs(9), covey.ChildSpec("bad", failing)]
        result = await some.hub.start_children(batch, on_failure="rollback", timeout=20)
        assert result.rolled_back
        assert [error.id for error in result.errors] == ["bad"]
        await wait_until(lambda: not some.hub.children(), 10)
        result = await some.hub.start_children([*specs(9), covey.ChildSpec("bad", failing)], timeout=20)
        assert (len(result.started), [error.id for error in result.errors]) == (9, ["bad"])


async def test_s6_stopping_what_is_unknown_stops_what_is_known():
    async with hosts("a") as some:
        (await some.hub.start_children(specs(1))).raise_for_errors()
        result = await some.hub.stop_children([0, "nobody"])
        assert [error.trouble for error in result.errors] == ["not_found"]
        assert not some.hub.children()


async def test_s12_when_a_process_is_killed_the_rest_run_all_its_children_once():
    async with hosts("a", "b", "c") as some:
        (await some.hub.start_children(specs(200))).raise_for_errors()
        assert all(some.spread()[name] > 30 for name in "abc")
        await some.end("b", signal.SIGKILL)
        await wait_until(lambda: len(some.runs()) == 200 and "b" not in some.spread(), 10)
        answers = await asyncio.gather(*[some.hub.call(number, None) for number in range(200)])
        assert set(answers) == {1}


async def test_s18_s19_no_acknowledged_call_is_lost_while_processes_come_and_go():
    async with hosts("a", "b") as some:
        (await some.hub.start_children(specs(20))).raise_for_errors()
        acknowledged: Counter[int] = Counter()
        slowest_s = 0.0

        async def count(number: int) -> None:
            nonlocal slowest_s
            loop = asyncio.get_running_loop()
            while True:
                began_s = loop.time()
                answer = await some.hub.call(number, None, timeout=10)
                slowest_s = max(slowest_s, loop.time() - began_s)
                acknowledged[number] += 1
                assert answer >= acknowledged[number], "what was acknowledged is not counted any more"

        async with asyncio.TaskGroup() as group:
            counting = [group.create_task(count(number)) for number in range(20)]
            await some.start("c", "d")
            await wait_until(lambda: len(some.runs()) == 20 and {*some.spread()} == {*"abcd"}, 40)
            await some.end("a", signal.SIGTERM)
            await wait_until(lambda: len(some.runs()) == 20 and "a" not in some.spread(), 20)
            for task in counting:
                task.cancel()
        assert min(acknowledged[number] for number in range(20)) > 20
        final = await asyncio.gather(*[some.hub.call(number, None) for number in range(20)])
        assert all(final[number] > acknowledged[number] for number in range(20))
        assert slowest_s < 5, "a call waits for a child that moves, not for its deadline"
