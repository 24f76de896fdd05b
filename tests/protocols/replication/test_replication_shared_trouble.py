"""Shared rows in trouble: wrong commands, members that tell what nobody did, tables that differ, lossy nets."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError, Overloaded, UnknownName, ValueTooLarge
from covey.core.vocabulary import Cause, Channel, Liveness, PeerLost, Put, Remove, Start
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.shared import sensible
from covey.protocols.replication.vocabulary import RowsDiffer
from covey.rows.op_log import Op
from covey.rows.shared import bucket_of
from covey.wire.codec import decode_body, encode_message, join_body
from covey.wire.messages import rows as wire
from tests.protocols.replication.replication_net import (
    CONFIG,
    QUIET,
    SECOND,
    SMALL,
    F,
    I,
    K,
    Net,
    Node,
    alike,
    pair,
    site,
)

BIRTH: Op = (K, None, b"", (), ())

# --- wrong commands -------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "no row": (Put(b"none", F, b""), UnknownName, "no row b'none'; nothing was written"),
    "no row to remove": (Remove(b"none"), UnknownName, "no row b'none'; nothing was written"),
    "key": (Start(bytes(1089), b""), ValueTooLarge, "not 1089, 0 and 0; nothing was written"),
    "value": (Start(b"", bytes(65_537)), ValueTooLarge, "not 0, 0 and 65537; nothing"),
    "field": (Put(K, bytes(1025), b""), ValueTooLarge, "not 3, 1025 and 0; nothing"),
    "value of a field": (Put(K, F, bytes(65_537)), ValueTooLarge, "not 3, 5 and 65537; nothing"),
    "key to remove": (Remove(bytes(1089)), ValueTooLarge, "not 1089, 0 and 0; nothing"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_command_is_refused_with_all_that_stands_in_it(what):
    net, a, b = pair()
    a.start(K)
    net.run()
    net.carried.clear()
    change, error, text = WRONG[what]
    before = a.has(), a.table().received.told(), a.machine.statistics()
    with pytest.raises(error, match=text):
        a.do(Start(b"good", b""), Put(K, F, b""), change)
    net.run()
    assert (a.has(), a.table().received.told(), a.machine.statistics()) == before
    assert net.carried == []
    assert alike(a, b)


def test_an_instance_that_is_not_held_cannot_be_written_to():
    (a,) = Net(1).nodes
    for instance in (I, b""):
        with pytest.raises(UnknownName, match=r"does not hold the instance .*nothing was written"):
            a.start(K, instance=instance)


def test_what_a_command_does_itself_counts_for_what_follows_in_it():
    _, a, _ = pair()
    a.do(Start(K, b"1"), Put(K, F, b"2"), Remove(K), Start(K, b"3"))
    assert a.has() == {K: (b"3", {})}
    with pytest.raises(UnknownName):
        a.do(Remove(K), Put(K, F, b""))
    with pytest.raises(UnknownName):
        a.do(Start(b"new", b""), Remove(b"new"), Remove(b"new"))
    assert a.has() == {K: (b"3", {})}


def test_a_row_is_not_started_more_often_than_a_message_can_name():
    net, a, b = pair()
    a.do(*[Start(K, b"%d" % number) for number in range(wire.NAMES_MAX)])
    with pytest.raises(Overloaded, match="was started 256 times; nothing was written: remove it"):
        a.start(K)
    assert a.machine.statistics().shared.written == wire.NAMES_MAX
    a.do(Remove(K), Start(K, b"again"))
    net.run()
    assert alike(a, b)
    assert b.has() == {K: (b"again", {})}


# --- members that tell what nobody did ------------------------------------------------------------------------------


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


# --- tables that differ ---------------------------------------------------------------------------------------------


def two_truths() -> tuple[Net, Node, Node]:
    """Somebody told each of two another operation under one number, so that they can never be alike."""
    net, a, b, c = pair(CONFIG, 3)
    net.cut = {(1, 3), (2, 3), (3, 1), (3, 2)}
    for node in (a, b):
        node.hears(c, wire.SharedOps(I, c.site, 1, 1, ((K, None, node.address.encode(), (), ()),)))
    return net, a, b


def test_tables_that_should_be_alike_and_are_not_again_and_again_are_told_of():
    net, a, b = two_truths()
    net.wait(30 * SECOND)
    assert b.events == [RowsDiffer(I, a.site)] * len(b.events)
    assert a.events + b.events
    assert {len(node.events) for node in (a, b)} <= {0, 1}
    for node in (a, b):
        assert node.machine.statistics().shared.differing == len(node.events)
    a.start(b"more")  # something is written: it counts anew
    net.wait(30 * SECOND)
    assert {len(node.events) for node in (a, b)} <= {0, 1, 2}
    assert sum(len(node.events) for node in (a, b)) > 1


def test_tables_that_differ_once_are_made_alike_without_a_word():
    net, a, b = pair(CONFIG)
    a.start(K)
    a.start(b"more")
    net.run()
    b.table().kill(K, None, (*a.life, 1))
    b.table().changes()
    del b.shared[I][K]
    net.wait(10 * SECOND)
    assert alike(a, b)
    assert a.events == b.events == []
    assert a.machine.statistics().shared.comparisons + b.machine.statistics().shared.comparisons >= 1


def test_what_is_remembered_of_tables_that_differed_is_bounded():
    _, a, *others = pair(msgspec.structs.replace(QUIET, instances_max=3), 6)
    for other in others:
        a.hears(other, wire.SharedHave(I, (), (), b"another!", False))
        a.feed(PeerLost(other.me, Channel.DATA, Cause.RESET))
    assert len(a.machine.shared._alike) == 3
    a.release()
    assert a.machine.shared._alike == {}


# --- whatever happens -----------------------------------------------------------------------------------------------

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


LOSSY = {
    "as it is": CONFIG,
    "small messages": msgspec.structs.replace(CONFIG, bytes_aim=120, pull_ops_max=12),
    "short logs": msgspec.structs.replace(CONFIG, bytes_aim=200, shared_log_bytes_max=300),
    "few lives": msgspec.structs.replace(CONFIG, context_keep_us=20 * SECOND, direct_max=1),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("config", LOSSY)
def test_whatever_a_lossy_net_does_to_shared_rows_all_show_the_same_once_it_is_calm(config, seed):
    net, rng = Net(4, LOSSY[config], seed), Random(f"writers of {config} {seed}")
    net.loss, net.duplicate, net.reorder = 0.2, 0.2, True
    for step in range(150):
        node = rng.choice(net.nodes)
        key = b"%d" % rng.randrange(5)
        if I not in node.machine.tables:
            node.hold()
        elif rng.random() < 0.04:
            node.release()
        elif rng.random() < 0.03:
            node.begin(node.me.incarnation + 1)
            net.mesh()
        elif key not in node.has() or rng.random() < 0.2:
            node.start(key, b"%d" % step)
        elif rng.random() < 0.3:
            node.remove(key)
        else:
            node.put(key, F, b"%d" % step)
        net.wait(rng.randrange(SECOND // 4))
    net.loss = net.duplicate = 0.0
    net.reorder = False
    for node in net.nodes:
        if I not in node.machine.tables:
            node.hold()
    net.wait(60 * SECOND)
    assert alike(*net.nodes)
    assert [node.machine.statistics().shared.exchanges for node in net.nodes] == [0] * 4
    assert [node.events for node in net.nodes] == [[]] * 4


# --- check ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["order", "last", "numbers", "retired", "not held", "deadline", "witness"])
def test_check_finds_each_broken_invariant_of_shared_rows(what):
    _, a, b = pair(ReplicationConfig(instances_max=3, retired_max=1))
    a.start(K)
    shared = a.machine.shared
    if what == "order":
        shared._unsaid[I] = [(1, BIRTH), (3, BIRTH)]
    elif what == "last":
        shared._minted[I] = 9
    elif what == "numbers":
        shared._minted |= dict.fromkeys((b"1", b"2", b"3"), 1)
    elif what == "retired":
        shared._retired_us |= {(I, (a.site, number)): 1 for number in (1, 2)}
    else:
        shared.exchanges.compare(I, b.site, 0)
        a.machine.check()
        if what == "not held":
            del shared.tables[I]
        elif what == "deadline":
            a.machine._timers.cancel(("exchange", I))
        else:
            shared.tables[I].witness = None
    with pytest.raises(InvariantError):
        a.machine.check()
