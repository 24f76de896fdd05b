"""One connection: what it still has to prove, and what waits to be written to it."""

from __future__ import annotations

from enum import IntEnum

from covey.core.ids import Contact, Site
from covey.core.vocabulary import Channel
from covey.protocols.links.handshake import Acceptor, Dialler, Peer
from covey.wire import codec
from covey.wire.framing import Splitter, frame
from covey.wire.limits import FRAME_AIM_BYTES, FRAME_BYTES_MAX, HELLO_BYTES_MAX


class Stage(IntEnum):
    CONNECTING = 0  # we dialled; the world has not answered
    GREETING = 1  # the handshake is under way
    PROVED = 2  # we dialled and sent our proof: the acceptor decides
    OPEN = 3


class Connection:
    """The state of one connection, outbound or inbound.

    Invariant: `queued_bytes == sum(len(m) for m in queue)`.
    """

    __slots__ = (
        "address",
        "channel",
        "contact",
        "dialler",
        "acceptor",
        "expected",
        "heard_us",
        "inbound",
        "number",
        "paused",
        "peer",
        "queue",
        "queued_bytes",
        "said_us",
        "splitter",
        "stage",
        "used_us",
    )

    def __init__(self, number: int, address: str, channel: Channel, expected: Site | None, inbound: bool, now_us: int):
        self.number = number
        self.address = address
        self.channel = channel
        self.expected = expected
        self.inbound = inbound
        self.stage = Stage.GREETING if inbound else Stage.CONNECTING
        self.splitter = Splitter(HELLO_BYTES_MAX)
        self.dialler: Dialler | None = None
        self.acceptor: Acceptor | None = None
        self.peer: Peer | None = None
        self.contact: Contact | None = None
        self.paused = False
        self.queue: list[bytes] = []
        self.queued_bytes = 0
        self.heard_us = now_us
        self.said_us = now_us
        self.used_us = now_us

    def open(self, peer: Peer, now_us: int) -> None:
        """The handshake is done."""
        self.stage = Stage.OPEN
        self.peer = peer
        self.contact = peer.contact
        self.channel = peer.channel
        self.dialler = self.acceptor = None
        self.splitter.limit = FRAME_BYTES_MAX
        self.heard_us = self.used_us = now_us

    def push(self, encoded: bytes) -> None:
        """Put one encoded message behind the others."""
        self.queue.append(encoded)
        self.queued_bytes += len(encoded)

    def take(self, bytes_max: int) -> bytes:
        """The frames of the oldest queued messages, up to about `bytes_max` bytes of them (at least one message).

        A frame is closed when it reaches `FRAME_AIM_BYTES`; a longer message has a frame to itself.
        """
        if self.queued_bytes <= FRAME_AIM_BYTES:  # nearly always: one frame takes all
            body = codec.join_body(self.queue)
            self.queue = []
            self.queued_bytes = 0
            return frame(body)
        frames: list[bytes] = []
        start = taken = at = 0
        in_frame = 0
        while at < len(self.queue) and taken < bytes_max:
            size = len(self.queue[at])
            if in_frame and in_frame + size > FRAME_AIM_BYTES:
                frames.append(frame(codec.join_body(self.queue[start:at])))
                start, in_frame = at, 0
            in_frame += size
            taken += size
            at += 1
        frames.append(frame(codec.join_body(self.queue[start:at])))
        del self.queue[:at]
        self.queued_bytes -= taken
        return b"".join(frames)
