"""Two strangers through every exchange that the handshake allows, and out of it at every step where one goes wrong."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from covey.core.ids import Contact
from covey.core.vocabulary import Cause, Channel
from covey.protocols.links.handshake import ACCEPTED, Acceptor, Dialler, HandshakeFailed, Peer, refusal
from covey.wire import codec
from covey.wire.messages.handshake import Accepted, Hello, Proof, Welcome
from covey.wire.version import VERSION, VERSION_MIN
from tests.protocols.links.links_harness import identity

ALICE, BOB = identity(1, incarnation=7, boot=8), identity(2, incarnation=9, boot=10)
PROOF = codec.encode_handshake(Proof(bytes(32)))


def dialler(me=ALICE, channel=Channel.CONTROL):
    return Dialler(me, "alice:1", channel, Random(1))


def acceptor(me=BOB):
    return Acceptor(me, "bob:2", Random(2))


def altered(body: bytes, **fields: object) -> bytes:
    """The handshake message of `body` with other fields."""
    return codec.encode_handshake(msgspec.structs.replace(codec.decode_handshake(body), **fields))


def refused(side, body: bytes) -> tuple[Cause, bool]:
    with pytest.raises(HandshakeFailed) as caught:
        side.receive(body)
    return caught.value.cause, caught.value.by_peer


def greeted():
    """A dialler and an acceptor after Hello and Welcome, and the acceptor's proof."""
    alice, bob = dialler(), acceptor()
    welcome, proof = bob.receive(alice.opening())
    alice.receive(welcome)
    return alice, bob, proof


@pytest.mark.parametrize("channel", Channel)
def test_both_sides_learn_who_the_other_is(channel):
    alice, bob = dialler(channel=channel), acceptor()
    welcome, proof = bob.receive(alice.opening())
    assert alice.receive(welcome) == [] and alice.peer is None
    assert alice.receive(proof) == []
    assert alice.peer == Peer(Contact(BOB.site, 9, "bob:2"), BOB.boot, channel)
    assert bob.peer is None
    assert bob.receive(alice.proof()) == []
    assert bob.peer == Peer(Contact(ALICE.site, 7, "alice:1"), ALICE.boot, channel)
    assert not alice.accepted
    assert alice.receive(ACCEPTED) == []
    assert alice.accepted


def test_the_hello_says_everything_about_the_dialler_and_the_welcome_about_the_acceptor():
    hello = codec.decode_handshake(dialler(channel=Channel.DATA).opening())
    assert isinstance(hello, Hello)
    assert msgspec.structs.replace(hello, nonce=bytes(32)) == Hello(
        "covey", VERSION_MIN, VERSION, ALICE.cluster, 1, ALICE.site, 7, ALICE.boot, "alice:1", bytes(32)
    )
    welcome = codec.decode_handshake(acceptor().receive(dialler().opening())[0])
    assert isinstance(welcome, Welcome)
    assert msgspec.structs.replace(welcome, nonce=bytes(32)) == Welcome(
        VERSION, BOB.cluster, BOB.site, 9, BOB.boot, "bob:2", bytes(32)
    )


def test_no_two_handshakes_use_the_same_nonce():
    rng = Random(3)
    hellos = [codec.decode_handshake(Dialler(ALICE, "", Channel.CONTROL, rng).opening()) for _ in range(3)]
    hello = dialler().opening()
    welcomes = [codec.decode_handshake(Acceptor(BOB, "", rng).receive(hello)[0]) for _ in range(3)]
    assert len({message.nonce for message in hellos + welcomes}) == 6  # type: ignore[union-attr]


def test_without_the_secret_the_acceptor_is_found_out_by_the_dialler():
    alice, bob = dialler(), acceptor(identity(2, secret=b"another"))
    welcome, proof = bob.receive(alice.opening())
    alice.receive(welcome)
    assert refused(alice, proof) == (Cause.SECRET, False)
    assert alice.peer is None


def test_without_the_secret_the_dialler_is_found_out_by_the_acceptor():
    alice, bob, _ = greeted()
    stranger = dialler(identity(1, incarnation=7, boot=8, secret=b"another"))
    assert stranger.opening() == alice.opening()
    stranger.receive(bob._welcome)
    assert refused(bob, stranger.proof()) == (Cause.SECRET, False)
    assert bob.peer is None


def test_an_empty_secret_is_a_secret_like_any_other():
    alice, bob = dialler(identity(1, secret=b"")), acceptor()
    welcome, proof = bob.receive(alice.opening())
    alice.receive(welcome)
    assert refused(alice, proof) == (Cause.SECRET, False)


def test_another_cluster_is_refused_by_both_sides():
    elsewhere = identity(1, cluster="herd")
    assert refused(acceptor(), dialler(elsewhere).opening()) == (Cause.CLUSTER, False)
    alice = dialler()
    welcome = altered(acceptor().receive(alice.opening())[0], cluster=elsewhere.cluster)
    assert refused(alice, welcome) == (Cause.CLUSTER, False)


@pytest.mark.parametrize(
    "version_min, version_max, fits",
    [
        (VERSION_MIN, VERSION, True),
        (VERSION_MIN, VERSION + 5, True),
        (0, VERSION_MIN, True),
        (VERSION + 1, VERSION + 1, False),
        (VERSION + 1, VERSION + 9, False),
        (0, VERSION_MIN - 1, False),
        (VERSION_MIN, VERSION_MIN - 1, False),
    ],
)
def test_the_acceptor_needs_a_version_that_both_speak(version_min, version_max, fits):
    hello = altered(dialler().opening(), version_min=version_min, version_max=version_max)
    if fits:
        welcome = codec.decode_handshake(acceptor().receive(hello)[0])
        assert isinstance(welcome, Welcome) and version_min <= welcome.version <= version_max
    else:
        assert refused(acceptor(), hello) == (Cause.VERSION, False)


@pytest.mark.parametrize("version", [VERSION_MIN - 1, VERSION + 1, 2**40])
def test_the_dialler_takes_no_version_it_did_not_offer(version):
    alice = dialler()
    welcome = altered(acceptor().receive(alice.opening())[0], version=version)
    assert refused(alice, welcome) == (Cause.VERSION, False)


def test_another_protocol_is_told_by_its_magic():
    assert refused(acceptor(), altered(dialler().opening(), magic="Covey")) == (Cause.VIOLATION, False)


def test_a_channel_of_a_newer_version_is_refused_as_a_matter_of_versions():
    assert refused(acceptor(), altered(dialler().opening(), channel=9)) == (Cause.VERSION, False)


def _dialler_at(stage):
    alice, _, proof = greeted()
    if stage == "Welcome":
        alice = dialler()
    elif stage != "Proof":
        alice.receive(proof)
        if stage == "nothing":
            alice.receive(ACCEPTED)
    return alice


def _acceptor_at(stage):
    alice, bob, proof = greeted()
    if stage == "Hello":
        bob = acceptor()
    elif stage == "nothing":
        alice.receive(proof)
        bob.receive(alice.proof())
    return bob


MESSAGES = {
    "Hello": dialler().opening(),
    "Welcome": acceptor().receive(dialler().opening())[0],
    "Proof": PROOF,
    "Accepted": ACCEPTED,
}


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("stage", ["Welcome", "Proof", "Accepted", "nothing"])
def test_the_dialler_takes_only_what_is_due(stage, message):
    if stage != message:
        assert refused(_dialler_at(stage), MESSAGES[message]) == (Cause.VIOLATION, False)


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("stage", ["Hello", "Proof", "nothing"])
def test_the_acceptor_takes_only_what_is_due(stage, message):
    if stage != message:
        assert refused(_acceptor_at(stage), MESSAGES[message]) == (Cause.VIOLATION, False)


SIDES = [
    pytest.param(lambda stage=stage: _dialler_at(stage), id=f"a dialler that waits for {stage}")
    for stage in ("Welcome", "Proof", "Accepted", "nothing")
] + [
    pytest.param(lambda stage=stage: _acceptor_at(stage), id=f"an acceptor that waits for {stage}")
    for stage in ("Hello", "Proof", "nothing")
]


@pytest.mark.parametrize("side", SIDES)
def test_either_side_may_be_refused_at_any_time_and_knows_that_the_peer_said_so(side):
    assert refused(side(), refusal(Cause.SITE_CONFLICT, "copied disk")) == (Cause.SITE_CONFLICT, True)


@pytest.mark.parametrize("side", SIDES)
def test_a_reason_from_a_newer_version_counts_as_a_violation(side):
    assert refused(side(), refusal(4711, "new")) == (Cause.VIOLATION, True)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "garbage", [b"", b"\x00", b"GET / HTTP/1.1\r\n", b"\x91\x63", b"\x92\x01\x02", b"\xc1", b"\x91" * 4000]
)
def test_garbage_is_a_decoding_failure_at_every_stage(side, garbage):
    assert refused(side(), garbage) == (Cause.DECODE, False)


def test_a_long_refusal_is_cut_for_the_log():
    with pytest.raises(HandshakeFailed) as caught:
        dialler().receive(refusal(Cause.BUSY, "x" * 3000))
    assert len(caught.value.detail) == 300


def test_fields_appended_by_a_newer_version_are_ignored():
    alice, bob = dialler(), acceptor()
    hello = msgspec.msgpack.decode(alice.opening())
    longer = msgspec.msgpack.encode([*hello, "a field of tomorrow", 7])
    assert len(bob.receive(longer)) == 2
    alice, bob, proof = greeted()
    alice.receive(proof)
    bob.receive(msgspec.msgpack.encode([*msgspec.msgpack.decode(alice.proof()), "tomorrow"]))
    assert bob.peer is not None


def test_accepted_is_a_message_without_fields():
    assert codec.decode_handshake(ACCEPTED) == Accepted()
