"""Lives begin, end and begin again: being unknown, returning, being ephemeral, changing the cluster."""

from __future__ import annotations

import pytest

from covey.core.ids import ClusterId, Contact
from covey.core.vocabulary import (
    AddressLearned,
    Channel,
    ClusterChanged,
    Liveness,
    MemberAdded,
    MemberRemoved,
    PeerConnected,
    PeerLost,
    PeerUnreached,
)
from covey.core.vocabulary import Cause as Why
from covey.protocols.detector.config import DetectorConfig
from covey.wire.messages.detector import Ping, Rumour, TableDigest
from tests.protocols.detector.detector_bench import ME, SECOND, A, B, Bench, C, D, contact, rumour
from tests.protocols.detector.detector_world import DetectorWorld, contact_of

UNKNOWN, ALIVE, SUSPECT, DOWN, STOPPED = Liveness


def stored(member: Contact) -> MemberAdded:
    return MemberAdded(member, False, False)


# --- unknown ----------------------------------------------------------------------------------------------------------


def test_a_member_read_from_disk_is_unknown_and_not_probed_until_the_grace_is_over() -> None:
    bench = Bench()
    bench.feed(stored(A))
    assert bench.changes() == [(A, UNKNOWN)]
    assert bench.wait(29.9) == []
    target, _ = bench.until_ping()
    assert target == A
    assert bench.state(A) is UNKNOWN
    bench.wait(1.1)
    assert bench.state(A) is SUSPECT
    bench.wait(5)
    assert bench.state(A) is DOWN


def test_unknown_members_count_only_after_the_grace() -> None:
    bench = Bench()
    bench.feed(stored(A))
    assert bench.machine.opinions.nodes == 1
    bench.wait(30)
    assert bench.machine.opinions.nodes == 2


@pytest.mark.parametrize("how", ["link", "message", "ping", "rumour", "membership"])
def test_an_unknown_member_is_alive_once_it_is_heard_of(how: str) -> None:
    bench = Bench(B)
    bench.feed(stored(A))
    match how:
        case "link":
            bench.connected(A)
        case "message":
            bench.hear(A, TableDigest(bytes(8)))
        case "ping":
            bench.ping(A)
        case "rumour":
            bench.tell(B, rumour(A, ALIVE))
        case "membership":
            bench.feed(MemberAdded(A, False, True))
    assert bench.state(A) is ALIVE
    assert bench.changes() == [(A, ALIVE)]


def test_a_link_that_was_there_first_tells_of_a_member_read_from_disk_later() -> None:
    bench = Bench()
    bench.connected(contact("a", 8))
    bench.feed(stored(A))
    assert bench.changes() == [(A, UNKNOWN), (contact("a", 8), ALIVE)]
    bench.lost(contact("a", 8), Why.GOODBYE)
    bench.feed(MemberRemoved(A.site))
    bench.feed(stored(A))
    assert bench.state(A) is UNKNOWN


def test_the_data_channel_is_nobody_s_business_here() -> None:
    bench = Bench()
    bench.feed(stored(A))
    assert bench.feed(PeerConnected(A, Channel.DATA)) == []
    assert bench.feed(PeerLost(A, Channel.DATA, Why.RESET)) == []
    assert bench.feed(PeerUnreached(A.site, Channel.DATA, Why.REFUSED)) == []
    assert bench.state(A) is UNKNOWN


# --- later lives ------------------------------------------------------------------------------------------------------


def test_a_later_life_lifts_down_and_stopped_and_its_address_counts() -> None:
    for state in (DOWN, STOPPED):
        bench = Bench(A, B)
        bench.tell(B, rumour(A, state))
        assert bench.state(A) is state
        later = Contact(A.site, 8, "elsewhere:9")
        bench.feed(MemberAdded(later, False, True))
        assert bench.changes() == [(later, ALIVE)]
        target, ping = bench.until_ping()
        while target != later:
            bench.ack(target, ping.number)
            target, ping = bench.until_ping()


def test_an_earlier_life_changes_nothing() -> None:
    bench = Bench(A)
    for effects in (
        bench.feed(MemberAdded(contact("a", 6), False, True)),
        bench.connected(contact("a", 6))[:-1],
        bench.tell(A, Rumour(A.site, 6, 9, STOPPED)),
    ):
        assert effects == []
    assert bench.state(A) is ALIVE


def test_a_link_of_a_later_life_is_evidence_and_one_of_the_same_life_brings_the_address() -> None:
    bench = Bench(A)
    bench.connected(Contact(A.site, A.incarnation, "b:2"))
    assert bench.machine.opinions.members[A.site].address == "b:2"
    bench.connected(Contact(A.site, 9, ""))
    assert bench.changes() == [(Contact(A.site, 9, "b:2"), ALIVE)]


def test_a_process_that_restarts_at_once_is_alive_in_its_new_life() -> None:
    world = DetectorWorld(1, 5)
    world.run(2)
    world.kill(0)
    world.run(0.001)
    world.restart(0, 2)
    world.acquaint(0, range(5))
    for other in range(1, 5):
        world.connect(0, other)
        world.acquaint(other, [0])
    world.run(3)
    assert world.all_hold(0, ALIVE)
    assert all(
        node.machine.opinions.members[contact_of(0).site].contact == contact_of(0, 2) for node in world.nodes[1:]
    )
    assert len({node.machine.opinions.digest for node in world.nodes}) == 1


# --- ephemeral and forgotten ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [DOWN, STOPPED])
def test_nobody_adopts_the_end_of_an_ephemeral_life_it_does_not_know(state: Liveness) -> None:
    bench = Bench(B)
    bench.feed(MemberAdded(A, True, True))
    bench.tell(B, Rumour(A.site, 8, 0, state))
    assert bench.state(A) is ALIVE
    bench.tell(B, Rumour(A.site, 7, 0, state))
    assert bench.state(A) is state


def test_a_forgotten_life_that_is_added_again_is_still_over_for_some_time() -> None:
    bench = Bench(B)
    bench.feed(MemberAdded(A, True, True))
    bench.tell(B, rumour(A, STOPPED))
    bench.feed(MemberRemoved(A.site))
    bench.feed(MemberAdded(A, True, True))
    assert bench.changes() == [(A, STOPPED)]
    bench.feed(MemberRemoved(A.site))
    bench.now_us += 1201 * SECOND
    bench.feed(MemberAdded(A, True, True))
    assert bench.state(A) is ALIVE


def test_a_later_life_owes_nothing_to_a_forgotten_one() -> None:
    bench = Bench(B)
    bench.feed(MemberAdded(A, True, True))
    bench.tell(B, rumour(A, DOWN))
    bench.feed(MemberRemoved(A.site))
    bench.feed(MemberAdded(contact("a", 8), True, True))
    assert bench.state(A) is ALIVE


def test_in_another_cluster_even_the_ends_are_forgotten() -> None:
    bench = Bench(A, B)
    bench.tell(B, rumour(A, DOWN))
    bench.feed(ClusterChanged(ClusterId(bytes(16)), 12, True))
    bench.feed(MemberAdded(A, False, True))
    assert bench.state(A) is ALIVE


def test_ends_remembered_are_bounded() -> None:
    bench = Bench(A, B, C, D, config=DetectorConfig(graves_max=2))
    for gone in (A, B, C):
        bench.tell(D, rumour(gone, DOWN))
        bench.feed(MemberRemoved(gone.site))
    bench.feed(MemberAdded(A, False, True))
    bench.feed(MemberAdded(C, False, True))
    assert (bench.state(A), bench.state(C)) == (ALIVE, DOWN)


def test_in_another_cluster_everything_begins_anew() -> None:
    bench = Bench(A, B)
    bench.tell(A, rumour(ME, SUSPECT, 4), rumour(B, DOWN))
    bench.feed(ClusterChanged(ClusterId(bytes(16)), 12, True))
    assert bench.state(A) is None
    assert bench.machine.statistics().refutation == 0
    assert bench.wait(3) == []
    bench.feed(AddressLearned("me:2"))
    bench.feed(MemberAdded(B, False, True))
    assert bench.state(B) is ALIVE
    _, ping = bench.until_ping()
    assert isinstance(ping, Ping)
    assert ping.incarnation == 12
    assert ping.rumours == ()
    assert bench.machine.opinions.me == Contact(ME.site, 12, "me:2")


def test_we_do_not_watch_ourselves() -> None:
    bench = Bench()
    assert bench.feed(MemberAdded(ME, False, True)) == []
    assert bench.state(ME) is None
