"""Where the figures of `benchmarks.paper` have to lie, as functions of the number of nodes.

For 10,000 nodes the bands are those of the papers' tables. Of few nodes a share is less certain, by the square root;
distances are those of a random graph in which all have five neighbours: 6.36 hops on average and 8.2 to the farthest
with 10,000 nodes, 1.66 and 1.58 fewer with a tenth of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean
from typing import Any

from covey.sim.graphs import percolated

SHARES_FIRST = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65)  # that die before the first message
SHARES_AFTER = (0.8, 0.9, 0.95)  # before two hundred messages
SHARES_HEAL = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9)  # before the cycles until all are reached again
MISSED = {0.8: 0.1, 0.9: 0.5, 0.95: 10.0}  # per cent, at most
CYCLES = {dead: 1 if dead <= 0.5 else 2 if dead <= 0.8 else 4 for dead in SHARES_HEAL}
REDUNDANCY = (3.0, 1.0, 0.05, 0.01)  # in cycles 1, 2, 3 and 6

Found = dict[str, Any]
Row = dict[str, Any]  # value, band, holds


def judge(nodes: int, seeds: Sequence[dict[str, Found]]) -> dict[str, Row]:
    """S1 to S11, over all seeds."""
    return Judge(nodes, seeds).rows()


def _row(value: Any, band: str, holds: bool) -> Row:
    return {"value": value, "band": band, "holds": holds}


class Judge:
    """What was found with so many nodes, and what has to hold of it."""

    def __init__(self, nodes: int, seeds: Sequence[dict[str, Found]]) -> None:
        self._nodes = nodes
        self._seeds = seeds
        decades = math.log10(nodes / 10_000)
        self._wide = max(1.0, math.sqrt(10_000 / nodes))
        self._path = 6.36 + 1.66 * decades
        self._far = 8.2 + 1.58 * decades

    def rows(self) -> dict[str, Row]:
        """All of them."""
        return {
            "S1": self.counts(),
            "S2": self.redundancy(),
            "S3": self.at_most("one", "hops", self._far + 1.8),
            "S4": self.at_most("many", "hops", self._far + 10.8),
            "S5": self.at_most("many", "control", 3.9 * self._nodes),
            "S6": self.churn(),
            "S7": self.first_message(),
            "S8": self.after_failure(),
            "S9": self.healing(),
            "S10": self.shape(),
            "S11": self.timed(),
        }

    def _all(self, scenario: str, figure: str) -> list[Any]:
        return [found[scenario][figure] for found in self._seeds]

    def at_most(self, scenario: str, figure: str, most: float) -> Row:
        """S3, S4, S5: hops to the last node of one sender and of many, and what is said besides payloads."""
        value = mean(self._all(scenario, figure))
        return _row(round(value, 2), f"<= {most:.1f}", value <= most)

    def counts(self) -> Row:
        """S1: of E links n - 1 carry the payload, and all others an announcement from either end."""
        others = self._nodes - 1
        values = [{name: found["one"][name] for name in ("payloads", "announced", "links")} for found in self._seeds]
        holds = all(
            value["payloads"] == others
            and value["announced"] == value["links"] - 2 * others
            and 4.99 * self._nodes <= value["links"] <= 5 * self._nodes
            for value in values
        )
        links = f"{4.99 * self._nodes:.0f} to {5 * self._nodes}"
        return _row(values, f"payloads {others}, announced links - {2 * others}, links {links}", holds)

    def redundancy(self) -> Row:
        """S2: superfluous payloads for each node, from the moment the last one joined."""
        series = self._all("one", "redundancy")
        value = [round(mean(one[cycle] for one in series), 4) for cycle in (0, 1, 2, 5)]
        holds = all(got <= most for got, most in zip(value, REDUNDANCY, strict=True))
        return _row(value, "<= " + ", ".join(map(str, REDUNDANCY)), holds)

    def churn(self) -> Row:
        """S6: the share reached in the worst cycle, without loss and with."""
        value = {
            name: min(self._all(scenario, "reached"))
            for name, scenario in (("lossless", "churn"), ("2 % lost", "lossy"))
        }
        return _row(value, "1.0", all(reached == 1.0 for reached in value.values()))

    def first_message(self) -> Row:
        """S7: by how many points the share reached differs from what percolation says."""
        value: dict[float, float] = {}
        for dead in SHARES_FIRST:
            reached = [
                one["reached"]
                for found in self._seeds
                for name, one in found.items()
                if name.startswith(f"first {dead} ")
            ]
            value[dead] = round(100 * (mean(reached) - percolated(1 - dead)), 2)
        most = {dead: (2 if dead > 0.6 else 1) * self._wide for dead in SHARES_FIRST}
        holds = all(abs(points) <= most[dead] for dead, points in value.items())
        return _row(value, f"within {self._wide:.1f} points, at 0.65 within {2 * self._wide:.1f}", holds)

    def after_failure(self) -> Row:
        """S8: the per cent reached, on average."""
        value = {dead: round(100 * mean(self._all(f"after {dead}", "reached")), 2) for dead in SHARES_AFTER}
        least = {dead: 100 - missed * self._wide for dead, missed in MISSED.items()}
        band = ">= " + ", ".join(f"{one:.2f}" for one in least.values())
        return _row(value, band, all(value[dead] >= least[dead] for dead in value))

    def healing(self) -> Row:
        """S9: cycles until all are reached."""
        value = {dead: max(self._all(f"heal {dead}", "cycles")) for dead in SHARES_HEAL}
        return _row(value, "<= 1 to 0.5, <= 2 to 0.8, <= 4 at 0.9", all(value[dead] <= CYCLES[dead] for dead in value))

    def shape(self) -> Row:
        """S10: the graph after fifty cycles."""
        names = ("path", "farthest", "clustering", "full", "one_sided", "in_one")
        value = {name: round(mean(self._all("shape", name)), 5) for name in names}
        low, high, clustered = 0.975 * self._path, 1.022 * self._path, max(0.001, 4 / self._nodes)
        holds = (
            low <= value["path"] <= high
            and value["clustering"] <= clustered
            and value["full"] >= 0.995
            and value["one_sided"] == 0
            and value["in_one"] == 1.0
        )
        band = f"path {low:.2f} to {high:.2f}, clustering <= {clustered:.4f}, full >= 0.995, one_sided 0, in_one 1"
        return _row(value, band, holds)

    def timed(self) -> Row:
        """S11: one sender, with a latency of each link and the timers that we ship."""
        names = ("redundancy", "missed", "slowest_ms", "hops")
        value = {name: round(mean(self._all("timed", name)), 4) for name in names}
        slowest_ms, hops = 600 * self._far / 8.2, 20 * self._far / 8.2
        holds = (
            value["redundancy"] <= 0.05
            and value["missed"] == 0
            and value["slowest_ms"] <= slowest_ms
            and value["hops"] <= hops
        )
        return _row(value, f"redundancy <= 0.05, missed 0, slowest <= {slowest_ms:.0f} ms, hops <= {hops:.0f}", holds)
