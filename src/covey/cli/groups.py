"""`covey groups`: which groups there are, and who is in one, as a running node sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from covey.api.group_node import encode_scope
from covey.api.presence import SCOPE as PRESENCE
from covey.api.presence import read_entry
from covey.cli.asking import Where, ask_who_knows, asks
from covey.cli.keys import key_json, parse_key
from covey.cli.loop import run
from covey.cli.members import brief
from covey.cli.output import plain, table, tell_json, visible
from covey.core.errors import DecodeError, UnknownName
from covey.wire.keys import Key, decode_key, encode_key
from covey.wire.payloads import decode_payload

Answer = Mapping[str, Any]

META_SHOWN = 100  # characters on a line for people; --json has all of it
NODES_SHOWN = 8  # on a line likewise


@click.command()
@asks
@click.option("--scope", default="", help="Another scope than that of node.group(key); 'presence' has node.presence.")
@click.argument("typed", metavar="[KEY]", required=False)
def groups(where: Where, scope: str, typed: str | None, as_json: bool) -> None:
    """List the groups of CLUSTER, or the members of the group KEY.

    KEY is read as Python writes it: 1, '1', True, b'raw' and ('order', 1) are five keys. What is not written so is
    text: orders and 'orders' are one key. What begins with - comes behind a --.
    """
    encode_scope(scope)
    key = None if typed is None else parse_key(typed)

    async def main() -> dict[str, Any]:
        given = {"scope": scope} if key is None else {"scope": scope, "key": encode_key(key)}
        what, listed = ("groups", "groups") if key is None else ("group", "members")
        pages = await ask_who_knows(where, what, given, f"groups{in_scope(scope)}")
        told = [each for page in pages for each in page.get(listed, ())]
        return {**pages[0], listed: in_order(told) if key is None else told}

    answer = run(main())
    if scope and scope not in answer["scopes"]:
        used = ", ".join(map(repr, answer["scopes"])) or "none"
        raise UnknownName(f"no node of {where.cluster!r} uses the scope {scope!r}; in use: {used}")
    if key is not None and not answer["members"]:
        raise UnknownName(f"the group {key!r} ({type(key).__name__}) has no member{in_scope(scope)}")
    if as_json:
        tell_json(groups_json(answer) if key is None else group_json(answer, key))
        return
    for line in groups_lines(answer) if key is None else group_lines(answer):
        click.echo(line)


def in_order(found: list[Any]) -> list[Any]:
    """Groups by the kind of their keys, then by the keys."""

    def rank(group: Any) -> tuple[str, Any]:
        key = decode_key(group["key"])
        return type(key).__name__, repr(key) if isinstance(key, tuple) else key

    return sorted(found, key=rank)


# --- for machines ---------------------------------------------------------------------------------------------------


def groups_json(answer: Answer) -> Answer:
    """Every group, with how often each node's mailboxes joined it."""
    names = answer["names"]
    return {
        **head(answer),
        "groups": [
            {
                **said(decode_key(group["key"])),
                "members": sum(count for _, count in group["nodes"]),
                "mailboxes": group["mailboxes"],
                "nodes": [
                    {"site": site, "name": names.get(site, ""), "members": count} for site, count in group["nodes"]
                ],
            }
            for group in answer["groups"]
        ],
    }


def group_json(answer: Answer, key: Key) -> Answer:
    """Every member of one group, with what it says of itself; of a presence also as whom it is there."""
    return {**head(answer), **said(key), "members": entries(answer)}


def head(answer: Answer) -> dict[str, Any]:
    """What was asked, and who answered."""
    return {"cluster": answer["cluster"], "site": answer["site"], "scope": answer["scope"]}


def said(key: Key) -> dict[str, Any]:
    """A key for programs, and as it may be given to this command again."""
    return {"key": key_json(key), "literal": repr(key)}


def entries(answer: Answer) -> list[dict[str, Any]]:
    """Every member as JSON has it; of a presence with the key of its entry."""
    found = []
    for site, incarnation, mailbox, count, encoded in answer["members"]:
        meta = meta_of(encoded)
        entry = read_entry(meta) if answer["scope"] == PRESENCE else None
        told = {
            "site": site,
            "name": answer["names"].get(site, ""),
            "incarnation": incarnation,
            "mailbox": mailbox,
            "count": count,
            "meta": meta if entry is None else entry[1],
        }
        found.append(told if entry is None else {**told, "entry": said(entry[0])})
    return found


# --- for people -----------------------------------------------------------------------------------------------------


def groups_lines(answer: Answer) -> list[str]:
    """The groups as a table."""
    listed = answer["groups"]
    rows = [
        (
            repr(decode_key(group["key"])),
            sum(count for _, count in group["nodes"]),
            group["mailboxes"],
            on_nodes(answer, group["nodes"]),
        )
        for group in listed
    ]
    many = f"{len(listed)} groups" if len(listed) != 1 else "1 group"
    counted = f"{many}{in_scope(answer['scope'])}, as {called(answer, answer['site'])} sees them"
    return [*table(("GROUP", "MEMBERS", "MAILBOXES", "NODES"), rows), counted] if rows else [counted]


def group_lines(answer: Answer) -> list[str]:
    """The members of one group as a table; `*` are those of the node that was asked."""
    presence, listed = answer["scope"] == PRESENCE, entries(answer)
    rows = [
        (
            "*" if told["site"] == answer["site"] else "",
            brief(told["site"]),
            told["name"] or "-",
            told["incarnation"],
            told["mailbox"],
            told["count"],
            *((told["entry"]["literal"] if "entry" in told else "-",) if presence else ()),
            shortened(msgspec.json.encode(plain(told["meta"])).decode()) if told["meta"] is not None else "-",
        )
        for told in listed
    ]
    heads = ("", "SITE", "NAME", "INCARNATION", "MAILBOX", "COUNT", *(("ENTRY",) if presence else ()), "META")
    count = sum(told["count"] for told in listed)
    distinct = f", {len(rows)} distinct" if len(rows) != count else ""
    return [*table(heads, rows), f"{count} member{'s' if count != 1 else ''}{distinct}"]


def on_nodes(answer: Answer, nodes: list[Any]) -> str:
    """The nodes of a group, and how many members each has."""
    shown = [f"{called(answer, site)} ({count})" for site, count in nodes[:NODES_SHOWN]]
    rest = [f"and {len(nodes) - NODES_SHOWN} more"] if len(nodes) > NODES_SHOWN else []
    return ", ".join([*shown, *rest])


def called(answer: Answer, site: bytes) -> str:
    """A node's site, and its name if it has one."""
    return f"{brief(site)} {visible(answer['names'].get(site, ''))}".rstrip()


def in_scope(scope: str) -> str:
    """Words for a scope that is not the usual one."""
    return f" in the scope {scope!r}" if scope else ""


def shortened(text: str) -> str:
    """Text that stays readable on a line."""
    return text if len(text) <= META_SHOWN else f"{text[:META_SHOWN]}… ({len(text)} characters)"


def meta_of(encoded: bytes) -> Any:
    """What a member says of itself; None where nobody understands it."""
    try:
        return decode_payload(encoded) if encoded else None
    except DecodeError:
        return None
