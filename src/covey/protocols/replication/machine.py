"""The row machine: owned rows, alike at all who hold them; and shared rows, which have a room of their own (`shared`).

Who holds which instance is itself an owned row, of an instance that every node holds. An owner pushes each operation
once: to each of the holders while they are few, else from neighbour to neighbour. What a push did not bring is found by
digest, once a second with a random peer, and pulled from any holder; what is too old for a log is told whole, in parts.

Rows of an instance are shown while their owner holds it. So letting go of an instance is one operation of the instance
that all hold, and cannot be missed. Whoever holds one again says with it how many of its numbers are void, and counts
on from there: no late word about the time before means anything.

Whose rows count is not decided here: membership and the detector say which life of a site is current. Rows of a life
that is held for down are hidden, not dropped, so a false accusation costs nothing; what is over for good (a later life,
its own last word, its removal) drops them, and no late message brings them back: no message of that life counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, assert_never

from covey.core.errors import Overloaded, UnknownName, ValueTooLarge, invariant
from covey.core.ids import Contact, Site
from covey.core.rng import jittered
from covey.core.timers import Timers
from covey.core.vocabulary import (
    AddressLearned,
    Channel,
    ClusterChanged,
    HoldInstance,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    ReleaseInstance,
    RowsChanged,
    Tick,
    TurnEnded,
    WantTurn,
    WriteRows,
    WriteShared,
)
from covey.protocols.replication.audience import Audience
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.holders import base_of, value_of
from covey.protocols.replication.pieces import operations_in_pieces, positions_in_pieces
from covey.protocols.replication.pulls import Pull, Pulls
from covey.protocols.replication.shared import Shared
from covey.protocols.replication.vocabulary import SYSTEM, ReplicationStatistics
from covey.rows.owned import Change, OwnedTable, Position
from covey.wire.messages.rows import (
    INSTANCE_BYTES_MAX,
    ROW_KEY_BYTES_MAX,
    ROW_VALUE_BYTES_MAX,
    SEQ_MAX,
    OwnedOps,
    OwnedPart,
    OwnedPositions,
    OwnedPull,
    RowSum,
)

Effect = Any


class Replication:
    """Rows of many owners, spread to whoever holds their instance.

    Law: the fold of `RowsChanged` is what is shown; when nothing is lost any more, every holder shows, of every current
    life that is not held for down, exactly the rows that its owner has.
    Invariants: those of the tables and the pulls; we hold SYSTEM; an owner's rows are shown where it is not held for
    down and holds the instance; what waits for the end of the turn is ours.
    """

    def __init__(self, config: ReplicationConfig, rng: Random, now_us: int, *, me: Contact) -> None:
        self._config = config
        self._rng = rng
        self._audience = Audience(me, config.direct_max)
        self._timers: Timers[tuple[Any, ...]] = Timers()
        self._lives = self._audience.lives
        self._holders = self._audience.holders
        self._linked = self._audience.linked
        self._pulls = Pulls(config, self._timers)
        self.tables: dict[bytes, OwnedTable] = {}
        self.shared = Shared(config, self._timers, self._audience)
        self._numbered = 0  # at least as high as any number of ours in an instance that we have let go of
        self._unsaid: dict[bytes, tuple[int, list[Change]]] = {}  # instance: (first, operations) of this turn
        self._equal: dict[Site, dict[bytes, int]] = {}  # at which versions a peer was seen to have the same
        self._counts = dict.fromkeys(("pushed", "applied", "gaps", "parts", "early", "mismatches"), 0)
        self._open(SYSTEM)
        self._timers.set(("digest",), now_us + jittered(rng, config.digest_period_us))
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            WriteRows: self._on_write,
            WriteShared: self._on_write_shared,
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
        }
        self._on_message: dict[type, Callable[[Site, Any, int], list[Effect]]] = {
            OwnedOps: self._on_ops,
            OwnedPull: self._on_pull,
            OwnedPart: self._on_part,
            RowSum: self._on_sum,
            OwnedPositions: self._on_positions,
            **self.shared.handlers,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        return self._handlers[type(incoming)](incoming, now_us)

    def deadline(self) -> int | None:
        return self._timers.deadline()

    def check(self) -> None:
        invariant(SYSTEM in self.tables, "every node holds who holds what")
        invariant(len(self.tables) <= self._config.instances_max, "instances are bounded")
        for instance, table in self.tables.items():
            table.check()
            invariant(
                table.knows(self._audience.me.site, self._audience.me.incarnation),
                "our own rows are those of this life",
            )
            for owner in self._lives.sites():
                incarnation = self._lives.incarnation(owner)
                invariant(not incarnation or table.knows(owner, incarnation), "a current life counts in every table")
                invariant(table.is_shown(owner) is self._shows(instance, owner), "shown: not down, and holds it")
            invariant(instance not in self._unsaid or bool(self._unsaid[instance][1]), "what waits is something")
        self._pulls.check()
        self.shared.check()
        invariant(
            [*self.shared.tables] == [held for held in self.tables if held != SYSTEM], "shared rows of what is held"
        )

    def statistics(self) -> ReplicationStatistics:
        rows = sum(len(table) for table in self.tables.values())
        return ReplicationStatistics(
            len(self.tables), rows, len(self._pulls), **self._counts, shared=self.shared.statistics()
        )

    # --- queries ----------------------------------------------------------------------------------------------------

    def holders(self, instance: bytes) -> list[Site]:
        """Who holds an instance, as far as is shown here; all members and we, for the one that everybody holds."""
        return self._audience.of(instance)

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
        return self._write(command.instance, list(command.changes)) if command.changes else []

    def _on_write_shared(self, command: WriteShared, now_us: int) -> list[Effect]:
        return self.shared.write(command)

    def _write(self, instance: bytes, changes: list[Change]) -> list[Effect]:
        """Operations of our own: applied at once, pushed when the turn ends."""
        table, me = self.tables[instance], self._audience.me
        first = table.position(me.site).seq + 1
        changed = table.apply(me.site, first, changes)
        assert changed is not None
        effects: list[Effect] = [] if self._unsaid else [WantTurn()]
        self._unsaid.setdefault(instance, (first, []))[1].extend(changes)
        return effects + self._changed(instance, me.site, me.incarnation, changed)

    def _on_turn_ended(self, _: TurnEnded, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        me = self._audience.me
        unsaid, self._unsaid = self._unsaid, {}
        for instance, (first, ops) in unsaid.items():
            for at, chunk in operations_in_pieces(ops, self._config.bytes_aim):
                message = OwnedOps(instance, me.site, me.incarnation, first + at, tuple(chunk), False)
                self._counts["pushed"] += 1
                effects += self._audience.push(instance, message, me.site, None)
        return effects + self.shared.on_turn_ended()

    # --- others' rows -----------------------------------------------------------------------------------------------

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        for message in received.messages:
            effects += self._on_message[type(message)](received.peer, message, now_us)
        return effects

    def _on_ops(self, peer: Site, message: OwnedOps, now_us: int) -> list[Effect]:
        table, owner = self._table(message), message.owner
        if table is None or message.first + len(message.ops) > SEQ_MAX:
            return []
        pull = self._pulls.get(message.instance, owner)
        if pull is not None and pull.holder != peer:
            pull = None
        if pull is not None and pull.staged and message.first == pull.next_seq:
            return self._on_tail(table, pull, message, now_us)
        before = table.position(owner).seq
        changes = table.apply(owner, message.first, message.ops)
        if changes is None:
            self._counts["gaps"] += 1
            return self._pull(message.instance, owner, peer, now_us)
        after = table.position(owner).seq
        self._counts["applied"] += after - before
        effects = self._changed(message.instance, owner, message.incarnation, changes)
        if pull is not None and message.first == pull.after + 1:  # the answer, or as good as that
            self._end_pull(message.instance, owner)
            if message.more:
                effects += self._pull(message.instance, owner, peer, now_us)
        elif after > before:
            self._counts["pushed"] += 1
            effects += self._audience.push(message.instance, message, owner, peer)
        return effects

    def _table(self, message: OwnedOps | OwnedPart | OwnedPull) -> OwnedTable | None:
        """Where a message belongs, if the life it is about counts here; what is said of ourselves we know better."""
        table = self.tables.get(message.instance)
        if table is None:
            return None
        if not table.knows(message.owner, message.incarnation):
            self._counts["early"] += 1
            return None
        if message.owner == self._audience.me.site and type(message) is not OwnedPull:
            return None
        return table

    def _pull(self, instance: bytes, owner: Site, holder: Site, now_us: int) -> list[Effect]:
        """Ask one holder for what is missing of one owner, unless that is under way."""
        if self._pulls.get(instance, owner) is not None or self._pulls.full:
            return []
        position = self.tables[instance].position(owner)
        self._pulls.begin(instance, owner, holder, position.seq, now_us)
        return [self._audience.send(holder, OwnedPull(instance, owner, position.incarnation, position.seq))]

    def _on_pull(self, peer: Site, pull: OwnedPull, now_us: int) -> list[Effect]:
        table = self._table(pull)
        if table is None or pull.after > (position := table.position(pull.owner)).seq:
            return []
        if not pull.parts:
            ops = table.after(pull.owner, pull.after, self._config.bytes_aim)
            if ops is not None:
                more = pull.after + len(ops) < position.seq
                answer = OwnedOps(pull.instance, pull.owner, pull.incarnation, pull.after + 1, tuple(ops), more)
                return [self._audience.send(peer, answer)]
        self._counts["parts"] += 1
        cursor = pull.cursor if pull.parts else None
        rows, last = table.part(pull.owner, cursor, self._config.bytes_aim)
        part = OwnedPart(pull.instance, pull.owner, pull.incarnation, position.seq, cursor, tuple(rows), last)
        return [self._audience.send(peer, part)]

    def _on_part(self, peer: Site, part: OwnedPart, now_us: int) -> list[Effect]:
        """A whole owner arrives, because its log does not go back to where we are."""
        table, owner = self._table(part), part.owner
        pull = self._pulls.get(part.instance, owner)
        if table is None or pull is None or pull.holder != peer:
            return []
        staging = table.stage(owner, part.seq, part.cursor, part.rows)
        if staging is None:
            return []  # told twice, or late; the right one comes, or the pull's time ends
        base, pull.staged = staging.base, False
        if not part.last:
            if not part.rows:
                return self._end_pull(part.instance, owner)
            self._pulls.renew(pull, now_us)
            return [
                self._audience.send(peer, OwnedPull(part.instance, owner, part.incarnation, base, True, staging.cursor))
            ]
        self._pulls.renew(pull, now_us)
        pull.stage(base, staging.until)
        if staging.until == base:
            return self._finish(table, pull, part.incarnation)
        return [self._audience.send(peer, OwnedPull(part.instance, owner, part.incarnation, base))]

    def _on_tail(self, table: OwnedTable, pull: Pull, message: OwnedOps, now_us: int) -> list[Effect]:
        """What the owner did while its rows were told, in order behind the first part, at least up to the last."""
        pull.tail.extend(message.ops)
        if message.more or pull.next_seq <= pull.until:
            if not message.ops:
                return self._end_pull(pull.instance, pull.owner)  # it had more before, and has it no more
            self._pulls.renew(pull, now_us)
            after = pull.next_seq - 1
            return [self._audience.send(pull.holder, OwnedPull(pull.instance, pull.owner, message.incarnation, after))]
        return self._finish(table, pull, message.incarnation)

    def _finish(self, table: OwnedTable, pull: Pull, incarnation: int) -> list[Effect]:
        changes = table.finish(pull.owner, pull.tail)
        self._pulls.end(pull.instance, pull.owner)
        return self._changed(pull.instance, pull.owner, incarnation, changes)

    def _end_pull(self, instance: bytes, owner: Site) -> list[Effect]:
        """It is answered; or this holder does not answer, or not to the point: the next digest finds another."""
        self._pulls.end(instance, owner)
        if instance in self.tables:
            self.tables[instance].unstage(owner)
        return []

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
        self._timers.set(("digest",), now_us + jittered(self._rng, self._config.digest_period_us))
        self._trim()
        self.shared.trim(now_us)
        peer = self._partner()
        if peer is None:
            return []
        return [self._audience.send(peer, RowSum(self._sum(self._common(peer))), Channel.CONTROL)]

    def _partner(self) -> Site | None:
        """Whom to compare with: in turns a linked member, and anybody who holds something that we do."""
        linked = [site for site in self._lives.shown() if (site, Channel.CONTROL) in self._linked]
        holders: dict[Site, None] = {}
        for instance in self.tables:
            if instance != SYSTEM:
                holders.update(dict.fromkeys(self.holders(instance)))
        holders.pop(self._audience.me.site, None)
        for choice in (list(holders), linked) if self._rng.random() < 0.5 else (linked, list(holders)):
            if choice:
                return self._rng.choice(choice)
        return None

    def _on_sum(self, peer: Site, message: RowSum, now_us: int) -> list[Effect]:
        common = self._common(peer)
        if message.digest == self._sum(common):
            if self._lives.incarnation(peer):
                self._equal[peer] = {instance: self.tables[instance].version for instance in common}
                self.shared.equal(peer, common)
            return []
        self._counts["mismatches"] += 1
        effects = self._compare(peer, [(instance, self.tables[instance].positions()) for instance in common], True)
        return effects + [self._audience.send(peer, sums, Channel.CONTROL) for sums in self.shared.sums(common)]

    def _compare(self, peer: Site, told: list[tuple[bytes, list[Position]]], answer: bool) -> list[Effect]:
        """Tell positions, in as many messages as it takes."""
        messages = positions_in_pieces(told, self._config.positions_max)
        return [self._audience.send(peer, OwnedPositions(tuple(some), answer), Channel.CONTROL) for some in messages]

    def _on_positions(self, peer: Site, message: OwnedPositions, now_us: int) -> list[Effect]:
        """Ask for what the peer has more of, and tell what we have more of."""
        effects: list[Effect] = []
        ours: list[tuple[bytes, list[Position]]] = []
        for instance, positions in message.instances:
            table = self.tables.get(instance)
            if table is None:
                continue
            theirs = {(owner, incarnation): seq for owner, incarnation, seq in positions}
            for (owner, incarnation), seq in theirs.items():
                known = owner != self._audience.me.site and table.knows(owner, incarnation)
                if known and seq > table.position(owner).seq:
                    effects += self._pull(instance, owner, peer, now_us)
            more = [p for p in table.positions() if p.seq > theirs.get((p.owner, p.incarnation), 0)]
            if more and message.answer:
                ours.append((instance, more))
        return effects + self._compare(peer, ours, False)

    def _trim(self) -> None:
        """Forget operations that all who hold an instance were seen to have, and the oldest above the bound."""
        for instance, table in self.tables.items():
            others = self._audience.others(instance)
            equal = min((self._equal.get(site, {}).get(instance, 0) for site in others), default=table.version)
            for owner in table.owners():
                table.trim(owner, self._config.log_bytes_min, equal)

    # --- who holds what ---------------------------------------------------------------------------------------------

    def _open(self, instance: bytes) -> None:
        table = self.tables[instance] = OwnedTable()
        if instance != SYSTEM:
            self.shared.open(instance)
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
        effects = self._write(SYSTEM, [(instance, value_of(self._numbered))])
        holders = self._audience.others(instance)
        for site in self._rng.sample(holders, min(len(holders), self._config.first_holders)):
            effects += self._greet(instance, site)
        return effects

    def _greet(self, instance: bytes, site: Site) -> list[Effect]:
        """Compare with another holder at once."""
        return [
            *self._compare(site, [(instance, self.tables[instance].positions())], True),
            *self.shared.greet(instance, site),
        ]

    def _on_release(self, command: ReleaseInstance, now_us: int) -> list[Effect]:
        """Show nothing of it any more. The others show nothing of ours there once they hear that we let go of it."""
        instance = command.instance
        if instance not in self.tables or instance == SYSTEM:
            return []
        table = self.tables.pop(instance)
        self._numbered = max(self._numbered, table.position(self._audience.me.site).seq + 1)
        self._unsaid.pop(instance, None)
        for owner in self._pulls.owners(instance):
            self._pulls.end(instance, owner)
        for versions in self._equal.values():
            versions.pop(instance, None)
        effects: list[Effect] = []
        for owner in table.owners():
            incarnation = table.position(owner).incarnation
            effects += self._changed(instance, owner, incarnation, table.drop(owner))
        effects += self.shared.close(instance)
        return effects + self._write(SYSTEM, [(instance, None)])

    def _changed(self, instance: bytes, owner: Site, incarnation: int, changes: list[Change]) -> list[Effect]:
        if not changes:
            return []
        effects: list[Effect] = [RowsChanged(instance, owner, incarnation, tuple(changes))]
        if instance == SYSTEM:
            for key, value in changes:
                if key != SYSTEM:  # that one is held by all, whoever says what
                    self._holders.set(key, owner, value is not None)
                    effects += self._on_held(key, owner, value)
        return effects

    def _on_held(self, instance: bytes, owner: Site, value: bytes | None) -> list[Effect]:
        """An owner holds an instance, or is not seen to any more: its rows there go with that."""
        if value is None:
            self._equal.get(owner, {}).pop(instance, None)
        table = self.tables.get(instance)
        if table is None or owner == self._audience.me.site or not (incarnation := table.position(owner).incarnation):
            return []
        if value is not None:
            changes = table.void(owner, base_of(value)) if value else []
            changes += table.admit(owner, incarnation, self._shows(instance, owner))
        else:
            changes = table.admit(owner, incarnation, False)
            if self.tables[SYSTEM].kept(owner, instance) is None:  # let go of, not only hidden
                self._pulls.end(instance, owner)
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
            effects.append(self._audience.send(site, RowSum(self._sum(self._common(site))), Channel.CONTROL))
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
                self._pulls.end(instance, site)
            effects += self._changed(instance, site, before or incarnation, changes)
        if incarnation != before:
            self._equal.pop(site, None)
            self.shared.forget(site)
            self._unlink(site)
        return effects

    def _unlink(self, site: Site) -> None:
        """Nothing that this holder was asked for will be answered."""
        self.shared.exchanges.lost(site)
        for pull in self._pulls.of_holder(site):
            self._end_pull(pull.instance, pull.owner)

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> list[Effect]:
        """A new life of ours: others' rows are those of another cluster, our own are written anew."""
        effects: list[Effect] = []
        for site in self._lives.sites():
            effects += self._on_member_removed(MemberRemoved(site), now_us)
        old = self._audience.me
        self._audience.me = Contact(old.site, fact.incarnation, old.address)
        self._equal.clear()
        self._linked.clear()
        if old.incarnation == fact.incarnation:
            return effects
        self._unsaid.clear()
        self._numbered = 0
        self.shared.new_life()
        for instance, table in self.tables.items():
            rows = table.rows_of(old.site)
            if instance == SYSTEM:
                rows = dict.fromkeys(rows, b"")  # every instance is counted from the beginning
            effects += self._changed(instance, old.site, old.incarnation, table.admit(old.site, fact.incarnation, True))
            if rows:
                effects += self._write(instance, [*rows.items()])
        return effects

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
        return [self._audience.send(site, RowSum(self._sum(self._common(site))), Channel.CONTROL)]

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
                    effects += self._end_pull(which[0], which[1])
                case _:
                    assert_never(what)
        return effects
