"""The order of evidence about one site, and what is held of a member.

SWIM orders `alive < suspect < dead` within one incarnation number (SWIM, DSN 2002, section 4.2). Here the number has
two parts. The *incarnation* names a life and is durable; the *refutation* counts inside it, and only its owner raises
it. What a life said of its own end is above anything else about that life.
"""

from __future__ import annotations

import hashlib
from collections import deque

import msgspec

from covey.core.ids import Contact, Site, short
from covey.core.vocabulary import Liveness
from covey.wire.messages.detector import Rumour

DIGEST_MODULUS = 1 << 64


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """What is known of a site: its last known life, that life's refutation, and its state."""

    incarnation: int
    refutation: int
    state: Liveness

    @property
    def rank(self) -> tuple[int, bool, int, int]:
        """Later evidence has the higher rank; equal ranks say the same."""
        if self.state is Liveness.STOPPED:
            return self.incarnation, True, 0, 0
        return self.incarnation, False, self.refutation, self.state


def merge(one: Evidence, other: Evidence) -> Evidence:
    """The later of two: idempotent, commutative and associative, as far as ranks can tell."""
    return other if other.rank > one.rank else one


def evidence_of(rumour: Rumour) -> Evidence:
    """What a rumour claims; `Stopped` carries no refutation, so that equal ranks are equal evidence."""
    refutation = 0 if rumour.state is Liveness.STOPPED else rumour.refutation
    return Evidence(rumour.incarnation, refutation, rumour.state)


def fingerprint(site: Site, evidence: Evidence) -> int:
    """64 bits. A table's digest is the sum of these; what nobody has observed does not count."""
    if evidence.state is Liveness.UNKNOWN:
        return 0
    hashed = hashlib.blake2b(site, digest_size=8, person=b"covey.liveness")
    hashed.update(evidence.incarnation.to_bytes(8, "big"))
    hashed.update(evidence.refutation.to_bytes(8, "big"))
    hashed.update(bytes((evidence.state,)))
    return int.from_bytes(hashed.digest(), "big")


class Member:
    """What is held of one member.

    Invariants: `suspicion` is there exactly while the state is SUSPECT; the story is bounded.
    """

    __slots__ = (
        "accused_us",
        "address",
        "broken",
        "ephemeral",
        "evidence",
        "fingerprint",
        "heard_us",
        "linked",
        "rtt_us",
        "site",
        "spoke_us",
        "story",
        "unanswered",
    )

    def __init__(self, contact: Contact, ephemeral: bool, evidence: Evidence, story_lines_max: int, now_us: int):
        self.site = contact.site
        self.address = contact.address
        self.ephemeral = ephemeral
        self.evidence = evidence
        self.fingerprint = fingerprint(contact.site, evidence)
        self.linked = False  # a control link to it is up
        self.heard_us = now_us  # when it was last known to live, at first or second hand
        self.spoke_us = -1  # when it last spoke to us itself
        self.accused_us: int | None = None  # when it was last told that it is accused
        self.rtt_us: int | None = None  # of the last direct probe
        self.unanswered = 0  # direct pings in a row that failed while others reached it
        self.broken = False  # and this was said
        self.story: deque[str] = deque(maxlen=story_lines_max)

    @property
    def state(self) -> Liveness:
        """What is held of its last known life."""
        return self.evidence.state

    @property
    def contact(self) -> Contact:
        """Its last known life, at its last known address."""
        return Contact(self.site, self.evidence.incarnation, self.address)

    def note(self, now_us: int, line: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{now_us / 1e6:.3f} s: {line}")


def name(site: bytes) -> str:
    """A site as a story names it."""
    return short(Site(site)) if site else "nobody known"


def told(rumour: Rumour, teller: Site) -> str:
    """Why we hold what we were told."""
    if rumour.site == teller:
        return "it said that it stops" if rumour.state is Liveness.STOPPED else "it said so itself"
    return f"according to {name(rumour.by)}, told by {name(teller)}" if rumour.by else f"according to {name(teller)}"
