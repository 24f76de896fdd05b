"""What hub rows say, and that nonsense is nobody and nothing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Site
from covey.core.rows import SharedRow
from covey.protocols.registry import rows
from covey.protocols.registry.placement import Participant
from covey.wire.keys import encode_key

A, B = Site(b"a" * 16), Site(b"b" * 16)
ID = encode_key("device-7")
SPEC = rows.Spec("app:poll", b"\x92\x91\x01\x80", rows.Restart.TRANSIENT, 5_000_000, 0)
BIRTH = rows.Birth(SPEC, b"\x80", 3, (A, 3))
DOT = (A, 1, 1)
ME = Participant(A, 3, "a", 2, "eu", False, ("app:poll",), b"config", "1.2")


def row(value: bytes, **fields: list[bytes]) -> SharedRow:
    """A shared row with one birth and these fields, each with values of lives in order."""
    told = tuple((name.encode(), tuple(((A, 1, at), v) for at, v in enumerate(said))) for name, said in fields.items())
    return SharedRow((((A, 1, 1), value),), told)


def test_a_child_is_read_as_it_was_written():
    epochs = [rows.encode(9), rows.encode(4), b"\xc1", rows.encode(-3)]
    told = row(rows.encode(BIRTH), m=[b"1", b"2"], a=[A, B], e=epochs)
    assert rows.read_child(ID, told) == rows.Child(ID, SPEC, b"2", B, 9, (A, 3), (DOT,), (3,), True)
    assert rows.read_child(ID, row(rows.encode(BIRTH))) == rows.Child(ID, SPEC, b"\x80", None, 3, (A, 3), (DOT,), (3,))


def test_of_several_births_the_last_counts_and_the_highest_epoch():
    """Both sides of a split started it: what it is comes from one of them, and its token lies above both."""
    other = rows.Birth(SPEC, b"\x81\xa1x\x01", 2, None)
    births = (((A, 1, 1), rows.encode(BIRTH)), ((A, 1, 2), b"\xc1"), ((B, 1, 3), rows.encode(other)))
    child = rows.read_child(ID, SharedRow(births, ()))
    assert child == rows.Child(ID, SPEC, b"\x81\xa1x\x01", None, 3, None, (DOT, (B, 1, 3)), (3, 2))
    assert child is not None
    assert child.author == (B, 1)


@pytest.mark.parametrize("value", [b"", b"\xc1", rows.encode(7), msgspec.msgpack.encode(["app:poll", 1, 0, 0, 0])])
def test_what_is_no_spec_is_no_child(value):
    assert rows.read_child(ID, row(value)) is None


def test_what_is_no_id_is_no_child_and_what_is_no_site_assigns_nobody():
    assert rows.read_child(b"\xc1", row(rows.encode(BIRTH))) is None
    child = rows.read_child(ID, row(rows.encode(BIRTH), a=[b"short"]))
    assert child is not None
    assert child.assigned is None


def test_nobody_takes_part_for_another():
    said = rows.encode(ME)
    assert rows.read_participant(said, A, 3) == ME
    assert rows.read_participant(said, B, 3) is None
    assert rows.read_participant(said, A, 4) is None


def test_what_runs_is_read_as_it_was_written():
    running = rows.Running(9, 2, rows.State.RUNNING)
    key = rows.running_key(ID)
    assert rows.read_running(key, rows.encode(running)) == running
    assert rows.read_running(rows.PARTICIPANT, rows.encode(running)) is None
    assert rows.read_running(b"r\xc1", rows.encode(running)) is None
    assert rows.read_running(key, b"\xc1") is None


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_bytes_make_it_raise(key, value):
    rows.read_child(key, row(value, e=[key], a=[key]))
    rows.read_participant(value, A, 1)
    rows.read_running(key, value)
    rows.read_running(rows.running_key(ID), value)
