"""A file that cannot be used is refused in one clear line, and not a byte of it or beside it changes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest

from covey.core.errors import StorageFailed
from covey.runtime.storage import SqliteStorage
from covey.runtime.storage.checks import APPLICATION_ID, VERSION
from covey.runtime.storage.database import Database
from tests.runtime.storage.sqlite_harness import copy_as_killed, execute, folder, make, store

STORES = [store("log", number, (b"%d" % number, bytes(3000))) for number in range(1, 8)]


def text(path):
    path.write_text("SQLite format 4, or so it says")


def short(path):
    path.write_bytes(b"SQLite format 3\0")


def foreign(path):
    execute(path, "CREATE TABLE entries (log, key, value)")


def foreign_and_killed(path):
    connection = sqlite3.connect(f"{path}.open", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE theirs (x)")
    copy_as_killed(f"{path}.open", path)
    connection.close()
    os.unlink(f"{path}.open")


def of_another_application(path):
    execute(path, "PRAGMA application_id = 252006674", "CREATE TABLE theirs (x)")


def newer(path):
    make(path, *STORES)
    execute(path, f"PRAGMA user_version = {VERSION + 1}")


def newer_and_killed(path):
    make(path, *STORES, killed=True)
    with path.open("r+b") as file:
        file.seek(60)
        file.write((VERSION + 1).to_bytes(4, "big"))


def older(path):
    make(path, *STORES)
    execute(path, "PRAGMA user_version = 0")


def garbage_inside(path):
    make(path, *STORES)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"garbage!" * 1024)


def garbage_inside_and_killed(path):
    make(path, *STORES, killed=True)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"garbage!" * (os.path.getsize(path) // 8 - 512))


def garbage_in_a_free_page(path):
    """Nothing that is read today is hurt."""
    make(path, *STORES)
    execute(path, "DELETE FROM entries")
    with path.open("r+b") as file:
        file.seek(32)  # sqlite.org/fileformat2.html, 1.2: the first page of the free list
        page = int.from_bytes(file.read(4), "big")
        file.seek((page - 1) * 4096)
        file.write(b"garbage!" * 512)


def truncated(path):
    make(path, *STORES)
    os.truncate(path, 8192)


def of_other_tables(path):
    execute(path, "CREATE TABLE theirs (x)", f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 1")


def of_text_entries(path):
    make(path, *STORES)
    execute(path, "INSERT INTO entries VALUES ('log', 'key', 'value')")


def of_half_a_site(path):
    make(path, *STORES)
    execute(path, "UPDATE life SET site = x'0102'")


def of_no_number(path):
    make(path, *STORES)
    execute(path, "UPDATE life SET incarnation = 'seven'")


def with_a_journal(path):
    make(path, *STORES)
    Path(f"{path}-journal").write_bytes(b"of a file that was here before")


def missing_but_for_its_log(path):
    make(path, *STORES, killed=True)
    path.unlink()


def empty_but_for_its_log(path):
    make(path, *STORES, killed=True)
    path.write_bytes(b"")


def a_folder(path):
    path.mkdir()


def a_pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize(
    "spoil, cause",
    [
        (text, "it is not an SQLite file"),
        (short, "belongs to another application"),
        (foreign, "belongs to another application"),
        (foreign_and_killed, "belongs to another application"),
        (of_another_application, "belongs to another application"),
        (newer, "has version 2, and this covey knows version 1; .*; update covey"),
        (newer_and_killed, "has version 2"),
        (older, "has version 0"),
        (garbage_inside, "it is damaged"),
        (garbage_inside_and_killed, "it is damaged"),
        (garbage_in_a_free_page, "it is damaged .*free"),
        (truncated, "it is damaged"),
        (of_other_tables, "it is damaged"),
        (of_text_entries, "it is damaged"),
        (of_half_a_site, "it is damaged"),
        (of_no_number, "it is damaged"),
        (with_a_journal, "beside it lies a -journal"),
        (missing_but_for_its_log, "missing or empty, but .*a.db-wal is there; .*put the file back"),
        (empty_but_for_its_log, "missing or empty, but .*a.db-wal is there"),
        (a_folder, "it is a folder"),
        (a_pipe, "not a regular file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_cannot_be_used_is_refused_and_not_touched(tmp_path, spoil, cause):
    path = tmp_path / "a.db"
    spoil(path)
    before = folder(tmp_path)
    for _ in range(2):
        storage = SqliteStorage(path)
        with pytest.raises(StorageFailed, match=cause) as refused:
            await storage.open()
        message = str(refused.value)
        assert message.startswith(f"storage {path}: ")
        assert "; the file was not touched; " in message
        assert "\n" not in message
        await storage.aclose()
    assert folder(tmp_path) == before


@pytest.mark.parametrize(
    "name, cause",
    [
        ("no/such/folder/a.db", "there is no folder .*no/such/folder; .*; create it"),
        ("file/a.db", "there is no folder"),
        ("x" * 300, "name too long"),
        ("a\0.db", "null"),
        (".", "it is a folder"),
    ],
)
async def test_a_place_where_no_file_can_be_is_refused(tmp_path, name, cause):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match=f"(?i){cause}"):
        await SqliteStorage(f"{tmp_path}/{name}").open()
    assert list(folder(tmp_path)) == ["file"]


@pytest.fixture
def foreign_folder():
    """A folder of root's, while we are nobody; or, for who is not root, one that is closed for writing."""
    place = Path(tempfile.mkdtemp())
    make(place / "a.db", *STORES)
    (place / "a.db").chmod(0o444)
    place.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield place
    finally:
        os.seteuid(user)
        place.chmod(0o755)
        shutil.rmtree(place)


@pytest.mark.parametrize("name", ["a.db", "new.db"])
async def test_what_may_not_be_written_is_refused(foreign_folder, name):
    before = folder(foreign_folder)
    with pytest.raises(StorageFailed, match=f"Permission denied; .*; make .* writable for user {os.geteuid()}"):
        await SqliteStorage(foreign_folder / name).open()
    assert folder(foreign_folder) == before


async def test_a_file_that_may_only_be_read_is_refused_in_a_folder_that_may_be_written(tmp_path, monkeypatch):
    path = make(tmp_path / "a.db", *STORES)
    before = folder(tmp_path)
    really_open = os.open

    def read_only(name, flags, *rest, **options):
        if name == str(path) and flags & (os.O_RDWR | os.O_WRONLY):
            raise PermissionError(13, "Permission denied")
        return really_open(name, flags, *rest, **options)

    monkeypatch.setattr(os, "open", read_only)  # root may write everywhere
    with pytest.raises(StorageFailed, match="Permission denied"):
        await SqliteStorage(path).open()
    monkeypatch.undo()
    assert folder(tmp_path) == before


@pytest.mark.parametrize("statement", ["BEGIN EXCLUSIVE", "SELECT * FROM life"])
async def test_a_file_that_another_program_has_open_is_refused(tmp_path, statement):
    path = make(tmp_path / "a.db", *STORES)
    theirs = sqlite3.connect(path, isolation_level=None)
    theirs.execute(statement).fetchall()
    before = path.read_bytes()
    with pytest.raises(StorageFailed, match=r"SQLite cannot write to it .*locked.*; end whatever else has it open"):
        await SqliteStorage(path).open()
    assert path.read_bytes() == before
    theirs.close()
    database = Database(str(path))
    assert len(database.open().logs["log"]) == len(STORES)
    database.close()
