"""One scheduler for a whole cluster: never two, and a file that takes nothing from one that was replaced.

$ .venv/bin/python -m examples.cron         # three nodes in this folder; `kill -9` the process that runs the job
$ .venv/bin/python -m examples.cron a       # one of them, of a, b and c; each in its terminal

The first time nothing runs before all three are there: the voters agree who they are. From then on two are enough.
"""

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys

import covey

TABLE = """
CREATE TABLE IF NOT EXISTS runs (number INTEGER PRIMARY KEY, token INTEGER NOT NULL, pid INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS runs_token ON runs (token);
CREATE TRIGGER IF NOT EXISTS refuse_stale BEFORE INSERT ON runs WHEN NEW.token < (SELECT max(token) FROM runs)
BEGIN SELECT RAISE(ABORT, 'stale fencing token'); END;
"""


def record(path, token):
    """Write that the job ran. Raises `sqlite3.IntegrityError` once a later scheduler has written."""
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO runs (token, pid) VALUES (?, ?)", (token, os.getpid()))


VOTERS = ["a", "b", "c"]


async def run_cron(ctx, path):
    while not ctx.stopping.is_set():
        await asyncio.to_thread(record, path, ctx.fencing_token)
        print(f"process {os.getpid()} ran the job, token {ctx.fencing_token}", flush=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ctx.stopping.wait(), timeout=1.0)


async def main(name):
    with contextlib.closing(sqlite3.connect("runs.db")) as file:
        file.executescript(TABLE)
    async with covey.Node("cron", seeds=["local:cron"], name=name, storage=f"{name}.db") as node:
        async with node.singleton("cron", run_cron, "runs.db", on_split=covey.Majority(VOTERS)):
            await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        if len(sys.argv) > 1:
            asyncio.run(main(sys.argv[1]))
        else:
            nodes = [subprocess.Popen([sys.executable, "-m", "examples.cron", name]) for name in VOTERS]
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the nodes, and we wait for them
            for node in nodes:
                node.wait()
