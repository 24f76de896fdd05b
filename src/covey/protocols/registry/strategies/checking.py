"""Whether what a strategy returns makes sense. It may be anybody's, so nothing is taken on trust."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from covey.core.ids import Site
from covey.protocols.registry.strategies.strategy import FUNCTIONS, AllRows, OurRows, Step, Tell
from covey.wire.messages.registry import NOTE_BYTES_MAX
from covey.wire.messages.rows import OwnedOps, SharedOps


def check_strategy(strategy: Any, what: str) -> None:
    """It has all that is asked of one. Raises `TypeError`."""
    missing = [name for name in FUNCTIONS if not callable(getattr(strategy, name, None))]
    if missing:
        raise TypeError(f"{what} {strategy!r:.80}, which has no {', '.join(missing)}")
    interval: Any = getattr(strategy, "sync_interval", "missing")
    if interval is not None and (type(interval) not in (int, float) or not interval > 0):
        raise TypeError(f"{what} {strategy!r:.80}; its sync_interval is {interval!r:.20}, and must be seconds or None")


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
    if step.strategy is not None:
        check_strategy(step.strategy, "it goes on as")
        if step.strategy.sync_interval != sync_interval:
            raise ValueError(f"it goes on as {step.strategy!r:.80}, and its sync_interval must stay {sync_interval}")


def _is_request(request: Any, hub: bytes) -> bool:
    return isinstance(request, (OwnedOps, SharedOps)) and request.instance == hub
