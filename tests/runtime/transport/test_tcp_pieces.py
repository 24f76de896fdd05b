"""Much that arrives at once: it is told in pieces, so that no turn is long, and nothing of it is lost."""

from __future__ import annotations

import asyncio

import pytest

from covey.protocols.links.vocabulary import BytesReceived, ConnectionClosed
from covey.runtime.transport.connection import READ_BYTES, Connection
from tests.runtime.transport.tcp_harness import Recorder, connect, every_loop, own_tls, recorders, run_on

pytestmark = pytest.mark.serial


@every_loop
@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_much_that_arrives_at_once_is_told_in_pieces_in_order_and_all_of_it_before_the_end(kind, encrypted):
    async def main() -> None:
        tls = own_tls() if encrypted else None
        async with recorders(2, [tls, tls]) as (one, other):
            here, there = await connect(one, other)
            sent = bytes(range(256)) * 8_192
            one.transport.write(here, sent)
            one.transport.close(here)
            await other.first(ConnectionClosed)
            assert other.data(there) == sent
            assert max(len(fact.data) for fact in other.of(BytesReceived)) <= READ_BYTES
            assert type(other.facts[-1]) is ConnectionClosed

    run_on(kind, main())


def test_of_what_arrives_faster_than_it_is_told_little_waits():
    async def main() -> None:
        recorder = Recorder()
        connection = Connection(recorder.transport, 1)
        piece = bytes(READ_BYTES)
        connection.data_received(piece * 10 + b"the end")
        assert recorder.data(1) == piece * 8
        await asyncio.sleep(0)
        assert recorder.data(1) == piece * 9
        connection.data_received(b"and more")
        connection.connection_lost(None)
        assert recorder.data(1) == piece * 10 + b"the endand more"
        await asyncio.sleep(0)

    asyncio.run(main())
