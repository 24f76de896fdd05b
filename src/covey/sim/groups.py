"""The groups profile: what must hold of groups and of the mail between their members, whatever happens.

Safety, at every node: the fold of `GroupChanged` is its view; of itself a node shows exactly what its users joined; of
others only what their users once joined in that life, and no life that is over or held for down. Mail reaches only a
mailbox that is open, in the life it was sent to, in the order in which it was sent, once, with the number of those that
are missing; an answer comes only from who was called. A call of a life that is over does not wait.
Liveness: all show what each joined, nothing else, and mail arrives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site, short
from covey.core.rows import RowsChanged
from covey.core.vocabulary import ClusterChanged, Liveness, LivenessChanged, MemberAdded, MemberRemoved
from covey.engine.gate import Store
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.views import Place
from covey.sim.checkers import check_links
from covey.sim.group_user import Life, Pair, Said, User
from covey.sim.node import SimNode
from covey.sim.record_progress import record_pending
from covey.sim.world import World

SECOND_US = 1_000_000

SCOPES = (b"", b"other")
FACTS = (RowsChanged, MemberAdded, MemberRemoved, LivenessChanged, ClusterChanged)


class GroupsWorld(World):
    """A world in which every process has a user, which knows what all the others ever said."""

    def __init__(self, *arguments: Any, exact: bool = True, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.exact = exact  # nothing is forgotten for want of room, so every gap is told
        self.said: dict[tuple[Place, g.Address], dict[Said, None]] = {}
        self.pairs: dict[tuple[g.Address, g.Address], Pair] = {}
        self.lives: dict[Life, dict[int, None]] = {}  # the processes that ever led a life
        self._values = 0
        self.watches.append(self)

    def start_node(self, seeds: tuple[str, ...] = (), *arguments: Any, **options: Any) -> SimNode:
        """Start a process, and give it a user."""
        node = super().start_node(seeds, *arguments, **options)
        user = User(self, node)
        self.lives.setdefault((node.site, node.incarnation), {})[node.number] = None
        engine = node.engine
        engine.machines["user"] = user
        for kind in FACTS:
            engine.routes[kind] = (*engine.routes[kind], ("user", user))
        user.hold(SCOPES[0])
        return node

    def note(self, place: Place, address: g.Address, said: Said) -> None:
        """A member says this of itself."""
        self.said.setdefault((place, address), {})[said] = None

    def pair(self, sender: g.Address, receiver: g.Address) -> Pair:
        """What was sent from one mailbox to another."""
        return self.pairs.setdefault((sender, receiver), Pair())

    def value(self) -> bytes:
        """One that nobody sent before."""
        self._values += 1
        return b"\xce%b" % self._values.to_bytes(4, "big")

    def contested(self, life: Life) -> bool:
        """Whether more than one process led it: copies of a disk may, until that is found out."""
        return len(self.lives.get(life, ())) > 1

    def answer_later(self, user: User, to: g.Address, number: int) -> None:
        """A user thinks for a while; now and then it does not answer."""
        if number % 4:
            due_us = self.now_us + number % 7 * 100_000
            self.schedule(due_us, user.node.index, lambda: user.answer(to, number))

    # --- it looks on at everybody -----------------------------------------------------------------------------------

    def started(self, node: SimNode) -> None:
        """Its user comes when it runs."""

    def observed(self, node: SimNode, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
        """Tell a user what became of its letter."""
        if machine == "groups" and type(incoming) is g.SendMail:
            user_of(node).sent(incoming, effects)

    def emitted(self, node: SimNode, event: Any) -> None:
        """Tell a user its node's events."""
        if (user := node.engine.machines.get("user")) is not None:
            assert isinstance(user, User)
            user.emitted(event)

    def stored(self, node: SimNode, store: Store) -> None:
        """Nothing of groups is on a disk."""


def user_of(node: SimNode) -> User:
    """The user of a process."""
    user = node.engine.machines["user"]
    assert isinstance(user, User)
    return user


def check_groups(world: World) -> None:
    """Safety at any moment."""
    for node in world.alive():
        user_of(node).check()
    check_links(world)


def groups_pending(world: World) -> tuple[str, list[Site]] | None:
    """Why the living nodes do not yet show each other's members, and only these."""
    nodes = [node for node in world.alive() if not node.engine.membership.solo]
    if not nodes:
        return None
    if (reason := record_pending(world)) is not None:
        return reason
    sites = {node.site for node in nodes}
    for node in nodes:
        user = user_of(node)
        if user.leaving:
            return f"n{node.index} does not leave all that closed mailboxes were in", [node.site]
        for owner in nodes:
            if owner is node:
                continue
            about = [node.site, owner.site]
            entry = node.engine.roster.entries.get(owner.site)
            if entry is None or entry.state is not Liveness.ALIVE:
                return f"n{node.index} does not hold n{owner.index} for alive", about
            shown = user.of(owner.site)
            has = {at: said for at, said in user_of(owner).joined().items() if at[0][0] in user.scopes}
            if shown != has:
                return f"n{node.index} shows {len(shown)} members of n{owner.index}, not its {len(has)}", about
        for view in user.shown.values():
            for address in view:
                if address.site not in sites:
                    return f"n{node.index} still shows a member of {short(address.site)}", [node.site, address.site]
    return None


def check_mail(world: World) -> None:
    """In a calm world a letter from each node to each arrives, and what was missing before it is told."""
    assert isinstance(world, GroupsWorld)
    nodes = [node for node in world.alive() if not node.engine.membership.solo]
    boxes = {node.number: next(iter(user_of(node).boxes), 0) or user_of(node).open() for node in nodes}
    ways: list[tuple[str, Pair, int]] = []
    for source in nodes:
        for target in nodes:
            mailbox, to = boxes[source.number], user_of(target).address(boxes[target.number])
            pair = world.pair(user_of(source).address(mailbox), to)
            ways.append((f"n{source.index} to n{target.index}", pair, len(pair.sent)))
            user_of(source).send(mailbox, [to])
    world.run(5 * SECOND_US)
    for way, pair, before in ways:
        invariant(before < pair.told == len(pair.sent), f"the last letter from {way} arrived")
