"""What the tests of the SQLite storage share: files as a kill leaves them, and a look at a whole folder."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from covey.core.vocabulary import Record
from covey.engine.gate import Store
from covey.runtime.storage.database import Database
from covey.testing.storage_life import SITE

WRITING_CHILD = Path(__file__).with_name("writing_child.py")


def store(log, position, *changes):
    return Store(log, position, tuple(Record(*change) for change in changes))


def copy_as_killed(source, target):
    """What the process that has `source` open would leave behind if it were killed now."""
    shutil.copyfile(source, target)
    wal = Path(f"{source}-wal")
    if wal.exists():
        shutil.copyfile(wal, f"{target}-wal")
    return target


def make(path, *stores, killed=False):
    """A file of ours, closed well or as a kill leaves it: with its last transactions in the write-ahead log."""
    if killed:
        make(path, *stores)
        path.rename(f"{path}.open")
    database = Database(f"{path}.open" if killed else str(path))
    database.open()
    for number, one in enumerate(stores, 1):
        database.apply([one])
        database.begin_life(SITE, number + 100 * killed)
    if killed:
        copy_as_killed(f"{path}.open", path)
    database.close()
    if killed:
        Path(f"{path}.open").unlink()
    return path


def execute(path, *statements):
    """Change a file behind covey's back."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def folder(path):
    """Everything in a folder that one could find changed."""
    return {
        file.name: (file.read_bytes() if file.is_file() else None, file.stat().st_mtime_ns, file.stat().st_mode)
        for file in sorted(path.iterdir())
    }
