"""The papers' world: thousands of nodes, one constant hop at a time, and timers far above it.

HyParView and Plumtree were measured in cycles (PeerSim): in each, some nodes may die, one message is broadcast until
nothing is under way any more, and then membership takes one step. Here the shipped machines of the overlay and of
broadcast are driven the same way. Bytes, links and handshakes are left out: what is sent in one round arrives in the
next, in the order in which it was said, and who sends to the dead hears of it when the message would have arrived.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from random import Random
from typing import Any

from covey.core import vocabulary as v
from covey.core.ids import Contact, Site
from covey.core.rng import derive
from covey.core.vocabulary import Cause, Channel
from covey.protocols.broadcast.config import BroadcastConfig
from covey.protocols.broadcast.machine import Broadcast
from covey.protocols.broadcast.vocabulary import Delivered, Spread
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.machine import Overlay
from covey.protocols.overlay.vocabulary import SeedsResolved
from covey.wire.messages.broadcast import Gossip, IHave
from covey.wire.messages.overlay import Shuffle

SECOND_US = 1_000_000
HOP_US = 1_000
CYCLE_US = 10 * SECOND_US  # one shuffle of everybody
NAME = b"paper"
TICK, TURN = v.Tick(), v.TurnEnded()


def paper_overlay() -> OverlayConfig:
    """HyParView as in its paper: everybody shuffles once in a cycle. What the paper has not is as we ship it."""
    return OverlayConfig(shuffle_period_us=CYCLE_US, settle_period_us=CYCLE_US)


def paper_broadcast(shorter_by: int = 7) -> BroadcastConfig:
    """Plumtree as in its paper: announced at once, and T1 far above the time that a message takes."""
    return BroadcastConfig(announce_us=0, graft_us_min=500_000, shorter_by=shorter_by)


class Sent:
    """What one broadcast took, counted where it arrived."""

    __slots__ = ("announced", "control", "delivered", "frames", "last_hop", "payloads")

    def __init__(self) -> None:
        self.delivered = 0  # nodes that got it, its sender not counted
        self.payloads = 0
        self.announced = 0  # runs in announcements
        self.frames = 0  # announcements
        self.control = 0  # all but payloads; of announcements the runs
        self.last_hop = 0


class Flock:
    """Nodes with an overlay and a broadcast machine each, in rounds.

    Law: a run is a function of the seed. `nodes` are the living, by number; the site of a node is its number.
    """

    def __init__(self, seed: int, overlay: OverlayConfig, broadcast: BroadcastConfig) -> None:
        self._seed = seed
        self._overlay = overlay
        self._broadcast = broadcast
        self.rng = derive(seed, "cycles")
        self.now_us = 0
        self.overlays: dict[int, Overlay] = {}
        self.broadcasts: dict[int, Broadcast] = {}
        self.sent = Sent()
        self.lost = 0.0  # the share of broadcast messages that do not arrive
        self.holds_failures = False  # nobody hears of a death while a message is under way
        self.shuffles = True
        self._held: dict[tuple[int, Site], None] = {}
        self._round: list[tuple[int, Any, Any]] = []  # whose machine hears what next: number, machine, input
        self._alarms: list[tuple[int, int]] = []
        self._touched: dict[int, None] = {}
        self._sites: dict[Site, int] = {}
        self._said: dict[int, int] = {}  # messages of each node
        self._message: tuple[Site, int] | None = None  # the one whose deliveries are counted

    # --- nodes ------------------------------------------------------------------------------------------------------

    def contact(self, number: int) -> Contact:
        """Sites are ordered as the numbers are."""
        return Contact(Site(number.to_bytes(16, "big")), 1, f"n{number}:1")

    def start(self, number: int, through: int | None = None) -> None:
        """One more node, which joins through another one; until nothing is under way any more."""
        me = self.contact(number)
        self._sites[me.site] = number
        rng = derive(self._seed, "node", number)
        self.overlays[number] = Overlay(self._overlay, rng, self.now_us, me=me)
        self.broadcasts[number] = Broadcast(self._broadcast, self.now_us, me=me)
        if through is not None:
            self._feed(number, self.overlays[number], SeedsResolved((f"n{through}:1",)))
            self.now_us += 2
            self._feed(number, self.overlays[number], TICK)
        self.settle()

    def grow(self, count: int) -> Flock:
        """So many nodes, which join one by one through the first, with no step of membership between."""
        for number in range(count):
            self.start(number, None if number == 0 else 0)
        return self

    def renew_trees(self, broadcast: BroadcastConfig) -> None:
        """Broadcast begins anew on the same overlay, all links eager."""
        self._broadcast = broadcast
        self._said.clear()
        for number, overlay in self.overlays.items():
            machine = Broadcast(broadcast, self.now_us, me=self.contact(number))
            self.broadcasts[number] = machine
            for contact in overlay.active:
                self._raise(machine, contact)

    def _raise(self, machine: Broadcast, contact: Contact) -> None:
        machine.handle(v.PeerConnected(contact, Channel.DATA), self.now_us)
        self._feed(self._sites[machine.site], machine, v.NeighborUp(contact))

    def kill(self, numbers: Iterable[int]) -> None:
        """These die without a word."""
        for number in numbers:
            del self.overlays[number], self.broadcasts[number]

    # --- rounds -----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Round after round, until nothing is under way."""
        while self._round:
            self.now_us += HOP_US
            heard, self._round = self._round, []
            overlays, broadcasts = self.overlays, self.broadcasts
            for number, on_tree, incoming in heard:
                machine = (broadcasts if on_tree else overlays).get(number)
                if machine is not None:
                    self._feed(number, machine, incoming)

    def cycle(self) -> None:
        """One step of membership: everybody shuffles once, and every other alarm of the overlay rings."""
        self.wait(CYCLE_US)

    def wait(self, time_us: int) -> None:
        """So much time passes, and the alarms of the overlay ring."""
        until_us = self.now_us + time_us
        alarms: list[tuple[int, int]] = []
        self._touched = dict.fromkeys(self.overlays)
        while True:
            for number in self._touched:
                due_us = self._overlay_due(number)
                if due_us is not None:
                    heapq.heappush(alarms, (due_us, number))
            self._touched.clear()
            while alarms and self._overlay_due(alarms[0][1]) != alarms[0][0]:
                heapq.heappop(alarms)
            if not alarms or alarms[0][0] > until_us:
                break
            due_us, number = heapq.heappop(alarms)
            self.now_us = max(self.now_us, due_us)
            self._feed(number, self.overlays[number], TICK)
            self.settle()
        self.now_us = max(self.now_us, until_us)

    def _overlay_due(self, number: int) -> int | None:
        overlay = self.overlays.get(number)
        return None if overlay is None else overlay.deadline()

    # --- one broadcast ----------------------------------------------------------------------------------------------

    def broadcast(self, number: int, repair: bool = True) -> Sent:
        """One message from one node, until nothing is under way; with `repair` also what is asked for after T1."""
        self._say_anew(number)
        sent = self.sent
        self.settle()
        while repair and self._repair():
            pass
        held, self._held = self._held, {}
        for sender, dead in held:
            self._fail(sender, dead)
        self.settle()
        return sent

    def _say_anew(self, number: int) -> None:
        self.sent = Sent()
        self._said[number] = self._said.get(number, 0) + 1
        self._message = (self.contact(number).site, self._said[number])
        machine = self.broadcasts[number]
        self._feed(number, machine, Spread(NAME, (b"\x01",)))
        self._feed(number, machine, TURN)

    def _repair(self) -> bool:
        """Whoever misses something asks for it when it is due."""
        due = [
            (due_us, number) for number, one in self.broadcasts.items() if (due_us := one.tree.next_word()) is not None
        ]
        if not due:
            return False
        self.now_us = max(self.now_us, min(due)[0])
        for due_us, number in due:
            if due_us <= self.now_us and number in self.broadcasts:
                self._feed(number, self.broadcasts[number], TICK)
        self.settle()
        return True

    # --- what machines say ------------------------------------------------------------------------------------------

    def _feed(self, number: int, machine: Any, incoming: Any) -> None:
        on_tree = type(machine) is Broadcast
        if not on_tree:
            self._touched[number] = None
        for effect in machine.handle(incoming, self.now_us):
            kind = type(effect)
            if kind is v.Multicast:
                for to in effect.to:
                    self._say(number, on_tree, to, effect.message)
            elif kind is v.Send:
                self._say(number, on_tree, effect.to, effect.message)
            elif kind is v.Emit:
                self._emit(number, effect.event)
            elif kind is v.Dial:
                self._round.append((number, False, self._answer(effect.address)))

    def _say(self, number: int, on_tree: bool, to: Site, message: Any) -> None:
        other = self._sites[to]
        if not self.shuffles and type(message) is Shuffle:
            return
        if other not in self.overlays:
            if self.holds_failures:
                self._held[number, to] = None
            else:
                self._fail(number, to)
            return
        if on_tree:
            if self.lost and self.rng.random() < self.lost:
                return
            sent = self.sent
            if type(message) is Gossip:
                sent.payloads += 1
            elif type(message) is IHave:
                sent.frames += 1
                runs = sum(len(runs) for *_, runs in message.runs)
                sent.announced += runs
                sent.control += runs
            else:
                sent.control += 1
        self._round.append((other, on_tree, v.MessagesReceived(self.contact(number).site, (message,))))

    def _fail(self, number: int, dead: Site) -> None:
        """A node hears that there is nobody at the other end any more."""
        overlay = self.overlays.get(number)
        if overlay is None:
            return
        contact = overlay.active.get(dead)
        if contact is None:
            fact: Any = v.PeerUnreached(dead, Channel.CONTROL, Cause.REFUSED)
        else:
            fact = v.PeerLost(contact, Channel.CONTROL, Cause.RESET)
        self._round.append((number, False, fact))

    def _answer(self, address: str) -> Any:
        number = int(address[1:-2])
        if number in self.overlays:
            return v.AddressAnswered(address, self.contact(number))
        return v.AddressFailed(address, Cause.REFUSED)

    def _emit(self, number: int, event: Any) -> None:
        kind = type(event)
        if kind is Delivered:
            if self._message == (event.site, event.first):
                self.sent.delivered += 1
                self.sent.last_hop = max(self.sent.last_hop, event.round)
        elif kind is v.NeighborUp:
            self._raise(self.broadcasts[number], event.contact)
        elif kind is v.NeighborDown:
            self._feed(number, self.broadcasts[number], event)

    # --- the graph --------------------------------------------------------------------------------------------------

    def links(self) -> dict[int, list[int]]:
        """Who has whom for a neighbour, among the living."""
        sites = self._sites
        return {
            number: [other for contact in overlay.active if (other := sites[contact.site]) in self.overlays]
            for number, overlay in self.overlays.items()
        }


def sample(rng: Random, numbers: Iterable[int], count: int) -> list[int]:
    """Some of them, at random."""
    return rng.sample(list(numbers), count)
