"""`covey demo` as people run it: real processes, a real SIGKILL, an exact result, and nobody left behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from covey.cli.demo import corpus, tables
from covey.cli.demo.reports import Command, Compare, Complete, Fill, Orders, Progress, Report, Started
from covey.cli.demo.worker import work

pytestmark = pytest.mark.serial

SECONDS_MAX = 75.0


@asynccontextmanager
async def demo(*arguments: str):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "covey", "demo", *arguments, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run_demo(*arguments: str) -> tuple[int, list[str], str]:
    async with demo(*arguments) as process, asyncio.timeout(SECONDS_MAX):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode().splitlines(), err.decode()


async def pids_of_workers_at_work(process) -> list[int]:
    """The workers' pids, read from the demo's own JSON as soon as all shelves run."""
    async with asyncio.timeout(SECONDS_MAX):
        async for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and sum(len(worker["copies"]) for worker in event["workers"]) > 20:
                return [worker["pid"] for worker in event["workers"]]
    raise AssertionError(f"the demo ended early: {await process.stderr.read()!r}")


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_one_of_five_is_killed_the_network_splits_and_heals_and_all_are_exact():
    status, lines, err = await run_demo("--json", "--seconds-of-work", "2")
    events = [json.loads(line) for line in lines]
    acts = [event["act"] for event in events if event["event"] == "act"]
    result = events[-1]
    assert (status, err, result.get("reason")) == (0, "", None)
    assert list(dict.fromkeys(acts)) == [
        "form", "index", "kill", "take over", "restart", "split", "heal", "compare", "done",
    ]  # fmt: skip
    assert (result["event"], result["exact"], result["nodes"]) == ("result", "yes", "4/5")
    assert (result["unanswered"], result["duplicates after heal"], result["killed and back"]) == (0, 0, 1)
    assert (result["live"], len(result["killed"])) == ([f"n{number}" for number in range(5)], 1)
    assert min(result["files"], result["words"], result["answered"]) > 0
    sides = [tuple(worker["side"] for worker in event["workers"]) for event in events if event["event"] == "progress"]
    assert [side for side in dict.fromkeys(sides) if any(side)] == [(1, 1, 1, 2, 2)]


async def test_without_a_terminal_it_is_a_few_plain_lines():
    status, lines, err = await run_demo("--nodes", "3", "--no-kill", "--no-split", "--seconds-of-work", "1.5")
    assert (status, err) == (0, "")
    assert len(lines) <= 40
    assert not any("\x1b" in line for line in lines)
    assert re.fullmatch(
        r"exact: yes  nodes: 3/3  files: \d+  words: \d+  unanswered: 0  longest gap: \d+\.\d s  "
        r"duplicates after heal: 0",
        lines[-1],
    )


async def test_shelves_move_with_their_index_when_their_process_ends_in_order(tmp_path):
    files = [f"{number:02}.py" for number in range(30)]
    for number, file in enumerate(files):
        (tmp_path / file).write_text("word " * number)
    shelves = {f"shelf{number}": files[number::10] for number in range(10)}
    orders = Orders("n", "vanishing", "s" * 32, [], str(tmp_path), shelves, seconds=0.01, storage="")
    total = corpus.count_all(tmp_path, files)
    right = Complete(30, total.total(), tables.digest(total))
    workers: list[InProcess] = []
    async with asyncio.timeout(SECONDS_MAX):
        for _ in range(3):
            seeds = [worker.address for worker in workers[:1]]
            workers.append(InProcess(msgspec.structs.replace(orders, name=f"n{len(workers)}", seeds=seeds)))
            workers[-1].address = (await workers[-1].next(Started)).address
        for worker in workers:
            await worker.next(Progress, lambda report: report.nodes == 3)
        await workers[0].tell(Fill())
        for worker in workers:
            await worker.tell(Compare())
            assert await worker.next(Complete) == right
        assert (await workers[2].next(Progress, lambda report: report.answered > 30)).copies
        for file in files:
            (tmp_path / file).unlink()  # nobody can count it again
        await workers.pop().end()
        for worker in workers:
            seen = await worker.next(
                Progress, lambda report: (report.members, report.running, report.held) == (1, 10, 30)
            )
            assert seen.answered > 0
            await worker.tell(Compare())
            assert await worker.next(Complete) == right
    for worker in workers:
        await worker.end()


class InProcess:
    """A worker of the demo in this process."""

    def __init__(self, orders: Orders) -> None:
        self.address = ""
        self._reports: asyncio.Queue[Report] = asyncio.Queue()
        self._commands: asyncio.Queue[Command | None] = asyncio.Queue()
        self._task = asyncio.create_task(work(orders, self._commands, self._reports.put_nowait))

    async def next(self, kind: type[Any], holds: Callable[[Any], bool] = lambda report: True) -> Any:
        """The next report of this kind that is so."""
        while not (isinstance(report := await self._reports.get(), kind) and holds(report)):
            assert not self._task.done(), self._task
        return report

    async def tell(self, command: Command) -> None:
        await self._commands.put(command)

    async def end(self) -> None:
        await self._commands.put(None)
        await self._task


async def test_ctrl_c_ends_every_worker_and_is_not_exact():
    async with demo("--json") as process:
        pids = await pids_of_workers_at_work(process)
        process.send_signal(signal.SIGINT)
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    result = json.loads(out.decode().splitlines()[-1])
    assert (process.returncode, result["exact"], result["reason"]) == (1, "no", "ended by SIGINT")
    assert [is_gone(pid) for pid in pids] == [True] * 5


async def test_a_worker_that_dies_by_itself_ends_the_demo_with_the_reason():
    async with demo("--json") as process:
        pids = await pids_of_workers_at_work(process)
        os.kill(pids[1], signal.SIGKILL)
        out, _ = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    result = json.loads(out.decode().splitlines()[-1])
    assert (process.returncode, result["exact"], result["nodes"]) == (1, "no", "4/5")
    assert result["reason"] == "n1 ended by itself with status -9"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="how else to wait for what is not our child")
async def test_no_worker_outlives_a_director_that_was_killed():
    async with demo("--json") as process:
        pids = await pids_of_workers_at_work(process)
        watched = [os.pidfd_open(pid) for pid in pids]
        process.kill()
        await process.wait()
    try:
        for descriptor in watched:
            assert select.select([descriptor], [], [], 10.0)[0], "an orphan"
    finally:
        for descriptor in watched:
            os.close(descriptor)
