"""`covey members`, `leave`, `kick` and `dump`: ask a running node, and write what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from covey.cli.asking import Where, ask, asks, find
from covey.cli.loop import run
from covey.cli.output import plain, table, tell_json, visible, wall
from covey.core.errors import ConfigError, UsageError

Answer = Mapping[str, Any]


@click.command()
@asks
@click.option("--why", is_flag=True, help="Tell how each came to be held for what it is.")
def members(where: Where, why: bool, as_json: bool) -> None:
    """List who belongs to CLUSTER, as one of its nodes sees it."""

    async def main() -> Answer:
        answer: Answer = await ask(where, await find(where), "members", {"why": why})
        return answer

    answer = run(main())
    if as_json:
        tell_json(answer)
        return
    for line in members_lines(answer):
        click.echo(line)


@click.command()
@asks
def leave(where: Where, as_json: bool) -> None:
    """Have one node leave CLUSTER and go on alone.

    It belongs again when it is started again, or joins.
    """

    async def main() -> Answer:
        addresses = await find(where)
        if len(addresses) > 1:
            raise ConfigError(
                f"several nodes of {where.cluster!r} run here; nothing was changed: "
                f"say which one leaves with --node, of {', '.join(addresses)}"
            )
        answer: Answer = await ask(where, addresses, "leave")
        return answer

    answer = run(main())
    if as_json:
        tell_json(answer)
    else:
        click.echo(f"{called(answer)} left {where.cluster!r} and is alone; {known(answer)}")


@click.command()
@asks
@click.argument("who", metavar="SITE_OR_NAME")
def kick(where: Where, who: str, as_json: bool) -> None:
    """Throw a member out of CLUSTER, dead or alive.

    SITE_OR_NAME is its name, or the beginning of its site in hex: four digits or more. It stays out until it joins
    again.
    """

    async def main() -> Answer:
        answer: Answer = await ask(where, await find(where), "kick", {"who": who}, lambda found: not found["itself"])
        return answer

    answer = run(main())
    if answer["itself"]:
        raise UsageError(
            f"{called(answer)} is the very node that was asked; nothing was changed: ask another one with --node, "
            "or have it go with covey leave"
        )
    if as_json:
        tell_json(answer)
    else:
        click.echo(f"{called(answer)} was thrown out of {where.cluster!r}; {known(answer)}")


@click.command()
@asks
def dump(where: Where, as_json: bool) -> None:
    """Show everything that one node of CLUSTER holds of its membership."""

    async def main() -> Answer:
        answer: Answer = await ask(where, await find(where), "dump")
        return answer

    answer = run(main())
    if as_json:
        tell_json(answer)
        return
    for line in dump_lines(answer):
        click.echo(line)


# --- for people -----------------------------------------------------------------------------------------------------


def members_lines(answer: Answer) -> list[str]:
    """The members as a table; `*` is the node that was asked."""
    listed = answer["members"]
    rows = [
        (
            "*" if member["site"] == answer["site"] else "",
            brief(member["site"]),
            member["name"] or "-",
            member["address"] or "-",
            member["status"],
            "ephemeral" if member["ephemeral"] else "durable",
            pairs(member["meta"]),
        )
        for member in listed
    ]
    lines = table(("", "SITE", "NAME", "ADDRESS", "STATUS", "KIND", "META"), rows)
    alive = sum(member["status"] == "alive" for member in listed)
    lines.append(f"{len(listed)} members, {alive} alive" if len(listed) != 1 else "1 member")
    if answer["solo"]:
        lines.append(alone(answer["kicked"]))
    for member in listed:
        if story := member.get("why"):
            lines += ["", f"{called(member)} is {member['status']}:", *(f"  {visible(line)}" for line in story)]
    return lines


def dump_lines(answer: Answer) -> list[str]:
    """The parts of a dump, each a table below its title."""
    solo = " (alone)" if answer["solo"] else ""
    stamp = answer["clock"]
    return [
        f"site         {answer['site'].hex()}",
        f"incarnation  {answer['incarnation']}",
        f"address      {visible(answer['address'] or '-')}",
        f"cluster      {answer['cluster'].hex()}{solo}",
        f"clock        {wall(stamp['ms'])} + {stamp['counter']}",
        f"imports      {answer['imports']}",
        "",
        f"record: {len(answer['record'])} entries",
        *table(
            ("SITE", "KIND", "VALUE", "ORIGIN", "CLOCK", "MAGIC", "WRITTEN", "IMPORT"),
            [
                (
                    brief(entry["site"]),
                    entry["kind"],
                    value_of(entry),
                    brief(entry["origin"]),
                    entry["clock"]["stamp"],
                    entry["magic"],
                    wall(entry["wall_ms"]),
                    entry["imported"],
                )
                for entry in answer["record"]
            ],
        ),
        "",
        f"floors: {len(answer['floors'])} peers",
        *table(
            ("SITE", "INCARNATION", "ACKED IN", "ACKED OUT"),
            [
                (brief(floor["site"]), floor["incarnation"], floor["acked_in"], floor["acked_out"])
                for floor in answer["floors"]
            ],
        ),
        "",
        f"liveness: {len(answer['liveness'])} lives",
        *table(
            ("SITE", "INCARNATION", "REFUTATION", "STATE"),
            [
                (brief(life["site"]), life["incarnation"], life["refutation"], life["state"])
                for life in answer["liveness"]
            ],
        ),
    ]


def value_of(entry: Answer) -> str:
    """What an entry of the record says, in words where it has any."""
    value = entry["value"]
    if entry["kind"] == "mem" and isinstance(value, int):
        return ("member" if value & 1 else "out") + (", ephemeral" if value & 2 else "")
    if entry["kind"] == "meta" and isinstance(value, dict):
        return " ".join(filter(None, (str(value["name"]), pairs(value["meta"])))) or "-"
    return str(value)


def alone(kicked: Answer | None) -> str:
    """Why the node that was asked has no company."""
    if kicked is None:
        return "This node left the cluster and is alone until it is started again, or joins."
    who, when = brief(kicked["by"]), wall(kicked["wall_ms"])
    return f"This node was thrown out by {who} at {when} and is alone until it joins: covey node … --join HOST:PORT"


def known(answer: Answer) -> str:
    """Who has heard of it."""
    count, missing = len(answer["acknowledged"]), sites(answer["missing"])
    if not count and not missing:
        return "no other member is there to know of it"
    heard = f"{count} {'member knows' if count == 1 else 'members know'} of it"
    return f"{heard}, not yet {missing}" if missing else heard


def called(member: Answer) -> str:
    """A member's site, and its name if it has one."""
    return f"{brief(member['site'])} {visible(member['name'])}".rstrip()


def brief(site: bytes) -> str:
    """The beginning of a site, enough to tell it from others."""
    return site[:4].hex()


def sites(found: Sequence[bytes]) -> str:
    """Several of them."""
    return ", ".join(map(brief, found))


def pairs(meta: Mapping[str, Any]) -> str:
    """Metadata on one line."""
    return " ".join(f"{key}={plain(value)}" for key, value in meta.items())
