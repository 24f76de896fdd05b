"""The beacon of the lowest site names a component (DESIGN 3.4)."""

from __future__ import annotations

from covey.core.vocabulary import Multicast, Send
from covey.wire.messages.overlay import Beacon, Join
from tests.protocols.overlay.overlay_harness import CONFIG, SECOND_US, Bare, contact, sent, site

HEARD_US = CONFIG.beacon_period_us * CONFIG.beacons_missed_max


def beacon(number: int, sequence: int = 1, age_ms: int = 0, incarnation: int = 1) -> Beacon:
    return Beacon(site(number), incarnation, sequence, age_ms)


def lowest(bare: Bare) -> bytes:
    return bare.overlay.statistics().lowest


def test_the_lowest_site_says_every_ten_seconds_that_it_lives():
    bare = Bare(1).befriend(2, 3)
    said = [m for to, m in sent(bare.until(61 * SECOND_US), Beacon) if to == 2]
    assert 5 <= len(said) <= 7
    assert [m.sequence for m in said] == list(range(1, len(said) + 1))
    assert all((m.site, m.incarnation, m.age_ms) == (site(1), 1, 0) for m in said)


def test_nobody_else_does():
    bare = Bare(5).befriend(9)
    bare.hear(9, beacon(2))
    assert sent(bare.until(HEARD_US - SECOND_US), Beacon) == []


def test_a_beacon_is_passed_on_once_and_not_back():
    bare = Bare(5).befriend(1, 2, 3)
    assert bare.hear(2, beacon(1)) == [Multicast((site(1), site(3)), beacon(1))]
    assert bare.hear(3, beacon(1)) == []
    assert bare.hear(3, beacon(1, 2)) == [Multicast((site(1), site(2)), beacon(1, 2))]
    assert lowest(bare) == site(1)


def test_a_beacon_of_the_only_neighbour_goes_nowhere():
    bare = Bare(5).befriend(1)
    assert bare.hear(1, beacon(1)) == [] and lowest(bare) == site(1)


def test_a_higher_site_than_the_lowest_known_is_no_news():
    bare = Bare(5).befriend(1, 2)
    bare.hear(1, beacon(2))
    assert bare.hear(1, beacon(3)) == [] and bare.hear(1, beacon(5)) == [] and bare.hear(1, beacon(9)) == []
    assert lowest(bare) == site(2)


def test_a_new_life_counts_from_the_beginning():
    bare = Bare(5).befriend(1, 2)
    bare.hear(1, beacon(2, sequence=100))
    assert bare.hear(1, beacon(2, sequence=1)) == []
    assert bare.hear(1, beacon(2, sequence=1, incarnation=2)) != []


def test_a_component_that_hears_its_lowest_no_more_takes_another_name():
    bare = Bare(5).befriend(9)
    bare.hear(9, beacon(2))
    bare.until(HEARD_US + 2 * CONFIG.beacon_period_us)
    assert lowest(bare) == site(5)
    assert sent(bare.until(HEARD_US + 4 * CONFIG.beacon_period_us), Beacon) != [], "and says so itself"


def test_a_new_neighbour_is_told_the_beacon_that_was_heard_and_how_old_it_is():
    bare = Bare(5).befriend(9)
    bare.hear(9, beacon(2, sequence=7))
    bare.now_us = 4 * SECOND_US
    assert bare.hear(8, Join(contact(8), 1))[3] == Send(site(8), beacon(2, 7, age_ms=4000))


def test_the_age_of_a_beacon_counts_from_where_it_was_said():
    """Else a dead site's last beacon would be young again with every new link, for ever."""
    bare = Bare(5).befriend(9)
    bare.hear(9, beacon(2, age_ms=20_000))
    bare.now_us = 4 * SECOND_US
    ((_, retold),) = sent(bare.hear(8, Join(contact(8), 1)), Beacon)
    assert retold.age_ms == 24_000
    bare.now_us = 10 * SECOND_US + 1
    ((_, retold),) = sent(bare.hear(7, Join(contact(7), 1)), Beacon)
    assert retold == beacon(5, 0), "too old to be retold"


def test_a_beacon_that_is_too_old_is_no_news():
    bare = Bare(5).befriend(1, 2)
    assert bare.hear(1, beacon(2, age_ms=HEARD_US // 1000 + 1)) == []
    assert lowest(bare) == site(5)
    assert bare.hear(1, beacon(2, age_ms=HEARD_US // 1000)) != []
    assert lowest(bare) == site(2)


def test_an_enormous_age_or_sequence_does_no_harm():
    bare = Bare(5).befriend(1, 2)
    assert bare.hear(1, beacon(2, 2**53, 2**53)) == []
    bare.hear(1, beacon(2, 2**53))
    assert bare.hear(2, beacon(2, 1)) == []
    bare.until(HEARD_US + 2 * CONFIG.beacon_period_us)
    bare.hear(2, beacon(2, 2))
    assert lowest(bare) == site(2), "a forged sequence is forgotten with its beacon"
