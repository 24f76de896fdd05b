"""What clients may ask of hubs: which there are, the children of one in pages, all about one child; and to stop some.

A page goes on behind the last child of the page before, in the order of encoded ids. Ids and metadata go as they are
encoded: only the reader knows how to show them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from covey.api.group_listing import bytes_of
from covey.api.hub_node import OpenHub
from covey.api.hub_values import STATE_NAMES
from covey.api.hubs import Hub
from covey.core.errors import DecodeError, UsageError
from covey.core.ids import Site
from covey.protocols.registry.rows import PREFIX
from covey.protocols.replication.vocabulary import SYSTEM
from covey.wire.keys import Key, decode_key

if TYPE_CHECKING:
    from covey.api.node import Node

CHILDREN_AT_ONCE = 1_000  # in one page
BYTES_AT_ONCE = 1 << 20  # of metadata in one page, about
NO_METADATA = b"\x80"
IDS_MAX = 1_000  # to stop at once

Arguments = Mapping[str, Any]
Answer = dict[str, Any]


class HubDesk:
    """Carries out what clients ask of the hubs of `node`. `asks` has it by name."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.asks: dict[str, Callable[[Arguments], Awaitable[Answer]]] = {
            "hubs": self._hubs,
            "hub": self._hub,
            "hub_child": self._child,
            "hub_stop": self._stop,
        }

    # --- what may be asked ------------------------------------------------------------------------------------------

    async def _hubs(self, arguments: Arguments) -> Answer:
        """Every hub that a node of the cluster has open; of those open here also how many children there are."""
        told = []
        for instance, sites in sorted(self._in_use().items()):
            hub = self._open(instance)
            counts: Answer = {} if hub is None else _counts(hub)
            told.append({"key": instance[len(PREFIX) :], "nodes": sites, **counts})
        return {**self._head(), "known": True, "elsewhere": [], "hubs": told}

    async def _hub(self, arguments: Arguments) -> Answer:
        """A page of the children of `hub`, behind the encoded id `after`; or who else has that hub."""
        hub, head = self._of(arguments)
        if hub is None:
            return head
        after = bytes_of(arguments, "after")
        ids = nsmallest(CHILDREN_AT_ONCE + 1, (id for id in hub.ids() if id > after))
        told: list[Answer] = []
        size = 0
        for id in ids[:CHILDREN_AT_ONCE]:
            child = _child(hub, id)
            size += len(child["metadata"])
            if told and size > BYTES_AT_ONCE:
                break
            told.append(child)
        return {**head, **_counts(hub), "children": told, "next": told[-1]["id"] if len(told) < len(ids) else None}

    async def _child(self, arguments: Arguments) -> Answer:
        """All about the child `id` of `hub`, and why it is where it is; `child` is None where there is none."""
        hub, head = self._of(arguments)
        if hub is None:
            return head
        id = bytes_of(arguments, "id")
        explained = self._handle(hub).explain(_key(id))
        why = {
            "belongs": explained.belongs, "ranking": explained.ranking, "runs": explained.runs,
            "reasons": explained.reasons,
        }  # fmt: skip
        return {**head, **why, "child": _child(hub, id, whole=True) if hub.known(id) is not None else None}

    async def _stop(self, arguments: Arguments) -> Answer:
        """End the children `ids` of `hub` for good, within `timeout` seconds."""
        hub, head = self._of(arguments)
        if hub is None:
            return head
        ids = arguments.get("ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= IDS_MAX or not all(isinstance(id, bytes) for id in ids):
            raise UsageError(f"ids must be a list of at most {IDS_MAX} encoded ids; nothing was stopped")
        timeout = arguments.get("timeout", 10.0)
        result = await self._handle(hub).stop_children([_key(id) for id in ids], timeout=timeout)
        done = {id: sites for id, sites in result.stopped}
        wrong = {error.id: error for error in result.errors}
        keys = [(id, _key(id)) for id in ids]
        return {
            **head,
            "stopped": [{"id": id, "nodes": done[key]} for id, key in keys if key in done],
            "errors": [
                {"id": id, "trouble": wrong[key].trouble, "reason": wrong[key].reason, "node": wrong[key].name}
                for id, key in keys
                if key in wrong
            ],
        }

    # --- where it is ------------------------------------------------------------------------------------------------

    def _in_use(self) -> dict[bytes, list[Site]]:
        """Every hub, by its instance, and who has it open, as far as is shown here."""
        engine = self._node._engine
        assert engine is not None
        found: dict[bytes, list[Site]] = {}
        for owner, _, instance, _ in engine.replication.tables[SYSTEM].view():
            if instance.startswith(PREFIX):
                found.setdefault(instance, []).append(owner)
        return found

    def _open(self, instance: bytes) -> OpenHub | None:
        hubs = self._node._hubs
        hub = None if hubs is None else hubs.find(instance)
        return hub if hub is not None and instance in hub.hubs.machine.hubs else None

    def _handle(self, hub: OpenHub) -> Hub:
        return Hub(hub.hubs, decode_key(hub.instance[len(PREFIX) :]), hub.instance, hub.wanted)

    def _head(self) -> Answer:
        node = self._node
        names = {member.site: member.name for member in node.members()}
        return {"cluster": node.cluster, "site": node.site, "names": names}

    def _of(self, arguments: Arguments) -> tuple[OpenHub | None, Answer]:
        """The hub that is meant, if it is open here; and who answers, and who else may."""
        instance = PREFIX + bytes_of(arguments, "hub")
        hub, used = self._open(instance), self._in_use()
        there = used.get(instance, ())
        elsewhere = [one.address for one in self._node.members() if one.site in there and hub is None]
        in_use = [instance[len(PREFIX) :] for instance in sorted(used)]
        return hub, {**self._head(), "known": hub is not None, "elsewhere": elsewhere, "hubs": in_use}


def _counts(hub: OpenHub) -> Answer:
    book = hub.machine.book
    running = sum(1 for id in book.ids_running() if id in book.children)
    return {"children_count": len(book.children), "running": running, "settings": hub.wanted.options.settings}


def _child(hub: OpenHub, id: bytes, whole: bool = False) -> Answer:
    """A child, for a list; or `whole`, with what is long. Of what is stuck and no child any more it has copies only."""
    book = hub.machine.book
    row = book.children.get(id)
    copies = [
        {
            "site": site,
            "name": hub.name_of(site),
            "incarnation": incarnation,
            "state": STATE_NAMES[one.state],
            "instance": one.instance,
            "token": one.epoch,
            **({"error": one.error} if whole else {"failed": bool(one.error)}),
        }
        for (site, incarnation), one in book.running(id).items()
    ]
    if row is None:
        return {"id": id, "start": "", "metadata": NO_METADATA, "copies": copies}
    spec = row.spec
    more = {
        "restart": spec.restart.name.lower(),
        "shutdown_timeout": spec.shutdown_us / 1e6,
        "idle_timeout": spec.idle_us / 1e6 or None,
        "arguments": spec.arguments,
        "assigned": row.assigned,
        "epoch": row.epoch,
        "author": row.author[0],
    }
    return {"id": id, "start": spec.start, "metadata": row.meta, "copies": copies, **(more if whole else {})}


def _key(id: bytes) -> Key:
    try:
        return decode_key(id)
    except DecodeError as error:
        raise UsageError(f"{error}; nothing was done") from None
