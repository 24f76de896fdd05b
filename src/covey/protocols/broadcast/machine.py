"""Broadcast: what one node says reaches all, over a tree that mends itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from covey.core.ids import Contact, Site
from covey.core.vocabulary import (
    Channel,
    ClusterChanged,
    Emit,
    MessagesReceived,
    NeighborDown,
    NeighborUp,
    PeerCongested,
    PeerConnected,
    PeerDrained,
    PeerLost,
    Tick,
    TurnEnded,
    WantTurn,
)
from covey.protocols.broadcast.bodies import Run, count_of
from covey.protocols.broadcast.config import BroadcastConfig
from covey.protocols.broadcast.tree import Tree
from covey.protocols.broadcast.vocabulary import Delivered, Spread
from covey.wire.messages.broadcast import RUN_MAX, Gossip, Graft, IHave, NotHeld, Prune

Effect = Any


class BroadcastStatistics(msgspec.Struct, frozen=True):
    """What is there, and counts since the start.

    `duplicates / new` is the relative message redundancy as this node sees it (SRDS 2007, 4.1); `spurious` messages
    were asked for and then came by themselves; times in microseconds.
    """

    eager: int
    lazy: int
    streams: int
    kept: int
    kept_bytes: int
    missing: int
    last_hop: int
    graft_us: int
    regraft_us: int
    new: int
    duplicates: int
    grafts: int
    prunes: int
    unheld: int
    shorter: int
    strangers: int
    spurious: int
    forged: int


class Broadcast:
    """One node's part of the tree, and what it says and hears over it.

    Law: what this node says under one name has numbers without gaps, from 1 on in each life; each message is delivered
    here once. Invariants: those of the tree.
    """

    def __init__(self, config: BroadcastConfig, now_us: int, *, me: Contact) -> None:
        self._config = config
        self._me = me
        self.tree = Tree(config)
        self._next: dict[bytes, int] = {}  # the next number under each name
        self._saying: dict[bytes, list[bytes]] = {}  # in this turn
        self._forged = 0
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            Spread: self._on_spread,
            TurnEnded: self._on_turn_ended,
            Tick: lambda _, now_us: self._with_news(self.tree.tick(now_us)),
            NeighborUp: self._on_up,
            NeighborDown: self._on_down,
            PeerConnected: self._on_link,
            PeerLost: self._on_link,
            PeerCongested: self._on_congestion,
            PeerDrained: self._on_congestion,
            ClusterChanged: self._on_cluster_changed,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        return self._handlers[type(incoming)](incoming, now_us)

    def deadline(self) -> int | None:
        return self.tree.deadline()

    def check(self) -> None:
        self.tree.check()

    def statistics(self) -> BroadcastStatistics:
        tree = self.tree
        return BroadcastStatistics(
            len(tree.eager), len(tree.lazy), len(tree.seen), len(tree.bodies), tree.bodies.bytes, len(tree.missing),
            tree.last_hop, tree.missing.patience.us, tree.missing.retry.us, **tree.counts,
            spurious=tree.missing.spurious, forged=self._forged,
        )  # fmt: skip

    @property
    def site(self) -> Site:
        """Whose machine this is."""
        return self._me.site

    # --- what is said -----------------------------------------------------------------------------------------------

    def _on_spread(self, command: Spread, now_us: int) -> list[Effect]:
        """What is said in one turn goes in runs."""
        effects: list[Effect] = [] if self._saying else [WantTurn()]
        self._saying.setdefault(command.name, []).extend(command.values)
        return effects

    def _on_turn_ended(self, _: TurnEnded, now_us: int) -> list[Effect]:
        saying, self._saying = self._saying, {}
        effects: list[Effect] = []
        for name, values in saying.items():
            stream, at = (self._me.site, self._me.incarnation, name), 0
            while at < len(values):
                end, size = at, 0
                while (
                    end < len(values)
                    and end - at < RUN_MAX
                    and (end == at or size + len(values[end]) <= self._config.run_bytes_max)
                ):
                    size += len(values[end])
                    end += 1
                first = self._next.get(name, 1)
                self._next[name] = first + end - at
                body = msgspec.msgpack.encode([msgspec.Raw(value) for value in values[at:end]])
                effects += self.tree.spread(Run(stream, first, first + end - at - 1, 0, body), None, now_us)
                at = end
        return effects

    # --- what is heard ----------------------------------------------------------------------------------------------

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        effects: list[Effect] = []
        tree, peer = self.tree, received.peer
        for message in received.messages:
            match message:
                case Gossip():
                    if self._is_forged(message):
                        self._forged += 1
                        continue
                    effects += tree.gossip(peer, message, now_us)
                case IHave():
                    tree.i_have(peer, message, now_us)
                case Graft():
                    effects += tree.graft(peer, message, now_us)
                case Prune():
                    tree.prune(peer)
                case NotHeld():
                    tree.not_held(peer, message, now_us)
        return self._with_news(effects)

    def _is_forged(self, message: Gossip) -> bool:
        """Whether it has not the values that it says, or claims that we said what we did not."""
        if count_of(memoryview(message.body)) != message.count:
            return True
        if message.site != self._me.site:
            return False
        said = self._next.get(message.stream, 1) if message.incarnation == self._me.incarnation else 0
        return message.incarnation >= self._me.incarnation and message.first + message.count > said

    def _with_news(self, effects: list[Effect]) -> list[Effect]:
        news = self.tree.news
        if news:
            for run in news:
                site, incarnation, name = run.stream
                values = tuple([bytes(value) for value in run.each()])
                effects.append(Emit(Delivered(site, incarnation, name, run.first, run.round, values)))
            news.clear()
        return effects

    # --- neighbours and links ---------------------------------------------------------------------------------------

    def _on_up(self, fact: NeighborUp, now_us: int) -> list[Effect]:
        return self.tree.up(fact.contact, now_us)

    def _on_down(self, fact: NeighborDown, now_us: int) -> list[Effect]:
        self.tree.forget(fact.contact.site, now_us)
        return []

    def _on_link(self, fact: PeerConnected | PeerLost, now_us: int) -> list[Effect]:
        if fact.channel is Channel.DATA:
            self.tree.linked(fact.contact.site, type(fact) is PeerConnected)
        return []

    def _on_congestion(self, fact: PeerCongested | PeerDrained, now_us: int) -> list[Effect]:
        if fact.channel is Channel.DATA:
            self.tree.congested(fact.site, type(fact) is PeerCongested)
        return []

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> list[Effect]:
        """Another cluster or another life: nobody is a neighbour, and what we say has numbers from 1 on."""
        self._me = Contact(self._me.site, fact.incarnation, self._me.address)
        self.tree = Tree(self._config)
        self._next.clear()
        return []
