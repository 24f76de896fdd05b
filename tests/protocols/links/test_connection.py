"""The queue of one connection: runs of messages go in, whole frames come out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.vocabulary import Channel
from covey.protocols.links.connection import Connection
from covey.wire import codec
from covey.wire.framing import Splitter
from covey.wire.limits import FRAME_AIM_BYTES
from tests.protocols.links.links_harness import note

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove


def queued(runs) -> tuple[Connection, list[str]]:
    """A connection with these runs of messages, each message given by its length; and the messages."""
    connection = Connection(1, "peer:1", Channel.CONTROL, None, False, 0)
    said: list[str] = []
    for run in runs:
        texts = [f"{len(said) + index}{'x' * size}" for index, size in enumerate(run)]
        connection.push(codec.encode_messages([note(text) for text in texts]), len(run))
        connection.check()
        said += texts
    return connection, said


def read(data: bytes) -> list[list[bytes]]:
    """The notes of each frame."""
    return [[bytes(m.value) for m in codec.decode_body(body)[0]] for body in Splitter().feed(data)]


def texts_of(said: list[str]) -> list[bytes]:
    return [bytes(note(text).value) for text in said]


RUNS = st.lists(st.lists(st.integers(0, 40_000), min_size=1, max_size=4), min_size=1, max_size=8)


@given(RUNS, st.integers(1, 300_000))
def test_all_messages_leave_once_and_in_order_however_much_is_taken_at_a_time(runs, bytes_max):
    connection, said = queued(runs)
    sizes = {text: len(codec.encode_message(note(text))) for text in said}
    left: list[bytes] = []
    while connection.queue:
        before = connection.queued_bytes
        data, frames = connection.take(bytes_max)
        connection.check()
        bodies = read(data)
        assert frames == len(bodies) and all(bodies)
        assert before - connection.queued_bytes >= min(bytes_max, before), "it takes what it may"
        left += [text for body in bodies for text in body]
    assert left == texts_of(said)
    assert sum(sizes.values()) >= 0 and connection.queued_bytes == connection.queued_messages == 0


@given(RUNS)
def test_no_frame_grows_beyond_the_aim_unless_one_run_alone_does(runs):
    connection, _ = queued(runs)
    longest = max(len(encoded) for encoded, _ in connection.queue)
    data, _ = connection.take(10**9)
    assert connection.queue == []
    bodies = Splitter().feed(data)
    for body in bodies:
        assert len(body) <= max(FRAME_AIM_BYTES, longest) + 5
    for body, following in pairwise(bodies):
        assert len(body) + len(following) > FRAME_AIM_BYTES, "or the two would have been one"


def test_runs_that_make_the_aim_exactly_share_a_frame():
    half = FRAME_AIM_BYTES // 2
    padding = len(codec.encode_message(note("0" + "x" * 1000))) - 1000
    connection, said = queued([[half - padding], [half - padding], [1]])
    assert len(connection.queue[0][0]) == len(connection.queue[1][0]) == half
    data, frames = connection.take(10**9)
    assert frames == 2 and read(data) == [texts_of(said)[:2], texts_of(said)[2:]]


def test_a_few_small_messages_share_one_frame():
    connection, said = queued([[1], [2, 3], [4]])
    data, frames = connection.take(1)
    assert frames == 1 and read(data) == [texts_of(said)]


def test_a_message_larger_than_the_aim_has_a_frame_to_itself():
    connection, said = queued([[10], [FRAME_AIM_BYTES], [10]])
    data, frames = connection.take(10**9)
    assert frames == 3 and read(data) == [[text] for text in texts_of(said)]


def test_a_miscounted_queue_is_an_invariant_error():
    connection, _ = queued([[1]])
    connection.queued_messages += 1
    with pytest.raises(InvariantError, match="queued_messages"):
        connection.check()
    connection.queued_messages -= 1
    connection.queued_bytes -= 1
    with pytest.raises(InvariantError, match="queued_bytes"):
        connection.check()
