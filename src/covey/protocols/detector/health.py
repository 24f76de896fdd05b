"""How well we ourselves are, as far as we can tell (Lifeguard's local health multiplier, section IV-A).

A node that is starved of processor or network hears nobody in time and would accuse everybody. So every sign that the
fault may be ours slows our own probing down.
"""

from __future__ import annotations


class Health:
    """A score: 0 is well.

    Invariant: `0 <= score <= score_max`.
    """

    __slots__ = ("score", "score_max")

    def __init__(self, score_max: int) -> None:
        self.score_max = score_max
        self.score = 0

    def change(self, delta: int) -> None:
        """Worse by `delta`, or better where it is negative; saturates."""
        self.score = min(max(self.score + delta, 0), self.score_max)

    def scale(self, us: int) -> int:
        """An interval or timeout, longer the worse we are."""
        return us * (self.score + 1)
