"""How soon members notice a death, and what a quiet cluster costs: real processes, one member each.

    python -m benchmarks.detector --json                # and --peer kinship, --peer serf

`detect_refused_s`: one of five is killed (SIGKILL) on loopback; seconds until all four survivors say so, and
`…_first_s` until the first does. `detect_silent_s`: the same when the cable of one is pulled. `join_5_s`: five started
at once, each told the addresses of three, until each holds all for alive; their interpreters run already.
`restart_20_s`: twenty with storage ended in order and started again at once, in the same way. `disk_writes_idle`:
stores asked for, and changes of the files, of five with storage in a quiet window. `idle_…_per_s_per_node`: what the
kernel counted on the cable of each member as sent by it, headers of Ethernet, IP and TCP, TLS, acknowledgements and
ARP included, the mean of all; with 5 and with 20. Cables exist only where network namespaces can be made (`islands`):
elsewhere these figures are null, and `why` says why.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.islands import Islands, alone, until_input_ends, why_not
from benchmarks.member_process import PEERS, Orders
from benchmarks.members import Members, free_addresses, kill, members
from benchmarks.processes import run

FEW, MANY, SEEDS = 5, 20, 3
SETTLE_S = 15.0  # after joining the overlay still shuffles once a second for five
DOWN_S_MAX = 60.0
DISK_WINDOW_S = 20.0
STEP_S_MAX = 180.0  # for one run of one figure
Figures = dict[str, Any]


class Plan:
    """What is measured, and how often."""

    def __init__(self, peer: str, profile: str, runs: int, window_s: float) -> None:
        self.peer, self.profile, self.runs, self.window_s = peer, profile, runs, window_s

    def orders(self, addresses: list[str], folder: str | None = None, metrics: bool = False) -> list[Orders]:
        """Members that know the addresses of the first three; with a folder, each has its storage in it."""
        return [
            Orders(
                self.peer, f"member-{number}", address, [seed for seed in addresses[:SEEDS] if seed != address],
                self.profile, None if folder is None else os.path.join(folder, f"{number}.db"), metrics,
            )
            for number, address in enumerate(addresses)
        ]  # fmt: skip


# --- on loopback ----------------------------------------------------------------------------------------------------


async def refused(plan: Plan, attempt: int) -> Figures:
    """Kill one of five."""
    async with members(plan.orders(free_addresses(FEW))) as cluster:
        joined_s = await cluster.go()
        victim = cluster.processes[attempt % FEW]
        first_s, all_s, causes = await cluster.wait_down(victim, kill(victim), DOWN_S_MAX)
    return {"join_5_s": joined_s, "detect_refused_first_s": first_s, "detect_refused_s": all_s, "causes": causes}


async def restart(plan: Plan) -> Figures:
    """End twenty in order, and start them again."""
    with tempfile.TemporaryDirectory(prefix="covey-bench-") as folder:
        orders = plan.orders(free_addresses(MANY), folder)
        async with members(orders) as cluster:
            joined_s = await cluster.go()
        async with members(orders) as cluster:
            return {"join_20_s": joined_s, "restart_20_s": await cluster.go()}


async def disk(plan: Plan) -> Figures:
    """Five with storage, and nothing happens."""
    with tempfile.TemporaryDirectory(prefix="covey-bench-") as folder:
        async with members(plan.orders(free_addresses(FEW), folder)) as cluster:
            await cluster.go()
            await asyncio.sleep(SETTLE_S)
            files, counters = _files(folder), await cluster.counters()
            await asyncio.sleep(DISK_WINDOW_S)
            changed = sum(found != files.get(name) for name, found in _files(folder).items())
            stores = sum(found["stores"] for found in await cluster.counters())
            return {"disk_writes_idle": changed + stores - sum(found["stores"] for found in counters)}


def _files(folder: str) -> dict[str, tuple[int, int]]:
    """Size and time of the last change of each file."""
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(Path(folder).iterdir())}


# --- on islands -----------------------------------------------------------------------------------------------------


async def refused_tls(plan: Plan, attempt: int) -> Figures:
    """Kill one of five that speak TLS, as covey and its peers do beyond loopback."""
    islands = Islands(FEW)
    islands.make()
    async with members(plan.orders(islands.addresses()), islands.prefixes()) as cluster:
        joined_s = await cluster.go()
        victim = cluster.processes[attempt % FEW]
        first_s, all_s, causes = await cluster.wait_down(victim, kill(victim), DOWN_S_MAX)
    return {
        "join_5_tls_s": joined_s, "detect_refused_tls_first_s": first_s, "detect_refused_tls_s": all_s, "causes": causes
    }  # fmt: skip


async def silent(plan: Plan, attempt: int) -> Figures:
    """Pull the cable of one of five."""
    islands = Islands(FEW)
    islands.make()
    async with members(plan.orders(islands.addresses()), islands.prefixes()) as cluster:
        await cluster.go()
        victim = attempt % FEW
        pulled_s = asyncio.get_running_loop().time()
        islands.pull(victim)
        first_s, all_s, causes = await cluster.wait_down(cluster.processes[victim], pulled_s, DOWN_S_MAX)
    return {"detect_silent_first_s": first_s, "detect_silent_s": all_s, "causes": causes}


async def idle(plan: Plan, count: int) -> Figures:
    """Let a cluster be, and read the counters of the cables."""
    islands = Islands(count)
    islands.make()
    async with members(plan.orders(islands.addresses(), metrics=plan.peer == "covey"), islands.prefixes()) as cluster:
        joined_s = await cluster.go()
        await asyncio.sleep(SETTLE_S)
        counted = await _counters(plan, cluster)
        loop = asyncio.get_running_loop()
        before, begin_s = islands.sent(), loop.time()
        await asyncio.sleep(plan.window_s)
        after, seconds = islands.sent(), loop.time() - begin_s
        rates = _rates(counted, await _counters(plan, cluster), seconds * count)
    sent = [(new[0] - old[0], new[1] - old[1]) for old, new in zip(before, after, strict=True)]
    return {
        "bytes": sum(each[0] for each in sent) / count / seconds,
        "bytes_max": max(each[0] for each in sent) / seconds,
        "packets": sum(each[1] for each in sent) / count / seconds,
        "packets_max": max(each[1] for each in sent) / seconds,
        "join_s": joined_s,
        "counted": rates,
    }


async def _counters(plan: Plan, cluster: Members) -> list[Figures]:
    return await cluster.counters() if plan.peer == "covey" else []


def _rates(before: list[Figures], after: list[Figures], node_seconds: float) -> dict[str, float]:
    """Per second and node: what the links carried, and every effect by kind. The means of all nodes."""
    sums: dict[str, float] = {}
    for sign, counters in ((-1, before), (1, after)):
        for found in counters:
            links = found["machines"]["links"]
            counts = {name: links[name] for name in ("bytes_out", "frames_out", "messages_out")} | found["heard"]
            for name, number in counts.items():
                sums[name] = sums.get(name, 0) + sign * number
    found_rates = {name: round(total / node_seconds, 3) for name, total in sums.items() if total}
    return dict(sorted(found_rates.items(), key=lambda item: -item[1]))


INSIDE: dict[str, Callable[[Plan, int], Coroutine[Any, Any, Figures]]] = {
    "refused_tls": refused_tls,
    "refused": refused_tls,
    "silent": silent,
    "idle": idle,
}


async def on_islands(plan: Plan, what: str, number: int) -> Figures:
    """Do it where we have a network of our own: in a process whose end ends all of that."""
    arguments = [
        "benchmarks.detector", "--peer", plan.peer, "--profile", plan.profile, "--window", str(plan.window_s),
        "--inside", what, "--number", str(number),
    ]  # fmt: skip
    return await alone(arguments, STEP_S_MAX)


# --- the command ----------------------------------------------------------------------------------------------------

FIGURES = ("refused", "refused_tls", "silent", "idle", "disk", "restart")


async def measure(plan: Plan, only: tuple[str, ...]) -> Figures:
    """All figures, one after the other."""
    figures: Figures = {}
    lack = why_not()
    for kind in [kind for kind in FIGURES if not only or kind in only]:
        match kind:
            case "refused":
                figures |= await _several("refused", lambda number: refused(plan, number), plan.runs)
            case "restart":
                figures |= await _several("restart", lambda _: restart(plan), min(plan.runs, 3))
            case "disk" if plan.peer == "covey":
                figures |= await _several("disk", lambda _: disk(plan), 1)
            case "refused_tls" | "silent":
                part, lack = await _unless(lack, _several(kind, partial(on_islands, plan, kind), plan.runs))
                figures |= part or {f"detect_{kind}_s": None, "why": lack}
            case "idle":
                for count in (FEW, MANY):
                    part, lack = await _unless(lack, on_islands(plan, kind, count))
                    _add_idle(figures, count, part or {"why": lack})
    return figures


async def _unless(lack: str, measuring: Coroutine[Any, Any, Figures]) -> tuple[Figures, str]:
    """The figures, or why there are none."""
    if lack:
        measuring.close()
        return {}, lack
    try:
        return await measuring, ""
    except (RuntimeError, TimeoutError) as error:
        return {}, f"{type(error).__name__}: {error}"


def _add_idle(figures: Figures, count: int, found: Figures) -> None:
    if "why" in found:
        for unit in ("bytes", "packets"):
            figures.setdefault(f"idle_{unit}_per_s_per_node", {})[count] = None
        figures["why"] = found["why"]
        return
    for unit in ("bytes", "packets"):
        figures.setdefault(f"idle_{unit}_per_s_per_node", {})[count] = round(found[unit], 1)
        figures.setdefault(f"idle_{unit}_per_s_busiest", {})[count] = round(found[f"{unit}_max"], 1)
    if found["counted"]:
        figures.setdefault("idle_counted_per_s_per_node", {})[count] = found["counted"]


async def _several(what: str, once: Callable[[int], Awaitable[Figures]], runs: int) -> Figures:
    """The median of each figure over several runs, and the spread of the seconds."""
    found: list[Figures] = []
    for attempt in range(runs):
        async with asyncio.timeout(STEP_S_MAX):
            found.append(await once(attempt))
    figures: Figures = {}
    for name, value in found[0].items():
        values = [each[name] for each in found]
        if isinstance(value, list):
            figures[f"{what}_{name}"] = sorted({part for each in values for part in each})
            continue
        figures[name] = round(statistics.median(values), 3)
        if runs > 1:
            figures[f"{name}_range"] = [round(min(values), 3), round(max(values), 3)]
    return figures


def version(peer: str) -> str | None:
    """The version that would be measured; None where it is not installed."""
    if peer == "serf":
        if shutil.which("serf") is None:
            return None
        return subprocess.run(["serf", "version"], capture_output=True, text=True).stdout.splitlines()[0]
    try:
        return importlib.metadata.version(peer)
    except importlib.metadata.PackageNotFoundError:
        return "unknown" if peer == "covey" else None


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--peer", default="covey", show_default=True, type=click.Choice(list(PEERS)))
@click.option("--profile", default="lan", show_default=True, type=click.Choice(["lan", "laptop"]))
@click.option("--runs", default=5, show_default=True, help="Medians of this many runs; restarts of three at most.")
@click.option("--window", default=30.0, show_default=True, help="Seconds over which a quiet cluster is counted.")
@click.option("--only", multiple=True, type=click.Choice(FIGURES), help="Measure these only.")
@click.option("--inside", "inside_what", hidden=True, type=click.Choice(list(INSIDE)))
@click.option("--number", hidden=True, default=0)
def main(
    as_json: bool,
    peer: str,
    profile: str,
    runs: int,
    window: float,
    only: tuple[str, ...],
    inside_what: str | None,
    number: int,
) -> None:
    """Measure how soon members notice a death, and what a quiet cluster costs."""
    plan = Plan(peer, profile, runs, window)
    if inside_what is not None:
        print(json.dumps(run(until_input_ends(INSIDE[inside_what](plan, number)))))
        return
    about: Figures = {"peer": peer}
    if (found := version(peer)) is None:
        about["skipped"] = "not installed"
    else:
        about |= {"version": found, "python": platform.python_version(), "kernel": platform.release()}
        about |= {"cores": os.cpu_count(), "profile": profile, "runs": runs, "window_s": window}
        about |= run(measure(plan, only))
    if as_json:
        print(json.dumps(about))
        return
    for name, value in about.items():
        print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
