"""Under `Majority`, whoever waits for voters can find out for whom: by an event, by `explain`, and in the log."""

from __future__ import annotations

import pytest

import covey
from covey.api.telling import Telling
from covey.core.ids import Site
from covey.protocols.claims.vocabulary import EpochsAhead, SeatEmpty, VotersDiffer
from covey.protocols.registry.rows import PREFIX
from covey.testing import Cluster, run
from covey.wire.keys import encode_key
from tests.api.hub_children import session
from tests.api.hubs_open import Flock, flock, unread
from tests.testing.virtual import next_of, until

HUB = PREFIX + encode_key("h")
VOTER = Site(b"a" * 16)
NAMES = ["a", "b", "c"]


async def voter(f: Flock, name: str, storage: bool = True) -> covey.Hub:
    """One node more, which takes part and may vote."""
    hub = f.hub_of(await f.node(name=name, **{"storage": covey.MemoryStorage()} if storage else {}))
    f.hubs.append(await f.enter(hub))
    return hub


def test_the_first_time_all_voters_are_waited_for_and_that_is_said(caplog):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0, on_split=covey.Majority(NAMES)) as f:
            a = await voter(f, "a")
            b, other = await voter(f, "b"), await voter(f, "d", storage=False)
            async with a.events() as events:
                await until(lambda: len(a.nodes()) == 3)
                result = await a.start_children([covey.ChildSpec("x", session)], timeout=30)
                assert not result.started
                while (missing := await next_of(events, covey.VotersMissing)).names != ("c",):
                    pass
                assert "of the voters a, b, c these take no part: c" in missing.explanation
                assert "before all 3 have been there together once" in missing.explanation
                for hub in (a, b, other):
                    assert missing.explanation in hub.explain("x").reasons
                async with other.events() as later:
                    assert await anext(later) == missing
                await voter(f, "c")
                assert (await next_of(events, covey.VotersMissing)) == covey.VotersMissing((), "")
                await until(lambda: bool((child := a.lookup("x")) and child.node), 30)
                assert a.explain("x").reasons == ()
                async with other.events() as later:
                    assert not unread(later, covey.VotersMissing)

    run(test)
    assert "event=voters_missing hub='h' names=c reason='of the voters" in caplog.text


@pytest.mark.parametrize("left", [1, 2])
def test_a_voter_that_goes_later_is_said_to_be_missing_and_whether_the_others_are_enough(left):
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0, on_split=covey.Majority(NAMES)) as f:
            for name in NAMES:
                await voter(f, name)
            await until(lambda: all(len(hub.nodes()) == 3 for hub in f.hubs))
            await f.hubs[0].start_child(covey.ChildSpec("x", session), timeout=30)
            by_name = dict(zip([node.name for node in f.nodes], f.hubs, strict=True))
            staying = by_name["a"]
            async with staying.events() as events:
                for node in f.nodes:
                    if node.name in NAMES[left:]:
                        await cluster.kill(node)
                missing = await next_of(events, covey.VotersMissing, seconds=60)
                assert missing.names == tuple(NAMES[left:])
                says = "no child runs until 2 of them are there" if left == 1 else "the 2 others are enough"
                assert says in missing.explanation

    run(test)


def test_a_voter_without_a_seat_is_told_of():
    async def test(cluster: Cluster) -> None:
        async with flock(cluster, 0, on_split=covey.Majority(NAMES)) as f:
            hubs = [await voter(f, name) for name in ("a", "b", "b")]
            async with hubs[0].events() as events:
                while (
                    "several durable nodes bear this name"
                    not in (missing := await next_of(events, covey.VotersMissing, seconds=60)).explanation
                ):
                    pass
                assert missing.names == ("b",)

    run(test)


@pytest.mark.parametrize(
    "event, says",
    [
        (VotersDiffer(HUB, VOTER), "event=voters_differ hub='h' site=61616161 name='' reason='it names other voters"),
        (EpochsAhead(HUB, VOTER), "event=epochs_ahead hub='h' site=61616161 name='' reason='one of both has a wrong"),
        (SeatEmpty("b", (VOTER,), "why"), "event=seat_empty name='b' sites=61616161 reason='why'"),
    ],
)
def test_what_people_have_to_mend_is_logged_in_words_they_can_read(event, says, caplog):
    Telling(lambda _: None, lambda _: None).on_event(event)
    assert says in caplog.text
    assert "b'aaaa" not in caplog.text
