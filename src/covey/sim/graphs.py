"""What an overlay is as a graph: nodes by number, and who has whom for a neighbour."""

from __future__ import annotations


def distances(links: dict[int, list[int]], start: int) -> dict[int, int]:
    """How many links away everybody is who can be reached."""
    found, frontier, hops = {start: 0}, [start], 0
    while frontier:
        hops += 1
        reached: list[int] = []
        for number in frontier:
            for other in links[number]:
                if other not in found:
                    found[other] = hops
                    reached.append(other)
        frontier = reached
    return found


def giant(links: dict[int, list[int]]) -> list[int]:
    """The largest set of nodes that reach each other."""
    left, best = dict.fromkeys(links), [0][:0]
    while left:
        component = list(distances(links, next(iter(left))))
        for number in component:
            left.pop(number, None)
        if len(component) > len(best):
            best = component
    return best


def clustering(links: dict[int, list[int]]) -> float:
    """How many of the pairs of neighbours are neighbours themselves; the mean over nodes with two or more."""
    shares = []
    for others in links.values():
        if len(others) < 2:
            continue
        known = {other: frozenset(links[other]) for other in others}
        pairs = sum(b in known[a] for at, a in enumerate(others) for b in others[at + 1 :])
        shares.append(2 * pairs / (len(others) * (len(others) - 1)))
    return sum(shares) / len(shares) if shares else 0.0


def percolated(share_alive: float) -> float:
    """The share of the living that hold together in a random graph of degree 5, when so many are left.

    Site percolation: u = 1 - q + q·u⁴, S = 1 - u⁵.
    """
    u = 0.0
    for _ in range(10_000):
        u = 1 - share_alive + share_alive * u**4
    return 1.0 - u**5
