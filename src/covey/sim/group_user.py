"""One process's user in the groups profile: what it does, what it hears, and the laws that it holds its node to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from covey.core.errors import invariant
from covey.core.ids import Site, short
from covey.core.vocabulary import ClusterChanged, Liveness, Refuse, SendData
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.machine import GroupsStatistics
from covey.protocols.groups.streams import EPOCH
from covey.protocols.groups.views import Place
from covey.sim.node import SimNode

if TYPE_CHECKING:
    from covey.sim.groups import GroupsWorld

Said = tuple[int, bytes]  # how often, and with which metadata
Life = tuple[Site, int]

UNSEEN = (Liveness.DOWN, Liveness.STOPPED)


class Pair:
    """What was sent from one mailbox to another one: (value, its number), and how many of these count as told."""

    __slots__ = ("sent", "told")

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, int]] = []
        self.told = 0  # the place behind the last one that arrived


class User:
    """One process's user: knows what it did, hears what its node tells, and says where that does not fit.

    A machine of the engine as far as that asks it to check, after every fact that changes what is shown.
    """

    def __init__(self, world: GroupsWorld, node: SimNode) -> None:
        self.world = world
        self.node = node
        self.incarnation = node.incarnation
        self.boxes: dict[int, dict[Place, Said]] = {}  # ours that are open, and what they joined
        self.leaving: dict[int, dict[Place, Said]] = {}  # the same of closed ones: they leave some each turn
        self.scopes: dict[bytes, None] = {}
        self.shown: dict[Place, dict[g.Address, g.GroupEntry]] = {}
        self.calls: dict[int, tuple[int, g.Address]] = {}  # that have no outcome: from which mailbox to which
        self.asked: dict[tuple[g.Address, int], int] = {}  # calls that came here, and to which mailbox
        self.answered = 0
        self._requests = 1 << 32  # not those of commands that others give

    # --- what it does -----------------------------------------------------------------------------------------------

    def _request(self) -> int:
        self._requests += 1
        return self._requests

    def address(self, mailbox: int) -> g.Address:
        """One of its mailboxes as others see it."""
        return g.Address(self.node.site, self.incarnation, mailbox)

    def hold(self, scope: bytes) -> None:
        """Look at a scope."""
        self.scopes[scope] = None
        self.node.feed(g.HoldScope(scope))

    def open(self) -> int:
        """A new mailbox."""
        request = self._request()
        self.node.feed(g.OpenMailbox(request))
        number: int = self.node.outcomes.pop(request)
        invariant(number not in self.boxes, "a mailbox has a number of its own")
        self.boxes[number] = {}
        return number

    def _say(self, mailbox: int, place: Place, count: int, meta: bytes) -> None:
        if count:
            self.boxes[mailbox][place] = count, meta
            self.world.note(place, self.address(mailbox), (count, meta))
        else:
            self.boxes[mailbox].pop(place, None)

    def join(self, mailbox: int, place: Place, meta: bytes | None) -> None:
        """Once more a member."""
        self.scopes[place[0]] = None
        count, before = self.boxes[mailbox].get(place, (0, b""))
        self._say(mailbox, place, count + 1, before if meta is None else meta)
        self.node.feed(g.JoinGroup(mailbox, *place, meta))

    def update(self, mailbox: int, place: Place, meta: bytes) -> None:
        """Say something else."""
        self._say(mailbox, place, self.boxes[mailbox][place][0], meta)
        self.node.feed(g.UpdateMeta(mailbox, *place, meta))

    def leave(self, mailbox: int, place: Place, count: int) -> None:
        """So many times fewer a member."""
        had, meta = self.boxes[mailbox].get(place, (0, b""))
        self._say(mailbox, place, max(had - count, 0), meta)
        self.node.feed(g.LeaveGroup(mailbox, *place, count))

    def close(self, mailbox: int) -> None:
        """It is gone."""
        self.leaving[mailbox] = self.boxes.pop(mailbox)
        self._end_calls(lambda caller, _: caller == mailbox)
        self.node.feed(g.CloseMailbox(mailbox))

    def send(self, mailbox: int, targets: Sequence[g.Address], kind: g.Kind = g.Kind.VALUE) -> None:
        """One value to mailboxes of one life."""
        to, request = targets[0], self._request()
        value, number = self.world.value(), 0
        if kind is g.Kind.CALL:
            number = request
            self.calls[number] = mailbox, to
        mailboxes = tuple(target.mailbox for target in targets)
        self.node.feed(g.SendMail(request, mailbox, to.site, to.incarnation, mailboxes, kind, number, value))

    def answer(self, to: g.Address, number: int) -> None:
        """Answer a call, if the mailbox is still there."""
        mailbox = self.asked[to, number]
        if self.node.alive and mailbox in self.boxes:
            kind = g.Kind.REPLY if number % 3 else g.Kind.FAILURE
            self.node.feed(g.SendMail(0, mailbox, to.site, to.incarnation, (to.mailbox,), kind, number, b"\xc0"))

    # --- what it hears ----------------------------------------------------------------------------------------------

    def sent(self, command: g.SendMail, effects: Sequence[Any]) -> None:
        """The machine took a letter, or refused it."""
        if any(type(effect) is Refuse for effect in effects):
            self.calls.pop(command.number, None)
        if command.kind >= g.Kind.REPLY or not effects or type(effects[0]) is Refuse:
            return
        numbers = {
            mailbox: number
            for effect in effects
            if type(effect) is SendData
            for mail in effect.messages
            for mailbox, number in mail.targets
        }
        for mailbox in command.mailboxes:
            target = g.Address(command.site, command.incarnation, mailbox)
            sent = self.world.pair(self.address(command.sender), target).sent
            sent.append((command.payload, numbers.get(mailbox, len(sent))))

    def emitted(self, event: Any) -> None:
        """Its node tells it something."""
        match event:
            case g.GroupChanged():
                self._fold(event)
            case g.LifeEnded(site, incarnation):
                self._end_calls(lambda _, callee: (callee.site, callee.incarnation) == (site, incarnation))
            case g.MailReceived(letters):
                for letter in letters:
                    self._read(letter)

    def _fold(self, event: g.GroupChanged) -> None:
        place = event.scope, event.group
        view = self.shown.setdefault(place, {})
        invariant(bool(event.changes), "a change changes something")
        for before, after in event.changes:
            entry = after or before
            assert entry is not None
            invariant(before != after and view.get(entry.address) == before, "a change fits what was before")
            if after is None:
                del view[entry.address]
            else:
                said = self.world.said.get((place, entry.address), {})
                invariant((after.count, after.meta) in said, f"{short(entry.address.site)} joined so in that life")
                view[entry.address] = after
        if not view:
            del self.shown[place]

    def _read(self, letter: g.Letter) -> None:
        invariant(letter.mailbox in self.boxes, "nothing reaches a closed mailbox")
        me, sender = self.address(letter.mailbox), letter.sender
        world = self.world
        if world.contested((me.site, me.incarnation)) or world.contested((sender.site, sender.incarnation)):
            return  # two processes live one life until one of them finds out
        if letter.kind >= g.Kind.REPLY:
            if (call := self.calls.get(letter.number)) is not None and call == (letter.mailbox, sender):
                self.answered += 1
                del self.calls[letter.number]
            return
        pair = world.pairs.get((sender, me))
        values = [] if pair is None else [value for value, _ in pair.sent]
        invariant(letter.payload in values, f"{short(sender.site)} sent this from there, to this life")
        assert pair is not None
        at = values.index(letter.payload)
        if at < pair.told and not self.node.engine.groups.remembers(sender):
            return  # it had no room to remember the pair; and this network, unlike TCP, brings things late or twice
        invariant(at >= pair.told, "letters come in order, and once")
        self._count(letter, [number for _, number in pair.sent], pair.told, at)
        pair.told = at + 1
        if letter.kind is g.Kind.CALL:
            self.asked[sender, letter.number] = letter.mailbox
            world.answer_later(self, sender, letter.number)

    def _count(self, letter: g.Letter, numbers: list[int], told: int, at: int) -> None:
        """A gap is told, exactly; where the sender began anew, those that are certainly missing.

        Of a life that was removed here and came back nobody can tell what came before from what is missing.
        """
        missing, lost = at - told, letter.lost
        invariant(lost <= missing, "no more are missing than were sent")
        if self.world.exact and self.node.engine.groups.remembers(letter.sender):
            anew = numbers[max(told - 1, 0)] // EPOCH != numbers[at] // EPOCH
            certain = min(missing, numbers[at] % EPOCH) if anew else missing
            invariant(lost == certain, f"{certain} letters are missing, not {lost}")

    def _end_calls(self, ends: Callable[[int, g.Address], bool]) -> None:
        for number in [number for number, call in self.calls.items() if ends(*call)]:
            del self.calls[number]

    # --- a machine of the engine ------------------------------------------------------------------------------------

    def handle(self, incoming: Any, now_us: int) -> Sequence[Any]:
        if type(incoming) is ClusterChanged and incoming.incarnation != self.incarnation:
            self.incarnation = incoming.incarnation
            self.world.lives.setdefault((self.node.site, self.incarnation), {})[self.node.number] = None
            for mailbox, joins in (*self.boxes.items(), *self.leaving.items()):
                for place, said in joins.items():
                    self.world.note(place, self.address(mailbox), said)
        return ()

    def deadline(self) -> int | None:
        return None

    def check(self) -> None:
        invariant(self.node.engine.groups.members.by_place == self.shown, "snapshot plus events is the view")
        replication = self.node.engine.replication
        late = {fact.owner for fact in replication.facts.waiting()}  # of many rows some are told each turn
        shown = {(at.site, at.incarnation): None for view in self.shown.values() for at in view}
        for life in shown:
            invariant(
                life[0] in late or self._is_there(life),
                f"{short(life[0])} is shown in its current life, which is not held for down",
            )
        called = {(to.site, to.incarnation): None for _, to in self.calls.values()}
        for life in called:
            invariant(self._is_there(life), f"nobody waits for {short(life[0])} in a life that is over or down")
        if self.node.site in late or replication.owned.anew:
            return
        shows, joined, leaving = self.of(self.node.site), self.joined(), self._said(self.leaving)
        leaves = {at: said for at, said in shows.items() if at not in joined}
        invariant(shows == {**joined, **leaves}, "of itself a node shows what its users joined")
        invariant(leaves.items() <= leaving.items(), "who is closed leaves, and does not come back")
        self.leaving = {}
        for (place, address), said in leaves.items():
            self.leaving.setdefault(address.mailbox, {})[place] = said

    def _is_there(self, life: Life) -> bool:
        """Whether a life is ours, or current and not held for down."""
        if life[0] == self.node.site:
            return life[1] == self.incarnation
        entry = self.node.engine.roster.entries.get(life[0])
        return entry is not None and life[1] == entry.contact.incarnation and entry.state not in UNSEEN

    def statistics(self) -> GroupsStatistics:  # a machine has them; these are of the one it watches
        return self.node.engine.groups.statistics()

    def of(self, owner: Site) -> dict[tuple[Place, g.Address], Said]:
        """What is shown here of one node's members."""
        return {
            (place, address): (entry.count, entry.meta)
            for place, view in self.shown.items()
            for address, entry in view.items()
            if address.site == owner
        }

    def joined(self) -> dict[tuple[Place, g.Address], Said]:
        """What its own mailboxes joined."""
        return self._said(self.boxes)

    def _said(self, boxes: dict[int, dict[Place, Said]]) -> dict[tuple[Place, g.Address], Said]:
        return {(place, self.address(mailbox)): said for mailbox, of in boxes.items() for place, said in of.items()}
