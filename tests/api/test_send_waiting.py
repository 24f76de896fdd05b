"""Who sends to a slow receiver waits, within bounds and in order, and leaves nothing behind when he goes."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

import covey
from covey.protocols.direct.machine import DirectConfig
from covey.testing import Cluster, run
from tests.api.talk import numbers, pair, transport_of, waiting
from tests.testing.virtual import running


async def congest(one: covey.Node, other: covey.Node) -> None:
    """Let `other` stop reading and fill what lies between, until `one` knows."""
    transport_of(other).pause_reading()
    engine: Any = one._engine
    async with asyncio.timeout(1):
        while engine.direct.ready(other.site):
            one.send_nowait(other.site, b"x" * 60_000)
            for _ in range(3):  # it is written at the end of this turn, and the transport's word comes in a later one
                await asyncio.sleep(0)


def test_send_waits_for_a_slow_receiver_and_goes_on_in_order():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        async with other.events() as events:
            await congest(one, other)
            async with running(*(one.send(other.site, number) for number in range(20))) as tasks:
                await asyncio.sleep(1)
                assert not any(task.done() for task in tasks)
                assert waiting(one) == 20
                transport_of(other).resume_reading()
                await asyncio.gather(*tasks)
            await asyncio.sleep(0.1)
            assert numbers(events) == list(range(20))
            assert waiting(one) == 0

    run(test)


def test_send_nowait_does_not_queue_behind_a_slow_receiver():
    """It says `Overloaded`, and nothing is sent."""

    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        async with other.events() as events:
            await congest(one, other)
            with pytest.raises(covey.Overloaded):
                one.send_nowait(other.site, "refused")
            assert waiting(one) == 0
            transport_of(other).resume_reading()
            await one.send(other.site, "last", timeout=1)
            await asyncio.sleep(0.1)
            found = [event.payload for event in events._queue if isinstance(event, covey.Message)]
            assert "refused" not in found
            assert found[-1] == "last"

    run(test)


def test_too_much_waiting_is_overloaded_and_not_admitted():
    async def test(cluster: Cluster, bounds: DirectConfig, admitted: int) -> None:
        base = covey.Config.laptop().engine
        config = covey.Config.laptop(engine=msgspec.structs.replace(base, direct=bounds))
        one, other = await pair(cluster, config=config)
        await one.send(other.site, "the link is made")
        async with other.events() as events:
            await congest(one, other)
            async with running(*(one.send(other.site, [number, b"x" * 100]) for number in range(10))) as tasks:
                await asyncio.sleep(0.5)
                refused = [task for task in tasks if task.done()]
                assert len(refused) == 10 - admitted
                for task in refused:
                    with pytest.raises(covey.Overloaded, match="nothing was sent: slow down"):
                        await task
                transport_of(other).resume_reading()
                await asyncio.gather(*tasks[:admitted])
            await asyncio.sleep(0.1)
            found = [event.payload for event in events._queue if isinstance(event, covey.Message)]
            assert [payload[0] for payload in found if type(payload) is list] == list(range(admitted))

    run(lambda cluster: test(cluster, DirectConfig(waiting_count_max=4), 4))
    run(lambda cluster: test(cluster, DirectConfig(waiting_bytes_max=350), 3))


def test_a_cancelled_send_leaves_nothing_behind():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        runner: Any = one._runner
        async with other.events() as events:
            await congest(one, other)
            async with running(*(one.send(other.site, number) for number in range(5))) as tasks:
                await asyncio.sleep(0.5)
                for number in (1, 3):
                    tasks[number].cancel()
                await asyncio.sleep(0)
                assert waiting(one) == 3
                assert len(runner._outcomes) == 3
                transport_of(other).resume_reading()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [
                type(None), asyncio.CancelledError, type(None), asyncio.CancelledError, type(None),
            ]  # fmt: skip
            await asyncio.sleep(0.1)
            assert numbers(events) == [0, 2, 4]
            assert runner._outcomes == {}

    run(test)


def test_a_send_that_ran_out_of_time_behind_a_slow_receiver_is_taken_back():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        runner: Any = one._runner
        async with other.events() as events:
            await congest(one, other)
            with pytest.raises(covey.DeadlineExceeded):
                await one.send(other.site, "late", timeout=0.5)
            assert waiting(one) == 0
            assert runner._outcomes == {}
            transport_of(other).resume_reading()
            await asyncio.sleep(1)
            assert all(getattr(event, "payload", None) != "late" for event in events._queue)

    run(test)


def test_a_cancelled_send_whose_value_went_with_the_dial_leaves_no_outcome_behind():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        runner: Any = one._runner
        cluster.partition([one], [other])
        async with running(one.send(other.site, "x")) as tasks:
            await asyncio.sleep(0.1)
            assert not tasks[0].done()
        assert runner._outcomes == {}
        await asyncio.sleep(20)
        assert waiting(one) == 0

    run(test)


def test_what_waits_for_a_receiver_that_dies_is_unreachable():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        await congest(one, other)
        async with running(*(one.send(other.site, number) for number in range(3))) as tasks:
            await asyncio.sleep(0.5)
            await cluster.kill(other)
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(outcome, covey.PeerUnreachable)
                assert "reset" in str(outcome)
        assert waiting(one) == 0

    run(test)


@pytest.mark.slow
def test_nothing_arrives_twice_when_links_break_and_come_back():
    """At most once: what was sent and not refused may be lost with its link, never doubled, never out of order."""

    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        found: list[int] = []

        async def read() -> None:
            async with other.events() as events:
                async for event in events:
                    if isinstance(event, covey.Message):
                        found.append(event.payload)

        async with running(read()):
            refused = 0
            for number in range(600):
                try:
                    await one.send(other.site, number, timeout=30)
                except (covey.UnavailableError, covey.UnknownName):
                    refused += 1
                if number % 100 == 50:
                    cluster.partition([one], [other])
                if number % 100 == 90:
                    await asyncio.sleep(8)
                    cluster.heal()
                    await asyncio.sleep(8)
                await asyncio.sleep(0.25)
            await asyncio.sleep(5)
        assert found == sorted(set(found))
        assert len(found) > 200
        assert refused > 0

    run(test)
