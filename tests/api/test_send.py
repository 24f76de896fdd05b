"""One node sends a value to one node: in order, at most once, within bounds, and every failure has its name."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import msgspec
import pytest

import covey
from covey.engine.engine import EngineConfig
from covey.protocols.links.config import LinksConfig
from covey.testing import Cluster, run
from covey.wire.limits import PAYLOAD_BYTES_MAX
from tests.api.talk import pair, payloads, waiting
from tests.testing.virtual import meshed

STRANGER = covey.Site(b"nobody knows me!")


# --- what arrives ---------------------------------------------------------------------------------------------------


def test_values_arrive_as_msgpack_has_them():
    @dataclasses.dataclass
    class Order:
        item: str
        count: int

    class Price(msgspec.Struct):
        amount: float

    values: list[Any] = [
        None,
        True,
        0,
        -(2**63),
        2**64 - 1,
        1.5,
        "ü",
        b"\0\xff",
        [],
        {},
        {"a": [1, {"b": b""}]},
        {1: "one"},
    ]
    sent = [*values, (1, 2), Order("egg", 12), Price(1.5)]
    arrived = [*values, [1, 2], {"item": "egg", "count": 12}, {"amount": 1.5}]

    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        async with other.events() as events:
            for value in sent:
                await one.send(other.site, value)
            assert await payloads(events, len(sent)) == arrived

    run(test)


def test_the_sender_is_named_and_can_be_answered():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        async with one.events() as heard_by_one, other.events() as heard_by_other:
            await one.send(other.site, "ping")
            message = await anext(heard_by_other)
            assert message == covey.Message(one.site, "ping")
            assert isinstance(message, covey.Message)
            await other.send(message.sender, "pong")
            assert await anext(heard_by_one) == covey.Message(other.site, "pong")

    run(test)


def test_messages_of_one_sender_arrive_in_order_and_once():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        async with other.events() as events:
            for number in range(500):
                await one.send(other.site, number)
                if number % 50 == 0:
                    await asyncio.sleep(0.01)
            assert await payloads(events, 500) == list(range(500))
            await asyncio.sleep(5)
            assert len(events._queue) == 0

    run(test)


def test_messages_sent_before_there_is_a_link_arrive_in_order():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        async with other.events() as events:
            async with asyncio.TaskGroup() as group:
                for number in range(100):
                    group.create_task(one.send(other.site, number))
            assert await payloads(events, 100) == list(range(100))

    run(test)


@pytest.mark.parametrize("linked", [True, False])
def test_send_and_send_nowait_keep_one_order_together(linked):
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        expected = list(range(60))
        async with other.events() as events:
            if linked:
                await one.send(other.site, "the link is made")
                await anext(events)
            async with asyncio.TaskGroup() as group:
                for number in expected:
                    if number % 3 == 1:
                        group.create_task(one.send(other.site, number))
                        await asyncio.sleep(0)  # it takes its place when it first runs
                    else:
                        one.send_nowait(other.site, number)
                    if number % 10 == 9:
                        await asyncio.sleep(0.003)
            assert await payloads(events, len(expected)) == expected

    run(test)


def test_values_of_every_size_keep_their_order_in_one_turn():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        await asyncio.sleep(0.1)
        sizes = [0, 1, 70_000, 3, 65_536, 65_535, 200_000, 2, 500_000, 1_000_000, 5]
        async with other.events() as events:
            for size in sizes:
                await one.send(other.site, b"x" * size)
            assert [len(payload) for payload in await payloads(events, len(sizes))] == sizes

    run(test)


def test_large_values_of_one_turn_do_not_break_the_frame_limit():
    """Each fits in a frame; together they do not, and must not be put into one."""

    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        async with other.events() as events:
            await asyncio.sleep(1)
            events._queue.clear()
            for number in range(12):
                one.send_nowait(other.site, [number, b"x" * 100_000])
            found = [await asyncio.wait_for(anext(events), 5) for _ in range(12)]
            assert [getattr(event, "payload", [event])[0] for event in found] == list(range(12))
            assert meshed([one, other])

    run(test)


def test_a_node_sends_to_itself_without_a_wire():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node, node.events() as events:
            await node.send(node.site, {"a": 1})
            node.send_nowait(node.site, (1, 2))
            assert await payloads(events, 2) == [{"a": 1}, [1, 2]]
            assert node.statistics().machines["links"].messages_out == 0

    run(test)


@pytest.mark.slow
def test_a_node_may_send_to_whom_it_only_knows_of():
    """A member of somebody's view is dialled; no neighbourhood comes of it."""

    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(12)
        await asyncio.sleep(30)
        one = nodes[0]
        engine: Any = one._engine
        distant = next(contact for contact in engine.overlay.passive)
        other = next(node for node in nodes if node.site == distant.site)
        async with other.events() as events:
            await one.send(other.site, "from afar")
            assert await payloads(events, 1) == ["from afar"]
        assert other.site not in {peer.site for peer in one.neighbours()}

    run(test)


def test_who_was_not_listening_missed_it():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "nobody hears this")
        await asyncio.sleep(1)
        async with other.events() as events:
            await one.send(other.site, "but this")
            assert await payloads(events, 1) == ["but this"]

    run(test)


# --- one frame a turn -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 50, 255, 256])
def test_what_one_turn_sends_goes_as_one_frame(count):
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        async with other.events() as events:
            await asyncio.sleep(0.01)
            events._queue.clear()
            before = one.statistics().machines["links"]
            for number in range(count):
                if number % 2:
                    await one.send(other.site, number)  # it does not wait: the link is ready
                else:
                    one.send_nowait(other.site, number)
            assert one.statistics().machines["links"].frames_out == before.frames_out
            await asyncio.sleep(0)
            after = one.statistics().machines["links"]
            assert after.frames_out - before.frames_out == 1
            assert after.messages_out - before.messages_out == count
            assert await payloads(events, count) == list(range(count))

    run(test)


def test_many_small_values_of_one_turn_make_few_frames():
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        await asyncio.sleep(0.01)
        before = one.statistics().machines["links"].frames_out
        for number in range(2_000):
            one.send_nowait(other.site, number)
        await asyncio.sleep(0)
        assert one.statistics().machines["links"].frames_out - before <= 2  # 2,000 of 4 bytes fit in one of 64 KiB

    run(test)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["send", "send_nowait"])
@pytest.mark.parametrize(
    "site",
    [
        None,
        "0" * 32,
        b"",
        b"short",
        b"x" * 17,
        bytearray(16),
        pytest.param(memoryview(bytes(16)), id="memoryview"),
        7,
        ("a",),
        [1],
    ],
    ids=repr,
)
def test_a_site_of_another_shape_is_a_usage_error(way, site):
    async def test(cluster: Cluster) -> None:
        one, _ = await pair(cluster)
        with pytest.raises(covey.UsageError, match="site must be 16 bytes"):
            await deliver(one, way, site, "x")

    run(test)


async def deliver(node: covey.Node, way: str, site: Any, payload: Any) -> None:
    """Send one way or the other."""
    if way == "send":
        await node.send(site, payload)
    else:
        node.send_nowait(site, payload)


@pytest.mark.parametrize("way", ["send", "send_nowait"])
@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize(
    "payload, path",
    [
        (object(), "payload cannot be serialised"),
        ({"orders": [1, {"when": object()}]}, r"payload\['orders'\]\[1\]\['when'\] cannot be serialised"),
        ([[], [1, 2, lambda: None]], r"payload\[1\]\[2\] cannot be serialised"),
        ({"a": {object(): 1}}, r"payload\['a'\] key <object object at \w+> cannot be serialised"),
        (2**64, "payload cannot be serialised"),
        ({"n": [-(2**63) - 1]}, r"payload\['n'\]\[0\] cannot be serialised"),
        ("\ud800", "payload cannot be serialised"),
        ({"a": 1j}, r"payload\['a'\] cannot be serialised"),
    ],
    ids=["object", "nested", "function", "key", "int", "negative", "surrogate", "complex"],
)
def test_what_cannot_be_serialised_is_named_by_its_path(way, linked, payload, path):
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        if linked:
            await one.send(other.site, "the link is made")
        with pytest.raises(covey.UsageError, match=path) as caught:
            await deliver(one, way, other.site, payload)
        assert "nothing was sent" in str(caught.value)
        assert waiting(one) == 0

    run(test)


def test_what_contains_itself_is_refused_with_a_path():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            loop: list[Any] = []
            loop.append(loop)
            with pytest.raises(covey.UsageError, match=r"payload(\[0\])+ cannot be serialised"):
                await node.send(node.site, loop)

    run(test)


@pytest.mark.parametrize("way", ["send", "send_nowait"])
def test_a_value_that_is_too_large_is_refused_and_the_largest_arrives(way):
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        await one.send(other.site, "the link is made")
        largest = PAYLOAD_BYTES_MAX - 5  # msgpack puts 5 bytes before so many
        async with other.events() as events:
            with pytest.raises(covey.ValueTooLarge, match="split it"):
                await deliver(one, way, other.site, b"x" * (largest + 1))
            with pytest.raises(covey.ValueTooLarge):
                await deliver(one, way, other.site, ["x" * PAYLOAD_BYTES_MAX])
            await deliver(one, way, other.site, b"y" * largest)
            while True:
                event = await asyncio.wait_for(anext(events), 5)
                assert isinstance(event, covey.Message)
                if event.payload != "the link is made":
                    break
            assert event.payload == b"y" * largest

    run(test)


@pytest.mark.parametrize("timeout", [0, -1, "1", True, float("nan"), [], b"1"], ids=repr)
def test_a_timeout_of_another_kind_is_a_usage_error_and_nothing_is_sent(timeout):
    async def test(cluster: Cluster) -> None:
        one, other = await pair(cluster)
        for _ in range(2):  # with the link made and without
            async with other.events() as events:
                with pytest.raises(covey.UsageError, match="timeout must be a number of seconds above 0"):
                    await one.send(other.site, "x", timeout=timeout)
                await one.send(other.site, "after")
                assert await payloads(events, 1) == ["after"]

    run(test)


@pytest.mark.parametrize("way", ["send", "send_nowait"])
def test_a_site_nobody_has_heard_of_is_an_unknown_name(way):
    async def test(cluster: Cluster) -> None:
        one, _ = await pair(cluster)
        with pytest.raises(covey.UnknownName, match="nothing was sent") as caught:
            await deliver(one, way, STRANGER, "x")
        assert isinstance(caught.value, LookupError)
        assert STRANGER[:4].hex() in str(caught.value)
        assert waiting(one) == 0

    run(test)


@pytest.mark.slow
def test_whom_no_link_can_be_made_to_is_unreachable():
    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(12)
        await asyncio.sleep(30)
        one = nodes[0]
        engine: Any = one._engine
        distant = next(contact for contact in engine.overlay.passive)
        other = next(node for node in nodes if node.site == distant.site)
        await cluster.kill(other)
        outcomes = await asyncio.gather(*(one.send(distant.site, n) for n in range(3)), return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, covey.PeerUnreachable)
            assert isinstance(outcome, ConnectionError)
            assert "refused" in str(outcome)
        assert waiting(one) == 0

    run(test)


def test_whoever_does_not_answer_in_time_is_a_deadline_exceeded():
    async def test(cluster: Cluster) -> None:
        config = covey.Config.laptop(
            engine=EngineConfig(links=LinksConfig(connect_us_max=60_000_000)), send_timeout=4.0
        )
        nodes = await pair(cluster, config=config)
        one, other = nodes
        loop = asyncio.get_running_loop()
        cluster.partition([one], [other])
        for timeout, expected in ((1.5, 1.5), (None, 4.0)):
            start = loop.time()
            with pytest.raises(covey.DeadlineExceeded) as caught:
                await one.send(other.site, "x", timeout=timeout)
            assert isinstance(caught.value, TimeoutError)
            assert loop.time() - start == pytest.approx(expected, abs=0.01)
            assert f"{expected} s" in str(caught.value)

    run(test)
