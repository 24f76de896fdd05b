"""A whole owner told in parts while it goes on writing: the client ends with exactly its rows, or shows nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.rows.owner import Change
from tests.rows.owned_words import MANY, OPS, A, filled, fold, replay, state, table

# --- whole owners, in parts -----------------------------------------------------------------------------------------


@given(OPS, st.lists(OPS, max_size=8), OPS, st.integers(1, 120))
def test_a_client_that_is_told_parts_while_the_server_changes_ends_with_exactly_its_rows(start, meanwhile, had, size):
    server, client = filled(start), table()
    client.apply(A, 1, had)  # whatever it had; it is behind, so of no matter
    shown = client.rows_of(A)
    ops, doing = list(start), iter(meanwhile)
    telling = server.tell(A)
    while True:
        cursor = telling.cursor
        rows, last = telling.part(size)
        assert rows or last
        staging = client.stage(A, server.position(A).seq, cursor, rows)
        assert staging is not None
        assert client.rows_of(A) == replay(had)  # nothing is shown before the end
        assert telling.cursor == (rows[-1][0] if rows else cursor)
        if last:
            break
        step: list[Change] = next(doing, [])
        server.apply(A, len(ops) + 1, step)
        ops += step
    tail = server.after(A, staging.base, MANY)
    assert tail is not None
    changes = client.finish(A, tail)
    client.check()
    if len(ops) > len(had):
        fold(shown, changes)
        assert shown == client.rows_of(A) == server.rows_of(A)
        assert client.position(A) == server.position(A)
        assert client.digest == server.digest
        assert client.after(A, len(ops), MANY) == []
        assert client.after(A, len(ops) - 1, MANY) is None
    else:
        assert (changes, client.rows_of(A)) == ([], shown)


ROWS = [(bytes([key]), b"x") for key in range(9)]


def test_a_part_that_comes_twice_late_or_out_of_order_is_not_staged():
    """Found by reading: a first part told twice, then the last one, showed the rows without those between."""
    made = table()
    first, second, last = ROWS[:3], ROWS[3:6], ROWS[6:]
    assert made.stage(A, 9, first[-1][0], second) is None  # nothing began
    assert made.stage(A, 9, None, first) is not None
    assert made.stage(A, 9, first[-1][0], second) is not None
    assert made.stage(A, 9, None, first) is not None  # told twice: it begins anew
    assert made.stage(A, 9, second[-1][0], last) is None
    assert made.stage(A, 8, first[-1][0], second) is None  # told before the first part was
    assert made.stage(A, 9, first[-1][0], second) is not None
    assert made.stage(A, 9, second[-1][0], last) is not None
    assert made.finish(A, []) == ROWS
    made.check()


def test_parts_are_of_no_single_moment_before_the_operations_up_to_the_latest_are_there():
    made = table()
    made.stage(A, 9, None, ROWS[:3])
    staging = made.stage(A, 11, ROWS[2][0], ROWS[3:])
    assert staging is not None
    assert (staging.base, staging.until) == (9, 11)
    assert made.finish(A, [(b"y", b"")]) == []
    assert made.position(A).seq == 0


def test_rows_of_a_life_that_is_over_are_told_no_more():
    made = filled([*ROWS])
    telling = made.tell(A)
    telling.part(1)
    assert made.tells(telling, A)
    made.apply(A, len(ROWS) + 1, [(ROWS[1][0], None)])  # an operation is no reason
    assert made.tells(telling, A)
    assert telling.part(1) == ([ROWS[2]], False)
    made.admit(A, 2, True)
    assert not made.tells(telling, A)
    made.drop(A)
    assert not made.tells(telling, A)


@pytest.mark.parametrize("ends", [lambda made: made.admit(A, 2, True), lambda made: made.unstage(A)])
def test_what_was_staged_of_a_life_that_is_over_or_given_up_is_of_no_use(ends):
    made = table()
    made.stage(A, 9, None, ROWS[:3])
    ends(made)
    assert made.stage(A, 9, ROWS[2][0], ROWS[3:]) is None
    assert list(made.view()) == []
    made.check()


def test_a_staging_that_is_overtaken_by_operations_changes_nothing():
    made = table()
    made.stage(A, 2, None, ROWS)
    made.apply(A, 1, [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
    before = state(made)
    assert made.finish(A, []) == []
    assert state(made) == before
