"""What the world around the machine of hubs does in tests: children that do as they are told, and shared rows."""

from __future__ import annotations

from typing import Any

from covey.core import children as c
from covey.core.ids import Dot
from covey.core.rows import Put, Remove, SharedRow, Start


def obey(effect: Any, states: dict[bytes, bytes]) -> list[Any]:
    """What a child that does as it is told answers at once; `states`: what children leave when they move."""
    copy = effect.copy
    match effect:
        case c.PrepareChild():
            return [c.ChildPrepared(copy)]
        case c.StartChild():
            return [c.ChildStarted(copy), c.ChildReceives(copy)]
        case c.DeliverToChild(_, call, _, payload):
            reply = [c.ChildReplied(copy, call, False, payload)] if call else []
            return [*reply, c.ChildReceives(copy)]
        case c.AskHandover():
            given = [c.HandoverGiven(copy, states[copy.id])] if copy.id in states else []
            return [*given, c.ChildExited(copy, c.Ending.RETURNED)]
        case c.AskResolver(_, ours, theirs):
            return [c.StatesResolved(copy, (ours or b"") + (theirs or b""))]
        case _:
            return [c.ChildExited(copy, c.Ending.STOPPED)]


def change_row(shared: dict[bytes, SharedRow], change: Any, dot: Dot) -> None:
    """Write one change of a shared row."""
    row = shared.get(change.key)
    match change:
        case Start(key, value):
            births = () if row is None else row.births
            shared[key] = SharedRow((*births, (dot, value)), () if row is None else row.fields)
        case Put(key, field, value) if row is not None:
            fields = dict(row.fields) | {field: ((dot, value),)}
            shared[key] = SharedRow(row.births, tuple(fields.items()))
        case Remove(key, births) if row is not None:
            left = tuple([one for one in row.births if births and one[0] not in births])
            del shared[key]
            if left:
                shared[key] = SharedRow(left, row.fields)
