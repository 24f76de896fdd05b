"""How commands reach a running node: where it is, with which secret, and in how many seconds."""

from __future__ import annotations

import functools
import getpass
import os
import random
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from covey.api.options import Options, check_options
from covey.core.errors import ConfigError, DeadlineExceeded, PeerUnreachable
from covey.runtime.addresses import is_loopback, parse_address
from covey.runtime.client import Client, TlsWanted
from covey.runtime.discovery import parse_seed
from covey.runtime.environment import RealEnvironment

PORTS = (1, 1)  # a local seed has no ports to try


class Where(msgspec.Struct, frozen=True):
    """Which node is asked, as the options say it."""

    cluster: str
    node: str | None
    secret_file: Path | None
    insecure: bool
    timeout: float


def asks(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that lead to a node, as its argument `where`, and `as_json`."""

    @click.argument("cluster")
    @click.option("--node", metavar="HOST:PORT", help="The node to ask. Default: one of this user on this host.")
    @click.option("--secret-file", type=click.Path(path_type=Path), help="The file that holds the cluster's secret.")
    @click.option("--insecure", is_flag=True, help="Speak plaintext beyond loopback.")
    @click.option(
        "--timeout",
        type=click.FloatRange(0, min_open=True),
        default=10.0,
        show_default=True,
        help="Seconds to wait for the answer.",
    )
    @click.option("--json", "as_json", is_flag=True, help="One JSON object, bytes as hex.")
    @functools.wraps(command)
    def wrapped(
        cluster: str, node: str | None, secret_file: Path | None, insecure: bool, timeout: float, **rest: Any
    ) -> Any:
        if timeout != timeout:  # the range lets it pass
            raise ConfigError("--timeout: nan is no number of seconds; nothing was asked: give one above 0")
        if node is not None:
            parse_address(node, "--node")
        return command(where=Where(cluster, node, secret_file, insecure, timeout), **rest)  # fmt: skip

    return wrapped


async def find(where: Where) -> list[str]:
    """The addresses to try: the one given, or those of the nodes that announced themselves on this host."""
    if where.node is not None:
        return [where.node]
    seed = parse_seed(f"local:{where.cluster}", PORTS)
    found = await seed.resolve()
    if not found:
        reason = f" ({seed.trouble})" if seed.trouble else ""
        raise PeerUnreachable(f"no node of {where.cluster!r} is found on this host{reason}; give --node HOST:PORT")
    return found


async def ask(
    where: Where,
    addresses: list[str],
    what: str,
    arguments: Mapping[str, Any] | None = None,
    wanted: Callable[[Any], bool] = lambda answer: True,
) -> Any:
    """What the first node answers that can be reached, or the first whose answer is `wanted`; else the last answer.

    Nobody else is asked once one has been asked and fails: it may have done it. Each gets its share of the time, so
    one that hangs does not keep us from the others.
    """
    return (await ask_pages(where, addresses, what, arguments, wanted))[0]


async def ask_pages(
    where: Where,
    addresses: list[str],
    what: str,
    arguments: Mapping[str, Any] | None = None,
    wanted: Callable[[Any], bool] = lambda answer: True,
) -> list[Any]:
    """The same, with all pages of the answer: while one says what is `next`, the same node is asked `after` that."""
    deadline = _now() + where.timeout
    trouble: PeerUnreachable | DeadlineExceeded | None = None
    pages: list[Any] = []
    for index, address in enumerate(addresses):
        share = max(deadline - _now(), 0.001) / (len(addresses) - index)
        try:
            client = await _connect(where, address, share)
        except (PeerUnreachable, DeadlineExceeded) as error:
            trouble = error
            continue
        given: dict[str, Any] = {**(arguments or {}), "by": _myself()}
        async with client:
            pages = [await client.ask(what, given, max(deadline - _now(), 0.001))]
            while wanted(pages[0]) and (after := pages[-1].get("next")) is not None:
                pages.append(await client.ask(what, {**given, "after": after}, max(deadline - _now(), 0.001)))
        if wanted(pages[0]):
            return pages
    if not pages:
        assert trouble is not None
        raise trouble
    return pages


async def ask_who_knows(where: Where, what: str, given: Mapping[str, Any], unknown: str) -> list[Any]:
    """All pages of the answer of a node that knows what is asked about; whoever does not know names some that do.

    `unknown` says in words what a node does not know.
    """
    pages = await ask_pages(where, await find(where), what, given, lambda answer: answer["known"])
    if elsewhere := pages[0]["elsewhere"]:
        try:
            return await ask_pages(where, elsewhere, what, given, lambda answer: answer["known"])
        except (PeerUnreachable, DeadlineExceeded) as error:
            asked = pages[0]["site"].hex()[:8]
            raise type(error)(f"{asked} knows no {unknown}; whom it named: {error}") from None
    return pages


def _now() -> float:
    return RealEnvironment().monotonic_us() / 1e6


async def _connect(where: Where, address: str, seconds: float) -> Client:
    """A connection as a node would make it. On loopback nodes speak either way, so the clear is tried first."""
    clear = where.insecure or is_loopback(parse_address(address, "--node")[0])
    try:
        return await _connect_once(_options(where, address, encrypt=not clear), address, seconds)
    except TlsWanted:
        if where.insecure:
            raise
        return await _connect_once(_options(where, address, encrypt=True), address, seconds)


async def _connect_once(options: Options, address: str, seconds: float) -> Client:
    environment = RealEnvironment()
    transport = environment.transport(options.make_tls())
    client = Client(transport, address, options.cluster_id, options.secret, random.SystemRandom())
    try:
        await client.connect(seconds)
    except BaseException:
        await client.aclose()
        raise
    return client


def _options(where: Where, address: str, encrypt: bool) -> Options:
    """The options of a node that would speak to this address in this way."""
    if encrypt and where.secret_file is None and not os.environ.get("COVEY_SECRET_FILE"):
        raise ConfigError(
            f"secret: {address} is reached under TLS, which is made from the cluster's secret; nothing was asked: "
            "give --secret-file, or set COVEY_SECRET_FILE"
        )
    return check_options(
        where.cluster,
        listen="0.0.0.0:0" if encrypt or where.insecure else "127.0.0.1:0",
        seeds=(),
        secret=where.secret_file,
        name=None,
        advertise=None,
        tls=None,
        insecure=where.insecure,
        storage=None,
        meta=None,
        config=None,
    )


def _myself() -> str:
    """Who asks, for the node's log."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()} pid {os.getpid()}"[:100]
