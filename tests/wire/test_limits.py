"""The limits are protocol: these numbers are the same on every node, and they fit into each other."""

from __future__ import annotations

import msgspec
import pytest

from covey.core.errors import DecodeError
from covey.core.ids import ADDRESS_LENGTH_MAX, INCARNATION_MAX, ClusterId, Contact, Site
from covey.core.vocabulary import Liveness
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.pieces import sums_in_pieces, tellable
from covey.rows import shared
from covey.rows.dots import Told
from covey.rows.op_log import OP_BYTES
from covey.rows.owner import ROW_BYTES
from covey.wire import limits
from covey.wire.codec import decode_body, encode_handshake, encode_message, join_body
from covey.wire.framing import Splitter, frame
from covey.wire.messages import detector, membership, rows
from covey.wire.messages.direct import Payload
from covey.wire.messages.handshake import Hello, Welcome
from covey.wire.messages.overlay import Disconnect, Shuffle
from covey.wire.payloads import encode_payload

FROZEN = {
    "FRAME_BYTES_MAX": 1_048_576,
    "FRAME_AIM_BYTES": 65_536,
    "HELLO_BYTES_MAX": 4_096,
    "MESSAGE_OVERHEAD_BYTES": 64,
    "PAYLOAD_BYTES_MAX": 1_048_512,
    "KEY_BYTES_MAX": 1_024,
    "KEY_DEPTH_MAX": 8,
    "CONTACTS_MAX": 64,
}


FROZEN_OF_MEMBERSHIP = {"BLOB_BYTES_MAX": 4_096, "OP_BYTES": 72, "OPS_MAX": 16384}
FROZEN_OF_DETECTOR = {
    "REFUTATION_MAX": 2**53,
    "RUMOURS_MAX": 64,
    "TABLE_RECORDS_MAX": 1_024,
    "RUMOUR_BYTES_MAX": 56,
    "DIGEST_BYTES": 8,
    "DIGESTS_BYTES_MAX": 64,
}
FROZEN_OF_ROWS = {
    "INSTANCE_BYTES_MAX": 1_088,
    "ROW_KEY_BYTES_MAX": 1_088,
    "ROW_VALUE_BYTES_MAX": 65_536,
    "OPS_MAX": 16_384,
    "POSITIONS_MAX": 4_096,
    "SEQ_MAX": 2**53,
    "KEY_BYTES_MAX": 1_024,
    "NAMES_MAX": 256,
    "LIVES_MAX": 8_192,
    "INTERVALS_MAX": 4_096,
    "RANGES_MAX": 1_024,
    "BUCKETS": 256,
    "SUMS_BYTES": 2_048,
}


@pytest.mark.parametrize(
    "module, frozen",
    [(limits, FROZEN), (membership, FROZEN_OF_MEMBERSHIP), (detector, FROZEN_OF_DETECTOR), (rows, FROZEN_OF_ROWS)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_limit_never_changes_between_versions(module, frozen):
    assert {name: getattr(module, name) for name in vars(module) if name.isupper()} == frozen


def test_the_largest_payload_fits_in_a_frame():
    value = encode_payload(b"x" * (limits.PAYLOAD_BYTES_MAX - 5))
    assert len(value) == limits.PAYLOAD_BYTES_MAX
    body = join_body([encode_message(Payload(msgspec.Raw(value)))])
    assert Splitter().feed(frame(body)) == [body]


def test_the_longest_handshake_message_fits_in_what_a_stranger_may_send():
    cluster, site = ClusterId(b"c" * 16), Site(b"s" * 16)
    address = "\U0010ffff" * ADDRESS_LENGTH_MAX
    hello = Hello("covey", 1, 2**63, cluster, 1, site, INCARNATION_MAX, bytes(16), address, bytes(32))
    welcome = Welcome(2**63, cluster, site, INCARNATION_MAX, bytes(16), address, bytes(32))
    for message in (hello, welcome):
        assert len(encode_handshake(message)) <= limits.HELLO_BYTES_MAX


def test_the_longest_list_of_contacts_fits_in_a_frame():
    contact = Contact(Site(b"s" * 16), INCARNATION_MAX, "\U0010ffff" * ADDRESS_LENGTH_MAX)
    contacts = (contact,) * limits.CONTACTS_MAX
    for message in (Disconnect(True, contacts), Shuffle(contact, 255, contacts)):
        assert len(join_body([encode_message(message)])) <= limits.FRAME_BYTES_MAX


def test_an_operation_and_a_rumour_are_no_longer_than_is_reckoned():
    site = Site(b"s" * 16)
    for value in (255, b"", bytes(membership.BLOB_BYTES_MAX)):
        op = membership.Op(site, 2, site, 2**63 - 1, INCARNATION_MAX, value, 2**63 - 1)
        blob = len(value) if isinstance(value, bytes) else 0
        assert len(msgspec.msgpack.encode(op)) <= membership.OP_BYTES + blob
    rumour = detector.Rumour(site, INCARNATION_MAX, detector.REFUTATION_MAX, Liveness.STOPPED, site)
    assert len(msgspec.msgpack.encode(rumour)) <= detector.RUMOUR_BYTES_MAX
    table = detector.Table(site, site, (rumour,) * detector.TABLE_RECORDS_MAX, True)
    assert len(join_body([encode_message(table)])) <= limits.FRAME_AIM_BYTES


def test_the_longest_sync_of_a_default_member_fits_in_a_frame():
    site, config = Site(b"s" * 16), MembershipConfig()
    op = membership.Op(site, 2, site, 2**63 - 1, INCARNATION_MAX, bytes(membership.BLOB_BYTES_MAX), 2**63 - 1)
    count = 2 * config.sync_bytes_aim // len(msgspec.msgpack.encode(op)) + 2
    sync = membership.Sync(2**53, 2**53, 2**53, (op,) * count, bytes(8), True, INCARNATION_MAX)
    assert len(join_body([encode_message(sync)])) <= limits.FRAME_BYTES_MAX


def test_the_longest_messages_about_rows_fit_in_a_frame():
    """As a default member says them: up to `bytes_aim` and the row that crosses it, or `positions_max` positions."""
    config, site = ReplicationConfig(), Site(b"s" * 16)
    instance, key, value = (
        bytes(rows.INSTANCE_BYTES_MAX), bytes(rows.ROW_KEY_BYTES_MAX), bytes(rows.ROW_VALUE_BYTES_MAX)
    )  # fmt: skip
    small = ((b"", b""),) * (config.bytes_aim // ROW_BYTES)
    for told in (small, (*small, (key, value))):
        assert len(told) <= rows.OPS_MAX
        part = rows.OwnedPart(instance, site, INCARNATION_MAX, rows.SEQ_MAX, key, told, False)
        ops = rows.OwnedOps(instance, site, INCARNATION_MAX, rows.SEQ_MAX, told, False)
        assert all(len(join_body([encode_message(message)])) <= limits.FRAME_BYTES_MAX for message in (part, ops))
    assert config.positions_max <= rows.POSITIONS_MAX
    position = (site, INCARNATION_MAX, rows.SEQ_MAX)
    positions = rows.OwnedPositions(((instance, (position,) * config.positions_max),), True)
    assert len(join_body([encode_message(positions)])) <= limits.FRAME_BYTES_MAX


def fits(message: rows.RowsMessage) -> bool:
    """Whether it is read by whoever hears it, and fits in a frame."""
    body = join_body([encode_message(message)])
    assert decode_body(body) == ([message], 0)
    return len(body) <= limits.FRAME_BYTES_MAX


def test_the_longest_messages_about_shared_rows_fit_in_a_frame():
    """As a default member says them: up to `bytes_aim` and the operation, or the entry, that crosses it."""
    config, dot = ReplicationConfig(), (SITE, INCARNATION_MAX, rows.SEQ_MAX)
    assert (shared.NAMES_MAX, shared.BUCKETS) == (rows.NAMES_MAX, rows.BUCKETS)
    instance, key, field, value, dots = (
        bytes(rows.INSTANCE_BYTES_MAX), bytes(rows.ROW_KEY_BYTES_MAX), bytes(limits.KEY_BYTES_MAX),
        bytes(rows.ROW_VALUE_BYTES_MAX), (dot,) * rows.NAMES_MAX,
    )  # fmt: skip
    small = ((b"", None, b"", (), ()),) * (config.bytes_aim // OP_BYTES)
    assert len(small) < rows.OPS_MAX
    assert fits(rows.SharedOps(instance, SITE, INCARNATION_MAX, 2**52, (*small, (key, field, value, dots, dots))))
    entries = ((b"", None, dot, (), b""),) * (config.bytes_aim // OP_BYTES)
    assert fits(rows.SharedPart(instance, 255, (key, dot), (*entries, (key, field, dot, dots, value)), False))
    assert fits(rows.SharedPull(instance, ((SITE, INCARNATION_MAX, rows.SEQ_MAX, rows.SEQ_MAX),) * rows.RANGES_MAX))
    assert fits(rows.SharedPartPull(instance, 255, (key, dot)))
    messages = sums_in_pieces([(instance, bytes(8))] * config.instances_max, False, config.bytes_aim)
    assert sum(len(message.sums) for message in messages) == config.instances_max
    assert all(map(fits, messages))


def had(lives: int, intervals: int) -> tuple[Told, ...]:
    gaps = tuple((rows.SEQ_MAX - 2 * at, rows.SEQ_MAX - 2 * at) for at in range(intervals, 0, -1))
    return ((SITE, INCARNATION_MAX, gaps),) * lives


@pytest.mark.parametrize(
    "lives, intervals, whole",
    [(3, 9, True), (7_864, 1, True), (9_000, 1, False), (1, 4_096, True), (1, 4_097, False), (5, 5_000, False),
     (100, 200, True), (200, 200, False)],
)  # fmt: skip
def test_what_is_had_is_told_as_far_as_it_fits_in_a_frame(lives, intervals, whole):
    """Found by reading: more than 4,096 gaps in what one life did, and each link that should tell of it was dropped."""
    told = had(lives, intervals)
    said = tellable(told)
    assert [life[:2] for life in said] == [life[:2] for life in told[: len(said)]]
    assert all(some[2] == all_of_it[2][: len(some[2])] for some, all_of_it in zip(said, told, strict=False))
    assert (said == told) is whole
    instance = bytes(rows.INSTANCE_BYTES_MAX)
    assert fits(rows.SharedHave(instance, said, said, bytes(8), True))
    assert fits(rows.SharedSummary(instance, said, said, bytes(rows.SUMS_BYTES)))


SITE = Site(b"s" * 16)
DOT = (SITE, 1, 1)
NAMES = (DOT,) * (rows.NAMES_MAX + 1)
TOO_MUCH: dict[str, rows.RowsMessage] = {
    "instance": rows.OwnedPull(bytes(rows.INSTANCE_BYTES_MAX + 1), SITE, 1, 0),
    "key": rows.OwnedOps(b"", SITE, 1, 1, ((bytes(rows.ROW_KEY_BYTES_MAX + 1), b""),), False),
    "value": rows.OwnedPart(b"", SITE, 1, 1, None, ((b"", bytes(rows.ROW_VALUE_BYTES_MAX + 1)),), True),
    "cursor": rows.OwnedPull(b"", SITE, 1, 0, True, bytes(rows.ROW_KEY_BYTES_MAX + 1)),
    "operations": rows.OwnedOps(b"", SITE, 1, 1, ((b"", None),) * (rows.OPS_MAX + 1), False),
    "rows": rows.OwnedPart(b"", SITE, 1, 1, None, ((b"", b""),) * (rows.OPS_MAX + 1), True),
    "positions": rows.OwnedPositions(((b"", ((SITE, 1, 1),) * (rows.POSITIONS_MAX + 1)),), True),
    "instances": rows.OwnedPositions(((b"", ()),) * (rows.POSITIONS_MAX + 1), True),
    "number": rows.OwnedOps(b"", SITE, 1, rows.SEQ_MAX + 1, (), False),
    "negative number": rows.OwnedPull(b"", SITE, 1, -1),
    "life": rows.OwnedPull(b"", SITE, INCARNATION_MAX + 1, 0),
    "site": rows.OwnedPull(b"", Site(b"short"), 1, 0),
    "digest": rows.RowSum(bytes(9)),
    "shared key": rows.SharedOps(b"", SITE, 1, 1, ((bytes(rows.ROW_KEY_BYTES_MAX + 1), None, b"", (), ()),)),
    "field": rows.SharedOps(b"", SITE, 1, 1, ((b"", bytes(limits.KEY_BYTES_MAX + 1), b"", (), ()),)),
    "shared value": rows.SharedOps(b"", SITE, 1, 1, ((b"", None, bytes(rows.ROW_VALUE_BYTES_MAX + 1), (), ()),)),
    "births": rows.SharedOps(b"", SITE, 1, 1, ((b"", None, b"", NAMES, ()),)),
    "replaced": rows.SharedOps(b"", SITE, 1, 1, ((b"", None, b"", (), NAMES),)),
    "number 0": rows.SharedOps(b"", SITE, 1, 0, ()),
    "dot 0": rows.SharedOps(b"", SITE, 1, 1, ((b"", None, b"", ((SITE, 1, 0),), ()),)),
    "shared number": rows.SharedOps(b"", SITE, 1, rows.SEQ_MAX + 1, ()),
    "shared operations": rows.SharedOps(b"", SITE, 1, 1, ((b"", None, b"", (), ()),) * (rows.OPS_MAX + 1)),
    "sums": rows.SharedSums(((b"", bytes(8)),) * (rows.POSITIONS_MAX + 1)),
    "sum": rows.SharedSums(((b"", bytes(7)),)),
    "lives": rows.SharedHave(b"", ((SITE, 1, ()),) * (rows.LIVES_MAX + 1), (), bytes(8), True),
    "retired lives": rows.SharedHave(b"", (), ((SITE, 1, ()),) * (rows.LIVES_MAX + 1), bytes(8), True),
    "intervals": rows.SharedHave(b"", ((SITE, 1, ((1, 1),) * (rows.INTERVALS_MAX + 1)),), (), bytes(8), True),
    "ranges": rows.SharedPull(b"", ((SITE, 1, 1, 1),) * (rows.RANGES_MAX + 1)),
    "sums of buckets": rows.SharedSummary(b"", (), (), bytes(rows.SUMS_BYTES + 8)),
    "too few sums of buckets": rows.SharedSummary(b"", (), (), bytes(rows.SUMS_BYTES - 8)),
    "bucket": rows.SharedPartPull(b"", rows.BUCKETS, None),
    "negative bucket": rows.SharedPartPull(b"", -1, None),
    "place": rows.SharedPartPull(b"", 1, (b"", (SITE, 1, 0))),
    "entries": rows.SharedPart(b"", 1, None, ((b"", None, DOT, (), b""),) * (rows.OPS_MAX + 1), True),
    "entry without value": rows.SharedPart(b"", 1, None, ((b"", None, DOT, (), None),), True),  # type: ignore[arg-type]
    "shared instance": rows.SharedCompare(bytes(rows.INSTANCE_BYTES_MAX + 1)),
    "removed row in a part": rows.OwnedPart(b"", SITE, 1, 1, None, ((b"", None),), True),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_message_about_rows_that_no_member_sends_is_refused_whole(what):
    with pytest.raises(DecodeError):
        decode_body(join_body([encode_message(TOO_MUCH[what])]))
