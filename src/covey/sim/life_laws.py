"""What must hold of the detector at every step, whatever happens (reference/membership.md 3.5, 14 to 16 and 19).

The law about false deaths, exactly: when a node holds a life for down, by its own suspicion or because it was refused,
then during the whole `GOOD_US` before one of these was so: that life did not run, or was stopped; or the node was; or
something between that life and any running node, or between the node and any running node, did not arrive in time and
order. `GOOD_US` is the longest suspicion, and before it the time in which parted nodes surely find each other again:
only then does a suspicion have a way to whom it is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Life, Site, short
from covey.core.vocabulary import ClusterChanged, Liveness, LivenessChanged, SiteContested
from covey.engine.gate import Store
from covey.engine.roster import MemberChanged, RosterEntry
from covey.protocols.detector.record import Evidence, Member
from covey.protocols.detector.suspicion import suspicion_us_min
from covey.protocols.detector.vocabulary import LinkBroken, LinkMended
from covey.sim.node import SimNode
from covey.sim.world import World

SECOND_US = 1_000_000
REACHED_US = 45 * SECOND_US  # the longest pause of the address book, and a beacon's
SAMPLE_US = SECOND_US // 2


class _Observer:
    """What one process holds of others, as it was observed from outside."""

    def __init__(self) -> None:
        self.held: dict[Site, tuple[Member, Evidence]] = {}
        self.suspect_us: dict[Site, int] = {}
        self.roster: dict[Site, RosterEntry] = {}
        self.broken: dict[Site, None] = {}


class LifeLaws:
    """Looks on at every step of every detector, and at the events of every roster."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._observers: dict[int, _Observer] = {}
        self._refuted: dict[Life, int] = {}  # how far each life has raised its refutation itself
        self._said: dict[int, tuple[Life, int]] = {}  # the same of each process
        self._places: dict[Site, dict[int, None]] = {}  # the machines on which each site has lived
        self._latest: dict[Site, int] = {}  # the latest life that each site has led
        self._ended: dict[Life, None] = {}  # those that said that they stop
        self._bad_us: dict[int, int] = {}  # node: when anything was last wrong with it, or with a way to it
        self._sampled_us = -SAMPLE_US
        self.false_deaths_us = REACHED_US + 6 * suspicion_us_min(world.config.detector, 10)
        world.watches.append(self)

    # --- what happens -----------------------------------------------------------------------------------------------

    def started(self, node: SimNode) -> None:
        """A new process holds nothing."""
        self._observers[node.number] = _Observer()
        self._places.setdefault(node.site, {})[node.index] = None
        self._bad_us[node.index] = self._world.now_us
        self._lead(node)

    def observed(self, node: SimNode, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
        """14: evidence rises, and nobody speaks for others."""
        if machine != "detector":
            return
        self._lead(node, incoming)
        observer, opinions = self._observers[node.number], node.engine.detector.opinions
        for effect in effects:
            if type(effect) is LivenessChanged:
                self._changed(node, observer, effect)
        if node.engine.detector.stopped:
            self._ended[Life(node.site, opinions.me.incarnation)] = None
            return
        held = observer.held
        for site, member in opinions.members.items():
            before = held.get(site)
            if before is None or before[1] is not member.evidence:
                self._taken(node, site, member, before)
                held[site] = member, member.evidence
        if len(held) > len(opinions.members):
            observer.held = {site: what for site, what in held.items() if site in opinions.members}

    def stored(self, node: SimNode, store: Store) -> None:
        """The detector stores nothing."""

    def emitted(self, node: SimNode, event: Any) -> None:
        """15: the events of a roster follow one another."""
        observer = self._observers[node.number]
        match event:
            case MemberChanged(before, after):
                entry = before or after
                invariant(entry is not None, "15: a change is from something, or to something")
                assert entry is not None
                site = entry.contact.site
                invariant(observer.roster.get(site) == before, "15: a change starts from what was told last")
                if after is None:
                    del observer.roster[site]
                else:
                    observer.roster[site] = after
            case LinkBroken(_, other):
                observer.broken[other] = None
            case LinkMended(_, other):
                observer.broken.pop(other, None)
            case SiteContested():
                # The other one may have ended since: what it said is still on its way.
                copied = len(self._places[node.site]) > 1
                invariant(copied, f"n{node.index} is told of another process with its storage, and there never was one")

    # --- opinions ---------------------------------------------------------------------------------------------------

    def _lead(self, node: SimNode, incoming: Any = None) -> None:
        """What a node says of its own life is the truth about it."""
        opinions = node.engine.detector.opinions
        life, refutation = Life(node.site, opinions.me.incarnation), opinions.refutation
        invariant(life.incarnation <= node.incarnation, f"14: n{node.index} leads a life that others told it of")
        if type(incoming) is ClusterChanged:  # alone there is nobody to remember; who joins again, joins in a new life
            self._said.pop(node.number, None)
        said = self._said.get(node.number, (life, 0))
        invariant((life.incarnation, refutation) >= (said[0].incarnation, said[1]), "14: a refutation never falls")
        self._said[node.number] = life, refutation
        self._refuted[life] = max(refutation, self._refuted.get(life, 0))
        self._latest[node.site] = max(node.incarnation, self._latest.get(node.site, 0))

    def _taken(self, node: SimNode, site: Site, member: Member, before: tuple[Member, Evidence] | None) -> None:
        """A record of a member changed, or is new."""
        evidence, life = member.evidence, Life(site, member.evidence.incarnation)
        who = f"n{node.index} about {short(site)}"
        if before is not None and before[0] is member:
            invariant(evidence.rank > before[1].rank, f"14: {who}: a record rises in the order of evidence")
            later = evidence.incarnation > before[1].incarnation
            over = before[1].state is Liveness.STOPPED
            invariant(later or not over, f"14: {who}: what said that it stops neither fails nor comes back")
        if site not in self._latest:
            return  # a site that was only ever written down
        invariant(evidence.incarnation <= self._latest[site], f"14: {who}: only its owner begins a life")
        known = self._refuted.get(life, 0)
        invariant(evidence.refutation <= known, f"14: {who}: only its owner refutes")
        if evidence.state is Liveness.STOPPED:
            invariant(life in self._ended, f"14: {who}: it never said that it stops")

    def _changed(self, node: SimNode, observer: _Observer, fact: LivenessChanged) -> None:
        site, now_us = fact.contact.site, self._world.now_us
        if fact.state is Liveness.SUSPECT:
            observer.suspect_us[site] = now_us
        elif fact.state is not Liveness.DOWN:
            observer.suspect_us.pop(site, None)
        elif fact.cause in ("silent", "refused"):
            since_us = observer.suspect_us.pop(site, None)
            if fact.cause == "silent":
                shortest_us = suspicion_us_min(node.config.detector, 1)
                long_enough = since_us is not None and now_us - since_us >= shortest_us
                invariant(long_enough, "14: dead only after the shortest suspicion")
            self._no_false_death(node, Life(site, fact.contact.incarnation), fact)

    def _no_false_death(self, node: SimNode, life: Life, fact: LivenessChanged) -> None:
        world = self._world
        self._sample()
        since_us = world.now_us - self.false_deaths_us
        subject = next((other for other in world.alive() if Life(other.site, other.incarnation) == life), None)
        if subject is None or max(self._bad_us[subject.index], self._bad_us[node.index]) > since_us:
            return
        invariant(False, f"n{node.index} holds n{subject.index} for down, which is well: {fact.why}")

    # --- now and then -----------------------------------------------------------------------------------------------

    def _sample(self) -> None:
        """Who has trouble, or a way to somebody that has."""
        world = self._world
        self._sampled_us = world.now_us
        nodes = world.alive()
        network = world.network
        for node in nodes:
            if node.paused_until_us > world.now_us:
                self._bad_us[node.index] = world.now_us
        for one in nodes:
            for other in nodes:
                if one.index < other.index and not network.good(one.index, other.index):
                    self._bad_us[one.index] = self._bad_us[other.index] = world.now_us

    def check(self, world: World) -> None:
        """What concerns several nodes at one moment."""
        if world.now_us - self._sampled_us >= SAMPLE_US:
            self._sample()
        for node in world.alive():
            observer = self._observers[node.number]
            invariant(observer.roster == node.engine.roster.entries, f"15: n{node.index}'s roster is what it told")
            detector, sites = node.engine.detector, len(self._latest)
            invariant(len(detector.opinions.queue) <= len(detector.opinions.members) + 1, "16: one rumour a site")
            invariant(detector.prober.relays <= 3 * 8 * sites, "16: three relays an asker and interval")

    def broken(self, node: SimNode) -> list[Site]:
        """The links that it called broken and not mended since."""
        return list(self._observers[node.number].broken)


class LifeProgress:
    """19, in a calm world: nobody who runs and is reached stays down longer than the longest suspicion."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[tuple[int, int], int] = {}

    def look(self) -> None:
        """Who is reached and held for dead, and since when."""
        world = self._world
        limit_us = 6 * suspicion_us_min(world.config.detector, len(world.alive()))
        running = [node for node in world.running() if not node.engine.membership.solo]
        now: dict[tuple[int, int], None] = {}
        for node in running:
            for other in running:
                if other is node or node.engine.links.contact(other.site) is None:
                    continue
                member = node.engine.detector.opinions.members.get(other.site)
                if member is not None and member.state in (Liveness.DOWN, Liveness.STOPPED):
                    now[node.number, other.number] = None
        self._since = {pair: self._since.get(pair, world.now_us) for pair in now}
        for pair, since_us in self._since.items():
            invariant(world.now_us - since_us <= limit_us, f"19: reached, and held for dead: {pair}")


class _Row(msgspec.Struct, frozen=True):
    """What is held of one site."""

    state: Liveness
    incarnation: int


def lives_pending(world: World, laws: LifeLaws) -> tuple[str, list[Site]] | None:
    """Why not everybody who runs is held alive everywhere, in its own life, and everybody else over."""
    nodes = world.alive()
    alive = {node.site: node for node in nodes}
    for node in nodes:
        members = node.engine.detector.opinions.members
        rows = {site: _Row(member.state, member.evidence.incarnation) for site, member in members.items()}
        for site, other in alive.items():
            if other is not node and rows.get(site) != _Row(Liveness.ALIVE, other.incarnation):
                return f"n{node.index} holds n{other.index} for {rows.get(site)}, not alive", [site, node.site]
        for site, row in rows.items():
            if site not in alive and row.state not in (Liveness.DOWN, Liveness.STOPPED):
                return f"n{node.index} holds {short(site)}, which is gone, for {row.state.name}", [site, node.site]
        shown = {
            site: _Row(entry.state, entry.contact.incarnation) for site, entry in node.engine.roster.entries.items()
        }
        if shown != rows:
            return f"n{node.index} shows other states than it holds", [node.site]
        for site in laws.broken(node):
            if site in alive:
                return f"n{node.index} still calls its link to n{alive[site].index} broken", [site, node.site]
    digests = {node.engine.detector.opinions.digest for node in nodes}
    return ("the tables differ", [node.site for node in nodes]) if len(digests) > 1 else None
