"""`covey hub`: which hubs there are, and which children run where, as a running node sees them; and to stop some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec

from covey.cli.asking import Where, ask_who_knows, asks
from covey.cli.groups import NODES_SHOWN, called, meta_of, said, shortened
from covey.cli.keys import parse_key
from covey.cli.loop import run
from covey.cli.output import plain, table, tell_json, visible
from covey.core.errors import DeadlineExceeded, UnknownName, UsageError
from covey.wire.keys import Key, decode_key, encode_key

Answer = Mapping[str, Any]

IDS_BYTES_MAX = 2_000  # in one ask, which may have 4 KiB: with a hub's name of 1 KiB, and who asks
KEYS = (
    "HUB and ID are read as Python writes them: 1, '1', True and ('order', 1) differ; what is not written so is text."
)


@click.group()
def hub() -> None:
    """Look at hubs and their children, and stop some."""


@hub.command("ls", epilog=KEYS)
@asks
@click.argument("hub_typed", metavar="[HUB]", required=False)
def list_hubs(where: Where, hub_typed: str | None, as_json: bool) -> None:
    """List the hubs of CLUSTER, or the children of HUB."""
    if hub_typed is None:
        answer = _ask(where, "hubs", {})[0]
        if as_json:
            tell_json({**_head(answer), "hubs": [_hub_json(answer, one) for one in answer["hubs"]]})
        else:
            _print(_hubs_lines(answer))
        return
    key = parse_key(hub_typed)
    pages = _ask_hub(where, "hub", key, {})
    answer = pages[0]
    children = [child for page in pages for child in page["children"]]
    if as_json:
        tell_json({**_head(answer), "hub": said(key), "children": [_child_json(child) for child in children]})
    else:
        _print(_children_lines(answer, children))


@hub.command("show", epilog=KEYS)
@asks
@click.argument("hub_typed", metavar="HUB")
@click.argument("id_typed", metavar="ID")
def show(where: Where, hub_typed: str, id_typed: str, as_json: bool) -> None:
    """Show all about the child ID of HUB: where it runs, why there, and how it failed last."""
    key, id = parse_key(hub_typed), parse_key(id_typed)
    answer = _ask_hub(where, "hub_child", key, {"id": encode_key(id)})[0]
    if answer["child"] is None:
        reasons = "; ".join(answer["reasons"])
        raise UnknownName(f"{id!r} ({type(id).__name__}) of the hub {key!r}: {reasons}")
    if as_json:
        explained = {name: answer[name] for name in ("belongs", "ranking", "runs", "reasons")}
        tell_json({**_head(answer), "hub": said(key), **_child_json(answer["child"]), "explain": explained})
    else:
        _print(_child_lines(answer))


@hub.command("stop", epilog=KEYS)
@asks
@click.argument("hub_typed", metavar="HUB")
@click.argument("ids_typed", metavar="ID...", nargs=-1, required=True)
def stop(where: Where, hub_typed: str, ids_typed: tuple[str, ...], as_json: bool) -> None:
    """Stop children of HUB for good, wherever they run. Those that are started again later are new ones."""
    key = parse_key(hub_typed)
    ids = list(dict.fromkeys(encode_key(parse_key(typed)) for typed in ids_typed))
    answers = [
        _ask_hub(where, "hub_stop", key, {"ids": some, "timeout": where.timeout * 0.8})[0] for some in batches(ids)
    ]
    stopped, errors = ([one for answer in answers for one in answer[what]] for what in ("stopped", "errors"))
    answer = {**answers[0], "stopped": stopped, "errors": errors}
    if as_json:
        tell_json(
            {
                **_head(answer),
                "hub": said(key),
                "stopped": [{**_id(one), "nodes": one["nodes"]} for one in answer["stopped"]],
                "errors": [{**one, **_id(one)} for one in answer["errors"]],
            }
        )
    else:
        _print(_stopped_lines(answer))
    _raise_for(errors)


def batches(ids: Sequence[bytes]) -> list[list[bytes]]:
    """The ids in their order, in pieces that fit into one ask."""
    found: list[list[bytes]] = [[]]
    size = 0
    for id in ids:
        if found[-1] and size + len(id) > IDS_BYTES_MAX:
            found.append([])
            size = 0
        found[-1].append(id)
        size += len(id) + 3  # what msgpack puts around it
    return found


def _raise_for(errors: list[Any]) -> None:
    if not errors:
        return
    told = "; ".join(f"{decode_key(one['id'])!r}: {one['reason']}" for one in errors)
    if any(one["trouble"] == "no_response" for one in errors):
        raise DeadlineExceeded(told)
    if all(one["trouble"] == "not_found" for one in errors):
        raise UnknownName(told)
    raise UsageError(told)


# --- asking ---------------------------------------------------------------------------------------------------------


def _ask(where: Where, what: str, given: Mapping[str, Any]) -> list[Any]:
    return run(ask_who_knows(where, what, given, "such hub"))


def _ask_hub(where: Where, what: str, key: Key, given: Mapping[str, Any]) -> list[Any]:
    """The same of one hub, or of the singleton of that name. Raises `UnknownName` where no node has it open."""
    pages = _ask(where, what, {"hub": encode_key(key), **given})
    single = encode_key(("singleton", key))
    if not pages[0]["known"] and single in pages[0]["hubs"]:
        pages = _ask(where, what, {"hub": single, **given})
    if not pages[0]["known"]:
        used = ", ".join(repr(decode_key(one)) for one in pages[0]["hubs"]) or "none"
        raise UnknownName(
            f"no node of {where.cluster!r} has the hub {key!r} ({type(key).__name__}) open; in use: {used}"
        )
    return pages


def _print(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


# --- for machines ---------------------------------------------------------------------------------------------------


def _head(answer: Answer) -> dict[str, Any]:
    return {"cluster": answer["cluster"], "site": answer["site"]}


def _hub_json(answer: Answer, one: Answer) -> dict[str, Any]:
    nodes = [{"site": site, "name": answer["names"].get(site, "")} for site in one["nodes"]]
    counts = {"children": one.get("children_count"), "running": one.get("running"), "settings": one.get("settings")}
    return {**said(decode_key(one["key"])), "nodes": nodes, **counts}


def _id(one: Answer) -> dict[str, Any]:
    told = said(decode_key(one["id"]))
    return {"id": told["key"], "literal": told["literal"]}


def _child_json(child: Answer) -> dict[str, Any]:
    metadata = meta_of(child["metadata"])
    told = {**child, **_id(child), "metadata": metadata, "tag": _tag(metadata)}
    if "arguments" in child:
        told["arguments"] = meta_of(child["arguments"])
    return told


def _tag(metadata: Any) -> Any:
    return metadata.get("tag") if isinstance(metadata, dict) else None


# --- for people -----------------------------------------------------------------------------------------------------


def _hubs_lines(answer: Answer) -> list[str]:
    rows = [
        (
            repr(decode_key(one["key"])),
            one.get("children_count", "?"),
            one.get("running", "?"),
            _nodes(answer, one["nodes"]),
            one.get("settings", "?"),
        )
        for one in answer["hubs"]
    ]
    counted = f"{_many(len(rows), 'hub')}, as {called(answer, answer['site'])} sees them"
    return [*table(("HUB", "CHILDREN", "RUNNING", "NODES", "SETTINGS"), rows), counted] if rows else [counted]


def _children_lines(answer: Answer, children: list[Any]) -> list[str]:
    rows = [
        (
            repr(decode_key(child["id"])),
            ", ".join(visible(copy["name"]) for copy in child["copies"]) or "-",
            ", ".join(copy["state"] for copy in child["copies"]) or "waiting",
            ", ".join(str(copy["token"]) for copy in child["copies"]) or "-",
            "-" if (tag := _tag(meta_of(child["metadata"]))) is None else _short(tag),
        )
        for child in children
    ]
    counted = f"{_many(len(rows), 'child', 'children')}, as {called(answer, answer['site'])} sees them"
    return [*table(("ID", "WHERE", "STATE", "TOKEN", "TAG"), rows), counted] if rows else [counted]


def _child_lines(answer: Answer) -> list[str]:
    child = answer["child"]
    rows = [
        ("id", repr(decode_key(child["id"]))),
        *(_start_rows(answer, child) if child["start"] else []),
        ("belongs", answer["belongs"] or "nowhere"),
        ("ranking", " > ".join(answer["ranking"]) or "-"),
        *(
            ("runs", f"{copy['name']} ({copy['state']}), instance {copy['instance']}, token {copy['token']}")
            for copy in child["copies"]
        ),
        *([] if child["copies"] else [("runs", "nowhere")]),
        *(("why", reason) for reason in answer["reasons"]),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {visible(text)}" for name, text in rows]
    for copy in child["copies"]:
        if copy["error"]:
            lines.append(f"how it failed last on {visible(copy['name'])}:")
            lines += [f"  {visible(line)}" for line in copy["error"].splitlines()]
    return lines


def _start_rows(answer: Answer, child: Answer) -> list[tuple[str, str]]:
    """What was started, unless it is no child any more."""
    idle = f", idle timeout {child['idle_timeout']:g} s" if child["idle_timeout"] else ""
    return [
        ("start", child["start"]),
        ("arguments", _short(meta_of(child["arguments"]))),
        ("metadata", _short(meta_of(child["metadata"]))),
        ("restart", f"{child['restart']}, shutdown timeout {child['shutdown_timeout']:g} s{idle}"),
        ("started by", called(answer, child["author"])),
    ]


def _stopped_lines(answer: Answer) -> list[str]:
    return [
        f"{decode_key(one['id'])!r} stopped, on " + (", ".join(called(answer, site) for site in one["nodes"]) or "none")
        for one in answer["stopped"]
    ]


def _nodes(answer: Answer, sites: list[bytes]) -> str:
    shown = [called(answer, site) for site in sites[:NODES_SHOWN]]
    return ", ".join([*shown, *([f"and {len(sites) - NODES_SHOWN} more"] if len(sites) > NODES_SHOWN else [])])


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"


def _short(value: Any) -> str:
    return shortened(msgspec.json.encode(plain(value)).decode())
