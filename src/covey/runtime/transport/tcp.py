"""TCP, plain or under TLS, on any asyncio event loop.

Bounds: at most `CONNECTIONS_MAX` accepted connections, of which at most `GREETING_MAX` may be in their TLS handshake,
for `TLS_SECONDS_MAX` each; a stranger beyond them is closed at once. What a closed connection still has to write is
given `LINGER_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from covey.core.errors import ConfigError
from covey.core.vocabulary import Cause
from covey.protocols.links.handshake import refusal
from covey.protocols.links.vocabulary import (
    ConnectionAccepted,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionOpened,
    StrangerFailed,
)
from covey.runtime.addresses import format_address, parse_address, parse_listen
from covey.runtime.transport.base import Sink
from covey.runtime.transport.connection import Connection
from covey.wire.framing import frame

log = logging.getLogger(__name__)

CONNECTIONS_MAX = 4096  # guess: far above a node's links, far below the usual limit of open files
GREETING_MAX = 128  # the links' bound for strangers
TLS_SECONDS_MAX = 3.0  # the links' bound for a handshake
LINGER_SECONDS = 2.0  # guess
TLS_RECORD = b"\x16"  # a TLS handshake begins with this byte (RFC 8446, 5.1)
BACKLOG = 512  # a herd of nodes that start at once


class Tls:
    """The two contexts, and the name the certificates of the other side must carry (None: by the user's context)."""

    __slots__ = ("client", "server", "server_name")

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, server_name: str | None) -> None:
        self.server = server
        self.client = client
        self.server_name = server_name


class TcpTransport:
    """Connections over TCP. Law: facts about a connection end with our `close` or with one `ConnectionClosed`."""

    def __init__(self, tls: Tls | None = None) -> None:
        self.sink: Sink = lambda fact: None
        self.local_host: Callable[[str], None] = lambda host: None
        self.reads = 0
        self._tls = tls
        self._connections: dict[int, Connection] = {}
        self._lingering: dict[Connection, asyncio.TimerHandle] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._greeting = 0  # accepted, and not a connection yet
        self._room = asyncio.Event()
        self._closing = False
        self._accepted = 0
        self._server: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._strangers: dict[int, socket.socket] = {}  # accepted, and their welcome has not begun
        self._paused = False
        self._drained: asyncio.Event = asyncio.Event()

    async def listen(self, address: str) -> str:
        listen = parse_listen(address)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(listen.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise ConfigError(
                f"listen: {listen.host!r} is no address of this host ({error}); nothing was opened"
            ) from None
        family, _, _, _, where = found[0]
        trouble: OSError | None = None
        for port in range(listen.port_first, listen.port_last + 1):
            server = socket.socket(family, socket.SOCK_STREAM)
            try:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                server.bind((where[0], port))
                server.listen(BACKLOG)
            except OSError as error:
                server.close()
                trouble = error
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    break
                continue
            server.setblocking(False)
            self._server = server
            self._accepting = loop.create_task(self._accept(server), name="covey accept")
            return format_address(listen.host, server.getsockname()[1])
        reason = trouble.strerror if trouble is not None else "no port was given"
        raise ConfigError(
            f"listen: cannot listen on {address} ({reason}); give another port, or a range host:first-last"
        )

    async def _accept(self, server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await _readable(server)  # and not `sock_accept`: cancelled in time, it would lose the socket it has
            try:
                sock, peer = server.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:  # usually: too many open files
                log.warning("event=accept_failed reason=%r", str(error))
                await asyncio.sleep(0.1)
                continue
            if len(self._connections) + len(self._tasks) >= CONNECTIONS_MAX:
                sock.close()
                continue
            sock.setblocking(False)
            self._accepted -= 1
            number = self._accepted
            self._strangers[number] = sock
            welcome = self._welcome(number, sock, format_address(*peer[:2]))
            self._tasks[number] = loop.create_task(welcome, name="covey welcome")

    async def _welcome(self, number: int, sock: socket.socket, remote: str) -> None:
        connection = Connection(self, number)
        loop = asyncio.get_running_loop()
        try:
            self._strangers.pop(number, None)
            _prepare(sock)
            if self._tls is None:
                await loop.connect_accepted_socket(lambda: connection, sock)
                return
            async with asyncio.timeout(TLS_SECONDS_MAX):
                first = await _peek(sock)
                if first == TLS_RECORD:
                    while self._greeting >= GREETING_MAX:  # their time runs: whoever says nothing keeps nobody out
                        self._room.clear()
                        await self._room.wait()
                    self._greeting += 1
                    try:
                        await loop.connect_accepted_socket(lambda: connection, sock, ssl=self._tls.server)
                    finally:
                        self._greeting -= 1
                        self._room.set()
                elif first:
                    self._tell_plaintext(sock, remote)
                else:  # it only looked whether somebody listens
                    sock.close()
        except TimeoutError:
            self._drop_welcome(connection, sock)
        except OSError as error:  # ssl.SSLError is one, and event loops may drop the other side's alert
            self._drop_welcome(connection, sock)
            log.debug("event=stranger_failed remote=%s reason=%r", remote, str(error))
            if self._tls is not None:
                self.sink(StrangerFailed(remote, Cause.TLS))
        except asyncio.CancelledError:
            self._drop_welcome(connection, sock)
            raise
        finally:
            self._tasks.pop(number, None)

    def _tell_plaintext(self, sock: socket.socket, remote: str) -> None:
        """Somebody speaks without TLS: say why not, in the clear, in case it is one of us."""
        with contextlib.suppress(OSError):
            sock.send(frame(refusal(Cause.TLS, "this node speaks TLS only")))
            sock.shutdown(socket.SHUT_WR)
            sock.recv(65536)  # with bytes unread the system would break the connection before that is heard
        sock.close()
        self.sink(StrangerFailed(remote, Cause.TLS))

    @staticmethod
    def _drop_welcome(connection: Connection, sock: socket.socket) -> None:
        connection.closed = True
        if connection.transport is not None:
            connection.transport.abort()
        else:
            sock.close()

    def open(self, connection: int, address: str) -> None:
        task = asyncio.get_running_loop().create_task(self._open(connection, address), name="covey connect")
        self._tasks[connection] = task

    async def _open(self, connection: int, address: str) -> None:
        cause = Cause.RESET
        try:
            host, port = parse_address(address)
            loop = asyncio.get_running_loop()
            tls = self._tls
            if tls is None:
                await loop.create_connection(lambda: Connection(self, connection), host, port)
            else:
                await loop.create_connection(
                    lambda: Connection(self, connection), host, port,
                    ssl=tls.client, server_hostname=tls.server_name or host, ssl_handshake_timeout=TLS_SECONDS_MAX,
                )  # fmt: skip
            return
        except ssl.SSLError:
            cause = Cause.TLS
        except ConnectionRefusedError:
            cause = Cause.REFUSED
        except TimeoutError:
            cause = Cause.TIMEOUT
        except (ConfigError, socket.gaierror, UnicodeError):
            cause = Cause.NO_ADDRESS
        except OSError as error:
            cause = Cause.TLS if self._tls is not None and isinstance(error, ConnectionResetError) else Cause.RESET
        finally:
            self._tasks.pop(connection, None)
        self.sink(ConnectionFailed(connection, cause))

    def made(self, connection: Connection) -> None:
        """asyncio has the connection ready."""
        transport = connection.transport
        assert transport is not None
        number = connection.number
        # From here on the task is not to be cancelled: uvloop would drop what was written.
        if self._tasks.pop(number, None) is None or self._closing:  # we closed it meanwhile
            connection.closed = True
            transport.abort()
            return
        self._connections[number] = connection
        if self._paused:
            transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._hold_back, connection)  # uvloop starts to read only now
        sock = transport.get_extra_info("socket")
        if number > 0 and sock is not None:
            _prepare(sock)
        self.local_host(transport.get_extra_info("sockname")[0])
        if number > 0:
            self.sink(ConnectionOpened(number))
        else:
            peer = transport.get_extra_info("peername")
            self.sink(ConnectionAccepted(number, format_address(peer[0], peer[1]) if peer else "?"))

    def _hold_back(self, connection: Connection) -> None:
        if self._paused and connection.transport is not None and not connection.closed:
            connection.transport.pause_reading()

    def lost(self, connection: Connection, exc: Exception | None) -> None:
        """asyncio says that the connection is gone."""
        timer = self._lingering.pop(connection, None)
        if timer is not None:
            timer.cancel()
        if self._connections.get(connection.number) is connection:
            del self._connections[connection.number]
        if not connection.closed:
            connection.closed = True
            # With TLS 1.3 a dialler's handshake is over before the other side has looked at its certificate.
            unwelcome = self._tls is not None and connection.number > 0 and not connection.heard
            if isinstance(exc, ssl.SSLError) or unwelcome:
                cause = Cause.TLS
            else:
                cause = Cause.CLOSED if exc is None else Cause.RESET
            self.sink(ConnectionClosed(connection.number, cause))
        if not self._lingering:
            self._drained.set()

    def write(self, connection: int, data: bytes) -> None:
        found = self._connections.get(connection)
        if found is not None and found.transport is not None:
            found.transport.write(data)

    def close(self, connection: int) -> None:
        task = self._tasks.pop(connection, None)
        if task is not None:
            task.cancel()
        found = self._connections.pop(connection, None)
        if found is None or found.transport is None:
            return
        found.closed = True
        transport = found.transport
        self._drained.clear()
        self._lingering[found] = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)
        transport.close()

    def pause_reading(self) -> None:
        self._paused = True
        for connection in self._connections.values():
            if connection.transport is not None:
                connection.transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading every connection."""
        self._paused = False
        for connection in self._connections.values():
            if connection.transport is not None:
                connection.transport.resume_reading()

    async def aclose(self) -> None:
        self._closing = True
        tasks = [task for task in (self._accepting, *self._tasks.values()) if task is not None]
        for number, task in self._tasks.items():
            if number > 0 or self._tls is not None:  # a welcome without TLS is over at once, and may not be broken off
                task.cancel()
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in self._strangers.values():
            sock.close()
        if self._server is not None:
            self._server.close()
            self._server = None
        for number in list(self._connections):
            self.close(number)
        if self._lingering:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), LINGER_SECONDS + 1)


async def _readable(sock: socket.socket) -> None:
    """Wait until there is something to read, or to accept."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, lambda: None if arrived.done() else arrived.set_result(None))
    try:
        await arrived
    finally:
        loop.remove_reader(sock)


async def _peek(sock: socket.socket) -> bytes:
    """The first byte that arrives, left where it is; b"" when the other side closes instead."""
    await _readable(sock)
    return sock.recv(1, socket.MSG_PEEK)


def _prepare(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
