"""What passes between a node and a child in a process of its own: the same facts and effects as elsewhere, as bytes.

A frame is its length (4 bytes) and msgpack of `[name of its type, itself]`. Both ends are one version of covey.
"""

from __future__ import annotations

import struct
import time
from typing import Any

import msgspec

from covey.core import children as c

LENGTH = struct.Struct(">I")
_CLOCK = getattr(
    time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC
)  # one for all processes; Linux's monotonic skips suspends


class Begin(msgspec.Struct, frozen=True):
    """The first frame: what to build and where to find it. `settings` are multiprocessing's for a new interpreter."""

    prepare: c.PrepareChild
    name: str
    settings: dict[str, Any]
    lapse_us: int


class Lease(msgspec.Struct, frozen=True):
    """Until when it may run: on the clock of the machine, and from now on. None: for ever."""

    until_us: int | None
    left_us: int


class Said(msgspec.Struct, frozen=True):
    """A line for the node's log."""

    level: int
    text: str


Frame = (
    Begin | Lease | Said | c.StartChild | c.TellToken | c.DeliverToChild | c.AskHandover | c.StopChild
    | c.ChildPrepared | c.ChildStarted | c.ChildReceives | c.ChildReplied | c.HandoverGiven | c.ChildStuck
    | c.ChildExited
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_name_decoder = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
_decoders = {kind.__name__: msgspec.msgpack.Decoder(kind) for kind in Frame.__args__}


def machine_us() -> int:
    """The clock that all processes of this machine share, in microseconds."""
    return time.clock_gettime_ns(_CLOCK) // 1000


def encode_frame(frame: Frame) -> bytes:
    """One frame."""
    body = _encoder.encode((type(frame).__name__, frame))
    return LENGTH.pack(len(body)) + body


def decode_frame(body: bytes) -> Frame:
    """The same, without its length. Raises `ValueError` or `KeyError` for what covey did not write."""
    name, raw = _name_decoder.decode(body)
    frame: Frame = _decoders[name].decode(raw)
    return frame
