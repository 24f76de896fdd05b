"""The virtual event loop: time costs nothing, order is a law, and what would bring chance in is refused."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covey.core.errors import UsageError
from covey.testing import Cluster, new_event_loop, run
from tests.testing.traced_run import trace

TRACED_RUN = Path(__file__).with_name("traced_run.py")

CANCEL_ORDER = """
import asyncio
from covey.testing import run

async def test(cluster):
    order = []

    async def wait(number):
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            order.append(number)
            raise

    async def fail():
        await asyncio.sleep(1)
        raise ValueError("everybody out")

    try:
        async with asyncio.TaskGroup() as group:
            ballast = [object() for _ in range(1000)]  # so that addresses do not grow in the order of creation
            for number in range(200):
                if number % 3 == 0:
                    del ballast[number]
                group.create_task(wait(number))
            group.create_task(fail())
    except* ValueError:
        pass
    return order

print(run(test))
"""


def in_child(arguments: list[str], hash_seed: int) -> bytes:
    """What a Python with this hash seed prints."""
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, env=environment, timeout=50
    ).stdout


# --- order ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hash_seed", [1, 2, 3])
def test_a_task_group_cancels_its_tasks_in_the_order_of_their_creation(hash_seed):
    assert in_child(["-c", CANCEL_ORDER], hash_seed).decode().strip() == str(list(range(200)))


@pytest.mark.slow
def test_two_runs_of_one_seed_give_the_same_trace():
    first = trace(11)
    assert len(first) > 1_000
    assert any("NeighborDown" in line for line in first)
    assert any("event Message" in line for line in first)
    assert trace(11) == first


@pytest.mark.slow
def test_another_seed_gives_another_trace():
    assert trace(11) != trace(12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [21, 22])
def test_a_trace_does_not_depend_on_the_hash_seed(seed):
    traces = {in_child([str(TRACED_RUN), str(seed)], hash_seed) for hash_seed in (1, 2, 3)}
    assert len(traces) == 1
    assert traces.pop().count(b"\n") > 1_000


# --- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_virtual_sleeps_take_no_time_to_speak_of():
    async def sleep(_: Cluster) -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for _number in range(10_000):
            await asyncio.sleep(1)
        return loop.time() - start

    start = time.process_time()
    assert run(sleep) == pytest.approx(10_000)
    assert time.process_time() - start < 5


def test_timers_ring_in_the_order_of_their_times_whatever_the_order_they_were_set_in():
    async def test(_: Cluster) -> list[int]:
        rung: list[int] = []
        loop = asyncio.get_running_loop()
        for delay in (5, 1, 4, 2, 3):
            loop.call_later(delay, rung.append, delay)
        await asyncio.sleep(10)
        return rung

    assert run(test) == [1, 2, 3, 4, 5]


def test_the_clock_stands_still_while_there_is_something_to_do():
    async def test(_: Cluster) -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        loop.call_later(0.000_001, lambda: None)
        for _number in range(1_000):
            await asyncio.sleep(0)
        return loop.time() - start

    assert run(test) == 0


def test_a_result_and_an_error_come_out_of_run():
    async def give(_: Cluster) -> str:
        return "given"

    async def fail(cluster: Cluster) -> None:
        await cluster.start(2)
        raise KeyError("from inside")

    assert run(give) == "given"
    with pytest.raises(KeyError, match="from inside"):
        run(fail)


def test_whoever_waits_for_what_cannot_come_is_told_so_at_once():
    """No timer, no task that could run: nothing can ever happen again on this loop."""
    script = "import asyncio\nfrom covey.testing import run\nrun(lambda cluster: asyncio.Event().wait())"
    child = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    try:
        _, stderr = child.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        pytest.fail("it still waits, in real time")
    assert child.returncode == 1
    assert b"too large" not in stderr  # not one about a number that nobody wrote
    assert b"Timeout" in stderr


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda: asyncio.get_running_loop().run_in_executor(None, time.time),
        lambda: asyncio.to_thread(time.time),
        lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80),
    ],
    ids=["run_in_executor", "to_thread", "getaddrinfo"],
)
def test_threads_are_refused(use):
    async def test(_: Cluster) -> None:
        await use()

    with pytest.raises(UsageError, match="threads"):
        run(test)


def test_a_loop_of_its_own_can_be_made_and_closed():
    loop = new_event_loop(start=5.0)
    try:
        assert loop.time() == 5.0
        loop.run_until_complete(asyncio.sleep(7))
        assert loop.time() == 12.0
    finally:
        loop.close()
