"""What the machine of hubs hears and says on account of a strategy, and its last word when a hub is over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from covey.core.rows import HoldInstance, ReleaseInstance, RowsChanged, RowsToTell, TakeRows
from covey.core.vocabulary import MessagesReceived, SendData, Tick, TurnEnded, WantTurn
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.machine import Registry
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.pubsub import PubSub
from covey.wire.messages.registry import Requests, WholeKnown
from covey.wire.messages.rows import OwnedOps
from tests.protocols.registry.registry_world import HUB, START, site
from tests.protocols.registry.test_registry_machine import Rows, machine

A, B, C = site("a"), site("b"), site("c")
REQUEST = OwnedOps(HUB, A, 1, 1, ((b"k", b"v"),), False)
TOLD = Requests(HUB, b"", (REQUEST,))


class Driven:
    """What the row machine would tell: one piece."""

    def telling(self, instance: bytes, relayed: bool, joins: bool, note: bytes) -> Iterator[tuple[Any, int]]:
        yield WholeKnown(instance, 1, 0, (), True, joins=joins, note=note), 10


def opened(strategy: Any, *others: Any) -> tuple[Registry, Rows, list[Any]]:
    registry, shown = machine()
    shown.others = (A, *others)
    shown.driven = Driven()
    said = give(registry, h.OpenHub(1, HUB, h.HubOptions("a", (START,), "both", synchronization=strategy)))
    return registry, shown, said


def give(registry: Registry, fact: Any, now_us: int = 0) -> list[Any]:
    """What it says to a fact, and at the end of that turn."""
    said = list(registry.handle(fact, now_us))
    while any(isinstance(effect, WantTurn) for effect in said):
        said = [effect for effect in said if not isinstance(effect, WantTurn)] + [*registry.handle(TurnEnded(), now_us)]
        registry.check()
    return said


def sent(said: list[Any]) -> list[tuple[Any, Any]]:
    return [(effect.to, message) for effect in said if isinstance(effect, SendData) for message in effect.messages]


def test_the_rows_of_a_hub_are_driven_where_a_strategy_has_an_interval():
    for strategy, driven in ((Delta(), False), (PubSub(1.0), True)):
        _, _, said = opened(strategy)
        assert HoldInstance(HUB, True, driven) in said


def test_what_is_to_be_told_goes_where_the_strategy_says():
    registry, _, _ = opened(PubSub(1.0), B, C)
    assert sent(give(registry, RowsToTell(HUB, (REQUEST,)))) == [(B, TOLD), (C, TOLD)]


def test_who_holds_the_rows_from_now_on_is_given_ours():
    registry, shown, _ = opened(PubSub(600.0))
    shown.others = (A, B)
    give(registry, RowsChanged(b"", B, 1, ((HUB, b""), (b"hub:other", b""))))
    said = give(registry, Tick())
    assert sent(said) == [(B, WholeKnown(HUB, 1, 0, (), True, joins=True))]
    shown.others = (A,)
    give(registry, RowsChanged(b"", B, 1, ((HUB, None),)))
    assert sent(give(registry, Tick())) == []


def test_a_round_begins_when_its_time_has_come():
    registry, _, _ = opened(PubSub(2.0), B)
    give(registry, Tick())
    said = give(registry, Tick(), 2_300_000) + give(registry, Tick(), 2_300_000)
    assert (B, WholeKnown(HUB, 1, 0, (), True)) in sent(said)


def test_pieces_are_handed_to_the_row_machine():
    registry, _, _ = opened(PubSub(600.0), B)
    piece = WholeKnown(HUB, 1, 0, (), False)
    assert TakeRows(HUB, B, piece) in give(registry, MessagesReceived(B, (piece,)))


def test_a_hub_that_is_over_says_what_it_had_gathered_and_what_comes_behind_that():
    """Else a child that was stopped last would come back elsewhere."""
    registry, _, _ = opened(PubSub(600.0), B)
    gathered = list(registry.handle(RowsToTell(HUB, (REQUEST,)), 0))
    assert sent(gathered) == []
    said = give(registry, h.CloseHub(2, HUB))
    said += give(registry, TurnEnded())
    assert any(isinstance(effect, ReleaseInstance) for effect in said)
    assert sent(said) == [(B, TOLD)]
    assert sent(give(registry, RowsToTell(HUB, (REQUEST,)))) == [(B, TOLD)]


def test_nothing_is_due_for_a_hub_that_is_over_though_somebody_came_in_its_last_turn():
    registry, shown, _ = opened(PubSub(600.0))
    shown.others = (A, B)
    registry.handle(RowsChanged(b"", B, 1, ((HUB, b""),)), 0)
    assert any(isinstance(effect, ReleaseInstance) for effect in registry.handle(h.CloseHub(2, HUB), 0))
    assert registry.deadline() is None
    assert give(registry, Tick()) == []


def test_messages_for_a_hub_that_is_not_open_are_nothing():
    registry, _ = machine()
    assert give(registry, MessagesReceived(B, (TOLD, WholeKnown(HUB, 1, 0, (), True)))) == []
