"""A process beside this one that kills it where a child outlives its lease: the event loop cannot be trusted to.

A loop that is blocked, a process that is stopped or a computer that was suspended does not look at a lease. So a second
process holds a pipe from this one and is told *kill me at T unless told otherwise*, T being the end of the earliest
lease and the time to stop. It kills by a pidfd where there is one, so it can hit nobody else; and it ends when the pipe
is closed, or with us. Both read one clock, which goes on in suspend; `poll` does not, hence short steps while armed.

This file is run by its path, without covey: it imports nothing but the standard library.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

STEP_MS = 20  # while armed: how late it may look, above all after a suspend. Costs a few thousandths of a processor
IDLE_MS = 1_000  # without a pidfd: how long it may outlive a parent whose pipe somebody inherited
MEANINGFUL_US = 20_000  # a deadline that moves less is not worth a write: we may be killed that much too early
CLOSE_S_MAX = 1.0  # guess: it only has to read an end of file

_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # meant for the parent alone, who takes its time to stop
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class WatchdogGone(Exception):
    """The watchdog's process has ended or does not read: nothing that needs a lease may run here any more."""


class Watchdog:
    """The side of whoever is watched. Not for other threads than one.

    Law: from `arm` on, this process is dead soon after `deadline_us` on the clock of `boottime_us`, whatever it does,
    unless it armed anew before; at most `MEANINGFUL_US` earlier.
    """

    def __init__(self, command: tuple[str, ...] = (sys.executable, "-I", "-S", __file__)) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._told_us: int | None = None

    @property
    def pid(self) -> int | None:
        """Of the watchdog's process; None before `start` and after `close`."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Begin to be watched, with no deadline. Raises `WatchdogGone` where no process can be started."""
        if self._process is not None:
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)  # the watchdog inherits that until it ignores them
        try:
            self._process = subprocess.Popen(
                (*self._command, str(os.getpid())), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0,
                cwd="/", start_new_session=True,  # Ctrl-C and Ctrl-Z are for us alone
            )  # fmt: skip
        except OSError as error:
            raise WatchdogGone(f"no watchdog can be started ({error}); nothing is watched") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._told_us = None

    def arm(self, deadline_us: int | None) -> None:
        """Be killed then, and not at the time told before; None: not at all.

        Costs a look where nothing changes, and a write to a pipe where the deadline is earlier, or `MEANINGFUL_US`
        later. Raises `WatchdogGone`; then stop what needs a lease.
        """
        process, told_us = self._process, self._told_us
        if process is None or process.poll() is not None:
            raise WatchdogGone("the watchdog does not run; nothing is watched: stop what needs a lease")
        if deadline_us == told_us or (told_us and deadline_us and 0 < deadline_us - told_us < MEANINGFUL_US):
            return
        assert process.stdin is not None
        try:
            process.stdin.write(b"none\n" if deadline_us is None else b"%d\n" % deadline_us)
        except OSError as error:  # full or broken: it does not read
            raise WatchdogGone(f"the watchdog does not read ({error}): stop what needs a lease") from error
        self._told_us = deadline_us

    def close(self) -> None:
        """Be watched no more, and leave no process. Does nothing the second time."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(CLOSE_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def watch(parent: int) -> None:
    """The watchdog's life: kill `parent` when its deadline has passed; end when its pipe or it has ended."""
    for number in _OURS:
        signal.signal(number, signal.SIG_IGN)
    handle = _open(parent)
    if os.getppid() != parent:  # it ended before we looked, so `handle` may be anybody's
        return
    poll = select.poll()
    poll.register(0, select.POLLIN)
    if handle is not None:
        poll.register(handle, select.POLLIN)
    rest, deadline_us = b"", None
    while True:
        if deadline_us is not None and time.clock_gettime_ns(_CLOCK) // 1000 >= deadline_us:
            _kill(parent, handle)
            return
        ready = poll.poll(STEP_MS if deadline_us is not None else IDLE_MS if handle is None else None)
        if os.getppid() != parent:
            return
        if any(file == 0 for file, _ in ready):
            said = os.read(0, 65_536)
            if not said:
                return
            *lines, rest = (rest + said).split(b"\n")
            if lines:
                deadline_us = None if lines[-1] == b"none" else int(lines[-1])


def _open(parent: int) -> int | None:
    try:
        return os.pidfd_open(parent)
    except (AttributeError, OSError):  # not Linux, an old one, or forbidden
        return None


def _kill(parent: int, handle: int | None) -> None:
    os.write(2, b"covey: process %d did not stop when a lease had ended; its watchdog kills it\n" % parent)
    if handle is not None:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    elif os.getppid() == parent:  # a child is told at once that its parent is another, before the number is used again
        os.kill(parent, signal.SIGKILL)


if __name__ == "__main__":
    watch(int(sys.argv[1]))
