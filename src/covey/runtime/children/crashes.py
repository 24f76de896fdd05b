"""What is told of a child that raised: one line, and a traceback without covey's own frames."""

from __future__ import annotations

import traceback
from pathlib import Path

from covey.core.errors import DecodeError
from covey.runtime.children.letters import clean
from covey.wire.keys import decode_key

TRACE_MAX = 4_000  # characters: what a row of the registry has room for
FRAMES_MAX = 40  # of each exception, the innermost; a traceback has about 100 characters for each
_OURS = str(Path(__file__).parent)


def trace_of(error: BaseException) -> str:
    """The traceback as Python prints it, without our frames; where it is too long, its end, which tells most."""
    try:
        told = traceback.TracebackException.from_exception(error, limit=-FRAMES_MAX, compact=True)
        _strip(told, 0)
        text = "".join(told.format())
    except Exception:  # an error that cannot even be described must not become another one
        text = type(error).__name__
    if len(text) > TRACE_MAX:
        text = "…" + text[1 - TRACE_MAX :]
    return clean(text, TRACE_MAX)


def _strip(told: traceback.TracebackException, depth: int) -> None:
    frames = [frame for frame in told.stack if not frame.filename.startswith(_OURS)]
    told.stack = traceback.StackSummary.from_list(frames)
    if depth < FRAMES_MAX:
        for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
            if other is not None:
                _strip(other, depth + 1)


def words(encoded: bytes) -> str:
    """A key as people read it."""
    try:
        return repr(decode_key(encoded))
    except DecodeError:
        return repr(bytes(encoded[:40]))
