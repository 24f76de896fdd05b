"""What it costs to keep many shared rows in a file, and to have them again.

    python -m benchmarks.kept_rows --json

One node with an SQLite file in a temporary folder holds a durable instance. So many rows, each with one field, are
written, 1,000 a turn: `write_s` is how long until all are written, `saved_s` until the file has them too, `turn_ms` the
longest turn of the event loop meanwhile. Then the node ends without a word and another one starts: `start_s` is its
start, with reading the file (`read_s`) and making the table, `hold_s` until the instance is held and shown; with `cpu`,
what this process took of processors, which others that use the machine do not change.
"""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click

import covey
from covey.core.rows import HoldInstance, Put, Start, WriteShared
from covey.runtime.storage.checks import read_all

SECRET = "for this measurement only"
INSTANCE = b"hub:measured"
AT_ONCE = 1_000


async def node(path: Path) -> tuple[covey.Node, Any]:
    """A started one, and its runner."""
    made = covey.Node("kept", listen="127.0.0.1:0", seeds=[], secret=SECRET, storage=str(path))
    await made.start()
    return made, made._runner


async def measure(rows: int, path: Path) -> dict[str, float | int]:
    """All figures, in seconds unless their names say otherwise."""
    one, runner = await node(path)
    runner.feed(HoldInstance(INSTANCE, True))
    began_s, longest_s = time.perf_counter(), 0.0
    for first in range(0, rows, AT_ONCE):
        keys = [b"child %d" % number for number in range(first, min(first + AT_ONCE, rows))]
        changes = [Start(key, bytes(120)) for key in keys] + [Put(key, b"epoch", bytes(8)) for key in keys]
        runner.feed(WriteShared(INSTANCE, tuple(changes)))
        await asyncio.sleep(0)
    written_s = time.perf_counter()
    saving = runner.engine.replication.shared.saving
    while not saving.saved(INSTANCE):
        turn_s = time.perf_counter()
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.perf_counter() - turn_s)
    saved_s = time.perf_counter()
    await one._abort()
    del one, runner, saving
    gc.collect()  # as in a process of its own
    read_s = time.perf_counter()
    read_all(str(path))
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    other, runner = await node(path)
    hold_s, hold_cpu_s = time.perf_counter(), time.process_time()
    runner.feed(HoldInstance(INSTANCE, True))
    end_s, end_cpu_s = time.perf_counter(), time.process_time()
    assert len(runner.engine.replication.shared.tables[INSTANCE]) == rows
    await other.close()
    return {
        "rows": rows,
        "write_s": round(written_s - began_s, 2),
        "saved_s": round(saved_s - began_s, 2),
        "turn_ms": round(longest_s * 1e3, 1),
        "file_mb": round(path.stat().st_size / 1e6, 1),
        "read_s": round(start_s - read_s, 2),
        "start_s": round(hold_s - start_s, 2),
        "start_cpu_s": round(hold_cpu_s - start_cpu_s, 2),
        "hold_s": round(end_s - hold_s, 2),
        "hold_cpu_s": round(end_cpu_s - hold_cpu_s, 2),
    }


@click.command()
@click.option("--rows", type=int, default=100_000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON line.")
def main(rows: int, as_json: bool) -> None:
    """Measure how long shared rows take to a file and back."""
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(rows, Path(folder) / "kept.db"))
    click.echo(json.dumps(figures) if as_json else " ".join(f"{name}={figure}" for name, figure in figures.items()))


if __name__ == "__main__":
    main()
