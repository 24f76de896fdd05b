"""The lock beside a file: one holder, who is named, and who loses it with his process and not to his children."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from covey.runtime.storage.lock import FileLock, LockHeld


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "a.lock")


def test_a_lock_has_one_holder_at_a_time_and_its_file_goes_with_it(path):
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    first.acquire()
    with pytest.raises(LockHeld, match=f"^process {os.getpid()} on .+$"):
        second.acquire()
    second.release()
    assert os.stat(path).st_mode & 0o777 == 0o600
    first.release()
    first.release()
    assert not os.path.exists(path)
    second.acquire()
    second.release()


def test_a_file_that_somebody_left_is_no_lock(path):
    with open(path, "w") as file:
        file.write("process 1 on a machine that burnt down, and a long story about it")
    lock, other = FileLock(path), FileLock(path)
    lock.acquire()
    with pytest.raises(LockHeld, match=f"^process {os.getpid()} on [^,]+$"):
        other.acquire()
    lock.release()


def test_a_lock_is_not_taken_on_a_file_that_its_holder_removed_meanwhile(path, monkeypatch):
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    really_open = os.open

    def open_and_release(*arguments, **options):
        descriptor = really_open(*arguments, **options)
        first.release()  # between our open and our flock
        return descriptor

    monkeypatch.setattr(os, "open", open_and_release)
    second.acquire()
    monkeypatch.undo()
    with pytest.raises(LockHeld):
        FileLock(path).acquire()
    second.release()


def test_a_lock_that_was_taken_away_by_force_takes_nothing_of_its_successor(path):
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    os.unlink(path)
    second.acquire()
    first.release()
    with pytest.raises(LockHeld):
        FileLock(path).acquire()
    second.release()


def test_a_link_in_the_place_of_a_lock_is_not_followed(path, tmp_path):
    os.symlink(tmp_path / "target", path)
    with pytest.raises(OSError):
        FileLock(path).acquire()
    assert not (tmp_path / "target").exists()


HOLDER = """
import os, signal, sys
from covey.runtime.storage.lock import FileLock, LockHeld
lock = FileLock(sys.argv[1])
lock.acquire()
if os.fork():
    os.wait() if sys.argv[2] == "wait" else signal.pause()
    sys.exit()
lock.release()  # not ours: nothing happens
try:
    FileLock(sys.argv[1]).acquire()
except LockHeld as held:
    print(held, flush=True)
sys.stdin.read()
"""


@pytest.mark.serial
def test_a_forked_child_neither_has_the_lock_nor_takes_it_away_nor_keeps_it_when_its_parent_is_killed(path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path, "pause"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().startswith(f"process {holder.pid} on ")
    with pytest.raises(LockHeld):
        FileLock(path).acquire()
    holder.kill()
    assert holder.wait() != 0
    lock = FileLock(path)
    lock.acquire()  # while the child lives
    lock.release()
    holder.communicate()
