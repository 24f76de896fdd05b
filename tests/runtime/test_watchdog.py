"""The watchdog: a process that outlives its deadline is killed whatever it does, and nobody else ever is."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from covey.protocols.claims.config import ClaimsConfig
from covey.runtime import watchdog as module
from covey.runtime.environment import boottime_us
from covey.runtime.watchdog import MEANINGFUL_US, STEP_MS, Watchdog, WatchdogGone

pytestmark = [
    pytest.mark.serial,
    pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="processes are waited for by their pidfd"),
]

CHILD = Path(__file__).with_name("watched_child.py")
BUSY_US = 1_000_000  # a machine that runs other tests beside this one
WITHOUT_PIDFD = (
    sys.executable, "-c",
    f"import os, runpy, sys; del os.pidfd_open; sys.argv = ['', sys.argv[1]]; "
    f"runpy.run_path({module.__file__!r}, run_name='__main__')",
)  # fmt: skip


class Watched:
    """A child of ours that is watched."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.process = process
        self.lines = process.stdout
        said = self.hear()
        self.deadline_us: int = said["deadline_us"]
        self.watchdog = os.pidfd_open(said["watchdog"])

    def hear(self) -> dict[str, Any]:
        """The next line; an empty one where it has ended."""
        line = self.lines.readline()
        return json.loads(line) if line else {}

    def late_us(self) -> int:
        """Wait for its end by a kill: how long after its deadline that was."""
        assert self.hear() == {}  # nobody else has the other end of this pipe
        late_us = boottime_us() - self.deadline_us
        assert self.process.wait(10) == -signal.SIGKILL
        return late_us

    def is_unwatched(self) -> bool:
        """Wait for the end of the watchdog."""
        poll = select.poll()
        poll.register(self.watchdog, select.POLLIN)
        return bool(poll.poll(10_000))


@contextlib.contextmanager
def watched(what: str, *command: str) -> Iterator[Watched]:
    arguments = [sys.executable, str(CHILD), what, *command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        child = None
        try:
            child = Watched(process)
            yield child
        finally:
            process.kill()
            if child is not None:
                os.close(child.watchdog)


@pytest.mark.parametrize("what", ["is late", "was told earlier"])
def test_a_process_whose_loop_is_blocked_is_killed_soon_after_its_deadline(what):
    with watched(what) as child:
        assert 0 <= child.late_us() < BUSY_US
        assert child.is_unwatched()


def test_so_is_one_that_is_stopped():
    with watched("is late") as child:
        child.process.send_signal(signal.SIGSTOP)
        assert 0 <= child.late_us() < BUSY_US


def test_on_a_machine_with_a_processor_to_spare_it_is_as_prompt_as_the_margin_of_claims_wants():
    late_us = []
    for _ in range(5):
        with watched("is late") as child:
            late_us.append(child.late_us())
    assert min(late_us) < ClaimsConfig().watchdog_late_us + ClaimsConfig().kill_us


def test_without_a_pidfd_a_parent_is_killed_too():
    with watched("is late", *WITHOUT_PIDFD) as child:
        assert 0 <= child.late_us() < BUSY_US
        assert child.is_unwatched()


def test_whoever_takes_its_deadline_back_lives_and_leaves_no_process():
    with watched("was let go") as child:
        assert child.hear() == {"alive": 1}
        assert child.process.wait(10) == 0
        assert child.is_unwatched()


@pytest.mark.parametrize("command", [(), WITHOUT_PIDFD], ids=["pidfd", "no pidfd"])
def test_a_watchdog_ends_with_its_parent_and_not_by_signals_that_are_meant_for_that(command):
    with watched("lives on", *command) as child:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.pidfd_send_signal(child.watchdog, number)
        poll = select.poll()
        poll.register(child.watchdog, select.POLLIN)
        assert not poll.poll(5 * STEP_MS)
        child.process.kill()
        assert child.is_unwatched()


def test_a_watchdog_is_started_and_closed_once_and_leaves_nothing():
    watchdog = Watchdog()
    watchdog.close()
    assert watchdog.pid is None
    watchdog.start()
    pid = watchdog.pid
    assert pid is not None
    watchdog.start()
    assert watchdog.pid == pid
    watchdog.arm(boottime_us() + 60_000_000)
    watchdog.close()
    watchdog.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(WatchdogGone, match="does not run"):
        watchdog.arm(None)


def test_a_deadline_is_written_when_it_is_earlier_or_much_later(monkeypatch):
    watchdog = Watchdog()
    watchdog.start()
    process = watchdog._process
    assert process is not None
    assert process.stdin is not None
    written: list[bytes] = []
    monkeypatch.setattr(process.stdin, "write", written.append)
    start_us = boottime_us() + 60_000_000
    for deadline_us in (None, start_us, start_us, start_us + MEANINGFUL_US - 1, start_us - 1, start_us + MEANINGFUL_US):
        watchdog.arm(deadline_us)
    watchdog.arm(None)
    watchdog.arm(None)
    said = [start_us, start_us - 1, start_us + MEANINGFUL_US]
    assert written == [*(b"%d\n" % at_us for at_us in said), b"none\n"]
    monkeypatch.undo()
    watchdog.close()


def test_who_is_not_watched_any_more_is_told_so():
    watchdog = Watchdog()
    watchdog.start()
    assert watchdog.pid is not None
    os.kill(watchdog.pid, signal.SIGKILL)
    ended = os.pidfd_open(watchdog.pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    assert poll.poll(10_000)
    os.close(ended)
    with pytest.raises(WatchdogGone, match="stop what needs a lease"):
        watchdog.arm(boottime_us() + 60_000_000)
    watchdog.close()
    with pytest.raises(WatchdogGone, match="no watchdog can be started"):
        Watchdog(("no such program",)).start()
