"""PubSub and Delta: each of the six functions, and how they are written."""

from __future__ import annotations

from random import Random

import pytest

from covey.core.errors import ConfigError
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.pubsub import PubSub
from covey.protocols.registry.strategies.strategy import Data, HubView, Member, OurRows, Step, Tell, described
from covey.wire.messages.rows import OwnedOps
from tests.protocols.registry.strategies.strategies_play import Play, site

A, B, C = site(0), site(1), site(2)
VIEW = HubView(b"hub:h", Member(A, "a"), (Member(B, "b"), Member(C, "c")), 0, Random(0))
REQUEST = OwnedOps(b"hub:h", A, 1, 1, ((b"k", b"v"),), False)


def test_pubsub_tells_what_is_new_to_all_others():
    assert PubSub().propagate(VIEW, (REQUEST,), (B, C)) == Step((Tell((B, C), (REQUEST,)),))


def test_pubsub_tells_everything_to_all_others_each_interval_and_to_who_comes():
    assert PubSub().init_sync(VIEW, (B, C)) == Step((Tell((B, C), OurRows()),))
    assert PubSub().broadcast_local_data(VIEW, OurRows(), (C,)) == Step((Tell((C,), OurRows()),))


def test_pubsub_passes_nothing_on():
    strategy = PubSub(3)
    assert strategy.init(VIEW) is strategy
    assert strategy.handle_synchronization(VIEW, Data((REQUEST,)), B) == Step()
    assert strategy.handle_node_join_data(VIEW, Data((), True), B) == Step()


def test_pubsub_costs_a_copy_from_each_to_each():
    play = Play(PubSub(1.0), 10)
    play.tick()
    assert (play.messages, play.copies, play.lacking()) == (90, 90, [])
    play.event(A)
    assert play.messages == 99


def test_delta_leaves_everything_to_the_row_machine():
    delta = Delta()
    assert delta.sync_interval is None
    assert delta.init(VIEW) is delta
    assert delta.propagate(VIEW, (REQUEST,), (B, C)) == delta.init_sync(VIEW, (B, C)) == Step()
    assert delta.broadcast_local_data(VIEW, OurRows(), (B,)) == Step()


def test_delta_tells_its_rows_to_who_has_another_strategy():
    """Nobody with Delta tells all rows; so both learn that they are not configured alike."""
    told = Step((Tell((B,), OurRows()),))
    assert Delta().handle_synchronization(VIEW, Data((), True), B) == told
    assert Delta().handle_node_join_data(VIEW, Data((), True), B) == told
    assert Delta().handle_synchronization(VIEW, Data((REQUEST,)), B) == Step()


def test_how_they_are_written():
    class Silent:
        sync_interval = 2.0

    class Named(Silent):
        def __repr__(self) -> str:
            return "Named(1)"

    assert described(Delta()) == "Delta()"
    assert described(PubSub(2)) == described(PubSub(2.0)) == "PubSub(sync_interval=2)"
    assert described(Silent()).endswith("Silent(sync_interval=2.0)")
    assert described(Named()) == "Named(1)"
    assert PubSub(2) == PubSub(2.0) != PubSub(3)
    assert (hash(PubSub(2)), Delta(), hash(Delta())) == (hash(PubSub(2.0)), Delta(), hash(Delta()))


@pytest.mark.parametrize("interval", [0, -1, 0.01, 10**6, "1", None, True])
def test_intervals_that_make_no_sense_are_refused(interval):
    with pytest.raises(ConfigError, match="sync_interval"):
        PubSub(interval)
