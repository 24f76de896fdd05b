"""Scenarios of what hubs cost: idle, one child more, a node that catches up, and nothing that waits meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import covey
from covey import ChildSpec
from covey.protocols.registry import rows
from covey.testing import Cluster, run
from covey.wire.keys import encode_key
from covey.wire.messages.rows import SharedPart
from covey.wire.payloads import encode_payload
from tests.api.hub_children import session
from tests.api.hubs_open import Flock, Recorder, flock, machine, now, owners, specs
from tests.testing.virtual import running, until

NOBODY = rows.Spec("nobody:runs_this", b"\x92\x90\x80", rows.Restart.TRANSIENT, 0, 0)


class Bytes:
    """What passes between the nodes of a test from now on."""

    def __init__(self, f: Flock) -> None:
        self.total = self.writes = self.most = 0
        self._began = now()
        for node in f.nodes:
            self.watch(node)

    def watch(self, node: covey.Node) -> None:
        """One node more."""
        runner: Any = node._runner
        transport = runner._transport
        write = transport.write

        def count(connection: int, data: bytes) -> None:
            self.total += len(data)
            self.writes += 1
            self.most = max(self.most, len(data))
            write(connection, data)

        transport.write = count

    def each_second(self) -> float:
        """Bytes a second since it began."""
        return self.total / (now() - self._began)


def declare(hub: covey.Hub, count: int) -> None:
    """So many rows of children that no node runs: they cost what rows cost, and no task."""
    inside = machine(hub)
    for number in range(count):
        meta = encode_payload({"tag": f"t{number}"})
        inside.ground.begin(encode_key(("row", number)), rows.encode(rows.Birth(NOBODY, meta, 1, None)))
        if number % 1_000 == 999 or number == count - 1:
            hub.cast("nobody", start=session)  # anything that has rows written


# --- 8 queries ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_s8_one_tag_of_a_hundred_thousand_is_found_within_a_millisecond():
    """8: an index, no scan; in time of the processor."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 1) as f:
            book = machine(f.hubs[0]).book
            for number in range(100_000):
                meta = encode_payload({"tag": f"t{number // 10}"})
                child = rows.Child(encode_key(number), NOBODY, meta, None, 1, None, ((b"a" * 16, 1, number),), (1,))  # type: ignore[arg-type]
                book.children[child.id] = child
                book._index.setdefault(("tag", encode_payload(f"t{number // 10}")), {})[child.id] = None
            best = 1.0
            for number in range(20):
                began = time.process_time()
                found = f.hubs[0].find(tag=f"t{number * 400}")
                best = min(best, time.process_time() - began)
                assert sorted(child.id for child in found) == [*range(number * 4_000, number * 4_000 + 10)]
            print(f"{best * 1e6:.0f} us")
            assert best <= 0.001
            book.check()

    run(test)


# --- 35 idle --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_s35_idle_costs_the_same_with_and_without_rows():
    """35: ten nodes, at most 50 kB/s in all, however many rows."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 10) as f:
            await asyncio.sleep(10)
            empty = Bytes(f)
            await asyncio.sleep(60)
            without = empty.each_second()
            declare(f.hubs[0], 2_000)
            await until(lambda: all(len(hub.children()) == 2_001 for hub in f.hubs), 20)
            await asyncio.sleep(20)
            full = Bytes(f)
            await asyncio.sleep(60)
            idle = full.each_second()
            print(f"idle: {without:.0f} B/s without rows, {idle:.0f} B/s with 2,000")
            assert idle <= 50_000
            assert idle <= 1.1 * without

    run(test)


@pytest.mark.parametrize("count, messages_each", [(8, 3), pytest.param(10, 8, marks=pytest.mark.slow)])
def test_s35_one_child_more_costs_little_and_is_shown_at_once(count, messages_each):
    """35: at most 3 messages for each node, 10 kB in all, shown within 1 s.

    Up to 8 nodes are told directly. Beyond, rows go from neighbour to neighbour, which costs more messages.
    """

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, count) as f:
            await asyncio.sleep(10)
            recorders = [Recorder(node) for node in f.nodes]
            passed = Bytes(f)
            began = now()
            await f.hubs[4].start_child(ChildSpec("one", session))
            await until(lambda: all(owners(hub).get("one") for hub in f.hubs), 1)
            took = now() - began
            told = sum(len(recorder.heard) for recorder in recorders)
            print(
                f"one child: {told} messages, {passed.total} bytes in {passed.writes} writes, shown after {took:.3f} s"
            )
            assert told <= messages_each * count
            assert passed.total <= 10_000
            assert took <= 1

    run(test)


# --- 36 catch-up ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_s36_s37_a_node_catches_up_while_the_others_answer():
    """36, 37: 10,000 rows in 10 s, no message above 1 MiB; no call takes 100 ms, and nothing keeps a loop for 1 s."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            (await f.hubs[0].start_children(specs(30))).raise_for_errors()
            declare(f.hubs[0], 10_000)
            await until(lambda: all(len(hub.children()) == 10_031 for hub in f.hubs), 30)
            node = await f.node()
            recorder = Recorder(node)
            passed = Bytes(f)
            calls: list[float] = []
            turns: list[float] = []

            async def calling() -> None:
                while True:
                    for id in range(30):
                        began = now()
                        await f.hubs[id % 3].call(id, 1)
                        calls.append(now() - began)
                    await asyncio.sleep(0.005)

            async def watching() -> None:
                while True:
                    began = time.process_time()
                    await asyncio.sleep(0)
                    turns.append(time.process_time() - began)
                    await asyncio.sleep(0.0005)

            began, spent = now(), time.process_time()
            async with running(calling(), watching()):
                hub = await f.enter(f.hub_of(node))
                await until(lambda: len(hub.children()) == 10_031, 10)
                took = now() - began
                await until(lambda: machine(hub).ground.places.is_settled)
            parts = sum(type(one) is SharedPart for heard in recorder.heard for one in heard.messages)
            print(
                f"10,031 rows after {took:.2f} s, {time.process_time() - spent:.2f} s of the processor in all; "
                f"{parts} parts, at most {passed.most} bytes; {len(calls)} calls, the longest {max(calls):.4f} s; "
                f"the longest turn {max(turns):.3f} s of the processor"
            )
            assert took <= 10
            assert passed.most <= 1 << 20
            assert max(calls) <= 0.1
            assert max(turns) <= 1

    run(test)
