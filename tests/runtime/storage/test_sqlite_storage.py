"""SQLite storage: the law of every storage, one transaction for a burst, one process at a time, and no waiting loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from unittest import mock

import pytest

from covey.core.errors import StorageFailed
from covey.runtime.storage import SqliteStorage
from covey.runtime.storage import sqlite as module
from covey.runtime.storage.database import Database
from covey.testing.storage import StorageConformance
from covey.testing.storage_life import SITE, Life
from tests.runtime.storage.sqlite_harness import WRITING_CHILD, copy_as_killed, folder, make, store


@contextlib.contextmanager
def failing():
    """Every transaction fails at its commit."""
    transaction = Database._transaction

    @contextlib.contextmanager
    def full(self):
        with transaction(self) as connection:
            yield connection
            raise sqlite3.OperationalError("database or disk is full")

    with mock.patch.object(Database, "_transaction", full):
        yield


class TestSqliteStorage(StorageConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, quick_path):
        self.paths = (quick_path / f"{number}.db" for number in itertools.count())

    async def make(self):
        return SqliteStorage(next(self.paths))

    async def reopen(self, storage):
        return SqliteStorage(copy_as_killed(storage.path, next(self.paths)))

    def failing(self, storage):
        return failing()


@pytest.fixture
async def life(tmp_path):
    life = Life(SqliteStorage(tmp_path / "a.db"))
    await life.open()
    yield life
    await life.storage.aclose()


# --- the file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_there", [False, True], ids=["missing", "empty"])
async def test_a_missing_or_empty_file_is_made_for_this_user_alone(tmp_path, is_there):
    path = tmp_path / "a.db"
    if is_there:
        path.write_bytes(b"")
        path.chmod(0o644)
    before = os.umask(0)
    try:
        storage = SqliteStorage(str(path))
        stored = await storage.open()
        await storage.begin_life(SITE, 1)
        assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    finally:
        os.umask(before)
        await storage.aclose()
    assert stored.site is None
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_each_commit_waits_for_the_disk(tmp_path):
    """A killed process does not show it, only a power cut would: so SQLite is asked what it was told."""
    database = Database(str(tmp_path / "a.db"))
    database.open()
    names = ("journal_mode", "synchronous", "fullfsync", "locking_mode")
    connection = database._connection
    assert connection is not None
    told = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
    database.close()
    assert told == {"journal_mode": "wal", "synchronous": 2, "fullfsync": 1, "locking_mode": "exclusive"}


async def test_any_file_name_will_do_and_a_link_leads_to_the_file(tmp_path):
    real = tmp_path / "a b?mode=memory#%41 ü'.db"
    link = tmp_path / "link"
    link.symlink_to(real)
    for path, incarnation in ((link, 1), (real, 2)):
        storage = SqliteStorage(path)
        assert (await storage.open()).incarnation == incarnation - 1
        await storage.begin_life(SITE, incarnation)
        await storage.aclose()
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([real.name, "link"])
    assert link.is_symlink()


async def test_the_path_is_that_of_the_folder_in_which_the_storage_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = SqliteStorage("a.db")
    monkeypatch.chdir("/")
    await storage.open()
    await storage.aclose()
    assert (tmp_path / "a.db").exists()


async def test_what_a_killed_opening_left_beside_the_file_is_cleared_away(tmp_path):
    path = make(tmp_path / "a.db", store("log", 1, (b"key", b"value")), killed=True)
    for name in ("new", "new-wal", "new-journal", "check", "check-wal", "lock"):
        (tmp_path / f"a.db-covey-{name}").write_bytes(b"left by somebody who was killed" * 200)
    storage = SqliteStorage(path)
    assert (await storage.open()).logs == {"log": {b"key": b"value"}}
    await storage.aclose()
    assert [name for name in folder(tmp_path) if "check" in name or "lock" in name] == []


async def test_a_file_that_was_moved_away_is_not_durable_any_more(life, tmp_path):
    life.put("log", 1, (b"key", b"1"))
    await life.persisted("log", 1)
    (tmp_path / "a.db").rename(tmp_path / "b.db")
    life.put("log", 2, (b"key", b"2"))
    assert "moved, replaced or removed" in (await life.failed("log", 2)).reason
    with pytest.raises(StorageFailed, match="moved"):
        await life.storage.begin_life(SITE, 1)
    (tmp_path / "b.db").rename(tmp_path / "a.db")
    life.put("log", 2, (b"key", b"2"))
    await life.persisted("log", 2)


# --- the thread -----------------------------------------------------------------------------------------------------


async def test_all_that_is_queued_while_a_transaction_runs_goes_into_the_next_one(life):
    running, go_on, transactions = threading.Event(), threading.Event(), []
    apply = Database.apply

    def watched(self, stores):
        running.set()
        assert go_on.wait(5)
        transactions.append(len(stores))
        apply(self, stores)

    with mock.patch.object(Database, "apply", watched):
        life.put("a", 1, (b"key", b"value"))
        assert running.wait(5)
        for position in range(1, 1001):  # the loop is not held up by the transaction that runs
            life.put("b", position, (b"%d" % position, b"value"))
        begun = asyncio.ensure_future(life.storage.begin_life(SITE, 1))
        await asyncio.sleep(0)
        life.put("a", 2, (b"key", b"value"))
        go_on.set()
        await begun
        await life.persisted("a", 2)
    assert transactions == [1, 1000, 1]
    assert [(fact.log, fact.position) for fact in life.facts] == [("a", 1), ("b", 1000), ("a", 2)]


async def test_who_stops_waiting_for_open_leaves_nothing_open(tmp_path):
    storage = SqliteStorage(tmp_path / "a.db")
    opening = asyncio.ensure_future(storage.open())
    await asyncio.sleep(0)
    writer = storage._writer
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert writer is not None
    await asyncio.wait_for(writer._ended, 5)
    await storage.open()
    await storage.aclose()


async def test_closing_waits_for_a_disk_that_hangs_but_not_for_ever(life, monkeypatch, caplog):
    monkeypatch.setattr(module, "CLOSE_S_MAX", 0.01)
    go_on, apply = threading.Event(), Database.apply

    def hanging(self, stores):
        assert go_on.wait(5)
        apply(self, stores)

    with mock.patch.object(Database, "apply", hanging):
        life.put("log", 1, (b"key", b"value"))
        writer = life.storage._writer
        await life.storage.aclose()
        assert "event=storage_slow" in caplog.text
        with pytest.raises(StorageFailed, match=f"in use by process {os.getpid()} on "):
            await life.open()  # still held by the thread that hangs
        go_on.set()
        await asyncio.wait([writer._ended], timeout=5)
        writer._thread.join()
    assert life.facts == []
    await life.open()
    assert life.stored.logs == {"log": {b"key": b"value"}}


def test_a_loop_that_ends_without_closing_stops_nobody(tmp_path):
    path = tmp_path / "a.db"
    storage = SqliteStorage(path)

    async def leave():
        life = Life(storage)
        await life.open()
        life.put("log", 1, (b"key", b"value"))

    asyncio.run(leave())
    writer = storage._writer
    assert writer is not None
    writer.put(module._CLOSE)
    writer._thread.join(5)
    assert make(path).exists()


# --- one process at a time ------------------------------------------------------------------------------------------


async def test_two_storages_of_one_process_do_not_share_a_file(life, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a.db")
    life.put("log", 1, (b"key", b"1"))
    await life.persisted("log", 1)
    before = folder(tmp_path)
    for name in ("a.db", "link"):
        with pytest.raises(StorageFailed, match=f"in use by process {os.getpid()} on .*not touched; stop that one"):
            await SqliteStorage(tmp_path / name).open()
    assert folder(tmp_path) == before
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db", timeout=0)) as stranger:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            stranger.execute("DELETE FROM entries")
    life.put("log", 2, (b"key", b"2"))
    await life.persisted("log", 2)


@pytest.mark.serial
async def test_another_process_is_named_and_gone_when_it_is_killed(tmp_path):
    path = tmp_path / "a.db"
    child = subprocess.Popen([sys.executable, str(WRITING_CHILD), str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"life 1\n"
    with pytest.raises(StorageFailed, match=f"in use by process {child.pid} on "):
        await SqliteStorage(path).open()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    storage = SqliteStorage(path)
    assert (await storage.open()).incarnation == 1
    await storage.aclose()


# --- imports --------------------------------------------------------------------------------------------------------


@pytest.mark.serial
def test_sqlite_is_imported_when_its_storage_is_first_asked_for():
    code = (
        "import sys, covey.runtime.storage as storage; assert 'sqlite3' not in sys.modules; storage.MemoryStorage;"
        "storage.SqliteStorage; assert 'sqlite3' in sys.modules; storage.NoSuchStorage"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "AttributeError: module 'covey.runtime.storage' has no attribute 'NoSuchStorage'" in done.stderr
