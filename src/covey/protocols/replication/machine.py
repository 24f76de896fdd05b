"""The row machine: rows of many owners, and rows of everybody, alike at all who hold them.

An instance is all rows of one scope, hub or replica; it has owned rows (`owned`) and shared ones (`shared`). Who holds
which instance is itself an owned row, of an instance that every node holds. What is done to rows is pushed once: to
each of the holders, or where all nodes hold it and they are many, from neighbour to neighbour. What a push did not
bring is found by digest, with whoever is pinged and once a second with a holder, and asked for from any holder.

Rows of an instance are shown while their owner holds it. So letting go of an instance is one operation of the instance
that all hold, and cannot be missed. Whoever holds one again says with it how many of its numbers are void, and counts
on from there: no late word about the time before means anything.

Whose rows count is not decided here: membership and the detector say which life of a site is current. Rows of a life
that is held for down are hidden, not dropped, so a false accusation costs nothing; what is over for good (a later life,
its own last word, its removal) drops them, and no late message brings them back: no message of that life counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, assert_never

from covey.core.errors import Overloaded, UnknownName, ValueTooLarge, invariant
from covey.core.ids import Contact, Site
from covey.core.rng import jittered
from covey.core.rows import (
    HoldInstance,
    ReleaseInstance,
    RowsChanged,
    TakeOperations,
    TakeRows,
    WriteRows,
    WriteShared,
)
from covey.core.timers import Timers
from covey.core.vocabulary import (
    AddressLearned,
    Channel,
    ClusterChanged,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    PeerProbed,
    Stop,
    Tick,
    TurnEnded,
    WantTurn,
)
from covey.protocols.replication.audience import Audience
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.driven import Driven
from covey.protocols.replication.facts import Facts
from covey.protocols.replication.holders import base_of, value_of
from covey.protocols.replication.owned import Owned
from covey.protocols.replication.shared import Shared
from covey.protocols.replication.vocabulary import SYSTEM, ReplicationStatistics, RowsStored
from covey.rows.owned import OwnedTable
from covey.rows.owner import Change
from covey.wire.messages.rows import (
    INSTANCE_BYTES_MAX,
    ROW_KEY_BYTES_MAX,
    ROW_VALUE_BYTES_MAX,
    RowSum,
)

Effect = Any


class Replication:
    """Rows of many owners, spread to whoever holds their instance.

    Law: the fold of `RowsChanged`, with what waits in `facts`, is what is shown; when nothing is lost any more, every
    holder shows, of every current life that is not held for down, exactly the rows that its owner has.
    Invariants: those of the tables and the pulls; we hold SYSTEM; an owner's rows are shown where it is not held for
    down and holds the instance; what waits for the end of the turn is ours.
    """

    def __init__(
        self,
        config: ReplicationConfig,
        rng: Random,
        now_us: int,
        *,
        me: Contact,
        stored: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """`stored` is what the shelf keeps on the disk; None where there is none, and no instance is durable."""
        self._config = config
        self._rng = rng
        self._audience = Audience(me, config.direct_max)
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self._lives = self._audience.lives
        self._holders = self._audience.holders
        self._linked = self._audience.linked
        self.facts = Facts(config.changes_max, config.waiting_max)
        self.owned = Owned(config, self._timers, self._audience, self.facts, self._changed)
        self.tables = self.owned.tables
        self.shared = Shared(config, self._timers, self._audience, stored)
        self.driven = Driven(config, self._audience, self.facts, self.owned, self.shared, self._changed)
        self._numbered = 0  # at least as high as any number of ours in an instance that we have let go of
        self._mismatches = 0
        self._open(SYSTEM)
        self._saving = self.shared.saving
        self._timers.set(("digest",), now_us + jittered(rng, config.digest_period_us))
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            WriteRows: self._on_write,
            WriteShared: self._on_write_shared,
            TakeOperations: self.driven.take_operations,
            TakeRows: self.driven.take,
            TurnEnded: self._on_turn_ended,
            Tick: self._on_tick,
            HoldInstance: self._on_hold,
            ReleaseInstance: self._on_release,
            MemberAdded: self._on_member_added,
            MemberRemoved: self._on_member_removed,
            LivenessChanged: self._on_liveness,
            ClusterChanged: self._on_cluster_changed,
            AddressLearned: self._on_address,
            PeerConnected: self._on_connected,
            PeerLost: self._on_lost,
            PeerProbed: self._on_probed,
            RowsStored: self._on_stored,
            Stop: self._on_stop,
        }
        self._on_message: dict[type, Callable[[Site, Any, int], list[Effect]]] = {
            RowSum: self._on_sum,
            **self.owned.handlers,
            **self.shared.handlers,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        effects = self._handlers[type(incoming)](incoming, now_us)
        return [*effects, WantTurn()] if self._saving.wants_turn() else effects

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        invariant(SYSTEM in self.tables, "every node holds who holds what")
        invariant(len(self.tables) <= self._config.instances_max, "instances are bounded")
        for instance, table in self.tables.items():
            for owner in self._lives.sites():
                incarnation = self._lives.incarnation(owner)
                invariant(not incarnation or table.knows(owner, incarnation), "a current life counts in every table")
                invariant(table.is_shown(owner) is self._shows(instance, owner), "shown: not down, and holds it")
        self.facts.check()
        self.owned.check()
        self.shared.check()
        self.driven.check()
        invariant(
            [*self.shared.tables] == [held for held in self.tables if held != SYSTEM], "shared rows of what is held"
        )

    def statistics(self) -> ReplicationStatistics:
        rows = sum(len(table) for table in self.tables.values())
        return ReplicationStatistics(
            len(self.tables),
            rows,
            len(self.owned.pulls),
            **self.owned.counts,
            mismatches=self._mismatches,
            shared=self.shared.statistics(),
        )

    # --- queries ----------------------------------------------------------------------------------------------------

    @property
    def me(self) -> Contact:
        """Our life as far as rows know, in which they are written."""
        return self._audience.me

    def holders(self, instance: bytes) -> list[Site]:
        """Who holds an instance, as far as is shown here; all members and we, for the one that everybody holds."""
        return self._audience.of(instance)

    def is_told(self, instance: bytes) -> bool:
        """Whether all that is shown of an instance has been told in `RowsChanged`."""
        return not self.facts.waits(instance)

    def row(self, instance: bytes, owner: Site, key: bytes) -> bytes | None:
        """One row as it is shown here."""
        table = self.tables.get(instance)
        return None if table is None else table.get(owner, key)

    # --- our own rows -----------------------------------------------------------------------------------------------

    def _on_write(self, command: WriteRows, now_us: int) -> list[Effect]:
        if command.instance not in self.tables or command.instance == SYSTEM:
            raise UnknownName(f"this node does not hold the instance {command.instance!r}; nothing was written")
        for key, value in command.changes:
            if len(key) > ROW_KEY_BYTES_MAX or len(value or b"") > ROW_VALUE_BYTES_MAX:
                raise ValueTooLarge(
                    f"a row has at most {ROW_KEY_BYTES_MAX} bytes of key and {ROW_VALUE_BYTES_MAX} of value, not "
                    f"{len(key)} and {len(value or b'')}; nothing was written"
                )
        return self.owned.write(command.instance, list(command.changes)) if command.changes else []

    def _on_write_shared(self, command: WriteShared, now_us: int) -> list[Effect]:
        return self.shared.write(command)

    def _on_turn_ended(self, _: TurnEnded, now_us: int) -> list[Effect]:
        told = self.owned.on_turn_ended(now_us) + self.shared.on_turn_ended() + self.facts.on_turn_ended()
        return told + self._saving.on_turn_ended()

    def _on_stored(self, fact: RowsStored, now_us: int) -> list[Effect]:
        self._saving.on_stored(fact)
        return []

    def _on_stop(self, _: Stop, now_us: int) -> list[Effect]:
        self._saving.stop()
        return []

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for message in received.messages:
            effects += self._on_message[type(message)](received.peer, message, now_us)
        return effects

    # --- comparing --------------------------------------------------------------------------------------------------

    def _common(self, peer: Site) -> list[bytes]:
        """The instances that both of us hold, as far as is shown here."""
        return [instance for instance in sorted(self.tables) if self._audience.shares(instance, peer)]

    def _sum(self, instances: list[bytes]) -> bytes:
        hashed = hashlib.blake2b(digest_size=8, person=b"covey.rowsum")
        for instance in instances:
            hashed.update(len(instance).to_bytes(2, "big") + instance)
            hashed.update(self.tables[instance].digest.to_bytes(8, "big") + self.shared.digest(instance))
        return hashed.digest()

    def _on_digest_timer(self, now_us: int) -> list[Effect]:
        """Compare with somebody who holds something that we do."""
        self._timers.set(("digest",), now_us + jittered(self._rng, self._config.digest_period_us))
        effects = self.owned.logs.trim()
        self.shared.retiring.trim(now_us)
        holders: dict[Site, None] = {}
        for instance in self.tables:
            if instance != SYSTEM:
                holders.update(dict.fromkeys(self._audience.others(instance)))
        return [*effects, self._say_sum(self._rng.choice(list(holders)))] if holders else effects

    def _on_probed(self, fact: PeerProbed, now_us: int) -> list[Effect]:
        """Who is pinged is compared with: that takes no packet of its own, and the timer waits for the next ping."""
        site = fact.site
        if not self._lives.is_shown(site):
            return []
        effects: list[Effect] = []
        if any(self._holders.has(instance, site) for instance in self.tables):
            self._timers.set(("digest",), now_us + self._config.digest_period_us * 3 // 2)
            effects = self.owned.logs.trim()
            self.shared.retiring.trim(now_us)
        return [*effects, self._say_sum(site)]

    def _say_sum(self, site: Site) -> Effect:
        common = self._common(site)
        saved = all(map(self._saving.saved, common))
        return self._audience.send(site, RowSum(self._sum(common), saved), Channel.CONTROL)

    def _on_sum(self, peer: Site, message: RowSum, now_us: int) -> list[Effect]:
        common = self._common(peer)
        if message.digest == self._sum(common):
            if self._lives.incarnation(peer):
                self.owned.logs.equal(peer, common)
                if message.saved:
                    self.shared.retiring.equal(peer, common)
            return []
        self._mismatches += 1
        effects = self.owned.compare(peer, [(instance, self.tables[instance].positions()) for instance in common], True)
        return effects + [self._audience.send(peer, sums, Channel.CONTROL) for sums in self.shared.sums(common)]

    # --- who holds what ---------------------------------------------------------------------------------------------

    def _open(self, instance: bytes) -> None:
        table = self.tables[instance] = OwnedTable()
        table.admit(self._audience.me.site, self._audience.me.incarnation, True)
        table.void(self._audience.me.site, self._numbered)
        for site in self._lives.sites():
            if incarnation := self._lives.incarnation(site):
                table.admit(site, incarnation, self._shows(instance, site))
                if value := self.tables[SYSTEM].kept(site, instance):
                    table.void(site, base_of(value))

    def _on_hold(self, command: HoldInstance, now_us: int) -> list[Effect]:
        """Tell everybody, and ask some of those who hold it already at once."""
        instance = command.instance
        if instance in self.tables:
            return []
        if len(instance) > INSTANCE_BYTES_MAX:
            raise ValueTooLarge(
                f"the name of an instance has at most {INSTANCE_BYTES_MAX} bytes, not {len(instance)}; it is not held"
            )
        if len(self.tables) >= self._config.instances_max:
            raise Overloaded(
                f"this node holds {len(self.tables)} instances, which is the bound: release one; this one is not held"
            )
        self._open(instance)
        if command.driven:
            self._audience.driven[instance] = None
        effects = self.shared.open(instance, command.durable, now_us)
        effects += self.owned.write(SYSTEM, [(instance, value_of(self._numbered, command.driven))])
        holders = [site for site in self._audience.others(instance) if self._audience.shares(instance, site)]
        for site in self._rng.sample(holders, min(len(holders), self._config.first_holders)):
            effects += self._greet(instance, site)
        return effects

    def _greet(self, instance: bytes, site: Site) -> list[Effect]:
        """Compare with another holder at once."""
        return [
            *self.owned.compare(site, [(instance, self.tables[instance].positions())], True),
            *self.shared.greet(instance, site),
        ]

    def _on_release(self, command: ReleaseInstance, now_us: int) -> list[Effect]:
        """Show nothing of it any more. The others show nothing of ours there once they hear that we let go of it."""
        instance = command.instance
        if instance not in self.tables or instance == SYSTEM:
            return []
        self.driven.close(instance)  # first: whoever drove it is gone, so we push the last word ourselves
        table = self.owned.close(instance)
        self._numbered = max(self._numbered, table.position(self._audience.me.site).seq + 1)
        effects: list[Effect] = []
        for owner in table.owners():
            incarnation = table.position(owner).incarnation
            effects += self._changed(instance, owner, incarnation, table.drop(owner))
        effects += self.shared.close(instance, command.keep)
        return effects + self.owned.write(SYSTEM, [(instance, None)])

    def _changed(
        self, instance: bytes, owner: Site, incarnation: int, changes: list[Change], at_once: bool = False
    ) -> list[Effect]:
        if not changes:
            return []
        if instance != SYSTEM:
            return self.facts.add(instance, owner, incarnation, changes, at_once)
        effects: list[Effect] = [RowsChanged(instance, owner, incarnation, tuple(changes))]
        for key, value in changes:
            if key != SYSTEM:  # that one is held by all, whoever says what
                self._holders.set(key, owner, value)
                effects += self._on_held(key, owner, value)
        return effects

    def _on_held(self, instance: bytes, owner: Site, value: bytes | None) -> list[Effect]:
        """An owner holds an instance, or is not seen to any more: its rows there go with that."""
        if value is None:
            self.owned.logs.differs(owner, instance)
        table = self.tables.get(instance)
        if table is None or owner == self._audience.me.site or not (incarnation := table.position(owner).incarnation):
            return []
        if value is not None:
            changes = table.void(owner, base_of(value)) if value else []
            changes += table.admit(owner, incarnation, self._shows(instance, owner))
            near = self._audience.me.site < owner and self._audience.shares(instance, owner)
            if near and len(self._audience.others(instance)) <= self._config.direct_max:
                return [*self._changed(instance, owner, incarnation, changes), *self._greet(instance, owner)]
        else:
            changes = table.admit(owner, incarnation, False)
            if self.tables[SYSTEM].kept(owner, instance) is None:  # let go of, not only hidden
                self.owned.pulls.end(instance, owner)
                table.drop(owner)
                table.admit(owner, incarnation, False)
        return self._changed(instance, owner, incarnation, changes)

    def _shows(self, instance: bytes, owner: Site) -> bool:
        """Whether an owner's rows are to be shown in an instance."""
        return self._lives.is_shown(owner) and (instance == SYSTEM or self._holders.has(instance, owner))

    # --- whose rows count -------------------------------------------------------------------------------------------

    def _on_member_added(self, fact: MemberAdded, now_us: int) -> list[Effect]:
        if fact.contact.site == self._audience.me.site:
            return []
        return self._judge(self._lives.added(fact.contact), fact.contact.site, now_us)

    def _on_member_removed(self, fact: MemberRemoved, now_us: int) -> list[Effect]:
        if fact.site == self._audience.me.site:
            return []
        return self._judge(self._lives.removed(fact.site), fact.site, now_us)

    def _on_liveness(self, fact: LivenessChanged, now_us: int) -> list[Effect]:
        site = fact.contact.site
        if site == self._audience.me.site:
            return []
        effects = self._judge(self._lives.heard(fact.contact, fact.state), site, now_us)
        if fact.state is Liveness.ALIVE and (site, Channel.CONTROL) in self._linked:
            effects.append(self._say_sum(site))
        return effects

    def _judge(self, before: int, site: Site, now_us: int) -> list[Effect]:
        """What is held of a site changed; `before` is the life that counted until now."""
        incarnation = self._lives.incarnation(site)
        effects: list[Effect] = []
        for instance, table in self.tables.items():
            if incarnation:
                changes = table.admit(site, incarnation, self._shows(instance, site))
            else:
                changes = table.drop(site)
            if incarnation != before:
                self.owned.pulls.end(instance, site)
            effects += self._changed(instance, site, before or incarnation, changes)
        if incarnation != before:
            self.owned.logs.forget(site)
            self.shared.retiring.forget(site)
            self.driven.forget(site)
            self._unlink(site)
        return effects

    def _unlink(self, site: Site) -> None:
        """Nothing that this holder was asked for will be answered."""
        self.shared.exchanges.lost(site)
        self.owned.unlink(site)

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> list[Effect]:
        """A new life of ours: others' rows are those of another cluster, our own are written anew."""
        effects: list[Effect] = []
        for site in self._lives.sites():
            effects += self._on_member_removed(MemberRemoved(site), now_us)
        old = self._audience.me
        self._audience.me = Contact(old.site, fact.incarnation, old.address)
        self._linked.clear()
        if old.incarnation == fact.incarnation:
            return effects
        self.owned.new_life()
        self._numbered = 0
        self.shared.new_life()
        for instance, table in self.tables.items():
            rows, size = table.rows_of(old.site), table.bytes_of(old.site)
            effects += self._changed(instance, old.site, old.incarnation, table.admit(old.site, fact.incarnation, True))
            if instance != SYSTEM:
                self.owned.anew.add(instance, rows, size)
            elif rows:  # every instance is counted from the beginning
                driven = self._audience.driven
                effects += self.owned.write(instance, [(held, value_of(0, held in driven)) for held in rows])
        return effects + self.owned.write_anew()

    def _on_address(self, fact: AddressLearned, now_us: int) -> list[Effect]:
        self._audience.me = Contact(self._audience.me.site, self._audience.me.incarnation, fact.address)
        return []

    # --- links and time ---------------------------------------------------------------------------------------------

    def _on_connected(self, fact: PeerConnected, now_us: int) -> list[Effect]:
        """A link is up: compare at once."""
        site = fact.contact.site
        self._linked[site, fact.channel] = None
        if fact.channel is not Channel.CONTROL or not self._lives.is_shown(site):
            return []
        return [self._say_sum(site)]

    def _on_lost(self, fact: PeerLost, now_us: int) -> list[Effect]:
        self._linked.pop((fact.contact.site, fact.channel), None)
        if fact.channel is Channel.DATA:
            self._unlink(fact.contact.site)
        return []

    def _on_tick(self, _: Tick, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for what, *which in self._timers.pop_due(now_us):
            match what:
                case "digest":
                    effects += self._on_digest_timer(now_us)
                case "exchange":
                    self.shared.exchanges.end(which[0])
                case "pull":
                    effects += self.owned.end_pull(which[0], which[1])
                case _:
                    assert_never(what)
        return effects
