"""Frames on a byte stream: four bytes of length, big-endian, then the body."""

from __future__ import annotations

from covey.core.errors import FrameError
from covey.wire.limits import FRAME_BYTES_MAX

HEADER_BYTES = 4


def frame(body: bytes) -> bytes:
    """The bytes of one frame."""
    return len(body).to_bytes(HEADER_BYTES, "big") + body


class Splitter:
    """Cuts a stream into bodies.

    Law: it holds at most one incomplete frame, which is no longer than `limit + 4` bytes; a longer frame is refused
    from its header alone. After a `FrameError` the stream is worthless.
    """

    __slots__ = ("_chunks", "_held", "_need", "limit")

    def __init__(self, limit: int = FRAME_BYTES_MAX) -> None:
        self.limit = limit
        self._chunks: list[bytes] = []  # of one incomplete frame
        self._held = 0
        self._need = 0

    @property
    def held(self) -> int:
        """Bytes of the incomplete frame."""
        return self._held

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes. Raises `FrameError`."""
        if self._chunks:
            self._chunks.append(data)
            self._held += len(data)
            if self._held < self._need:  # a large frame in many reads is joined once, not once a read
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._held = 0
        bodies: list[bytes] = []
        at = 0
        end = len(data)
        need = HEADER_BYTES
        while end - at >= HEADER_BYTES:
            length = int.from_bytes(data[at : at + HEADER_BYTES], "big")
            if not 0 < length <= self.limit:
                raise FrameError(
                    f"a frame of {length} bytes was announced, 1 to {self.limit} are allowed; the connection is dropped"
                )
            need = HEADER_BYTES + length
            if at + need > end:
                break
            bodies.append(data[at + HEADER_BYTES : at + need])
            at += need
            need = HEADER_BYTES
        if at < end:
            self._chunks.append(data[at:])
            self._held = end - at
            self._need = need
        return bodies
