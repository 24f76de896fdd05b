"""Five durable processes on loopback: killed, restarted, stopped for a while, ended in order. What others say of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

import covey
from tests.hostile.children import Child, children

pytestmark = pytest.mark.serial

CHILD = str(Path(__file__).with_name("member_child.py"))
NODES = 5
REFUSED_S = 2.0  # milliseconds, in truth: a process that is gone is refused, not waited for
DETECTOR = covey.Config.laptop().engine.detector
SILENT_S = DETECTOR.suspicion_us_min * DETECTOR.suspicion_max_factor / 1e6 + 5  # if nobody confirmed it


class Five:
    """The processes, and where each keeps what it remembers."""

    def __init__(self, start, folder: Path) -> None:
        self._start = start
        self._folder = folder
        self.nodes: list[Child] = []

    async def start(self, number: int, *seeds: Child) -> Child:
        """A life of node `number`."""
        options = {"seeds": [s.address for s in seeds], "storage": str(self._folder / f"{number}.db")}
        node: Child = await self._start(CHILD, json.dumps({**options, "name": f"n{number}"}))
        return node

    async def form(self) -> list[Child]:
        """All five, each holding the four others for alive."""
        first = await self.start(0)
        self.nodes = [first, *await asyncio.gather(*(self.start(number, first) for number in range(1, NODES)))]
        for node in self.nodes:
            await node.until(lambda node=node: len(sites(node, "member_up")) == NODES - 1, 20)
        return self.nodes


@pytest.fixture
async def five(tmp_path):
    async with children() as start:
        yield Five(start, tmp_path)


def sites(node: Child, event: str) -> set[str]:
    """Which sites a node said this of."""
    return {said["site"] for said in node.of(event)}


def accused(node: Child) -> list[tuple[str, str]]:
    """Whom a node held for suspect or down, in order."""
    return [(said["event"], said["name"]) for said in node.said if said["event"] in ("member_suspect", "member_down")]


async def hear_of(node: Child, event: str, about: Child, seconds: float, count: int = 1) -> dict:
    """The `count`th line of one kind that is about one site."""
    site = about.site
    await node.until(lambda: sum(said["site"] == site for said in node.of(event)) >= count, seconds)
    return [said for said in node.of(event) if said["site"] == site][count - 1]


async def test_a_killed_process_is_refused_at_once_and_comes_back_as_another_life_of_its_site(five):
    nodes = await five.form()
    victim, *others = nodes[2], *nodes[:2], *nodes[3:]
    killed_s = time.monotonic()
    os.kill(victim.pid, signal.SIGKILL)
    downs = [await hear_of(node, "member_down", victim, REFUSED_S) for node in others]
    assert time.monotonic() - killed_s < REFUSED_S
    assert {down["status"] for down in downs} == {"down"}
    assert "refused" in {down["cause"] for down in downs} <= {"refused", "told"}
    assert [accused(node) for node in others] == [[("member_down", "n2")]] * (NODES - 1)

    again = await five.start(2, others[-1])
    assert again.site == victim.site
    incarnation = again.of("started")[0]["incarnation"]
    assert incarnation > victim.of("started")[0]["incarnation"]
    for node in others:
        up = await hear_of(node, "member_up", victim, 10, count=2)
        assert (up["incarnation"], up["status"]) == (incarnation, "alive")
    await again.until(lambda: sites(again, "member_up") == {node.site for node in others}, 10)
    assert [accused(node) for node in others] == [[("member_down", "n2")]] * (NODES - 1)
    assert accused(again) == []


async def test_a_process_that_stood_still_is_down_and_back_and_accuses_nobody(five):
    nodes = await five.form()
    sleeper, *others = nodes[1], nodes[0], *nodes[2:]
    os.kill(sleeper.pid, signal.SIGSTOP)
    try:
        downs = [await hear_of(node, "member_down", sleeper, SILENT_S) for node in others]
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    assert "silent" in {down["cause"] for down in downs} <= {"silent", "told"}
    for node in others:
        up = await hear_of(node, "member_up", sleeper, 10, count=2)
        assert up["incarnation"] == sleeper.of("started")[0]["incarnation"]
    with pytest.raises(TimeoutError):  # longer than a pass and a suspicion take
        await sleeper.until(lambda: accused(sleeper), 1.5 * DETECTOR.suspicion_us_min / 1e6)
    assert [{name for _, name in accused(node)} for node in others] == [{"n1"}] * (NODES - 1)


async def test_a_process_that_is_told_to_end_has_stopped(five):
    nodes = await five.form()
    leaver, *others = nodes[4], *nodes[:4]
    os.kill(leaver.pid, signal.SIGTERM)
    for node in others:
        down = await hear_of(node, "member_down", leaver, REFUSED_S)
        assert (down["status"], down["cause"]) == ("stopped", "stopped")
        assert accused(node) == [("member_down", "n4")]
    assert await leaver.process.wait() == 0
    assert leaver.said[-1]["event"] == "closed"
    assert accused(leaver) == []
