"""Refused evidence: a process that is gone, on a host that says so.

When a process dies, its host closes its connections and refuses new ones. So after a close without a word we dial at
once. Refused, or answered by somebody else, is strong evidence; confirmed by one other member it is enough, without any
suspicion time (DESIGN 3.3). Where nobody confirms, the ordinary suspicion decides.

A host takes a dying process apart piece by piece: its links may break while its port still listens, and a dial made in
that moment is accepted by nobody and reset. So a dial that ends without a word is made once more.

::

    closed ──dial──▶ answered: nothing            confirmed: DOWN at once
                     reset: dial once more         ▲
                     no answer: the prober's       │
                     refused ──ask one other──────┤ it reached it: nothing
                                                  ▼ nobody answers: SUSPECT
"""

from __future__ import annotations

from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Contact, Site, short
from covey.core.timers import Timers
from covey.core.vocabulary import Cause, Liveness, Send
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.opinions import Opinions, Timer
from covey.protocols.detector.record import Member
from covey.protocols.detector.speech import Speech
from covey.wire.messages.detector import ConfirmReply, ConfirmRequest

Effect = Any

UNANNOUNCED = frozenset({Cause.CLOSED, Cause.RESET})
BROKEN_OFF = UNANNOUNCED | {Cause.TLS}  # under TLS a dial that is reset may look like one that was not welcome
GONE = frozenset({Cause.REFUSED, Cause.OTHER_SITE, Cause.SITE_CONFLICT})


class _Check:
    """One life being looked into: first by our own dial, then (if that was refused) by asking others."""

    __slots__ = ("again", "asked", "askers", "asking", "closed", "incarnation", "number", "refused")

    def __init__(self, incarnation: int, number: int) -> None:
        self.incarnation = incarnation
        self.number = number
        self.closed = False  # we saw its link close without a word
        self.again = False  # our dial was reset, and made once more
        self.refused = False  # our dial was refused
        self.askers: dict[Site, int] = {}  # who wants to know whether it refuses us, and their numbers
        self.asking: Site | None = None  # who is to confirm
        self.asked: dict[Site, None] = {}  # who was to


class Refusals:
    """Look into closed links.

    Invariants: checks are bounded, each of a member, with a timer; at most `confirmers_max` are asked.
    """

    def __init__(self, config: DetectorConfig, timers: Timers[Timer], opinions: Opinions, speech: Speech) -> None:
        self._config = config
        self._timers = timers
        self._opinions = opinions
        self._speech = speech
        self._checks: dict[Site, _Check] = {}

    def __len__(self) -> int:
        return len(self._checks)

    def on_lost(self, contact: Contact, cause: Cause, now_us: int) -> list[Effect]:
        """A link ended. Without a word: dial at once."""
        member = self._opinions.members.get(contact.site)
        if cause not in UNANNOUNCED or member is None or not _lives(member, contact.incarnation):
            return []
        effects = self._dial(member, now_us)
        if (check := self._checks.get(contact.site)) is not None:
            check.closed = True
        return effects

    def on_unreached(self, site: Site, cause: Cause, now_us: int) -> list[Effect]:
        """The dial failed."""
        check = self._checks.get(site)
        if check is None or check.refused:
            return []
        if cause in BROKEN_OFF and not check.again:
            check.again = True
            return [self._speech.ping(self._opinions.members[site], check.number)]
        if cause not in GONE:
            return self._end(site, False)
        check.refused = True
        effects = self._answer(check, True)
        if not check.closed:
            return effects + self._end(site, True)
        if check.askers:
            other = next(iter(check.askers))
            return effects + self._down(site, check, f"it refused us and {short(other)}", now_us)
        return effects + self._ask(site, check, now_us)

    def on_reached(self, site: Site) -> list[Effect]:
        """It answered, or a link to it is up."""
        return self._end(site, False) if site in self._checks else []

    def on_timer(self, site: Site, now_us: int) -> list[Effect]:
        """Our dial, or whom we asked, takes too long."""
        check = self._checks[site]
        return self._ask(site, check, now_us) if check.refused else self._end(site, False)

    def on_request(self, peer: Site, request: ConfirmRequest, now_us: int) -> list[Effect]:
        """Somebody asks whether that life refuses us too."""
        target = request.target
        member = self._opinions.members.get(target.site)
        if member is None or not _lives(member, target.incarnation):
            over = member is not None and member.evidence.incarnation == target.incarnation
            return [Send(peer, ConfirmReply(request.number, over))]
        effects: list[Effect] = []
        check = self._checks.get(target.site)
        if check is None:
            effects = self._dial(member, now_us)
            check = self._checks.get(target.site)
        elif check.refused:
            reply = Send(peer, ConfirmReply(request.number, True))
            return [reply, *self._down(target.site, check, f"it refused us and {short(peer)}", now_us)]
        if check is None or len(check.askers) >= self._config.askers_max:
            return [Send(peer, ConfirmReply(request.number, False))]
        check.askers[peer] = request.number
        return effects

    def on_reply(self, peer: Site, reply: ConfirmReply, now_us: int) -> list[Effect]:
        """What a confirmer says."""
        for site, check in self._checks.items():
            if check.asking == peer and check.number == reply.number:
                if reply.refused:
                    return self._down(site, check, f"it refused us and {short(peer)}", now_us)
                return self._end(site, False)
        return []

    def removed(self, site: Site) -> None:
        """Forget what belongs to this site."""
        self._end(site, False)
        for check in self._checks.values():
            check.askers.pop(site, None)

    def clear(self) -> None:
        """After a sleep: nothing that was asked before it counts."""
        for site in list(self._checks):
            self._end(site, False)

    def _dial(self, member: Member, now_us: int) -> list[Effect]:
        """Send a ping over a new link, unless that is under way, or too much is."""
        check = self._checks.get(member.site)
        if check is None:
            if len(self._checks) >= self._config.checks_max:
                return []
            number = next(self._speech.numbers)
            check = self._checks[member.site] = _Check(member.evidence.incarnation, number)
        elif check.refused:
            return []
        self._timers.set(("check", member.site), now_us + self._config.confirm_us_max)
        return [self._speech.ping(member, check.number)]

    def _ask(self, site: Site, check: _Check, now_us: int) -> list[Effect]:
        """Ask the next member to confirm."""
        opinions = self._opinions
        if not _lives(opinions.members[site], check.incarnation):
            return self._end(site, True)
        helpers = opinions.helpers(self._config.confirmers_max + 1, but=site)
        if not helpers and not check.asked:
            return self._down(site, check, "it refused us, and there is nobody else to ask", now_us)
        helper = next((contact for contact in helpers if contact.site not in check.asked), None)
        if helper is None or len(check.asked) >= self._config.confirmers_max:
            effects = self._end(site, True)
            return effects + opinions.accuse(site, "it closed and refused us, and nobody confirmed that", now_us)
        check.asking = helper.site
        check.asked[helper.site] = None
        check.number = next(self._speech.numbers)
        self._timers.set(("check", site), now_us + self._config.confirm_us_max)
        request = ConfirmRequest(check.number, opinions.members[site].contact)
        return [Send(helper.site, request, helper.address)]

    def _down(self, site: Site, check: _Check, why: str, now_us: int) -> list[Effect]:
        effects = self._end(site, True)
        story = f"its link closed and {why}"
        return effects + self._opinions.declare_down(site, check.incarnation, story, "refused", now_us)

    def _answer(self, check: _Check, refused: bool) -> list[Effect]:
        return [Send(asker, ConfirmReply(number, refused)) for asker, number in check.askers.items()]

    def _end(self, site: Site, refused: bool) -> list[Effect]:
        check = self._checks.pop(site, None)
        self._timers.cancel(("check", site))
        if check is None or check.refused:  # whoever asked has been told
            return []
        return self._answer(check, refused)

    def check(self) -> None:
        invariant(len(self._checks) <= self._config.checks_max, "checks are bounded")
        for site, check in self._checks.items():
            invariant(site in self._opinions.members, "only members are checked")
            invariant(("check", site) in self._timers, "every check has a timer")
            invariant(len(check.askers) <= self._config.askers_max, "askers are bounded")
            invariant(len(check.asked) <= self._config.confirmers_max, "confirmers are bounded")


def _lives(member: Member, incarnation: int) -> bool:
    """Whether we hold that very life, and not for over."""
    return member.evidence.incarnation == incarnation and member.state not in (Liveness.DOWN, Liveness.STOPPED)
