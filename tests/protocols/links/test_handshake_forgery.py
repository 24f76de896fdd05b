"""What a man in the middle may try: replay, reflection, and changing any byte. Nobody is ever proved by it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.vocabulary import Cause, Channel
from covey.protocols.links.handshake import ACCEPTED, Acceptor, Dialler, HandshakeFailed
from tests.protocols.links.links_harness import identity

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove

ALICE, BOB, CAROL = identity(1), identity(2), identity(3)
FRAMES = ("hello", "welcome", "acceptor's proof", "dialler's proof")


def dialler(me=ALICE, seed=1):
    return Dialler(me, "alice:1", Channel.CONTROL, Random(seed))


def acceptor(me=BOB, seed=2):
    return Acceptor(me, "bob:2", Random(seed))


def meet(alice, bob, change=lambda name, body: body):
    """A whole handshake through a man in the middle; what each frame was when it was sent."""
    sent = {}

    def carry(name, body):
        sent[name] = body
        return change(name, body)

    welcome, proof = bob.receive(carry("hello", alice.opening()))
    alice.receive(carry("welcome", welcome))
    alice.receive(carry("acceptor's proof", proof))
    bob.receive(carry("dialler's proof", alice.proof()))
    alice.receive(ACCEPTED)
    return sent


RECORDED = meet(dialler(), acceptor())


def fails(change):
    """Meet under `change`: who was proved all the same."""
    alice, bob = dialler(), acceptor()
    with pytest.raises(HandshakeFailed):
        meet(alice, bob, change)
    return alice.peer, bob.peer


def test_an_unchanged_handshake_succeeds_and_repeats_itself_under_the_same_nonces():
    alice, bob = dialler(), acceptor()
    assert meet(alice, bob) == RECORDED
    assert alice.peer is not None and bob.peer is not None and alice.accepted


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("bit", range(8))
def test_a_bit_turned_anywhere_in_a_frame_proves_nobody(name, bit):
    for position in range(len(RECORDED[name])):

        def turn(which, body, position=position):
            if which != name:
                return body
            return body[:position] + bytes([body[position] ^ 1 << bit]) + body[position + 1 :]

        proved_acceptor, proved_dialler = fails(turn)
        assert proved_dialler is None, f"{name}, byte {position}"
        # Once the dialler's own proof is on its way, the acceptor was proved rightly.
        assert (proved_acceptor is not None) == (name == "dialler's proof"), f"{name}, byte {position}"


@given(st.sampled_from(FRAMES), st.data())
def test_bytes_cut_out_put_in_or_changed_prove_nobody(name, data):
    body = RECORDED[name]
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(start + 8, len(body))))
    other = body[:start] + data.draw(st.binary(max_size=8)) + body[end:]
    if other != body:
        assert fails(lambda which, sent: other if which == name else sent)[1] is None


def test_a_recorded_dialler_cannot_be_replayed_to_the_acceptor():
    bob = acceptor(seed=99)
    bob.receive(RECORDED["hello"])
    with pytest.raises(HandshakeFailed) as caught:
        bob.receive(RECORDED["dialler's proof"])
    assert caught.value.cause is Cause.SECRET and bob.peer is None


def test_a_recorded_acceptor_cannot_be_replayed_to_the_dialler():
    alice = dialler(seed=99)
    alice.receive(RECORDED["welcome"])
    with pytest.raises(HandshakeFailed) as caught:
        alice.receive(RECORDED["acceptor's proof"])
    assert caught.value.cause is Cause.SECRET and alice.peer is None


def test_an_acceptors_own_proof_cannot_be_sent_back_to_it():
    bob = acceptor()
    _, proof = bob.receive(dialler().opening())
    with pytest.raises(HandshakeFailed) as caught:
        bob.receive(proof)
    assert caught.value.cause is Cause.SECRET and bob.peer is None


def test_a_diallers_own_frames_cannot_be_sent_back_to_it():
    alice = dialler()
    with pytest.raises(HandshakeFailed) as caught:
        alice.receive(alice.opening())
    assert caught.value.cause is Cause.VIOLATION
    alice = dialler()
    alice.receive(RECORDED["welcome"])
    with pytest.raises(HandshakeFailed) as caught:
        alice.receive(alice.proof())
    assert caught.value.cause is Cause.SECRET and alice.peer is None


def test_a_proof_for_one_node_is_worth_nothing_to_another():
    """A man in the middle lets alice speak to carol, and hands what she says to bob."""
    alice, bob, carol = dialler(), acceptor(), acceptor(CAROL, seed=3)
    welcome, proof = carol.receive(alice.opening())
    bob.receive(alice.opening())
    alice.receive(welcome)
    alice.receive(proof)
    with pytest.raises(HandshakeFailed) as caught:
        bob.receive(alice.proof())
    assert caught.value.cause is Cause.SECRET and bob.peer is None


def test_a_proof_is_bound_to_its_channel():
    """The hello of one connection and the proof of the other, of the same two nodes and with the same nonces."""
    control = dialler()
    data = Dialler(ALICE, "alice:1", Channel.DATA, Random(1))
    bob = acceptor()
    welcome, _ = bob.receive(data.opening())
    control.receive(welcome)
    with pytest.raises(HandshakeFailed) as caught:
        bob.receive(control.proof())
    assert caught.value.cause is Cause.SECRET and bob.peer is None
