"""README's second program: a file that refuses stale tokens, and a scheduler that outlives the process it runs in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples import cron
from tests.runtime.transport.tcp_harness import wait_until

ROOT = Path(__file__).parents[2]


# --- the file ---------------------------------------------------------------------------------------------------------


def new_file(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.executescript(cron.TABLE)
    return str(path)


def runs(path: Path | str) -> list[tuple[int, int]]:
    """Who ran, in order: token and process."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT token, pid FROM runs ORDER BY number").fetchall()


def test_a_token_is_taken_while_no_later_one_has_written(tmp_path):
    path = new_file(tmp_path / "runs.db")
    for token in (7, 7, 9):
        cron.record(path, token)
    with pytest.raises(sqlite3.IntegrityError, match="stale fencing token"):
        cron.record(path, 8)
    cron.record(path, 1 << 62)
    assert [token for token, _ in runs(path)] == [7, 7, 9, 1 << 62]


@given(tokens=st.lists(st.integers(1, 5) | st.integers(1, (1 << 63) - 1), max_size=20))
def test_tokens_in_the_file_never_go_down_and_nothing_else_is_refused(tokens, tmp_path_factory):
    path = new_file(tmp_path_factory.mktemp("cron") / "runs.db")
    expected: list[int] = []
    for token in tokens:
        with contextlib.suppress(sqlite3.IntegrityError):
            cron.record(path, token)
        if token >= max(expected, default=0):
            expected.append(token)
    assert [token for token, _ in runs(path)] == expected


def test_the_check_and_the_write_are_one(tmp_path):
    """A scheduler that looked before another wrote is refused when it writes after it."""
    path = new_file(tmp_path / "runs.db")
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as later,
        contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as earlier,
    ):
        later.execute("BEGIN IMMEDIATE")
        later.execute("INSERT INTO runs (token, pid) VALUES (9, 1)")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            earlier.execute("INSERT INTO runs (token, pid) VALUES (8, 2)")
        later.execute("COMMIT")
        with pytest.raises(sqlite3.IntegrityError, match="stale"):
            earlier.execute("INSERT INTO runs (token, pid) VALUES (8, 2)")
    assert runs(path) == [(9, 1)]


def test_a_file_that_is_there_is_kept(tmp_path):
    path = new_file(tmp_path / "runs.db")
    cron.record(path, 7)
    assert runs(new_file(tmp_path / "runs.db")) == [(7, os.getpid())]


# --- the cluster ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def started(folder: Path) -> AsyncIterator[dict[str, Process]]:
    """A process for each of the three nodes, by name. What still runs of them at the end is killed."""
    environment: dict[str, Any] = os.environ | {
        "COVEY_RUNTIME_DIR": str(folder / "run"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
    }
    processes: dict[str, Process] = {}
    try:
        for name in cron.VOTERS:
            processes[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "examples.cron", name, cwd=folder, env=environment, stdout=PIPE, stderr=PIPE
            )
        yield processes
    finally:
        for process in processes.values():
            if process.returncode is None:
                process.kill()
            out, err = await process.communicate()
            print(out.decode(), err.decode())  # shown where a test fails


@pytest.mark.serial
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
async def test_another_node_goes_on_with_a_higher_token_and_nobody_is_refused(tmp_path, sent):
    """Who is only stopped cannot look at its lease: its watchdog has ended it before another begins."""
    path = tmp_path / "runs.db"
    async with started(tmp_path) as processes:
        await wait_until(lambda: len(done(path)) >= 3, 60)
        (pid,) = {pid for _, pid in done(path)}
        (gone,) = [process for process in processes.values() if process.pid == pid]
        gone.send_signal(sent)
        await wait_until(lambda: done(path)[-3][1] != pid, 60)
        assert gone.returncode == -signal.SIGKILL
        for process in processes.values():
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            ended = [await process.communicate() for process in processes.values()]
        statuses = {process.returncode for process in processes.values() if process is not gone}
        assert statuses == {0}

    ran = done(path)
    assert [token for token, _ in ran] == sorted(token for token, _ in ran)
    assert len(set(ran)) == len({token for token, _ in ran}), "no token was another process's as well"
    assert b"stale" not in b"".join(err for _, err in ended)


def done(path: Path) -> list[tuple[int, int]]:
    """What has run; nothing while the file has no table yet."""
    with contextlib.suppress(sqlite3.OperationalError):
        return runs(path)
    return []
