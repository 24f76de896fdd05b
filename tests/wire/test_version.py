"""Which protocol version two builds speak, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.wire import version
from covey.wire.version import MAGIC, VERSION, VERSION_MIN, common


@pytest.mark.parametrize(
    "peer_min, peer_max, spoken",
    [(1, 1, 1), (1, 2, 1), (1, 99, 1), (0, 1, 1), (-5, 1, 1), (2, 3, None), (0, 0, None), (2, 1, None), (-1, -1, None)],
)
def test_version_one_speaks_with_whoever_speaks_version_one(peer_min, peer_max, spoken):
    assert (VERSION_MIN, VERSION, MAGIC) == (1, 1, "covey")
    assert common(peer_min, peer_max) == spoken


@pytest.mark.parametrize(
    "peer_min, peer_max, spoken",
    [(1, 2, None), (1, 3, 3), (1, 4, 4), (3, 9, 5), (5, 9, 5), (6, 9, None), (5, 5, 5), (4, 3, None), (5, 4, None)],
)
def test_a_later_build_speaks_the_newest_version_both_know(monkeypatch, peer_min, peer_max, spoken):
    monkeypatch.setattr(version, "VERSION_MIN", 3)
    monkeypatch.setattr(version, "VERSION", 5)
    assert common(peer_min, peer_max) == spoken


@given(st.integers(-3, 9), st.integers(-3, 9))
def test_the_common_version_lies_in_both_ranges_and_exists_if_they_meet(peer_min, peer_max):
    both = [v for v in range(VERSION_MIN, VERSION + 1) if peer_min <= v <= peer_max]
    assert common(peer_min, peer_max) == (max(both) if both else None)
