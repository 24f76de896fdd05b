"""Plumtree: one spanning tree among the overlay's links, mended by what the other links announce.

Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees", SRDS 2007. To *eager* neighbours a message goes as it comes, and
*lazy* ones are told that it can be had. Who gets a message twice prunes the second link, so that a tree remains; who
hears of a message that does not come grafts a link to somebody who announced it. One tree serves all senders.

Changed here, and why:
- the unit is a run, messages of one stream in a row: a relay looks at none of them, and what is repaired is intervals;
- a link that was grafted less than a second ago is not pruned: broken paths would be mended and unmended in turns;
- who cannot serve a graft says so (`NotHeld`), and the next announcer is asked at once;
- T1 and T2 are measured; without any eager neighbour nothing is waited for;
- announcements are gathered; a neighbour that reads too slowly is told what there is, and not sent it;
- only neighbours have a say: what others send is taken in if it is new, and changes no link.
"""

from __future__ import annotations

from typing import Any

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Contact, Site
from covey.core.vocabulary import Channel, Multicast, Send
from covey.protocols.broadcast.announcing import Announcements
from covey.protocols.broadcast.bodies import Bodies, Run
from covey.protocols.broadcast.config import BroadcastConfig
from covey.protocols.broadcast.missing import Missing
from covey.protocols.broadcast.streams import Seen, Stream
from covey.wire.messages.broadcast import Gossip, Graft, IHave, NotHeld, Prune

Effect = Any


class Tree:
    """This node's part of the tree.

    Law: what is new goes on to every eager neighbour but the one it came from and is announced to every lazy one, once.
    Invariants: a neighbour is eager or lazy; what is known of a peer is known of neighbours.
    """

    def __init__(self, config: BroadcastConfig) -> None:
        self._config = config
        self.eager: dict[Site, None] = {}
        self.lazy: dict[Site, None] = {}
        self.seen = Seen(config.streams_max, config.intervals_max)
        self.bodies = Bodies(config.keep_us, config.kept_bytes_max, config.kept_max)
        self.missing = Missing(config)
        self.announcements = Announcements()
        self.news: list[Run] = []  # what came and was not taken from here yet
        self._addresses: dict[Site, str] = {}
        self._linked: dict[Site, None] = {}  # neighbours and others with a data link
        self._congested: dict[Site, None] = {}  # the same that read too slowly
        self._grafted_us: dict[Site, int] = {}
        self._pruned_us: dict[Site, int] = {}
        self._announce_us: int | None = None
        self.counts = dict.fromkeys(("new", "duplicates", "grafts", "prunes", "unheld", "shorter", "strangers"), 0)
        self.last_hop = 0  # the most hops that anything has come

    # --- neighbours and links ---------------------------------------------------------------------------------------

    def up(self, contact: Contact, now_us: int) -> list[Effect]:
        """A neighbour: eager, and no other link changes (SRDS 2007, 3.6). It may have missed what we keep."""
        self._addresses[contact.site] = contact.address
        if contact.site not in self.lazy:
            self.eager[contact.site] = None
        self.bodies.expire(now_us)
        effects: list[Effect] = []
        for stream, first, last, hops in self.bodies.summary():
            effects += self._tell([contact.site], stream, first, last, hops + 1, now_us)
        return effects

    def _tell(self, peers: list[Site], stream: Stream, first: int, last: int, round: int, now_us: int) -> list[Effect]:
        """Tell these peers that we have this, soon."""
        most = self.announcements.put(peers, stream, first, last, round)
        if not self._config.announce_us or most >= self._config.announced_max:
            return self.announce()
        if self._announce_us is None:
            self._announce_us = now_us + self._config.announce_us
        return []

    def forget(self, peer: Site, now_us: int) -> None:
        """A neighbour no more."""
        for known in (self.eager, self.lazy, self._addresses, self._grafted_us, self._pruned_us):
            known.pop(peer, None)
        self.announcements.forget(peer)
        self.missing.forget(peer, now_us)
        if not self.eager:
            self.missing.hurry(now_us)

    def linked(self, peer: Site, is_linked: bool) -> None:
        """A data link came up or went."""
        self._congested.pop(peer, None)
        if is_linked:
            self._linked[peer] = None
        else:
            self._linked.pop(peer, None)

    def congested(self, peer: Site, is_congested: bool) -> None:
        """A peer reads too slowly, or caught up."""
        if is_congested:
            self._congested[peer] = None
        else:
            self._congested.pop(peer, None)

    def is_congested(self) -> bool:
        """Whether an eager neighbour reads too slowly: who says something new waits."""
        return any(peer in self._congested for peer in self.eager)

    # --- messages ---------------------------------------------------------------------------------------------------

    def spread(self, run: Run, teller: Site | None, now_us: int) -> list[Effect]:
        """What is new goes on: all of it to eager neighbours, its name to lazy ones."""
        self.seen.add(run.stream, run.first, run.last)
        self.bodies.add(run, now_us)
        effects: list[Effect] = []
        told = [peer for peer in self.lazy if peer != teller]
        pushed = [peer for peer in self.eager if peer != teller]
        if self._congested:
            told += [peer for peer in pushed if peer in self._congested]
            pushed = [peer for peer in pushed if peer not in self._congested]
        if pushed:
            effects += self._push(pushed, _message(run))
        if told:
            effects += self._tell(told, run.stream, run.first, run.last, run.round + 1, now_us)
        return effects

    def gossip(self, peer: Site, message: Gossip, now_us: int) -> list[Effect]:
        """A run from somebody: new, or in part, or all of it seen."""
        stream = (message.site, message.incarnation, message.stream)
        first, last = message.first, message.first + message.count - 1
        fresh = self.seen.fresh(stream, first, last)
        if not fresh:
            self.counts["duplicates"] += message.count
            return self._prune(peer, now_us)
        run = Run(stream, first, last, message.round, bytes(message.body))
        announcers = self.missing.came(stream, first, last, peer, now_us)
        self.last_hop = max(self.last_hop, message.round)
        effects: list[Effect] = []
        for low, high in fresh:
            part = run.part(low, high)
            self.counts["new"] += high - low + 1
            self.news.append(part)
            effects += self.spread(part, peer, now_us)
        return effects + self._prefer(peer, announcers, message.round, now_us)  # after it went on, or it goes back

    def _prefer(self, peer: Site, announcers: dict[Site, int], round: int, now_us: int) -> list[Effect]:
        """Who sent something new is eager; unless somebody announced it who is much nearer to its sender (3.8)."""
        if peer in self.lazy:
            self._make_eager(peer)
        if not announcers or peer not in self.eager or self._is_fresh(peer, now_us):
            return []
        nearest = min((other for other in announcers if other in self.lazy), key=announcers.__getitem__, default=None)
        if nearest is None or round - announcers[nearest] < self._config.shorter_by or nearest in self._congested:
            return []
        self.counts["shorter"] += 1
        self._make_eager(nearest)
        self._grafted_us[nearest] = now_us
        return [self._send(nearest, Graft(())), *self._prune(peer, now_us)]

    def _prune(self, peer: Site, now_us: int) -> list[Effect]:
        """One link to a neighbour too many: it is lazy from now on, and is told so, again where that was lost."""
        if peer not in self._addresses or self._is_fresh(peer, now_us):
            self.counts["strangers"] += peer not in self._addresses
            return []
        if self.eager.pop(peer, 0) is None:
            self.lazy[peer] = None
        elif now_us < self._pruned_us.get(peer, -self.missing.retry.us) + self.missing.retry.us:
            return []  # that may be on its way
        self._pruned_us[peer] = now_us
        self.counts["prunes"] += 1
        return [self._send(peer, Prune())]

    def prune(self, peer: Site) -> None:
        """A neighbour has what we send it from elsewhere."""
        if self.eager.pop(peer, 0) is None:
            self.lazy[peer] = None

    def i_have(self, peer: Site, message: IHave, now_us: int) -> None:
        """A neighbour has these; what does not come by itself is asked for."""
        if peer not in self._addresses:
            self.counts["strangers"] += 1
            return
        at_once = not self.eager
        for site, incarnation, name, runs in message.runs:
            stream = (site, incarnation, name)
            for first, last, round in runs:
                for low, high in self.seen.fresh(stream, first, last):
                    for number in range(low, min(high, low + self._config.missing_max - 1) + 1):
                        self.missing.announced(stream, number, peer, round, now_us, at_once=at_once)

    def graft(self, peer: Site, message: Graft, now_us: int) -> list[Effect]:
        """A neighbour wants what we have from now on, and these that did not reach it."""
        if peer not in self._addresses:
            self.counts["strangers"] += 1
            return []
        self._make_eager(peer)
        self._grafted_us[peer] = now_us
        effects: list[Effect] = []
        unheld: list[tuple[Site, int, bytes, tuple[tuple[int, int], ...]]] = []
        for site, incarnation, name, runs in message.runs:
            stream = (site, incarnation, name)
            gaps: list[tuple[int, int]] = []
            for first, last in runs:
                for run in self.bodies.get(stream, first, last):
                    effects.append(self._send(peer, _message(run)))
                    if run.first > first:
                        gaps.append((first, run.first - 1))
                    first = run.last + 1
                if first <= last:
                    gaps.append((first, last))
            if gaps:
                unheld.append((*stream, tuple(gaps)))
        if unheld:
            self.counts["unheld"] += 1
            effects.append(self._send(peer, NotHeld(tuple(unheld))))
        return effects

    def not_held(self, peer: Site, message: NotHeld, now_us: int) -> None:
        """Whom we asked does not have it."""
        for site, incarnation, name, runs in message.runs:
            for first, last in runs:
                self.missing.refused((site, incarnation, name), first, last, peer, now_us)

    # --- timers -----------------------------------------------------------------------------------------------------

    def tick(self, now_us: int) -> list[Effect]:
        """Ask for what did not come, and announce what is to be announced."""
        effects: list[Effect] = []
        if self._announce_us is not None and now_us >= self._announce_us:
            effects += self.announce()
        for peer, streams in self.missing.due(now_us).items():
            self._make_eager(peer)
            self._grafted_us[peer] = now_us
            self.counts["grafts"] += 1
            effects.append(self._send(peer, Graft(tuple((*stream, tuple(runs)) for stream, runs in streams.items()))))
        self.bodies.expire(now_us)
        return effects

    def announce(self) -> list[Effect]:
        """Tell lazy neighbours what was gathered for them."""
        self._announce_us = None
        return [
            effect for peers, messages in self.announcements.take() for message in messages
            for effect in self._push(peers, message)
        ]  # fmt: skip

    def deadline(self) -> int | None:
        """When something is to be said or let go of."""
        due_us, gone_us = self.next_word(), self.bodies.deadline()
        return due_us if gone_us is None or (due_us is not None and due_us < gone_us) else gone_us

    def next_word(self) -> int | None:
        """When something is to be asked for or announced."""
        due_us = self.missing.deadline()
        if self._announce_us is None or (due_us is not None and due_us < self._announce_us):
            return due_us
        return self._announce_us

    # --- inside -----------------------------------------------------------------------------------------------------

    def _make_eager(self, peer: Site) -> None:
        if self.lazy.pop(peer, 0) is None:
            self.eager[peer] = None

    def _is_fresh(self, peer: Site, now_us: int) -> bool:
        """Whether a link was grafted just now."""
        grafted_us = self._grafted_us.get(peer)
        return grafted_us is not None and now_us < grafted_us + self._config.protect_us

    def _send(self, peer: Site, message: Any) -> Effect:
        return Send(peer, message, self._addresses.get(peer, ""), Channel.DATA)

    def _push(self, peers: list[Site], message: Any) -> list[Effect]:
        """The same to several: encoded once for all whose link is there."""
        near = tuple([peer for peer in peers if peer in self._linked])
        effects: list[Effect] = [Multicast(near, message, Channel.DATA)] if near else []
        if len(near) < len(peers):
            effects += [self._send(peer, message) for peer in peers if peer not in self._linked]
        return effects

    def check(self) -> None:
        """Every invariant."""
        invariant(not self.eager.keys() & self.lazy.keys(), "a neighbour is eager or lazy")
        invariant(self._addresses.keys() == self.eager.keys() | self.lazy.keys(), "neighbours are what there is")
        for known in (self._grafted_us, self._pruned_us, dict.fromkeys(self.announcements.peers())):
            invariant(known.keys() <= self._addresses.keys(), "only neighbours are known")
        invariant((self._announce_us is not None) == bool(self.announcements), "what waits to be announced has a time")
        self.seen.check()
        self.bodies.check()
        self.missing.check()


def _message(run: Run) -> Gossip:
    site, incarnation, name = run.stream
    return Gossip(site, incarnation, name, run.first, run.last - run.first + 1, run.round + 1, msgspec.Raw(run.values))
