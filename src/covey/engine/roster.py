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

# How a member can come to be held down other than by a cut: it said so, or its host refused us.
_CERTAIN = frozenset({"refused", "stopped"})
PARTITION_MEMBERS_MIN = 2  # one silent member is a dead one. Guess
PARTITION_SHARE = 3  # a third of those that did not stop. Guess


class RosterEntry(msgspec.Struct, frozen=True, gc=False):
    """One other member: where and in which life, and what is held of it. `cause` is one word, `why` is for people."""

    contact: Contact
    ephemeral: bool
    state: Liveness
    meta: bytes
    cause: str
    why: str


class MemberChanged(msgspec.Struct, frozen=True, gc=False):
    """The event: what we hold of a member changed. `before` is None for a new one, `after` for one that is gone.

    `by`: who threw out the one that is gone; itself, if it left; None, if it is we who went.
    """

    before: RosterEntry | None
    after: RosterEntry | None
    by: Site | None = None


class PartitionSuspected(msgspec.Struct, frozen=True, gc=False):
    """The event: so many members fell silent without a word that the network may be cut rather than they be dead.

    Said once, until all of them are back or out.
    """

    silent: tuple[Site, ...]
    others: int


class RosterStatistics(msgspec.Struct, frozen=True):
    """How many others belong, and how many of them live."""

    members: int
    alive: int


class Roster:
    """All other members, with the state they are held in.

    Law: the fold of the `MemberChanged` events is `entries`; what is said of a life changes nothing once a later one of
    its site is known, and a later life begins unknown.
    Invariant: an entry is filed under its site.
    """

    def __init__(self) -> None:
        self.entries: dict[Site, RosterEntry] = {}
        self._suspected = False

    def handle(self, incoming: Any, now_us: int) -> Sequence[Any]:
        match incoming:
            case MemberAdded(contact, ephemeral, _, meta):
                return self._on_added(contact, ephemeral, meta)
            case MemberRemoved(site, by):
                return self._change(site, None, by)
            case LivenessChanged(contact, state, why, cause):
                known = self.entries.get(contact.site)
                if known is None or contact.incarnation < known.contact.incarnation:
                    return ()
                contact = Contact(contact.site, contact.incarnation, contact.address or known.contact.address)
                entry = RosterEntry(contact, known.ephemeral, state, known.meta, cause, why)
                return self._change(contact.site, entry)
            case ClusterChanged():
                return [effect for site in list(self.entries) for effect in self._change(site, None)]
            case _:
                assert_never(incoming)

    def _on_added(self, contact: Contact, ephemeral: bool, meta: bytes) -> Sequence[Any]:
        known = self.entries.get(contact.site)
        if known is None:
            return self._change(contact.site, _unknown(contact, ephemeral, meta))
        older, newer = sorted((known.contact, contact), key=lambda contact: contact.incarnation)  # the later one counts
        contact = Contact(contact.site, newer.incarnation, newer.address or older.address)
        if newer.incarnation > known.contact.incarnation:
            return self._change(contact.site, _unknown(contact, ephemeral, meta))
        return self._change(
            contact.site, msgspec.structs.replace(known, contact=contact, ephemeral=ephemeral, meta=meta)
        )

    def _change(self, site: Site, after: RosterEntry | None, by: Site | None = None) -> Sequence[Any]:
        before = self.entries.get(site)
        if before == after:
            return ()
        if after is None:
            del self.entries[site]
        else:
            self.entries[site] = after
        changed = Emit(MemberChanged(before, after, by))
        if self._suspected or (after is not None and after.state is Liveness.DOWN):
            return (changed, *self._partition())
        return (changed,)

    def _partition(self) -> Sequence[Any]:
        silent = tuple(
            site for site, entry in self.entries.items() if entry.state is Liveness.DOWN and entry.cause not in _CERTAIN
        )
        running = sum(entry.state is not Liveness.STOPPED for entry in self.entries.values())
        if not silent:
            self._suspected = False
        elif not self._suspected and len(silent) >= max(PARTITION_MEMBERS_MIN, (running + 1) / PARTITION_SHARE):
            self._suspected = True
            return (Emit(PartitionSuspected(silent, running - len(silent))),)
        return ()

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        for site, entry in self.entries.items():
            invariant(site == entry.contact.site, "an entry is filed under its site")

    def statistics(self) -> RosterStatistics:
        alive = sum(entry.state is Liveness.ALIVE for entry in self.entries.values())
        return RosterStatistics(len(self.entries), alive)


def _unknown(contact: Contact, ephemeral: bool, meta: bytes) -> RosterEntry:
    """A life of which the detector has said nothing so far."""
    return RosterEntry(contact, ephemeral, Liveness.UNKNOWN, meta, "added", "it is a member")
