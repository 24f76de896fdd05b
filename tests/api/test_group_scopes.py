"""A scope: all its groups, and one stream of what happens in any of them, as pg's `monitor_scope` has it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.gather import Address, counted
from tests.api.together import together
from tests.testing.virtual import until

View = dict[tuple[type, Any], dict[Address, int]]


def view(groups: Any) -> View:
    """Who is in which group how often. Keys that Python holds equal, as 1 and True, are two."""
    return {(type(key), key): dict(counted(members)) for key, members in groups}


def seen(scope: covey.Scope) -> View:
    """The same as the groups themselves say."""
    return view((key, scope.group(key).members()) for key in scope.groups())


class Fold:
    """A scope's snapshot, and what its stream said since."""

    def __init__(self, scope: covey.Scope, events: Any) -> None:
        self.scope = scope
        self.events = events
        self.view = view(events.snapshot)

    def read(self) -> None:
        """After all that came, the fold is what the scope has."""
        for told in self.events._queue:
            assert not isinstance(told, covey.Lost)
            group = self.view.setdefault((type(told.key), told.key), {})
            address = told.event.member.address
            count = {covey.GroupJoined: 1, covey.GroupLeft: -1}.get(type(told.event), 0)
            group[address] = group.get(address, 0) + count * getattr(told.event, "count", 0)
            assert group[address] >= 0
            if not group[address]:
                del group[address]
            if not group:
                del self.view[type(told.key), told.key]
        self.events._queue.clear()
        assert self.view == seen(self.scope)


def test_a_stream_has_every_group_from_its_first_member_to_its_last_on_any_node():
    async def test(cluster: Cluster) -> None:
        a, b = await together(cluster, 2)
        async with a.scope().events() as events, b.group(1).join() as one, a.group(True).join("flag") as yes:
            assert events.snapshot == ()
            assert await anext(events) == covey.ScopeEvent(True, covey.GroupJoined(yes.member, 1))
            assert repr(await anext(events)) == repr(covey.ScopeEvent(1, covey.GroupJoined(one.member, 1)))
            yes.update_meta("other")
            assert await anext(events) == covey.ScopeEvent(True, covey.GroupUpdated(yes.member))
            member = one.member
            one.close()
            assert await anext(events) == covey.ScopeEvent(1, covey.GroupLeft(member, 1))
            assert a.scope().groups() == [True]

    run(test)


def test_a_snapshot_has_the_members_of_all_nodes_and_all_groups():
    """pg's scope monitor gave only the members of its own node."""

    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 3)
        async with contextlib.AsyncExitStack() as stack:
            for node in nodes:
                for key in ("x", 1, True):
                    await stack.enter_async_context(node.group(key).join())
            scope = nodes[0].scope()
            await until(lambda: all(scope.group(key).member_count() == 3 for key in scope.groups()))
            await until(lambda: len(scope.groups()) == 3)
            async with scope.events() as events:
                assert [len(members) for _, members in events.snapshot] == [3, 3, 3]
                assert view(events.snapshot) == seen(scope)
                assert len(view(events.snapshot)) == 3

    run(test)


def test_whoever_watches_a_scope_may_join_in_it():
    """pg's scope crashed when a process both monitored it and joined, and went down."""

    async def test(cluster: Cluster) -> None:
        a, b = await together(cluster, 2)

        async def both() -> None:
            async with a.scope().events() as events, a.group("x").join() as me:
                assert await anext(events) == covey.ScopeEvent("x", covey.GroupJoined(me.member, 1))
                raise RuntimeError("as meant")

        (ended,) = await asyncio.gather(asyncio.create_task(both()), return_exceptions=True)
        assert isinstance(ended, RuntimeError)
        async with b.scope().events() as events, a.group("x").join() as after:
            fold = Fold(b.scope(), events)
            await until(lambda: b.group("x").peers() == [after.member])
            fold.read()

    run(test)


def test_scopes_hear_nothing_of_each_other():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        one, other = node.scope("one"), node.scope("other")
        async with one.events() as events, other.events() as others, other.group("x").join() as me:
            assert (one.groups(), other.groups(), node.groups(), node.groups("other")) == ([], ["x"], [], ["x"])
            assert list(events._queue) == []
            assert list(others._queue) == [covey.ScopeEvent("x", covey.GroupJoined(me.member, 1))]
            async with node.group("x", scope="one").join() as mine:
                assert await anext(events) == covey.ScopeEvent("x", covey.GroupJoined(mine.member, 1))

    run(test)


def test_snapshot_and_stream_are_what_is_there_through_splits_deaths_and_restarts():
    async def test(cluster: Cluster) -> None:
        nodes = await together(cluster, 4)
        async with contextlib.AsyncExitStack() as stack:
            for at, node in enumerate(nodes):
                for key in range(at, at + 3):
                    await stack.enter_async_context(node.group(key).join())
            scopes = [node.scope() for node in nodes]
            folds = [Fold(scope, await stack.enter_async_context(scope.events())) for scope in scopes]

            async def agree(of: list[int]) -> None:
                await until(lambda: all(seen(scopes[at]) == seen(scopes[of[0]]) for at in of), 120)
                for fold in folds:
                    fold.read()

            await agree([0, 1, 2, 3])
            cluster.partition(nodes[:2], nodes[2:])
            box = await stack.enter_async_context(nodes[0].group("during").join())
            await until(lambda: 5 not in scopes[0].groups() and 5 not in scopes[1].groups(), 120)
            await agree([0, 1])
            await agree([2, 3])
            cluster.heal()
            await until(lambda: all("during" in scope.groups() and 5 in scope.groups() for scope in scopes), 120)
            await agree([0, 1, 2, 3])
            box.close()
            await agree([0, 1, 2, 3])
            await cluster.kill(nodes[3])
            del scopes[3], folds[3]
            await until(lambda: all(5 not in scope.groups() for scope in scopes), 120)
            await agree([0, 1, 2])

    run(test)


def test_thousands_of_groups_of_another_node_are_told_in_turns_and_none_is_missing():
    async def test(cluster: Cluster) -> None:
        a, b = await together(cluster, 2)
        async with a.group("first").join() as me:
            for number in range(3_000):
                a.group(number).join(member=me)
            scope = b.scope()
            async with scope.events(events_max=10_000) as events:
                fold = Fold(scope, events)
                while len(fold.view) < 3_001:
                    told = await anext(events)
                    events._queue.appendleft(told)
                    fold.read()
                me.close()
                await until(lambda: not scope.groups())
                fold.read()
                assert fold.view == {}

    run(test)


@pytest.mark.parametrize("name", [1, b"x", None, "x" * 2_000, "\ud800"])
def test_what_is_no_name_is_refused(name):
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        with pytest.raises(covey.ConfigError, match="scope must be a str of at most"):
            node.scope(name)

    run(test)


def test_a_scope_of_a_node_that_is_not_open_is_none():
    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1)
        scope = node.scope("one")
        assert repr(scope) == "<covey.Scope 'one'>"
        with pytest.raises(covey.ConfigError, match="events_max"):
            scope.events(events_max=0)
        async with scope.events() as events:
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0)  # it waits from now on
            await node.close()
            with pytest.raises(StopAsyncIteration):
                await waiting
        for ask in (scope.groups, scope.events, lambda: node.scope("other"), lambda: scope.group("x")):
            with pytest.raises(covey.ClosedError):
                ask()

    run(test)
