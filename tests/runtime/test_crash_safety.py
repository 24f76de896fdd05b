"""SIGKILL at any moment while the membership changes: what anybody saw is in the record of the next life.

DESIGN 2.5: an operation is durable before anything that depends on it leaves. A durable node in a child process throws
members out as fast as its disk allows, and a peer in this process hears of it. After each kill, and before the next
life could hear of anything from its peer, the child's file is read: every operation of the child that its peer holds,
and whatever the child had told (outcomes of commands, events), must be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import covey
from covey.core.ids import Site
from covey.protocols.membership.record import IS_MEMBER, MEM, decode_op, encode_key
from covey.runtime.storage.checks import read_all
from tests.runtime.transport.tcp_harness import wait_until

pytestmark = [pytest.mark.serial, pytest.mark.slow]

CHILD = Path(__file__).with_name("crash_child.py")
SECRET = "a secret for tests of covey"
KILLS = 30
SITES = 10


class Server:
    """The process that makes the children, and what the child of now has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[dict[str, Any]] = []

    def order(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.said.clear()
        self.process.stdin.write(json.dumps(order).encode() + b"\n")

    async def hear(self, key: str, seconds: float = 10.0) -> dict[str, Any]:
        """The next line that has this key, after taking in those before it."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while line := await self.process.stdout.readline():
                self.said.append(json.loads(line))
                if key in self.said[-1]:
                    return self.said[-1]
        raise AssertionError("the server ended")

    def of(self, key: str) -> list[tuple[str, Site]]:
        """What was said under this key: what happened, to which site."""
        return [(said[key], Site(bytes.fromhex(said["site"]))) for said in self.said if key in said]


@contextlib.asynccontextmanager
async def server():
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    found = Server(process)
    try:
        yield found
    finally:
        for said in found.said:
            if "pid" in said and "ended" not in found.said[-1]:
                os.kill(said["pid"], signal.SIGKILL)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def children_log(path: Path) -> dict[bytes, bytes]:
    """The membership log that the last life left."""
    return read_all(str(path)).logs.get("membership", {}) if path.exists() else {}


def missing(log: dict[bytes, bytes], heard: dict[tuple[int, Site], Any], told: list[tuple[str, Site]]) -> list[Any]:
    """What somebody saw that is not in the log."""
    found: list[Any] = []
    for key, op in heard.items():
        value = log.get(encode_key(key))
        if value is None or (decode_op(value).clock, decode_op(value).magic) < (op.clock, op.magic):
            found.append(op)
    for what, site in told:
        value = log.get(encode_key((MEM, site)))
        if value is None or (what == "kicked" and int(decode_op(value).value) & IS_MEMBER):
            found.append((what, site))
    return found


@pytest.mark.parametrize("seed", range(SITES))
async def test_what_a_peer_or_an_event_saw_is_there_after_a_kill_at_any_moment(tmp_path, seed):
    """Thirty lives of one site, each killed at another moment of its start or of its writing."""
    rng = random.Random(seed)
    path = tmp_path / "a.db"
    counts: Counter[str] = Counter()
    peer = covey.Node("crash", listen="127.0.0.1:0", seeds=[], secret=SECRET, config=covey.Config.laptop())
    async with peer, server() as lives:
        engine = peer._engine
        assert engine is not None
        for life in range(1, KILLS + 1):
            lives.order(path=str(path), seed=peer.address, secret=SECRET, life=life)
            pid = (await lives.hear("pid"))["pid"]
            early = rng.random() < 0.1
            if not early:
                await lives.hear("linked")
                for _ in range(rng.randrange(20)):
                    await lives.hear(rng.choice(["asked", "told"]))
            delay_s = rng.random() * (0.05 if early else 0.003)
            asyncio.get_running_loop().call_later(delay_s, os.kill, pid, signal.SIGKILL)
            assert (await lives.hear("ended"))["signal"] == -signal.SIGKILL
            await wait_until(lambda: engine.links.statistics().links == engine.links.statistics().greeting == 0)

            log = children_log(path)
            site = read_all(str(path)).site if path.exists() else None
            heard = {
                (entry.op.kind, entry.op.target): entry.op
                for entry in engine.membership.record.entries()
                if entry.op.origin == site
            }
            told = lives.of("told") + lives.of("event")
            assert missing(log, heard, told) == [], (seed, life)

            asked = lives.of("asked")
            unwritten = missing(log, {}, asked)
            counts["kills"] += 1
            counts["asked"] += len(asked)
            counts["told"] += len(told)
            counts["heard by the peer"] += sum(key[1][:8] == life.to_bytes(8, "big") for key in heard)
            counts["kills with a command without an outcome"] += len(asked) > len(lives.of("told"))
            counts["kills with a command that is not on disk"] += bool(unwritten)
            counts["kills after a write that nobody was told of"] += len(asked) - len(unwritten) > len(lives.of("told"))
    print(dict(counts))
    assert counts["kills"] == KILLS
    assert counts["told"] > KILLS
    assert counts["heard by the peer"] > KILLS
    assert counts["kills with a command without an outcome"] >= KILLS // 2
    assert counts["kills with a command that is not on disk"] >= KILLS // 10
