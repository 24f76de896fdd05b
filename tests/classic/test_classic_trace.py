"""Classy's golden trace (reference 1.4, M01) and the healing of a gap (M02), through the public functions.

Two fresh nodes that no packet passes between; flood and digests are off, nobody says metadata. The messages go by
`get_data` and `cast_sync`, with the numbers that `dump` shows, as classy's servers do by themselves.
"""

from __future__ import annotations

import msgspec

from covey.classic import Membership, SyncMessage
from covey.core.ids import Site
from covey.testing import Cluster, run
from tests.classic.classic_pair import unlinked

INVENTED = Site(b"an invented site")


async def message(source: Membership, target: Membership, since: int | None = None) -> SyncMessage:
    """What `source` has to say to `target` next: all since what that acknowledged last."""
    (held,) = source.dump().values()
    since = held.acked_out.get(target.local, 0) if since is None else since
    return await source.get_data(since, held.acked_in.get(target.local, 0))


async def line(source: Membership, target: Membership, since: int | None = None) -> tuple[int, int, int, int]:
    """One cast: `since`, `acked`, the number of operations, and the import number it is complete up to."""
    said = await message(source, target, since)
    target.cast_sync(said)
    return said.sync.since, said.sync.acked, len(said.sync.ops), said.sync.imports


def clock(m: Membership) -> int:
    (held,) = m.dump().values()
    return held.clock


def imports(m: Membership) -> int:
    (held,) = m.dump().values()
    return held.imports


def test_m01_the_golden_trace_by_alternating_casts():
    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2)
        for m in (a, b):
            ((pair, held),) = m.dump().items()
            assert pair == (m.cluster, m.local)
            entries = held.peers[m.local]
            assert [(key, entry.ltime > 0, entry.ltime_imported) for key, entry in entries.items()] == [
                ("mem", False, 0), ("host", True, 1),
            ]  # fmt: skip
        #                            since acked ops imports    classy:  since acked ops
        assert await line(a, b) == (0, 0, 2, 1)  #                        0     0     2   hello
        assert (imports(b), b.members()) == (2, sorted([a.local, b.local]))
        await b.set_member(b.local)
        assert await line(b, a) == (0, 1, 4, 3)  #                        0     1     4
        assert await line(a, b) == (1, 3, 3, 2)  #                        1     3     3
        assert await line(b, a) == (3, 2, 1, 4)  #                        3     4     1
        assert await line(a, b) == (2, 4, 2, 3)  #                        4     5     2
        clocks = clock(a), clock(b)
        assert await line(b, a) == (4, 3, 0, 5)  #                        5     6     0
        assert await line(a, b) == (3, 5, 0, 4)  #                        6     7     0
        assert await line(b, a) == (5, 4, 0, 6)  #                        7     8     0
        assert await line(a, b) == (4, 6, 0, 5)  #                        8     9     0
        assert (clock(a), clock(b)) == clocks, "ours counts real operations and not messages"
        assert a.members() == b.members()
        assert a.node.statistics().machines["membership"].gaps == b.node.statistics().machines["membership"].gaps == 0
        assert a.node.neighbours() == b.node.neighbours() == []

    run(test)


def test_m02_a_gap_drops_exactly_one_message_and_is_healed_by_the_third_and_a_third_site_agrees():
    async def test(cluster: Cluster) -> None:
        a, b, c = await unlinked(cluster, 3)
        for _ in range(4):
            await line(a, b)
            await line(b, a)
        await a.set_member(INVENTED)
        before = clock(b), imports(b), b.members()
        lost = await message(a, b, since=1_000)
        assert (lost.sync.since, lost.sync.ops) == (1_000, ())
        assert await b.call_sync(lost) is False
        assert (clock(b), imports(b), b.members()) == before, "the dropped one moves nothing"
        assert b.node.statistics().machines["membership"].gaps == 1
        assert await a.call_sync(await message(b, a)) is True
        repaired = await message(a, b)
        assert repaired.sync.since < 1_000
        assert INVENTED in {op.target for op in repaired.sync.ops}
        assert await b.call_sync(repaired) is True
        assert INVENTED in b.members()
        for source, target in [(b, c), (c, b), (c, a), (a, c), (b, a), (a, b)] * 2:
            target.cast_sync(await message(source, target))
        assert a.members() == b.members() == c.members() == sorted([a.local, b.local, c.local, INVENTED])
        for m in (a, c):
            assert m.node.statistics().machines["membership"].gaps == 0

    run(test)


def test_m02_a_wrong_floor_of_the_sender_is_set_right_by_the_next_message_of_the_receiver():
    """As classy's scenario forces it: `acked_out` is far too high."""

    async def test(cluster: Cluster) -> None:
        a, b = await unlinked(cluster, 2)
        for _ in range(4):
            await line(a, b)
            await line(b, a)
        lie = await message(b, a)
        lie = msgspec.structs.replace(lie, sync=msgspec.structs.replace(lie.sync, acked=1_000))
        assert await a.call_sync(lie) is True
        (held,) = a.dump().values()
        assert held.acked_out == {b.local: 1_000}
        await a.set_member(INVENTED)
        assert (await line(a, b))[0] == 1_000
        assert INVENTED not in b.members()
        await line(b, a)
        (held,) = a.dump().values()
        assert held.acked_out[b.local] < 1_000
        await line(a, b)
        assert INVENTED in b.members()

    run(test)
