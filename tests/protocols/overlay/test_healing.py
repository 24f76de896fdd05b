"""The book of addresses and the lowest site heard, against naive models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.protocols.overlay.beacons import Lowest
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.healing import AddressBook
from tests.protocols.overlay.overlay_harness import SECOND_US, site

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove

CONFIG = OverlayConfig(addresses_max=4)
MIN_US, MAX_US = CONFIG.probe_backoff_us_min, CONFIG.probe_backoff_us_max
ADDRESSES = st.sampled_from([f"h{number}:1" for number in range(7)])
NOBODY: frozenset = frozenset()


def book(*addresses: str) -> AddressBook:
    made = AddressBook(CONFIG)
    for address in addresses:
        made.add(address, 0)
    return made


def next_due(found: AddressBook, now_us: int) -> str | None:
    """The one address that would be tried now."""
    return next(iter(found.take_due(now_us, NOBODY, "", 1)), None)


def due_order(found: AddressBook, now_us: int) -> list[str]:
    """All that is due, in the order in which it would be tried."""
    order = []
    while (address := next_due(found, now_us)) is not None:
        order.append(address)
    return order


def test_the_address_due_longest_comes_first_and_then_waits():
    found = AddressBook(CONFIG)
    for second, address in enumerate(("c:1", "a:1", "b:1")):
        found.add(address, second)
    assert due_order(found, 10) == ["c:1", "a:1", "b:1"]
    assert due_order(found, 10) == []
    assert due_order(found, 10 + MIN_US) == ["a:1", "b:1", "c:1"]


def test_addresses_due_at_once_come_in_a_fixed_order():
    assert due_order(book("c:1", "a:1", "b:1"), 0) == ["a:1", "b:1", "c:1"]


def test_pauses_double_from_one_second_to_thirty():
    found = book("a:1")
    pauses = []
    now_us = 0
    for _ in range(8):
        found.failed("a:1", now_us)
        due_us = next(us for us in range(now_us, now_us + 40 * SECOND_US, SECOND_US) if due_order(found, us))
        pauses.append((due_us - now_us) // SECOND_US)
        now_us = due_us
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_an_answer_ends_the_growing_and_gives_a_long_rest():
    found = book("a:1")
    for _ in range(5):
        found.failed("a:1", 0)
    found.answered("a:1", site(1), 0)
    assert due_order(found, MAX_US - 1) == [] and due_order(found, MAX_US) == ["a:1"]
    found.failed("a:1", MAX_US)
    assert due_order(found, MAX_US + MIN_US) == ["a:1"]


def test_a_lost_link_is_tried_soon_however_long_its_pause_was():
    found = book("a:1")
    found.answered("a:1", site(1), 0)
    found.lost("a:1", SECOND_US)
    assert due_order(found, SECOND_US + MIN_US - 1) == []
    assert due_order(found, SECOND_US + MIN_US) == ["a:1"]


def test_a_lost_link_makes_the_pauses_short_again():
    found = book("a:1")
    for _ in range(6):
        found.failed("a:1", 0)
    found.lost("a:1", 0)
    found.failed("a:1", 0)
    assert due_order(found, MIN_US - 1) == [] and due_order(found, MIN_US) == ["a:1"]


def test_a_lost_link_teaches_an_address():
    found = book()
    found.lost("new:1", SECOND_US)
    assert "new:1" in found and due_order(found, SECOND_US + MIN_US) == ["new:1"]


def test_a_lost_link_without_an_address_is_not_a_new_entry():
    found = AddressBook(CONFIG)
    found.lost("", 0)
    found.add("", 0)
    assert len(found) == 0 and "" not in found


def test_hurry_ends_the_long_rest_of_those_that_answered():
    found = book("a:1", "b:1")
    found.answered("a:1", site(1), 0)
    found.answered("b:1", site(2), 0)
    found.hurry(SECOND_US)
    assert due_order(found, SECOND_US + MIN_US - 1) == []
    assert due_order(found, SECOND_US + MIN_US) == ["a:1", "b:1"]


def test_where_one_answers_that_did_not_all_that_do_not_are_due_at_once():
    """A split has healed: who was cut off as well is not left to its long pause."""
    found = book("a:1", "b:1", "c:1")
    assert not found.answered("c:1", site(3), 0), "it was never tried in vain"
    for address in ("a:1", "b:1"):
        for _ in range(8):
            found.failed(address, 0)
    found.add("e:1", 0)
    now_us = SECOND_US // 2
    assert due_order(found, now_us) == ["e:1"]
    assert found.answered("a:1", site(1), now_us)
    assert due_order(found, now_us) == ["b:1"], "not those that answered, nor those that were only just tried"
    assert not found.answered("a:1", site(1), now_us)
    assert not found.answered("x:1", site(9), now_us)


def test_where_a_neighbour_answered_nobody_is_asked():
    found = book("a:1", "b:1")
    found.answered("a:1", site(1), 0)
    now_us = MAX_US
    assert found.take_due(now_us, frozenset({site(1)}), "b:1", 1) == []
    assert found.take_due(now_us, frozenset({site(2)}), "", 1) == ["b:1"]
    assert found.take_due(now_us, NOBODY, "b:1", 1) == ["a:1"]


def test_news_of_unknown_addresses_change_nothing():
    found = book()
    found.answered("a:1", site(1), 0)
    found.failed("a:1", 0)
    assert len(found) == 0 and next_due(found, 100) is None


def test_on_overflow_the_address_that_failed_longest_goes():
    found = book("a:1", "b:1", "c:1", "d:1")
    for _ in range(3):
        found.failed("b:1", 0)
    found.failed("c:1", 0)
    found.add("e:1", 0)
    assert "b:1" not in found and len(found) == 4
    found.add("f:1", 0)
    assert "c:1" not in found


def test_on_overflow_seeds_go_last():
    found = AddressBook(CONFIG)
    for number in range(3):
        found.add(f"seed{number}:1", 0, is_seed=True)
        for _ in range(6):
            found.failed(f"seed{number}:1", 0)
    for number in range(6):
        found.add(f"other{number}:1", 0)
    assert "other5:1" in found and all(f"seed{number}:1" in found for number in range(3))


def test_a_book_full_of_seeds_does_not_lose_one_to_a_passer_by():
    """Any peer may have us note its address; the seeds were given by a person."""
    found = AddressBook(CONFIG)
    for number in range(4):
        found.add(f"seed{number}:1", 0, is_seed=True)
    found.add("passer-by:1", 0)
    found.lost("passer-by:1", 0)
    assert all(f"seed{number}:1" in found for number in range(4))


def test_a_book_full_of_seeds_takes_a_new_seed_for_the_one_that_failed_longest():
    found = AddressBook(CONFIG)
    for number in range(4):
        found.add(f"seed{number}:1", 0, is_seed=True)
    found.failed("seed2:1", 0)
    found.add("new:1", 0, is_seed=True)
    assert "new:1" in found and "seed2:1" not in found and len(found) == 4


def test_an_address_that_turns_out_to_be_a_seed_is_kept_as_one():
    found = book("a:1")
    found.add("a:1", 0, is_seed=True)
    found.add("a:1", 0)
    for number in range(10):
        found.add(f"other{number}:1", 0)
    assert "a:1" in found


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["add", "seed", "failed", "answered", "lost"]), ADDRESSES),
            st.tuples(st.sampled_from(["hurry", "next"]), st.just("")),
            st.tuples(st.just("wait"), st.integers(0, 40 * SECOND_US)),
        ),
        max_size=60,
    )
)
def test_whatever_happens_no_address_is_tried_twice_a_second_or_never(steps):
    found = AddressBook(CONFIG)
    now_us = 0
    tried_us: dict[str, int] = {}
    for what, value in steps:
        match what:
            case "add":
                found.add(value, now_us)
            case "seed":
                found.add(value, now_us, is_seed=True)
            case "failed":
                found.failed(value, now_us)
            case "answered":
                found.answered(value, site(1), now_us)
            case "lost":
                found.lost(value, now_us)
                assert value in found
            case "hurry":
                found.hurry(now_us)
            case "wait":
                now_us += value
            case "next":
                address = next_due(found, now_us)
                if address is not None:
                    assert now_us >= tried_us.get(address, -MIN_US) + MIN_US
                    tried_us[address] = now_us
        for address in list(tried_us):
            if address not in found:
                del tried_us[address]
        assert len(found) <= CONFIG.addresses_max
        found.check()
    tried = due_order(found, now_us + MAX_US)
    assert len(tried) == len(set(tried)) == len(found), "none waits longer than the longest pause"


def test_a_book_that_breaks_its_laws_is_an_invariant_error():
    found = book("a:1")
    found._entries["a:1"].backoff_us = 0
    with pytest.raises(InvariantError, match="pause"):
        found.check()
    full = book("a:1", "b:1", "c:1", "d:1")
    full._entries["e:1"] = full._entries["a:1"]
    with pytest.raises(InvariantError, match="bounded"):
        full.check()


# --- the lowest site heard ------------------------------------------------------------------------------------------

HEARD_US = 30 * SECOND_US
ME = 5
BEACONS = st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(0, 5), st.integers(0, 40 * SECOND_US))


@given(st.lists(st.one_of(BEACONS, st.integers(0, 20 * SECOND_US)), max_size=60))
def test_the_lowest_is_the_least_site_whose_newest_beacon_is_young_enough(steps):
    lowest = Lowest(site(ME), HEARD_US, 0)
    now_us = 0
    name, stamp, said_us = ME, (0, 0), 0  # the model: who names us, by which beacon, said when
    for step in steps:
        if isinstance(step, int):
            now_us += step
        else:
            number, incarnation, sequence, age_us = step
            news = (
                number < ME
                and number <= name
                and age_us <= HEARD_US
                and (number < name or (incarnation, sequence) > stamp)
            )
            assert lowest.hear(site(number), incarnation, sequence, age_us, now_us) == news
            if news:
                name, stamp, said_us = number, (incarnation, sequence), now_us - age_us
        lowest.expire(now_us)
        if name != ME and now_us - said_us > HEARD_US:
            name, stamp = ME, (0, 0)
        assert lowest.site == site(name) <= site(ME)
        if name != ME:
            assert lowest.last(now_us) == (site(name), *stamp, (now_us - said_us) // 1000)


def test_retelling_a_beacon_never_makes_it_younger():
    first, second = Lowest(site(9), HEARD_US, 0), Lowest(site(8), HEARD_US, 0)
    first.hear(site(1), 1, 1, 0, 0)
    who, incarnation, sequence, age_ms = first.last(20 * SECOND_US)
    second.hear(who, incarnation, sequence, age_ms * 1000, 20 * SECOND_US)
    for now_us, name in ((HEARD_US, 1), (HEARD_US + 1, 8)):
        second.expire(now_us)
        assert second.site == site(name)
