"""A child that runs here, or is about to, or has just ended: its phase, its letters, and how often it may fail."""

from __future__ import annotations

from collections import deque
from enum import IntEnum

from covey.core.children import Copy
from covey.core.claims import Freed
from covey.core.ids import Dot, Origin
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.mailbox import Letter, Mailbox
from covey.protocols.registry.rows import Spec, State
from covey.wire.messages.registry import HandoverPart


class Phase(IntEnum):
    """Where a copy is on its way."""

    CLAIMING = 0  # the right to run it is sought
    STARTING = 1
    RUNNING = 2
    RESTING = 3  # it failed, and is started again soon
    LEAVING = 4  # it was asked to end and to leave a state
    SENDING = 5  # it has ended, and what it left is on its way
    ENDING = 6  # it was told to end
    FAILED = 7  # it failed too often
    MERGING = 8  # it was asked to end and to leave a state, which is made one with another copy's
    RESOLVING = 9  # the user does that


STATES = {
    Phase.CLAIMING: State.STARTING,
    Phase.STARTING: State.STARTING,
    Phase.RUNNING: State.RUNNING,
    Phase.LEAVING: State.RUNNING,
    Phase.MERGING: State.RUNNING,
    Phase.SENDING: State.MOVING,
    Phase.FAILED: State.FAILED,
}


class Move:
    """One child on its way to another host, or a duplicate on its way to the copy that stays.

    `freed`: its claim, once that has been given back. `parts`: what is sent of its letters and answers, the same each
    time: of two sends that differ the other side could take half of each, and forget what was answered.
    """

    __slots__ = ("freed", "merges", "number", "parts", "target")

    def __init__(self, number: int, target: Origin, merges: bool) -> None:
        self.number = number
        self.target = target
        self.merges = merges
        self.freed: Freed | None = None
        self.parts: list[HandoverPart] | None = None


class Hosted:
    """One child at its host.

    `epoch` is its fencing token; `births` are those that it was started for, `birth` the epoch of one of them, which is
    shown; `arrived` is the move by which it came
    here, until its former host knows.
    """

    __slots__ = (
        "active_us", "announced", "arrived", "birth", "births", "calls", "carried", "copy", "delivered", "ends",
        "epoch", "error", "failures", "first", "fresh", "id", "mailbox", "move", "phase", "refused", "restarts", "spec",
        "started_us", "state", "stuck", "theirs", "until_us", "waits",
    )  # fmt: skip

    def __init__(self, id: bytes, spec: Spec, births: tuple[Dot, ...], copy: Copy, mailbox: Mailbox) -> None:
        self.id = id
        self.spec = spec
        self.births = births
        self.birth = 0
        self.copy = copy
        self.phase = Phase.STARTING
        self.epoch = 0
        self.first = False  # nobody ran it before: if it fails as it starts, it was never a child
        self.fresh = True  # it has not run here yet
        self.mailbox = mailbox
        self.delivered: dict[int, Letter] = {}  # what the copy has and has not answered
        self.calls = 0  # that were delivered: the number of the last one
        self.waits = False  # the copy waits for its next letter
        self.restarts: deque[int] = deque()  # when it raised
        self.failures = 0  # ends in a row that came soon after the start
        self.state: bytes | None = None  # what the copy before left
        self.theirs: bytes | None = None  # what a duplicate left
        self.move: Move | None = None
        self.refused: tuple[Origin, int] | None = None  # who could not take it over, and until when it is not asked
        self.arrived: tuple[Origin, int] | None = None  # whose life it came from and by which move; not confirmed
        self.carried: dict[tuple[Origin, int], int] = {}  # attempts that came with it: its former host has them too
        self.error = ""
        self.ends = False  # for good, once it has ended
        self.stuck = False
        self.announced: State | None = None  # what our row says of it
        self.started_us = 0
        self.active_us = 0
        self.until_us = 0  # by when it must have ended, once it has lost its lease

    @property
    def is_quiet(self) -> bool:
        """Whether it has nothing to do."""
        return not self.mailbox.queue and not self.delivered

    def may_restart(self, config: RegistryConfig, now_us: int) -> bool:
        """It raised once more: whether it is started again."""
        while self.restarts and self.restarts[0] <= now_us - config.restarts_us:
            self.restarts.popleft()
        self.restarts.append(now_us)
        return len(self.restarts) <= config.restarts_max

    def pause_us(self, config: RegistryConfig, now_us: int) -> int:
        """How long to wait before it is started again: nothing the first time, then more each time in a row."""
        self.failures = 1 if now_us - self.started_us > config.backoff_us_max else self.failures + 1
        if self.failures == 1:
            return 0
        return min(config.backoff_us_min << min(self.failures - 2, 16), config.backoff_us_max)
