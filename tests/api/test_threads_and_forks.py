"""A node belongs to one thread of one process. From elsewhere every call is refused, and nothing is done."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.testing.virtual import meshed, running, until

STRANGER = covey.Site(b"nobody knows me!")


def elsewhere(call: Callable[[], Any]) -> BaseException | None:
    """What `call` raises on another thread; what it returns is awaited there, on a loop of its own."""
    outcome: list[BaseException | None] = [None]

    def work() -> None:
        try:
            result = call()
            if asyncio.iscoroutine(result):
                asyncio.run(result)
        except BaseException as error:
            outcome[0] = error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    return outcome[0]


async def pair(cluster: Cluster) -> list[covey.Node]:
    """Two neighbours with a link for values."""
    nodes = await cluster.start(2)
    await until(lambda: meshed(nodes))
    await nodes[0].send(nodes[1].site, "the link is made")
    await asyncio.sleep(0.1)
    return nodes


@pytest.mark.parametrize("way", ["send", "send_nowait"])
@pytest.mark.parametrize("target", ["neighbour", "itself", "stranger"])
def test_sending_from_another_thread_is_refused_and_nothing_is_sent(way, target):
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        site = {"neighbour": other.site, "itself": one.site, "stranger": STRANGER}[target]
        async with one.events() as heard_by_one, other.events() as heard_by_other:
            before = one.statistics().machines
            error = elsewhere(lambda: getattr(one, way)(site, "from elsewhere"))
            assert isinstance(error, covey.UsageError)
            assert not isinstance(error, (covey.ClosedError, covey.UnknownName))
            assert "call_soon_threadsafe" in str(error)
            await asyncio.sleep(0)
            assert one.statistics().machines == before
            await asyncio.sleep(1)
            assert list(heard_by_one._queue) == list(heard_by_other._queue) == []
            await one.send(other.site, "from here")
            assert await anext(heard_by_other) == covey.Message(one.site, "from here")

    run(test)


@pytest.mark.parametrize("way", ["send", "send_nowait"])
def test_a_refused_call_takes_nothing_with_it_that_was_sent_in_the_same_turn(way):
    """The values of a turn wait for its end; another thread must not lay hands on them."""

    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        async with other.events() as events:
            one.send_nowait(other.site, "first")
            assert isinstance(elsewhere(lambda: getattr(one, way)(STRANGER, "x")), covey.UsageError)
            one.send_nowait(other.site, "second")
            await asyncio.sleep(1)
            assert list(events._queue) == [covey.Message(one.site, "first"), covey.Message(one.site, "second")]

    run(test)


@pytest.mark.parametrize(
    "call",
    [
        lambda node: node.neighbours(),
        lambda node: node.statistics(),
        lambda node: node.events(),
        lambda node: node.wait_neighbours(1),
    ],
    ids=["neighbours", "statistics", "events", "wait_neighbours"],
)
def test_asking_from_another_thread_is_refused(call):
    async def test(cluster: Cluster) -> None:
        one, _ = await pair(cluster)
        error = elsewhere(lambda: call(one))
        assert isinstance(error, covey.UsageError)
        assert "thread" in str(error)

    run(test)


def test_closing_from_another_thread_is_refused_and_the_node_stays_open():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        async with one.events() as events:
            error = elsewhere(lambda: one.close())
            assert isinstance(error, covey.UsageError)
            assert not isinstance(error, covey.ClosedError)
            assert [peer.site for peer in one.neighbours()] == [other.site]
            await other.send(one.site, "still there?")
            assert await asyncio.wait_for(anext(events), 1) == covey.Message(other.site, "still there?")
            await one.close()
            await until(lambda: other.neighbours() == [], 1)

    run(test)


def test_a_mailbox_that_is_closed_from_another_thread_stays_a_member_that_gets_mail():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        async with one.group("g").join() as me, other.group("g").join() as sender:
            error = elsewhere(me.close)
            assert isinstance(error, covey.UsageError) and "thread" in str(error)
            await until(lambda: len(sender.peers()) == 1)
            await sender.send(sender.peers()[0], "still here")
            message = await asyncio.wait_for(anext(me), 10)
            assert isinstance(message, covey.GroupMessage) and message.payload == "still here"
            me.close()
            await until(lambda: sender.peers() == [])

    run(test)


def test_the_other_threads_way_in_is_call_soon_threadsafe():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        loop = asyncio.get_running_loop()
        async with other.events() as events, running(anext(events)) as tasks:
            error = elsewhere(lambda: loop.call_soon_threadsafe(one.send_nowait, other.site, "handed over"))
            assert error is None
            assert await tasks[0] == covey.Message(one.site, "handed over")

    run(test)


FORK = """
import asyncio, json, os, sys
import covey

SITE = covey.Site(bytes(16))
CALLS = {
    "neighbours": lambda node: node.neighbours(),
    "statistics": lambda node: node.statistics(),
    "events": lambda node: node.events(),
    "send_nowait": lambda node: node.send_nowait(SITE, 1),
    "send": lambda node: asyncio.run(node.send(SITE, 1)),
    "wait_neighbours": lambda node: asyncio.run(node.wait_neighbours(0)),
    "members": lambda node: node.members(),
    "kicked": lambda node: node.kicked,
    "why": lambda node: node.why(SITE),
    "wait_members": lambda node: asyncio.run(node.wait_members(0)),
    "join": lambda node: asyncio.run(node.join("127.0.0.1:1")),
    "kick": lambda node: asyncio.run(node.kick(SITE)),
    "leave": lambda node: asyncio.run(node.leave()),
    "flush": lambda node: asyncio.run(node.flush()),
    "set_meta": lambda node: asyncio.run(node.set_meta({})),
    "close": lambda node: asyncio.run(node.close()),
}

def outcome(call):
    try:
        call()
    except covey.CoveyError as error:
        return [type(error).__name__, str(error)]
    return ["done", ""]

async def of_its_own(seed):
    async with covey.Node("forks", seeds=[seed], secret="s" * 16, listen="127.0.0.1:0") as node:
        await node.wait_neighbours(1)

def in_child(one, unstarted, seed):
    found = {name: outcome(lambda: call(one)) for name, call in CALLS.items()}
    found["start"] = outcome(lambda: asyncio.run(unstarted.start()))
    found["of its own"] = outcome(lambda: asyncio.run(of_its_own(seed)))
    return found

async def main():
    unstarted = covey.Node("forks", secret="s" * 16, listen="127.0.0.1:0", seeds=[])
    async with covey.Node("forks", secret="s" * 16, listen="127.0.0.1:0", seeds=[]) as one:
        async with covey.Node("forks", seeds=[one.address], secret="s" * 16, listen="127.0.0.1:0") as other:
            await other.wait_neighbours(1)
            async with other.events() as events:
                reading, writing = os.pipe()
                pid = os.fork()
                if pid == 0:
                    try:
                        os.write(writing, json.dumps(in_child(one, unstarted, one.address)).encode())
                    finally:
                        os._exit(0)
                os.close(writing)
                loop = asyncio.get_running_loop()
                said = await loop.run_in_executor(None, os.read, reading, 65536)
                os.waitpid(pid, 0)
                await one.send(other.site, "the parent goes on")
                async for event in events:
                    if isinstance(event, covey.Message):
                        break
                    assert not isinstance(event, covey.NeighborDown) or event.neighbor.site != one.site
                print(said.decode())

asyncio.run(main())
"""


@pytest.mark.serial
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_after_a_fork_the_child_is_refused_everything_and_the_parent_goes_on():
    child = subprocess.run([sys.executable, "-c", FORK], capture_output=True, timeout=40, check=False)
    assert child.returncode == 0, child.stderr.decode()
    outcomes = json.loads(child.stdout)
    assert outcomes.pop("of its own") == ["done", ""]
    assert set(outcomes) == {
        "neighbours", "statistics", "events", "send_nowait", "send", "wait_neighbours", "members", "kicked", "why",
        "wait_members", "join", "kick", "leave", "flush", "set_meta", "close", "start",
    }  # fmt: skip
    for name, (kind, text) in outcomes.items():
        assert kind == "UsageError", name
        assert "before a fork" in text
        assert "make a Node in the child" in text


IMPORT = """
import os, random, socket, sys, threading

drawn = []
def refuse(name):
    def refused(*arguments, **options):
        drawn.append(name)
        raise AssertionError(name)
    return refused

random.seed(7)
state = random.getstate()
os.urandom = refuse("os.urandom")
random.SystemRandom.getrandbits = refuse("SystemRandom.getrandbits")
random.SystemRandom.random = refuse("SystemRandom.random")
random._urandom = refuse("urandom")
opened = []
sys.addaudithook(lambda event, arguments: opened.append(event) if event in ("socket.__new__", "os.fork") else None)

import covey
import covey.api.node, covey.runtime.runner

assert drawn == [], drawn
assert random.getstate() == state
assert opened == [], opened
assert threading.active_count() == 1

os.environ["XDG_CONFIG_HOME"] = "/nowhere"
covey.Node("orders", secret="s" * 16, listen="127.0.0.1:0", seeds=[])
assert (drawn, opened) == ([], []), (drawn, opened)
"""


def test_importing_covey_and_making_a_node_draw_no_identity():
    """Else processes that fork after it would all have the same one."""
    child = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, timeout=40, check=False)
    assert child.returncode == 0, child.stderr.decode()
