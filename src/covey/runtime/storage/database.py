"""The database of `SqliteStorage`: one file, opened for one thread, which may block."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence

from covey.core.errors import StorageFailed
from covey.core.ids import Site
from covey.engine.gate import Store
from covey.runtime.storage.base import Stored, check_life
from covey.runtime.storage.checks import (
    ANOTHER,
    APPLICATION_ID,
    VERSION,
    Unfit,
    check_header,
    check_place,
    new_file,
    read_all,
    touch,
    uri,
)
from covey.runtime.storage.lock import FileLock, LockHeld

SCHEMA = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
    "CREATE TABLE life (one INTEGER PRIMARY KEY CHECK (one = 1), site BLOB NOT NULL, incarnation INTEGER NOT NULL)",
    "CREATE TABLE entries (log TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (log, key))"
    " WITHOUT ROWID",
)
PUT = "INSERT INTO entries VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
REMOVE = "DELETE FROM entries WHERE log = ? AND key = ?"


class Database:
    """One file, locked for as long as it is open.

    Law: unless `open` returns, no byte of a file that was there has changed. What `begin_life` and `apply` wrote is
    durable when they return; when they raise, nothing of it is in the way of what is written next.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock: FileLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._place: os.stat_result | None = None
        self._site: Site | None = None
        self._incarnation = 0

    # --- opening ----------------------------------------------------------------------------------------------------

    def open(self) -> Stored:
        """Check, lock and read the file; make it if it is missing or empty. Raises `StorageFailed`."""
        try:
            self.path = os.path.realpath(self.path)  # links lead to one file, one lock and one write-ahead log
            check_place(self.path)
            self._lock = FileLock(f"{self.path}-covey-lock")
            self._lock.acquire()
            if check_place(self.path):
                check_header(self.path)
            else:
                _create(self.path)
            stored = read_all(self.path)
            self._connection = _connect(self.path)
            self._place = os.stat(self.path)
        except Unfit as unfit:
            raise self._refusal(str(unfit), unfit.remedy) from unfit
        except LockHeld as held:
            raise self._refusal(f"in use by {held}", f"stop that one, or {ANOTHER}") from held
        except OSError as error:
            raise self._refusal(error.strerror or str(error), _remedy(error)) from error
        except ValueError as error:  # a NUL in the path
            raise self._refusal(str(error), ANOTHER) from error
        finally:
            if self._connection is None:
                self.close()
        self._site, self._incarnation = stored.site, stored.incarnation
        return stored

    def _refusal(self, cause: str, remedy: str) -> StorageFailed:
        return StorageFailed(f"storage {self.path}: {cause}; the file was not touched; {remedy}")

    def close(self) -> None:
        """Let go. The write-ahead log goes into the file and away; if that fails it is there for the next `open`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
        if self._lock is not None:
            self._lock.release()

    # --- writing ----------------------------------------------------------------------------------------------------

    def begin_life(self, site: Site, incarnation: int) -> None:
        """Write down who lives here. Raises `StorageFailed`, or `InvariantError` for a life that was."""
        check_life(self._site, self._incarnation, site, incarnation)
        try:
            with self._transaction() as connection:
                connection.execute("REPLACE INTO life VALUES (1, ?, ?)", (site, incarnation))
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(
                f"storage {self.path}: {error}; the life was not begun and nothing changed; make room or mend the disk"
            ) from error
        self._site, self._incarnation = site, incarnation

    def apply(self, stores: Sequence[Store]) -> None:
        """Apply all of them in one transaction. Raises whatever is wrong, with nothing applied."""
        changes: dict[tuple[str, bytes], bytes | None] = {}
        for store in stores:
            for record in store.records:
                changes[store.log, record.key] = record.value
        with self._transaction() as connection:
            connection.executemany(REMOVE, [place for place, value in changes.items() if value is None])
            connection.executemany(PUT, [(*place, value) for place, value in changes.items() if value is not None])

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        assert connection is not None
        assert self._place is not None
        if not _is_there(self.path, self._place):  # what goes into a file without a name is not found again
            raise OSError(f"{self.path} was moved, replaced or removed while in use")
        if connection.in_transaction:  # the last one failed, and so did its rollback
            connection.rollback()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
            raise


def _is_there(path: str, place: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), place)
    except FileNotFoundError:
        return False


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"make the file and its folder writable for user {os.geteuid()}, or {ANOTHER}"
    return f"mend that, or {ANOTHER}"


def _connect(path: str) -> sqlite3.Connection:
    """Open for writing, for us alone."""
    connection = sqlite3.connect(uri(path, "mode=rw"), uri=True, isolation_level=None, timeout=0)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # first: then SQLite needs no shared memory beside it
        connection.execute("PRAGMA synchronous = FULL")  # fsync at each commit
        connection.execute("PRAGMA fullfsync = ON")  # where fsync alone stops at the drive's cache: macOS
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise Unfit(f"its file system allows no write-ahead log (journal_mode {mode})", ANOTHER)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            remedy = f"end whatever else has it open, or {ANOTHER}"
            raise Unfit(f"SQLite cannot write to it ({error})", remedy) from error
        raise
    return connection


def _create(path: str) -> None:
    """Make the file under another name and put it in place when it is whole, so that there is never half a one."""
    for stray in (f"{path}-wal", f"{path}-journal"):
        if os.path.exists(stray) and os.path.getsize(stray) > 0:
            raise Unfit(f"it is missing or empty, but {stray} is there", "put the file back, or move that one away")
    with new_file(f"{path}-covey-new") as new:
        touch(new)
        try:
            connection = _connect(new)
            with contextlib.closing(connection):
                connection.execute("BEGIN")
                for statement in SCHEMA:
                    connection.execute(statement)
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unfit(f"it cannot be made ({error})", "make room or mend the disk") from error
        _sync(new)
        os.replace(new, path)
    _sync(os.path.dirname(path))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
