"""Well-formed messages in any order, from anybody: nothing raises, our own rows stay ours, what is kept is bounded."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.vocabulary import Liveness
from covey.protocols.replication.vocabulary import SYSTEM
from covey.wire.codec import decode_body, encode_message, join_body
from covey.wire.messages.rows import OwnedOps, OwnedPart, OwnedPositions, OwnedPull, RowSum
from tests.protocols.replication.replication_net import CONFIG, SECOND, SMALL, I, Net, pair, site

SITES = st.integers(1, 4).map(site)
INSTANCES = st.sampled_from([SYSTEM, I, b"unknown"])
LIVES = st.integers(0, 2)
NUMBERS = st.integers(0, 6) | st.sampled_from([2**53 - 1, 2**53])
KEYS = st.sampled_from([b"", b"a", b"b", I, b"\xff" * 20])
VALUES = st.sampled_from([b"", b"1", b"\xff" * 9])
ROWS = st.lists(st.tuples(KEYS, VALUES), max_size=4).map(tuple)
OPS = st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=4).map(tuple)
CURSORS = st.none() | KEYS
POSITIONS = st.lists(st.tuples(SITES, LIVES, NUMBERS), max_size=4).map(tuple)
MESSAGES = st.one_of(
    st.builds(OwnedOps, INSTANCES, SITES, LIVES, NUMBERS, OPS, st.booleans()),
    st.builds(OwnedPull, INSTANCES, SITES, LIVES, NUMBERS, st.booleans(), CURSORS),
    st.builds(OwnedPart, INSTANCES, SITES, LIVES, NUMBERS, CURSORS, ROWS, st.booleans()),
    st.builds(RowSum, st.binary(min_size=8, max_size=8)),
    st.builds(OwnedPositions, st.lists(st.tuples(INSTANCES, POSITIONS), max_size=3).map(tuple), st.booleans()),
)


@given(st.lists(st.tuples(st.integers(1, 3), MESSAGES), max_size=25), st.sampled_from(Liveness))
def test_no_message_makes_it_raise_or_changes_our_own_rows_and_all_it_says_can_be_read(told, state):
    net, a, b, c = pair(SMALL, 3)
    a.write((b"mine", b"value"), (b"too", b"value"))
    net.run()
    a.held(c, state)
    before = a.shows(a), a.shows(a, SYSTEM), a.machine.tables[I].position(a.site)
    for number, message in told:
        teller = (b, c, net.add(4))[number - 1]
        effects = a.hears(teller, message)
        for effect in effects:
            if hasattr(effect, "message"):
                assert decode_body(join_body([encode_message(effect.message)])) == ([effect.message], 0)
        assert len(effects) <= 30
        assert a.machine.statistics().pulls <= 4
        assert (a.shows(a), a.shows(a, SYSTEM), a.machine.tables[I].position(a.site)) == before
    net.flying.clear()
    net.wait(3 * SECOND)
    assert a.machine.statistics().pulls == 0
    assert a.machine.tables[I]._staging == {}


def test_that_somebody_holds_what_all_hold_means_nothing():
    """Found by the test above: its rows of who holds what were voided by one of them, while they were being judged."""
    _, a, b = pair()
    a.hears(b, OwnedOps(SYSTEM, b.site, 1, 2, ((I, None), (SYSTEM, None), (SYSTEM, b"1")), False))
    assert a.machine.holders(I) == [a.site]
    assert sorted(a.machine.holders(SYSTEM)) == [a.site, b.site]
    assert a.seq(b, SYSTEM) == 4


@pytest.mark.parametrize("answer", [
    OwnedPart(I, site(2), 1, 9, None, (), False),
    OwnedOps(I, site(2), 1, 1, (), True),
])  # fmt: skip
def test_a_holder_that_answers_without_getting_on_is_not_asked_again_and_again(answer):
    """Each answer that brings nothing ends the pull, or costs one question at most."""
    _, a, b = pair(SMALL)
    a.hears(b, OwnedPositions(((I, ((b.site, 1, 9),)),), False))
    said: list[Any] = a.hears(b, answer)
    assert len(said) <= 1


@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_lossy_net_does_all_show_the_same_once_it_is_calm(seed):
    config = SMALL if seed % 2 else CONFIG
    net = Net(4, config.__class__(bytes_aim=config.bytes_aim, log_bytes_min=config.log_bytes_min), seed)
    net.loss, net.duplicate, net.reorder = 0.2, 0.2, True
    rng = Random(f"writers {seed}")
    for _ in range(150):
        node = rng.choice(net.nodes)
        if I not in node.machine.tables:
            node.hold()
        elif rng.random() < 0.05:
            node.release()
        else:
            node.write((b"%d" % rng.randrange(9), rng.choice((None, b"%d" % rng.randrange(99)))))
        if rng.random() < 0.05:
            other = rng.choice([other for other in net.nodes if other is not node])
            node.held(other, Liveness.DOWN)
            net.run()
            node.held(other, Liveness.ALIVE)
        net.wait(rng.randrange(SECOND // 4))
    net.loss = net.duplicate = 0.0
    net.reorder = False
    for node in net.nodes:
        if I not in node.machine.tables:
            node.hold()
    net.wait(30 * SECOND)
    for node in net.nodes:
        assert sorted(node.machine.holders(I)) == [other.site for other in net.nodes]
        for owner in net.nodes:
            assert node.shows(owner) == owner.shows(owner)
    assert len({node.machine.tables[I].digest for node in net.nodes}) == 1
