"""The demo's cut network: what passes, and what does not, before, during and after."""

from __future__ import annotations

from typing import Any

from covey.cli.demo.faults import CuttingTransport
from covey.core.vocabulary import Cause
from covey.protocols.links.vocabulary import BytesReceived, ConnectionClosed, ConnectionOpened

NEAR, FAR = "127.0.0.1:1", "127.0.0.1:2"


class Wire:
    """A transport that only notes what it is told."""

    def __init__(self) -> None:
        self.sink: Any = None
        self.local_host: Any = None
        self.reads = 0
        self.done: list[tuple[Any, ...]] = []

    async def listen(self, address: str) -> str:
        return address

    def open(self, connection: int, address: str) -> None:
        self.done.append(("open", connection, address))

    def write(self, connection: int, data: bytes) -> None:
        self.done.append(("write", connection, data))

    def close(self, connection: int) -> None:
        self.done.append(("close", connection))

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    async def aclose(self) -> None: ...


def cutting() -> tuple[Wire, CuttingTransport, list[Any]]:
    wire = Wire()
    heard: list[Any] = []
    transport = CuttingTransport(wire)
    transport.sink = heard.append
    return wire, transport, heard


def test_what_was_dialled_to_a_cut_address_is_silent_in_both_directions_and_stays_so():
    wire, transport, heard = cutting()
    for connection, address in ((1, NEAR), (2, FAR)):
        transport.open(connection, address)
        wire.sink(ConnectionOpened(connection))
    transport.cut([FAR])
    for connection in (1, 2, -1):
        transport.write(connection, b"out")
        wire.sink(BytesReceived(connection, b"in"))
    transport.cut([])
    wire.sink(BytesReceived(2, b"later"))
    wire.sink(ConnectionClosed(2, Cause.RESET))
    transport.write(2, b"later")
    assert wire.done == [("open", 1, NEAR), ("open", 2, FAR), ("write", 1, b"out"), ("write", -1, b"out")]
    assert heard == [
        ConnectionOpened(1), ConnectionOpened(2), BytesReceived(1, b"in"), BytesReceived(-1, b"in"),
    ]  # fmt: skip
    transport.close(2)
    transport.open(3, FAR)
    assert wire.done[-2:] == [("close", 2), ("open", 3, FAR)]


def test_nobody_answers_at_a_cut_address_and_a_connection_on_its_way_never_opens():
    wire, transport, heard = cutting()
    transport.open(1, FAR)
    transport.cut([FAR])
    wire.sink(ConnectionOpened(1))
    transport.open(2, FAR)
    assert (heard, wire.done) == ([], [("open", 1, FAR)])


def test_a_connection_without_traffic_meanwhile_goes_on_afterwards():
    wire, transport, heard = cutting()
    transport.open(1, FAR)
    transport.cut([FAR])
    transport.cut([])
    wire.sink(ConnectionOpened(1))
    transport.write(1, b"out")
    assert (heard, wire.done[1:]) == ([ConnectionOpened(1)], [("write", 1, b"out")])
