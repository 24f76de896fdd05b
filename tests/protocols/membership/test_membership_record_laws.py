"""The laws of the record, over random sets of operations with unique stamps."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.protocols.membership.record import (
    HOST,
    IS_EPHEMERAL,
    IS_MEMBER,
    MEM,
    META,
    Record,
    decode_op,
    encode_key,
    encode_op,
    hash_op,
    key_of,
    stamp,
    well_formed,
)
from covey.wire.messages.membership import Op
from tests.protocols.membership.membership_net import mem, op, site
from tests.protocols.membership.membership_strategies import SITES, any_op, content, merged, op_sets


@given(op_sets)
def test_merging_twice_is_merging_once(ops):
    record = merged(*ops)
    before = content(record), record.digest
    assert not any(record.merge(op, 99, 0) for op in ops)
    assert (content(record), record.digest) == before


@given(op_sets, st.randoms(use_true_random=False))
def test_the_order_of_merging_does_not_matter(ops, random):
    shuffled = list(ops)
    random.shuffle(shuffled)
    one, other = merged(*ops), merged(*shuffled)
    assert content(one) == content(other)
    assert (one.digest, one.kicked_digest, one.members()) == (other.digest, other.kicked_digest, other.members())


@given(op_sets, st.integers(0, 12), st.integers(0, 12))
def test_the_grouping_of_merging_does_not_matter(ops, first, second):
    left, middle, right = ops[:first], ops[first : first + second], ops[first + second :]
    inner = merged(*middle, *right)
    outer = merged(*merged_ops(left, middle), *right)
    assert content(merged(*left, *content(inner))) == content(outer)


def merged_ops(*parts: list[Op]) -> list[Op]:
    return sorted(content(merged(*(op for part in parts for op in part))), key=stamp)


@given(op_sets)
def test_the_record_is_the_greatest_operation_of_each_key(ops):
    greatest: dict[tuple[int, bytes], Op] = {}
    for each in ops:
        known = greatest.get(key_of(each))
        if known is None or stamp(each) > stamp(known):
            greatest[key_of(each)] = each
    assert content(merged(*ops)) == set(greatest.values())


@given(op_sets, st.lists(st.tuples(st.sampled_from((MEM, HOST, META)), st.sampled_from(SITES)), max_size=6))
def test_the_digest_is_what_a_recomputation_gives_also_after_forgetting(ops, forgotten):
    record = merged(*ops)
    for key in forgotten:
        there = record.entry(*key) is not None
        assert record.forget(key) is there
    record.check()
    digest = kicked = 0
    for entry in record.entries():
        of_a_member = record.is_member(entry.op.target)
        if (entry.op.kind == MEM and entry.op.value != IS_EPHEMERAL) or (entry.op.kind != MEM and of_a_member):
            digest ^= hash_op(entry.op)
        if entry.op.kind == MEM and entry.op.value == 0:
            kicked ^= hash_op(entry.op)
    assert record.digest == digest.to_bytes(8, "big")
    assert record.kicked_digest == kicked.to_bytes(8, "big")


@given(op_sets, any_op)
def test_address_and_metadata_of_who_does_not_belong_do_not_count(ops, more):
    record = merged(*ops)
    before = record.digest
    if more.kind != MEM and not record.is_member(more.target):
        record.merge(msgspec.structs.replace(more, clock=9), 99, 0)
        assert record.digest == before


@given(op_sets, st.integers(0, 14))
def test_since_is_inclusive_and_goes_by_the_import_not_by_the_clock(ops, imported):
    record = merged(*ops)
    entries = record.since(imported)
    assert [entry.imported for entry in entries] == sorted(entry.imported for entry in entries)
    assert {entry.op for entry in entries} == {e.op for e in record.entries() if e.imported >= imported}


@given(any_op)
def test_an_operation_survives_the_disk(some):
    assert decode_op(encode_op(some)) == some
    assert encode_key(key_of(some)) == bytes([some.kind]) + some.target


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x97\x00", msgspec.msgpack.encode([b"short", 0, b"", 1, 1, 1, 1])])
def test_what_is_no_operation_does_not_decode(damage):
    with pytest.raises(ValueError):
        decode_op(damage)


@pytest.mark.parametrize("sites", [2, 3])
def test_m05_operations_with_one_clock_end_with_the_greatest_site_in_every_order_of_delivery(sites):
    ops = [mem(7, 7, value=number % 2, origin=number) for number in range(1, sites + 1)]
    for order in permutations(ops):
        assert content(merged(*order)) == {ops[-1]}


def test_a_later_life_of_a_site_beats_an_earlier_one_at_the_same_clock():
    earlier, later = mem(7, 7, 1, origin=9, magic=5), mem(7, 7, 0, origin=1, magic=6)
    assert content(merged(earlier, later)) == content(merged(later, earlier)) == {later}


def test_the_default_at_clock_0_beats_nothing():
    kicked = mem(7, 1, 0)
    assert content(merged(kicked, mem(7, 0, 1, magic=10**12))) == {kicked}


@pytest.mark.parametrize(
    "kind, value, fits",
    [(MEM, 1, True), (MEM, b"1", False), (HOST, b"a:1", True), (HOST, 1, False), (META, b"", True), (META, 0, False)],
)
def test_a_value_fits_its_kind_or_the_operation_is_malformed(kind, value, fits):
    assert well_formed(op(kind, 7, 1, value)) is fits


def test_what_a_record_says_of_a_site():
    record = merged(
        mem(1, 1, IS_MEMBER),
        mem(2, 1, IS_MEMBER | IS_EPHEMERAL),
        mem(3, 1, 0),
        op(HOST, 1, 2, b"n1:1"),
        op(META, 3, 2, b"\x80"),
    )
    assert record.members() == [site(1), site(2)]
    assert record.sites() == [site(1), site(2), site(3)]
    assert [record.is_ephemeral(site(number)) for number in (1, 2, 3, 4)] == [False, True, False, False]
    assert [record.knows(site(number)) for number in (3, 4)] == [True, False]
    assert [record.has_details(site(number)) for number in (1, 2, 3)] == [True, False, True]
    assert (record.address(site(1)), record.address(site(2))) == ("n1:1", "")
    assert (record.meta(site(3)), record.meta(site(1))) == (b"\x80", b"")
    assert len(record) == 5
    assert record.entry(MEM, site(4)) is None
    assert not record.forget((MEM, site(4)))


def test_an_ephemeral_site_that_is_out_counts_in_no_digest():
    assert merged(mem(2, 1, IS_EPHEMERAL)).digest == Record().digest


def test_a_digest_that_is_wrong_is_noticed():
    record = merged(mem(1, 1, 1))
    record._digest ^= 1
    with pytest.raises(InvariantError, match="the digests are those of the entries"):
        record.check()
