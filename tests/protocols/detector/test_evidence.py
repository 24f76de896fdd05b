"""The order of evidence: a semilattice, with SWIM's order inside a refutation and `STOPPED` above a life."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Site
from covey.core.vocabulary import Liveness
from covey.protocols.detector.record import Evidence, evidence_of, fingerprint, merge, name, told
from covey.wire.messages.detector import Rumour

SITE, OTHER = Site(b"a" * 16), Site(b"b" * 16)
UNKNOWN, ALIVE, SUSPECT, DOWN, STOPPED = Liveness

RUMOURS = st.builds(
    Rumour, st.just(SITE), st.integers(0, 3), st.integers(0, 3), st.sampled_from(Liveness), st.just(OTHER)
)
EVIDENCE = RUMOURS.map(evidence_of)


@given(EVIDENCE)
def test_merge_is_idempotent(a: Evidence) -> None:
    assert merge(a, a) == a


@given(EVIDENCE, EVIDENCE)
def test_merge_is_commutative(a: Evidence, b: Evidence) -> None:
    assert merge(a, b) == merge(b, a)


@given(EVIDENCE, EVIDENCE, EVIDENCE)
def test_merge_is_associative(a: Evidence, b: Evidence, c: Evidence) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(EVIDENCE, EVIDENCE)
def test_equal_ranks_are_equal_evidence_and_equal_fingerprints(a: Evidence, b: Evidence) -> None:
    assert (a.rank == b.rank) == (a == b)
    if a == b:
        assert fingerprint(SITE, a) == fingerprint(SITE, b)
    elif UNKNOWN not in (a.state, b.state):
        assert fingerprint(SITE, a) != fingerprint(SITE, b)


def test_the_order_of_one_life_and_the_next() -> None:
    in_order = [
        Evidence(5, 0, UNKNOWN),
        Evidence(5, 0, ALIVE),
        Evidence(5, 0, SUSPECT),
        Evidence(5, 0, DOWN),
        Evidence(5, 1, ALIVE),  # its owner refuted: that lifts DOWN
        Evidence(5, 1, DOWN),
        Evidence(5, 0, STOPPED),  # above any refutation of that life
        Evidence(6, 0, UNKNOWN),  # a later life
        Evidence(6, 0, ALIVE),
    ]
    for earlier, later in pairwise(in_order):
        assert merge(earlier, later) == merge(later, earlier) == later


def test_what_nobody_has_observed_is_not_in_the_digest() -> None:
    assert fingerprint(SITE, Evidence(9, 0, UNKNOWN)) == 0


def test_a_story_names_who_said_it() -> None:
    assert told(Rumour(SITE, 1, 0, STOPPED, SITE), SITE) == "it said that it stops"
    assert told(Rumour(SITE, 1, 0, ALIVE), SITE) == "it said so itself"
    assert told(Rumour(SITE, 1, 0, ALIVE), OTHER) == "according to 62626262"
    assert told(Rumour(SITE, 1, 0, DOWN, SITE), OTHER) == "according to 61616161, told by 62626262"
    assert name(b"") == "nobody known"
