"""One process at a time: a lock beside a file, with the name of its holder in it.

It is taken before the file itself is opened. SQLite's own locks would not do for that: they belong to the process, so
they do not tell two storages of one process apart, and any look into the file that this process takes and closes would
drop them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket


class LockHeld(Exception):
    """Somebody has the lock; the text says who."""


class FileLock:
    """An exclusive lock that is the file `path` itself.

    Law: at most one `FileLock` of one path is held, on this machine; the operating system lets it go when its process
    ends, however it ends. A process forked from the holder does not hold it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take it, without waiting. Raises `LockHeld`, or `OSError` where the file cannot be made."""
        while self._descriptor is None:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                self._try(descriptor)
            finally:
                if self._descriptor is None:
                    os.close(descriptor)

    def _try(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode("utf-8", "replace").strip()
            raise LockHeld(holder or "another process") from None
        if not self._is_named(descriptor):
            return  # its last holder removed it just now: there is, or will be, another file of that name
        self._descriptor = descriptor
        _held.add(self)
        with contextlib.suppress(OSError):  # on a full disk nobody learns who it is; the lock holds all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def _is_named(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go, and take the file away. Does nothing if the lock is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        _held.discard(self)
        with contextlib.suppress(OSError):
            if self._is_named(descriptor):
                os.unlink(self._path)  # while we still hold it: whoever opened it before sees that it has no name
        os.close(descriptor)

    def forget(self) -> None:
        """In a forked child: close the descriptor, which by itself neither frees nor removes the parent's lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_held: set[FileLock] = set()


def _forget_all() -> None:
    while _held:
        _held.pop().forget()


os.register_at_fork(after_in_child=_forget_all)
