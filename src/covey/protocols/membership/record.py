"""The replicated record: for each site whether it belongs, where it is, and its metadata; the last writer wins.

An operation is `(origin, key, clock, magic, value, wall time)`, keys are `MEM`, `HOST` and `META` of a target site. The
order is `(clock, magic, origin)`, strictly greater wins; `clock` is a hybrid logical clock, so a later command beats an
earlier one also across a split, and `magic` is the origin's incarnation, so no two operations ever have one stamp.
Besides its stamp each entry remembers by which *import* it came here. Import numbers drive what is sent to whom, the
clock decides conflicts; neither does the other's work (classy uses one counter for both).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from covey.core.errors import invariant
from covey.core.ids import ADDRESS_LENGTH_MAX, Contact, Site
from covey.wire.messages.membership import OP_BYTES, Op

MEM, HOST, META = 0, 1, 2
IS_MEMBER, IS_EPHEMERAL = 1, 2  # flags of a MEM value

_KINDS = {MEM: int, HOST: bytes, META: bytes}
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Op)

Key = tuple[int, Site]
Stamp = tuple[int, int, Site]


def stamp(op: Op) -> Stamp:
    """What decides between two operations on one key."""
    return op.clock, op.magic, op.origin


def well_formed(op: Op) -> bool:
    """Whether the value fits the kind. A peer's operation may be anything."""
    if type(op.value) is not _KINDS[op.kind]:
        return False
    return op.kind != HOST or decode_address(op.value) is not None


def decode_address(value: object) -> str | None:
    """The address that a `HOST` value says; None if it is none that other messages could carry."""
    try:
        address = value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None
    return address if address is not None and len(address) <= ADDRESS_LENGTH_MAX else None


def encode_address(address: str) -> bytes | None:
    """The `HOST` value that says `address`; None for what `decode_address` would not read."""
    try:
        value = address.encode()
    except UnicodeEncodeError:
        return None
    return value if address and len(address) <= ADDRESS_LENGTH_MAX else None


def key_of(op: Op) -> Key:
    """What an operation is about: its kind, and its target."""
    return op.kind, op.target


def encode_key(key: Key) -> bytes:
    """The key under which an operation is stored on disk."""
    return bytes((key[0],)) + key[1]


def encode_op(op: Op) -> bytes:
    """The bytes of an operation on disk."""
    return _encoder.encode(op)


def op_bytes(op: Op) -> int:
    """What an operation takes in a message, at most."""
    return OP_BYTES + (len(op.value) if isinstance(op.value, bytes) else 0)


def decode_op(encoded: bytes) -> Op:
    """Raises `ValueError` for what `encode_op` did not make."""
    return _decoder.decode(encoded)


def hash_op(op: Op) -> int:
    """64 bits of an operation; equal records have equal sums of these."""
    return int.from_bytes(hashlib.blake2b(_encoder.encode(op), digest_size=8).digest(), "big")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An operation as it stands here, and the import that brought it."""

    op: Op
    imported: int
    at_us: int  # when, on our own clock


class Record:
    """All that is known of who belongs.

    Law: merging is idempotent, commutative and associative, because no two operations have one stamp; the record is the
    greatest operation of each key ever merged, except what was deliberately forgotten.
    Invariants: `digest` is the xor of the hashes of what counts (see `_counts`); entries are filed under their key.
    """

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._digest = 0
        self._kicked = 0

    def merge(self, op: Op, imported: int, now_us: int) -> bool:
        """Take in `op`; True if it changed anything."""
        key = key_of(op)
        known = self._entries.get(key)
        if known is not None and stamp(op) <= stamp(known.op):
            return False
        self._put(key, Entry(op, imported, now_us))
        return True

    def get(self, kind: int, target: Site) -> Op | None:
        """The operation that stands."""
        entry = self._entries.get((kind, target))
        return None if entry is None else entry.op

    def entry(self, kind: int, target: Site) -> Entry | None:
        """The operation that stands, with the import that brought it."""
        return self._entries.get((kind, target))

    def since(self, imported: int) -> list[Entry]:
        """What came with import `imported` or later, oldest import first."""
        return sorted(
            (entry for entry in self._entries.values() if entry.imported >= imported),
            key=lambda entry: (entry.imported, encode_key(key_of(entry.op))),
        )

    def forget(self, key: Key) -> bool:
        """Drop an entry; False if there is none."""
        if key not in self._entries:
            return False
        self._take(key)
        return True

    def is_member(self, site: Site) -> bool:
        """Whether the last word on `site` is that it belongs."""
        op = self.get(MEM, site)
        return op is not None and bool(int(op.value) & IS_MEMBER)

    def is_ephemeral(self, site: Site) -> bool:
        """Whether the last word on `site` calls it ephemeral."""
        op = self.get(MEM, site)
        return op is not None and bool(int(op.value) & IS_EPHEMERAL)

    def knows(self, site: Site) -> bool:
        """Whether anything was ever said about the membership of `site`."""
        return (MEM, site) in self._entries

    def members(self) -> list[Site]:
        """Those that belong, in the order of their sites."""
        return sorted(target for kind, target in self._entries if kind == MEM and self.is_member(target))

    def sites(self) -> list[Site]:
        """Every site that was ever recorded, in order."""
        return sorted(target for kind, target in self._entries if kind == MEM)

    def address(self, site: Site) -> str:
        """Where `site` is, as far as is known; what is on the disk may be unreadable."""
        op = self.get(HOST, site)
        return (decode_address(op.value) or "") if op is not None else ""

    def meta(self, site: Site) -> bytes:
        """The encoded metadata of `site`; empty if there is none."""
        op = self.get(META, site)
        return op.value if op is not None and isinstance(op.value, bytes) else b""

    def contact(self, site: Site) -> Contact | None:
        """Where a recorded site is, and in which life, as far as it said so itself."""
        if not self.knows(site):
            return None
        own = [op for kind in (MEM, HOST) if (op := self.get(kind, site)) is not None and op.origin == site]
        return Contact(site, max((op.magic for op in own), default=0), self.address(site))

    def has_details(self, site: Site) -> bool:
        """Whether more is kept of `site` than whether it belongs."""
        return (HOST, site) in self._entries or (META, site) in self._entries

    def entries(self) -> Iterator[Entry]:
        """All that is recorded, in no order that means anything."""
        return iter(self._entries.values())

    @property
    def digest(self) -> bytes:
        """Eight bytes that are equal where records are."""
        return self._digest.to_bytes(8, "big")

    @property
    def kicked_digest(self) -> bytes:
        """Eight bytes of the set of durable sites that were thrown out, and by which operation."""
        return self._kicked.to_bytes(8, "big")

    def __len__(self) -> int:
        return len(self._entries)

    def _counts(self, entry: Entry) -> bool:
        """Whether an entry is part of the digest.

        The address and metadata of a site that does not belong are forgotten by each node in its own time, and an
        ephemeral site that is gone altogether; so they cannot count, or nodes would never be equal.
        """
        op = entry.op
        if op.kind == MEM:
            return int(op.value) != IS_EPHEMERAL
        return self.is_member(op.target)

    def _put(self, key: Key, entry: Entry) -> None:
        self._toggle(key[1])
        self._entries[key] = entry
        self._toggle(key[1])

    def _take(self, key: Key) -> None:
        self._toggle(key[1])
        del self._entries[key]
        self._toggle(key[1])

    def _toggle(self, target: Site) -> None:
        """Take a target's entries out of the digests, or back in."""
        for kind in (MEM, HOST, META):
            entry = self._entries.get((kind, target))
            if entry is not None and self._counts(entry):
                self._digest ^= hash_op(entry.op)
                if kind == MEM and int(entry.op.value) == 0:
                    self._kicked ^= hash_op(entry.op)

    def check(self) -> None:
        digest = kicked = 0
        for key, entry in self._entries.items():
            invariant(key == key_of(entry.op), "an entry is filed under its key")
            if self._counts(entry):
                digest ^= hash_op(entry.op)
                if key[0] == MEM and int(entry.op.value) == 0:
                    kicked ^= hash_op(entry.op)
        invariant(digest == self._digest and kicked == self._kicked, "the digests are those of the entries")
