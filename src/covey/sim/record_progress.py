"""What must come about in the membership record once nothing is faulty any more (reference/membership.md 3.5).

A "sync" is the time in which linked members compare digests: `digest_period_us`, with a tenth of jitter.
"""

from __future__ import annotations

from math import ceil, log2

from covey.core.errors import invariant
from covey.core.ids import Site, short
from covey.protocols.membership.record import HOST, MEM, META, Stamp, stamp
from covey.protocols.membership.vocabulary import Join
from covey.sim.node import SimNode
from covey.sim.record_laws import RecordLaws
from covey.sim.world import World

SECOND_US = 1_000_000
ROUNDS = 3  # c of invariant 17


class RecordProgress:
    """Looks at a calm world every tenth of a second, and knows since when something that has to end is so."""

    def __init__(self, world: World, laws: RecordLaws) -> None:
        self._world = world
        self._laws = laws
        self._since: dict[tuple[object, ...], int] = {}

    def look(self) -> None:
        """8, 17 and 18."""
        world = self._world
        late_us = world.config.gate.retry_us_max  # for so long may a disk that took nothing not be asked again
        if len(world.running()) < len(world.alive()) or world.now_us < (world.calm_us or 0) + late_us:
            self._since.clear()
            return
        inside = [node for node in world.alive() if not node.engine.membership.solo]
        now: dict[tuple[object, ...], int] = {}
        sync_us = 11 * world.config.membership.digest_period_us // 10
        for node in inside:
            peers = [other for other in inside if other is not node and _linked(node, other)]
            lists_itself = node.engine.membership.record.is_member(node.site)
            others = [other for other in inside if other is not node]
            if lists_itself and peers and not any(node.site in other.engine.membership.members() for other in others):
                now["half", node.number] = 2 * sync_us
            for peer in peers:
                if lists_itself and _informed(peer, node.site) and _informed(node, node.site) is False:
                    now["out", node.number, peer.number] = 2 * sync_us
        apart = _apart(inside)
        if not apart and _differ(inside):
            now["views", self._laws.issued_us] = ROUNDS * ceil(log2(len(inside))) * sync_us
        self._since = {what: self._since.get(what, world.now_us) for what in now}
        for what, limit_us in now.items():
            lasts_us = world.now_us - self._since[what]
            invariant(lasts_us <= limit_us, f"{_NAMES[what[0]]} for {lasts_us / 1e6:.1f} s: {what[1:]}")


_NAMES: dict[object, str] = {
    "half": "8: somebody lists itself, and is listed by no one else",
    "out": "18: somebody was thrown out, and is linked to one who knows, and does not know",
    "views": "17: all are connected, and their records differ",
}


def _differ(nodes: list[SimNode]) -> bool:
    """Whether they hold different words, on anybody but ephemeral sites that are gone: those go in each one's time."""
    if len({node.engine.membership.record.digest for node in nodes}) <= 1:
        return False
    running = {node.site for node in nodes}
    views: dict[tuple[Stamp, ...], None] = {}
    for node in nodes:
        record = node.engine.membership.record
        said = [
            record.get(kind, site)
            for site in record.sites()
            for kind in (MEM, HOST, META)
            if (kind == MEM or record.is_member(site)) and (site in running or not record.is_ephemeral(site))
        ]
        views[tuple(stamp(op) for op in said if op is not None)] = None
    return len(views) > 1


def _linked(one: SimNode, other: SimNode) -> bool:
    """Whether both ends hold a link of these lives."""
    lives = one.engine.links.contact(other.site), other.engine.links.contact(one.site)
    ends = other.incarnation, one.incarnation
    return all(life is not None and life.incarnation == end for life, end in zip(lives, ends, strict=True))


def _informed(node: SimNode, site: Site) -> bool:
    """Whether it holds that `site` was thrown out, or left."""
    record = node.engine.membership.record
    return record.get(MEM, site) is not None and not record.is_member(site)


def _apart(nodes: list[SimNode]) -> bool:
    """Whether links do not join all of them."""
    if not nodes:
        return False
    reached, frontier = {nodes[0].number}, [nodes[0]]
    while frontier:
        node = frontier.pop()
        for other in nodes:
            if other.number not in reached and _linked(node, other):
                reached.add(other.number)
                frontier.append(other)
    return len(reached) < len(nodes)


def bring_back(world: World, number: int) -> int:
    """Whoever is out joins again, one after the other; returns the next number for a command.

    Not at once: two copies of one site that begin a life in one millisecond begin the same one.
    """
    inside = [node for node in world.alive() if not node.engine.membership.solo]
    out = [node for node in world.running() if node.engine.membership.solo]
    if out and inside:
        number += 1
        out[number % len(out)].feed(Join(number, inside[number // len(out) % len(inside)].address))
    return number


def record_pending(world: World) -> tuple[str, list[Site]] | None:
    """Why those that belong do not hold one record, or somebody does not know that it is out. 20: in one cluster."""
    nodes = world.alive()
    sites: dict[Site, SimNode] = {}
    for node in nodes:
        twin = sites.setdefault(node.site, node)
        if twin is not node:
            return f"n{twin.index} and n{node.index} both live as {short(node.site)}", [node.site]
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
