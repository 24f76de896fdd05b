"""`covey node`: run one node until a signal ends it, and tell what happens to it, a line an event."""

from __future__ import annotations

import asyncio
import os
import reprlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import click
import msgspec

import covey
from covey.api.telling import NodeEvent
from covey.cli import logs
from covey.cli.loop import first_signal, run
from covey.core.ids import short

Event = NodeEvent | covey.Lost
Record = dict[str, Any]
"""One line of output. `event` says what it is; it is written as JSON, or as a sentence."""

PROFILES = {"laptop": covey.Config.laptop, "lan": covey.Config.lan, "kubernetes": covey.Config.kubernetes}

_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxstring, _brief.maxother = 4, 120, 120


@click.command()
@click.argument("cluster")
@click.option("--listen", metavar="HOST:PORT", help="Where to listen; port 0 or a range FIRST-LAST work too.")
@click.option(
    "--seed", "seeds", multiple=True, help="Where others may be: host:port, host, dns:NAME, local:NAME. Repeatable."
)
@click.option("--secret-file", type=click.Path(path_type=Path), help="The file that holds the cluster's secret.")
@click.option("--advertise", metavar="HOST[:PORT]", help="The address that others shall dial.")
@click.option("--name", help="A name for people to read.")
@click.option("--insecure", is_flag=True, help="Allow plaintext beyond loopback.")
@click.option("--profile", type=click.Choice(list(PROFILES)), help="Where the defaults come from, instead of a guess.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, bytes as hex.")
@click.option("--verbose", is_flag=True, help="Log everything on stderr.")
def node(
    cluster: str,
    listen: str | None,
    seeds: tuple[str, ...],
    secret_file: Path | None,
    advertise: str | None,
    name: str | None,
    insecure: bool,
    profile: str | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Run one node of CLUSTER and tell what happens to it.

    SIGINT and SIGTERM close it in order; a second one ends it at once.
    """
    logs.configure(verbose)
    node = covey.Node(
        cluster,
        listen=listen,
        seeds=seeds or None,
        secret=secret_file,
        name=name,
        advertise=advertise,
        insecure=insecure,
        config=PROFILES[profile]() if profile else None,
    )
    run(_serve(node, _tell_json if as_json else _tell_sentence))


async def _serve(node: covey.Node, tell: Callable[[Record], None]) -> None:
    """Run `node` until a signal comes. Raises `ClosedError` when it died."""
    signalled = first_signal()
    async with node, node.events() as events:
        tell(
            {
                "event": "started",
                "cluster": node.cluster,
                "site": node.site,
                "incarnation": node.incarnation,
                "address": node.address,
                "pid": os.getpid(),
                "profile": node.config.profile,
            }
        )
        for member in events.snapshot.members:
            if member.site != node.site:
                tell(as_record(covey.MemberUpdated(member)))
        for neighbour in events.snapshot.neighbours:
            tell(as_record(covey.NeighborUp(neighbour)))
        reading = asyncio.create_task(_read(events, tell), name="read events")
        await asyncio.wait((reading, signalled), return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            reading.result()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    tell({"event": "stopped", "cause": signalled.result().name if signalled.done() else "closed"})


async def _read(events: AsyncIterator[Event], tell: Callable[[Record], None]) -> None:
    async for event in events:
        tell(as_record(event))


def as_record(event: Event) -> Record:
    """What is told about an event, with stable keys."""
    match event:
        case covey.NeighborUp(neighbour):
            return {"event": "neighbour_up", **msgspec.structs.asdict(neighbour)}
        case covey.NeighborDown(neighbour, cause):
            return {"event": "neighbour_down", **msgspec.structs.asdict(neighbour), "cause": cause}
        case covey.Message(sender, payload):
            return {"event": "message", "sender": sender, "payload": payload}
        case (
            covey.MemberUp(member)
            | covey.MemberSuspect(member)
            | covey.MemberDown(member)
            | covey.MemberLeft(member)
            | covey.MemberKicked(member)
            | covey.MemberUpdated(member)
        ):
            rest = {name: value for name, value in msgspec.structs.asdict(event).items() if name != "member"}
            return {"event": snake(event), **msgspec.structs.asdict(member), **rest}
        case _:
            return {"event": snake(event), **msgspec.structs.asdict(event)}


def snake(event: Event) -> str:
    """`MemberUp` is `member_up`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in type(event).__name__).lstrip("_")


def _tell_json(record: Record) -> None:
    try:
        line = msgspec.json.encode(plain(record))
    except RecursionError:  # a peer's payload is as deep as it likes
        line = msgspec.json.encode(plain({**record, "payload": _brief.repr(record.get("payload"))}))
    click.echo(line)


def plain(value: Any) -> Any:
    """`value` as JSON can say it: bytes as hex, keys as text."""
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {key if isinstance(key, str) else str(plain(key)): plain(part) for key, part in value.items()}
        case list() | tuple():
            return [plain(part) for part in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def _tell_sentence(record: Record) -> None:
    text, color = sentence(record)
    click.echo(click.style(text, fg=color) if logs.has_color(sys.stdout) else text)


def sentence(record: Record) -> tuple[str, str | None]:
    """`record` for people, and its colour. What a peer wrote comes with its control characters escaped."""
    match record:
        case {"event": "started"}:
            address = record["address"] or "an address that the first link will tell"
            who = f"node {short(record['site'])} of cluster {record['cluster']!r} is up at {address}"
            return f"{who} (profile {record['profile']}, pid {record['pid']})", None
        case {"event": "neighbour_up"}:
            return f"neighbour {short(record['site'])} up at {_visible(record['address'])}", "green"
        case {"event": "neighbour_down"}:
            return f"neighbour {short(record['site'])} down: {record['cause']}", "red"
        case {"event": "message"}:
            return f"message from {short(record['sender'])}: {_brief.repr(record['payload'])}", None
        case {"event": "link_refused"}:
            way = "from" if record["inbound"] else "to"
            who = "the other side" if record["refused_by_peer"] else "this side"
            detail = f" ({_visible(record['detail'])})" if record["detail"] else ""
            return f"link {way} {_visible(record['address'])} refused by {who}: {record['cause']}{detail}", "yellow"
        case {"event": "protocol_violation"}:
            return (
                f"link to {short(record['site'])} dropped: {record['cause']} ({_visible(record['detail'])})",
                "yellow",
            )
        case {"event": "lost"}:
            return f"{record['count']} events were lost: they came faster than they were written", "yellow"
        case _:
            return f"closed: {record['cause']}", None


def _visible(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
