"""People in groups at every node: they come and go, say things of themselves and write to each other, at random."""

from __future__ import annotations

from random import Random

from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.views import Place
from covey.sim.accusing import accuse
from covey.sim.group_user import Life, User
from covey.sim.groups import SCOPES, SECOND_US, GroupsWorld, user_of

GROUPS = (b"\xa1a", b"\xa1b", b"\xa1c")  # the keys "a", "b" and "c"
BOXES_MAX = 5  # open at one node
DOINGS = {
    "open": 6, "join": 14, "leave": 6, "update": 4, "close": 2, "send": 24, "broadcast": 6, "call": 8, "hold": 1,
    "accuse": 2,
}  # fmt: skip


class People:
    """Users who do something now and then, until they are stopped. `done` counts what."""

    def __init__(self, world: GroupsWorld, rng: Random) -> None:
        self.done: dict[str, int] = {}
        self._world = world
        self._rng = rng
        self._stopped = False
        self._count = 0
        self._friends: dict[tuple[int, int], g.Address] = {}  # by process and mailbox: whom it wrote to last
        self._every_us = rng.choice((SECOND_US // 50, SECOND_US // 20, SECOND_US // 4))
        self._next()

    def _next(self) -> None:
        wait_us = self._rng.randint(1, 2 * self._every_us)
        self._world.schedule(self._world.now_us + wait_us, -1, self._do)

    def _do(self) -> None:
        if self._stopped:
            return
        awake = self._world.running()
        if awake:
            node = self._rng.choice(awake)
            doing = self._rng.choices(list(DOINGS), list(DOINGS.values()))[0]
            self.done[doing] = self.done.get(doing, 0) + 1
            if doing == "accuse":
                accuse(self._world, self._rng, node)
            else:
                getattr(self, f"_{doing}")(user_of(node))
        self._next()

    def stop(self) -> None:
        """Nobody comes, goes or writes any more."""
        self._stopped = True

    # --- members ----------------------------------------------------------------------------------------------------

    def _hold(self, user: User) -> None:
        user.hold(self._rng.choice(SCOPES))

    def _open(self, user: User) -> None:
        if len(user.boxes) < BOXES_MAX:
            user.open()

    def _box(self, user: User) -> int:
        """One of its mailboxes."""
        return self._rng.choice(list(user.boxes)) if user.boxes else user.open()

    def _meta(self) -> bytes:
        self._count += 1
        return b"%d" % self._count

    def _join(self, user: User) -> None:
        place = self._rng.choice(SCOPES), self._rng.choice(GROUPS)
        user.join(self._box(user), place, self._rng.choice((None, self._meta())))

    def _joined(self, user: User) -> tuple[int, Place] | None:
        """One of its mailboxes that is a member, and of what."""
        joined = [(mailbox, place) for mailbox, joins in user.boxes.items() for place in joins]
        return self._rng.choice(joined) if joined else None

    def _leave(self, user: User) -> None:
        if (at := self._joined(user)) is not None:
            user.leave(*at, self._rng.choice((1, 1, 2, 5)))

    def _update(self, user: User) -> None:
        if (at := self._joined(user)) is not None:
            user.update(*at, self._meta())

    def _close(self, user: User) -> None:
        if user.boxes:
            user.close(self._box(user))

    # --- mail -------------------------------------------------------------------------------------------------------

    def _someone(self, user: User) -> g.Address | None:
        """A member that is shown, or now and then one that was one some time."""
        shown = [address for view in user.shown.values() for address in view]
        if self._rng.random() < 0.1:
            shown = [address for _, address in self._world.said]
        return self._rng.choice(shown) if shown else None

    def _send(self, user: User) -> None:
        """Some letters, mostly to whom the last ones went: so a pair goes on after its link broke."""
        mailbox = self._box(user)
        writer = user.node.number, mailbox
        friend = self._friends.get(writer)
        to = friend if friend is not None and self._rng.random() < 0.8 else self._someone(user)
        if to is not None:
            self._friends[writer] = to
            for _ in range(self._rng.choice((1, 1, 3))):
                user.send(mailbox, [to])

    def _call(self, user: User) -> None:
        mailbox = self._box(user)
        if (to := self._someone(user)) is not None:
            user.send(mailbox, [to], g.Kind.CALL)

    def _broadcast(self, user: User) -> None:
        """To all members of a group, one message for each node."""
        mailbox = self._box(user)
        if not user.shown:
            return
        nodes: dict[Life, list[g.Address]] = {}
        for address in user.shown[self._rng.choice(list(user.shown))]:
            if address != user.address(mailbox):
                nodes.setdefault((address.site, address.incarnation), []).append(address)
        for targets in nodes.values():
            user.send(mailbox, targets)
