"""Local seeds: who is found, and what is not believed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys

import pytest

from covey.runtime.discovery import local
from covey.runtime.discovery.local import LocalSeed

US, THEM = "127.0.0.1:8946", "127.0.0.1:8947"


@pytest.fixture(autouse=True)
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("COVEY_RUNTIME_DIR", str(tmp_path / "covey"))
    return tmp_path / "covey"


def seed_of(name="orders"):
    return LocalSeed(f"local:{name}", name)


@pytest.fixture
def folder(base):
    """The folder of "orders", as somebody who announced himself and left leaves it."""
    seed = seed_of()
    seed.announce(US)
    seed.withdraw()
    assert seed.trouble == ""
    assert list((base / "orders").iterdir()) == []
    return base / "orders"


def write(folder, name="7-00000000.json", **changes):
    file = folder / name
    file.write_text(json.dumps({"address": THEM, "pid": os.getpid(), "started": 0.0} | changes))
    return file


@pytest.fixture
def gone():
    """The pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def run_python(code, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


# --- who is there ---------------------------------------------------------------------------------------------------


async def test_those_who_announce_themselves_find_the_others_and_not_themselves():
    one, other, late = seed_of(), seed_of(), seed_of()
    one.announce(US)
    other.announce(THEM)
    assert await one.resolve() == [THEM]
    assert await other.resolve() == [US]
    assert await late.resolve() == [US, THEM]
    assert one.trouble == other.trouble == late.trouble == ""


async def test_names_do_not_mix():
    orders, billing = seed_of("orders"), seed_of("billing")
    orders.announce(US)
    billing.announce(THEM)
    assert await orders.resolve() == []
    assert await billing.resolve() == []


async def test_a_later_address_replaces_the_earlier_one_and_nothing_unfinished_is_left(folder):
    seed = seed_of()
    seed.announce(US)
    seed.announce("[::1]:8946")
    (file,) = folder.iterdir()
    content = json.loads(file.read_text())
    assert content["address"] == "[::1]:8946"
    assert content["pid"] == os.getpid()
    assert content["started"] > 0
    assert await seed_of().resolve() == ["[::1]:8946"]


async def test_who_withdraws_is_found_no_more_and_may_come_back():
    one, other = seed_of(), seed_of()
    one.withdraw()  # not announced: nothing to take back
    one.announce(US)
    one.withdraw()
    one.withdraw()
    assert await one.resolve() == []  # and this does not announce it again
    assert await other.resolve() == []
    one.announce(US)
    assert await other.resolve() == [US]


async def test_a_file_that_was_cleared_away_is_written_again_by_its_owner(folder):
    one, other = seed_of(), seed_of()
    one.announce(US)
    (file,) = folder.iterdir()
    file.unlink()
    assert await other.resolve() == []
    assert await one.resolve() == []
    assert await other.resolve() == [US]


async def test_who_cannot_announce_himself_again_still_finds_the_others(folder, monkeypatch):
    def disk_full(source, target):
        raise OSError(28, "No space left on device")

    seed = seed_of()
    seed.announce(US)
    next(folder.iterdir()).unlink()
    other = write(folder)
    monkeypatch.setattr(os, "replace", disk_full)
    assert await seed.resolve() == [THEM]
    assert "No space left on device" in seed.trouble
    assert list(folder.iterdir()) == [other]
    monkeypatch.undo()
    assert await seed.resolve() == [THEM]
    assert seed.trouble == ""
    assert len(list(folder.iterdir())) == 2


async def test_a_real_process_is_found_until_it_is_killed(base):
    code = f"""if True:
        from covey.runtime.discovery import parse_seed
        parse_seed("local:orders", (1, 2)).announce("{THEM}")
        print("announced", flush=True)
        input()"""
    seed = seed_of()
    with run_python(code) as process:
        assert process.stdout.readline() == "announced\n"
        assert await seed.resolve() == [THEM]
        process.kill()
    assert await seed.resolve() == []
    assert list((base / "orders").iterdir()) == []


def test_a_forked_child_does_not_take_back_what_its_parent_announced(base):
    code = f"""if True:
        import asyncio, os
        from covey.runtime.discovery import parse_seed
        seed = parse_seed("local:orders", (1, 2))
        seed.announce("{US}")
        child = os.fork()
        if child == 0:
            assert asyncio.run(seed.resolve()) == ["{US}"]
            seed.withdraw()
            seed.announce("{THEM}")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(asyncio.run(parse_seed("local:orders", (1, 2)).resolve()))
        seed.withdraw()"""
    with run_python(code) as process:
        assert process.stdout.read() == f"['{US}']\n"
    assert process.returncode == 0
    assert list((base / "orders").iterdir()) == []


# --- what is not believed -------------------------------------------------------------------------------------------


async def test_a_stale_file_is_ignored_and_removed(folder, gone):
    stale = write(folder, pid=gone)
    assert await seed_of().resolve() == []
    assert not stale.exists()


async def test_a_process_of_another_user_is_not_taken_for_gone(folder, monkeypatch):
    def forbid(pid, signal):
        raise PermissionError

    file = write(folder)
    monkeypatch.setattr(os, "kill", forbid)
    assert await seed_of().resolve() == [THEM]
    assert file.exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        "null",
        "7",
        "{}",
        "[" * 4000,
        '{"address": "127.0.0.1:8947"}',
        '{"address": 5, "pid": 1}',
        '{"address": "127.0.0.1", "pid": 1}',
        '{"address": "127.0.0.1:8947\\n", "pid": 1}',
        '{"address": "127.0.0.1:8947", "pid": 0}',
        '{"address": "127.0.0.1:8947", "pid": -1}',
        '{"address": "127.0.0.1:8947", "pid": true}',
        '{"address": "127.0.0.1:8947", "pid": "1"}',
        '{"address": "127.0.0.1:8947", "pid": 1e3}',
        '{"address": "127.0.0.1:8947", "pid": 99999999999999999999}',
        '{"address": "127.0.0.1:8947", "pid": 1, "more": "' + "x" * 5000 + '"}',
        "\udcff",
    ],
)
async def test_a_junk_file_is_ignored_and_left_alone(folder, content):
    file = folder / "7-00000000.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    seed = seed_of()
    assert await seed.resolve() == []
    assert seed.trouble == ""
    assert file.exists()


async def test_what_is_not_a_file_of_ours_is_not_even_opened(folder, tmp_path):
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")  # opening it would wait for a writer
    os.symlink(write(tmp_path), folder / "link.json")
    os.symlink(folder / "nowhere", folder / "broken.json")
    write(folder, "7-00000000.tmp")
    assert await seed_of().resolve() == []
    assert len(list(folder.iterdir())) == 5


async def test_a_file_that_vanishes_while_it_is_read_is_no_trouble(folder, monkeypatch):
    write(folder)
    seed = seed_of()
    names = seed._names
    monkeypatch.setattr(seed, "_names", lambda: [*names(), "8-00000000.json"])
    assert await seed.resolve() == [THEM]
    assert seed.trouble == ""


async def test_only_so_many_files_are_read_and_the_own_one_does_not_count(folder, monkeypatch):
    monkeypatch.setattr(local, "FILES_MAX", 3)
    seed = seed_of()
    seed.announce(US)
    for number in range(5):
        write(folder, f"{number}.json", address=f"127.0.0.1:{number + 1}")
    assert len(await seed.resolve()) == 3


async def test_many_files_do_not_hold_up_the_event_loop(folder, monkeypatch):
    monkeypatch.setattr(local, "BATCH", 2)
    for number in range(4):
        write(folder, f"{number}.json")
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "another's turn")
    assert await seed_of().resolve() == [THEM]
    assert turns == ["another's turn"]
