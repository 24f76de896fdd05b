"""The events about members: with the snapshot they start from they are the list, and each says what brought it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.together import Members, by_site, durable, statuses, together
from tests.testing.virtual import next_of, running, until


def fold(state: Members, event: Any) -> None:
    """What an event does to the members; it must fit what was before."""
    match event:
        case covey.MemberUp(member):
            assert member.status == "alive"
            state[member.site] = member
        case covey.MemberSuspect(member):
            assert (state[member.site].status, member.status) != ("suspect", "suspect")
            state[member.site] = member
        case covey.MemberDown(member):
            assert member.status in ("down", "stopped")
            state[member.site] = member
        case covey.MemberUpdated(member):
            assert state.get(member.site) != member, "an update changes something"
            state[member.site] = member
        case covey.MemberLeft(member) | covey.MemberKicked(member):
            assert state.pop(member.site) == member


async def turmoil(cluster: Cluster, nodes: list[covey.Node]) -> None:
    """Members come, die, stop, leave, are kicked, cut off and renamed, around the first one; it goes and returns."""
    watched = nodes[0]
    await cluster.kill(nodes.pop())
    await asyncio.sleep(8)
    await nodes.pop().close()
    nodes += await cluster.start(2, name="late", meta={"late": True})
    await asyncio.sleep(2)
    await watched.set_meta({"step": 1})
    await nodes[-1].set_meta({"late": False})
    await watched.kick(nodes[1].site)
    await asyncio.sleep(2)
    await nodes[1].join(watched.address)
    cluster.partition(nodes[:2], nodes[2:])
    await asyncio.sleep(12)
    cluster.heal()
    await asyncio.sleep(12)
    await nodes[2].leave()
    await nodes[-1].kick(watched.site)
    await asyncio.sleep(3)
    await watched.set_meta({"step": 2})
    await watched.join(nodes[-1].address)
    await asyncio.sleep(3)
    await watched.leave()
    await asyncio.sleep(3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_snapshot_folded_with_every_event_is_members_whenever_one_looks(seed):
    """Also in the middle of an event that another subscriber has not read yet, and of ourselves."""

    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(6, storage=None)
        watched = nodes[0]
        counts: list[int] = []

        async def watch(delay: float) -> None:
            await asyncio.sleep(delay)
            async with watched.events() as events:
                state = by_site(events.snapshot.members)
                assert state == by_site(watched.members())
                count = 0
                async for event in events:
                    fold(state, event)
                    count += 1
                    if not events._queue:
                        assert state == by_site(watched.members())
                counts.append(count)

        async with running(*(watch(delay) for delay in (0, 0.001, 3, 9.5, 20, 31.4159))) as tasks:
            await turmoil(cluster, nodes)
            await watched.close()
            await asyncio.gather(*tasks)
        assert counts == sorted(counts, reverse=True)
        assert counts[0] > 40

    run(test, seed=seed)


@pytest.mark.slow
def test_the_state_is_the_fold_after_every_single_event():
    """Of events that come together, too: each is released with its state, before anyone can look."""

    async def test(cluster: Cluster) -> None:
        nodes = await cluster.start(5)
        telling: Any = nodes[0]._telling
        state = by_site(nodes[0].members())
        publish, kinds = telling.hub.publish, []

        def checked(event: Any) -> None:
            fold(state, event)
            snapshot = telling.hub._state().members
            assert snapshot == tuple(sorted(state.values(), key=lambda member: member.site))
            kinds.append(type(event))
            publish(event)

        telling.hub.publish = checked
        await turmoil(cluster, nodes)
        assert state == by_site(nodes[0].members())
        assert {
            covey.MemberUp, covey.MemberSuspect, covey.MemberDown, covey.MemberUpdated, covey.MemberKicked,
            covey.MemberLeft, covey.Kicked,
        } <= {*kinds}  # fmt: skip

    run(test)


def test_the_end_of_a_member_says_how_it_came():
    """Killed: its host refuses; closed: it said so, and an ephemeral one does not belong any more; cut off: silent."""

    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 5)
        one, killed, closed, silent, other = nodes
        async with one.events() as events:
            await cluster.kill(killed)
            down = await next_of(events, covey.MemberDown, covey.MemberSuspect)
            assert (type(down), down.member.site, down.cause) == (covey.MemberDown, killed.site, "refused")
            assert down.evidence
            assert not down.member.reachable
            await closed.close()
            stopped = await next_of(events, covey.MemberDown)
            assert (stopped.member.site, stopped.member.status, stopped.cause) == (closed.site, "stopped", "stopped")
            left = await next_of(events, covey.MemberLeft)
            assert (left.member.site, left.cause) == (closed.site, "left")
            cluster.partition([one, other], [silent])
            suspect = await next_of(events, covey.MemberSuspect)
            assert (suspect.member.site, suspect.member.status, suspect.member.reachable) == (
                silent.site, "suspect", True,
            )  # fmt: skip
            down = await next_of(events, covey.MemberDown)
            assert (down.member.site, down.member.status) == (silent.site, "down")
            assert down.cause in ("silent", "told")
            assert one.why(silent.site)
            cluster.heal()
            up = await next_of(events, covey.MemberUp)
            assert (up.member.site, up.member.incarnation) == (silent.site, silent.incarnation)
        await until(lambda: statuses(one, killed, closed, silent, other) == ["down", "-", "alive", "alive"], 5)

    run(test)


def test_no_event_says_what_was_said_before():
    """Who starts with members on its disk hears of each once, before it has seen them."""

    async def test(cluster: Cluster) -> None:
        nodes = await durable(cluster, 3)
        await nodes[2].close()
        again = cluster.node(storage=nodes[2]._options.storage)
        telling: Any = again._telling
        published: list[Any] = []
        publish = telling.hub.publish

        def heard(event: Any) -> None:
            published.append(event)
            publish(event)

        telling.hub.publish = heard
        await again.start()
        await again.wait_members(3)
        told: Members = {}
        for event in published:
            if isinstance(event, covey.MemberUpdated):
                assert told.get(event.member.site) != event.member
            if isinstance(event, (covey.MemberUp, covey.MemberUpdated)):
                told[event.member.site] = event.member
        assert {node.site for node in nodes[:2]} <= {*told}

    run(test)
