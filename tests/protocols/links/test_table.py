"""The table's laws are really asked: each of them, broken by hand, is an invariant error."""

from __future__ import annotations

import pytest

from covey.core.errors import InvariantError
from covey.core.vocabulary import Channel
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.connection import Connection, Stage
from covey.protocols.links.table import Table, Waiting
from tests.protocols.links.links_harness import SILENCE, Net, identity

CONTROL, DATA = Channel.CONTROL, Channel.DATA
NOBODY = identity(9).site


def busy() -> Table:
    """The table of a node with a link, a dial that something waits for, and a stranger at the door."""
    net = Net()
    config = LinksConfig(waiting_peers_max=1, unauthenticated_max=1, waiting_bytes_max=100)
    a, b, c = net.node("a", 1, config=config), net.node("b", 2), net.node("c", 3)
    a.send(b, "hi")
    net.run()
    a.send(net.node("d", 4), "waits", address=SILENCE)
    c.dial(a)
    net.deliver(net.pipes[-1].other)
    table = a.links._table
    table.check()
    return table


def link(table: Table) -> Connection:
    return next(iter(table.links.values()))


def break_stage(table):
    link(table).stage = Stage.GREETING


def break_peer(table):
    table.links[NOBODY, CONTROL] = table.links.pop(next(iter(table.links)))


def break_contact(table):
    link(table).contact = None


def break_channel(table):
    link(table).channel = DATA


def break_number(table):
    link(table).number += 1


def break_queue(table):
    link(table).queued_bytes += 1


def break_watch(table):
    table.timers.cancel(("alive", link(table).number))


def break_deadline(table):
    table.timers.cancel(("handshake", -1))


def break_strangers(table):
    stranger = Connection(-2, "somewhere", CONTROL, None, True, 0)
    table.connections[-2] = stranger
    table.timers.set(("handshake", -2), 1)


def break_waiting_peers(table):
    table.waiting[NOBODY, CONTROL] = Waiting("there:1")


def break_dial(table):
    table.dials.clear()


def break_waiting_link(table):
    place = next(iter(table.links))
    table.dials[place] = link(table)
    table.waiting = {place: Waiting("there:1")}


def break_waiting_bytes(table):
    next(iter(table.waiting.values())).bytes = 101


@pytest.mark.parametrize(
    "broken, law",
    [
        (break_stage, "a link is an open connection"),
        (break_peer, "a link leads to its peer"),
        (break_contact, "a link leads to its peer"),
        (break_channel, "a link is of its channel"),
        (break_number, "filed under its number"),
        (break_queue, "queued_bytes counts the queue"),
        (break_watch, "an open connection is watched"),
        (break_deadline, "a connection that is not open has a deadline"),
        (break_strangers, "strangers are bounded"),
        (break_waiting_peers, "waiting peers are bounded"),
        (break_dial, "whoever waits is being dialled"),
        (break_waiting_link, "nobody waits for a link that is up"),
        (break_waiting_bytes, "what waits for a dial is bounded"),
    ],
)
def test_a_broken_law_is_an_invariant_error(broken, law):
    table = busy()
    broken(table)
    with pytest.raises(InvariantError, match=law):
        table.check()


def test_the_machines_check_is_the_tables(linked):
    _, a, _ = linked
    break_stage(a.links._table)
    with pytest.raises(InvariantError):
        a.links.check()


def test_the_statistics_say_what_is_there():
    found = busy().statistics()
    assert (found.links, found.dialling, found.greeting) == (1, 1, 1)
    assert found.waiting_bytes > 0 and found.queued_bytes == 0


def test_dials_with_and_without_a_known_site_are_counted(net, a, b):
    a.send(b, "hi", address=SILENCE)
    a.dial("nobody:1")
    a.dial("nobody:2")
    assert a.links.statistics().dialling == 3


@pytest.mark.parametrize("size, fits", [(100, True), (101, False)])
def test_what_waits_may_be_as_long_as_the_bound(size, fits):
    waiting = Waiting("there:1")
    assert waiting.push(b"x" * size, 100) is fits
    assert waiting.bytes == (size if fits else 0)
