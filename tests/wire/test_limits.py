"""The limits are protocol: these numbers are the same on every node, and they fit into each other."""

from __future__ import annotations

import msgspec

from covey.core.ids import ADDRESS_LENGTH_MAX, INCARNATION_MAX, ClusterId, Contact, Site
from covey.wire import limits
from covey.wire.codec import encode_handshake, encode_message, join_body
from covey.wire.framing import Splitter, frame
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


def test_a_limit_never_changes_between_versions():
    assert {name: getattr(limits, name) for name in vars(limits) if name.isupper()} == FROZEN


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
