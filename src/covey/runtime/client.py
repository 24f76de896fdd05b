"""The asking side: an authenticated connection to one node from a process that is no node.

It makes a node's handshake over a node's transport, on the channel `client`; see `protocols.clients` for the other end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec

from covey.core import errors
from covey.core.errors import (
    AuthenticationError,
    ClusterMismatch,
    ConfigError,
    CoveyError,
    DeadlineExceeded,
    DecodeError,
    Overloaded,
    PeerUnreachable,
    UsageError,
    VersionMismatch,
)
from covey.core.ids import ClusterId, Site, draw_site
from covey.core.vocabulary import Cause, Channel
from covey.protocols.links.handshake import Dialler, HandshakeFailed, Identity
from covey.protocols.links.vocabulary import BytesReceived, ConnectionClosed, ConnectionFailed, ConnectionOpened
from covey.runtime.transport.base import Transport
from covey.wire import codec
from covey.wire.framing import Splitter, frame
from covey.wire.limits import FRAME_BYTES_MAX, HELLO_BYTES_MAX
from covey.wire.messages.client import ARGUMENTS_BYTES_MAX, WHAT_LENGTH_MAX, Answer, Ask
from covey.wire.messages.links import Goodbye, KeepAlive

KEEPALIVE_SECONDS = 1.0  # the shortest silence a profile takes for death is 5 s
ANSWER_BYTES_MAX = 64 << 20  # guess: four times what a node of this version answers

_CONNECTION = 1
_KEEPALIVE = frame(codec.join_body([codec.encode_message(KeepAlive())]))
_NOTHING = "nothing was asked"

_KINDS: dict[Cause, type[CoveyError]] = {
    Cause.SECRET: AuthenticationError,
    Cause.TLS: AuthenticationError,
    Cause.CLUSTER: ClusterMismatch,
    Cause.VERSION: VersionMismatch,
    Cause.BUSY: Overloaded,
}
_ERRORS = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CoveyError)
}


class TlsWanted(AuthenticationError):
    """The node speaks TLS only, and it was spoken to in the clear."""


class Client:
    """Ask one node. Use it as `async with Client(…) as client`, behind `connect` everything may be asked in turn.

    Law: an error of `connect` means that nothing was asked; one of `ask` that its class says what came of it.
    """

    def __init__(self, transport: Transport, address: str, cluster: ClusterId, secret: bytes, rng: Random) -> None:
        """`rng` feeds the identity and the handshake: outside of tests the system's own generator."""
        self.address = address
        self.site: Site | None = None  # of the node, once it is proved
        self._transport = transport
        self._me = Identity(cluster, draw_site(rng), 0, rng.randbytes(16), secret)
        self._rng = rng
        self._splitter = Splitter(HELLO_BYTES_MAX)
        self._facts: asyncio.Queue[Any] = asyncio.Queue()
        self._bodies: deque[bytes] = deque()
        self._beat: asyncio.TimerHandle | None = None
        self._number = 0
        transport.sink = self._facts.put_nowait

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the connection. The node forgets what was asked, and goes on with what it does for it."""
        if self._beat is not None:
            self._beat.cancel()
        self._transport.close(_CONNECTION)
        await self._transport.aclose()

    async def connect(self, timeout: float) -> None:
        """Find the node, and prove the secret to each other.

        Raises `PeerUnreachable`, `AuthenticationError`, `ClusterMismatch`, `VersionMismatch`, `Overloaded` where too
        many clients are there, `DeadlineExceeded` after `timeout` seconds. Nothing was asked then.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._connect()
        except HandshakeFailed as failure:
            raise self._failure(failure.cause, failure.detail, failure.by_peer) from None
        except TimeoutError as error:
            if isinstance(error, CoveyError):
                raise
            raise DeadlineExceeded(f"no answer from {self.address} in {timeout:.3g} s; {_NOTHING}") from None
        self._beat = asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self._keep_alive)

    async def _connect(self) -> None:
        self._transport.open(_CONNECTION, self.address)
        opened = await self._facts.get()
        if isinstance(opened, ConnectionFailed):
            raise self._failure(opened.cause, "", False)
        assert isinstance(opened, ConnectionOpened)
        dialler = Dialler(self._me, "", Channel.CLIENT, self._rng)
        self._write(dialler.opening())
        while not dialler.accepted:
            proved = dialler.peer is not None
            dialler.receive(await self._body())
            if dialler.peer is not None and not proved:
                self.site = dialler.peer.contact.site
                self._splitter.limit = FRAME_BYTES_MAX
                self._write(dialler.proof())

    async def ask(self, what: str, arguments: Mapping[str, Any] | None = None, timeout: float = 10.0) -> Any:
        """What the node answers. Raises the `CoveyError` that it answers with, `PeerUnreachable` when it goes away,
        `DeadlineExceeded` after `timeout` seconds; after these two it may still have done what was asked.
        """
        encoded = msgspec.msgpack.encode(dict(arguments)) if arguments else b""
        if len(encoded) > ARGUMENTS_BYTES_MAX or len(what) > WHAT_LENGTH_MAX:
            raise UsageError(f"{what!r:.60} with {len(encoded)} bytes of arguments is too long; {_NOTHING}")
        self._number += 1
        self._write(codec.join_body([codec.encode_message(Ask(self._number, what, encoded))]))
        try:
            async with asyncio.timeout(timeout):
                body = await self._answer(self._number)
        except TimeoutError as error:
            if isinstance(error, CoveyError):
                raise
            raise DeadlineExceeded(
                f"{self.address} did not answer {what!r} in {timeout:.3g} s; it may still take effect"
            ) from None
        try:
            return msgspec.msgpack.decode(body)
        except codec.HOSTILE as error:
            raise DecodeError(f"the answer of {self.address} is not msgpack ({error}); it was dropped") from None

    async def _answer(self, number: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            for message in codec.decode_body(await self._body())[0]:
                match message:
                    case Answer(answered, part, more, error) if answered == number:
                        if error:
                            raise error_of(error)
                        parts.append(part)
                        size += len(part)
                        if size > ANSWER_BYTES_MAX:
                            raise DecodeError(f"{self.address} answers more than {ANSWER_BYTES_MAX} bytes; dropped")
                        if not more:
                            return b"".join(parts)
                    case Goodbye(cause, detail):
                        word = Cause(cause).name.lower() if cause in Cause._value2member_map_ else str(cause)
                        raise PeerUnreachable(
                            f"{self.address} ended the connection ({word}: {detail}); "
                            "whether what was asked takes effect is not known"
                        )
                    case _:
                        pass

    # --- the connection ---------------------------------------------------------------------------------------------

    def _write(self, body: bytes) -> None:
        self._transport.write(_CONNECTION, frame(body))

    async def _body(self) -> bytes:
        """The next body. Raises `PeerUnreachable` when the connection is gone."""
        while not self._bodies:
            fact = await self._facts.get()
            if isinstance(fact, BytesReceived):
                self._bodies.extend(self._splitter.feed(fact.data))
            elif isinstance(fact, ConnectionClosed):
                raise self._failure(fact.cause, "", False)
        return self._bodies.popleft()

    def _keep_alive(self) -> None:
        self._transport.write(_CONNECTION, _KEEPALIVE)
        self._beat = asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self._keep_alive)

    def _failure(self, cause: Cause, detail: str, by_peer: bool) -> CoveyError:
        """What became of the connection, as an error."""
        known = _NOTHING if not self._number else "whether what was asked takes effect is not known"
        word = cause.name.lower()
        if cause is Cause.TLS and by_peer:
            return TlsWanted(f"{self.address} speaks TLS only; {known}")
        if cause is Cause.TLS:
            detail = "it holds another secret, has certificates of another authority, or speaks no TLS"
        elif cause is Cause.REFUSED:
            detail = "nobody listens there"
        kind = _KINDS.get(cause, PeerUnreachable)
        return kind(f"{self.address} ({word}{': ' if detail else ''}{detail}); {known}")


def error_of(text: str) -> CoveyError:
    """The error that a node answered with. One about its options would be taken for one about ours."""
    name, _, detail = text.partition(": ")
    kind = _ERRORS.get(name)
    if kind is None:
        return CoveyError(text)
    return (UsageError if issubclass(kind, ConfigError) else kind)(detail)
