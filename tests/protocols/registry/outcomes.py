"""What outcomes of batches say, in few words."""

from __future__ import annotations

from covey.protocols.registry import vocabulary as h
from covey.wire.keys import decode_key


def told(outcome: h.StartOutcome | h.StopOutcome | None) -> dict[object, str]:
    """What went wrong with whom."""
    assert outcome is not None
    return {decode_key(error.id): error.trouble.name for error in outcome.errors}


def started(outcome: h.StartOutcome | None) -> dict[object, str]:
    """Who runs where."""
    assert outcome is not None
    return {decode_key(place.id): place.life[0][:1].decode() for place in outcome.started}
