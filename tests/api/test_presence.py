"""Presence: a key is there from its first entry to its last, wherever they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.together import together
from tests.testing.virtual import running, until

TOPIC = ("room", 7)
Listed = dict[Any, list[Any]]


def folded(state: Listed, event: Any) -> None:
    """What an event does to the list; it must fit what was before."""
    match event:
        case covey.PresenceJoined(key, metas):
            assert key not in state and len(metas) == 1
            state[key] = metas
        case covey.PresenceChanged(key, metas):
            assert key in state and metas
            state[key] = metas
        case covey.PresenceLeft(key, metas):
            assert state.pop(key) == metas and len(metas) == 1


async def read(events: Any, count: int) -> list[Any]:
    async with asyncio.timeout(10):
        return [await anext(events) for _ in range(count)]


def test_entries_of_one_key_are_one_wherever_they_are():
    async def test(cluster: Cluster) -> None:
        one, two, three = (node.presence(TOPIC) for node in await together(cluster, 3))
        async with one.track("ann", {"device": "phone"}), two.track("ann", {"device": "tab"}), two.track("bob"):
            await until(lambda: len(three.list()) == 2 and len(three.list()["ann"]) == 2)
            await until(lambda: all(len(presence.list().get("ann", ())) == 2 for presence in (one, two)))
            for presence in (one, two, three):
                listed = presence.list()
                assert sorted(meta["device"] for meta in listed["ann"]) == ["phone", "tab"]
                assert listed["bob"] == [None] and len(listed) == 2
        await until(lambda: one.list() == two.list() == three.list() == {})

    run(test)


def test_a_key_joins_with_its_first_entry_and_leaves_with_its_last():
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        watched = other.presence(TOPIC)
        async with watched.events() as events:
            assert events.snapshot == {}
            async with one.presence(TOPIC).track("ann", 1) as first:
                assert await read(events, 1) == [covey.PresenceJoined("ann", [1])]
                async with watched.track("ann", 2):
                    assert await read(events, 1) == [covey.PresenceChanged("ann", [1, 2])]
                    first.update(3)
                    assert await read(events, 1) == [covey.PresenceChanged("ann", [3, 2])]
                    first.close()
                    assert await read(events, 1) == [covey.PresenceChanged("ann", [2])]
                assert await read(events, 1) == [covey.PresenceLeft("ann", [2])]
            await asyncio.sleep(5)
            assert len(events._events._queue) == 0

    run(test)


def test_who_begins_to_listen_starts_from_what_is():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        presence = node.presence(TOPIC)
        async with presence.track("ann", 1), presence.track("ann", 2):
            stream = presence.events()
            with pytest.raises(covey.UsageError, match="inside `async with`"):
                stream.snapshot
            async with stream as events:
                assert events.snapshot == {"ann": [1, 2]} == presence.list()
                async with presence.track("bob", 3):
                    assert await read(events, 1) == [covey.PresenceJoined("bob", [3])]
                    assert events.snapshot == {"ann": [1, 2]}, "it stays what it was"

    run(test)


def test_snapshot_folded_with_events_is_the_list_through_deaths_and_splits():
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 4)
        places = [node.presence(TOPIC) for node in nodes]
        entries = []
        for number in range(24):
            entries.append(await places[number % 4].track(f"user-{number % 5}", number).start())
        await until(lambda: sum(map(len, places[0].list().values())) == 24)
        async with places[0].events() as events:
            state = events.snapshot

            async def follow() -> None:
                async for event in events:
                    folded(state, event)

            async with running(follow()) as (following,):
                cluster.partition(nodes[:2], nodes[2:])
                await until(lambda: sum(map(len, places[0].list().values())) == 12)
                entries[0].close()
                entries[4].update("changed")
                entries[2].close()
                cluster.heal()
                await until(lambda: sum(map(len, places[0].list().values())) == 22, 120)
                await cluster.kill(nodes[3])
                await until(lambda: sum(map(len, places[0].list().values())) == 16)
                entries[1].update("changed too")
                await until(lambda: "changed too" in places[0].list()["user-1"])
                await asyncio.sleep(1)
                assert not following.done()
                by_meta = {key: sorted(metas, key=repr) for key, metas in state.items()}
                assert by_meta == {key: sorted(metas, key=repr) for key, metas in places[0].list().items()}
                await nodes[0].close()
                await following

    run(test)


@pytest.mark.parametrize("way", ["task", "cancelled", "node"])
def test_an_entry_goes_with_what_it_belongs_to(way):
    async def test(cluster: Cluster) -> None:
        one, other = await together(cluster, 2)
        there = other.presence(TOPIC)

        async def here() -> None:
            async with one.presence(TOPIC).track("ann"):
                await asyncio.sleep(1 if way == "task" else 1_000)

        async with running(here()) as (task,):
            await until(lambda: there.list() == {"ann": [None]})
            if way == "cancelled":
                task.cancel()
            elif way == "node":
                await cluster.kill(one)
            await until(lambda: there.list() == {})

    run(test)


def test_a_slow_reader_is_told_and_goes_on_from_what_is():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        presence = node.presence(TOPIC)
        async with presence.events(events_max=2) as events:
            entries = [await presence.track(number).start() for number in range(10)]
            for entry in entries[:9]:
                entry.close()
            found = await read(events, 3)
            assert found == [covey.PresenceJoined(0, [None]), covey.PresenceJoined(1, [None]), covey.Lost(17)]
            entries[9].update("here")
            entries[9].close()
            assert await read(events, 2) == [covey.PresenceChanged(9, ["here"]), covey.PresenceLeft(9, ["here"])]

    run(test)


def test_a_slow_reader_reads_what_it_lost_and_the_end_after_the_node_closed():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        presence = node.presence(TOPIC)
        async with presence.events(events_max=1) as events:
            entries = [await presence.track(number).start() for number in range(4)]
            await node.close()
            assert [event async for event in events] == [covey.PresenceJoined(0, [None]), covey.Lost(3)]
            assert len(entries) == 4

    run(test)


def test_topics_and_scopes_are_apart():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        async with node.presence("a").track("ann"), node.group("a").join() as me:
            assert node.presence("b").list() == {} and node.presence("a").list() == {"ann": [None]}
            assert node.groups() == ["a"] and node.group("a").members() == [me.member]

    run(test)


@pytest.mark.parametrize("meta", [None, 1, [], [1, 2], [b"\xc1", 1], [b"\xd9\x01g", 1], [b"\xa1g", 1, 2], {"a": 1}])
def test_members_that_are_no_entries_are_not_there(meta):
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        presence = node.presence(TOPIC)
        async with presence.events() as events, node.group(TOPIC, scope="presence").join(meta) as strange:
            assert presence.list() == {}
            strange.update_meta([b"\xa1g", "now it is"])
            strange.update_meta([b"\xa1h", "another"])
            strange.update_meta(meta)
            assert await read(events, 4) == [
                covey.PresenceJoined("g", ["now it is"]),
                covey.PresenceLeft("g", ["now it is"]),
                covey.PresenceJoined("h", ["another"]),
                covey.PresenceLeft("h", ["another"]),
            ]
            async with presence.track("ann"):
                assert await read(events, 1) == [covey.PresenceJoined("ann", [None])]

    run(test)


def test_what_does_not_fit_is_refused_and_changes_nothing():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        presence = node.presence(TOPIC)
        with pytest.raises(covey.ConfigError, match="key"):
            presence.track(1.5)  # type: ignore[arg-type]
        with pytest.raises(covey.ConfigError, match="key"):
            node.presence([])  # type: ignore[arg-type]
        with pytest.raises(covey.UsageError, match=r"^meta\['a'\]\[1\] cannot be serialised: .*; nothing was changed$"):
            presence.track("ann", {"a": [0, object()]})
        async with presence.track("ann", 1) as entry:
            with pytest.raises(covey.ValueTooLarge, match="meta has"):
                entry.update(b"x" * 66_000)
            assert presence.list() == {"ann": [1]} and entry.key == "ann"
        entry.close()
        with pytest.raises(covey.ClosedError):
            entry.update(2)

    run(test)
