"""One connection: what it still has to prove, and what waits to be written to it."""

from __future__ import annotations

from enum import IntEnum

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.vocabulary import Channel
from covey.protocols.links.handshake import Acceptor, Dialler, Peer
from covey.wire import codec
from covey.wire.framing import Splitter, frame
from covey.wire.limits import FRAME_AIM_BYTES, FRAME_BYTES_MAX, HELLO_BYTES_MAX


class Stage(IntEnum):
    """How far a connection has come."""

    CONNECTING = 0  # we dialled; the world has not answered
    GREETING = 1  # the handshake is under way
    PROVED = 2  # we dialled and sent our proof: the acceptor decides
    OPEN = 3


class Connection:
    """The state of one connection, outbound or inbound.

    The queue holds runs of encoded messages: `(encoded, how many)`.
    Invariants: `queued_bytes` and `queued_messages` are the sums over the queue.
    """

    __slots__ = (
        "acceptor",
        "address",
        "asked_us",
        "began",
        "channel",
        "contact",
        "dialler",
        "expected",
        "heard_us",
        "inbound",
        "number",
        "opened",
        "paused",
        "peer",
        "queue",
        "queued_bytes",
        "queued_messages",
        "said_us",
        "splitter",
        "stage",
        "urged_us",
        "used_us",
    )

    def __init__(self, number: int, address: str, channel: Channel, expected: Site | None, inbound: bool, now_us: int):
        self.number = number
        self.address = address
        self.channel = channel
        self.expected = expected
        self.inbound = inbound
        self.began = 0  # when it was accepted, and
        self.opened = 0  # when it became the link, in the order of all such moments of this node
        self.stage = Stage.GREETING if inbound else Stage.CONNECTING
        self.splitter = Splitter(HELLO_BYTES_MAX)
        self.dialler: Dialler | None = None
        self.acceptor: Acceptor | None = None
        self.peer: Peer | None = None
        self.contact: Contact | None = None
        self.paused = False
        self.queue: list[tuple[bytes, int]] = []
        self.queued_bytes = 0
        self.queued_messages = 0
        self.heard_us = now_us
        self.said_us = now_us
        self.used_us = now_us
        self.asked_us = -1  # the first word that nothing was heard after; -1: none
        self.urged_us = -1  # the last keepalive that asks whether they are still there

    def open(self, peer: Peer, now_us: int) -> None:
        """The handshake is done."""
        self.stage = Stage.OPEN
        self.peer = peer
        self.contact = peer.contact
        self.channel = peer.channel
        self.dialler = self.acceptor = None
        self.splitter.limit = FRAME_BYTES_MAX
        self.heard_us = self.used_us = now_us

    def push(self, encoded: bytes, count: int) -> None:
        """Put a run of `count` encoded messages behind the others."""
        self.queue.append((encoded, count))
        self.queued_bytes += len(encoded)
        self.queued_messages += count

    def take(self, bytes_max: int) -> tuple[bytes, int]:
        """The frames of the oldest queued runs, up to about `bytes_max` bytes (at least one run), and their number.

        A frame is closed when it reaches `FRAME_AIM_BYTES`; a longer run has a frame to itself.
        """
        if self.queued_bytes <= FRAME_AIM_BYTES:  # nearly always: one frame takes all
            data = _frame(self.queue)
            self.queue = []
            self.queued_bytes = self.queued_messages = 0
            return data, 1
        frames: list[bytes] = []
        start = taken = at = in_frame = 0
        while at < len(self.queue) and taken < bytes_max:
            size = len(self.queue[at][0])
            if in_frame and in_frame + size > FRAME_AIM_BYTES:
                frames.append(_frame(self.queue[start:at]))
                start, in_frame = at, 0
            in_frame += size
            taken += size
            at += 1
        frames.append(_frame(self.queue[start:at]))
        self.queued_messages -= sum(count for _, count in self.queue[:at])
        self.queued_bytes -= taken
        del self.queue[:at]
        return b"".join(frames), len(frames)

    def check(self) -> None:
        invariant(self.queued_bytes == sum(len(encoded) for encoded, _ in self.queue), "queued_bytes counts the queue")
        invariant(self.queued_messages == sum(count for _, count in self.queue), "queued_messages counts the queue")


def _frame(runs: list[tuple[bytes, int]]) -> bytes:
    return frame(codec.join_body([encoded for encoded, _ in runs], sum(count for _, count in runs)))
