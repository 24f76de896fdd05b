"""The asking side, against a node that answers as a test tells it: rightly, rudely, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from covey.core import errors
from covey.core.ids import Site, cluster_id
from covey.core.vocabulary import Cause, Channel
from covey.protocols.links.handshake import ACCEPTED, Acceptor, Identity, refusal
from covey.protocols.links.vocabulary import BytesReceived, ConnectionClosed, ConnectionFailed, ConnectionOpened
from covey.runtime import client as module
from covey.runtime.client import Client, TlsWanted, error_of
from covey.runtime.transport.base import Sink
from covey.wire import codec
from covey.wire.framing import Splitter, frame
from covey.wire.messages.client import Answer, Ask
from covey.wire.messages.links import Goodbye, KeepAlive

SECRET = b"sixteen bytes at least"
FLOCK = cluster_id("flock")
NODE = Identity(FLOCK, Site(b"n" * 16), 7, b"b" * 16, SECRET)

Reply = Callable[[Ask], list[Any]]


class OneNode:
    """A transport with one node at the other end. What it says is given: bodies, or facts for the client."""

    def __init__(
        self, reply: Reply, me: Identity = NODE, opening: Any = None, welcome: list[bytes] | None = None
    ) -> None:
        self.sink: Sink = lambda fact: None
        self.local_host: Callable[[str], None] = lambda host: None
        self.reads = 0
        self.asked: list[Ask] = []
        self.kept_alive = 0
        self.closed = False
        self._reply = reply
        self._opening = opening or ConnectionOpened(1)
        self._welcome = welcome
        self._acceptor = Acceptor(me, "node:1", Random(2))
        self._splitter = Splitter()

    def open(self, connection: int, address: str) -> None:
        self._say(self._opening)

    def write(self, connection: int, data: bytes) -> None:
        for body in self._splitter.feed(data):
            if self._welcome is not None:
                for answer in self._welcome:
                    self._say(answer)
            elif self._acceptor.peer is None:
                answers = self._acceptor.receive(body)
                for answer in [ACCEPTED] if self._acceptor.peer is not None else answers:
                    self._say(answer)
            else:
                for message in codec.decode_body(body)[0]:
                    self.kept_alive += isinstance(message, KeepAlive)
                    if isinstance(message, Ask):
                        self.asked.append(message)
                        for part in self._reply(message):
                            self._say(part)

    def _say(self, what: Any) -> None:
        if isinstance(what, msgspec.Struct) and type(what) in (Answer, Goodbye, KeepAlive, Ask):
            what = codec.join_body([codec.encode_message(what)])  # type: ignore[arg-type]
        fact = BytesReceived(1, frame(what)) if isinstance(what, bytes) else what
        asyncio.get_running_loop().call_soon(self.sink, fact)

    def close(self, connection: int) -> None:
        self.closed = True

    async def listen(self, address: str) -> str:
        raise AssertionError("a client does not listen")

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    async def aclose(self) -> None: ...


def right(ask: Ask) -> list[Any]:
    return [Answer(ask.number, b"\x01", False, "")]


async def connected(node: OneNode, secret: bytes = SECRET) -> Client:
    client = Client(node, "node:1", FLOCK, secret, Random(1))
    await client.connect(5)
    return client


async def asked(reply: Reply) -> Any:
    """What comes of one ask that is answered so."""
    async with await connected(OneNode(reply)) as client:
        return await client.ask("members", {"why": True}, timeout=2)


async def test_it_proves_the_secret_asks_and_hears_the_answer():
    node = OneNode(right)
    async with await connected(node) as client:
        assert client.site == NODE.site
        assert await client.ask("members", {"why": True}) == 1
        assert await client.ask("dump") == 1
    peer = node._acceptor.peer
    assert peer is not None and (peer.channel, peer.contact.address) == (Channel.CLIENT, "")
    assert node.asked == [Ask(1, "members", b"\x81\xa3why\xc3"), Ask(2, "dump", b"")]
    assert node.closed


async def test_parts_are_put_together_and_what_is_not_about_the_ask_is_passed_over():
    encoded = msgspec.msgpack.encode(["x" * 1000])

    def reply(ask: Ask) -> list[Any]:
        return [
            KeepAlive(),
            Answer(ask.number - 1, b"\xc1", False, ""),
            Answer(ask.number, encoded[:400], True, ""),
            b"\x91\x91\x7f",  # a message that only a newer version knows
            Answer(ask.number, encoded[400:], False, ""),
        ]

    assert await asked(reply) == ["x" * 1000]


@pytest.mark.parametrize(
    "said, kind, text",
    [
        (Goodbye(Cause.GOODBYE, "closing"), errors.PeerUnreachable, r"goodbye: closing\).* is not known"),
        (Goodbye(250, "new"), errors.PeerUnreachable, r"250: new\)"),
        (ConnectionClosed(1, Cause.RESET), errors.PeerUnreachable, r"\(reset\); whether .* is not known"),
        (Answer(1, b"\xc1", False, ""), errors.DecodeError, "not msgpack"),
        (Answer(1, b"", False, "UnknownName: nobody"), errors.UnknownName, "^nobody$"),
        (b"\xc1", errors.DecodeError, "not a list of messages"),
        (BytesReceived(1, b"\xff\xff\xff\xff"), errors.FrameError, "is dropped"),
        (KeepAlive(), errors.DeadlineExceeded, r"did not answer 'members' in 0.1 s; it may still take effect"),
    ],
)
async def test_whatever_else_comes_instead_of_an_answer_is_a_typed_error(said, kind, text):
    async with await connected(OneNode(lambda ask: [said])) as client:
        with pytest.raises(kind, match=text):
            await client.ask("members", timeout=0.1)


async def test_an_answer_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(module, "ANSWER_BYTES_MAX", 1000)
    with pytest.raises(errors.DecodeError, match="answers more than 1000 bytes"):
        await asked(lambda ask: [Answer(ask.number, b"x" * 600, True, "")] * 2)


@pytest.mark.parametrize(
    "welcome, kind, text",
    [
        ([refusal(Cause.BUSY, "32 clients")], errors.Overloaded, r"\(busy: 32 clients\); nothing was asked"),
        ([refusal(Cause.CLUSTER, "another")], errors.ClusterMismatch, "another"),
        ([refusal(Cause.VERSION, "channel 2 is not known here")], errors.VersionMismatch, "channel 2"),
        ([refusal(Cause.SECRET, "another")], errors.AuthenticationError, "another"),
        ([refusal(Cause.TLS, "TLS only")], TlsWanted, "speaks TLS only; nothing was asked"),
        ([b"\xc1"], errors.PeerUnreachable, r"\(decode: "),
        ([ACCEPTED], errors.PeerUnreachable, "Accepted came where Welcome was due"),
        ([], errors.DeadlineExceeded, "no answer from node:1 in 0.1 s; nothing was asked"),
    ],
)
async def test_who_is_not_let_in_hears_why_and_has_asked_nothing(welcome, kind, text):
    async with Client(OneNode(right, welcome=welcome), "node:1", FLOCK, SECRET, Random(1)) as client:
        with pytest.raises(kind, match=text):
            await client.connect(0.1)


@pytest.mark.parametrize(
    "opening, kind, text",
    [
        (ConnectionFailed(1, Cause.REFUSED), errors.PeerUnreachable, "nobody listens there"),
        (ConnectionFailed(1, Cause.TLS), errors.AuthenticationError, "certificates of another authority"),
        (ConnectionFailed(1, Cause.NO_ADDRESS), errors.PeerUnreachable, r"\(no_address\)"),
    ],
)
async def test_a_connection_that_does_not_come_about_is_an_error_with_its_cause(opening, kind, text):
    async with Client(OneNode(right, opening=opening), "node:1", FLOCK, SECRET, Random(1)) as client:
        with pytest.raises(kind, match=text):
            await client.connect(1)


async def test_a_node_of_another_secret_is_found_out_before_anything_is_proved_to_it():
    node = OneNode(right, me=msgspec.structs.replace(NODE, secret=b"a guess of sixteen"))
    async with Client(node, "node:1", FLOCK, SECRET, Random(1)) as client:
        with pytest.raises(errors.AuthenticationError, match="another secret"):
            await client.connect(1)
    assert node._acceptor.peer is None


async def test_while_it_waits_it_says_that_it_is_there(monkeypatch):
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.01)
    node = OneNode(lambda ask: [])
    async with await connected(node) as client:
        with pytest.raises(errors.DeadlineExceeded):
            await client.ask("members", timeout=0.2)
    assert node.kept_alive >= 3


@pytest.mark.parametrize("what, arguments", [("x" * 65, {}), ("members", {"who": "x" * 5000})])
async def test_what_is_too_long_to_be_asked_is_not(what, arguments):
    node = OneNode(right)
    async with await connected(node) as client:
        with pytest.raises(errors.UsageError, match="too long; nothing was asked"):
            await client.ask(what, arguments)
        assert await client.ask("members") == 1
    assert len(node.asked) == 1


@pytest.mark.parametrize(
    "text, kind, said",
    [
        ("UnknownName: nobody: is called so", errors.UnknownName, "nobody: is called so"),
        ("Overloaded: later", errors.Overloaded, "later"),
        ("ConfigError: of the node", errors.UsageError, "of the node"),
        ("ZeroDivisionError: x", errors.CoveyError, "ZeroDivisionError: x"),
        ("InvariantError: x", errors.CoveyError, "InvariantError: x"),
        ("no name at all", errors.CoveyError, "no name at all"),
    ],
)
def test_an_error_comes_back_as_what_it_was_and_never_as_one_about_our_own_options(text, kind, said):
    error = error_of(text)
    assert (type(error), str(error)) == (kind, said)
