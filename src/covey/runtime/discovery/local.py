"""Processes of one user on one host find each other in a directory: one file each.

A file says where its process listens and which pid it has. A file whose process is gone is removed by whoever sees it.
Where the pid has meanwhile gone to another process, the file stays, and costs a dial that is refused. A file
that somebody else cleared away (of old ones in `/tmp`, systems do) is written again by its owner. Containers that
share a directory but not their pids would clear away each other's: give each a directory of its own.

Whoever can write in the directory decides whom our nodes dial, so it has to be the user's alone. Where it is:
`$COVEY_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/covey`, else `covey-UID` among the temporary files. All processes
have to agree on that.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import stat
import string
import tempfile
import time
from pathlib import Path

from covey.core.errors import ConfigError
from covey.runtime.addresses import format_address, parse_address

FILES_MAX = 1024  # guess: read at one time; who finds nobody among these is alone
FILE_BYTES_MAX = 4096  # an address has at most 261 characters
BATCH = 32  # files between two turns of the event loop: about a millisecond

_SAFE = frozenset((string.ascii_lowercase + string.digits + "-_").encode())
_FOLDER_LENGTH_MAX = 200  # file systems take 255
_SUFFIX = ".json"
_PID_MAX = 2**31 - 1  # larger ones would overflow; 0 and less mean groups of processes


class LocalSeed:
    """Answers the addresses that other processes announced under the same name.

    Law: our file exists while we are announced, and only the process that announced removes it.
    """

    resolve_every = 2.0  # guess: a directory listing costs little

    def __init__(self, text: str, name: str) -> None:
        """Raises `ConfigError` where the directory exists and is not ours alone. Creates nothing."""
        self.text = text
        self.trouble = ""
        self._base = runtime_directory()
        self._folder = self._base / folder_name(name)
        self._address = ""  # empty: not announced
        self._file = self._folder / "none"
        self._pid = 0  # whose `_file` is: a forked child has a copy of us
        with contextlib.suppress(OSError):
            _check(self._base)

    async def resolve(self) -> list[str]:
        self.trouble = ""
        if self._is_announced() and not self._is_written():
            self._write()
        try:
            names = self._names()
        except FileNotFoundError:
            self.trouble = self.trouble or f"{self._folder} does not exist: nobody has announced itself there yet"
            return []
        except (ConfigError, OSError) as error:
            self.trouble = _reason(error)
            return []
        found = set()
        for count, name in enumerate(names, 1):
            address = _look(self._folder / name)
            if address:
                found.add(address)
            if count % BATCH == 0:
                await asyncio.sleep(0)
        return sorted(found)

    def announce(self, address: str) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            # The pid alone would not do: two nodes may live in one process.
            self._file = self._folder / f"{self._pid}-{secrets.token_hex(4)}{_SUFFIX}"
        self._address = address
        self.trouble = ""
        self._write()

    def withdraw(self) -> None:
        if self._is_announced():
            with contextlib.suppress(OSError):  # what cannot be removed is stale as soon as we end
                self._file.unlink()
        self._address = ""

    def _is_announced(self) -> bool:
        return bool(self._address) and self._pid == os.getpid()

    def _is_written(self) -> bool:
        return os.path.exists(self._file)

    def _write(self) -> None:
        content = {"address": self._address, "pid": self._pid, "started": round(time.time(), 3)}
        unfinished = self._file.with_suffix(".tmp")
        try:
            for directory in (self._base, self._folder):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                _check(directory)
            unfinished.write_text(json.dumps(content), encoding="ascii")
            os.replace(unfinished, self._file)
        except (ConfigError, OSError) as error:
            self.trouble = _reason(error)
            with contextlib.suppress(OSError):
                unfinished.unlink()

    def _names(self) -> list[str]:
        """The files of others, as many as are read at one time."""
        for directory in (self._base, self._folder):
            _check(directory)
        own = self._file.name if self._pid == os.getpid() else ""
        with os.scandir(self._folder) as entries:
            names = [
                entry.name
                for entry in entries
                if entry.name.endswith(_SUFFIX) and entry.name != own and entry.is_file(follow_symlinks=False)
            ]
        return sorted(names)[:FILES_MAX]


def runtime_directory() -> Path:
    """Where all names have their folders. Depends on the environment; nothing is created."""
    chosen = os.environ.get("COVEY_RUNTIME_DIR")
    if chosen:
        return Path(chosen).absolute()
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and os.path.isabs(session):  # XDG Base Directory Specification: a relative path is to be ignored
        return Path(session) / "covey"
    return Path(tempfile.gettempdir()).absolute() / f"covey-{os.geteuid()}"


def folder_name(name: str) -> str:
    """A file name that no other `name` has, also where case does not count (macOS). Long names are hashed."""
    raw = name.encode("utf-8", "surrogatepass")
    encoded = "".join(chr(byte) if byte in _SAFE else f"%{byte:02x}" for byte in raw)
    if len(encoded) <= _FOLDER_LENGTH_MAX:
        return encoded
    return "=" + hashlib.blake2b(raw, digest_size=32).hexdigest()


def _check(directory: Path) -> None:
    """Raise `ConfigError` unless `directory` is one, ours, and to be written by nobody else; `OSError` if missing."""
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        problem = "is not a directory, or only a link to one"
    elif status.st_uid != os.geteuid():
        problem = f"belongs to user {status.st_uid} and not to us"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = "can be written by other users"
    else:
        return
    raise ConfigError(
        f"local seeds: {directory} {problem}, so what it says cannot be trusted; "
        "remove it, chmod it to 700, or set COVEY_RUNTIME_DIR to a directory of your own"
    )


def _look(file: Path) -> str:
    """The address in `file`; "" where there is none to use. Removes a file whose process is gone."""
    try:
        with file.open("rb") as opened:
            content = json.loads(opened.read(FILE_BYTES_MAX))
        address, pid = format_address(*parse_address(content["address"])), content["pid"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return ""  # not one of ours, or removed just now
    if type(pid) is not int or not 0 < pid <= _PID_MAX:
        return ""
    try:
        os.kill(pid, 0)  # sends nothing; only asks whether there is such a process
    except ProcessLookupError:
        with contextlib.suppress(OSError):
            file.unlink()
        return ""
    except PermissionError:
        pass  # there is one, and it may be ours under another user
    return address


def _reason(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    return f"local seeds: {error}; set COVEY_RUNTIME_DIR to a directory that can be written"
