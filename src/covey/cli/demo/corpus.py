"""The work of the demo: counting the words in the Python standard library's own sources.

A word is a run of ASCII letters and underscores, in lower case, at most 64 characters long; a longer run is several
words. Bytes that are not UTF-8 count as U+FFFD, which is in no word.
"""

from __future__ import annotations

import os
import re
import sysconfig
from collections import Counter
from pathlib import Path

# What others installed is not the standard library. Its own tests are three quarters of its bytes where they are
# installed and missing where they are not (Debian): without them the demo is the same everywhere.
LEFT_OUT = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})

_WORD = re.compile("[A-Za-z_]{1,64}")


def library_root() -> Path:
    """Where the standard library's sources lie."""
    return Path(sysconfig.get_path("stdlib"))


def list_files(root: Path) -> list[str]:
    """The readable sources below `root`, as sorted relative names with `/`."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        for name in names:
            path = Path(folder, name)
            if name.endswith(".py") and path.is_file() and os.access(path, os.R_OK):
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


def count_words(data: bytes) -> Counter[str]:
    """How often each word occurs in a file's bytes. Takes 30 ms for the largest file there is (700 kB)."""
    return Counter(word.lower() for word in _WORD.findall(data.decode("utf-8", errors="replace")))


def count_all(root: Path, files: list[str]) -> Counter[str]:
    """One process, one file after the other: what the result has to be."""
    total: Counter[str] = Counter()
    for file in files:
        total.update(count_words((root / file).read_bytes()))
    return total
