"""Several `Groups` machines, with a net of rows that loses nothing and a net of mail that loses what the test says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from covey.core.errors import CoveyError
from covey.core.ids import ClusterId, Contact, Site
from covey.core.rows import HoldInstance, RowsChanged, WriteRows
from covey.core.vocabulary import (
    Cause,
    Channel,
    ClusterChanged,
    Emit,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    Refuse,
    Resolve,
    SendData,
    TurnEnded,
    WantTurn,
)
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.config import GroupsConfig
from covey.protocols.groups.machine import Groups
from covey.wire.codec import decode_body, encode_message, join_body
from covey.wire.messages.groups import Mail

Change = tuple[bytes, bytes | None]
ME, ANN, BOB = (Site(bytes([number]) * 16) for number in (1, 2, 3))
S, G, H = b"", b"\xa1g", b"\xa1h"  # a scope, and two groups by their keys "g" and "h"
HI = b"\xa2hi"


class Member:
    """One machine and what it said, checked after every step. Its rows come back to it at once, as at a real node."""

    def __init__(self, site: Site = ME, incarnation: int = 1, config: GroupsConfig | None = None) -> None:
        self.groups = Groups(config or GroupsConfig(), Random(0), 0, me=Contact(site, incarnation, "me:1"))
        self.site, self.incarnation = site, incarnation
        self.rows: dict[tuple[bytes, bytes], bytes] = {}  # our own, by instance and key
        self.held: list[bytes] = []
        self.wants_turn = False
        self.sent: list[SendData] = []
        self.letters: list[g.Letter] = []
        self.changes: list[g.GroupChanged] = []
        self.ended: list[tuple[int, int, str]] = []  # lives, by the first byte of the site, and why
        self.folded: dict[tuple[bytes, bytes], dict[g.Address, g.GroupEntry]] = {}
        self.outcomes: dict[int, Any] = {}
        self.tell_rows: Callable[[bytes, tuple[Change, ...]], None] = lambda instance, changes: None

    def feed(self, incoming: Any) -> list[Any]:
        effects = list(self.groups.handle(incoming, 0))
        self.groups.check()
        self.groups.statistics()
        assert self.groups.deadline() is None
        for effect in effects:
            self._carry_out(effect)
        assert self.folded == self.groups.members.by_place, "a view is the fold of GroupChanged"
        return effects

    def _carry_out(self, effect: Any) -> None:
        match effect:
            case WantTurn():
                self.wants_turn = True
            case HoldInstance(instance):
                assert instance not in self.held
                self.held.append(instance)
            case WriteRows(instance, changes):
                assert instance in self.held, "rows are written where they are held"
                for key, value in changes:
                    if value is None:
                        self.rows.pop((instance, key), None)
                    else:
                        self.rows[instance, key] = value
                self.feed(RowsChanged(instance, self.site, self.incarnation, changes))
                self.tell_rows(instance, changes)
            case SendData():
                self.sent.append(effect)
            case Emit(g.MailReceived(letters)):
                assert letters
                self.letters += letters
            case Emit(g.LifeEnded(site, incarnation, why)):
                self.ended.append((site[0], incarnation, why))
            case Emit(g.GroupChanged() as event):
                self._fold(event)
            case Resolve(request, value):
                assert request and request not in self.outcomes, "one outcome"
                self.outcomes[request] = value
            case Refuse(request, error):
                assert request and request not in self.outcomes, "one outcome"
                assert isinstance(error, CoveyError)
                self.outcomes[request] = error
            case _:
                raise AssertionError(effect)

    def _fold(self, event: g.GroupChanged) -> None:
        assert event.changes
        self.changes.append(event)
        place = event.scope, event.group
        for before, after in event.changes:
            entry = before or after
            assert entry is not None and before != after
            view = self.folded.setdefault(place, {})
            assert view.get(entry.address) == before, "it fits what was before"
            if after is None:
                del view[entry.address]
                if not view:
                    del self.folded[place]
            else:
                view[entry.address] = after

    # --- short words ------------------------------------------------------------------------------------------------

    def end_turn(self) -> None:
        assert self.wants_turn
        self.wants_turn = False
        self.feed(TurnEnded())

    def open(self) -> int:
        """A new mailbox."""
        (resolved,) = self.feed(g.OpenMailbox(1))
        del self.outcomes[1]
        number: int = resolved.value
        return number

    def join(self, mailbox: int, group: bytes = G, meta: bytes | None = b"", scope: bytes = S) -> None:
        self.feed(g.JoinGroup(mailbox, scope, group, meta))

    def leave(self, mailbox: int, count: int = 1, group: bytes = G, scope: bytes = S) -> None:
        self.feed(g.LeaveGroup(mailbox, scope, group, count))

    def knows(self, site: Site, incarnation: int = 1, linked: bool = True) -> None:
        """That site is a member in this life, and linked."""
        contact = Contact(site, incarnation, f"{site[0]}:1")
        self.feed(MemberAdded(contact, False, True))
        self.feed(LivenessChanged(contact, Liveness.ALIVE, ""))
        if linked:
            self.feed(PeerConnected(contact, Channel.DATA))

    def unlinked(self, site: Site, incarnation: int = 1, channel: Channel = Channel.DATA) -> None:
        self.feed(PeerLost(Contact(site, incarnation, f"{site[0]}:1"), channel, Cause.RESET))

    def counts(self, group: bytes = G, scope: bytes = S) -> dict[tuple[int, int, int], int]:
        """Who is a member, by the first byte of the site, life and mailbox, and how often."""
        view = self.groups.view(scope, group)
        return {(a.site[0], a.incarnation, a.mailbox): entry.count for a, entry in view.items()}

    def send(
        self,
        mailbox: int,
        to: tuple[Site, int, int],
        payload: bytes = HI,
        kind: g.Kind = g.Kind.VALUE,
        number: int = 0,
        request: int = 0,
    ) -> list[Any]:
        site, incarnation, target = to
        return self.feed(g.SendMail(request, mailbox, site, incarnation, (target,), kind, number, payload))


class Net:
    """Machines that hear each other's rows, and mail in flight."""

    def __init__(self, count: int, config: GroupsConfig | None = None) -> None:
        self.config = config
        self.members: list[Member] = []
        self.mail: dict[tuple[Site, Site], deque[Any]] = {}  # in order between two sites
        for number in range(count):
            self._begin(Site(bytes([number + 1]) * 16), 1, None)

    def _begin(self, site: Site, incarnation: int, at: int | None) -> Member:
        member = Member(site, incarnation, self.config)
        member.feed(g.HoldScope(S))
        if at is None:
            self.members.append(member)
        else:
            self.members[at] = member
        member.tell_rows = lambda instance, changes: self._spread(member, instance, changes)
        for other in self.members:
            if other is not member:
                self._meet(member, other)
        return member

    def _meet(self, one: Member, two: Member) -> None:
        for here, there in ((one, two), (two, one)):
            here.knows(there.site, there.incarnation)
            for (instance, key), value in there.rows.items():
                here.feed(RowsChanged(instance, there.site, there.incarnation, ((key, value),)))

    def _spread(self, owner: Member, instance: bytes, changes: tuple[Change, ...]) -> None:
        for other in self.members:
            if other is not owner:
                other.feed(RowsChanged(instance, owner.site, owner.incarnation, changes))

    def _hide(self, owner: Member) -> None:
        for (instance, key), _ in list(owner.rows.items()):
            for other in self.members:
                if other is not owner:
                    other.feed(RowsChanged(instance, owner.site, owner.incarnation, ((key, None),)))

    def restart(self, at: int) -> Member:
        """The process ends and begins another life; what was on its way to and from it is lost."""
        old = self.members[at]
        self._hide(old)
        for other in self.members:
            if other is not old:
                other.unlinked(old.site, old.incarnation)
                self.mail.pop((old.site, other.site), None)
                self.mail.pop((other.site, old.site), None)
        return self._begin(old.site, old.incarnation + 1, at)

    def new_life(self, at: int) -> None:
        """The same process in another life: its mailboxes live on, and join what they had joined."""
        member = self.members[at]
        rows = dict(member.rows)
        self._hide(member)
        for other in self.members:
            if other is not member:
                self.mail.pop((member.site, other.site), None)
                self.mail.pop((other.site, member.site), None)
                other.unlinked(member.site, member.incarnation)
        member.feed(ClusterChanged(ClusterId(bytes(16)), member.incarnation + 1, False))
        for (instance, key), _ in rows.items():  # as the row machine does
            member.feed(RowsChanged(instance, member.site, member.incarnation, ((key, None),)))
        member.incarnation += 1
        for (instance, key), value in rows.items():
            member.feed(RowsChanged(instance, member.site, member.incarnation, ((key, value),)))
        for other in self.members:
            if other is not member:
                self._meet(member, other)

    def collect(self) -> None:
        """Put what was sent on its way, as bytes."""
        for member in self.members:
            sent, member.sent = member.sent, []
            for data in sent:
                way = self.mail.setdefault((member.site, data.to), deque())
                for message in data.messages:
                    way.append(encode_message(message))
                if data.request:
                    member.outcomes[data.request] = None

    def deliver(self, source: int, target: int, lose: bool = False) -> bool:
        """The oldest message between two arrives, or does not. False if there is none."""
        self.collect()
        sender, receiver = self.members[source], self.members[target]
        way = self.mail.get((sender.site, receiver.site))
        if not way:
            return False
        messages, unknown = decode_body(join_body([way.popleft()]))
        assert not unknown
        if not lose:
            receiver.feed(MessagesReceived(sender.site, messages))
        return True

    def settle(self) -> None:
        """Everything on its way arrives."""
        for source in range(len(self.members)):
            for target in range(len(self.members)):
                while source != target and self.deliver(source, target):
                    pass


def mail(number: int = 0, *, to: int = 1, sender: int = 5, target: int = 1, kind: int = 0, call: int = 0) -> Mail:
    return Mail(to, sender, ((target, number),), kind, call, msgspec.Raw(HI))


def opened(*, linked: bool = True) -> Member:
    """One mailbox, and ann is there."""
    member = Member()
    member.open()
    member.knows(ANN, linked=linked)
    return member


def hear(member: Member, *mails: Mail) -> list[int]:
    """What is missing before each letter that these bring."""
    before = len(member.letters)
    member.feed(MessagesReceived(ANN, mails))
    return [letter.lost for letter in member.letters[before:]]
