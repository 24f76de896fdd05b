"""Whether what a strategy returns makes sense. It may be anybody's, so nothing is taken on trust."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from covey.core.ids import Site
from covey.protocols.registry.strategies.pubsub import SECONDS_MAX, SECONDS_MIN
from covey.protocols.registry.strategies.strategy import FUNCTIONS, AllRows, OurRows, Step, Tell
from covey.wire.messages.registry import NOTE_BYTES_MAX
from covey.wire.messages.rows import OwnedOps, SharedOps


def check_strategy(strategy: Any, what: str) -> float | None:
    """It has all that is asked of one; returns its `sync_interval`. Raises `TypeError`, or whatever that raises."""
    missing = [name for name in FUNCTIONS if not callable(getattr(strategy, name, None))]
    if missing:
        raise TypeError(f"{what} {strategy!r:.80}, which has no {', '.join(missing)}")
    interval: Any = getattr(strategy, "sync_interval", "missing")
    if interval is None:
        return None
    if type(interval) not in (int, float) or not SECONDS_MIN <= interval <= SECONDS_MAX:
        raise TypeError(
            f"{what} {strategy!r:.80}; its sync_interval is {interval!r:.20}, and must be None or seconds from "
            f"{SECONDS_MIN} to {SECONDS_MAX:g}"
        )
    return float(interval)


def check_step(step: Any, hub: bytes, nodes: Collection[Site], sync_interval: float | None) -> None:
    """It tells what can be told to who is there. Raises `TypeError` or `ValueError`; then nothing of it is told."""
    if not isinstance(step, Step) or not isinstance(step.tells, tuple):
        raise TypeError(f"it returned {step!r:.80}, and must return a Step of a tuple of Tells")
    for tell in step.tells:
        if not isinstance(tell, Tell) or not isinstance(tell.to, tuple) or not isinstance(tell.note, bytes):
            raise TypeError(f"one of its tells is {tell!r:.80}, and must be a Tell of a tuple of sites")
        if (stranger := next((site for site in tell.to if site not in nodes), None)) is not None:
            raise ValueError(f"it tells {stranger!r:.80}, who is none of the other members")
        if len(tell.note) > NOTE_BYTES_MAX:
            raise ValueError(f"its note has {len(tell.note)} bytes, and may have {NOTE_BYTES_MAX}")
        if isinstance(tell.what, (OurRows, AllRows)):
            continue
        if not isinstance(tell.what, tuple) or not all(_is_request(request, hub) for request in tell.what):
            raise TypeError(f"it tells {tell.what!r:.80}, and must tell OurRows, AllRows or a tuple of requests")
    if step.strategy is not None and check_strategy(step.strategy, "it goes on as") != sync_interval:
        raise ValueError(f"it goes on as {step.strategy!r:.80}, and its sync_interval must stay {sync_interval}")


def _is_request(request: Any, hub: bytes) -> bool:
    return isinstance(request, (OwnedOps, SharedOps)) and request.instance == hub
