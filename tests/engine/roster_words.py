"""What the tests of the roster say: members, what becomes of them, and which events that leads to."""

from __future__ import annotations

from typing import Any

from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import ClusterChanged, Emit, Liveness, LivenessChanged, MemberAdded
from covey.engine.roster import PartitionSuspected, Roster, RosterEntry

UNKNOWN, ALIVE, SUSPECT, DOWN, STOPPED = Liveness
ANOTHER = ClusterChanged(ClusterId(b"c" * 16), 1, True)


def site(number: int) -> Site:
    return Site(bytes([number]) * 16)


def contact(number: int, life: int = 1, address: str | None = None) -> Contact:
    return Contact(site(number), life, f"n{number}:1" if address is None else address)


def added(number: int, life: int = 1, *, ephemeral: bool = False, meta: bytes = b"") -> MemberAdded:
    return MemberAdded(contact(number, life), ephemeral, True, meta)


def becomes(number: int, state: Liveness, cause: str = "spoke", life: int = 1) -> LivenessChanged:
    return LivenessChanged(contact(number, life), state, f"why it is {state.name}", cause)


def silent(number: int) -> LivenessChanged:
    return becomes(number, DOWN, "silent")


def entry(number: int, state: Liveness, cause: str, life: int = 1) -> RosterEntry:
    """What is shown after `becomes`, or after `added` alone."""
    why = "it is a member" if cause == "added" else f"why it is {state.name}"
    return RosterEntry(contact(number, life), False, state, b"", cause, why)


def tell(roster: Roster, *facts: Any) -> list[Any]:
    """The events that these facts lead to, all of them."""
    events: list[Any] = []
    for fact in facts:
        for effect in roster.handle(fact, 0):
            assert isinstance(effect, Emit)
            events.append(effect.event)
        roster.check()
    return events


def of_members(*numbers: int, state: Liveness = ALIVE) -> Roster:
    roster = Roster()
    for number in numbers:
        tell(roster, added(number), becomes(number, state))
    return roster


def cuts(events: list[Any]) -> list[PartitionSuspected]:
    return [event for event in events if isinstance(event, PartitionSuspected)]
