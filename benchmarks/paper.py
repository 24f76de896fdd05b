"""The tables of the two papers, from the machines that this package ships.

    python -m benchmarks.paper --nodes 10000 --json        # and --seeds 3, --plot docs/paper.png

HyParView (DSN 2007) and Plumtree (SRDS 2007) were simulated with 10,000 nodes, one hop at a time (`covey.sim.cycles`).
Each key is a figure: what we get, the band it has to lie in (`paper_bands`), and whether it does. The overlay is grown
once; what follows works on copies of the process that grew it.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import click

from benchmarks.paper_bands import SHARES_AFTER, SHARES_FIRST, SHARES_HEAL, judge
from covey.sim import cycles
from covey.sim.cycles import Flock, paper_broadcast, paper_overlay
from covey.sim.graphs import clustering, distances, giant
from covey.sim.timed_cycles import TimedFlock

PATHS_FROM = 100  # nodes whose distances to all others are measured
MESSAGES = 200  # after a mass failure
WARM_UP = 40  # broadcasts of random senders until the tree is what it will be
Found = dict[str, Any]
Scenario = Callable[[Flock], Found]


# --- scenarios: each gets the grown overlay, or one that has shuffled, and may do with it what it likes -------------


def one_sender(flock: Flock) -> Found:
    """S1, S2, S3: from the moment the last node joined, one sender, a hundred cycles."""
    redundancy, hops = [], []
    for _ in range(100):
        sent = flock.broadcast(0)
        redundancy.append(sent.payloads / (len(flock.overlays) - 1) - 1)
        hops.append(sent.last_hop)
        flock.cycle()
    links = sum(map(len, flock.links().values()))
    sent = flock.broadcast(0)
    return {
        "links": links, "payloads": sent.payloads, "announced": sent.announced, "frames": sent.frames,
        "delivered": sent.delivered, "redundancy": redundancy, "hops": mean(hops[50:]),
    }  # fmt: skip


def many_senders(flock: Flock) -> Found:
    """S4, S5: every message from another node."""
    nodes = list(flock.overlays)
    sents = []
    for _ in range(WARM_UP + 100):
        flock.now_us += cycles.CYCLE_US
        sents.append(flock.broadcast(flock.rng.choice(nodes)))
    sents = sents[WARM_UP:]
    return {
        "hops": mean(sent.last_hop for sent in sents), "control": mean(sent.control for sent in sents),
        "redundancy": mean(sent.payloads / (len(nodes) - 1) - 1 for sent in sents),
        "reached": min(sent.delivered for sent in sents),
    }  # fmt: skip


def churn(flock: Flock, lost: float = 0.0) -> Found:
    """S6: half a per cent of all die in each of a hundred cycles."""
    flock.broadcast(0)
    flock.lost = lost
    some = max(1, len(flock.overlays) // 200)
    reached, redundancy, hops = [], [], []
    for _ in range(100):
        flock.kill(cycles.sample(flock.rng, [number for number in flock.overlays if number], some))
        sent = flock.broadcast(0)
        reached.append(sent.delivered / (len(flock.overlays) - 1))
        redundancy.append(sent.payloads / (len(flock.overlays) - 1) - 1)
        hops.append(sent.last_hop)
        flock.cycle()
    return {"reached": min(reached), "redundancy": mean(redundancy), "hops": mean(hops)}


def first_message(flock: Flock, dead: float, draw: int) -> Found:
    """S7: the first message after so many died at once, from the largest part that holds together."""
    flock.rng = Random(draw)
    for _ in range(3):
        flock.broadcast(flock.rng.choice(list(flock.overlays)))
    flock.kill(cycles.sample(flock.rng, flock.overlays, round(dead * len(flock.overlays))))
    flock.holds_failures = True
    sender = flock.rng.choice(giant(flock.links()))
    sent = flock.broadcast(sender)
    return {"reached": (sent.delivered + 1) / len(flock.overlays)}


def after_failure(flock: Flock, dead: float) -> Found:
    """S8: a message a second from a random node after so many died at once. No shuffles; who is sent to is found dead.

    The contact through which all joined lives on, as a seed would: who knows nobody alive asks there.
    """
    flock.broadcast(0)
    others = [number for number in flock.overlays if number]
    flock.kill(cycles.sample(flock.rng, others, round(dead * len(flock.overlays))))
    flock.shuffles = False
    reached = []
    for _ in range(MESSAGES):
        sent = flock.broadcast(flock.rng.choice(list(flock.overlays)))
        reached.append((sent.delivered + 1) / len(flock.overlays))
        flock.wait(cycles.SECOND_US)
    return {"reached": mean(reached), "messages": reached[:20], "last": reached[-1]}


def healing(flock: Flock, dead: float) -> Found:
    """S9: how many cycles, of ten messages each, until all are reached again."""
    flock.broadcast(0)
    flock.kill(cycles.sample(flock.rng, flock.overlays, round(dead * len(flock.overlays))))
    for cycle in range(20):
        reached = []
        for _ in range(10):
            sent = flock.broadcast(flock.rng.choice(list(flock.overlays)))
            reached.append((sent.delivered + 1) / len(flock.overlays))
        if cycle and min(reached) == 1.0:
            return {"cycles": cycle}
        flock.cycle()
    return {"cycles": 20}


def shape(flock: Flock) -> Found:
    """S10: the graph after fifty cycles."""
    links = flock.links()
    starts = cycles.sample(flock.rng, links, min(PATHS_FROM, len(links)))
    found = [distances(links, start) for start in starts]
    return {
        "path": mean(mean(hops for hops in one.values() if hops) for one in found),
        "farthest": mean(max(one.values()) for one in found),
        "clustering": clustering(links),
        "full": sum(len(others) == 5 for others in links.values()) / len(links),
        "one_sided": sum(number not in links[other] for number, others in links.items() for other in others),
        "in_one": len(giant(links)) / len(links),
    }


def timed(flock: Flock) -> Found:
    """S11: a latency of 10 to 100 ms for each link, and the timers that we ship."""
    assert isinstance(flock, TimedFlock)
    for _ in range(20):
        flock.now_us += cycles.CYCLE_US
        flock.timed_broadcast(0)
    rows = []
    for _ in range(10):
        flock.now_us += cycles.CYCLE_US
        sent = flock.timed_broadcast(0)
        rows.append((sent.payloads / (len(flock.overlays) - 1) - 1, sent.delivered, flock.slowest_us, sent.last_hop))
    return {
        "redundancy": mean(row[0] for row in rows), "missed": len(flock.overlays) - 1 - min(row[1] for row in rows),
        "slowest_ms": mean(row[2] for row in rows) / 1000, "hops": mean(row[3] for row in rows),
    }  # fmt: skip


# --- running them ---------------------------------------------------------------------------------------------------

_flock: Flock  # what the scenarios' processes inherit


def _run(scenario: Scenario) -> Found:
    return scenario(_flock)


def _in_copies(flock: Flock, scenarios: dict[str, Scenario], jobs: int) -> dict[str, Found]:
    """Each in a process of its own that begins as a copy of this one."""
    global _flock
    _flock = flock
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        pending = {name: pool.apply_async(_run, (scenario,)) for name, scenario in scenarios.items()}
        return {name: one.get() for name, one in pending.items()}


def measure(nodes: int, seed: int, jobs: int) -> dict[str, Found]:
    """All scenarios of one seed."""
    flock = TimedFlock(seed, paper_overlay(), paper_broadcast(), 10_000, 100_000).grow(nodes)
    found = _in_copies(flock, {"one": one_sender}, jobs)  # from the moment the last one joined
    for _ in range(50):
        flock.cycle()
    flock.renew_trees(paper_broadcast())
    scenarios: dict[str, Scenario] = {"churn": churn, "lossy": partial(churn, lost=0.02), "many": many_senders}
    draws = max(3, 20_000 // nodes)
    scenarios |= {
        f"first {dead} {draw}": partial(first_message, dead=dead, draw=draw)
        for dead in SHARES_FIRST for draw in range(draws)
    }  # fmt: skip
    scenarios |= {f"after {dead}": partial(after_failure, dead=dead) for dead in SHARES_AFTER}
    scenarios |= {f"heal {dead}": partial(healing, dead=dead) for dead in SHARES_HEAL}
    scenarios |= {"shape": shape, "timed": timed}
    return found | _in_copies(flock, scenarios, jobs)


@click.command()
@click.option("--nodes", default=10_000, show_default=True)
@click.option("--seeds", default=1, show_default=True)
@click.option("--jobs", default=2, show_default=True, help="Processes to use.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--raw", type=click.Path(dir_okay=False, path_type=Path), help="Write all that was found here.")
def main(nodes: int, seeds: int, jobs: int, as_json: bool, raw: Path | None) -> None:
    """Reproduce the papers' tables."""
    began = time.monotonic()
    everything = [measure(nodes, seed, jobs) for seed in range(1, seeds + 1)]
    if raw is not None:
        raw.write_text(json.dumps(everything))
    rows = judge(nodes, everything)
    took_s = round(time.monotonic() - began, 1)
    if as_json:
        click.echo(json.dumps({**rows, "run_time_s": took_s}))
    else:
        for key, row in rows.items():
            click.echo(f"{key:4} {'holds' if row['holds'] else 'FAILS'}  {row['value']}  ({row['band']})")
        click.echo(f"in {took_s} s")
    raise SystemExit(0 if all(row["holds"] for row in rows.values()) else 1)


if __name__ == "__main__":
    main()
