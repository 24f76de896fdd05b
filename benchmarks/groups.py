"""What groups cost: one sender, four receiving nodes, 128-byte payloads, five real processes on loopback.

    python -m benchmarks.groups --json                 # and --peer pg, --only chaos

`deliveries_per_s`, `cpu_us_per_delivery`: one member broadcasts to one member on each of the four others, as fast as it
goes; CPU is user and system time of all five processes, by delivery. `rtt_us_…`: a call of a member elsewhere and its
answer, one after the other. `joins_10k_visible_s`: 10,000 mailboxes on one node, each joining a group of its own, from
the first join until the last of the four others has all; `cpu_us_per_join`: CPU of all five, by join.
`rejoin_10k_groups_s`: one of the four ends in order, and starts anew in the same process; from then until it has all
10,000 groups of the other again. `idle_…_per_s_per_node`: what passes the loopback of a network of its own while
nothing happens, headers included, by node: with 1,000 and with 10,000 groups. `bytes_per_member_memory`: by how much a
node's resident memory grows for each member that lives elsewhere; the mean of the four.

`--peer pg` measures distributed Erlang's pg in the same way, run by run beside covey: members are Erlang processes, and
a broadcast is a send to each of `pg:get_members`. A loopback of its own needs Linux, `unshare` and `ip`; where there is
none, idle figures are null, and `why` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from benchmarks.group_chaos import CHAOS_S, chaos
from benchmarks.islands import alone, own_loopback, sent_on_loopback, until_input_ends, why_not
from benchmarks.member_process import Orders
from benchmarks.members import MemberProcess, Members, free_addresses, group_command, members
from benchmarks.processes import cpu_s, median, resident_bytes, run

NODES, SEEDS = 5, 3
JOINS = 10_000
IDLE_GROUPS = (1_000, 10_000)
SETTLE_S = 15.0  # the overlay shuffles once a second for a while after a join
STEP_S_MAX = 180.0
PG = Path(__file__).with_name("pg_process.erl")
Figures = dict[str, Any]


def pg_command(orders: Orders) -> list[str]:
    """The command line of one Erlang node."""
    others = [f"member-{number}@127.0.0.1" for number in range(NODES)]
    others.remove(name := f"{orders.name}@127.0.0.1")
    return ["escript", str(PG), name, *others]


@contextlib.asynccontextmanager
async def cluster_of(peer: str, profile: str) -> AsyncIterator[Members]:
    """Five processes that know each other."""
    addresses = free_addresses(NODES)
    orders = [
        Orders(peer, f"member-{number}", address, [seed for seed in addresses[:SEEDS] if seed != address], profile)
        for number, address in enumerate(addresses)
    ]
    async with contextlib.AsyncExitStack() as stack:
        if peer == "pg":
            await stack.enter_async_context(_port_mapper())
        cluster = await stack.enter_async_context(
            members(orders, command=group_command if peer == "covey" else pg_command)
        )
        await cluster.go()
        yield cluster


@contextlib.asynccontextmanager
async def _port_mapper() -> AsyncIterator[None]:
    """Erlang's nodes find each other by a daemon; this one is ours, and ends with the measurement."""
    port = free_addresses(1)[0].rpartition(":")[2]
    os.environ["ERL_EPMD_PORT"] = port
    daemon = await asyncio.create_subprocess_exec("epmd", "-address", "127.0.0.1", "-port", port)
    try:
        for _ in range(100):
            if subprocess.run(["epmd", "-port", port, "-names"], capture_output=True).returncode == 0:
                break
            await asyncio.sleep(0.05)  # epmd says nothing when it listens, and `-daemon` would leave it running
        yield
    finally:
        del os.environ["ERL_EPMD_PORT"]
        daemon.terminate()
        await daemon.wait()


# --- with five busy processes ---------------------------------------------------------------------------------------


def _cpu_s(cluster: Members) -> float:
    return sum(cpu_s(_pid(process)) for process in cluster.processes)


def _pid(process: MemberProcess) -> int:
    return int(process.heard("ready")["pid"])


async def fan(cluster: Members, messages: int) -> Figures:
    """One broadcasts to four."""
    sender, *receivers = cluster.processes
    await cluster.ask(f"expect {messages}", "expecting", receivers)
    cpu, sending, begin_s = _cpu_s(cluster), cpu_s(_pid(sender)), time.monotonic()
    expected = cluster.tell(f"fan {messages}", "sent", [sender])
    got = await cluster.answers("got", [len(each.of("got")) + 1 for each in receivers], receivers, STEP_S_MAX)
    seconds, cpu = max(said["at"] for said in got) - begin_s, _cpu_s(cluster) - cpu
    sending = cpu_s(_pid(sender)) - sending
    await cluster.answers("sent", expected, [sender])
    deliveries = messages * len(receivers) - sum(said["lost"] for said in got)
    return {
        "deliveries_per_s": deliveries / seconds,
        "cpu_us_per_delivery": cpu / deliveries * 1e6,
        "cpu_us_sending": sending / deliveries * 1e6,
        "deliveries_lost": messages * len(receivers) - deliveries,
    }


async def ping(cluster: Members, count: int) -> Figures:
    """One calls another."""
    said = (await cluster.ask(f"ping {count}", "rtt", cluster.processes[:1], STEP_S_MAX))[0]
    return {"rtt_us_p50": said["p50"], "rtt_us_p99": said["p99"]}


async def joins(cluster: Members) -> Figures:
    """One has 10,000 members that come, the others see them; and one of those begins anew."""
    owner, *others = cluster.processes
    await cluster.ask("tidy", "tidied")
    memory = [resident_bytes(_pid(process)) for process in others]
    seen = [len(process.of("seen")) + 1 for process in others]
    await cluster.ask(f"see {JOINS}", "looking", others)
    cpu, begin_s = _cpu_s(cluster), time.monotonic()
    expected = cluster.tell(f"join {JOINS}", "joined", [owner])
    found = await cluster.answers("seen", seen, others, STEP_S_MAX)
    await cluster.answers("joined", expected, [owner])
    cpu = _cpu_s(cluster) - cpu
    _all_there(found)
    await cluster.ask("tidy", "tidied")
    grown = [resident_bytes(_pid(process)) - before for process, before in zip(others, memory, strict=True)]
    *rest, last = cluster.processes
    await cluster.ask("stop", "stopped", [last])
    await cluster.until(lambda: all(each.alive() == NODES - 1 for each in rest), 30, "told that one is gone")
    back = await cluster.ask(f"again {JOINS}", "back", [last], STEP_S_MAX)
    _all_there(back)
    return {
        "joins_10k_visible_s": max(said["at"] for said in found) - begin_s,
        "cpu_us_per_join": cpu / JOINS * 1e6,
        "rejoin_10k_groups_s": back[0]["seconds"],
        "bytes_per_member_memory": sum(grown) / len(grown) / JOINS,
    }


def _all_there(found: list[Figures]) -> None:
    if any(said["groups"] != JOINS for said in found):
        raise RuntimeError(f"not {JOINS} groups: {found}")


async def once(peer: str, profile: str, only: tuple[str, ...], messages: int, pings: int) -> Figures:
    """Everything that five busy processes show, once."""
    figures: Figures = {}
    async with cluster_of(peer, profile) as cluster:
        await cluster.ask(f"sit {NODES}", "sitting")
        if _wanted(only, "fan"):
            await fan(cluster, messages // 10)  # whoever compiles or grows while it runs has done so
            figures |= await fan(cluster, messages)
        if _wanted(only, "rtt"):
            await ping(cluster, pings // 10)
            figures |= await ping(cluster, pings)
        if _wanted(only, "joins"):
            figures |= await joins(cluster)
    return figures


# --- with five that do nothing --------------------------------------------------------------------------------------


async def idle(peer: str, profile: str, groups: int, window_s: float) -> Figures:
    """One has so many groups, and nothing happens. Only inside `ALONE`."""
    own_loopback()
    async with cluster_of(peer, profile) as cluster:
        owner, *others = cluster.processes
        await cluster.ask(f"see {groups}", "looking", others)
        await cluster.ask(f"join {groups}", "joined", [owner])
        await cluster.until(lambda: all(each.last("seen") for each in others), 60, "all groups seen")
        await asyncio.sleep(SETTLE_S)
        before, begin_s = sent_on_loopback(), time.monotonic()
        await asyncio.sleep(window_s)
        after, seconds = sent_on_loopback(), time.monotonic() - begin_s
    return {
        "bytes": (after[0] - before[0]) / NODES / seconds,
        "packets": (after[1] - before[1]) / NODES / seconds,
    }


async def idle_twice(peer: str, profile: str, window_s: float) -> Figures:
    """The same with few groups and with many, or why not."""
    figures: Figures = {f"idle_{unit}_per_s_per_node": {} for unit in ("bytes", "packets")}
    if lack := why_not():
        return {**dict.fromkeys(figures), "why": lack}
    for groups in IDLE_GROUPS:
        found = await alone(
            ["benchmarks.groups", "--peer", peer, "--profile", profile, "--window", str(window_s),
             "--inside", str(groups)], STEP_S_MAX,
        )  # fmt: skip
        for unit, value in found.items():
            figures[f"idle_{unit}_per_s_per_node"][groups] = round(value, 1)
    return figures


# --- the command ----------------------------------------------------------------------------------------------------

BUSY = ("fan", "rtt", "joins")
FIGURES = (*BUSY, "idle", "chaos")


def _wanted(only: tuple[str, ...], kind: str) -> bool:
    return not only or kind in only


async def measure(
    peers: list[str], profile: str, runs: int, only: tuple[str, ...], messages: int, pings: int, window_s: float
) -> dict[str, Figures]:
    """All figures of all peers, which take turns."""
    figures: dict[str, Figures] = {peer: {} for peer in peers}
    if any(_wanted(only, kind) for kind in BUSY):
        found: dict[str, list[Figures]] = {peer: [] for peer in peers}
        for _ in range(runs):
            for peer in peers:
                found[peer].append(await once(peer, profile, only, messages, pings))
        for peer in peers:
            figures[peer] |= median(found[peer])
    if _wanted(only, "idle"):
        for peer in peers:
            figures[peer] |= await idle_twice(peer, profile, window_s)
    return figures


def pg_version() -> str | None:
    """The release of Erlang that would be measured; None where it is not installed."""
    if shutil.which("erl") is None or shutil.which("escript") is None:
        return None
    code = 'io:format("OTP ~s, erts ~s", [erlang:system_info(otp_release), erlang:system_info(version)]), halt().'
    return subprocess.run(["erl", "-noshell", "-eval", code], capture_output=True, text=True).stdout


@click.command()
@click.option("--json", "as_json", is_flag=True)
@click.option("--peer", default="covey", show_default=True, type=click.Choice(["covey", "pg"]))
@click.option("--profile", default="lan", show_default=True, type=click.Choice(["lan", "laptop"]))
@click.option("--runs", default=5, show_default=True, help="Medians of this many runs.")
@click.option("--messages", default=50_000, show_default=True, help="Broadcasts to four.")
@click.option("--pings", default=5_000, show_default=True)
@click.option("--window", default=30.0, show_default=True, help="Seconds over which a quiet cluster is counted.")
@click.option("--chaos-seconds", default=CHAOS_S, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of what chaos does.")
@click.option("--only", multiple=True, type=click.Choice(FIGURES), help="Measure these only; chaos only if named.")
@click.option("--inside", hidden=True, type=int)
def main(
    as_json: bool,
    peer: str,
    profile: str,
    runs: int,
    messages: int,
    pings: int,
    window: float,
    chaos_seconds: float,
    seed: int,
    only: tuple[str, ...],
    inside: int | None,
) -> None:
    """Measure what groups cost."""
    if inside is not None:
        print(json.dumps(run(until_input_ends(idle(peer, profile, inside, window)))))
        return
    about: Figures = {"python": platform.python_version(), "kernel": platform.release(), "cores": os.cpu_count()}
    about |= {"profile": profile, "runs": runs}
    version = pg_version() if peer == "pg" else None
    peers = ["covey", "pg"] if version is not None else ["covey"]
    found = run(measure(peers, profile, runs, only, messages, pings, window))
    about |= found["covey"]
    if "chaos" in only:
        about["chaos"] = run(chaos(chaos_seconds, seed))
    if peer == "pg":
        about["pg"] = {"version": version, **found["pg"]} if version else {"skipped": "erl is not installed"}
    if as_json:
        print(json.dumps(about))
        return
    for name, value in about.items():
        print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
