"""SQLite storage and the worst moments: a log torn at any byte, SIGKILL, a full disk. What was reported is there."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from covey.runtime.storage import SqliteStorage
from covey.runtime.storage.checks import read_all
from covey.runtime.storage.database import Database
from covey.testing.storage_life import SITE
from tests.runtime.storage.sqlite_harness import WRITING_CHILD, copy_as_killed, execute, make, store
from tests.runtime.storage.writing_child import WINDOW, state

PAGE_BYTES = 512  # small, so that there are few bytes at which a log can be torn
FRAME_BYTES = PAGE_BYTES + 24


@pytest.fixture
def torn(quick_path):
    """A file and its log as a kill left them, and from which length of the log on which state is durable."""
    path = make(quick_path / "open.db", store("log", 1, (b"key", b"0"), (b"gone", b"0"), (b"other", bytes(600))))
    execute(path, "PRAGMA journal_mode = DELETE", f"PRAGMA page_size = {PAGE_BYTES}", "VACUUM")
    execute(path, "PRAGMA journal_mode = WAL")
    wal = quick_path / "open.db-wal"
    database = Database(str(path))
    logs = database.open().logs
    states = [(0, (1, logs))]

    def note(start, incarnation, logs):
        states.append((first_commit(wal.read_bytes(), start), (incarnation, logs)))
        return wal.stat().st_size

    database.apply([store("log", 2, (b"key", b"1"), (b"more", bytes(400)))])
    logs = {"log": {**logs["log"], b"key": b"1", b"more": bytes(400)}}
    end = note(32, 1, logs)
    database.apply([store("log", 3, (b"gone", None)), store("another", 1, (b"key", b"value"))])
    logs = {"log": {key: value for key, value in logs["log"].items() if key != b"gone"}, "another": {b"key": b"value"}}
    end = note(end, 1, logs)
    database.begin_life(SITE, 9)
    note(end, 9, logs)
    copy_as_killed(path, quick_path / "torn.db")
    database.close()
    return quick_path / "torn.db", states


def first_commit(wal, start):
    """Where the first frame from `start` on ends that commits (sqlite.org/fileformat2.html, 4.1)."""
    while not any(wal[start + 4 : start + 8]):
        start += FRAME_BYTES
    return start + FRAME_BYTES


def expected(states, length):
    return [found for size, found in states if size <= length][-1]


@pytest.mark.slow
def test_a_log_torn_at_any_byte_leaves_what_the_whole_transactions_before_it_left(torn):
    path, states = torn
    log = Path(f"{path}-wal")
    wal, main = log.read_bytes(), path.read_bytes()
    assert len(wal) > 5 * FRAME_BYTES
    for length in range(len(wal) + 1):
        log.write_bytes(wal[:length])
        stored = read_all(str(path))
        assert (stored.incarnation, stored.logs) == expected(states, length), length
    assert path.read_bytes() == main


@pytest.mark.parametrize("damage", ["torn", "zeros", "noise"])
def test_a_file_with_a_torn_log_is_opened_and_goes_on_from_there(torn, damage):
    path, states = torn
    log = Path(f"{path}-wal")
    wal, main = log.read_bytes(), path.read_bytes()
    rng = random.Random(3)
    edges = [32 + FRAME_BYTES * frame + shift for frame in range(len(wal) // FRAME_BYTES + 1) for shift in (-1, 0, 1)]
    for length in [0, 1, *edges]:
        length = min(length, len(wal))
        rest = {"torn": b"", "zeros": bytes(len(wal) - length), "noise": rng.randbytes(len(wal) - length)}[damage]
        path.write_bytes(main)
        log.write_bytes(wal[:length] + rest)
        same = itertools.takewhile(lambda both: both[0] == both[1], zip(wal, wal[:length] + rest, strict=False))
        intact = sum(1 for _ in same)  # a byte that was zero is not hurt by zeros
        database = Database(str(path))
        stored = database.open()
        assert (stored.incarnation, stored.logs) == expected(states, intact), length
        database.apply([store("after", 1, (b"key", b"%d" % length))])
        database.close()
        assert read_all(str(path)).logs == {**stored.logs, "after": {b"key": b"%d" % length}}


# --- SIGKILL --------------------------------------------------------------------------------------------------------


@pytest.mark.serial
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
async def test_nothing_that_was_reported_is_missing_after_a_kill_at_any_moment(tmp_path, seed):
    """Six lives of one file, each killed while it writes as fast as it can."""
    rng = random.Random(seed)
    path = tmp_path / "a.db"
    logs: dict[str, dict[bytes, bytes]] = {}
    for number in range(1, 7):
        child = subprocess.Popen([sys.executable, str(WRITING_CHILD), str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == f"life {number}\n".encode()
        printed = [child.stdout.readline() for _ in range(rng.choice([0, 1, 5, 30, 100]))]
        child.kill()
        printed += child.stdout.readlines()
        child.stdout.close()
        child.wait()
        reported = max(map(int, printed), default=0)
        storage = SqliteStorage(path)
        stored = await storage.open()
        await storage.aclose()
        found = stored.logs.get(f"life {number}", {})
        last = max(map(int, found.values()), default=0)  # each store leaves its own position, until the next
        assert (stored.site, stored.incarnation) == (SITE, number)
        assert found == state(last)
        assert reported <= last <= reported + WINDOW
        logs |= {f"life {number}": found} if found else {}
        assert stored.logs == logs


# --- a full disk ----------------------------------------------------------------------------------------------------

FULL_CHILD = """
import asyncio, json, resource, signal, sys
from covey.core.ids import Site
from covey.core.vocabulary import Emit, Persist, Record
from covey.engine.gate import Gate, GateConfig, Persisted, StorageRecovered, StorageTrouble, Store
from covey.runtime.storage import SqliteStorage

async def main(path):
    storage = SqliteStorage(path)
    await storage.open()
    await storage.begin_life(Site(b"site-of-16-bytes"), 1)
    gate = Gate(GateConfig())
    said, heard = [], asyncio.Event()

    def carry_out(effects):
        for effect in effects:
            storage.store(effect) if type(effect) is Store else said.append(effect)
        heard.set()

    def hear(fact):
        carry_out(gate.persisted(fact) if type(fact) is Persisted else gate.failed(fact, 0))

    async def wait_said(kind):
        while not (found := [e.event for e in said if type(e) is Emit and type(e.event) is kind]):
            heard.clear()
            await asyncio.wait_for(heard.wait(), 5)
        return found[0]

    storage.sink = hear
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, free[1]))
    number, trouble = 0, []
    while not trouble:
        number += 1
        carry_out(gate.admit("log", [Persist("log", (Record(b"%d" % number, bytes(5000)),)), number]))
        while number not in said and not trouble:
            heard.clear()
            await asyncio.wait_for(heard.wait(), 5)
            trouble = [e.event.reason for e in said if type(e) is Emit]
        trouble = [e.event.reason for e in said if type(e) is Emit]
        assert number < 10_000
    before = [each for each in said if type(each) is int]
    gate.check()
    for more in range(number + 1, number + 6):  # these wait behind what failed
        carry_out(gate.admit("log", [Persist("log", (Record(b"%d" % more, bytes(5000)),)), more]))
    carry_out(gate.tick(gate.deadline()))  # there is no room yet
    while len([f for f in said if type(f) is int]) == len(before) and gate.deadline() is None:
        heard.clear()
        await asyncio.wait_for(heard.wait(), 5)
    still = [each for each in said if type(each) is int]
    resource.setrlimit(resource.RLIMIT_FSIZE, free)
    carry_out(gate.tick(gate.deadline()))
    await wait_said(StorageRecovered)
    while gate.statistics().held:
        heard.clear()
        await asyncio.wait_for(heard.wait(), 5)
    await storage.aclose()
    said = [each for each in said if type(each) is int]
    print(json.dumps({"trouble": trouble, "before": before, "still": still, "said": said, "last": number + 5}))

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.serial
async def test_a_full_disk_holds_back_what_depends_on_it_until_there_is_room(tmp_path):
    path = tmp_path / "a.db"
    done = subprocess.run([sys.executable, "-c", FULL_CHILD, str(path)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["trouble"]) == 1
    assert str(path) in told["trouble"][0]
    assert "disk" in told["trouble"][0]
    assert 0 < len(told["before"]) < told["last"] - 5
    assert told["still"] == told["before"]
    assert told["said"] == list(range(1, told["last"] + 1))
    storage = SqliteStorage(path)
    stored = await storage.open()
    await storage.aclose()
    assert stored.logs == {"log": {b"%d" % number: bytes(5000) for number in range(1, told["last"] + 1)}}


@pytest.mark.serial
def test_a_disk_that_is_full_from_the_beginning_lets_no_half_a_file_be(tmp_path):
    done = subprocess.run(
        [sys.executable, str(WRITING_CHILD), str(tmp_path / "a.db")],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000)),
    )
    assert "StorageFailed" in done.stderr
    assert "it cannot be made" in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_a_failed_transaction_is_rolled_back_whole(tmp_path):
    """SQLite itself says no, in the middle of a transaction, because of one entry."""
    path = make(tmp_path / "a.db")
    execute(
        path,
        "CREATE TRIGGER full BEFORE INSERT ON entries WHEN NEW.key = x'21' BEGIN SELECT RAISE(ABORT, 'no room'); END",
    )
    storage = SqliteStorage(path)
    await storage.open()
    facts: asyncio.Queue = asyncio.Queue()
    storage.sink = facts.put_nowait
    storage.store(store("log", 1, (b"a", b"1"), (b"!", b"1"), (b"z", b"1")))
    failed = await asyncio.wait_for(facts.get(), 5)
    assert (failed.log, failed.position, failed.reason) == ("log", 1, f"{path}: no room")
    storage.store(store("log", 1, (b"b", b"1")))
    assert (await asyncio.wait_for(facts.get(), 5)).position == 1
    await storage.aclose()
    assert read_all(str(path)).logs == {"log": {b"b": b"1"}}
