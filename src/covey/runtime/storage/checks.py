"""Whether a file is ours and whole, found out without changing a byte of it.

Everything is checked before SQLite may write. A file that was closed well is read where it lies, as immutable. One
that has a write-ahead log is copied first, together with it: SQLite would else write the log's pages into the file as
soon as it is closed, also into a damaged one or one from tomorrow.

SQLite keeps no checksum over its main file, so `quick_check` finds broken structure, not a flipped bit in a value.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from covey.core.ids import INCARNATION_MAX, SITE_BYTES, Site
from covey.runtime.storage.base import Stored

APPLICATION_ID = 0x636F7679  # "covy"
VERSION = 1
MAGIC = b"SQLite format 3\0"  # sqlite.org/fileformat2.html, 1.2: 16 bytes; version at offset 60, application at 68
HEADER_BYTES = 100

ANOTHER = "give this node another path"
RESTORE = "restore a backup, or move the file away: the node then starts as a new one"


class Unfit(Exception):
    """Why the file cannot be used, and what to do."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


def check_place(path: str) -> bool:
    """Whether there is something already. Raises if there is what can be no file of ours, or no place for one."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise Unfit(f"there is no folder {folder}", "create it")
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise Unfit(f"it is {what}", "give the path of a file")
    return status.st_size > 0


def check_header(path: str) -> None:
    """Raises unless it may be written and says that it is ours. The first page is never changed after `_create`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        header = os.read(descriptor, HEADER_BYTES)
    finally:
        os.close(descriptor)
    if header[: len(MAGIC)] != MAGIC:
        raise Unfit("it is not an SQLite file", ANOTHER)
    version, application = (int.from_bytes(header[at : at + 4], "big") for at in (60, 68))
    if application != APPLICATION_ID:
        raise Unfit(f"it belongs to another application (application_id {application:#x})", ANOTHER)
    if version != VERSION:
        remedy = "update covey" if version > VERSION else RESTORE
        raise Unfit(f"it has version {version}, and this covey knows version {VERSION}", remedy)
    if os.path.exists(f"{path}-journal"):
        raise Unfit("beside it lies a -journal, which covey does not write", f"{RESTORE}, without the -journal")


def read_all(path: str) -> Stored:
    """Check the whole file and read it, with what its write-ahead log holds."""
    try:
        with _readable(path) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise Unfit(f"it is damaged ({' '.join(verdict.split())})", RESTORE)
            lives = connection.execute("SELECT site, incarnation FROM life").fetchall()
            site, incarnation = lives[0] if lives else (None, 0)
            logs: dict[str, dict[bytes, bytes]] = {}
            for log, key, value in connection.execute("SELECT log, key, value FROM entries"):
                if (type(log), type(key), type(value)) != (str, bytes, bytes):
                    raise Unfit(f"it is damaged (an entry of log {log!r} holds no bytes)", RESTORE)
                logs.setdefault(log, {})[key] = value
    except sqlite3.Error as error:
        raise Unfit(f"it is damaged ({error})", RESTORE) from error
    if lives and not (
        isinstance(site, bytes)
        and len(site) == SITE_BYTES
        and isinstance(incarnation, int)
        and 0 < incarnation <= INCARNATION_MAX
    ):
        raise Unfit("it is damaged (it names no life)", RESTORE)
    return Stored(None if site is None else Site(site), incarnation, logs)


@contextlib.contextmanager
def _readable(path: str) -> Iterator[sqlite3.Connection]:
    """A connection on the file, or on a copy if there is a write-ahead log: neither file is changed."""
    wal = f"{path}-wal"
    if not os.path.exists(wal) or os.path.getsize(wal) == 0:
        with contextlib.closing(sqlite3.connect(uri(path, "mode=ro&immutable=1"), uri=True)) as connection:
            yield connection
        return
    with new_file(f"{path}-covey-check") as copy:
        for source, target in ((path, copy), (wal, f"{copy}-wal")):
            touch(target)
            shutil.copyfile(source, target)
        with contextlib.closing(sqlite3.connect(uri(copy, "mode=rw"), uri=True)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA synchronous = OFF")
            yield connection


def uri(path: str, options: str) -> str:
    """A file name for SQLite, whatever is in it, with SQLite's own options."""
    return f"{Path(path).as_uri()}?{options}"


@contextlib.contextmanager
def new_file(path: str) -> Iterator[str]:
    """A name for a file that is for us alone and for now, and for its write-ahead log."""
    names = (path, f"{path}-wal", f"{path}-journal")
    _remove(names)  # of a life that ended at just this point
    try:
        yield path
    finally:
        _remove(names)


def _remove(paths: Sequence[str]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def touch(path: str) -> None:
    """Make a file that is new, empty and for this user alone."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
