"""The scenarios of groups that every implementation is measured by (reference 3.4), by their numbers."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tracemalloc
from collections import Counter
from random import Random
from typing import Any

import pytest

import covey
from covey.core.ids import Contact, Site
from covey.core.rows import HoldInstance, WriteRows
from covey.core.vocabulary import Liveness, MessagesReceived, Send, TurnEnded
from covey.protocols.groups.rows import PREFIX, encode_row, encode_value
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.machine import Replication
from covey.testing import Cluster, run
from covey.wire.codec import encode_message
from covey.wire.keys import encode_key
from covey.wire.messages.detector import Rumour, Rumours
from covey.wire.messages.rows import OwnedOps, OwnedPart, OwnedPull
from tests.api.gather import KEY, counted, held, joined
from tests.api.test_group_events import assemble, watching
from tests.api.together import together
from tests.testing.virtual import until

# --- M39 multiplicity -----------------------------------------------------------------------------------------------


def test_m39_sixteen_joins_need_sixteen_leaves_and_the_next_one_is_false():
    """`peers` stay distinct all the while, and the group vanishes with its last member."""

    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other):
            for _ in range(15):
                assert me.group.join(member=me) is me
            address = me.member.address

            async def becomes(count: int) -> None:
                await until(lambda: counted(other.group.members())[address] == count)
                for group in (me.group, other.group):
                    assert counted(group.members()) == Counter({address: count, other.member.address: 1}) + Counter()
                    assert group.member_count() == count + 1
                    assert len(group.peers()) == (2 if count else 1)

            await becomes(16)
            assert me.leave(4) is True
            await becomes(12)
            assert me.leave(12) is True
            await becomes(0)
            assert me.leave() is False
            other.leave()
            assert other.group.members() == [] and not other.group._groups._machine.members.by_place
            await until(lambda: me.group.members() == [])

    run(test)


def test_m39_a_task_that_ends_after_three_joins_leaves_three_times():
    async def test(cluster: Cluster) -> None:
        async with joined(cluster, 2) as (me, other), watching(other.group) as watch:

            async def member() -> None:
                async with me.group.join() as third:
                    me.group.join(member=third)
                    me.group.join(member=third)
                    await until(lambda: other.group.member_count() == 5)

            await asyncio.create_task(member())
            await until(lambda: other.group.member_count() == 2)
            events = watch.read()
            assert sum(event.count for event in events if isinstance(event, covey.GroupLeft)) == 3
            assert sum(event.count for event in events if isinstance(event, covey.GroupJoined)) == 3

    run(test)


# --- M41 split and heal ---------------------------------------------------------------------------------------------

HEAL_TO_EQUAL_S = 2.0  # the scenario's; of 24 seeds two took up to 2.4: who is cut off is tried ever more rarely


def all_alive(nodes: list[covey.Node]) -> bool:
    """Whether each holds all for alive."""
    return all([m.status for m in node.members()] == ["alive"] * len(nodes) for node in nodes)


@pytest.mark.parametrize("seed", [0, *[pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2)]])
def test_m41_split_and_heal(seed):
    """2|2 and then four ways, each side dropping only the lost; three members end, five join, one joins again.

    Then: equal views, and at every node exactly one going and one coming for each time that it held an unchanged
    member's node for down. While it did not, no event: so the two that were never cut from each other hear of each
    other only if the other side makes them believe that they are down.
    """

    async def test(cluster: Cluster) -> None:
        async with contextlib.AsyncExitStack() as stack:
            boxes = await assemble(cluster, stack, 4, 10)
            nodes, loop = list(cluster._nodes), asyncio.get_running_loop()
            groups = [node.group(KEY) for node in nodes]
            watches = [await stack.enter_async_context(watching(group)) for group in groups]
            streams = [await stack.enter_async_context(node.events()) for node in nodes]
            unchanged = {box.member: box.member.site for of in boxes for box in of[5:]}

            cluster.partition(nodes[:2], nodes[2:])
            await until(lambda: all(group.member_count() == 20 for group in groups), 120)
            for at, watch in enumerate(watches):
                lost = {box.member for other in range(4) if other // 2 != at // 2 for box in boxes[other]}
                left = watch.read()
                assert {event.member for event in left} == lost and len(left) == len(lost)
            boxes[0][0].close()
            boxes[2][0].close()
            for at in (1, 2, 3):
                boxes[at].append(await stack.enter_async_context(groups[at].join(meta=at)))
            cluster.partition(*([node] for node in nodes))
            await until(lambda: [group.member_count() for group in groups] == [9, 11, 10, 11], 120)
            boxes[3][4].close()
            for at in (0, 3):
                boxes[at].append(await stack.enter_async_context(groups[at].join(meta=at)))
            groups[1].join(member=boxes[1][1])
            boxes[1][2].update_meta("new")
            for watch in watches:
                watch.read()

            healed = loop.time()
            cluster.heal()
            expected = Counter(box.member.address for of in boxes for box in of if box._state == "open")
            expected[boxes[1][1].member.address] += 1
            assert sum(expected.values()) == 43
            await until(lambda: all(counted(group.members()) == expected for group in groups))
            assert loop.time() - healed <= HEAL_TO_EQUAL_S
            await asyncio.sleep(30)
            assert all(counted(group.members()) == expected for group in groups)
            for node, watch, stream in zip(nodes, watches, streams, strict=True):
                watch.read()  # snapshot plus events is the view
                assert watch.meta[boxes[1][2].member.address] == "new"
                downs = Counter(e.member.site for e in stream._queue if isinstance(e, covey.MemberDown))
                told = Counter((type(event), event.member) for event in watch.seen)
                for member, site in unchanged.items():
                    times = 0 if site == node.site else downs[site]
                    assert told[covey.GroupLeft, member] == told[covey.GroupJoined, member] == times
                assert downs.total() >= 3, "who was cut off was held for down"

    run(test, seed=seed)


@pytest.mark.parametrize(
    "state, events", [(Liveness.SUSPECT, []), (Liveness.DOWN, [covey.GroupLeft, covey.GroupJoined])]
)
def test_m41_who_is_accused_falsely_keeps_its_members_and_only_down_is_an_event(state, events):
    async def test(cluster: Cluster) -> None:
        async with contextlib.AsyncExitStack() as stack:
            boxes = await assemble(cluster, stack, 3, 10)
            nodes = list(cluster._nodes)
            watch = await stack.enter_async_context(watching(nodes[0].group(KEY)))
            stream = await stack.enter_async_context(nodes[0].events())
            runner: Any = nodes[0]._runner
            accused, teller = nodes[1].site, nodes[2].site
            evidence = runner.engine.detector.opinions.members[accused].evidence
            rumour = Rumour(accused, evidence.incarnation, evidence.refutation, state, teller)
            runner.feed(MessagesReceived(teller, (Rumours((rumour,)),)))
            await asyncio.sleep(30)
            kind = covey.MemberDown if state is Liveness.DOWN else covey.MemberSuspect
            assert type(stream._queue[0]) is kind
            watch.read()
            for box in boxes[0] + boxes[1] + boxes[2]:
                told = [type(event) for event in watch.seen if event.member == box.member]
                assert told == (events if box in boxes[1] else [])
            assert counted(watch.group.members()) == held(*(box for of in boxes for box in of))

    run(test)


# --- M43 thundering herd --------------------------------------------------------------------------------------------

GROUPS, SYNCS = 10_000, 2_000
INSTANCE = PREFIX
ME = Site(bytes(15) + b"\1")


def crowded() -> Replication:
    """The rows of a node with a member in each of so many groups."""
    machine = Replication(ReplicationConfig(), Random(1), 0, me=Contact(ME, 1, "me:1"))
    machine.handle(HoldInstance(INSTANCE), 0)
    for number in range(GROUPS):
        row = encode_row(encode_key(f"group-{number}"), number + 1), encode_value(1, b"\xc0")
        machine.handle(WriteRows(INSTANCE, (row,)), 0)
    machine.handle(TurnEnded(), 0)
    return machine


def herd(machine: Replication, syncs: int) -> list[int]:
    """So many nodes ask for everything, all at once, part by part; returns how many rows each was told."""
    asking = {Site((number + 2).to_bytes(16, "big")): OwnedPull(INSTANCE, ME, 1, 0) for number in range(syncs)}
    rows = dict.fromkeys(asking, 0)
    while asking:
        for site, pull in list(asking.items()):
            (answer,) = machine.handle(MessagesReceived(site, (pull,)), 1)
            assert isinstance(answer, Send) and answer.to == site
            said: Any = answer.message
            assert len(encode_message(said)) <= 1 << 20
            if isinstance(said, OwnedPart):
                rows[site] += len(said.rows)
                asking[site] = OwnedPull(INSTANCE, ME, 1, said.seq, True, said.rows[-1][0])
                done = said.last
            else:
                assert isinstance(said, OwnedOps)
                rows[site] += len(said.ops)
                asking[site] = OwnedPull(INSTANCE, ME, 1, said.first + len(said.ops) - 1)
                done = not said.more
            if done:
                del asking[site]
    return list(rows.values())


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_m43_two_thousand_nodes_ask_for_ten_thousand_groups_at_once():
    """In seconds of the processor, so that a busy machine does not fail it."""
    machine = crowded()
    started = time.process_time()
    told = herd(machine, SYNCS)
    took = time.process_time() - started
    print(f"{SYNCS} whole syncs of {GROUPS} groups: {took:.2f} s of processor time")
    assert told == [GROUPS] * SYNCS
    machine.check()
    assert took <= 5.0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_m43_a_herd_leaves_no_memory_behind():
    tracemalloc.start()
    try:
        machine = crowded()
        herd(machine, 1)
        base, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        herd(machine, SYNCS // 40)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"base {base / 1e6:.1f} MB, at most {peak / 1e6:.1f} MB, then {after / 1e6:.1f} MB")
    assert abs(after - base) <= base / 10
    assert len(machine.tables[INSTANCE]) == GROUPS


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("cut_s", [0, 200], ids=["hidden", "forgotten"])
def test_m43_ten_thousand_groups_are_back_within_a_second(cut_s):
    """Hidden rows are shown again at once; those of a node that was forgotten travel anew.

    Counted in virtual seconds from when it is held for alive, and in seconds of the processor from the heal.
    """

    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 2)
        watching_node, node = nodes
        loop = asyncio.get_running_loop()
        machine: Any = watching_node.group(0)._groups.machine
        watching_node.groups()
        me = await node.group(0).join().start()
        for number in range(1, GROUPS):
            node.group(number).join(member=me)
        await until(lambda: machine.statistics().groups == GROUPS)
        cluster.partition(nodes[:1], nodes[1:])
        await until(lambda: machine.statistics().groups == 0, 120)
        await asyncio.sleep(cut_s)
        assert (len(watching_node.members()) == 1) is bool(cut_s), "forgotten or not"
        cluster.heal()
        started = time.process_time()
        await until(lambda: all_alive(nodes))
        alive = loop.time()
        await until(lambda: machine.statistics().groups == GROUPS)
        took, waited = time.process_time() - started, loop.time() - alive
        print(f"{GROUPS} groups back in {took:.2f} s of processor time, {waited:.2f} s after it is alive")
        assert took <= 1.0 and waited <= 1.0
        assert {*watching_node.groups()} == {*range(GROUPS)}

    run(test)
