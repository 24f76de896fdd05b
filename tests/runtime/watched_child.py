"""A process that is watched and does what its first argument says; it tells what it is doing in JSON lines."""

from __future__ import annotations

import json
import os
import sys

from covey.runtime.environment import boottime_us
from covey.runtime.watchdog import Watchdog

SOON_US = 300_000


def say(**values: int) -> None:
    """One line."""
    os.write(1, json.dumps(values).encode() + b"\n")


def loop_until(end_us: int) -> None:
    """Block the processor, as a user's function may."""
    while boottime_us() < end_us:
        pass


def main(what: str, command: list[str]) -> None:
    """Be watched."""
    watchdog = Watchdog(tuple(command)) if command else Watchdog()
    watchdog.start()
    now_us = boottime_us()
    deadline_us = now_us + (60_000_000 if what == "lives on" else SOON_US)
    match what:
        case "is late":
            watchdog.arm(deadline_us)
        case "was told earlier":
            watchdog.arm(now_us + 60_000_000)
            watchdog.arm(deadline_us)
        case "was let go":
            watchdog.arm(deadline_us)
            watchdog.arm(None)
    say(watchdog=watchdog.pid or 0, deadline_us=deadline_us)
    if what == "was let go":
        loop_until(deadline_us + SOON_US)
        say(alive=1)
        watchdog.close()
    else:
        loop_until(now_us + 120_000_000)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
