"""`covey node`: run one node until a signal ends it, and tell what happens to it, a line an event."""

from __future__ import annotations

import asyncio
import os
import reprlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import click
import msgspec

import covey
from covey.api.telling import NodeEvent
from covey.cli import Misuse, logs
from covey.cli.loop import first_signal, run
from covey.cli.output import tell_json, visible, wall
from covey.core.ids import short
from covey.runtime.addresses import parse_address

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
@click.option("--meta", "pairs", multiple=True, metavar="KEY=VALUE", help="What it says of itself. Repeatable.")
@click.option("--storage", type=click.Path(dir_okay=False), help="The file that keeps it a member through restarts.")
@click.option("--join", metavar="HOST:PORT", help="A member that lets it in again after it was thrown out or left.")
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
    pairs: tuple[str, ...],
    storage: str | None,
    join: str | None,
    insecure: bool,
    profile: str | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Run one node of CLUSTER and tell what happens to it.

    SIGINT and SIGTERM close it in order; a second one ends it at once. A node that was thrown out is not run, unless
    it is told with --join where to come back.
    """
    logs.configure(verbose)
    if join is not None:
        parse_address(join, "--join")
    node = covey.Node(
        cluster,
        listen=listen,
        seeds=seeds or None,
        secret=secret_file,
        name=name,
        advertise=advertise,
        insecure=insecure,
        storage=storage,
        meta=parse_meta(pairs),
        config=PROFILES[profile]() if profile else None,
    )
    run(_serve(node, tell_json if as_json else _tell_sentence, join))


def parse_meta(pairs: tuple[str, ...]) -> dict[str, str]:
    """The metadata of `KEY=VALUE`s. Raises `ConfigError`."""
    meta: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise covey.ConfigError(f"--meta {pair!r}: write KEY=VALUE, as in zone=eu-1")
        if key in meta:
            raise covey.ConfigError(f"--meta {pair!r}: {key!r} was given before; give each key once")
        meta[key] = value
    return meta


async def _serve(node: covey.Node, tell: Callable[[Record], None], join: str | None) -> None:
    """Run `node` until a signal comes. Raises `ClosedError` when it died."""
    signalled = first_signal()
    async with node, node.events() as events:
        if join is None and (kicked := node.kicked) is not None:
            raise Misuse(_thrown_out(node, kicked, "not run"))
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
        reading = asyncio.create_task(_read(node, events, tell, join is None), name="read events")
        tasks = [reading]
        try:
            if join is not None:
                joining = asyncio.create_task(_join(node, join, tell), name="join")
                tasks.append(joining)
                await asyncio.wait((reading, joining, signalled), return_when=asyncio.FIRST_COMPLETED)
                if joining.done():
                    joining.result()
            await asyncio.wait((reading, signalled), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    tell({"event": "stopped", "cause": signalled.result().name if signalled.done() else "closed"})


async def _join(node: covey.Node, address: str, tell: Callable[[Record], None]) -> None:
    site = await node.join(address)
    tell({"event": "joined", "site": site, "address": address})


async def _read(node: covey.Node, events: AsyncIterator[Event], tell: Callable[[Record], None], ends: bool) -> None:
    """Tell every event. `ends`: a kick from before this run ends it, though it was heard of only now."""
    began_ms = time.time() * 1000
    async for event in events:
        tell(as_record(event))
        if ends and isinstance(event, covey.Kicked) and event.wall_ms < began_ms:
            raise Misuse(_thrown_out(node, event, "ended"))


def _thrown_out(node: covey.Node, kicked: covey.Kicked, what: str) -> str:
    return (
        f"this node, {short(node.site)}, was thrown out of {node.cluster!r} by {short(kicked.by)} at "
        f"{wall(kicked.wall_ms)}; it was {what}: let it in again with --join HOST:PORT of a member, "
        "or give it another --storage"
    )


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


def _tell_sentence(record: Record) -> None:
    if record["event"] == "member_updated" and record["status"] == "unknown":
        return  # people hear of it as soon as it is found alive or dead
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
            return f"neighbour {short(record['site'])} up at {visible(record['address'])}", "green"
        case {"event": "neighbour_down"}:
            return f"neighbour {short(record['site'])} down: {record['cause']}", "red"
        case {"event": "message"}:
            return f"message from {short(record['sender'])}: {_brief.repr(record['payload'])}", None
        case {"event": "link_refused"}:
            way = "from" if record["inbound"] else "to"
            who = "the other side" if record["refused_by_peer"] else "this side"
            detail = f" ({visible(record['detail'])})" if record["detail"] else ""
            return f"link {way} {visible(record['address'])} refused by {who}: {record['cause']}{detail}", "yellow"
        case {"event": "protocol_violation"}:
            return (
                f"link to {short(record['site'])} dropped: {record['cause']} ({visible(record['detail'])})",
                "yellow",
            )
        case {"event": "lost"}:
            return f"{record['count']} events were lost: they came faster than they were written", "yellow"
        case _ if record["event"].startswith("member_"):
            return _member_sentence(record)
        case _:
            return _own_sentence(record)


def _member_sentence(record: Record) -> tuple[str, str | None]:
    """What became of a member."""
    who = f"member {short(record['site'])} {visible(record['name'])}".rstrip()
    match record["event"]:
        case "member_up":
            return f"{who} is up at {visible(record['address'] or '?')}: {visible(record['evidence'])}", "green"
        case "member_suspect":
            return f"{who} is suspected: {visible(record['evidence'])}", "yellow"
        case "member_down":
            return f"{who} is down: {visible(record['evidence'])}", "red"
        case "member_left":
            why = "it is we who are out" if record["cause"] == "alone" else "it left"
            return f"{who} belongs no more: {why}", "yellow"
        case "member_kicked":
            return f"{who} was thrown out by {short(record['by'])}", "yellow"
        case _:
            return f"{who} is {record['status']} at {visible(record['address'] or '?')}", None


def _own_sentence(record: Record) -> tuple[str, str | None]:
    """What became of the cluster, or of this node."""
    match record:
        case {"event": "joined"}:
            return f"joined through {short(record['site'])} at {visible(record['address'])}", "green"
        case {"event": "kicked"}:
            return f"thrown out by {short(record['by'])} at {wall(record['wall_ms'])}; going on alone", "red"
        case {"event": "partition_suspected"}:
            silent = ", ".join(map(short, record["silent"]))
            return f"the network may be cut: silent are {silent}; {record['others']} others are not", "red"
        case {"event": "link_broken"}:
            return f"{short(record['one'])} does not reach {short(record['other'])}, and others do", "yellow"
        case {"event": "link_mended"}:
            return f"{short(record['one'])} reaches {short(record['other'])} again", "green"
        case {"event": "storage_trouble"}:
            return f"the storage refuses: {visible(record['reason'])}; {record['held']} effects wait for it", "red"
        case {"event": "storage_recovered"}:
            return "the storage took everything that waited for it", "green"
        case {"event": "clock_skew"}:
            return f"the clock of {short(record['site'])} is {record['ahead_ms']} ms ahead of ours", "yellow"
        case {"event": "stopped"}:
            return f"closed: {record['cause']}", None
        case _:
            return _brief.repr(record), None
