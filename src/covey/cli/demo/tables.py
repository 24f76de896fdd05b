"""What the rows of all workers say together. Pure: no clock, no network.

A shelf writes what it counted as rows: metadata of members of one group, and so seen by all, and gone with the copy
that wrote them. There is a row for each file, a few for a long one. Whoever counts a file makes the same rows of it, so
they are added up by file and part: what two copies of a shelf have counted is counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

PART_BYTES_MAX = 60_000  # metadata of a member may have 64 KiB, and the file's name is in it too


class Row(msgspec.Struct, frozen=True):
    """Part number `part` of `parts` of one file's words: the metadata of a member of the group."""

    file: str
    part: int
    parts: int
    words: dict[str, int]


def digest(total: Mapping[str, int]) -> str:
    """A hash of a whole map of word to count."""
    hashed = blake2b(digest_size=16)
    for word in sorted(total):
        hashed.update(f"{word} {total[word]}\n".encode())
    return hashed.hexdigest()


def rows_of(file: str, words: Mapping[str, int], bytes_max: int = PART_BYTES_MAX) -> list[Row]:
    """One file's words in rows that each fit in metadata. At least one; the same on every node."""
    parts: list[dict[str, int]] = [{}]
    size = 0
    for word in sorted(words):
        needed = len(word) + 12  # the longest that msgpack puts around a word and a count, and a little more
        if size + needed > bytes_max and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][word] = words[word]
        size += needed
    return [Row(file, number, len(parts), part) for number, part in enumerate(parts)]


def read_row(meta: Any) -> Row | None:
    """A member's metadata as a row; None where it is none."""
    try:
        row = msgspec.convert(meta, Row)
    except msgspec.ValidationError:
        return None
    return row if 0 <= row.part < row.parts else None


def whole_files(metas: Iterable[Any]) -> dict[str, dict[str, int]]:
    """The words of each file of which all rows are in these metadata: each part of each file once."""
    files: dict[str, dict[int, Row]] = {}
    for row in map(read_row, metas):
        if row is not None:
            files.setdefault(row.file, {})[row.part] = row
    return {
        file: {word: count for row in parts.values() for word, count in row.words.items()}
        for file, parts in files.items()
        if len(parts) == parts[min(parts)].parts
    }


def add_up(files: Mapping[str, Mapping[str, int]]) -> Counter[str]:
    """The sum of the words of all files."""
    total: Counter[str] = Counter()
    for words in files.values():
        total.update(words)
    return total


def count_wrong(
    answers: Mapping[tuple[str, str], int], shelves: Mapping[str, Iterable[str]], files: Mapping[str, Mapping[str, int]]
) -> int:
    """How many answers (to a shelf and a word) differ from what the files of the shelf say."""
    right = ((shelf, word, sum(files[file].get(word, 0) for file in shelves[shelf])) for shelf, word in answers)
    return sum(answers[shelf, word] != count for shelf, word, count in right)


class Tables:
    """Which files are there, as members with rows come and go.

    Law: `missing` and `words` are what `whole_files` says of the rows of all members that came and did not go.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self.missing = dict.fromkeys(files)  # an ordered set: files of which not all rows are here
        self.held: dict[str, int] = {}  # the others, with how many words they have
        self._rows: dict[Hashable, tuple[str, int]] = {}  # by member
        self._parts: dict[str, dict[int, dict[Hashable, int]]] = {}  # of each file: who has it, and how many words

    @property
    def words(self) -> int:
        """How many there are in the files that are here."""
        return sum(self.held.values())

    @property
    def complete(self) -> bool:
        return not self.missing

    def put(self, member: Hashable, meta: Any) -> None:
        """A member is there with this metadata. What is no row of this work changes nothing."""
        row = read_row(meta)
        if row is None or member in self._rows or not (row.file in self.missing or row.file in self.held):
            return
        parts = self._parts.setdefault(row.file, {})
        parts.setdefault(row.part, {})[member] = sum(row.words.values())
        self._rows[member] = row.file, row.part
        if row.file in self.missing and len(parts) == row.parts:
            del self.missing[row.file]
            self.held[row.file] = sum(next(iter(words.values())) for words in parts.values())

    def drop(self, member: Hashable) -> None:
        """A member is gone, and what it alone said with it."""
        file, part = self._rows.pop(member, ("", 0))
        if not file:
            return
        parts = self._parts[file]
        del parts[part][member]
        if not parts[part]:
            del parts[part]
            if self.held.pop(file, None) is not None:
                self.missing[file] = None
