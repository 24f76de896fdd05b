"""A mailbox gives each letter out once, however often it comes, and is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.ids import Origin, Site
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.mailbox import LETTER_BYTES, Letter, Mailbox, Put, Reply
from covey.wire.messages.registry import CALL, CAST, GONE, REPLY

A: Origin = (Site(b"a" * 16), 1)
B: Origin = (Site(b"b" * 16), 1)


def letter(number: int, sender: Origin = A, *, until_us: int = 100, kind: int = CALL, payload: bytes = b"x") -> Letter:
    return Letter(sender, number, until_us, kind, payload)


def mailbox(**limits: int) -> Mailbox:
    return Mailbox(RegistryConfig(**limits), 1)


def test_letters_come_out_in_the_order_in_which_they_came_and_once():
    box = mailbox()
    said = [letter(2), letter(1, B), letter(3)]
    assert [box.put(one, 0, 0) for one in said] == [Put.TAKEN] * 3
    assert [box.put(one, 0, 0) for one in said] == [Put.AGAIN] * 3
    assert [box.take(0) for _ in range(4)] == [*said, None]
    assert [box.put(one, 0, 0) for one in said] == [Put.AGAIN] * 3, "the child has them"
    box.check()


def test_who_asks_again_gets_the_same_answer_and_the_child_no_second_letter():
    box = mailbox()
    box.put(letter(1), 0, 0)
    (taken,) = [box.take(0)]
    assert taken == letter(1)
    box.answered(taken, Reply(REPLY, b"yes", 100))
    assert box.put(letter(1), 0, 0) == Reply(REPLY, b"yes", 100)
    assert box.take(0) is None


def test_a_cast_counts_as_done_once_it_is_taken():
    box = mailbox()
    box.put(letter(1, kind=CAST), 0, 0)
    assert box.take(0) == letter(1, kind=CAST)
    assert box.put(letter(1, kind=CAST), 0, 0) == Reply(CAST, b"", 100)


def test_a_cast_that_came_twice_while_it_waited_is_done_once_it_is_taken():
    box = mailbox()
    assert [box.put(letter(1, kind=CAST), 0, 0), box.put(letter(1, kind=CAST), 0, 0)] == [Put.TAKEN, Put.AGAIN]
    assert box.take(0) == letter(1, kind=CAST)
    box.check()
    assert (box.empty(), box.take(0)) == ([], None)


def test_what_nobody_waits_for_any_more_is_not_given_out():
    box = mailbox()
    box.put(letter(1, until_us=10), 0, 0)
    box.put(letter(2), 0, 0)
    assert box.take(10) == letter(2)
    assert box.put(letter(1, until_us=10), 0, 10) == Reply(GONE, b"\xc0", 10)


def test_below_what_its_sender_asks_about_nothing_is_remembered_and_nothing_taken():
    box = mailbox()
    for number in (1, 2, 3):
        box.put(letter(number), 0, 0)
        taken = box.take(0)
        assert taken is not None
        box.answered(taken, Reply(REPLY, b"", 100))
    assert box.put(letter(4), 3, 0) is Put.TAKEN
    assert box.put(letter(2), 3, 0) is Put.OLD
    assert isinstance(box.put(letter(3), 3, 0), Reply)
    assert [key for key, _ in box.answers(0)] == [(A, 3)]
    assert box.put(letter(2, B), 0, 0) is Put.TAKEN, "that is another sender's"
    box.check()


def test_a_late_low_does_not_make_it_forget_what_is_asked_about():
    box = mailbox()
    box.put(letter(5), 5, 0)
    assert box.put(letter(4), 1, 0) is Put.OLD
    assert box.put(letter(5), 1, 0) is Put.AGAIN


@pytest.mark.parametrize("limit", [{"mailbox_max": 2}, {"mailbox_bytes_max": 2 * (LETTER_BYTES + 1)}])
def test_it_is_full_by_letters_or_by_bytes_and_takes_more_once_some_are_read(limit):
    box = mailbox(**limit)
    assert [box.put(letter(number), 0, 0) for number in (1, 2, 3)] == [Put.TAKEN, Put.TAKEN, Put.FULL]
    assert box.take(0) == letter(1)
    assert box.put(letter(3), 0, 0) is Put.TAKEN
    box.check()


def test_one_letter_that_is_larger_than_all_room_is_taken_by_an_empty_mailbox():
    box = mailbox(mailbox_bytes_max=10)
    assert box.put(letter(1, payload=bytes(100)), 0, 0) is Put.TAKEN
    assert box.put(letter(2), 0, 0) is Put.FULL


def test_answers_are_kept_as_long_as_an_attempt_may_be_on_its_way_and_then_make_room():
    box = mailbox(answers_max=1, remember_us=50)
    box.put(letter(1, until_us=100), 0, 0)
    taken = box.take(0)
    assert taken is not None
    box.answered(taken, Reply(REPLY, b"", 100))
    assert box.put(letter(2, until_us=900), 0, 149) is Put.FULL, "else the first could be taken twice"
    assert box.put(letter(2, until_us=900), 0, 150) is Put.TAKEN


def test_a_life_that_is_over_asks_about_nothing_and_what_it_sent_still_waits():
    box = mailbox()
    box.put(letter(1), 1, 0)
    box.put(letter(2), 1, 0)
    taken = box.take(0)
    assert taken is not None
    box.answered(taken, Reply(REPLY, b"", 100))
    box.forget(A[0], A[1] + 1)
    assert box.answers(0) == []
    assert box.take(0) == letter(2)
    box.check()


def test_what_moves_is_emptied_and_known_at_the_other_host():
    old, new = mailbox(), mailbox()
    for number in (1, 2, 3):
        old.put(letter(number), 0, 0)
    taken = old.take(0)
    assert taken is not None
    old.answered(taken, Reply(REPLY, b"one", 100))
    for key, reply in old.answers(0):
        new.know(key, reply)
    for one in old.empty():
        assert new.put(one, 0, 0) is Put.TAKEN
    assert (old.queue, old.bytes) == ({}, 0)
    assert new.put(letter(1), 0, 0) == Reply(REPLY, b"one", 100)
    assert [new.take(0), new.take(0), new.take(0)] == [letter(2), letter(3), None]
    assert old.put(letter(2), 0, 0) is Put.TAKEN, "it is not here any more"
    old.check()
    new.check()


def test_what_moves_knows_for_a_while_what_nobody_waits_for_any_more():
    """An attempt that is late in the network says when it was to end by where it arrives, and may come after that."""
    old, new = mailbox(remember_us=50), mailbox()
    old.put(letter(1, until_us=10), 0, 0)
    taken = old.take(0)
    assert taken is not None
    old.answered(taken, Reply(REPLY, b"one", 10))
    for key, reply in old.answers(59):
        new.know(key, reply)
    assert new.put(letter(1, until_us=70), 0, 59) == Reply(REPLY, b"one", 10)
    assert old.answers(60) == []


ACTS = st.tuples(st.integers(0, 3), st.integers(1, 6), st.sampled_from([A, B]), st.integers(0, 4))
KINDS = {A: CALL, B: CAST}


@given(st.lists(ACTS, max_size=40))
def test_no_letter_is_given_out_twice_whatever_comes_in_which_order(acts):
    box = mailbox(mailbox_max=3, answers_max=5, remember_us=10)
    given_out: dict[tuple[Origin, int], int] = {}
    lows = {A: 0, B: 0}
    for now_us, (act, number, sender, low) in enumerate(acts):
        if act <= 1:
            lows[sender] = max(lows[sender], low)
            box.put(letter(number, sender, until_us=now_us + 1000, kind=KINDS[sender]), lows[sender], now_us)
        elif act == 2:
            taken = box.take(now_us)
            if taken is not None:
                given_out[taken.key] = given_out.get(taken.key, 0) + 1
                if taken.kind == CALL:
                    box.answered(taken, Reply(REPLY, b"", taken.until_us))
        else:
            assert all(reply.until_us > now_us - 10 for _, reply in box.answers(now_us))
        box.check()
    assert all(times == 1 for times in given_out.values())
