"""The passage: into the cluster, and out of it.

Who joins from alone enters the shared cluster first, in a new life, because nobody would talk to it otherwise; if that
comes to nothing it goes back to the cluster it was alone in, with all that was recorded there. Who does not belong any
more goes to a cluster that nobody else can be in.

The change is decided here and carried out by the links, behind the disk. In between, links of the old cluster still
come up and speak; nothing of that may be heard. So this is a door that closes with `ClusterChanged` and opens with
`ClusterEntered`.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from covey.core.clock import COUNTER_MASK, STAMP_MAX, pack
from covey.core.errors import JoinFailed, UsageError, invariant
from covey.core.ids import ClusterId, Contact, Site
from covey.core.timers import Timers
from covey.core.vocabulary import (
    AddressAnswered,
    AddressFailed,
    Cause,
    ClusterChanged,
    ClusterEntered,
    Dial,
    Emit,
    MemberAdded,
    MemberRemoved,
    Refuse,
    Resolve,
    Send,
    Superseded,
)
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.exchange import Exchange
from covey.protocols.membership.ledger import Ledger
from covey.protocols.membership.record import IS_MEMBER, MEM
from covey.protocols.membership.vocabulary import Join, JoinedAnotherCluster, Kicked, MemberJoined
from covey.protocols.membership.waits import Waits
from covey.wire.messages.membership import News, Op

Effect = Any

_ALL_OUT = (
    ": it is out of the cluster itself; name a member, and where all are out let one of them join its own address"
)
# A dial of before the change ended so because of the cluster we were in; it says nothing about the one we enter.
_OF_THE_CLUSTER = frozenset({Cause.CLUSTER, Cause.ALONE, Cause.GOODBYE})


class Alone(msgspec.Struct, frozen=True):
    """A cluster of our own, as it stood when we tried to leave it behind."""

    cluster: ClusterId
    verdict: Op | None
    ops: tuple[Op, ...]


class Joining:
    """A join that has no outcome yet."""

    __slots__ = ("address", "back", "began", "request", "site")

    def __init__(self, request: int, address: str, back: Alone | None, began: int) -> None:
        self.request = request
        self.began = began  # as a stamp
        self.address = address
        self.back = back  # where to go if it fails; None if we belong already
        self.site: Site | None = None  # who answers there


class Passage:
    """Which cluster we are in, and on the way to which.

    Law: every join has exactly one outcome; one that fails changes neither the cluster we are in nor what is recorded
    there; nothing heard in one cluster is recorded in another.
    Invariant: a join has a deadline, and there is none without one.
    """

    def __init__(
        self,
        config: MembershipConfig,
        rng: Random,
        ledger: Ledger,
        exchange: Exchange,
        waits: Waits,
        timers: Timers[tuple[Any, ...]],
        shared: ClusterId,
    ) -> None:
        self._config = config
        self._rng = rng
        self._ledger = ledger
        self._exchange = exchange
        self._waits = waits
        self._timers = timers
        self._shared = shared
        self._joining: Joining | None = None
        self._changing = 0  # changes that are decided and not carried out

    @property
    def closed(self) -> bool:
        """Whether the links still belong to a cluster before the one we are in."""
        return self._changing > 0

    @property
    def solo(self) -> bool:
        """Whether nobody else can be in our cluster."""
        return self._ledger.cluster != self._shared

    def entered(self, fact: ClusterEntered, now_us: int) -> list[Effect]:
        """One change is carried out; of several on their way, the last one counts."""
        self._changing = max(self._changing - 1, 0)
        return []

    # --- joining ----------------------------------------------------------------------------------------------------

    def join(self, command: Join, now_us: int) -> list[Effect]:
        """Dial the address; who is alone is in the shared cluster from here on, in a new life.

        Our own address needs no dial: who is alone begins the cluster again, as its first member.
        """
        ledger = self._ledger
        leaving = ledger.out() if self._waits.leaving and not self.solo else None  # first that, since this is later
        if max(ledger.rejoin_clock, leaving.clock if leaving is not None else 0) >= STAMP_MAX:
            raise UsageError("no stamp is left that beats what threw us out; nothing was changed")
        if (self.solo or leaving is not None) and not ledger.can_begin_life():
            raise UsageError("this site is in the last life there is; nothing was changed: start with another site")
        effects = self.go_alone(leaving, now_us) if leaving is not None else []
        back = self._joining.back if self._joining is not None else None
        effects += self._refuse("another join came after it")
        if self.solo:
            back = Alone(ledger.cluster, ledger.verdict, tuple(entry.op for entry in ledger.record.since(0)))
            effects += [MemberRemoved(site) for site in self._others()]
            ledger.verdict = None
            self._enter(self._shared)
            ledger.write_return(now_us)
            effects += self._changed(now_us)
        if command.address == ledger.me.address:
            return [*effects, Resolve(command.request, ledger.me)]
        began = pack(ledger.clock.wall_ms(now_us), COUNTER_MASK)
        self._joining = Joining(command.request, command.address, back, began)
        self._timers.set(("join",), now_us + self._config.join_us_max)
        return [*effects, Dial(command.address)]

    def answered(self, fact: AddressAnswered, now_us: int) -> list[Effect]:
        """Somebody is there. An exchange has to follow, though we may be linked: it may hold us for thrown out."""
        joining, contact = self._joining, fact.contact
        if joining is None or joining.address != fact.address or self.closed:
            return []
        if contact.site == self._ledger.me.site:
            self._end()
            return [Resolve(joining.request, self._ledger.me), *self._go_back(joining, now_us)]
        joining.site = contact.site
        return self._exchange.sync(contact.site, True, now_us) if contact.site in self._exchange.links else []

    def connected(self, contact: Contact, now_us: int) -> list[Effect]:
        """A link is up: compare, or where a join waits for this very peer, exchange at once, though we may be equal."""
        effects = self._exchange.connected(contact)
        if self._is_awaited(contact.site):
            effects += self._exchange.sync(contact.site, True, now_us)
        return effects

    def exchanged(self, peer: Site) -> list[Effect]:
        """The first exchange completes a join: of who belongs, with the one it asked for; from alone, with anybody."""
        joining = self._joining
        if joining is None or self.closed or (joining.back is None and not self._is_awaited(peer)):
            return []
        return self._resolve(peer)

    def failed(self, fact: AddressFailed, now_us: int) -> list[Effect]:
        """Nobody is there, or somebody of another cluster: the join is over, unless that dial was of before."""
        joining = self._joining
        if joining is None or joining.address != fact.address:
            return []
        if self.closed and fact.cause in _OF_THE_CLUSTER:
            return []
        detail = f"nobody of this cluster answers at {fact.address} ({fact.cause.name.lower()}); nothing was joined"
        detail += _ALL_OUT if fact.cause is Cause.ALONE else ""
        error = JoinedAnotherCluster(detail) if fact.cause is Cause.CLUSTER else JoinFailed(detail)
        self._end()
        return [Refuse(joining.request, error), *self._go_back(joining, now_us)]

    def overdue(self, now_us: int) -> list[Effect]:
        """Nobody answered in time; unless another timer of the same moment has ended the join."""
        joining = self._joining
        return [*self._refuse("no answer in time"), *self._go_back(joining, now_us)] if joining is not None else []

    def _is_awaited(self, site: Site) -> bool:
        joining, link = self._joining, self._exchange.links.get(site)
        there = link.address if link is not None else None
        return joining is not None and (joining.site == site or there == joining.address)

    def _resolve(self, peer: Site) -> list[Effect]:
        joining = self._end()
        contact = self._ledger.record.contact(peer) or self._exchange.links.get(peer)
        return [Resolve(joining.request, contact)]

    def _refuse(self, why: str) -> list[Effect]:
        if self._joining is None:
            return []
        joining = self._end()
        detail = f"{joining.address} did not let us in: {why}; nothing was joined"
        return [Refuse(joining.request, JoinFailed(detail))]

    def _end(self) -> Joining:
        joining, self._joining = self._joining, None
        assert joining is not None
        self._timers.cancel(("join",))
        return joining

    def _go_back(self, joining: Joining, now_us: int) -> list[Effect]:
        """From a join that failed to the cluster we were alone in; whoever heard of us meanwhile hears that we left."""
        back, ledger = joining.back, self._ledger
        if back is None:
            return []
        effects: list[Effect] = []
        if not self.closed and self._exchange.links and ledger.can_write(MEM, ledger.me.site):
            left = ledger.write(MEM, ledger.me.site, ledger.own_flags() & ~IS_MEMBER, now_us)
            ledger.rejoin_clock = left.clock
            effects += [Send(site, News((left,))) for site in self._exchange.links]
        removed = [MemberRemoved(site) for site in self._others()]
        ledger.verdict = back.verdict
        self._enter(back.cluster)
        ledger.begin_import()
        for op in back.ops:
            ledger.take(op, now_us)
        effects += [*self._changed(now_us), *removed]
        for site in self._others():
            said = ledger.record.get(MEM, site)
            assert said is not None
            effects.append(Emit(MemberJoined(site, said.origin)))
        return effects + self.introduce()

    # --- new lives --------------------------------------------------------------------------------------------------

    def introduce(self) -> list[Effect]:
        """All others that belong, to machines that do not know of them; nobody has observed them yet."""
        record = self._ledger.record
        effects: list[Effect] = []
        for site in self._others():
            contact = record.contact(site)
            assert contact is not None
            effects.append(MemberAdded(contact, record.is_ephemeral(site), False, record.meta(site)))
        return effects

    def superseded(self, fact: Superseded, now_us: int) -> list[Effect]:
        """Others know a later life of ours, and that it is over: our clock, or our disk, went back. A new life."""
        ledger = self._ledger
        if self.closed or fact.incarnation < ledger.me.incarnation or not ledger.can_begin_life():
            return []
        ledger.begin_life(fact.incarnation, now_us)
        self._exchange.clear()
        self._changing += 1
        effects: list[Effect] = [MemberRemoved(site) for site in self._others()]
        return [*effects, *self._changed(now_us), *self.introduce()]

    def come_back(self) -> bool:
        """Who left, or was about to, comes back when it starts again, if a later stamp is left; nobody else does."""
        ledger = self._ledger
        verdict = ledger.verdict if self.solo else ledger.out()
        if verdict is None or verdict.origin != ledger.me.site or verdict.clock >= STAMP_MAX:
            return False
        ledger.rejoin_clock = max(ledger.rejoin_clock, verdict.clock)
        if self.solo:
            ledger.verdict = None
            ledger.reset(self._shared)
        return True

    # --- going alone ------------------------------------------------------------------------------------------------

    def go_alone(self, verdict: Op, now_us: int) -> list[Effect]:
        """We do not belong any more: a new cluster of our own, which can never be merged back by accident.

        A join that was given after what threw us out goes on from there, since it came later.
        """
        ledger, again = self._ledger, self._joining
        if again is not None and verdict.origin != ledger.me.site and ledger.can_begin_life():
            again = self._end() if verdict.clock <= again.began else None
        else:
            again = None
        removed = [MemberRemoved(site) for site in self._others()]
        effects = [*self._waits.end_all(now_us), *self._refuse("we are out of the cluster ourselves")]
        self._timers.cancel(("alone",))
        ledger.rejoin_clock = max(ledger.rejoin_clock, verdict.clock)
        ledger.verdict = verdict
        if verdict.origin != ledger.me.site:
            effects.append(Emit(Kicked(verdict.origin, verdict.wall_ms)))
        self._enter(ClusterId(self._rng.randbytes(16)))
        ledger.write_default(now_us)
        effects += [*self._changed(now_us), *removed]  # in this order nobody is asked to replace the others
        return effects + (self.join(Join(again.request, again.address), now_us) if again is not None else [])

    def _others(self) -> list[Site]:
        return [site for site in self._ledger.record.members() if site != self._ledger.me.site]

    def _enter(self, cluster: ClusterId) -> None:
        self._ledger.reset(cluster)
        self._exchange.clear()
        self._changing += 1

    def _changed(self, now_us: int) -> list[Effect]:
        """What the others have to do about it, and where we are, in this life and cluster."""
        change = ClusterChanged(self._ledger.cluster, self._ledger.me.incarnation, self.solo)
        return [change, *self._exchange.flood(self._ledger.write_details(now_us))]

    def check(self) -> None:
        invariant((self._joining is None) == (("join",) not in self._timers), "a join has a deadline")
