"""Claims between whole nodes: voters find each other by name, sit, grant, and are followed by who takes over."""

from __future__ import annotations

import asyncio

import pytest

import covey
from covey.core.claims import Elect, Relinquish, Seek
from covey.protocols.claims.seats import MISSING, NO_STORAGE
from covey.testing import Cluster, run
from tests.testing.virtual import until

HUB = b"hub"
ID = (HUB, b"id")
NAMES = ("ann", "bob", "eve")


def elect(node: covey.Node) -> None:
    """As opening a hub will."""
    assert node._runner is not None
    node._runner.feed(Elect(HUB, NAMES, node.name))


def seek(node: covey.Node) -> None:
    """As the registry will, under the time of now."""
    assert node._runner is not None
    node._runner.feed(Seek(ID, node._runner._wall() // 1000 << 16))


def token(node: covey.Node) -> int:
    assert node._engine is not None
    return node._engine.claims.token(ID)


def votes(node: covey.Node) -> bool:
    assert node._engine is not None
    return node._engine.voter.votes_for(HUB)


def test_three_named_nodes_with_storage_vote_for_guests_of_which_one_follows_the_other():
    async def test(cluster: Cluster) -> None:
        disks = [covey.MemoryStorage() for _ in NAMES]
        voters = [(await cluster.start(1, name=name, storage=disk))[0] for name, disk in zip(NAMES, disks, strict=True)]
        one, other = await cluster.start(2)
        for node in (*voters, one, other):
            elect(node)
        seek(one)
        await until(lambda: token(one), 20)
        assert [votes(node) for node in (*voters, one, other)] == [True, True, True, False, False]
        first = token(one)
        seek(other)
        await cluster.kill(voters[0])
        await cluster.kill(one)
        await until(lambda: token(other), 20)
        assert token(other) > first
        back = cluster.node(name="ann", storage=disks[0], seeds=[voters[1].address])
        await back.start()
        elect(back)
        await until(lambda: votes(back))
        await cluster.kill(voters[1])
        assert other._runner is not None
        other._runner.feed(Relinquish(ID))
        seek(back)
        await until(lambda: token(back), 20)

    run(test)


@pytest.mark.slow
def test_a_guest_of_a_voters_name_has_no_vote_and_nothing_is_granted_and_people_are_told(caplog):
    async def test(cluster: Cluster) -> None:
        for name in NAMES[:2]:
            await cluster.start(1, name=name, storage=covey.MemoryStorage())
        await cluster.start(1, name=NAMES[2])
        for node in cluster._nodes:
            elect(node)
        seek(cluster._nodes[2])
        await asyncio.sleep(60)
        assert not any(votes(node) or token(node) for node in cluster._nodes)

    run(test)
    said = [record.getMessage() for record in caplog.records if "seat_empty" in record.getMessage()]
    assert len(said) == 3
    assert sum(NO_STORAGE in line for line in said) == 1
    assert sum(MISSING in line for line in said) == 2
