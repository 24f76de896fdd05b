"""The pair of a cluster and a site that each of classy's functions is for, and where a function may be called."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import covey
from covey.classic import Membership
from covey.core.ids import ClusterId, cluster_id
from covey.testing import Cluster, run
from tests.classic.classic_pair import functions

STRANGER = covey.Site(b"nobody knows me!")
OTHER_CLUSTER = ClusterId(b"another cluster.")
SHARED = cluster_id("test")

# What an absent server is to each function: a read finds nothing, anything else is an error.
Call = Callable[..., Any]
READS: dict[str, tuple[Call, Any]] = {
    "members": (lambda m, **pair: m.members(**pair), []),
    "node_of_site": (lambda m, **pair: m.node_of_site(m.node.site, **pair), None),
    "site_of_node": (lambda m, **pair: m.site_of_node(m.node.address, **pair), None),
}
COMMANDS: dict[str, Call] = {
    "set_member": lambda m, **pair: m.set_member(STRANGER, **pair),
    "get_data": lambda m, **pair: m.get_data(**pair),
    "flush": lambda m, **pair: m.flush(**pair),
    "cleanup": lambda m, **pair: m.cleanup(0, **pair),
    "wipe": lambda m, **pair: m.wipe(**pair),
}


def begin(call: Callable[..., Any], *arguments: Any) -> Any:
    """The first step of a coroutine, on the thread that calls this."""
    return call(*arguments).send(None)


@pytest.mark.parametrize("pair", [{"cluster": OTHER_CLUSTER}, {"local": STRANGER}], ids=lambda pair: next(iter(pair)))
def test_another_pair_is_an_absent_server_and_our_own_is_not(pair):
    async def test(cluster: Cluster) -> None:
        async with cluster.node(storage=covey.MemoryStorage()) as node:
            m = Membership(node)
            ours = {"cluster": m.cluster, "local": m.local}
            assert ours == {"cluster": SHARED, "local": node.site}
            for read, nothing in READS.values():
                assert read(m, **{**ours, **pair}) == nothing
                assert read(m, **ours) == read(m) != nothing
            before = m.dump()
            for command in COMMANDS.values():
                with pytest.raises(covey.UnknownName, match=r"does not serve .* nothing was changed"):
                    await command(m, **{**ours, **pair})
            assert m.dump() == before
            for command in COMMANDS.values():
                await command(m, **ours)

    run(test)


def test_before_the_start_there_is_nothing_and_after_the_end_reads_go_on():
    async def test(cluster: Cluster) -> None:
        node = cluster.node()
        m = Membership(node)
        for read in (m.members, m.known_clusters, m.list_local_sites, m.dump):
            assert not read()
        assert (m.node_of_site(STRANGER), m.site_of_node("127.0.0.1:1")) == (None, None)
        for command in COMMANDS.values():
            with pytest.raises(covey.ClosedError):
                await command(m)
        with pytest.raises(covey.ClosedError):
            m.cluster
        async with node:
            held = [read(m) for read, _ in READS.values()], m.known_clusters(), m.dump()
        assert ([read(m) for read, _ in READS.values()], m.known_clusters(), m.dump()) == held
        assert (m.cluster, m.local) == (SHARED, node.site)
        for command in COMMANDS.values():
            with pytest.raises(covey.ClosedError):
                await command(m)

    run(test)


def test_it_takes_a_node():
    with pytest.raises(covey.UsageError, match=r"needs a covey\.Node, not str"):
        Membership("orders")  # type: ignore[arg-type]


def test_from_another_thread_every_function_is_refused_and_nothing_is_done():
    async def test(cluster: Cluster) -> None:
        async with cluster.node() as node:
            m = Membership(node)
            message = await Membership(node).get_data()
            calls: list[Callable[[], Any]] = [
                m.members, m.known_clusters, m.list_local_sites, m.dump, lambda: m.node_of_site(node.site),
                lambda: m.site_of_node(node.address), lambda: m.cluster, lambda: m.cast_sync(message),
            ]  # fmt: skip
            calls += [partial(begin, command, m) for command in COMMANDS.values()]
            calls.append(partial(begin, m.call_sync, message))
            before = m.dump()
            refused: list[str] = []

            def work() -> None:
                for call in calls:
                    try:
                        call()
                    except covey.UsageError as error:
                        refused.append(str(error))

            thread = threading.Thread(target=work)
            thread.start()
            thread.join(10)
            assert len(refused) == len(calls)
            assert all("thread" in text for text in refused)
            assert m.dump() == before

    run(test)


def test_every_function_of_the_seed_is_here_by_its_name_and_says_how_it_differs():
    names = functions()
    assert names == {
        "set_member", "members", "known_clusters", "node_of_site", "site_of_node", "list_local_sites", "get_data",
        "call_sync", "cast_sync", "flush", "cleanup", "dump", "wipe",
    }  # fmt: skip
    for name in names:
        assert getattr(Membership, name).__doc__, name
