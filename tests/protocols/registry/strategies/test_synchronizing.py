"""A strategy at work: when it is asked, and what is done with what it returns."""

from __future__ import annotations

from covey.core.rows import TakeOperations, TakeRows
from covey.core.vocabulary import Emit
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.strategy import AllRows, Data, OurRows, Step, Tell
from covey.protocols.registry.synchronizing import POUR_BYTES, TELLINGS_MAX
from covey.wire.messages.registry import Requests, WholeKnown, WholeOwner
from covey.wire.messages.rows import OwnedOps
from tests.protocols.registry.strategies.strategies_ground import REQUEST, STRANGER, A, B, C, H, Scripted, at_work
from tests.protocols.registry.strategies.strategies_play import SECOND

# --- when it is asked -------------------------------------------------------------------------------------------------


def test_who_is_there_when_a_hub_is_opened_is_given_our_rows():
    strategy = Scripted()
    at_work(strategy)
    assert strategy.called == [("broadcast_local_data", OurRows(), (B, C))]


def test_who_comes_is_told_once_and_who_has_gone_again_is_not():
    strategy = Scripted()
    _ways, _, one = at_work(strategy)
    strategy.called.clear()
    for joiner in (C, C, STRANGER):
        one.joined(joiner)
    assert one.is_busy
    one.on_turn_ended()
    assert strategy.called == [("broadcast_local_data", OurRows(), (C,))]
    assert not one.is_busy


def test_all_that_was_done_in_a_turn_is_propagated_at_its_end():
    strategy = Scripted()
    _, _, one = at_work(strategy)
    strategy.called.clear()
    one.gather((REQUEST,))
    one.gather((REQUEST, REQUEST))
    one.on_turn_ended()
    one.on_turn_ended()
    assert strategy.called == [("propagate", (REQUEST,) * 3, (B, C))]


def test_much_is_propagated_in_several_steps():
    strategy = Scripted()
    _, _, one = at_work(strategy)
    strategy.called.clear()
    large = OwnedOps(H, A, 1, 1, ((b"k", bytes(60_000)),), False)
    one.gather((large,) * 10)
    one.on_turn_ended()
    assert [len(requests) for _, requests, _ in strategy.called] == [4, 4, 2]


def test_a_round_begins_each_interval_unless_nobody_is_there():
    strategy = Scripted()
    ways, _, one = at_work(strategy)
    assert 0.9 * SECOND <= ways.alarms["sync"] <= 1.1 * SECOND
    strategy.called.clear()
    ways.now_us = 5 * SECOND
    one.on_interval()
    assert strategy.called == [("init_sync", (B, C))]
    assert 5.9 * SECOND <= ways.alarms["sync"] <= 6.1 * SECOND
    ways.others = ()
    one.on_interval()
    assert len(strategy.called) == 1


def test_with_delta_there_is_no_interval_and_nothing_is_driven():
    ways, _, one = at_work(Delta())
    assert not one.driven
    assert ways.alarms == {}
    assert ways.sent == []


def test_what_arrives_is_applied_before_the_strategy_hears_of_it():
    strategy = Scripted()
    ways, _, one = at_work(strategy)
    strategy.called.clear()
    one.on_message(B, Requests(H, b"n", (REQUEST,)))
    part, last = WholeOwner(H, B, 1, 1, None, (), True), WholeKnown(H, 1, 0, (), True, note=b"m")
    joining = WholeKnown(H, 1, 0, (), True, joins=True, note=b"j")
    for piece in (part, WholeKnown(H, 1, 0, (), False), last, joining):
        one.on_message(B, piece)
    assert ways.said[0] == TakeOperations(H, B, (REQUEST,))
    assert [type(effect) for effect in ways.said[1:]] == [TakeRows] * 4
    assert strategy.called == [
        ("handle_synchronization", Data((REQUEST,), False, b"n"), B),
        ("handle_synchronization", Data((), True, b"m"), B),
        ("handle_node_join_data", Data((), True, b"j"), B),
    ]


def test_what_a_stranger_says_is_applied_and_nothing_follows():
    """The row rule judges it, as it judges everybody."""
    strategy = Scripted()
    ways, _, one = at_work(strategy)
    strategy.called.clear()
    one.on_message(STRANGER, Requests(H, b"", (REQUEST,)))
    assert ways.said == [TakeOperations(H, STRANGER, (REQUEST,))]
    assert strategy.called == []


# --- what it returns --------------------------------------------------------------------------------------------------


def test_requests_go_to_whom_it_says_once_each():
    step = Step((Tell((B, C, B), (REQUEST,), b"note"), Tell((), (REQUEST,))))
    ways, _, one = at_work(Scripted(propagate=step))
    one.gather((REQUEST,))
    one.on_turn_ended()
    message = Requests(H, b"note", (REQUEST,))
    assert ways.sent == [(B, message), (C, message)]


def test_a_note_without_requests_is_said_too():
    ways, _, one = at_work(Scripted(init_sync=Step((Tell((B,), (), b"note"),))))
    one.on_interval()
    assert ways.sent == [(B, Requests(H, b"note", ()))]


def test_all_rows_are_poured_out_piece_by_piece():
    ways, whole, one = at_work(Scripted(init_sync=Step((Tell((B, C), AllRows(), b"note"),))))
    whole.size, whole.pieces = POUR_BYTES, 4
    one.on_interval()
    assert ways.alarms["pour"] == 0
    ways.sent.clear()
    for _ in range(4):
        one.pour()
        assert ways.alarms["pour"] > 0
    one.pour()
    assert whole.asked == [(True, False, b"note")]
    assert [to for to, _ in ways.sent] == [B, C] * 4
    assert ways.sent[-1][1].note == b"note"
    assert one._tellings == []


def test_rows_told_to_who_comes_say_so():
    _, whole, one = at_work(Scripted(broadcast_local_data=Step((Tell((B,), OurRows()),))))
    one.pour()
    whole.asked.clear()
    one.joined(B)
    one.on_turn_ended()
    one.pour()
    assert whole.asked == [(False, True, b"")]


def test_tellings_are_bounded():
    _, _, one = at_work(Scripted(init_sync=Step((Tell((B,), OurRows()),))))
    for _ in range(TELLINGS_MAX + 5):
        one.on_interval()
    one.check()
    assert one.counts["lost"] == 5


def test_it_goes_on_as_what_it_returns():
    after = Scripted()
    _, _, one = at_work(Scripted(init_sync=Step((), after)))
    one.on_interval()
    assert one.strategy is after


def test_the_functions_can_be_called_by_hand():
    strategy = Scripted(propagate=Step((Tell((B,), (REQUEST,)),)), init_sync=ValueError("no"))
    ways, _, one = at_work(strategy)
    strategy.called.clear()
    one.run("propagate", (REQUEST,), (B,))
    one.run("init_sync", (B,))
    one.run("handle_synchronization", Data((REQUEST,)), B)
    one.run("handle_node_join_data", Data(), C)
    assert [function for function, *_ in strategy.called] == [
        "propagate",
        "init_sync",
        "handle_synchronization",
        "handle_node_join_data",
    ]
    assert ways.sent == [(B, Requests(H, b"", (REQUEST,)))]
    assert [type(effect) for effect in ways.said] == [Emit, TakeOperations]
