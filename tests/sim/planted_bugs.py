"""Bugs to plant (reference 3.5, "Mutation check", and the detector's own), and the search for a seed that shows one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from covey.core.clock import HybridClock
from covey.core.vocabulary import Liveness, LoopLagged, Persist
from covey.protocols.detector import opinions as opinions_module
from covey.protocols.detector import record as record_module
from covey.protocols.detector.defence import Defence
from covey.protocols.detector.opinions import Opinions
from covey.protocols.detector.record import Evidence
from covey.protocols.detector.speech import Speech
from covey.protocols.membership.floors import Floors
from covey.protocols.membership.ledger import CLOCK, REJOIN, Ledger
from covey.protocols.membership.machine import Membership
from covey.protocols.membership.record import Record
from covey.sim.profiles import PROFILES, run_profile
from covey.sim.world import World

Plant = Callable[[pytest.MonkeyPatch], None]


class Bug(msgspec.Struct, frozen=True):
    """What is planted, where it has to be found, and in how many seeds."""

    plant: Plant
    profile: str
    says: str = ""  # part of what the failure says
    seeds_max: int = 60


# --- membership -----------------------------------------------------------------------------------------------------


def everybody_knows_whatever_one_of_them_does_not(patch: pytest.MonkeyPatch) -> None:
    """The seed's fold: a lagging peer that was visited early is forgotten by the fold."""
    asked: list[bytes] = []
    has_kicked = Floors.has_kicked

    def fold(self: Floors, site: bytes, kicked: bytes) -> bool:
        asked.append(site)
        return site == min(asked) or has_kicked(self, site, kicked)  # type: ignore[arg-type]

    patch.setattr(Floors, "has_kicked", fold)


def told_before_persistence(patch: pytest.MonkeyPatch) -> None:
    """Messages and events leave before what they tell is on the disk."""
    handle = Membership.handle
    patch.setattr(
        Membership,
        "handle",
        lambda self, incoming, now_us: sorted(handle(self, incoming, now_us), key=lambda e: isinstance(e, Persist)),
    )


def clocks_deleted_at_reset(patch: pytest.MonkeyPatch) -> None:
    """Who changes the cluster begins its clock anew."""
    reset = Ledger.reset

    def wipe(self: Ledger, cluster: Any) -> None:
        reset(self, cluster)
        self.clock = HybridClock(self._config.drift_ms_max)
        self.rejoin_clock = 0
        self._dirty[CLOCK] = self._dirty[REJOIN] = None

    patch.setattr(Ledger, "reset", wipe)


def exclusive_since(patch: pytest.MonkeyPatch) -> None:
    """`>` instead of `>=`: the default at clock 0 is never sent."""
    since = Record.since
    patch.setattr(Record, "since", lambda self, imported: since(self, imported + 1))


def taking_back_what_was_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A kick is forgotten with the details."""
    forget = Ledger.forget

    def forget_all(self: Ledger, key: Any) -> None:
        forget(self, key)
        if key[0] and not self.record.is_member(key[1]):
            forget(self, (0, key[1]))

    patch.setattr(Ledger, "forget", forget_all)


# --- the detector ---------------------------------------------------------------------------------------------------


def believing_others_about_our_own_life(patch: pytest.MonkeyPatch) -> None:
    """A third party's view of our own incarnation is restored."""
    on_own_name = Defence.on_own_name

    def believe(self: Defence, rumour: Any, peer: Any, now_us: int) -> list[Any]:
        me = self._opinions.me
        if rumour.incarnation > me.incarnation:
            self._opinions.reset(rumour.incarnation, now_us)
        return on_own_name(self, rumour, peer, now_us)

    patch.setattr(Defence, "on_own_name", believe)


def no_refutation(patch: pytest.MonkeyPatch) -> None:
    """Who is accused says nothing."""
    patch.setattr(Defence, "on_own_name", lambda self, rumour, peer, now_us: [])


def the_accused_is_not_told(patch: pytest.MonkeyPatch) -> None:
    """Neither an answer nor a ping tells whom we hold for suspect or down."""
    riding = Speech._riding
    patch.setattr(Defence, "answer", lambda self, peer, now_us: [])
    patch.setattr(Speech, "_riding", lambda self, to: tuple(rumour for rumour in riding(self, to) if rumour.site != to))


def suspicion_never_ends(patch: pytest.MonkeyPatch) -> None:
    """The time of a suspicion runs out, and nothing follows."""

    def expire(self: Opinions, site: Any, now_us: int) -> list[Any]:
        return []

    patch.setattr(Opinions, "expire", expire)
    patch.setattr("covey.protocols.detector.suspicions.Suspicions.check", lambda self: None)


def suspicion_does_not_shrink(patch: pytest.MonkeyPatch) -> None:
    """Nobody's word confirms a suspicion."""
    patch.setattr("covey.protocols.detector.suspicion.Suspicion.confirm", lambda self, accuser: False)


def a_stopped_life_comes_back(patch: pytest.MonkeyPatch) -> None:
    """What a life said of its own end gives way to its refutations."""
    patch.setattr(Evidence, "rank", property(lambda self: (self.incarnation, False, self.refutation, self.state)))


def a_digest_without_the_state(patch: pytest.MonkeyPatch) -> None:
    """Tables that differ only in who is alive have one digest."""
    fingerprint = record_module.fingerprint

    def blind(site: Any, evidence: Evidence) -> int:
        alive = evidence.state is not Liveness.UNKNOWN
        return fingerprint(site, Evidence(evidence.incarnation, 0, Liveness.ALIVE) if alive else evidence)

    patch.setattr(record_module, "fingerprint", blind)
    patch.setattr(opinions_module, "fingerprint", blind)


def anybody_refutes(patch: pytest.MonkeyPatch) -> None:
    """Whoever reaches a suspect raises its refutation for it."""
    heard = Opinions.heard

    def defend(self: Opinions, site: Any, now_us: int) -> list[Any]:
        member = self.members.get(site)
        if member is not None and member.state is Liveness.SUSPECT:
            held = member.evidence
            alive = Evidence(held.incarnation, held.refutation + 1, Liveness.ALIVE)
            return self._take(member, alive, b"", "it spoke to us", "spoke", now_us)
        return heard(self, site, now_us)

    patch.setattr(Opinions, "heard", defend)


def dead_at_the_first_failure(patch: pytest.MonkeyPatch) -> None:
    """No suspicion: who does not answer is down."""
    accuse = Opinions.accuse

    def condemn(self: Opinions, site: Any, why: str, now_us: int) -> list[Any]:
        effects = accuse(self, site, why, now_us)
        life = self.members[site].evidence.incarnation
        return effects + self.declare_down(site, life, why, "silent", now_us)

    patch.setattr(Opinions, "accuse", condemn)


# --- the worlds -----------------------------------------------------------------------------------------------------


def timers_before_packets(patch: pytest.MonkeyPatch) -> None:
    """Who wakes serves its late alarms first, and hears afterwards what has waited for it."""

    def wake(self: World, node: Any) -> None:
        if not node.alive or node.paused_until_us > self.now_us:
            return
        backlog, node.backlog = node.backlog, []
        for alarms in (True, False):
            for is_alarm, action in backlog:
                if is_alarm is alarms:
                    action()
        node.feed(LoopLagged(0))

    patch.setattr(World, "_wake", wake)


BUGS = {
    bug.plant.__name__: bug
    for bug in (
        Bug(told_before_persistence, "membership", "3:"),
        Bug(clocks_deleted_at_reset, "membership", "2:"),
        Bug(exclusive_since, "membership"),
        Bug(taking_back_what_was_forgotten, "membership", "9:"),
        Bug(no_refutation, "detector"),
        Bug(suspicion_never_ends, "detector", "SUSPECT"),
        Bug(anybody_refutes, "detector", "14:"),
        Bug(dead_at_the_first_failure, "detector", "14:"),
    )
}

# The simulator heals what these do, or never comes to where it shows: a named scenario finds each.
KNOWN_TO_A_SCENARIO: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        everybody_knows_whatever_one_of_them_does_not,
        believing_others_about_our_own_life,
        the_accused_is_not_told,
        suspicion_does_not_shrink,
        a_stopped_life_comes_back,
        a_digest_without_the_state,
        timers_before_packets,
    )
}


def first_failure(bug: Bug) -> tuple[int, str]:
    """The first seed that fails, and what it says; 0 if none does."""
    for seed in range(1, bug.seeds_max + 1):
        failure = run_profile(PROFILES[bug.profile], seed).failure
        if failure:
            return seed, failure
    return 0, ""
