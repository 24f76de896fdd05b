"""Two processes that measure something together, and how to sum up several runs."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any


async def start_child(module: str, *arguments: str) -> asyncio.subprocess.Process:
    """A child process of this Python that talks in JSON lines."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )


async def hear(child: asyncio.subprocess.Process, seconds: float = 60.0) -> dict[str, Any]:
    """The child's next JSON line."""
    assert child.stdout is not None
    line = await asyncio.wait_for(child.stdout.readline(), seconds)
    if not line:
        raise RuntimeError(f"the child ended with status {await child.wait()}")
    heard: dict[str, Any] = json.loads(line)
    return heard


def say(**values: Any) -> None:
    """One JSON line to the parent."""
    print(json.dumps(values), flush=True)


def run(main: Any) -> Any:
    """Run a coroutine on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def cpu_s(pid: int) -> float:
    """User and system time of another process since it began (Linux: the clock of its CPU, by nanoseconds)."""
    return time.clock_gettime(~pid << 3 | 2)


def resident_bytes(pid: int) -> int:
    """What another process holds in memory now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over several runs."""
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


def percentile(sorted_values: list[float], share: float) -> float:
    """The value below which `share` of the sorted values lie."""
    return sorted_values[min(int(len(sorted_values) * share), len(sorted_values) - 1)]
