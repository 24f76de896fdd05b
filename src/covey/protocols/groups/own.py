"""Our own mailboxes and what they joined, and the rows that tell others so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from covey.core.errors import UsageError, invariant
from covey.core.rows import HoldInstance, WriteRows
from covey.core.vocabulary import Resolve, TurnEnded, WantTurn
from covey.protocols.groups.config import GroupsConfig
from covey.protocols.groups.rows import COUNT_MAX, PREFIX, encode_row, encode_value
from covey.protocols.groups.views import Place
from covey.protocols.groups.vocabulary import HoldScope, JoinGroup, LeaveGroup, OpenMailbox, UpdateMeta

Effect = Any
Said = tuple[int, bytes]  # how often it joined, and with which metadata
Joins = dict[Place, Said]


class Own:
    """The mailboxes of this node.

    Law: n joins need n leaves; a command that is refused changes nothing; a mailbox that is closed leaves all groups,
    of many of them some each turn. Invariants: a number is used once in a process; who joined has a count, in a scope
    that is held; memberships are counted, and within the bounds of what others show of one node; so are the bytes of
    their rows; what is closed is not open.
    """

    def __init__(self, config: GroupsConfig) -> None:
        self._config = config
        self._next = 1
        self.mailboxes: dict[int, Joins] = {}
        self.scopes: dict[bytes, None] = {}
        self._leaving: deque[tuple[int, Place, Said]] = deque()  # what closed mailboxes are still members of
        self._joined = 0  # memberships of all of them together
        self._bytes = 0  # of their rows
        self.handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            OpenMailbox: self._on_open,
            JoinGroup: self._on_join,
            UpdateMeta: self._on_meta,
            LeaveGroup: self._on_leave,
            HoldScope: self._on_hold,
            TurnEnded: self._on_turn_ended,
        }

    def joined(self, mailbox: int, place: Place) -> tuple[int, bytes]:
        """How often a mailbox joined, and what it says of itself there; 0 for never."""
        return self.mailboxes.get(mailbox, {}).get(place, (0, b""))

    @property
    def newest(self) -> int:
        """The number of the mailbox that was opened last."""
        return self._next - 1

    def _on_open(self, command: OpenMailbox, now_us: int) -> list[Effect]:
        if len(self.mailboxes) >= self._config.mailboxes_max:
            raise UsageError(f"{len(self.mailboxes)} mailboxes are open, as many as there may be; nothing was opened")
        number = self._next
        joining: list[Effect] = []
        self.mailboxes[number] = {}
        if command.group is not None:
            try:
                joining = self._on_join(JoinGroup(number, command.scope, command.group, command.meta), now_us)
            except UsageError:
                del self.mailboxes[number]
                raise
        self._next += 1
        return ([Resolve(command.request, number)] if command.request else []) + joining

    def _on_join(self, command: JoinGroup, now_us: int) -> list[Effect]:
        self._check_open(command.mailbox)
        place = (command.scope, command.group)
        count, meta = self.joined(command.mailbox, place)
        if count >= COUNT_MAX:
            raise UsageError(f"the mailbox has joined {count} times, as often as it may; nothing was changed")
        if not count and self._joined >= self._config.members_max:
            raise UsageError(f"{self._joined} memberships of this node are as many as may be; nothing was changed")
        said = count + 1, meta if command.meta is None else command.meta
        self._check_room(command.mailbox, place, said)
        return [*self._on_hold(HoldScope(command.scope), now_us), self._write(command.mailbox, place, said)]

    def _on_meta(self, command: UpdateMeta, now_us: int) -> list[Effect]:
        self._check_open(command.mailbox)
        place = (command.scope, command.group)
        count, _ = self.joined(command.mailbox, place)
        if not count:
            raise UsageError("the mailbox is no member of that group; nothing was changed")
        self._check_room(command.mailbox, place, (count, command.meta))
        return [self._write(command.mailbox, place, (count, command.meta))]

    def _on_leave(self, command: LeaveGroup, now_us: int) -> list[Effect]:
        place = (command.scope, command.group)
        count, meta = self.joined(command.mailbox, place)
        if not count:
            return []
        said = None if command.count >= count else (count - command.count, meta)
        return [self._write(command.mailbox, place, said)]

    def _on_hold(self, command: HoldScope, now_us: int) -> list[Effect]:
        if command.scope in self.scopes:
            return []
        if len(self.scopes) >= self._config.scopes_max:
            raise UsageError(f"{len(self.scopes)} scopes are in use, as many as there may be; nothing was changed")
        self.scopes[command.scope] = None
        return [HoldInstance(PREFIX + command.scope)]

    def close(self, mailbox: int) -> list[Effect]:
        """It leaves every group: those of a scope in one command, but of many only the first ones in this turn."""
        places = list(self.mailboxes.pop(mailbox, {}).items())
        most = self._config.leaves_max
        effects = self._leave((mailbox, *at) for at in places[:most])
        if len(places) > most:
            effects += [] if self._leaving else [WantTurn()]
            self._leaving.extend((mailbox, *at) for at in places[most:])
        return effects

    def _on_turn_ended(self, _: TurnEnded, now_us: int) -> list[Effect]:
        """Those that are closed leave some more."""
        some = [self._leaving.popleft() for _ in range(min(len(self._leaving), self._config.leaves_max))]
        effects = self._leave(some)
        return [*effects, WantTurn()] if self._leaving else effects

    def _leave(self, some: Iterable[tuple[int, Place, Said]]) -> list[Effect]:
        changes: dict[bytes, list[tuple[bytes, bytes | None]]] = {}
        for mailbox, (scope, group), said in some:
            self._count((scope, group), said, None)
            changes.setdefault(scope, []).append((encode_row(group, mailbox), None))
        return [WriteRows(PREFIX + scope, tuple(rows)) for scope, rows in changes.items()]

    def _check_open(self, mailbox: int) -> None:
        if mailbox not in self.mailboxes:
            raise UsageError("the mailbox is closed; nothing was changed")

    def _check_room(self, mailbox: int, place: Place, said: tuple[int, bytes]) -> None:
        joined = self.mailboxes[mailbox].get(place)
        size = self._bytes + _size(place, said) - _size(place, joined)
        if size > self._config.member_bytes_max:
            raise UsageError(
                f"all members of this node would say {size} bytes of themselves, more than the "
                f"{self._config.member_bytes_max} that others keep of one node: say less; nothing was changed"
            )

    def _write(self, mailbox: int, place: Place, said: Said | None) -> WriteRows:
        """What we say of one mailbox in one group from now on, as a row."""
        joins = self.mailboxes[mailbox]
        self._count(place, joins.get(place), said)
        if said is None:
            del joins[place]
        else:
            joins[place] = said
        row = encode_row(place[1], mailbox), None if said is None else encode_value(*said)
        return WriteRows(PREFIX + place[0], (row,))

    def _count(self, place: Place, before: Said | None, said: Said | None) -> None:
        self._bytes += _size(place, said) - _size(place, before)
        self._joined += (said is not None) - (before is not None)

    def check(self) -> None:
        """Every invariant."""
        joined = size = 0
        invariant(all(mailbox not in self.mailboxes for mailbox, _, _ in self._leaving), "what is closed is not open")
        leaving = [(mailbox, {place: said}) for mailbox, place, said in self._leaving]
        for number, joins in (*self.mailboxes.items(), *leaving):
            invariant(0 < number < self._next, "a number is used once in a process")
            for place, said in joins.items():
                invariant(said[0] > 0 and place[0] in self.scopes, "who joined has a count, in a scope that is held")
                joined += 1
                size += _size(place, said)
        invariant((joined, size) == (self._joined, self._bytes), "our memberships and their bytes are counted")
        invariant(joined <= self._config.members_max, "our memberships are bounded")
        invariant(size <= self._config.member_bytes_max, "so are their bytes")
        invariant(len(self.scopes) <= self._config.scopes_max, "scopes are bounded")


def _size(place: Place, said: tuple[int, bytes] | None) -> int:
    """What a row costs, about."""
    return 0 if said is None else len(place[1]) + len(said[1]) + 32
