"""What a node knows of its groups, told to clients in pages, so that no answer grows with them.

A turn looks through all keys for the next ones, which is 10 ms of 100,000, and at the members of one page.
A page goes on behind the last thing of the page before, in the order of bytes. So what is there all the time is told
once, and what comes or goes meanwhile once at most. Keys and metadata go as they are encoded: only the reader knows
how to show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nsmallest
from typing import Any

import msgspec

from covey.api.group_node import encode_scope
from covey.core.errors import DecodeError, UsageError
from covey.core.ids import Site
from covey.engine.engine import Engine
from covey.protocols.groups.rows import PREFIX
from covey.protocols.groups.vocabulary import Address, GroupEntry
from covey.protocols.replication.vocabulary import SYSTEM
from covey.wire.keys import decode_key

GROUPS_AT_ONCE = 1_000  # in one page
MEMBERS_AT_ONCE = 2_000  # in one page, and looked at for one, but for the first group of it
BYTES_AT_ONCE = 1 << 20  # of metadata in one page, about

_address = msgspec.msgpack.Decoder(tuple[bytes, int, int])


def scopes(engine: Engine) -> dict[str, list[Site]]:
    """Every scope that a node of the cluster uses, and who does, as far as is shown here."""
    found: dict[str, list[Site]] = {}
    for owner, _, instance, _ in engine.replication.tables[SYSTEM].view():
        if instance.startswith(PREFIX):
            found.setdefault(instance[len(PREFIX) :].decode(errors="replace"), []).append(owner)
    return found


def list_groups(engine: Engine, scope: str, after: bytes) -> dict[str, Any]:
    """A page of the groups of a scope, behind the encoded key `after`; `next` is what the next one goes on behind."""
    name, machine = encode_scope(scope), engine.groups
    keys = nsmallest(GROUPS_AT_ONCE + 1, (key for key in machine.groups(name) if key > after))
    told: list[dict[str, Any]] = []
    looked = 0
    for key in keys[:GROUPS_AT_ONCE]:
        view = machine.view(name, key)
        looked += len(view)
        if told and looked > MEMBERS_AT_ONCE:
            break
        nodes: dict[Site, int] = {}
        for address, entry in view.items():
            nodes[address.site] = nodes.get(address.site, 0) + entry.count
        told.append({"key": key, "mailboxes": len(view), "nodes": list(nodes.items())})
    return {"groups": told, "next": told[-1]["key"] if len(told) < len(keys) else None}


def list_members(engine: Engine, scope: str, key: bytes, after: bytes) -> dict[str, Any]:
    """A page of the members of one group, behind the encoded address `after`."""
    view = engine.groups.view(encode_scope(scope), _checked(key))
    behind = _decoded(after) if after else (b"", 0, 0)
    addresses = ((a.site, a.incarnation, a.mailbox) for a in view)
    there = nsmallest(MEMBERS_AT_ONCE + 1, (found for found in addresses if found > behind))
    told: list[tuple[Any, ...]] = []
    size = 0
    for address in there[:MEMBERS_AT_ONCE]:
        entry: GroupEntry = view[Address(*address)]
        size += len(entry.meta)
        if told and size > BYTES_AT_ONCE:
            break
        told.append((*address, entry.count, entry.meta))
    return {"members": told, "next": msgspec.msgpack.encode(told[-1][:3]) if len(told) < len(there) else None}


def text_of(arguments: Mapping[str, Any], name: str) -> str:
    """An argument that is text, empty where it is not given. Raises `UsageError`."""
    value = arguments.get(name, "")
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text, not {value!r:.60}; nothing was done")
    return value


def bytes_of(arguments: Mapping[str, Any], name: str) -> bytes:
    """An argument that is bytes, empty where it is not given. Raises `UsageError`."""
    value = arguments.get(name, b"")
    if not isinstance(value, bytes):
        raise UsageError(f"{name} must be bytes, not {value!r:.60}; nothing was done")
    return value


def _checked(key: bytes) -> bytes:
    try:
        decode_key(key)
    except DecodeError as error:
        raise UsageError(f"{error}; nothing was done") from None
    return key


def _decoded(after: bytes) -> tuple[bytes, int, int]:
    try:
        return _address.decode(after)
    except (ValueError, RecursionError):
        raise UsageError(f"{after[:40]!r} is no address to go on behind; nothing was done") from None
