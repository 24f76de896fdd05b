"""Scenarios of children that ran on both sides of a split: which copy stays, and what becomes of the other."""

from __future__ import annotations

import contextlib

import covey
from covey import ChildSpec
from covey.testing import Cluster, run
from covey.wire.keys import encode_key
from tests.api.hub_children import waits
from tests.api.hubs_open import flock, machine, now, specs, unread
from tests.testing.virtual import next_of, until

# --- 32 duplicates --------------------------------------------------------------------------------------------------


def test_s32_of_two_copies_the_one_where_it_belongs_stays_and_the_loser_is_told_who_won():
    """32: one of each is left two rounds after the nodes hear each other, with one event for each that ended.

    A link that was cut stays silent for up to 5 s (`laptop`) before its ends notice, and only then do they.
    """

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 4) as f, contextlib.AsyncExitStack() as stack:
            (await f.hubs[0].start_children(specs(40))).raise_for_errors()
            await f.settled()
            cluster.partition(f.nodes[:2], f.nodes[2:])
            await until(lambda: all(len(hub.nodes()) == 2 for hub in f.hubs))
            await f.settled(*f.hubs[:2])
            await f.settled(*f.hubs[2:])
            assert f.copies.live == dict.fromkeys(range(40), 2)
            streams = [await stack.enter_async_context(hub.events()) for hub in f.hubs]
            cluster.heal()
            await until(lambda: all(len(hub.nodes()) == 4 for hub in f.hubs))
            seen = now()
            await until(lambda: f.copies.running() == 40, 10)
            ended = now()
            await f.settled()
            print(f"one copy each {ended - seen:.2f} s after all are shown, settled after {now() - seen:.2f} s")
            assert ended - seen <= 5 + 2
            assert f.copies.live == dict.fromkeys(range(40), 1)
            told = [
                (event.id, event.site, event.winner)
                for node, events in zip(f.nodes, streams, strict=True)
                for event in unread(events, covey.CopyEnded)
                if event.why == "duplicate" and event.copies == 2 and event.site == node.site
            ]
            assert {id for id, _, _ in told} == {*range(40)}
            assert all(winner and winner != loser for _, loser, winner in told)
            surplus = sum(what == "ends" and at >= seen for at, _, what, _ in f.copies.story)
            assert len(told) == surplus == sum(hub.statistics()["duplicates"] for hub in f.hubs)

    run(test)


def test_s32_two_states_are_made_one():
    """32: with `resolve` what both sides were told is kept; the child that stays has it."""

    async def test(cluster: Cluster) -> None:
        def merge(id: object, ours: list[int], theirs: list[int]) -> list[int]:
            return sorted({*ours, *theirs})

        async with flock(cluster, 2, resolve=merge) as f, contextlib.AsyncExitStack() as stack:
            (await f.hubs[0].start_children(specs(6))).raise_for_errors()
            await f.settled()
            cluster.partition(f.nodes[:1], f.nodes[1:])
            await until(lambda: all(len(hub.nodes()) == 1 for hub in f.hubs))
            for hub in f.hubs:
                await f.settled(hub)
            for at, hub in enumerate(f.hubs):
                for id in range(6):
                    await hub.call(id, 10 * id + at)
            streams = [await stack.enter_async_context(hub.events()) for hub in f.hubs]
            cluster.heal()
            await until(lambda: all(len(hub.nodes()) == 2 for hub in f.hubs))
            await until(lambda: f.copies.running() == 6, 10)
            await f.settled()
            told = [event for events in streams for event in unread(events, covey.CopyEnded)]
            lost = {event.id: event for event in told if event.why == "duplicate"}
            kept = {event.id: event for event in told if event.why == "merged"}
            assert lost.keys() == kept.keys() == {*range(6)} and len(told) == 12, "each copy that ended is told of once"
            for id in range(6):
                assert lost[id].winner == kept[id].winner == kept[id].site != lost[id].site
            assert [await f.hubs[0].call(id, "lines") for id in range(6)] == [[10 * id, 10 * id + 1] for id in range(6)]

    run(test)


def test_s32_of_two_states_that_cannot_be_made_one_that_of_who_stays_counts_and_the_event_says_why():
    """32: `resolve` raises: nothing is lost on the side that stays, and the exception is told there."""

    def fails(id: object, ours: list[int], theirs: list[int]) -> list[int]:
        raise RuntimeError(f"no idea about {id}")

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 2, resolve=fails) as f, contextlib.AsyncExitStack() as stack:
            (await f.hubs[0].start_children(specs(2))).raise_for_errors()
            await f.settled()
            cluster.partition(f.nodes[:1], f.nodes[1:])
            await until(lambda: all(len(hub.nodes()) == 1 for hub in f.hubs))
            for hub in f.hubs:
                await f.settled(hub)
                for id in range(2):
                    await hub.call(id, id)
            streams = [await stack.enter_async_context(hub.events()) for hub in f.hubs]
            cluster.heal()
            await until(lambda: all(len(hub.nodes()) == 2 for hub in f.hubs))
            await until(lambda: f.copies.running() == 2, 10)
            await f.settled()
            told = [event for events in streams for event in unread(events, covey.CopyEnded)]
            failed = {event.id: event for event in told if "not made one" in event.why}
            assert failed.keys() == {0, 1}
            for id, event in failed.items():
                assert event.error == f"RuntimeError: no idea about {id}"
                assert event.winner == event.site
                assert await f.hubs[0].call(id, "lines") == [id]

    run(test)


def test_s32_where_nobody_of_them_is_the_owner_the_lowest_name_stays():
    """32: the owner cannot be reached yet; equal on both sides."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f:
            hub = f.hubs[0]
            id = next(number for number in range(99) if hub.explain(number).ranking[0] == "n2")
            await hub.start_child(ChildSpec(id, waits))
            await f.settled()
            winners = [machine(hub).duplicates._winner(encode_key(id)) for hub in f.hubs]
            assert winners[2][0] == f.nodes[2].site
            running = {life: one for life, one in machine(hub).book.running(encode_key(id)).items()}
            (one,) = running.values()
            for other in f.hubs[:2]:  # as if both of the others ran it as well
                ground = machine(other).ground
                ground.book._running[encode_key(id)] = {machine(f.hubs[at]).ground.me: one for at in (0, 1)}
                assert machine(other).duplicates._winner(encode_key(id))[0] == f.nodes[0].site
            for other in f.hubs[:2]:
                machine(other).book._running[encode_key(id)] = dict(running)

    run(test)


# --- both sides -----------------------------------------------------------------------------------------------------


def test_both_sides_of_a_split_answer_and_afterwards_one_copy_does():
    """`on_split="both"`: no side is without its children for longer than it takes to notice."""

    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 3) as f, f.nodes[2].events() as events:
            (await f.hubs[0].start_children(specs(12))).raise_for_errors()
            await f.settled()
            cluster.partition(f.nodes[:2], f.nodes[2:])
            await next_of(events, covey.MemberDown)
            await next_of(events, covey.MemberDown)
            for id in range(12):
                assert await f.hubs[2].call(id, "alone", timeout=1) >= 1
                await f.hubs[0].call(id, "together")
            cluster.heal()
            await until(lambda: all(len(hub.nodes()) == 3 for hub in f.hubs))
            await until(lambda: f.copies.running() == 12, 20)
            await f.settled()
            for id in range(12):
                await f.hubs[1].call(id, "again")

    run(test)
