"""Frozen bytes of everything on the wire. Vectors never change, they only grow.

A vector that no longer fits means that two versions of covey no longer understand each other. A new message kind gets a
line in `EXAMPLES` and its hex in `tests/vectors/messages.json`; a field that was appended gets a second example, and
what was shown without it (`SHORTER`) is still read.
"""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from covey.core.ids import Contact, Site, cluster_id
from covey.core.vocabulary import Cause, Channel, Liveness
from covey.protocols.links.handshake import ACCEPTED, Acceptor, Dialler, Identity, refusal
from covey.wire.codec import decode_body, decode_handshake, encode_handshake, encode_message, join_body
from covey.wire.framing import Splitter, frame
from covey.wire.messages.broadcast import Gossip, Graft, IHave, NotHeld, Prune
from covey.wire.messages.claims import PROMISED, Claim, Grant, Refusal, Release, Released, Seats
from covey.wire.messages.client import Answer, Ask
from covey.wire.messages.detector import (
    Ack,
    ConfirmReply,
    ConfirmRequest,
    IndirectAck,
    Nack,
    Ping,
    PingRequest,
    Rumour,
    Rumours,
    Stopped,
    Table,
    TableDigest,
)
from covey.wire.messages.direct import Payload
from covey.wire.messages.groups import Mail
from covey.wire.messages.handshake import Accepted, Hello, Proof, Refused, Welcome
from covey.wire.messages.links import Goodbye, KeepAlive
from covey.wire.messages.membership import Digests, Forgotten, News, Op, Sync
from covey.wire.messages.overlay import (
    Affirm,
    Beacon,
    Disconnect,
    ForwardJoin,
    Join,
    Left,
    NeighborReply,
    NeighborRequest,
    Probe,
    ProbeReply,
    Shuffle,
    ShuffleReply,
)
from covey.wire.messages.registry import (
    Absent,
    Answered,
    Carried,
    ChildAnswer,
    ChildCall,
    Duplicate,
    Ended,
    HandedOver,
    Handover,
    HandoverPart,
    Kept,
    Prepare,
    Prepared,
    Requests,
    Watch,
    Watched,
    WhichAbsent,
    WholeKnown,
    WholeOwner,
    WholeRows,
)
from covey.wire.messages.rows import (
    OwnedOps,
    OwnedPart,
    OwnedPositions,
    OwnedPull,
    RowSum,
    SharedCompare,
    SharedDone,
    SharedHave,
    SharedOps,
    SharedPart,
    SharedPartPull,
    SharedPull,
    SharedSummary,
    SharedSums,
)
from tests.wire.strategies import HANDSHAKE_KINDS, MESSAGE_KINDS

VECTORS = Path(__file__).parent.parent / "vectors"

A = Site(bytes(range(16)))
B = Site(bytes(range(16, 32)))
ANN = Contact(A, 1_700_000_000_000, "10.0.0.1:8946")
BOB = Contact(B, 2**53, "[fe80::1]:65535")
CLUSTER = cluster_id("orders")
SECRET = b"correct horse battery staple"
# What ann wrote: that bob belongs, where she herself is, and her metadata.
CLOCK = 1_700_000_000_000 << 16
MEMBER = Op(A, 0, B, CLOCK, 1_700_000_000_000, 1, 1_700_000_000_000)
HOST = Op(A, 1, A, CLOCK + 1, 1_700_000_000_000, b"10.0.0.1:8946", 1_700_000_000_001)
META = Op(A, 2, A, 2**63 - 1, 2**53, b"\x81\xa4zone\xa1a", 2**63 - 1)
SUSPECTED = Rumour(A, 1_700_000_000_000, 3, Liveness.SUSPECT, B)
GONE = Rumour(B, 2**53, 0, Liveness.STOPPED)
# A row that ann started and bob wrote to, and what is known of both of them.
BIRTH = (A, 1_700_000_000_000, 12)
CHANGE = (B, 2**53, 2**53)
TOLD = ((A, 1_700_000_000_000, ((1, 12), (14, 300))), (B, 2**53, ((2**53, 2**53),)))

EXAMPLES: dict[str, Any] = {
    "Hello": Hello("covey", 1, 1, CLUSTER, 0, A, 1_700_000_000_000, b"b" * 16, "10.0.0.1:8946", b"n" * 32),
    "Welcome": Welcome(1, CLUSTER, B, 2**53, b"B" * 16, "[fe80::1]:65535", b"N" * 32),
    "Proof": Proof(bytes(range(32))),
    "Accepted": Accepted(),
    "Refused": Refused(11, "another secret"),
    "KeepAlive": KeepAlive(),
    "Goodbye": Goodbye(4, "closing"),
    "Join": Join(ANN, 1),
    "ForwardJoin": ForwardJoin(ANN, 6),
    "NeighborRequest": NeighborRequest(BOB, 2**53, True),
    "NeighborReply": NeighborReply(300, False),
    "Disconnect": Disconnect(True, (ANN, BOB)),
    "Disconnect for good": Disconnect(False, ()),
    "Shuffle": Shuffle(ANN, 255, (BOB,)),
    "ShuffleReply": ShuffleReply((ANN, BOB)),
    "Affirm": Affirm(),
    "Beacon": Beacon(A, 1_700_000_000_000, 70_000, 12),
    "Probe": Probe(ANN, B),
    "Probe that warns": Probe(ANN, B, True),
    "ProbeReply": ProbeReply(A),
    "Left": Left(A, 1_700_000_000_000),
    "Payload": Payload(msgspec.Raw(msgspec.msgpack.encode({"EURUSD": 1.08, "tags": ["a", None, True, b"\x00"]}))),
    "Payload of nothing": Payload(msgspec.Raw(b"\xc0")),
    "Sync": Sync(12, 300, 70_000, (MEMBER, HOST, META), b"r" * 8, True, 2**53),
    "Sync of nothing": Sync(0, 0, 0, (), bytes(8), False),
    "News": News((MEMBER,)),
    "Digests": Digests(b"r" * 8, b"k" * 8),
    "Forgotten": Forgotten(1_700_000_000_000 << 16, 2**53),
    "Ping": Ping(7, 1_700_000_000_000, 3, b"l" * 8, b"r" * 8 + b"k" * 8, (SUSPECTED, GONE)),
    "Ack": Ack(2**53, 2**53, 2**53, b"l" * 8, b"", ()),
    "PingRequest": PingRequest(300, ANN),
    "IndirectAck": IndirectAck(300, 1_700_000_000_000, 3),
    "Nack": Nack(300),
    "ConfirmRequest": ConfirmRequest(70_000, BOB),
    "ConfirmReply": ConfirmReply(70_000, True),
    "Rumours": Rumours(tuple(Rumour(A, 1, 0, state) for state in Liveness)),
    "Table": Table(b"", b"\xff" * 16, (SUSPECTED, GONE), True),
    "Table of nothing": Table(A, B, (), False),
    "TableDigest": TableDigest(b"l" * 8),
    "Stopped": Stopped(1_700_000_000_000),
    "Ask": Ask(7, "kick", b"\x81\xa3who\xa4cafe"),
    "Answer": Answer(2**53, b"\x80", True, ""),
    "Answer that is none": Answer(0, b"", False, "UnknownName: nobody is called cafe"),
    "OwnedOps": OwnedOps(b"orders", A, 1_700_000_000_000, 300, ((b"key", b"value"), (b"", None)), True),
    "OwnedOps of nothing": OwnedOps(b"", B, 2**53, 2**53, (), False),
    "OwnedPull": OwnedPull(b"orders", A, 1_700_000_000_000, 299),
    "OwnedPull of a part": OwnedPull(b"orders", A, 1_700_000_000_000, 299, True, b"key"),
    "OwnedPart": OwnedPart(b"orders", A, 1_700_000_000_000, 70_000, None, ((b"key", b"value"), (b"k\xff", b"")), False),
    "OwnedPart of nothing": OwnedPart(b"", B, 0, 0, b"key", (), True),
    "RowSum": RowSum(b"rowsums!"),
    "RowSum of what is not saved": RowSum(b"rowsums!", False),
    "OwnedPositions": OwnedPositions(((b"", ((A, 1_700_000_000_000, 12), (B, 2**53, 300))), (b"orders", ())), True),
    "OwnedPositions of nothing": OwnedPositions((), False),
    "Mail": Mail(2**53, 7, ((1, 0), (300, 2**53)), 0, 0, msgspec.Raw(b"\xa2hi")),
    "Mail that calls": Mail(1_700_000_000_000, 1, ((70_000, 5),), 1, 12, msgspec.Raw(b"\x81\xa1q\x01")),
    "Mail that answers": Mail(1_700_000_000_000, 2**53, ((1, 0),), 3, 2**53, msgspec.Raw(b"\xa4busy")),
    "SharedOps": SharedOps(
        b"orders",
        A,
        1_700_000_000_000,
        300,
        (
            (b"key", None, b"value", (), ()),
            (b"key", b"field", b"", (BIRTH,), (CHANGE, BIRTH)),
            (b"", None, None, (BIRTH, CHANGE), ()),
        ),
    ),
    "SharedOps of nothing": SharedOps(b"", B, 2**53, 2**53, ()),
    "SharedSums": SharedSums(((b"orders", b"digest!!"), (b"", bytes(8)))),
    "SharedSums of what is not saved": SharedSums(((b"orders", b"digest!!"),), False),
    "SharedHave": SharedHave(b"orders", TOLD, ((A, 0, ((1, 1),)),), b"alive!!!", True),
    "SharedHave of nothing": SharedHave(b"", (), (), bytes(8), False),
    "SharedHave of what is not saved": SharedHave(b"orders", TOLD, (), b"alive!!!", False, False),
    "SharedPull": SharedPull(b"orders", ((A, 1_700_000_000_000, 13, 13), (B, 2**53, 1, 2**53))),
    "SharedDone": SharedDone(b"orders", True, False),
    "SharedDone that sends to rows": SharedDone(b"", False, True),
    "SharedCompare": SharedCompare(b"orders"),
    "SharedSummary": SharedSummary(b"orders", TOLD, ((A, 0, ()),), bytes(range(256)) * 8),
    "SharedPartPull": SharedPartPull(b"orders", 255, (b"key", CHANGE)),
    "SharedPartPull from the beginning": SharedPartPull(b"", 0, None),
    "SharedPart": SharedPart(
        b"orders",
        200,
        (b"k", BIRTH),
        ((b"key", None, BIRTH, (), b"value"), (b"key", b"field", CHANGE, (BIRTH,), b"")),
        False,
    ),
    "SharedPart of nothing": SharedPart(b"", 0, None, (), True),
    "Claim": Claim((b"hub", b"id"), CLOCK, 1_700_000_000_000, 2**53, 4_870_000, b"electors"),
    "Claim of who takes over": Claim((b"", b""), 0, 0, 0, 0, bytes(8), (A, 1_700_000_000_000, CLOCK)),
    "Grant": Grant((b"hub", b"id"), CLOCK, 1_700_000_000_000, 2**53, 4),
    "Refusal": Refusal((b"hub", b"id"), CLOCK, 1_700_000_000_000, CLOCK + 1, CLOCK - 1, 4_870_000, False, True),
    "Release": Release((b"hub", b"id"), (B, 2**53, CLOCK)),
    "Released": Released((b"hub", b"id"), (B, 2**53, CLOCK)),
    "Seats": Seats(b"electors", (A, B, Site(bytes(16))), PROMISED),
    "ChildCall": ChildCall(b"hub:h", 1_700_000_000_000, b"\xa1c", 7, 2, 5, 5_000_000, 0, msgspec.Raw(b"\xc0"), 4),
    "ChildAnswer": ChildAnswer(b"hub:h", 1_700_000_000_000, 7, 2, 3, msgspec.Raw(b"\xc0"), B),
    "ChildAnswer of who knows nobody": ChildAnswer(b"", 0, 0, 0, 0, msgspec.Raw(b"\xc0")),
    "Ended": Ended(b"hub:h", b"\xa1c", 3, CLOCK, "ValueError: no", CLOCK - 1),
    "Prepare": Prepare(b"hub:h", 9, b"\xa1c"),
    "Prepared": Prepared(b"hub:h", 9, b"\xa1c", ""),
    "Handover": Handover(b"hub:h", 9, b"\xa1c", CLOCK, b"state", False, (A, 2**53, CLOCK), 2, (4, 2**53)),
    "Handover of nothing": Handover(b"hub:h", 9, b"\xa1c", CLOCK, None, True, None, 0, ()),
    "HandoverPart": HandoverPart(
        b"hub:h",
        9,
        b"\xa1c",
        1,
        (Carried((A, 1), 7, 2, 5_000_000, 1, msgspec.Raw(b"\xc0")),),
        (Answered((B, 2), 8, 1, 0, msgspec.Raw(b"\xc0")),),
    ),
    "HandedOver": HandedOver(b"hub:h", 9, b"\xa1c", "it cannot run there"),
    "Duplicate": Duplicate(b"hub:h", b"\xa1c"),
    "Kept": Kept(b"hub:h", b"\xa1c"),
    "Watch": Watch(b"hub:h", 4, (b"\xa1c", b"\xa1d")),
    "Watched": Watched(b"hub:h", 4),
    "WhichAbsent": WhichAbsent(b"hub:h", 4, (b"\xa1c", b"\xa1d")),
    "Absent": Absent(b"hub:h", 4, (b"\xa1d",)),
    "Requests": Requests(
        b"hub:h",
        b"note",
        (
            OwnedOps(b"hub:h", A, 1_700_000_000_000, 1, ((b"p", b""), (b"r", None)), False),
            SharedOps(b"hub:h", A, 1_700_000_000_000, 12, ((b"\xa1c", None, b"birth", (), ()),)),
        ),
    ),
    "WholeOwner": WholeOwner(b"hub:h", A, 1_700_000_000_000, 2, None, ((b"p", b""),), True),
    "WholeRows": WholeRows(b"hub:h", ((b"\xa1c", None, BIRTH, (), b"birth"), (b"\xa1c", b"m", CHANGE, (BIRTH,), b""))),
    "WholeKnown": WholeKnown(b"hub:h", 3, 0, ((A, 1_700_000_000_000, ((1, 11),)),), False),
    "WholeKnown for one that came": WholeKnown(
        b"hub:h", 3, 1, (), True, ((A, 1_700_000_000_000, ((1, 12),)),), bytes(range(8)), True, True, b"note"
    ),
    "Gossip": Gossip(A, 1_700_000_000_000, b"topic", 300, 2, 3, msgspec.Raw(b"\x92\xa2hi\xc0")),
    "IHave": IHave(((A, 1_700_000_000_000, b"topic", ((1, 12, 3), (14, 2**53, 70))), (B, 2**53, b"", ((1, 1, 0),)))),
    "Graft": Graft(((A, 1_700_000_000_000, b"topic", ((1, 12), (14, 2**53))),)),
    "Graft of what comes": Graft(()),
    "Prune": Prune(),
    "NotHeld": NotHeld(((B, 2**53, b"topic", ((7, 7),)),)),
}

# As they were before a field was appended.
SHORTER = ("Probe", "RowSum", "SharedSums", "SharedHave", "SharedHave of nothing")

_ELEVEN = ["Affirm", "KeepAlive", "Join", "ForwardJoin", "NeighborRequest", "NeighborReply", "Disconnect", "Shuffle",
           "ShuffleReply", "Beacon", "Probe"]  # fmt: skip
FRAMES = {
    "one message": ["Payload"],
    "a detector's and membership's": ["Ping", "Ack", "Rumours", "Table", "Stopped", "Sync", "News", "Digests"],
    "sixteen messages": [*_ELEVEN, "ProbeReply", "Payload", "Payload of nothing", "Disconnect for good", "Goodbye"],
}


def vectors(name: str) -> dict[str, str]:
    loaded = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    assert "never change" in loaded.pop("about")
    return dict(loaded)


MESSAGES = vectors("messages")


def test_every_example_has_a_vector_and_every_vector_an_example():
    assert list(MESSAGES) == list(EXAMPLES)


def test_every_kind_in_the_unions_has_a_vector():
    shown = dict.fromkeys(type(message).__name__ for message in EXAMPLES.values())
    assert sorted(shown) == sorted(kind.__name__ for kind in (*HANDSHAKE_KINDS, *MESSAGE_KINDS))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_is_its_vector_in_both_directions(name):
    message = EXAMPLES[name]
    encoded = bytes.fromhex(MESSAGES[name])
    if isinstance(message, HANDSHAKE_KINDS):
        assert encode_handshake(message).hex() == MESSAGES[name]
        assert decode_handshake(encoded) == message
    else:
        assert (encode_message(message).hex() == MESSAGES[name]) is (name not in SHORTER)
        assert decode_body(join_body([encoded])) == ([message], 0)


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_is_its_vector_in_both_directions(name):
    wanted = vectors("frames")[name]
    messages = [EXAMPLES[example] for example in FRAMES[name]]
    assert frame(join_body([bytes.fromhex(MESSAGES[example]) for example in FRAMES[name]])).hex() == wanted
    (body,) = Splitter().feed(bytes.fromhex(wanted))
    assert decode_body(body) == (messages, 0)


def handshake(secret: bytes) -> dict[str, bytes]:
    """Both sides of one handshake, all bodies, with nonces from fixed generators."""
    ann = Identity(CLUSTER, A, 1_700_000_000_000, b"b" * 16, secret)
    bob = Identity(CLUSTER, B, 2**53, b"B" * 16, secret)
    dialler = Dialler(ann, ANN.address, Channel.DATA, Random(1))
    acceptor = Acceptor(bob, BOB.address, Random(2))
    hello = dialler.opening()
    welcome, acceptor_proof = acceptor.receive(hello)
    assert dialler.receive(welcome) == dialler.receive(acceptor_proof) == []
    dialler_proof = dialler.proof()
    assert acceptor.receive(dialler_proof) == []
    assert dialler.receive(ACCEPTED) == []
    assert dialler.peer is not None
    assert acceptor.peer is not None
    assert (dialler.accepted, dialler.peer.contact, acceptor.peer.contact) == (True, BOB, ANN)
    return {
        "proof key": ann.proof_key(),
        "hello": hello,
        "welcome": welcome,
        "acceptor proof": acceptor_proof,
        "dialler proof": dialler_proof,
        "accepted": ACCEPTED,
        "refused": refusal(Cause.SECRET, "another secret"),
    }


def test_a_handshake_with_fixed_nonces_is_its_vector():
    bodies = handshake(SECRET)
    assert {name: body.hex() for name, body in bodies.items()} == vectors("handshake")


def test_the_proofs_in_the_vector_are_the_hmac_that_the_protocol_describes():
    """HMAC-SHA256 over role, length of `Hello`, `Hello` and `Welcome`, under a key derived from the secret."""
    bodies = {name: bytes.fromhex(body) for name, body in vectors("handshake").items()}
    key = hmac.digest(b"covey proof key v1", SECRET, "sha256")
    assert key == bodies["proof key"]
    for role in ("acceptor", "dialler"):
        bound = len(bodies["hello"]).to_bytes(4, "big") + bodies["hello"] + bodies["welcome"]
        mac = hmac.digest(key, role.encode() + bound, "sha256")
        assert decode_handshake(bodies[f"{role} proof"]) == Proof(mac)


def test_another_secret_gives_other_proofs_and_the_same_greetings():
    one, other = handshake(b"one"), handshake(b"other")
    assert [name for name in one if one[name] != other[name]] == ["proof key", "acceptor proof", "dialler proof"]
