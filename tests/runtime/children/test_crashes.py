"""A crash is shown once in the log and once in the fact, with nothing of ours in its way."""

from __future__ import annotations

import logging

import pytest

from covey.core.children import Ending
from covey.runtime.children import Context
from covey.runtime.children.crashes import TRACE_MAX, trace_of, words
from covey.runtime.children.letters import in_a_line
from covey.wire.keys import encode_key
from tests.runtime.children.fake_hub import FakeHub, on_hub
from tests.runtime.children.sessions import STARTS


def test_a_crash_shows_its_traceback_once_in_the_log_and_in_the_fact(caplog):
    async def test(hub: FakeHub) -> None:
        hub.open(STARTS)
        copy = hub.start("raises", after=True, id="user-42")
        exited = await hub.wait_exit(copy)
        assert (exited.ending, exited.error) == (Ending.RAISED, "ValueError: x")
        assert exited.trace.startswith("Traceback (most recent call last):\n")
        assert exited.trace.endswith('    raise ValueError("x")\nValueError: x\n')
        assert exited.trace.count("File") == 1
        assert hub.kinds(copy) == ["ChildStarted", "ChildExited"]

    with caplog.at_level(logging.DEBUG, "covey"):
        on_hub(test)
    (record,) = caplog.records
    assert record.name == "covey.runtime.children"
    assert "event=child_crashed hub='sessions' id='user-42' start=raises" in record.getMessage()
    assert caplog.text.count("Traceback") == 1


class Unprintable(Exception):
    """Has no words."""

    def __str__(self) -> str:
        raise RuntimeError


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_a_trace_is_bounded_and_valid_text_whatever_was_raised():
    def deeper(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 10_000 + "the end")
        deeper(depth - 1)

    with pytest.raises(ValueError) as caught:
        deeper(500)
    trace = trace_of(caught.value)
    assert len(trace) == TRACE_MAX
    assert trace.startswith("…") and trace.endswith("the end\n")

    assert trace_of(raised(ValueError("\ud800"))).endswith("ValueError: ?\n")
    assert "Unprintable" in trace_of(raised(Unprintable()))
    assert in_a_line(Unprintable()) == "Unprintable"
    assert in_a_line(ValueError("one\ntwo\ud800")) == "ValueError: one"
    assert in_a_line(ValueError("x" * 5000)) == "ValueError: " + "x" * 988


def test_a_trace_shows_causes_and_groups_but_no_frame_of_ours():
    class Ours:
        def receives(self) -> None:
            raise OSError("inside")

    async def test(hub: FakeHub) -> None:
        async def reads(context: Context) -> None:
            context.mailbox._outside = Ours()  # type: ignore[assignment]
            try:
                await context.mailbox.get()
            except OSError as error:
                raise ExceptionGroup("both", [ValueError("one"), error]) from error

        hub.open({"reads": reads})
        exited = await hub.wait_exit(hub.start("reads"))
        assert exited.error == "ExceptionGroup: both (2 sub-exceptions)"
        assert "OSError: inside" in exited.trace and "ValueError: one" in exited.trace
        assert "direct cause" in exited.trace
        assert "letters.py" not in exited.trace and "test_crashes.py" in exited.trace

    on_hub(test)


def test_keys_are_shown_as_people_read_them():
    assert words(encode_key(("user", 42))) == "('user', 42)"
    assert words(b"\xc1") == repr(b"\xc1")
