"""`covey demo` as people run it: real processes, a real SIGKILL, an exact result, and nobody left behind."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager

import pytest

import covey
from covey.cli.demo import corpus, tables, worker
from covey.cli.demo.reports import Complete, Orders, Report, Started

pytestmark = pytest.mark.serial

SECONDS_MAX = 50.0


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
    """The workers' pids, read from the demo's own JSON as soon as all of them count."""
    async with asyncio.timeout(SECONDS_MAX):
        async for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and sum(worker["owned"] > 0 for worker in event["workers"]) == 5:
                return [worker["pid"] for worker in event["workers"]]
    raise AssertionError(f"the demo ended early: {await process.stderr.read()!r}")


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_one_of_five_is_killed_and_comes_back_and_all_are_exact():
    status, lines, err = await run_demo("--json", "--seconds-of-work", "3")
    events = [json.loads(line) for line in lines]
    acts = [event["act"] for event in events if event["event"] == "act"]
    result = events[-1]
    assert (status, err) == (0, "")
    assert acts == ["form", "count", "kill", "take over", "restart", "compare", "done"]
    assert (result["event"], result["exact"], result["nodes"]) == ("result", "yes", "5/5")
    assert min(result["files"], result["words"], result["took over"]) > 0


async def test_without_a_terminal_and_without_a_kill_it_is_a_few_plain_lines():
    status, lines, err = await run_demo("--nodes", "3", "--no-kill", "--seconds-of-work", "1.5")
    assert (status, err) == (0, "")
    assert len(lines) <= 40
    assert not any("\x1b" in line for line in lines)
    assert lines[-1].startswith("exact: yes  nodes: 3/3  files: ")
    assert "took over" not in lines[-1]


async def test_what_a_worker_counted_goes_with_it_and_is_counted_again(tmp_path):
    files = [f"{number:02}.py" for number in range(30)]
    for number, file in enumerate(files):
        (tmp_path / file).write_text("word " * number)
    orders = Orders("vanishing", "s" * 32, [], nodes=3, root=str(tmp_path), files=files, pace_s=0.001, storage="")
    reports: list[asyncio.Queue] = [asyncio.Queue() for _ in range(3)]
    nodes: list[covey.Node] = []
    news = asyncio.Event()

    def start(seeds: list[str]) -> asyncio.Task:
        queue = reports[len(nodes)]

        def report(told: Report) -> None:
            queue.put_nowait(told)
            news.set()

        nodes.append(
            covey.Node(
                orders.cluster, listen="127.0.0.1:0", seeds=seeds, secret=orders.secret, config=covey.Config.laptop()
            )
        )
        return asyncio.create_task(worker.Worker(nodes[-1], orders, report).run())

    async def next_report(queue: asyncio.Queue, kind):
        while not isinstance(report := await queue.get(), kind):
            pass
        return report

    async def until_rows(holds):
        """Wait until every live node sees the rows so."""
        while not all(holds([tables.read_row(m.meta) for m in node.group(worker.GROUP).members()]) for node in nodes):
            news.clear()
            await news.wait()

    total = corpus.count_all(tmp_path, files)
    async with asyncio.timeout(SECONDS_MAX):
        tasks = [start([])]
        first = await next_report(reports[0], Started)
        tasks += [start([first.address]), start([first.address])]
        found = [await next_report(queue, Complete) for queue in reports]
        assert found == [Complete(30, total.total(), tables.digest(total))] * 3
        lost = {m.meta["file"] for m in nodes[0].group(worker.GROUP).members() if m.site == nodes[2].site}
        assert lost and len(lost) < 30
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        gone = nodes.pop()
        await until_rows(lambda rows: {row.file for row in rows} == set(files) and len(rows) == 30)
        for node in nodes:
            members = node.group(worker.GROUP).members()
            assert gone.site not in {member.site for member in members}
            assert tables.add_up(member.meta for member in members) == (30, total)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
