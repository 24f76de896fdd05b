"""What a hub costs: three real processes on loopback, each a node that takes part.

    python -m benchmarks.hub --json                 # --only busy|idle|joiner, --runs 3

`start_1k_s`, `start_10k_s`: so many children started from one node, until all of them run; `cpu_us_per_child`: user and
system time of all three while 10,000 start, by child. `lookup_ns`: one look-up of a child; `find_tag_100k_us`: finding
100 of 100,000 children by a tag. `call_us_…`: a call and its answer, one after the other, of a child on the same node
(`local`) and on another; `calls_per_s`: 100 at a time, of children on all three. `failover_sigkill_ms`: one of three
that runs a third of 1,000 children is killed; until all 1,000 run on the two others. `register_visible_ms_…`: from the
call that starts a child until another node shows it. `joiner_100k_rows_s`: a fourth node that runs nothing opens the
hub, until it shows 100,000 children running; `api_p99_ms_meanwhile`: a call on one of the others at that time.
`idle_bytes_per_s`: what passes the loopback of a network of its own while nothing happens, headers included, of all
three together, with 0, 10,000 and 100,000 children; for each strategy by which rows can travel, with its own interval.

ProcessHub 0.4.1 on this kind of machine: 0.045 s for 1,000 starts, 1.75 s for 10,000, 176 µs of CPU a child, look-up
290-370 ns, failover 33 ms, 631 kB/s idle at 10,000 rows and growing with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import click
import msgspec

from benchmarks.hub_process import STRATEGIES
from benchmarks.islands import alone, own_loopback, sent_on_loopback, until_input_ends, why_not
from benchmarks.member_process import Orders
from benchmarks.members import MemberProcess, Members, free_addresses, kill, members
from benchmarks.processes import cpu_s, median, percentile, run

NODES = 3
MANY, ALL = 10_000, 100_000
ROWS = (0, MANY, ALL)
SETTLE_S = 15.0
STEP_S_MAX = 300.0
FIGURES = ("busy", "joiner", "idle")
Figures = dict[str, Any]


def hub_command(orders: Orders) -> list[str]:
    """The command line of one node."""
    return [sys.executable, "-m", "benchmarks.hub_process", msgspec.json.encode(orders).decode()]


@contextlib.asynccontextmanager
async def cluster_of(profile: str, strategy: str = "Delta") -> AsyncIterator[Members]:
    """Three processes that know each other and take part."""
    addresses = free_addresses(NODES)
    orders = [Orders("covey", f"node-{at}", address, addresses, profile) for at, address in enumerate(addresses)]
    async with members(orders, command=hub_command) as cluster:
        await cluster.go()
        await cluster.ask(f"hub {NODES} 1 {strategy}", "in")
        yield cluster


def _cpu_s(cluster: Members) -> float:
    return sum(cpu_s(int(process.heard("ready")["pid"])) for process in cluster.processes)


async def busy(profile: str) -> Figures:
    """Everything that three busy processes show, once."""
    figures: Figures = {}
    async with cluster_of(profile) as cluster:
        first, *others = cluster.processes
        figures["start_1k_s"] = await _start(cluster, 1_000)
        said = (await cluster.ask("ping 2000", "rtt", [first], STEP_S_MAX))[0]
        figures |= {f"call_us_{name}": said[name] for name in ("local_p50", "local_p99", "remote_p50", "remote_p99")}
        said = (await cluster.ask("flood 20000", "flooded", [first], STEP_S_MAX))[0]
        figures["calls_per_s"] = 20_000 / said["seconds"]
        await cluster.ask("note", "noting", others)
        await cluster.ask("one 300", "ones", [first], STEP_S_MAX)
        times = sorted(at for said in await cluster.ask("noted", "times", others) for at in said["times"])
        figures |= {f"register_visible_ms_p{share}": percentile(times, share / 100) for share in (50, 99)}
        await cluster.ask("drop", "dropped", [first], STEP_S_MAX)
        cpu = _cpu_s(cluster)
        figures["start_10k_s"] = await _start(cluster, MANY)
        figures["cpu_us_per_child"] = (_cpu_s(cluster) - cpu) / MANY * 1e6
        figures["lookup_ns"] = (await cluster.ask("look 100000", "looked", [first]))[0]["lookup_ns"]
        await cluster.ask("drop", "dropped", [first], STEP_S_MAX)
        await _start(cluster, 1_000)
        figures["failover_sigkill_ms"] = await _failover(cluster, first, others)
    return figures


async def _start(cluster: Members, count: int) -> float:
    return float((await cluster.ask(f"start {count}", "started", cluster.processes[:1], STEP_S_MAX))[0]["seconds"])


async def _failover(cluster: Members, first: MemberProcess, others: list[MemberProcess]) -> float:
    rest = [first, others[0]]
    await cluster.ask("see 1000", "looking", rest)
    expected = cluster.tell(f"whole {NODES - 1}", "whole", rest)
    await cluster.until(lambda: all(process.last("watching") for process in rest), 30, "watching")
    killed_s = kill(others[1])
    said = await cluster.answers("whole", expected, rest, STEP_S_MAX)
    return (max(one["at"] for one in said) - killed_s) * 1e3


async def joiner(profile: str) -> Figures:
    """100,000 children, and a fourth node that learns of them."""
    async with cluster_of(profile) as cluster:
        first = cluster.processes[0]
        seconds = await _start(cluster, ALL)
        found = (await cluster.ask("look 100000", "looked", [first]))[0]["find_us"]
        seeds = [process.orders.listen for process in cluster.processes]
        (address,) = free_addresses(1)
        fourth = await cluster.add(Orders("covey", "node-3", address, seeds, profile))
        await cluster.ready()
        fourth.tell("go")
        await cluster.until(lambda: fourth.alive() == NODES + 1, 60, "joined")
        await cluster.ask("busy", "busy", [first])
        begin_s = time.monotonic()
        await cluster.ask(f"hub {NODES + 1} 0 Delta", "in", [fourth], STEP_S_MAX)
        expected = cluster.tell(f"see {ALL}", "seen", [fourth])
        (seen,) = await cluster.answers("seen", expected, [fourth], STEP_S_MAX)
        p99_ms = (await cluster.ask("calm", "calm", [first]))[0]["p99_ms"]
    return {
        "start_100k_s": round(seconds, 1),
        "find_tag_100k_us": round(found, 1),
        "joiner_100k_rows_s": round(seen["at"] - begin_s, 2),
        "api_p99_ms_meanwhile": round(p99_ms, 1),
    }


async def idle(profile: str, strategy: str, children: int, window_s: float) -> Figures:
    """So many children, and nothing happens. Only inside `alone`."""
    own_loopback()
    async with cluster_of(profile, strategy) as cluster:
        if children:
            await _start(cluster, children)
        await asyncio.sleep(SETTLE_S)
        before, begin_s = sent_on_loopback(), time.monotonic()
        await asyncio.sleep(window_s)
        after, seconds = sent_on_loopback(), time.monotonic() - begin_s
    return {"bytes": (after[0] - before[0]) / seconds}


async def idle_each(profile: str, window_s: float) -> Figures:
    """The same with none, with many and with very many children, under each strategy, or why not."""
    if lack := why_not():
        return {"idle_bytes_per_s": None, "why": lack}
    figures: Figures = {}
    for strategy in STRATEGIES:
        figures[strategy] = {}
        for children in ROWS:
            inside = ["--profile", profile, "--window", str(window_s), "--inside", strategy, str(children)]
            found = await alone(["benchmarks.hub", *inside], STEP_S_MAX)
            figures[strategy][str(children)] = round(found["bytes"])
    return {"idle_bytes_per_s": figures}


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--profile", default="lan", show_default=True, type=click.Choice(["lan", "laptop"]))
@click.option("--runs", default=3, show_default=True, help="Medians of this many runs.")
@click.option("--window", default=30.0, show_default=True, help="Seconds over which a quiet cluster is counted.")
@click.option("--only", multiple=True, type=click.Choice(FIGURES), help="Measure these only.")
@click.option("--inside", type=(str, int), help="Used by the command itself: in a network of its own, count for these.")
def main(
    as_json: bool, profile: str, runs: int, window: float, only: tuple[str, ...], inside: tuple[str, int] | None
) -> None:
    """Measure hubs."""
    if inside is not None:
        print(json.dumps(asyncio.run(until_input_ends(idle(profile, *inside, window)))))
        return
    figures: Figures = {"python": sys.version.split()[0], "cores": os.cpu_count(), "runs": runs}
    if not only or "busy" in only:
        figures |= median([run(busy(profile)) for _ in range(runs)])
    if not only or "joiner" in only:
        figures |= run(joiner(profile))
    if not only or "idle" in only:
        figures |= run(idle_each(profile, window))
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
