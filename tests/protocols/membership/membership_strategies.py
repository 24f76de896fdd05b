"""Operations as they may be in one run: no two with one stamp."""

from __future__ import annotations

from hypothesis import strategies as st

from covey.core.ids import Site
from covey.protocols.membership.record import MEM, Key, Record, Stamp, key_of, stamp
from covey.wire.messages.membership import Op

SITES = tuple(Site(bytes([number]) * 16) for number in range(1, 5))


def _value(kind: int) -> st.SearchStrategy[int | bytes]:
    return st.sampled_from((0, 1, 2, 3)) if kind == MEM else st.binary(max_size=3)


any_op = st.sampled_from((0, 1, 2)).flatmap(
    lambda kind: st.builds(
        Op,
        st.sampled_from(SITES),
        st.just(kind),
        st.sampled_from(SITES),
        st.integers(0, 5),
        st.integers(1, 2),
        _value(kind),
        st.integers(0, 3),
    )
)


def _identity(op: Op) -> tuple[Stamp, Key]:
    return stamp(op), key_of(op)


op_sets = st.lists(any_op, max_size=12, unique_by=_identity)


def merged(*ops: Op) -> Record:
    """A record that took them in this order, each by an import of its own."""
    record = Record()
    for imported, op in enumerate(ops, 1):
        record.merge(op, imported, 0)
    return record


def content(record: Record) -> set[Op]:
    return {entry.op for entry in record.entries()}
