"""Members that tell of shared rows what nobody did, or ask for what nobody asks: nothing raises, all is bounded."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.rows import Start
from covey.core.vocabulary import Liveness
from covey.protocols.replication.shared import sensible
from covey.rows.op_log import Op
from covey.rows.shared import bucket_of
from covey.wire.codec import decode_body, encode_message, join_body
from covey.wire.messages import rows as wire
from tests.protocols.replication.replication_net import (
    SECOND,
    SMALL,
    F,
    I,
    K,
    pair,
    site,
)

BIRTH: Op = (K, None, b"", (), ())


@pytest.mark.parametrize("op, sound", [
    (BIRTH, True),
    ((K, F, b"", ((site(1), 1, 1),), ()), True),
    ((K, F, b"", ((site(1), 1, 1),), ((site(1), 1, 2),)), True),
    ((K, None, None, ((site(1), 1, 1),), ()), True),
    ((K, None, None, (), ()), False),
    ((K, None, b"", ((site(1), 1, 1),), ()), False),
    ((K, None, b"", (), ((site(1), 1, 1),)), False),
    ((K, F, None, ((site(1), 1, 1),), ()), False),
    ((K, F, b"", (), ()), False),
])  # fmt: skip
def test_an_operation_that_is_none_is_ignored_with_all_that_came_with_it(op, sound):
    _, a, b = pair()
    a.hears(b, wire.SharedOps(I, b.site, 1, 1, (BIRTH, op)))
    assert sensible(op) is sound
    assert a.table().received.top(b.life) == (2 if sound else 0)


def test_operations_of_our_own_life_that_we_never_did_are_ignored():
    """Found by reading: we would do another one under the same number, and it would count for old."""
    net, a, b = pair()
    a.start(K)
    net.run()
    for first, ops in ((2, (BIRTH,)), (1, (BIRTH, BIRTH)), (2**53, ())):
        assert a.hears(b, wire.SharedOps(I, a.site, 1, first, ops)) == []
    assert a.table().received.told() == ((*a.life, ((1, 1),)),)
    a.start(b"more")
    net.run()
    assert sorted(a.has()) == [K, b"more"]


def test_numbers_above_what_a_message_can_say_are_ignored():
    """Found by reading: what we told of them was malformed, and each of our links dropped."""
    _, a, b = pair()
    assert a.hears(b, wire.SharedOps(I, b.site, 1, wire.SEQ_MAX, (BIRTH, BIRTH))) == []
    assert a.hears(b, wire.SharedOps(I, b.site, 1, wire.SEQ_MAX, (BIRTH,)))
    assert a.table().received.top(b.life) == wire.SEQ_MAX


def test_told_intervals_of_our_own_life_are_cut_at_what_we_did():
    _, a, b = pair()
    a.start(K)
    told = ((*a.life, ((1, 1), (3, 9), (12, 12))),)
    for more in ((), (Start(b"2", b""), Start(b"3", b""), Start(b"4", b""))):
        a.do(*more)
        alive = a.table().alive_digest.to_bytes(8, "big")
        assert a.hears(b, wire.SharedHave(I, told, (), alive, False)) == []
    assert a.machine.statistics().shared.exchanges == 0
    a.machine.shared.exchanges.compare(I, b.site, 0)
    a.hears(b, wire.SharedSummary(I, told, told, a.table().bucket_sums()))
    assert a.machine.statistics().shared.exchanges == 0
    assert a.table().received.told() == ((*a.life, ((1, 4),)),)
    assert a.table().context.told() == ((*a.life, ((1, 4),)),)


def test_what_retired_lives_are_told_of_our_own_is_not_believed_either():
    _, a, b = pair()
    a.start(K)
    backwards = ((*a.life, ((9, 1), (5, 4))), (*b.life, ((3, 2),)))
    assert a.hears(b, wire.SharedHave(I, backwards, backwards, bytes(8), False)) == []
    assert a.machine.statistics().shared.exchanges == 0


def test_a_holder_that_always_has_more_and_never_tells_it_is_not_asked_for_ever():
    _, a, b = pair()
    have = wire.SharedHave(I, ((*b.life, ((1, 9),)),), (), bytes(8), False)
    (asked,) = a.hears(b, have)
    assert type(asked.message) is wire.SharedPull
    assert a.hears(b, wire.SharedDone(I, True, False)) == []
    assert a.machine.statistics().shared.exchanges == 0
    a.hears(b, have)
    a.hears(b, wire.SharedOps(I, b.site, 1, 1, (BIRTH,)))
    assert len(a.hears(b, wire.SharedDone(I, True, False))) == 1  # it got on: once more
    assert a.hears(b, wire.SharedDone(I, True, False)) == []


def test_who_answers_a_comparison_with_what_was_not_asked_for_is_not_listened_to():
    _, a, b, c = pair(count=3)
    a.start(K)
    a.machine.shared.exchanges.compare(I, b.site, 0)
    summary = wire.SharedSummary(I, (), (), bytes(2048))
    part = wire.SharedPart(I, bucket_of(K), None, (), True)
    assert a.hears(c, summary) == a.hears(b, part) == []
    (pull,) = a.hears(b, summary)
    assert (pull.message.bucket, pull.message.cursor) == (bucket_of(K), None)
    assert a.hears(b, summary) == a.hears(c, part) == []
    assert a.hears(b, msgspec.structs.replace(part, bucket=0)) == []
    assert a.hears(b, wire.SharedDone(I, True, True)) == []
    assert a.machine.statistics().shared.exchanges == 1
    assert a.hears(b, part) == []
    assert a.machine.statistics().shared.exchanges == 0
    assert a.has() == {K: (b"", {})}


def test_a_pull_of_everything_is_answered_in_bounds():
    _, a, b = pair(SMALL)
    for number in range(30):
        a.start(b"%d" % number)
    a.end_turn()
    ranges = ((*a.life, 1, 2**53),) * 1_024 + ((*a.life, 9, 1), (*b.life, 1, 9))
    *told, done = a.hears(b, wire.SharedPull(I, ranges))
    assert len(told) <= 3
    assert done.message == wire.SharedDone(I, True, False)
    assert a.hears(b, wire.SharedPull(I, ((*b.life, 1, 9),)))[0].message == wire.SharedDone(I, False, False)


def test_questions_about_what_is_not_held_are_not_answered():
    _, a, b = pair()
    for message in (
        wire.SharedOps(b"none", b.site, 1, 1, (BIRTH,)),
        wire.SharedSums(((b"none", bytes(8)),)),
        wire.SharedHave(b"none", (), (), bytes(8), True),
        wire.SharedPull(b"none", ()),
        wire.SharedDone(b"none", True, True),
        wire.SharedCompare(b"none"),
        wire.SharedSummary(b"none", (), (), bytes(2048)),
        wire.SharedPartPull(b"none", 0, None),
        wire.SharedPart(b"none", 0, None, (), True),
    ):
        assert a.hears(b, message) == []


# --- anything, in any order ------------------------------------------------------------------------------------------

SITES = st.integers(1, 4).map(site)
LIVES = st.integers(0, 2)
NUMBERS = st.integers(1, 6) | st.sampled_from([2**53 - 1, 2**53])
KEYS = st.sampled_from([b"", b"a", b"mine"])
VALUES = st.sampled_from([b"", b"1"])
DOTS = st.tuples(SITES, LIVES, NUMBERS)
NAMES = st.lists(DOTS, max_size=3).map(tuple)
FIELDS = st.none() | st.just(F)
OPS = st.lists(st.tuples(KEYS, FIELDS, st.none() | VALUES, NAMES, NAMES), max_size=3).map(tuple)
INTERVALS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3).map(tuple)
TOLD = st.lists(st.tuples(SITES, LIVES, INTERVALS), max_size=3).map(tuple)
INSTANCES = st.sampled_from([I, b"", b"unknown"])
BUCKETS = st.sampled_from([bucket_of(b""), bucket_of(b"a"), bucket_of(b"mine"), 7])
PLACES = st.none() | st.tuples(KEYS, DOTS)
ENTRIES = st.lists(st.tuples(KEYS, FIELDS, DOTS, NAMES, VALUES), max_size=3).map(tuple)
DIGESTS = st.binary(min_size=8, max_size=8)
MESSAGES = st.one_of(
    st.builds(wire.SharedOps, INSTANCES, SITES, LIVES, NUMBERS, OPS),
    st.builds(wire.SharedSums, st.lists(st.tuples(INSTANCES, DIGESTS), max_size=3).map(tuple)),
    st.builds(wire.SharedHave, INSTANCES, TOLD, TOLD, DIGESTS, st.booleans()),
    st.builds(wire.SharedPull, INSTANCES, st.lists(st.tuples(SITES, LIVES, NUMBERS, NUMBERS), max_size=3).map(tuple)),
    st.builds(wire.SharedDone, INSTANCES, st.booleans(), st.booleans()),
    st.builds(wire.SharedCompare, INSTANCES),
    st.builds(wire.SharedSummary, INSTANCES, TOLD, TOLD, st.just(bytes(2048))),
    st.builds(wire.SharedPartPull, INSTANCES, BUCKETS, PLACES),
    st.builds(wire.SharedPart, INSTANCES, BUCKETS, PLACES, ENTRIES, st.booleans()),
)


@given(st.lists(st.tuples(st.integers(1, 3), MESSAGES), max_size=25), st.sampled_from(Liveness))
def test_no_message_about_shared_rows_makes_it_raise_and_all_it_says_can_be_read(told, state):
    net, a, b, c = pair(SMALL, 3)
    a.start(b"mine", b"value")
    net.run()
    a.held(c, state)
    for number, message in told:
        effects = a.hears((b, c, net.add(4))[number - 1], message)
        for effect in effects:
            if hasattr(effect, "message"):
                assert decode_body(join_body([encode_message(effect.message)])) == ([effect.message], 0)
        assert len(effects) <= 10
        assert a.machine.statistics().shared.exchanges <= 1
        assert a.table().received.intervals(a.life) == ((1, 1),)
    net.flying.clear()
    net.wait(3 * SECOND)
    assert a.machine.statistics().shared.exchanges == 0
