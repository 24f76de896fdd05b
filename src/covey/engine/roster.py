"""The roster: membership's decisions and the detector's opinions, folded into what users see of each member.

Three facts about a site are kept apart below (it belongs, it is alive, it is connected); a user wants one list. The
roster decides nothing: its events and its list are folds over the same facts, so snapshot plus events is the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.vocabulary import ClusterChanged, Emit, Liveness, LivenessChanged, MemberAdded, MemberRemoved


class RosterEntry(msgspec.Struct, frozen=True, gc=False):
    """One other member."""

    contact: Contact
    ephemeral: bool
    state: Liveness
    why: str


class MemberChanged(msgspec.Struct, frozen=True, gc=False):
    """The event: what we hold of a member changed. `before` is None for a new one, `after` for one that is gone."""

    before: RosterEntry | None
    after: RosterEntry | None


class RosterStatistics(msgspec.Struct, frozen=True):
    members: int
    alive: int


class Roster:
    """All other members, with the state they are held in.

    Law: the fold of the `MemberChanged` events is `entries`. Invariant: an entry is filed under its site.
    """

    def __init__(self) -> None:
        self.entries: dict[Site, RosterEntry] = {}
        self._opinions: dict[Site, LivenessChanged] = {}  # the detector may speak of a site before membership does

    def handle(self, incoming: Any, now_us: int) -> Sequence[Any]:
        match incoming:
            case MemberAdded(contact, ephemeral):
                opinion = self._opinions.get(contact.site)
                known = self.entries.get(contact.site)
                state, why = (opinion.state, opinion.why) if opinion else (Liveness.UNKNOWN, "")
                if known is not None and known.contact.incarnation == contact.incarnation:
                    state, why = known.state, known.why
                return self._change(contact.site, RosterEntry(contact, ephemeral, state, why))
            case MemberRemoved(site):
                self._opinions.pop(site, None)
                return self._change(site, None)
            case LivenessChanged(contact, state, why):
                known = self.entries.get(contact.site)
                if known is None:
                    self._opinions[contact.site] = incoming
                    return ()
                address = contact.address or known.contact.address
                contact = Contact(contact.site, contact.incarnation, address)
                return self._change(contact.site, RosterEntry(contact, known.ephemeral, state, why))
            case ClusterChanged():
                self._opinions.clear()
                return [effect for site in list(self.entries) for effect in self._change(site, None)]
            case _:
                assert_never(incoming)

    def _change(self, site: Site, after: RosterEntry | None) -> Sequence[Any]:
        before = self.entries.get(site)
        if before == after:
            return ()
        if after is None:
            del self.entries[site]
        else:
            self.entries[site] = after
            self._opinions.pop(site, None)
        return (Emit(MemberChanged(before, after)),)

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        for site, entry in self.entries.items():
            invariant(entry.contact.site == site, "an entry is filed under its site")

    def statistics(self) -> RosterStatistics:
        alive = sum(entry.state is Liveness.ALIVE for entry in self.entries.values())
        return RosterStatistics(len(self.entries), alive)
