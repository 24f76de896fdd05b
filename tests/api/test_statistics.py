"""What a node counts, and what it says of itself."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

import covey
from covey.core.vocabulary import Channel, Send
from covey.protocols.direct.machine import SendPayloads
from covey.testing import Cluster, run
from covey.wire.messages.direct import Payload
from tests.testing.virtual import meshed, until


async def pair(cluster: Cluster, **options: Any) -> list[covey.Node]:
    nodes = await cluster.start(2, **options)
    await until(lambda: meshed(nodes))
    await nodes[0].send(nodes[1].site, "the link is made")
    await asyncio.sleep(0.1)
    return nodes


def test_every_machine_reports():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        for number in range(10):
            await one.send(other.site, number)
        await asyncio.sleep(0.1)
        sender, receiver = one.statistics(), other.statistics()
        assert list(sender.machines) == [
            "links", "overlay", "broadcast", "membership", "detector", "replication", "shelf", "groups", "voter",
            "claims", "registry", "direct", "clients", "roster",
        ]  # fmt: skip
        assert sender.machines["direct"].sent == receiver.machines["direct"].received == 11
        assert sender.machines["overlay"].active == 1
        assert sender.machines["links"].links == 2  # one for control, one for data
        assert sender.machines["links"].bytes_out > 0
        assert sender.machines["membership"].members == 2
        assert sender.machines["roster"].alive == 1
        assert (sender.lag_ms, sender.payloads_undecodable) == (0.0, 0)

    run(test)


def test_what_left_one_arrived_at_the_other():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        before_out, before_in = one.statistics().machines["links"], other.statistics().machines["links"]
        for number in range(100):
            await one.send(other.site, b"x" * number)
            if number % 7 == 0:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        sent, received = one.statistics().machines["links"], other.statistics().machines["links"]
        assert sent.frames_out - before_out.frames_out == received.frames_in - before_in.frames_in
        assert sent.messages_out - before_out.messages_out == received.messages_in - before_in.messages_in
        assert sent.bytes_out - before_out.bytes_out == received.bytes_in - before_in.bytes_in

    run(test)


def test_frames_out_counts_frames_also_where_one_write_holds_several():
    """A receiver that comes back is given what waited at once, in frames of about 64 KiB."""

    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        before_out, before_in = one.statistics().machines["links"], other.statistics().machines["links"]
        runner_of_one: Any = one._runner
        runner_of_other: Any = other._runner
        runner_of_other._transport.pause_reading()
        value = Payload(msgspec.Raw(msgspec.msgpack.encode(b"x" * 30_000)))
        for _ in range(20):
            runner_of_one.feed(Send(other.site, value, "", Channel.DATA))
            await asyncio.sleep(0.001)
        assert one.statistics().machines["links"].queued_bytes > 200_000
        runner_of_other._transport.resume_reading()
        await asyncio.sleep(0.1)
        sent, received = one.statistics().machines["links"], other.statistics().machines["links"]
        assert sent.queued_bytes == 0
        assert sent.messages_out - before_out.messages_out == received.messages_in - before_in.messages_in
        assert sent.frames_out - before_out.frames_out == received.frames_in - before_in.frames_in

    run(test)


def test_metrics_count_every_kind_when_they_are_on_and_cost_nothing_when_off():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster, config=covey.Config.laptop(metrics=True))
        await one.send(other.site, 1)
        await asyncio.sleep(0.1)
        sender, receiver = one.statistics(), other.statistics()
        assert sender.heard["direct.SendPayloads"] == 2
        assert sender.said["direct.Send"] == 2
        assert receiver.heard["direct.Payload"] == 2
        assert receiver.said["direct.Emit"] == 2
        assert sender.said["overlay.Emit"] == 1
        assert sender.heard["links.TurnEnded"] >= 2
        silent = cluster.node()
        await silent.start()
        await asyncio.sleep(1)
        assert (silent.statistics().heard, silent.statistics().said) == ({}, {})

    run(test)


def test_a_payload_that_cannot_be_decoded_is_counted_and_the_next_one_arrives():
    """Well-formed msgpack, so that the frame decodes, but no value of Python."""

    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        async with other.events() as events:
            runner: Any = one._runner
            not_text = b"\xa1\xff"
            runner.feed(SendPayloads(0, other.site, "", (b"\x01", not_text, b"\x02", not_text)))
            await one.send(other.site, 3)
            assert [await asyncio.wait_for(anext(events), 1) for _ in range(3)] == [
                covey.Message(one.site, number) for number in (1, 2, 3)
            ]
            assert other.statistics().payloads_undecodable == 2
            assert meshed([one, other])

    run(test)


def test_the_loops_lag_is_in_milliseconds():
    async def test(cluster: Cluster) -> None:
        one, _ = await pair(cluster)
        runner: Any = one._runner
        runner.lag_us = 2_500
        assert one.statistics().lag_ms == 2.5

    run(test)


def test_statistics_and_events_can_be_compared_and_are_frozen():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        assert one.neighbours() == one.neighbours()
        neighbor: Any = one.neighbours()[0]
        assert neighbor == covey.Neighbor(other.site, other.incarnation, other.address)
        try:
            neighbor.address = "elsewhere"
        except AttributeError:
            return
        raise AssertionError("a Neighbor can be changed")

    run(test)
