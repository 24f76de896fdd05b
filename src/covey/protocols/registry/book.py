"""What is known of one hub: its children, who runs which, and who takes part. A fold over rows, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from covey.core.errors import invariant
from covey.core.ids import Origin, Site
from covey.core.rows import SharedRow
from covey.protocols.registry.placement import Participant
from covey.protocols.registry.rows import BEGUN_BYTES, Child, Running, read_child, read_participant, read_running

INDEXED_MAX = 32  # entries of one child's metadata that can be searched for

_meta_decoder = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])

Entry = tuple[str, bytes]
"""A name in metadata and its encoded value."""


class Book:
    """Children by their ids, by what their metadata says, and where they run.

    Law: it depends on the rows that are shown alone, in whatever order they came. Invariants: the index has of each
    child what its metadata says; nobody is filed who runs nothing.
    """

    def __init__(self) -> None:
        self.children: dict[bytes, Child] = {}
        self.participants: dict[Site, Participant] = {}
        self.begun: dict[Origin, frozenset[bytes]] = {}  # which of the declared children ran once, as each life says
        self._running: dict[bytes, dict[Origin, Running]] = {}
        self._index: dict[Entry, dict[bytes, None]] = {}
        self.nonsense = 0  # rows that no covey writes

    # --- queries ----------------------------------------------------------------------------------------------------

    def running(self, id: bytes) -> dict[Origin, Running]:
        """The lives that run a child, in the order in which they came here. Not to be changed."""
        return self._running.get(id, {})

    def copies(self, id: bytes) -> dict[Origin, Running]:
        """The same without copies that were started for a child of this id that was stopped, and have not ended yet."""
        child, running = self.children.get(id), self.running(id)
        return {} if child is None else {life: one for life, one in running.items() if one.birth in child.begun}

    def ids_running(self) -> Iterator[bytes]:
        """Whatever runs anywhere, child or not any more."""
        return iter(self._running)

    def find(self, name: str, value: bytes) -> list[bytes]:
        """The children whose metadata has this encoded value under this name."""
        return list(self._index.get((name, value), ()))

    # --- rows -------------------------------------------------------------------------------------------------------

    def fold_shared(self, id: bytes, row: SharedRow | None) -> bool:
        """A child's row is shown otherwise; returns whether the child is another now."""
        child = None if row is None else read_child(id, row)
        self.nonsense += row is not None and child is None
        before = self.children.get(id)
        if child == before:
            return False
        if before is not None:
            self._unlist(before)
        if child is None:
            del self.children[id]
        else:
            self.children[id] = child
            for entry in _entries(child.meta):
                self._index.setdefault(entry, {})[id] = None
        return True

    def fold_participant(self, value: bytes | None, site: Site, incarnation: int) -> None:
        """Somebody takes part, otherwise than before or not any more."""
        said = None if value is None else read_participant(value, site, incarnation)
        self.nonsense += value is not None and said is None
        if said is not None:
            self.participants[site] = said
        elif site in self.participants and self.participants[site].incarnation == incarnation:
            del self.participants[site]

    def fold_begun(self, value: bytes | None, life: Origin) -> None:
        """Somebody says otherwise which of the declared children ran once."""
        if value is None:
            self.begun.pop(life, None)
        else:
            self.begun[life] = frozenset(value[at : at + BEGUN_BYTES] for at in range(0, len(value), BEGUN_BYTES))

    def fold_running(self, key: bytes, value: bytes | None, life: Origin) -> bool:
        """Somebody runs a child, otherwise than before or not any more; returns whether that is so."""
        id = key[1:]
        read = None if value is None else read_running(key, value, id in self.children)
        self.nonsense += value is not None and read is None
        lives = self._running.get(id)
        if read is not None:
            if lives is None:
                self._running[id] = {life: read}
            elif lives.get(life) == read:
                return False
            else:
                lives[life] = read
            return True
        if lives is None or lives.pop(life, None) is None:
            return False
        if not lives:
            del self._running[id]
        return True

    def _unlist(self, child: Child) -> None:
        for entry in _entries(child.meta):
            listed = self._index[entry]
            del listed[child.id]
            if not listed:
                del self._index[entry]

    def check(self) -> None:
        """Every invariant."""
        listed = {(entry, id) for entry, ids in self._index.items() for id in ids}
        said = {(entry, id) for id, child in self.children.items() for entry in _entries(child.meta)}
        invariant(listed == said, "the index has what metadata says")
        invariant(all(self._running.values()), "nobody is filed who runs nothing")


def _entries(meta: bytes) -> list[Entry]:
    """What of a child's metadata can be searched for."""
    try:
        said = _meta_decoder.decode(meta) if meta else {}
    except (ValueError, RecursionError):
        return []
    return [(name, bytes(value)) for name, value in list(said.items())[:INDEXED_MAX]]
