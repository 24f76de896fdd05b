"""Frames on a byte stream: whatever the cuts, the same bodies, and never more held than one frame."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import FrameError
from covey.wire.framing import HEADER_BYTES, Splitter, frame
from covey.wire.limits import FRAME_BYTES_MAX

BODIES = st.lists(st.binary(min_size=1, max_size=60), max_size=8)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def fed(splitter: Splitter, pieces: list[bytes]) -> list[bytes]:
    return [body for piece in pieces for body in splitter.feed(piece)]


@given(BODIES, st.lists(st.integers(0, 500), max_size=12))
def test_any_cutting_of_a_stream_gives_the_same_bodies(bodies, places):
    stream = b"".join(map(frame, bodies))
    splitter = Splitter(64)
    assert fed(splitter, cut(stream, places)) == bodies
    assert splitter.held == 0


@given(BODIES, st.binary(min_size=1, max_size=40))
def test_an_unfinished_frame_is_held_until_its_rest_comes(bodies, last):
    splitter = Splitter(64)
    whole = frame(last)
    assert splitter.feed(b"".join(map(frame, bodies)) + whole[:-1]) == bodies
    assert splitter.held == len(whole) - 1
    assert splitter.feed(whole[-1:] + whole[:2]) == [last]
    assert splitter.held == 2


@given(BODIES)
def test_fed_byte_by_byte_it_never_holds_more_than_the_limit_and_a_header(bodies):
    splitter = Splitter(60)
    held_max = 0
    got = []
    for byte in b"".join(map(frame, bodies)):
        got += splitter.feed(bytes((byte,)))
        held_max = max(held_max, splitter.held)
    assert got == bodies
    assert held_max <= 60 + HEADER_BYTES


@pytest.mark.parametrize("limit", [1, 64, FRAME_BYTES_MAX])
@pytest.mark.parametrize("length_of", [lambda _: 0, lambda limit: limit + 1, lambda _: 2**32 - 1])
def test_an_empty_or_too_long_frame_is_refused_from_its_header_alone(limit, length_of):
    length = length_of(limit)
    header = length.to_bytes(4, "big")
    expected = f"a frame of {length} bytes was announced, 1 to {limit} are allowed; the connection is dropped"
    splitter = Splitter(limit)
    with pytest.raises(FrameError) as caught:
        splitter.feed(header)
    assert str(caught.value) == expected
    slowly = Splitter(limit)
    assert fed(slowly, [bytes((byte,)) for byte in header[:3]]) == []
    with pytest.raises(FrameError):
        slowly.feed(header[3:])


def test_a_too_long_frame_behind_good_ones_is_refused_too():
    with pytest.raises(FrameError):
        Splitter(8).feed(frame(b"good") + frame(b"too long a body"))


def test_a_frame_at_the_limit_is_allowed():
    assert Splitter(8).feed(frame(b"12345678")) == [b"12345678"]
    assert Splitter(1).feed(frame(b"1") * 3) == [b"1"] * 3


@pytest.mark.parametrize("piece_bytes", [1, 1 << 16])
def test_the_largest_frame_arrives_in_pieces_of_any_size(piece_bytes):
    body = bytes(range(256)) * (FRAME_BYTES_MAX // 256)
    stream = frame(body) + frame(b"next")
    splitter = Splitter()
    got: list[bytes] = []
    held_max = 0
    for at in range(0, len(stream), piece_bytes):
        got += splitter.feed(stream[at : at + piece_bytes])
        held_max = max(held_max, splitter.held)
    assert len(got) == 2
    assert got == [body, b"next"]
    assert held_max < FRAME_BYTES_MAX + HEADER_BYTES


def test_a_limit_that_rises_between_two_reads_counts_from_then_on():
    splitter = Splitter(8)
    long = frame(b"a longer body")
    assert splitter.feed(frame(b"hello")) == [b"hello"]
    splitter.limit = 64
    assert splitter.feed(long) == [b"a longer body"]


def test_the_standard_limit_is_the_hard_frame_limit():
    assert Splitter().limit == FRAME_BYTES_MAX


def test_nothing_gives_nothing():
    splitter = Splitter()
    assert splitter.feed(b"") == []
    assert splitter.held == 0


def test_a_frame_is_its_length_and_its_body():
    assert frame(b"abc") == b"\x00\x00\x00\x03abc"
