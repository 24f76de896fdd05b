"""Operations, what they leave behind, and tables of one owner."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from covey.core.ids import Site
from covey.rows.owned import OwnedTable
from covey.rows.owner import Change

A, B, C = (Site(bytes([number]) * 16) for number in (1, 2, 3))
KEYS = st.sampled_from([b"", b"a", b"b", b"c", b"d", b"e"])
OPS = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3)), max_size=20)
MANY = 1 << 20


def replay(ops: list[Change]) -> dict[bytes, bytes]:
    """What operations leave behind, one after the other."""
    rows: dict[bytes, bytes] = {}
    for key, value in ops:
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
    return rows


def fold(rows: dict[bytes, bytes], changes: list[Change]) -> None:
    """Apply what a table said changed; each change is one."""
    assert len({key for key, _ in changes}) == len(changes)
    for key, value in changes:
        assert rows.get(key) != value
        if value is None:
            del rows[key]
        else:
            rows[key] = value


def table(*lives: tuple[Site, int]) -> OwnedTable:
    made = OwnedTable()
    for owner, incarnation in lives or [(A, 1)]:
        made.admit(owner, incarnation, True)
    return made


def filled(ops: list[Change]) -> OwnedTable:
    made = table()
    made.apply(A, 1, ops)
    return made


def state(made: OwnedTable) -> Any:
    return list(made.view()), made.positions(), made.digest, made.version
