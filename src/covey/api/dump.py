"""Everything that one node holds of its cluster, for people who want to know why.

Sites and other bytes stay bytes, so the answer is msgpack; the command line writes them as hex.
"""

from __future__ import annotations

from typing import Any

from covey.api.members import decode_meta
from covey.core.clock import unpack
from covey.core.vocabulary import Liveness
from covey.engine.engine import Engine
from covey.protocols.membership.record import HOST, MEM, META, Entry, decode_address

_KINDS = {MEM: "mem", HOST: "host", META: "meta"}


def dump(engine: Engine) -> dict[str, Any]:
    """The record of who belongs, how far others have taken it, and what is held of each life."""
    membership = engine.membership
    ledger, opinions = membership.ledger, engine.detector.opinions
    own = opinions.own_rumour
    lives = [(own.site, own.incarnation, own.refutation, own.state)]
    for site, member in opinions.members.items():
        evidence = member.evidence
        lives.append((site, evidence.incarnation, evidence.refutation, evidence.state))
    return {
        "site": ledger.me.site,
        "incarnation": ledger.me.incarnation,
        "address": ledger.me.address,
        "cluster": ledger.cluster,
        "solo": membership.solo,
        "clock": _stamp(ledger.clock.last),
        "imports": ledger.imports,
        "record": [_entry(entry) for entry in membership.dump()],
        "floors": [
            {
                "site": site,
                "incarnation": floor.incarnation,
                "acked_in": floor.acked_in,
                "acked_out": floor.acked_out,
            }
            for site, floor in membership.exchange.floors.items()
        ],
        "liveness": [
            {"site": site, "incarnation": incarnation, "refutation": refutation, "state": Liveness(state).name.lower()}
            for site, incarnation, refutation, state in lives
        ],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    op = entry.op
    value: Any = op.value
    if op.kind == HOST:
        value = decode_address(op.value)
    elif op.kind == META and isinstance(op.value, bytes):
        name, meta = decode_meta(op.value)
        value = {"name": name, "meta": meta}
    return {
        "site": op.target,
        "kind": _KINDS[op.kind],
        "value": value,
        "origin": op.origin,
        "clock": _stamp(op.clock),
        "magic": op.magic,
        "wall_ms": op.wall_ms,
        "imported": entry.imported,
    }


def _stamp(stamp: int) -> dict[str, int]:
    """A hybrid stamp with its two halves: milliseconds since 1970, and a counter inside one."""
    ms, counter = unpack(stamp)
    return {"stamp": stamp, "ms": ms, "counter": counter}
