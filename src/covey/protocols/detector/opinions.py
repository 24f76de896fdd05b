"""What this node holds of every member, and how evidence changes it.

One table, one order of evidence, one door: whatever is heard about a life, from itself, from others or from a timer,
ends in `_take`, which alone changes a record. So digest, suspicions, rumours and facts for other machines never differ
from the table.
"""

from __future__ import annotations

from random import Random
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.timers import Timers
from covey.core.vocabulary import Liveness, LivenessChanged
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.graves import Graves
from covey.protocols.detector.health import Health
from covey.protocols.detector.record import DIGEST_MODULUS, Evidence, Member, evidence_of, fingerprint, name, told
from covey.protocols.detector.rumours import RumourQueue, rides_max
from covey.protocols.detector.suspicions import Suspicions
from covey.wire.messages.detector import DIGEST_BYTES, REFUTATION_MAX, Rumour

Effect = Any
Timer = tuple[Any, ...]

_ACCUSED = (Liveness.SUSPECT, Liveness.DOWN)
_OVER = (Liveness.DOWN, Liveness.STOPPED)


class Opinions:
    """The table of lives.

    Law: a record only ever rises in the order of evidence, until the member is removed.
    Invariants: we are not in it; a suspicion and its timer exist exactly for SUSPECT; `digest` is the sum of the
    fingerprints and ours; `alive` and `over` count; one rumour per site at most, so at most `members + 1`.
    """

    def __init__(
        self, config: DetectorConfig, rng: Random, timers: Timers[Timer], health: Health, me: Contact, now_us: int
    ) -> None:
        self._config = config
        self._rng = rng
        self._health = health
        self.me = me
        self.refutation = 0
        self.members: dict[Site, Member] = {}
        self.queue = RumourQueue()
        self.news: list[Rumour] = []  # to be flooded at the end of this step
        self.digest = fingerprint(me.site, self.own_evidence)
        self.changed_us = now_us
        self.counting_unknown = False  # since the grace is over
        self.woke_us = 0  # what was alive before we slept is not taught
        self.unwatched = 0  # members beyond the bound
        self._suspicions = Suspicions(config, timers)
        self._graves = Graves(config)
        self._counts = dict.fromkeys(Liveness, 0)

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def own_evidence(self) -> Evidence:
        """What we hold of ourselves: alive, in this life, at our refutation."""
        return Evidence(self.me.incarnation, self.refutation, Liveness.ALIVE)

    @property
    def own_rumour(self) -> Rumour:
        """The same as others are told it."""
        return Rumour(self.me.site, self.me.incarnation, self.refutation, Liveness.ALIVE)

    @property
    def digest_bytes(self) -> bytes:
        """`digest` as it stands in messages."""
        return self.digest.to_bytes(DIGEST_BYTES, "big")

    @property
    def nodes(self) -> int:
        """How many nodes count: us, and everybody that is not over, and not unknown before the grace is."""
        counts = self._counts
        unknown = counts[Liveness.UNKNOWN] if self.counting_unknown else 0
        return 1 + counts[Liveness.ALIVE] + counts[Liveness.SUSPECT] + unknown

    def accuses(self, site: Site) -> bool:
        """Whether `site` is held for suspect or down."""
        member = self.members.get(site)
        return member is not None and member.evidence.state in _ACCUSED

    def rumour(self, member: Member) -> Rumour:
        """What we would tell others of it."""
        evidence, suspicion = member.evidence, self._suspicions.get(member.site)
        by = b"" if suspicion is None else suspicion.first
        return Rumour(member.site, evidence.incarnation, evidence.refutation, evidence.state, by)

    def count(self, state: Liveness) -> int:
        """How many members are in `state`."""
        return self._counts[state]

    def probed(self) -> list[Site]:
        """Who has a turn in a pass."""
        return [site for site, member in self.members.items() if self.is_probed(member)]

    def is_probed(self, member: Member) -> bool:
        """Who may live. One that is down but linked to us may too: a cut ended before the link did."""
        if member.state is Liveness.UNKNOWN:
            return self.counting_unknown
        return member.state not in _OVER or (member.state is Liveness.DOWN and member.linked)

    def helpers(self, count: int, but: Site) -> list[Contact]:
        """Up to `count` random living members that may be asked about `but`."""
        alive = [m for m in self.members.values() if m.state is Liveness.ALIVE and m.site != but]
        return [member.contact for member in self._rng.sample(alive, min(count, len(alive)))]

    def may_teach(self, member: Member) -> bool:
        """Not what nobody has observed, and no `alive` from before we slept."""
        if member.state is Liveness.UNKNOWN:
            return False
        return member.state is not Liveness.ALIVE or member.heard_us >= self.woke_us

    def rides(self) -> int:
        """How often one rumour rides on pings."""
        return rides_max(self._config.retransmissions, self.nodes)

    # --- members come and go ----------------------------------------------------------------------------------------

    def add(self, contact: Contact, ephemeral: bool, observed: bool, now_us: int) -> tuple[list[Effect], bool]:
        """Membership says that this life belongs to us. True with it, if the site is new here."""
        member = self.members.get(contact.site)
        state = Liveness.ALIVE if observed else Liveness.UNKNOWN
        evidence = Evidence(contact.incarnation, 0, state)
        why = "it is a member" if observed else "it was a member when we stopped; not observed yet"
        if member is not None:
            member.ephemeral = ephemeral
            if contact.address and contact.incarnation >= member.evidence.incarnation:
                member.address = contact.address
            if evidence.rank > member.evidence.rank:
                cause = "added" if observed else "stored"
                return self._take(member, evidence, b"", why, cause, now_us, tell=False), False
            return [], False
        if len(self.members) >= self._config.members_max:
            self.unwatched += 1
            return [], False
        end = self._graves.open(contact.site, now_us)
        if end is not None and end.rank > evidence.rank:
            evidence, why = end, "it ended before it was forgotten"
        member = Member(contact, ephemeral, evidence, self._config.story_lines_max, now_us)
        self.members[contact.site] = member
        self._counts[member.state] += 1
        self._add_to_digest(member.fingerprint, now_us)
        member.note(now_us, f"{member.state.name.lower()}: {why}")
        self._suspicions.expect(self._counts[Liveness.ALIVE])
        return [LivenessChanged(member.contact, member.state, why, "added" if observed else "stored")], True

    def remove(self, site: Site, now_us: int) -> None:
        """Forget the member; of one that ended, the end is remembered for some time."""
        member = self.members.pop(site, None)
        if member is None:
            return
        self._counts[member.state] -= 1
        self._add_to_digest(-member.fingerprint, now_us)
        self._suspicions.end(site)
        self._suspicions.expect(self._counts[Liveness.ALIVE])
        self.queue.forget(site)
        if member.state in _OVER:
            self._graves.bury(site, member.evidence, now_us)

    def reset(self, incarnation: int, now_us: int) -> None:
        """A new life, and every member has been removed: nothing that was known counts."""
        self._graves.clear()
        self.queue.clear()
        self.news.clear()
        self.me = Contact(self.me.site, incarnation, self.me.address)
        self.refutation = 0
        self.digest = fingerprint(self.me.site, self.own_evidence)

    # --- evidence ---------------------------------------------------------------------------------------------------

    def learn(self, rumour: Rumour, now_us: int, teller: Site) -> list[Effect]:
        """Take in what `teller` says of a member; older evidence and unknown sites change nothing."""
        member = self.members.get(rumour.site)
        if member is None or rumour.state is Liveness.UNKNOWN:
            return []
        theirs, held = evidence_of(rumour), member.evidence
        if theirs.rank > held.rank:
            if member.ephemeral and theirs.state in _OVER and theirs.incarnation != held.incarnation:
                return []  # the end of a life that we never knew: it may have been forgotten for good
            return self._take(member, theirs, rumour.by, told(rumour, teller), _cause(rumour, teller), now_us)
        if theirs == held:
            if held.state is Liveness.ALIVE:
                member.heard_us = now_us
            elif held.state is Liveness.SUSPECT:
                self._confirm(member, rumour.by, now_us)
        return []

    def heard(self, site: Site, now_us: int) -> list[Effect]:
        """The member itself has just spoken to us, in the life that we hold."""
        member = self.members.get(site)
        if member is None:
            return []
        if member.state is Liveness.UNKNOWN:
            alive = Evidence(member.evidence.incarnation, 0, Liveness.ALIVE)
            return self._take(member, alive, b"", "it spoke to us", "spoke", now_us)
        if member.state is Liveness.ALIVE:
            member.heard_us = now_us
        return []

    def accuse(self, site: Site, why: str, now_us: int) -> list[Effect]:
        """We did not reach it: suspect it, or confirm the suspicion."""
        member = self.members.get(site)
        if member is None or member.state in _OVER:
            return []
        if member.state is Liveness.SUSPECT:
            member.note(now_us, f"unreached by us too: {why}")
            self._confirm(member, self.me.site, now_us)
            return []
        held = member.evidence
        suspect = Evidence(held.incarnation, held.refutation, Liveness.SUSPECT)
        return self._take(member, suspect, self.me.site, why, "unreached", now_us)

    def declare_down(self, site: Site, incarnation: int, why: str, cause: str, now_us: int) -> list[Effect]:
        """Our own verdict on that life, if it is still the one we hold."""
        member = self.members.get(site)
        if member is None or member.state in _OVER or member.evidence.incarnation != incarnation:
            return []
        down = Evidence(incarnation, member.evidence.refutation, Liveness.DOWN)
        return self._take(member, down, self.me.site, why, cause, now_us)

    def expire(self, site: Site, now_us: int) -> list[Effect]:
        """The suspicion's time is over."""
        suspicion = self._suspicions.get(site)
        assert suspicion is not None
        seconds = (now_us - suspicion.started_us) / 1e6
        why = (
            f"suspected for {seconds:.2f} s, first by {name(suspicion.first)}, "
            f"confirmed {suspicion.confirmations} of {suspicion.expected} times, and it did not refute"
        )
        return self.declare_down(site, self.members[site].evidence.incarnation, why, "silent", now_us)

    def raise_refutation(self, above: int, now_us: int) -> None:
        """Only the owner raises it: above what we were accused at."""
        self._add_to_digest(-fingerprint(self.me.site, self.own_evidence), now_us)
        self.refutation = min(max(above, self.refutation) + 1, REFUTATION_MAX)
        self._add_to_digest(fingerprint(self.me.site, self.own_evidence), now_us)
        self.queue.put(self.own_rumour)
        self.news.append(self.own_rumour)

    def forgive(self, gap_us: int, long: bool, now_us: int) -> None:
        """We did not run for `gap_us`: who is suspect gets that time back, and all of it after a long sleep."""
        if long:
            self.woke_us = now_us
            self.queue.drop_alive()
        self._suspicions.forgive(gap_us, long, now_us)

    # --- the one door -----------------------------------------------------------------------------------------------

    def _take(
        self, member: Member, evidence: Evidence, by: bytes, why: str, cause: str, now_us: int, tell: bool = True
    ) -> list[Effect]:
        """Hold `evidence`, which is later than what is held. `tell` others, unless membership does."""
        old = member.evidence
        invariant(evidence.rank > old.rank, "a record only rises in the order of evidence")
        suspicion = self._suspicions.end(member.site)
        refuted = evidence.state is Liveness.ALIVE and evidence.incarnation == old.incarnation
        if suspicion is not None and refuted and suspicion.accused_by(self.me.site):
            self._health.change(+1)  # we accused somebody who is well
        member.evidence = evidence
        self._counts[old.state] -= 1
        self._counts[evidence.state] += 1
        self._add_to_digest(-member.fingerprint, now_us)
        member.fingerprint = fingerprint(member.site, evidence)
        self._add_to_digest(member.fingerprint, now_us)
        self._suspicions.expect(self._counts[Liveness.ALIVE])
        if evidence.state is Liveness.ALIVE:
            member.heard_us = now_us
        elif evidence.state is Liveness.SUSPECT:
            self._suspicions.begin(member.site, by, self.nodes, now_us)
        member.note(now_us, f"{evidence.state.name.lower()}: {why}")
        if tell:
            self._tell(Rumour(member.site, evidence.incarnation, evidence.refutation, evidence.state, by))
        if evidence.state is old.state and evidence.incarnation == old.incarnation:
            return []
        return [LivenessChanged(member.contact, evidence.state, why, cause)]

    def _tell(self, rumour: Rumour) -> None:
        """Put it on pings; and flood it, unless it is a life's first `alive`, which membership and pings spread."""
        self.queue.put(rumour)
        if rumour.state is not Liveness.ALIVE or rumour.refutation > 0:
            self.news.append(rumour)

    def _confirm(self, member: Member, by: bytes, now_us: int) -> None:
        suspicion = self._suspicions.confirm(member.site, by, now_us)
        if suspicion is not None:
            member.note(now_us, f"confirmed by {name(by)}, {suspicion.confirmations} of {suspicion.expected}")
            evidence = member.evidence
            self._tell(Rumour(member.site, evidence.incarnation, evidence.refutation, evidence.state, by))

    def _add_to_digest(self, difference: int, now_us: int) -> None:
        self.digest = (self.digest + difference) % DIGEST_MODULUS
        self.changed_us = now_us

    def check(self) -> None:
        members = self.members
        invariant(self.me.site not in members, "nobody watches themselves")
        invariant(len(members) <= self._config.members_max, "members are bounded")
        self._graves.check()
        self._suspicions.check()
        total = fingerprint(self.me.site, self.own_evidence)
        counts = dict.fromkeys(Liveness, 0)
        for site, member in members.items():
            total += fingerprint(site, member.evidence)
            counts[member.state] += 1
            suspected = member.state is Liveness.SUSPECT
            invariant((site in self._suspicions) == suspected, "a suspicion exists exactly for a suspect")
        invariant(len(self._suspicions) == counts[Liveness.SUSPECT], "only members are suspected")
        invariant(total % DIGEST_MODULUS == self.digest, "the digest is the sum of the fingerprints")
        invariant(counts == self._counts, "the states are counted")
        invariant(len(self.queue) <= len(members) + 1, "at most one rumour per site")
        invariant(not self.news, "news has left with the step that brought it")


def _cause(rumour: Rumour, teller: Site) -> str:
    """In one word, what a rumour is to us."""
    if rumour.state is Liveness.STOPPED:
        return "stopped"
    return "spoke" if rumour.site == teller else "told"
