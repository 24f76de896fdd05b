"""Gossip: everything goes from node to node, to a few at random who have not been told, until all have.

As ProcessHub documents it: `recipients` at a time, and with `restricted_init` only the node with the lowest name begins
a round of repair. What is changed, because as coded it sends 179 messages for one event and 2,330 for one round with
ten nodes, and one member that does not answer stops all repair (reference/registry.md 2.4):

- Whoever passes something on names all whom it was told to, and whom it tells now. Who gets it for the first time
  passes it on to `recipients` of the others; who has it already, to one of those that neither it nor the sender knows
  of. So each message makes a list longer, and it ends; and no chain ends before its list is complete, so where
  nothing is lost all get it. Nobody waits for anybody.
- A round asks first, without rows. Everybody answers with its rows to who began, and once all did who are there, all
  rows go out in the same way. Who does not answer is not waited for in the next round, and what the others answered
  goes out with that one.
- Where the lowest name is not heard of, the next one begins after an interval, and so on.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from covey.core.errors import ConfigError
from covey.core.ids import SITE_BYTES, Site
from covey.protocols.registry.strategies.pubsub import SYNC_INTERVAL, check_interval
from covey.protocols.registry.strategies.strategy import (
    AllRows,
    CrossNodeRequest,
    Data,
    HubView,
    Member,
    OurRows,
    Step,
    Tell,
    Told,
)

RECIPIENTS = 3  # ProcessHub's
RECIPIENTS_MAX = 64
SEEN_MAX = 256  # of what goes around that is remembered: a second of many changes. Guess
NEWS, ASK, ANSWER, ROWS = 0, 1, 2, 3

Rumour: TypeAlias = tuple[bytes, int]
"""Who began it, and its number there."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What goes along. `told`: who was told, the receiver included."""

    kind: int
    rumour: Rumour
    told: tuple[bytes, ...]


class Memory(msgspec.Struct, frozen=True):
    """What is remembered between two calls.

    `seen`: of each rumour whom it was told to. Of the round that began here: its number, who has answered and who has
    not in the one before, and whether there are answers that did not go out. `quiet`: how often an interval passed
    without a round of another.
    """

    number: int = 0
    seen: dict[Rumour, tuple[Site, ...]] = {}
    round: int = -1
    answered: tuple[Site, ...] = ()
    silent: tuple[Site, ...] = ()
    owed: bool = False
    heard: bool = False
    quiet: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Note)


class Gossip:
    """Tell `recipients` at random, who tell others.

    Law: where nothing is lost, everybody is told; each node is told to one that it was not known to be told to, each
    time, so it ends.
    """

    __slots__ = ("_memory", "recipients", "restricted_init", "sync_interval")

    def __init__(
        self, sync_interval: float = SYNC_INTERVAL, recipients: int = RECIPIENTS, restricted_init: bool = True
    ) -> None:
        """Raises `ConfigError`."""
        if type(recipients) is not int or not 1 <= recipients <= RECIPIENTS_MAX:
            raise ConfigError(f"recipients: must be an int from 1 to {RECIPIENTS_MAX}, not {recipients!r}")
        if type(restricted_init) is not bool:
            raise ConfigError(f"restricted_init: must be True or False, not {restricted_init!r}")
        self.sync_interval: float | None = check_interval(sync_interval)
        self.recipients = recipients
        self.restricted_init = restricted_init
        self._memory = Memory()

    # --- the six functions ------------------------------------------------------------------------------------------

    def init(self, hub: HubView) -> Gossip:
        return self._with(Memory(number=hub.rng.getrandbits(48)))  # numbers of the life before are remembered elsewhere

    def init_sync(self, hub: HubView, nodes: tuple[Site, ...]) -> Step:
        memory, tells = self._memory, []
        quiet = 0 if memory.heard else memory.quiet + 1
        memory = msgspec.structs.replace(memory, heard=False, quiet=quiet)
        if memory.owed:
            memory, tell = self._begin(hub, memory, ROWS, AllRows(), nodes)
            tells += tell
        rank = sum(_order(member) < _order(hub.me) for member in hub.members)
        if self.restricted_init and quiet < rank:
            return Step(tuple(tells), self._with(memory))
        silent = tuple(site for site in nodes if memory.round >= 0 and site not in memory.answered)
        number = memory.number + 1
        memory, tell = self._begin(hub, memory, ASK, (), nodes)
        memory = msgspec.structs.replace(memory, round=number, answered=(), silent=silent, owed=False)
        return Step((*tells, *tell), self._with(memory))

    def handle_synchronization(self, hub: HubView, data: Data, sender: Site) -> Step:
        note = _read(data.note)
        if note is None:
            return Step()
        if note.kind == ANSWER:
            return self._answered(hub, note, sender)
        first = note.rumour not in self._memory.seen
        what: Told = AllRows() if note.kind == ROWS else data.requests
        memory, tells = self._pass_on(hub, note, what, self.recipients if first else 1)
        if note.kind == ASK:
            memory = msgspec.structs.replace(memory, heard=True)
            if first:
                answer = _encoder.encode(Note(ANSWER, note.rumour, ()))
                tells += [Tell((Site(note.rumour[0]),), OurRows(), answer)]
        known = {member.site: None for member in hub.members}
        return Step(tuple(tell for tell in tells if all(site in known for site in tell.to)), self._with(memory))

    def propagate(self, hub: HubView, requests: tuple[CrossNodeRequest, ...], nodes: tuple[Site, ...]) -> Step:
        memory, tells = self._begin(hub, self._memory, NEWS, requests, nodes)
        return Step(tuple(tells), self._with(memory))

    def broadcast_local_data(self, hub: HubView, local_data: Told, targets: tuple[Site, ...]) -> Step:
        return Step((Tell(targets, local_data),))

    def handle_node_join_data(self, hub: HubView, data: Data, sender: Site) -> Step:
        return Step()

    # --- how ------------------------------------------------------------------------------------------------------

    def _answered(self, hub: HubView, note: Note, sender: Site) -> Step:
        """One more has given its rows; all rows go out once everybody has who can be expected to."""
        memory = self._memory
        if note.rumour != (hub.me.site, memory.round) or sender in memory.answered:
            return Step()
        answered = (*memory.answered, sender)
        memory = msgspec.structs.replace(memory, answered=answered, owed=True)
        nodes = tuple(member.site for member in hub.members)
        if any(site not in answered and site not in memory.silent for site in nodes):
            return Step((), self._with(memory))
        memory, tells = self._begin(hub, memory, ROWS, AllRows(), nodes)
        return Step(tuple(tells), self._with(msgspec.structs.replace(memory, owed=False)))

    def _begin(
        self, hub: HubView, memory: Memory, kind: int, what: Told, nodes: tuple[Site, ...]
    ) -> tuple[Memory, list[Tell]]:
        number = memory.number + 1
        memory = msgspec.structs.replace(memory, number=number)
        return self._say(hub, memory, Note(kind, (hub.me.site, number), (hub.me.site,)), what, nodes, self.recipients)

    def _pass_on(self, hub: HubView, note: Note, what: Told, most: int) -> tuple[Memory, list[Tell]]:
        nodes = tuple(member.site for member in hub.members)
        return self._say(hub, self._memory, note, what, nodes, most)

    def _say(
        self, hub: HubView, memory: Memory, note: Note, what: Told, nodes: tuple[Site, ...], most: int
    ) -> tuple[Memory, list[Tell]]:
        """Tell some of those who are not known to have been told."""
        before = (*memory.seen.get(note.rumour, ()), hub.me.site, *map(Site, note.told))
        told = dict.fromkeys(before)
        left = [site for site in nodes if site not in told]
        to = tuple(hub.rng.sample(left, min(most, len(left))))
        told |= dict.fromkeys(to)
        seen = {rumour: sites for rumour, sites in memory.seen.items() if rumour != note.rumour}
        seen[note.rumour] = tuple(told)
        if len(seen) > SEEN_MAX:
            del seen[next(iter(seen))]
        memory = msgspec.structs.replace(memory, seen=seen)
        if not to:
            return memory, []
        return memory, [Tell(to, what, _encoder.encode(msgspec.structs.replace(note, told=tuple(told))))]

    def _with(self, memory: Memory) -> Gossip:
        other = Gossip(self.sync_interval or 0.0, self.recipients, self.restricted_init)
        other._memory = memory
        return other

    def __repr__(self) -> str:
        return (
            f"Gossip(sync_interval={self.sync_interval:g}, recipients={self.recipients}, "
            f"restricted_init={self.restricted_init})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Gossip) and repr(self) == repr(other) and self._memory == other._memory

    def __hash__(self) -> int:
        return hash(repr(self))


def _order(member: Member) -> tuple[bool, str, Site]:
    """By names; who has not said its own comes last."""
    return not member.name, member.name, member.site


def _read(note: bytes) -> Note | None:
    """What a peer's strategy wrote; None for nonsense."""
    try:
        read = _decoder.decode(note)
    except (ValueError, RecursionError):
        return None
    sites = (read.rumour[0], *read.told)
    sound = NEWS <= read.kind <= ROWS and all(len(site) == SITE_BYTES for site in sites)
    return read if sound else None
