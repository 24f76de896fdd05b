"""Groups: mailboxes anywhere under one key, as Erlang's pg has them, and mail between them.

Who is a member is an owned row of the node that the mailbox lives on, so a group's view is a fold over rows: what a
node shows of another one goes with it, and comes back with it. Nothing here knows how rows travel.

Mail is at most once, and in order between two mailboxes. It is numbered for each such pair, so the receiver is told how
many are missing in front of what it gets; that happens only where a link broke. Answers to calls are not numbered: each
belongs to its call, and who waits for it has a deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from covey.core.errors import PeerUnreachable, UsageError, invariant
from covey.core.ids import Contact, Site, short
from covey.core.rows import RowsChanged
from covey.core.vocabulary import (
    AddressLearned,
    Channel,
    ClusterChanged,
    Emit,
    Liveness,
    LivenessChanged,
    MemberAdded,
    MemberRemoved,
    MessagesReceived,
    PeerConnected,
    PeerLost,
    Refuse,
    Resolve,
    SendData,
)
from covey.protocols.groups.config import GroupsConfig
from covey.protocols.groups.own import Own
from covey.protocols.groups.post import Post, size_of
from covey.protocols.groups.rows import PREFIX
from covey.protocols.groups.streams import Streams
from covey.protocols.groups.views import Life, Views
from covey.protocols.groups.vocabulary import (
    Address,
    CloseMailbox,
    GroupEntry,
    Kind,
    Letter,
    LifeEnded,
    MailReceived,
    Outgoing,
    SendLetters,
    SendMail,
)
from covey.wire.messages.groups import Mail

Effect = Any

_CLOSED = msgspec.msgpack.encode("its mailbox is closed; nothing was delivered")


class GroupsStatistics(msgspec.Struct, frozen=True):
    """What is there, and counts since the start.

    `nonsense`: rows and mail that no covey writes; `left_out`: members of a node that has too many.
    """

    mailboxes: int
    groups: int
    members: int
    sent: int
    received: int
    lost: int
    undeliverable: int
    nonsense: int
    left_out: int


class Groups:
    """Members of groups, ours and everybody's, and their mail.

    Law: a group's view is the fold of its `GroupChanged`; letters of one sender reach one mailbox in the order in which
    they were sent, each at most once, with the number of those that are missing; who waits for an answer of a life
    hears of its end. Invariants: those of our own mailboxes, the views and the streams; only open mailboxes have
    streams; who belongs or is held for down is known.
    """

    def __init__(self, config: GroupsConfig, rng: Random, now_us: int, *, me: Contact) -> None:
        self._rng = rng
        self._me = me
        self._own = Own(config)
        self._mailboxes = self._own.mailboxes
        self.members = Views(config.members_max)
        self._lives: dict[Site, Contact] = {}  # the latest that is known of each site
        self._members: dict[Site, None] = {}  # the sites that belong: the detector may speak of others too
        self._down: dict[Site, None] = {}  # those of them that are held for down, or said that they are
        self._linked: dict[Site, int] = {}  # the life on the other end of a data link
        self._said = Streams(config.streams_max)
        self._heard = Streams(config.streams_max)
        self._nonsense = 0  # mail that no covey sends
        self._counts = dict.fromkeys(("sent", "received", "lost", "undeliverable"), 0)
        self._post = Post(self._mailboxes, self._said, self._heard, self._counts)
        self._handlers: dict[type, Callable[[Any, int], list[Effect]]] = {
            MessagesReceived: self._on_messages,
            SendMail: self._on_send,
            SendLetters: self._on_letters,
            RowsChanged: self._on_rows,
            **self._own.handlers,
            CloseMailbox: self._on_close,
            PeerConnected: self._on_connected,
            PeerLost: self._on_lost,
            MemberAdded: self._on_life,
            LivenessChanged: self._on_life,
            MemberRemoved: self._on_member_removed,
            ClusterChanged: self._on_cluster_changed,
            AddressLearned: self._on_address,
        }

    # --- the machine's door -----------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Effect]:
        return self._handlers[type(incoming)](incoming, now_us)

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        self.members.check()
        self._own.check()
        invariant(self._down.keys() | self._members.keys() <= self._lives.keys(), "who belongs or is down is known")
        for streams in (self._said, self._heard):
            invariant(streams.mailboxes() <= self._mailboxes.keys(), "only open mailboxes have streams")
        self._said.check()
        self._heard.check()

    def statistics(self) -> GroupsStatistics:
        views = self.members
        return GroupsStatistics(
            len(self._mailboxes), len(views.by_place), views.members, **self._counts,
            nonsense=views.nonsense + self._nonsense, left_out=views.left_out,
        )  # fmt: skip

    # --- queries ----------------------------------------------------------------------------------------------------

    def view(self, scope: bytes, group: bytes) -> dict[Address, GroupEntry]:
        """The members of a group, in the order in which they came here. Not to be changed."""
        return self.members.of(scope, group)

    def targets(self, scope: bytes, group: bytes) -> dict[Life, tuple[Address, ...]]:
        """The distinct members of a group by the life that they belong to. Not to be changed."""
        return self.members.targets(scope, group)

    def reaches(self, life: Life) -> bool:
        """Whether mail for this life of another node is not refused."""
        known = self._lives.get(life[0])
        there = known is not None and known.incarnation == life[1] and life[0] in self._members
        return there and life[0] not in self._down

    def holds(self, scope: bytes) -> bool:
        """Whether the groups of a scope are known here."""
        return scope in self._own.scopes

    def groups(self, scope: bytes) -> list[bytes]:
        """The groups of a scope that have a member."""
        return self.members.groups(scope)

    def address(self, mailbox: int) -> Address:
        """One of our mailboxes as others see it in this life."""
        return Address(self._me.site, self._me.incarnation, mailbox)

    @property
    def newest(self) -> int:
        """The number of the mailbox that was opened last."""
        return self._own.newest

    def joined(self, mailbox: int, scope: bytes, group: bytes) -> GroupEntry:
        """What one of our mailboxes has joined, and what it says of itself there."""
        return GroupEntry(self.address(mailbox), *self._own.joined(mailbox, (scope, group)))

    def remembers(self, sender: Address) -> bool:
        """Whether nothing was forgotten of what came from that life, so that every gap is told."""
        return self._heard.is_new(sender)

    # --- members ----------------------------------------------------------------------------------------------------

    def _on_close(self, command: CloseMailbox, now_us: int) -> list[Effect]:
        self._said.closed(command.mailbox)
        self._heard.closed(command.mailbox)
        return self._own.close(command.mailbox)

    def _on_rows(self, fact: RowsChanged, now_us: int) -> list[Effect]:
        """Rows are all that a view is made of, our own included."""
        if not fact.instance.startswith(PREFIX):
            return []
        return [Emit(changed) for changed in self.members.fold(fact.instance[len(PREFIX) :], fact)]

    # --- mail -------------------------------------------------------------------------------------------------------

    def _on_send(self, command: SendMail, now_us: int) -> list[Effect]:
        me = self._me
        if command.sender not in self._mailboxes:
            raise UsageError("the mailbox is closed; nothing was sent")
        known = self._lives.get(command.site) if command.site in self._members else None
        life = me if command.site == me.site else known
        if life is None or life.incarnation != command.incarnation:
            self._counts["undeliverable"] += len(command.mailboxes)
            return self._refuse(command, f"site {short(command.site)} is not there in that life any more")
        if command.site in self._down and command.kind < Kind.REPLY:  # an open link may only seem so
            self._counts["undeliverable"] += len(command.mailboxes)
            return self._refuse(command, f"site {short(command.site)} is held for down")
        self._counts["sent"] += len(command.mailboxes)
        receivers = tuple([Address(command.site, command.incarnation, mailbox) for mailbox in command.mailboxes])
        letter = Outgoing(command.sender, receivers, command.kind, command.number, command.payload)
        if life is me:
            return self._deliver(letter, command)
        mails = self._post.mails(command.incarnation, letter)
        return [SendData(command.request, command.site, life.address, tuple(mails), size_of(letter, len(mails)))]

    def _on_letters(self, command: SendLetters, now_us: int) -> list[Effect]:
        """What one turn sends to one node."""
        if not self.reaches((command.site, command.incarnation)):
            self._counts["undeliverable"] += sum(len(letter.to) for letter in command.letters)
            return []
        mails, size = self._post.batch(command.incarnation, command.letters)
        return [SendData(0, command.site, self._lives[command.site].address, tuple(mails), size)] if mails else []

    def _deliver(self, letter: Outgoing, command: SendMail) -> list[Effect]:
        """To mailboxes of our own."""
        letters: list[Letter] = []
        self._post.sort(letters, self.address(letter.sender), self._post.numbered(letter), letter)
        if not letters:
            return self._refuse(command, "the mailbox is closed")
        effects: list[Effect] = [Resolve(command.request)] if command.request else []
        return [*effects, Emit(MailReceived(tuple(letters)))]

    def _refuse(self, command: SendMail, why: str) -> list[Effect]:
        if not command.request:
            return []
        return [Refuse(command.request, PeerUnreachable(f"{why}; nothing was delivered"))]

    def _on_messages(self, received: MessagesReceived, now_us: int) -> list[Effect]:
        letters: list[Letter] = []
        effects: list[Effect] = []
        life = self._linked.get(received.peer)
        current = self._lives.get(received.peer)
        known = 0 if current is None else current.incarnation
        sender: Address | None = None
        for mail in received.messages:
            if life is None or life < known or mail.to != self._me.incarnation:
                self._counts["undeliverable"] += len(mail.targets)
                continue
            if mail.kind != Kind.VALUE and len(mail.targets) != 1:  # calls and answers are for one
                self._nonsense += 1
                continue
            if sender is None or sender.mailbox != mail.sender:
                sender = Address(received.peer, life, mail.sender)
            self._post.sort(letters, sender, mail.targets, mail)
            if mail.kind == Kind.CALL:
                effects += self._turn_away(received.peer, life, mail)
        return [*effects, Emit(MailReceived(tuple(letters)))] if letters else effects

    def _turn_away(self, peer: Site, life: int, call: Mail) -> list[Effect]:
        """A call of a mailbox that is closed is answered, so that nobody waits for it."""
        ((mailbox, _),) = call.targets
        if mailbox in self._mailboxes:
            return []
        refusal = Mail(life, mailbox, ((call.sender, 0),), Kind.GONE, call.number, msgspec.Raw(_CLOSED))
        return [SendData(0, peer, "", (refusal,), 128)]

    # --- links and lives --------------------------------------------------------------------------------------------

    def _on_connected(self, fact: PeerConnected, now_us: int) -> list[Effect]:
        """Whose mail comes over a link is said by the link."""
        if fact.channel is Channel.DATA:
            self._linked[fact.contact.site] = fact.contact.incarnation
        return []

    def _on_lost(self, fact: PeerLost, now_us: int) -> list[Effect]:
        if fact.channel is Channel.DATA and self._linked.get(fact.contact.site) == fact.contact.incarnation:
            del self._linked[fact.contact.site]
            if fact.contact.site not in self._lives:
                self._heard.forget(fact.contact.site)
        return []

    def _on_life(self, fact: MemberAdded | LivenessChanged, now_us: int) -> list[Effect]:
        """A member is there, in this life and at this address, as far as anybody knows."""
        contact = fact.contact
        if type(fact) is MemberAdded:
            self._members[contact.site] = None
        known = self._lives.get(contact.site)
        if known is not None and contact.incarnation < known.incarnation:
            return []
        effects: list[Effect] = []
        if known is not None and contact.incarnation > known.incarnation:
            effects += self._ended(contact.site, known.incarnation, "began another life")
            self._down.pop(contact.site, None)
            self._said.forget(contact.site)
            self._heard.forget(contact.site)
        address = contact.address or (known.address if known is not None else "")
        self._lives[contact.site] = Contact(contact.site, contact.incarnation, address)
        if type(fact) is LivenessChanged:
            if fact.state < Liveness.DOWN:
                self._down.pop(contact.site, None)
            elif contact.site not in self._down:
                effects += self._ended(contact.site, contact.incarnation, "is held for down")
                self._down[contact.site] = None
        return effects

    def _ended(self, site: Site, incarnation: int, why: str) -> list[Effect]:
        """Whoever waits for an answer from there is told; once is enough."""
        return [] if site in self._down else [Emit(LifeEnded(site, incarnation, why))]

    def _on_member_removed(self, fact: MemberRemoved, now_us: int) -> list[Effect]:
        """What it said before may still be on its link: its letters are counted as long as that lasts."""
        self._members.pop(fact.site, None)
        life = self._lives.pop(fact.site, None)
        effects = [] if life is None else self._ended(fact.site, life.incarnation, "is no member any more")
        self._down.pop(fact.site, None)
        self._said.forget(fact.site)
        if fact.site not in self._linked:
            self._heard.forget(fact.site)
        return effects

    def _on_cluster_changed(self, fact: ClusterChanged, now_us: int) -> list[Effect]:
        """A new life: our mailboxes live on in it, under new addresses; the rows write anew what they joined."""
        anew = fact.incarnation != self._me.incarnation
        lives = [*self._lives.values(), *([self._me] if anew else [])]
        effects = [end for life in lives for end in self._ended(life.site, life.incarnation, "is in another cluster")]
        self._me = Contact(self._me.site, fact.incarnation, self._me.address)
        self._lives.clear()
        self._members.clear()
        self._down.clear()
        self._linked.clear()
        self._said.clear(anew)
        self._heard.clear(anew)
        return effects

    def _on_address(self, fact: AddressLearned, now_us: int) -> list[Effect]:
        self._me = Contact(self._me.site, self._me.incarnation, fact.address)
        return []
