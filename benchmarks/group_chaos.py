"""Chaos: five real nodes, 10,000 groups, joins, leaves, SIGKILLs and restarts; then quiet, and how soon all agree."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from typing import Any

from benchmarks.member_process import Orders
from benchmarks.members import Members, free_addresses, group_command, kill, members

CHAOS_S = 60.0
NODES, GROUPS = 5, 10_000
LIFE_S = (1.0, 4.0)  # between a restart and the next kill
DEATH_S = (0.1, 1.5)  # between a kill and its restart
STEP_S_MAX = 60.0


async def chaos(seconds: float, seed: int, groups: int = GROUPS) -> dict[str, Any]:
    """Do it. `members_s`: from the end of the last command until all hold all for alive. `equal_s`: from then until all
    five views are the same and right, after so many `looks`; a look takes its part of it.

    Each node is at home in a fifth of the groups, and changes 500 memberships a second in any of them. One after the
    other is killed and started again with its storage.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="covey-bench-") as folder:
        addresses = free_addresses(NODES)
        orders = [
            Orders(
                "covey", f"n{at}", address, [a for a in addresses[:3] if a != address], "laptop", f"{folder}/{at}.db"
            )
            for at, address in enumerate(addresses)
        ]
        async with members(orders, command=group_command) as cluster:
            await cluster.go()
            await asyncio.gather(*(_settle(cluster, at, groups, rng.random()) for at in range(NODES)))
            kills, end_s = 0, time.monotonic() + seconds
            while True:
                await asyncio.sleep(rng.uniform(*LIFE_S))
                if time.monotonic() >= end_s:
                    break
                victim = rng.randrange(NODES)
                kill(cluster.processes[victim])
                kills += 1
                await asyncio.sleep(rng.uniform(*DEATH_S))
                process = await cluster.add(orders[victim], at=victim)
                await cluster.ready()
                await cluster.ask("go", "started", [process])
                await _settle(cluster, victim, groups, rng.random())
            steps = sum(said["steps"] for said in await cluster.ask("calm", "calm"))
            calm_s = time.monotonic()
            await cluster.until(
                lambda: all(process.alive() == NODES for process in cluster.processes), STEP_S_MAX, "all members alive"
            )
            now_s = time.monotonic()
            counts = {"seconds": seconds, "kills": kills, "steps": steps, "members_s": round(now_s - calm_s, 3)}
            return {**counts, **await _agree(cluster, now_s)}


async def _settle(cluster: Members, at: int, groups: int, seed: float) -> None:
    """Make one be at home in its groups, and begin to change things."""
    one = [cluster.processes[at]]
    share = groups // NODES
    await cluster.ask(f"home {at * share} {(at + 1) * share}", "home", one)
    await cluster.ask(f"churn {int(seed * 1e9)} {groups}", "churning", one)


async def _agree(cluster: Members, since_s: float) -> dict[str, Any]:
    """Ask until all five tell the same, and each the truth about itself."""
    looks = 0
    async with asyncio.timeout(STEP_S_MAX):
        while True:
            looks += 1
            views = await cluster.ask("view", "view", seconds=STEP_S_MAX)
            if all(view["same"] for view in views) and len({view["hash"] for view in views}) == 1:
                at_s = max(view["at"] for view in views)
                counts = {"memberships": views[0]["rows"], "groups": views[0]["groups"]}
                return {"equal_s": round(at_s - since_s, 3), "looks": looks, **counts}
            await asyncio.sleep(0.05)  # five processes are compared by asking them: nothing tells when they agree
