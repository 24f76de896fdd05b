"""What must hold across nodes. Each checker returns the reason it is not satisfied, or None."""

from __future__ import annotations

from covey.core.errors import invariant
from covey.core.ids import Site, short
from covey.core.vocabulary import NeighborDown, NeighborUp
from covey.sim.node import SimNode
from covey.sim.world import World


def overlay_pending(world: World) -> tuple[str, list[Site]] | None:
    """Why the living nodes are not yet one settled overlay, and the sites it is about.

    Settled means: links symmetric; one component; the full mesh where it fits; no two nodes with free places that are
    not linked; one name for the component.
    """
    nodes = world.alive()
    if len(nodes) < 2:
        return None
    views = {node.site: {contact.site for contact in node.engine.overlay.active} for node in nodes}
    for site, view in views.items():
        for other in sorted(view):
            if other not in views:
                return f"{short(site)} holds {short(other)}, which does not exist", [site, other]
            if site not in views[other]:
                return f"{short(site)} holds {short(other)}, but not the other way round", [site, other]
    reached = _component(views)
    if len(reached) < len(views):
        apart = sorted(set(views) - reached)
        return f"{len(reached)} of {len(views)} nodes are connected; {short(apart[0])} is apart", apart
    free = [node.site for node in nodes if not node.engine.overlay.active.full]
    for site in free:
        for other in free:
            if site != other and other not in views[site]:
                return f"{short(site)} and {short(other)} have free places and are not linked", [site, other]
    size_max = nodes[0].engine.overlay.active.size_max
    if len(nodes) <= size_max + 1 and any(len(view) < len(nodes) - 1 for view in views.values()):
        return "the overlay of few nodes is not the full mesh", list(views)
    lowest = min(views)
    for node in nodes:
        if node.engine.overlay.lowest.site != lowest:
            named = short(node.engine.overlay.lowest.site)
            return f"{short(node.site)} names its component {named}, not {short(lowest)}", [node.site, lowest]
    return None


def _component(views: dict[Site, set[Site]]) -> set[Site]:
    start = next(iter(views))
    reached = {start}
    frontier = [start]
    while frontier:
        for other in sorted(views[frontier.pop()]):
            if other not in reached:
                reached.add(other)
                frontier.append(other)
    return reached


def check_links(world: World) -> None:
    """Safety at any moment: two living nodes have at most one open connection a channel that both hold for the link."""
    for node in world.alive():
        links = node.engine.links.links()
        sites = [life.site for life in links]
        invariant(len(sites) == len(set(sites)), "one link a peer")
        invariant(node.site not in sites, "no link to oneself")
        for contact in node.engine.overlay.active:
            held = node.engine.links.contact(contact.site)
            invariant(held is not None, "a neighbour has a link")


def check_events(node: SimNode) -> None:
    """The fold of a node's neighbour events is its active view."""
    folded: dict[Site, int] = {}
    for event in node.events:
        if isinstance(event, NeighborUp):
            invariant(event.contact.site not in folded, "NeighborUp comes once")
            folded[event.contact.site] = event.contact.incarnation
        elif isinstance(event, NeighborDown):
            invariant(folded.pop(event.contact.site, None) is not None, "NeighborDown follows its NeighborUp")
    view = {contact.site: contact.incarnation for contact in node.engine.overlay.active}
    invariant(folded == view, "snapshot plus events is the view")
