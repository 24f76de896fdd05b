"""What one worker holds, and who owns what. Pure: no clock, no network.

Ownership is rendezvous hashing (Thaler and Ravishankar, 1998): every node computes it alone from the names of the live
ones, all come to the same result, and the end of a node moves no file but its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b

PART_BYTES_MAX = 500_000  # half of what fits in a message


def owner(file: str, sites: Iterable[bytes]) -> bytes:
    """The site that owns `file`: the one whose hash with it is highest."""
    name = file.encode("utf-8", "surrogateescape")
    return max(sites, key=lambda site: (blake2b(name, key=site, digest_size=8).digest(), site))


def shares(files: Iterable[str], sites: Iterable[bytes]) -> dict[str, bytes]:
    """The owner of each file."""
    among = list(sites)
    return {file: owner(file, among) for file in files}


def digest(total: Mapping[str, int]) -> str:
    """A hash of a whole map of word to count."""
    hashed = blake2b(digest_size=16)
    for word in sorted(total):
        hashed.update(f"{word} {total[word]}\n".encode())
    return hashed.hexdigest()


def split(words: Mapping[str, int], bytes_max: int = PART_BYTES_MAX) -> list[dict[str, int]]:
    """`words` in parts that each fit in a message. At least one; the same on every node."""
    parts: list[dict[str, int]] = [{}]
    size = 0
    for word in sorted(words):
        needed = len(word) + 12  # the longest that msgpack puts around a word and a count, and a little more
        if size + needed > bytes_max and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][word] = words[word]
        size += needed
    return parts


class Tables:
    """The word tables of whole files, one each.

    Law: `total` is the sum over `held`, however often and in whatever order tables and parts of them come.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self.held: dict[str, Mapping[str, int]] = {}
        self.total: Counter[str] = Counter()
        self.words = 0
        self._missing = dict.fromkeys(files)
        self._parts: dict[str, dict[int, Mapping[str, int]]] = {}

    @property
    def missing(self) -> list[str]:
        """The files whose table is not here, in order."""
        return list(self._missing)

    @property
    def complete(self) -> bool:
        return not self._missing

    def add(self, file: str, words: Mapping[str, int], part: int = 0, parts: int = 1) -> bool:
        """Take part number `part` of `parts` of one file's table. True if the file's table is whole now, and was not.

        What is no part of the work, or is here already, changes nothing.
        """
        if file not in self._missing or not 0 <= part < parts:
            return False
        collected = self._parts.setdefault(file, {})
        collected[part] = words
        if len(collected) < parts:
            return False
        del self._missing[file], self._parts[file]
        table = {word: count for number in sorted(collected) for word, count in collected[number].items()}
        self.held[file] = table
        self.total.update(table)
        self.words += sum(table.values())
        return True
