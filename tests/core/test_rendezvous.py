"""Who of several a key belongs to. Placement is protocol: these values never change."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.rendezvous import highest, score

NAMES = st.lists(st.binary(max_size=12), min_size=1, max_size=8, unique=True)
FIVE = [b"a", b"b", b"c", b"d", b"e"]

# If an edit moves one of these, two versions of covey place the same key differently.
FROZEN = [
    (b"", ["0bbdcc98b9abe8e5", "0bb3184b4297d62d", "a830160fa37e7230", "2ad1fa67f1da922d", "b583298be2655bff"]),
    (b"x", ["cd2e9e3a9fc42258", "550a407aa286d28f", "c7b99ca30339da88", "dd5c267759dfdad0", "be900ad0c74e8b1d"]),
    (
        b"\xa5doc-7",
        ["6bfc0bccbf717c67", "2c4d23a336d879ce", "d8ba3d24e9c444db", "0e7a076727355249", "b6f907c7176986a7"],
    ),
]


@pytest.mark.parametrize("key, scores", FROZEN)
def test_scores_never_change(key, scores):
    assert [f"{score(key, name):016x}" for name in FIVE] == scores


def test_placement_never_changes():
    placed = b"".join(highest(b"%d" % number, FIVE) for number in range(64))
    assert placed == b"bcedaedeecbddcaddbdddeeadaecdbdedadeceedbcddcbaddbbdadaecbaebeec"


@given(st.binary(max_size=20), NAMES, st.randoms(use_true_random=False))
def test_the_order_of_the_names_does_not_matter(key, names, rng):
    shuffled = rng.sample(names, len(names))
    assert highest(key, names) == highest(key, shuffled)


@given(st.lists(st.binary(max_size=20), max_size=30), NAMES, st.data())
def test_only_the_keys_of_a_name_that_goes_move(keys, names, data):
    gone = data.draw(st.sampled_from(names))
    left = [name for name in names if name != gone]
    for key in keys:
        before = highest(key, names)
        if left and before != gone:
            assert highest(key, left) == before


@given(st.lists(st.binary(max_size=20), max_size=30), NAMES, st.binary(min_size=13, max_size=14))
def test_keys_move_only_to_a_name_that_comes(keys, names, new):
    for key in keys:
        assert highest(key, [*names, new]) in (highest(key, names), new)


def test_keys_are_spread_evenly():
    """Of 10,000 keys each of five gets 2,000, give or take four standard deviations (40 each)."""
    counts = Counter(highest(b"%d" % number, FIVE) for number in range(10_000))
    assert sorted(counts) == FIVE and all(abs(count - 2_000) < 160 for count in counts.values())


def test_a_key_and_a_name_do_not_run_into_each_other():
    assert score(b"ab", b"c") != score(b"a", b"bc")


def test_nobody_is_nobody():
    with pytest.raises(ValueError):
        highest(b"key", [])
