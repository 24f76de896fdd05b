"""The membership profile: commands at random, and what must hold of the record whatever happens.

Safety (membership.md 3.5): unique stamps; persist before show; same operations, same view; no invention; no
resurrection; our own record holds us. Liveness: those that were thrown out know it, join again, and all hold one
record.
"""

from __future__ import annotations

from random import Random

from covey.core.errors import invariant
from covey.core.ids import Site, short
from covey.protocols.membership.record import Stamp, decode_op, encode_key, key_of, stamp
from covey.protocols.membership.vocabulary import Join, Kick, Leave
from covey.sim.node import SimNode
from covey.sim.world import World
from covey.wire.messages.membership import Op

SECOND_US = 1_000_000

COMMANDS = ("kick", "leave", "join")
WEIGHTS = (4, 2, 10)  # classy's fuzzer: kick 7, join 10, stop 5, start 10; stops and starts are faults here


class Commander:
    """People giving orders at random nodes, until they are stopped; then everybody who is out may come back."""

    def __init__(self, world: World, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self._stopped = False
        self._request = 0
        self._every_us = rng.choice((2, 6, 20)) * SECOND_US
        self._next()

    def _next(self) -> None:
        wait_us = self._rng.randint(1, 2 * self._every_us)
        self._world.schedule(self._world.now_us + wait_us, -1, self._command)

    def _command(self) -> None:
        if self._stopped:
            return
        alive = [node for node in self._world.alive() if node.paused_until_us <= self._world.now_us]
        if alive:
            node = self._rng.choice(alive)
            getattr(self, f"_{self._rng.choices(COMMANDS, WEIGHTS)[0]}")(node)
        self._next()

    def _number(self) -> int:
        self._request += 1
        return self._request

    def _kick(self, node: SimNode) -> None:
        others = [site for site in node.engine.membership.members() if site != node.site]
        if others and len(others) > 1:
            node.feed(Kick(self._number(), self._rng.choice(others)))

    def _leave(self, node: SimNode) -> None:
        node.feed(Leave(self._number()))

    def _join(self, node: SimNode) -> None:
        others = [other for other in self._world.alive() if other is not node and not other.engine.membership.solo]
        if others:
            node.feed(Join(self._number(), self._rng.choice(others).address))

    def stop(self) -> None:
        """No more orders but to come back."""
        self._stopped = True
        self._bring_back()

    def _bring_back(self) -> None:
        """Whoever is out joins again, until everybody is in."""
        world = self._world
        for node in world.alive():
            if node.engine.membership.solo:
                self._join(node)
        world.schedule(world.now_us + 5 * SECOND_US, -1, self._bring_back)


def check_membership(world: World) -> None:
    """Safety at any moment."""
    seen: dict[tuple[Stamp, int, Site], Op] = {}
    written: dict[Site, dict[tuple[int, Site], Stamp]] = {}
    nodes = {node.site: node for node in world.nodes}
    for node in world.alive():
        membership = node.engine.membership
        for entry in membership.record.entries():
            op = entry.op
            known = seen.setdefault((stamp(op), op.kind, op.target), op)
            invariant(known == op, "one stamp on one key carries one value")
            if op.origin != node.site:
                written.setdefault(op.origin, {})[key_of(op)] = max(
                    stamp(op), written.get(op.origin, {}).get(key_of(op), (0, 0, op.origin))
                )
    for origin, keys in written.items():
        writer = nodes.get(origin)
        if writer is None or writer.identity.incarnation not in {at[1] for at in keys.values()}:
            continue  # an earlier life, or a lost disk
        disk = writer.disk.durable("membership")
        if disk.get(b"cluster", b"") not in (b"", bytes(writer.identity.cluster)) or b"rejoin" in disk:
            continue  # it has gone to another cluster since, and dropped what it had
        for key, at in keys.items():
            stored = disk.get(encode_key(key))
            invariant(
                stored is not None and stamp(decode_op(stored)) >= at,
                f"what others saw of {short(origin)} is on its disk",
            )


def membership_pending(world: World) -> tuple[str, list[Site]] | None:
    """Why those that belong do not hold one record, or somebody does not know that it is out."""
    nodes = world.alive()
    inside = [node for node in nodes if not node.engine.membership.solo]
    if not inside:
        return None  # nobody is left to be joined
    for node in nodes:
        if node.engine.membership.solo:
            return f"n{node.index} is still alone", [node.site]
    first = inside[0]
    for node in inside:
        if node.engine.membership.record.digest != first.engine.membership.record.digest:
            return f"n{node.index} and n{first.index} hold different records", [node.site, first.site]
        if not node.engine.membership.record.is_member(node.site):
            return f"n{node.index} is out of its own record and does not act on it", [node.site]
        missing = {other.site for other in inside} - set(node.engine.membership.members())
        if missing:
            return f"n{node.index} does not list {short(min(missing))}", [node.site, min(missing)]
    return None
