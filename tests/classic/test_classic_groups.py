"""Grove.Cluster.Membership's functions by their names, one section each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import covey
from covey.classic import Groups
from covey.testing import Cluster, run
from tests.api.gather import unread
from tests.api.together import together
from tests.testing.virtual import until


def with_groups(count: int, test: Callable[..., Awaitable[None]]) -> None:
    """Run `test(*groups)` with the functions of so many nodes that know each other."""

    async def body(cluster: Cluster) -> None:
        groups = [Groups(node) for node in await together(cluster, count)]
        for each in groups:
            each.groups()  # the scope is known everywhere
        await test(*groups)

    run(body)


async def in_task(action: Callable[[], Any]) -> Any:
    """`action` by another caller, who ends then."""

    async def call() -> Any:
        return action()

    return await asyncio.create_task(call())


# --- join -----------------------------------------------------------------------------------------------------------


def test_join_adds_the_caller():
    async def test(one: Groups, other: Groups) -> None:
        me = one.join("g")
        assert me is one.mailbox()
        await until(lambda: other.members("g"))
        assert one.members("g") == other.members("g") == [me.member]

    with_groups(2, test)


def test_join_adds_a_member_that_is_given():
    async def test(one: Groups, other: Groups) -> None:
        async with one.node.group("elsewhere").join() as member:
            assert one.join("g", member) is member
            await until(lambda: other.members("g") == [member.member])
        await until(lambda: other.members("g") == [])

    with_groups(2, test)


def test_join_again_makes_it_a_member_twice():
    async def test(one: Groups) -> None:
        me = one.join("g")
        one.join("g")
        assert one.members("g") == [me.member] * 2

    with_groups(1, test)


def test_each_task_is_a_member_of_its_own_and_leaves_when_it_ends():
    async def test(one: Groups, other: Groups) -> None:
        mine = one.join("g")
        ended = asyncio.Event()

        async def another() -> covey.GroupMember:
            member = one.join("g").member
            one.join("h")
            await ended.wait()
            return member

        task = asyncio.create_task(another())
        await until(lambda: other.member_count("g") == 2)
        ended.set()
        assert await task != mine.member
        await until(lambda: other.members("g") == [mine.member] and other.groups() == ["g"])

    with_groups(2, test)


def test_a_member_that_is_closed_joins_nothing():
    async def test(one: Groups) -> None:
        async with one.node.group("elsewhere").join() as member:
            pass
        with pytest.raises(covey.ClosedError, match="the mailbox is closed"):
            one.join("g", member)
        one.mailbox().close()
        again = one.join("g")
        assert one.members("g") == [again.member], "whose mailbox was closed gets another"

    with_groups(1, test)


def test_only_a_task_is_a_caller():
    async def test(one: Groups) -> None:
        heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def call() -> None:
            try:
                assert one.peers("g") == [] and one.leave("g") is False
                one.join("g")
            except covey.UsageError as error:
                heard.set_result(str(error))

        asyncio.get_running_loop().call_soon(call)
        assert "only a task can be a member" in await heard

    with_groups(1, test)


# --- leave ----------------------------------------------------------------------------------------------------------


def test_leave_takes_one_occurrence_and_says_whether_it_did():
    async def test(one: Groups, other: Groups) -> None:
        me = one.join("g")
        one.join("g")
        await until(lambda: other.member_count("g") == 2)
        assert one.leave("g") is True
        await until(lambda: other.members("g") == [me.member])
        assert one.leave("g") is True
        assert one.leave("g") is False
        await until(lambda: other.members("g") == [])

    with_groups(2, test)


def test_leave_of_a_stranger_is_fine_and_changes_nothing():
    async def test(one: Groups) -> None:
        me = one.join("g")
        assert await in_task(lambda: one.leave("g")) is False
        async with one.node.group("elsewhere").join() as member:
            assert one.leave("g", member) is False
        assert one.leave("g", member) is False
        with pytest.raises(covey.UsageError, match="member must be a Mailbox"):
            one.leave("g", me.member)  # type: ignore[arg-type]
        assert one.members("g") == [me.member]
        assert one.leave("g", me) is True

    with_groups(1, test)


# --- members, peers, member_count -----------------------------------------------------------------------------------


def test_members_include_the_caller_and_keep_multiplicity_and_peers_do_neither():
    async def test(one: Groups, other: Groups) -> None:
        me, you = one.join("g"), await asyncio.create_task(hold(other, "g", 3))
        await until(lambda: one.member_count("g") == 4)
        assert Counter(one.members("g")) == {me.member: 1, you.member: 3}
        assert one.peers("g") == [you.member]
        assert other.peers("g") != [], "who calls is not a member there"

    with_groups(2, test)


async def hold(groups: Groups, group: str, times: int) -> covey.Mailbox:
    """A member of its own that outlives this task."""
    member = await groups.node.group("elsewhere").join().start()
    for _ in range(times):
        groups.join(group, member)
    return member


def test_who_is_no_member_has_all_for_peers():
    async def test(one: Groups, other: Groups) -> None:
        you = await hold(other, "g", 2)
        await until(lambda: one.member_count("g") == 2)
        assert one.peers("g") == [you.member]
        assert one.peers("nobody's") == one.members("nobody's") == [] and one.member_count("nobody's") == 0

    with_groups(2, test)


# --- groups, scope --------------------------------------------------------------------------------------------------


def test_groups_are_those_with_a_member_in_this_scope():
    async def test(one: Groups, other: Groups) -> None:
        one.join(("room", 1))
        one.join("g")
        elsewhere = Groups(one.node, "another")
        elsewhere.join("h")
        await until(lambda: len(other.groups()) == 2)
        assert other.groups() == [("room", 1), "g"] and elsewhere.groups() == ["h"]
        one.leave("g")
        await until(lambda: other.groups() == [("room", 1)])

    with_groups(2, test)


def test_scope_is_its_name_and_node_group_reaches_into_it():
    async def test(one: Groups) -> None:
        assert (one.scope, Groups(one.node, "s").scope) == ("grove", "s")
        me = one.join("g")
        assert one.node.group("g", scope="grove").members() == [me.member]
        assert one.node.group("g").members() == []
        with pytest.raises(covey.ConfigError, match="scope"):
            Groups(one.node, None).join("g")  # type: ignore[arg-type]

    with_groups(1, test)


# --- random_peers ---------------------------------------------------------------------------------------------------


def test_random_peers_are_up_to_n_distinct_peers():
    async def test(one: Groups) -> None:
        me = one.join("g")
        others = [await hold(one, "g", 2) for _ in range(4)]
        everybody = {other.member for other in others}
        for n in (1, 3, 4, 9):
            found = one.random_peers("g", n)
            assert len(found) == len(set(found)) == min(n, 4) and set(found) <= everybody
        assert len({tuple(member.mailbox for member in one.random_peers("g", 9)) for _ in range(200)}) > 20
        assert await in_task(lambda: me.member in one.random_peers("g", 9))
        assert one.random_peers("nobody's", 3) == []
        for n in (0, -1):
            with pytest.raises(covey.UsageError, match="count must be an int of at least 1"):
                one.random_peers("g", n)

    with_groups(1, test)


# --- broadcast ------------------------------------------------------------------------------------------------------


def test_broadcast_reaches_all_distinct_members_but_the_caller():
    async def test(one: Groups, other: Groups) -> None:
        me, twin, you = one.join("g"), await hold(one, "g", 2), await hold(other, "g", 3)
        await until(lambda: one.member_count("g") == 6)
        one.broadcast("g", {"edit": 1})
        await asyncio.sleep(1)
        assert [unread(box) for box in (me, twin, you)] == [[], [{"edit": 1}], [{"edit": 1}]]
        assert (await anext(you)).sender == me.member  # type: ignore[union-attr]

    with_groups(2, test)


def test_broadcast_by_who_is_no_member_reaches_all_and_joins_nothing():
    async def test(one: Groups, other: Groups) -> None:
        you = await hold(other, "g", 1)
        await until(lambda: one.member_count("g") == 1)
        one.broadcast("g", "x")
        await until(lambda: unread(you) == ["x"])
        assert one.groups() == ["g"] and one.members("g") == [you.member]
        one.broadcast("nobody's", "x")
        with pytest.raises(covey.UsageError, match="cannot be serialised"):
            one.broadcast("g", object())

    with_groups(2, test)


def test_broadcast_asks_for_no_acknowledgement():
    async def test(cluster: Cluster) -> None:
        one, other = [Groups(node) for node in await together(cluster, 2)]
        you = await hold(other, "g", 1)
        await until(lambda: one.member_count("g") == 1)
        await cluster.kill(other.node)
        one.broadcast("g", "into the void")
        await until(lambda: one.members("g") == [])
        assert unread(you) == []

    run(test)
