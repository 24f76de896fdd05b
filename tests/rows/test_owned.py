"""Laws of a table of owned rows, held against a naive twin that remembers every operation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.ids import Site
from covey.rows.owned import OwnedTable, Position, fingerprint
from covey.rows.owner import Change, change_bytes
from covey.rows.parts import Staging
from tests.rows.owned_words import MANY, OPS, A, B, C, filled, fold, replay, state, table

# --- operations -----------------------------------------------------------------------------------------------------


@given(OPS, st.data())
def test_any_cut_of_the_sequence_with_repetitions_leaves_what_applying_it_once_leaves(ops, data):
    cut, at = table(), 0
    shown: dict[bytes, bytes] = {}
    while at < len(ops):
        first = data.draw(st.integers(0, at), label="from")
        at = data.draw(st.integers(first, len(ops)), label="to") if first < at else at + 1
        changes = cut.apply(A, first + 1, ops[first:at])
        assert changes is not None
        at = cut.position(A).seq
        fold(shown, changes)
        assert shown == cut.rows_of(A) == replay(ops[:at])
        cut.check()
    whole = filled(ops)
    assert (cut.rows_of(A), cut.position(A), cut.digest) == (whole.rows_of(A), whole.position(A), whole.digest)
    assert [cut.after(A, seq, MANY) for seq in range(len(ops) + 1)] == [ops[seq:] for seq in range(len(ops) + 1)]


@given(OPS, OPS, st.integers(2, 5))
def test_over_a_gap_nothing_is_applied_and_nothing_changes(ops, later, ahead):
    made = filled(ops)
    before = state(made)
    assert made.apply(A, len(ops) + ahead, later) is None
    assert state(made) == before
    made.check()


# --- whose rows count -----------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.sampled_from([A, B]), st.integers(1, 3), st.booleans()),
        st.tuples(st.just("drop"), st.sampled_from([A, B]), st.none(), st.none()),
        st.tuples(st.just("void"), st.sampled_from([A, B]), st.integers(0, 6), st.none()),
        st.tuples(st.just("apply"), st.sampled_from([A, B]), OPS, st.none()),
    ),
    max_size=20,
)


@given(STEPS)
def test_the_fold_of_all_changes_is_what_is_shown_whoever_is_shown_hidden_dropped_or_begins_anew(steps):
    made = OwnedTable()
    lives: dict[Site, tuple[int, bool, int, dict[bytes, bytes]]] = {}  # the twin: life, shown, number, rows
    shown: dict[Site, dict[bytes, bytes]] = {A: {}, B: {}}
    for what, owner, value, flag in steps:
        changes: list[Change] | None = []
        incarnation, is_shown, seq, rows = lives.get(owner, (0, False, 0, {}))
        if what == "admit":
            changes = made.admit(owner, value, flag)
            lives[owner] = (value, flag, *((seq, rows) if value == incarnation else (0, {})))
        elif what == "drop":
            changes = made.drop(owner)
            lives.pop(owner, None)
        elif owner not in lives:
            continue
        elif what == "void":
            changes = made.void(owner, value)
            if value >= seq:
                lives[owner] = (incarnation, is_shown, value, {})
        else:
            changes = made.apply(owner, seq + 1, value)
            lives[owner] = (incarnation, is_shown, seq + len(value), replay([*rows.items(), *value]))
        assert changes is not None
        fold(shown[owner], changes)
        made.check()
        for site in (A, B):
            incarnation, is_shown, seq, rows = lives.get(site, (0, False, 0, {}))
            assert shown[site] == (rows if is_shown else {})
            assert made.rows_of(site) == rows
            assert made.position(site) == Position(site, incarnation, seq)
            assert made.is_shown(site) is is_shown
            for key, value in rows.items():
                assert made.kept(site, key) == value
                assert made.get(site, key) == (value if is_shown else None)
        view = {(site, lives[site][0], key, value) for site in shown for key, value in shown[site].items()}
        assert set(made.view()) == view
    assert sorted(made.owners()) == sorted(lives)


@given(STEPS, STEPS)
def test_two_tables_have_one_digest_exactly_if_they_show_the_same_positions(one, other):
    tables = []
    for steps in (one, other):
        made = OwnedTable()
        for what, owner, value, flag in steps:
            if what == "admit":
                made.admit(owner, value, flag)
            elif what == "drop":
                made.drop(owner)
            elif owner in made.owners():
                getattr(made, what)(owner, *((value,) if what == "void" else (made.position(owner).seq + 1, value)))
        tables.append(made)
    first, second = tables
    assert (first.digest == second.digest) == (first.positions() == second.positions())


def test_an_owner_that_never_wrote_counts_for_nothing():
    assert fingerprint(A, 1, 0) == 0
    made = table((A, 1), (B, 2))
    assert (made.digest, made.positions(), made.position(C)) == (0, [], Position(C, 0, 0))


def test_positions_of_other_lives_sites_and_numbers_have_other_fingerprints():
    positions = [(site, life, seq) for site in (A, B) for life in (1, 2) for seq in (1, 2)]
    assert len({fingerprint(*position) for position in positions}) == len(positions)


@given(OPS, OPS)
def test_what_a_hidden_owner_does_is_shown_with_it(before, meanwhile):
    made = filled(before)
    hidden = made.admit(A, 1, False)
    assert hidden == [(key, None) for key in replay(before)]
    assert made.apply(A, len(before) + 1, meanwhile) == []
    assert (list(made.view()), made.positions(), made.digest) == ([], [], 0)
    assert dict(made.admit(A, 1, True)) == replay([*before, *meanwhile])
    assert made.admit(A, 1, True) == []
    assert made.position(A).seq == len(before) + len(meanwhile)


def test_only_the_life_that_counts_is_known():
    made = table()
    assert [made.knows(A, 1), made.knows(A, 2), made.knows(B, 1)] == [True, False, False]
    made.admit(A, 2, False)
    assert [made.knows(A, 1), made.knows(A, 2)] == [False, True]


# --- the log --------------------------------------------------------------------------------------------------------


@given(OPS, st.integers(1, 200))
def test_after_tells_the_next_operations_as_many_as_fit_and_one_at_least(ops, size):
    made = filled(ops)
    for seq in range(len(ops) + 1):
        told = made.after(A, seq, size)
        assert told is not None
        assert told == ops[seq : seq + len(told)]
        assert len(told) == 1 or sum(map(change_bytes, told)) <= size or not told
        rest = ops[seq + len(told) :]
        assert not rest or sum(map(change_bytes, [*told, rest[0]])) > size


@given(st.lists(OPS, max_size=6), st.integers(0, 400), st.integers(0, 6), st.integers(1, 3))
def test_trim_keeps_a_gapless_tail_and_forgets_only_what_all_have_or_what_is_above_the_bound(
    parts, size, version, at_once
):
    made = table()
    ops: list[Change] = []
    versions: list[int] = []
    for part in parts:
        made.apply(A, len(ops) + 1, part)
        ops += part
        versions += [made.version] * len(part)
    while (went := made.trim(A, size, version, at_once)) == at_once:
        made.check()
    assert went < at_once
    made.check()
    kept = [seq for seq in range(len(ops) + 1) if made.after(A, seq, MANY) is not None]
    assert kept == list(range(kept[0], len(ops) + 1))
    assert all(made.after(A, seq, MANY) == ops[seq:] for seq in kept)
    bound = max(size, sum(change_bytes(row) for row in made.rows_of(A).items()))
    tail = sum(map(change_bytes, ops[kept[0] :]))
    assert tail <= bound
    if kept[0]:  # the last one that went: all had it, or with it the log was too long
        assert versions[kept[0] - 1] <= version or tail + change_bytes(ops[kept[0] - 1]) > bound
    assert made.trim(B, 0, 0, MANY) == 0


# --- check ----------------------------------------------------------------------------------------------------------


def longer_log(made: OwnedTable) -> None:
    made._owners[A].seq = 0


def log_bytes(made: OwnedTable) -> None:
    made._owners[A].log_bytes += 1


def row_bytes(made: OwnedTable) -> None:
    made._owners[A].bytes -= 1


def digest(made: OwnedTable) -> None:
    made.digest ^= 1


def staged_of_nobody(made: OwnedTable) -> None:
    made._staging[B] = Staging(1, 1)


def staged_of_another_life(made: OwnedTable) -> None:
    made._staging[A] = Staging(2, 1)


def staged_backwards(made: OwnedTable) -> None:
    staging = made._staging[A] = Staging(1, 2)
    staging.until = 1


BROKEN = [
    (longer_log, "the log holds no more than there was"),
    (log_bytes, "the log's bytes are counted"),
    (row_bytes, "the rows' bytes are counted"),
    (digest, "the digest is the sum of what is shown"),
    (staged_of_nobody, "only rows of lives that count are staged"),
    (staged_of_another_life, "only rows of lives that count are staged"),
    (staged_backwards, "parts are told as of the first one or later"),
]


@pytest.mark.parametrize("damage, law", BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_check_finds_each_broken_invariant(damage, law):
    made = filled([(b"a", b"1"), (b"b", b"2")])
    made.check()
    damage(made)
    with pytest.raises(InvariantError, match=law):
        made.check()


def test_the_length_of_a_table_is_that_of_all_rows():
    assert len(filled([(b"a", b"1"), (b"b", b"2"), (b"a", None)])) == 1
