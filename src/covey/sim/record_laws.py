"""What must hold of the membership record at every step, whatever happens (reference/membership.md 3.5).

The numbers are the reference's. 11 and 13 have nothing here to speak of yet: nobody is thrown out automatically, and
there are no run levels. 8, 17 and 18 ask that something happens in time, and stand in `record_progress`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from random import Random
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import ClusterId, Site, short
from covey.core.vocabulary import ClusterChanged, Emit, Persist, Send
from covey.engine.gate import Store
from covey.protocols.membership.ledger import BESIDE, CLUSTER, REJOIN, VERDICT
from covey.protocols.membership.record import (
    IS_EPHEMERAL,
    IS_MEMBER,
    MEM,
    Key,
    Stamp,
    decode_op,
    encode_key,
    key_of,
    stamp,
)
from covey.protocols.membership.vocabulary import Kicked, MemberJoined, MemberLeft
from covey.sim.node import SimNode
from covey.sim.record_facts import floor_is_true, merged, tells_clock
from covey.sim.world import CLUSTER as CLUSTER_ID
from covey.sim.world import World
from covey.wire.messages.membership import News, Op

TRIPLES = 60  # of the operations seen in a run, how many are merged in every order
Issue = tuple[Stamp, Key]


class _Holder:
    """What one process has taken, as it was observed from outside."""

    def __init__(self, node: SimNode, clock: int) -> None:
        self.cluster = ClusterId(node.disk.durable("membership").get(CLUSTER, CLUSTER_ID))
        self.clock = clock  # the latest stamp that its clock must be above
        self.ops: dict[Key, Op] = {}
        self.learnt_us: dict[Site, int] = {}  # when it heard what stands about a site
        self.durable: dict[tuple[Site, bool | None, Site | None], None] = {}  # what its events may tell
        self.latest: dict[Site, Stamp] = {}  # about whether they belong, on the disk
        self.view: dict[Site, None] = {}  # the fold of its events
        self.farewells: dict[Issue, None] = {}
        self.entered = self.cluster  # as the other machines know it


class RecordLaws:
    """Looks on at every step of every membership machine, every store and every event."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ops: dict[Issue, Op] = {}
        self.issued_us = 0  # when anything was said last
        self._issuers: dict[Issue, int] = {}
        self._durable: dict[Issue, None] = {}  # it is, or was, on the disk of some process
        self._shown: dict[Site, dict[Site, Stamp]] = {}  # target: site: the latest word on it that its disk ever had
        self._clocks: dict[int, int] = {}  # disk: the latest stamp on it that tells the clock
        self._holders: dict[int, _Holder] = {}
        self._owners: dict[bytes, Site] = {}  # of the clusters in which somebody is alone
        self._sites: dict[Site, None] = {}  # that ever were, or that somebody named
        self._invited: dict[Site, None] = {}  # targets of a word that they belong
        world.watches.append(self)

    # --- what happens -----------------------------------------------------------------------------------------------

    def started(self, node: SimNode) -> None:
        """What a process finds on its disk, it holds, and may tell."""
        self._sites[node.site] = None
        holder = self._holders[node.number] = _Holder(node, self._clocks.get(id(node.disk), 0))
        for key, value in node.disk.durable("membership").items():
            if key == VERDICT:
                self._on_disk(holder, node, decode_op(value))
            elif key not in BESIDE:
                op = decode_op(value)
                self._on_disk(holder, node, op)
                holder.ops[key_of(op)] = op
                holder.learnt_us[op.target] = self._world.now_us
        holder.view = dict.fromkeys(node.engine.membership.members())

    def observed(self, node: SimNode, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
        """1, 2, 3, 6, 7, 9 and 12, of what this step took and forgot."""
        holder = self._holders[node.number]
        if machine == "links" and type(incoming) is ClusterChanged and incoming.cluster != holder.entered:
            holder.entered = incoming.cluster
            holder.view = {}
        if machine != "membership":
            return
        membership = node.engine.membership
        changes = [effect.cluster for effect in effects if type(effect) is ClusterChanged]
        moved = any(cluster != holder.cluster for cluster in (*changes, membership.cluster))  # out and in is one step
        if moved:
            self._one_cluster(node)
            holder.cluster = membership.cluster
            holder.ops.clear()
            for effect in effects:  # said of the cluster that it leaves in this very step
                if type(effect) is Emit and type(effect.event) in (MemberJoined, MemberLeft):
                    holder.durable[effect.event.site, type(effect.event) is MemberJoined, effect.event.by] = None
        for effect in effects:
            if moved and type(effect) is Send and type(effect.message) is News:
                self._said_goodbye(node, holder, effect.message.ops)
        records = [record for effect in effects if type(effect) is Persist for record in effect.records]
        taken: list[tuple[Op, bool]] = []
        for record in records:
            if record.value is not None and (record.key == VERDICT or record.key not in BESIDE):
                taken.append((decode_op(record.value), record.key != VERDICT))
            elif record.key not in BESIDE and not moved:
                self._forgotten(node, holder, record.key)
        for op, kept in sorted(taken, key=lambda one: stamp(one[0])):
            self._taken(node, holder, op, kept)

    def stored(self, node: SimNode, store: Store) -> None:
        """What is on a disk may be shown."""
        holder = self._holders[node.number]
        if store.log != "membership":
            return
        for record in store.records:
            if record.value is not None and (record.key == VERDICT or record.key not in BESIDE):
                op = decode_op(record.value)
                self._on_disk(holder, node, op)
                if self._issuers.get((stamp(op), key_of(op))) == node.number and tells_clock(op, node):
                    self._clocks[id(node.disk)] = max(self._clocks.get(id(node.disk), 0), op.clock)
            elif record.key == REJOIN and record.value is not None:
                for issue in holder.farewells:
                    if issue[0][0] <= int.from_bytes(record.value, "big"):
                        self._durable[issue] = None
            elif record.value is None and record.key[:1] == bytes((MEM,)):
                holder.durable[Site(record.key[1:]), None, None] = None

    def emitted(self, node: SimNode, event: Any) -> None:
        """3, the half about hooks: what an event tells is on this disk. 21: and the view is what events told."""
        holder = self._holders[node.number]
        match event:
            case MemberJoined(site, by):
                invariant(self._on_record(holder, site, True, by), f"3: n{node.index} tells what is not on its disk")
                holder.view[site] = None
            case MemberLeft(site, by):
                forgotten = (site, None, None) in holder.durable
                told = forgotten or self._on_record(holder, site, False, by)
                invariant(told, f"3: n{node.index} tells what is not on its disk")
                holder.view.pop(site, None)
            case Kicked(by):
                told = (node.site, False, by) in holder.durable
                invariant(told, f"3: n{node.index} says that it was thrown out, and its disk does not")

    def _on_record(self, holder: _Holder, site: Site, belongs: bool, by: Site) -> bool:
        """Whether that word is, or was, on the disk; or one that came later in the same step and took its place."""
        if (site, belongs, by) in holder.durable:
            return True
        latest = holder.latest.get(site)
        return latest is not None and any(
            op.origin == by and bool(int(op.value) & IS_MEMBER) is belongs and at < latest
            for (at, key), op in self.ops.items()
            if key == (MEM, site)
        )

    # --- operations -------------------------------------------------------------------------------------------------

    def _taken(self, node: SimNode, holder: _Holder, op: Op, kept: bool) -> None:
        """A process took an operation, its own or another's."""
        issue = stamp(op), key_of(op)
        known = self.ops.get(issue)
        if known is None:
            self._issued(node, holder, op, issue)
        else:
            invariant(known == op, "1: one stamp on one key carries one value")
        if self._issuers[issue] != node.number:
            invariant(issue in self._durable, f"3: n{node.index} holds what is not on the disk of {short(op.origin)}")
        if not kept:
            return
        held = holder.ops.get(key_of(op))
        invariant(held is None or stamp(held) < stamp(op), "7: what stands gives way to something later only")
        holder.ops[key_of(op)] = op
        if op.kind == MEM:
            holder.learnt_us[op.target] = self._world.now_us

    def _issued(self, node: SimNode, holder: _Holder, op: Op, issue: Issue) -> None:
        """Nobody has seen this operation before, so it is being made."""
        invariant(op.origin == node.site, f"6: n{node.index} holds a word of {short(op.origin)} that it never said")
        invariant(op.magic <= node.incarnation, "1: an operation names the life that makes it")
        self.ops[issue] = op
        self.issued_us = self._world.now_us
        self._issuers[issue] = node.number
        if op.kind == MEM and int(op.value) & IS_MEMBER:
            self._invited[op.target] = None
        self._sites[op.target] = None
        if op.clock:
            tells = tells_clock(op, node)
            invariant(not tells or op.clock > holder.clock, f"2: the clock of n{node.index} went back")
            if tells:
                holder.clock = op.clock

    def _said_goodbye(self, node: SimNode, holder: _Holder, ops: Sequence[Op]) -> None:
        """Who goes back to where it was alone says that it left, and does not keep that word.

        Its disk keeps what follows from it instead: a stamp that every later word of its own will be above.
        """
        for op in ops:
            issue = stamp(op), key_of(op)
            if issue not in self.ops:
                self._issued(node, holder, op, issue)
                holder.farewells[issue] = None

    def _on_disk(self, holder: _Holder, node: SimNode, op: Op) -> None:
        self._durable[stamp(op), key_of(op)] = None
        if op.kind != MEM:
            return
        holder.durable[op.target, bool(int(op.value) & IS_MEMBER), op.origin] = None
        holder.latest[op.target] = max(stamp(op), holder.latest.get(op.target, (0, 0, op.origin)))
        shown = self._shown.setdefault(op.target, {})
        shown[node.site] = max(stamp(op), shown.get(node.site, (0, 0, op.origin)))

    def _forgotten(self, node: SimNode, holder: _Holder, key: bytes) -> None:
        """9: details go after the window, when all others know; a kick itself never goes."""
        kind, target = key[0], Site(key[1:])
        held = holder.ops.pop((kind, target), None)
        record = node.engine.membership.record
        if kind == MEM:
            invariant(held is None or bool(int(held.value) & IS_EPHEMERAL), "9: a durable site leaves a tombstone")
            return
        out = holder.ops.get((MEM, target))
        if out is None or int(out.value) & (IS_EPHEMERAL | IS_MEMBER):
            return
        age_us = self._world.now_us - holder.learnt_us[target]
        invariant(age_us > node.config.membership.forget_after_us, "9: nobody is forgotten before the time is over")
        invariant(record.knows(target), "9: a durable site leaves a tombstone")
        for site in record.members():
            if site != node.site and not record.is_ephemeral(site):
                shown = self._shown.get(target, {}).get(site)
                knows = shown is not None and shown >= stamp(out)
                invariant(knows, f"9: n{node.index} forgets {short(target)} before {short(site)} knows that it is out")

    def _one_cluster(self, node: SimNode) -> None:
        """12: a cluster in which somebody is alone is nobody else's, then or later."""
        membership = node.engine.membership
        if membership.solo:
            owner = self._owners.setdefault(bytes(membership.cluster), node.site)
            invariant(owner == node.site, "12: the id of a cluster is used once")

    # --- now and then -----------------------------------------------------------------------------------------------

    def check(self, world: World) -> None:
        """What concerns several nodes at one moment."""
        alive = world.alive()
        views: dict[tuple[bytes, bytes], list[Site]] = {}
        for node in alive:
            membership = node.engine.membership
            record, members = membership.record, membership.members()
            known = views.setdefault((bytes(membership.cluster), record.digest), members)
            invariant(known == members, "4: who holds the same operations shows the same members")
            for site in members:
                invariant(site in self._invited, f"6: {short(site)} is a member, and nobody ever said so")
            self._bounded(node)
            self._view_is_told(node)
            for other in alive:
                if other is not node:
                    floor_is_true(node, other)

    def _bounded(self, node: SimNode) -> None:
        """16: what is kept grows with the sites there ever were, and with nothing else."""
        membership, sites = node.engine.membership, len(self._sites)
        invariant(len(membership.record) <= 3 * sites, "16: three operations a site")
        invariant(len(membership.exchange.floors) <= sites, "16: one floor a site")
        invariant(node.gate.statistics().held <= 2_000 * sites, "16: what waits for the disk is bounded")

    def _view_is_told(self, node: SimNode) -> None:
        """21: events have told every change of the view, once what they wait for is on the disk."""
        holder = self._holders[node.number]
        if node.gate.statistics().unsaved or holder.entered != node.engine.membership.cluster:
            return
        told = sorted(site for site in holder.view if site != node.site)
        shown = [site for site in node.engine.membership.members() if site != node.site]
        invariant(told == shown, f"21: the events of n{node.index} tell what it shows")

    def finish(self, world: World, rng: Random) -> None:
        """5: merging is idempotent, commutative and associative for what was really said."""
        by_key: dict[Key, list[Op]] = {}
        for (_, key), op in sorted(self.ops.items(), key=lambda item: (item[0][0], encode_key(item[0][1]))):
            by_key.setdefault(key, []).append(op)
        several = [ops for ops in by_key.values() if len(ops) > 1]
        for _ in range(min(TRIPLES, 10 * len(several))):
            triple = rng.choices(rng.choice(several), k=3)
            results = {merged(order) for order in permutations(triple)}
            invariant(len(results) == 1, "5: the order of merging does not matter")
            invariant(results == {merged((*triple, *triple))}, "5: merging again changes nothing")
