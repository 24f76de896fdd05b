"""Two strangers learn who the other is and that both hold the secret.

::

    dialler                                     acceptor
    Hello(versions, cluster, identity, nonce) ──▶
                    ◀── Welcome(version, identity, nonce), Proof("acceptor")
    Proof("dialler") ──▶
                    ◀── Accepted | Refused(cause)

A proof is HMAC-SHA256 under a key derived from the secret, over the speaker's role and the exact bytes of `Hello` and
`Welcome`. So it binds both nonces, both identities, the cluster, the version and the channel; a recorded one is useless
in another handshake, and one side's proof cannot be sent back to it. Either side may say `Refused` instead and close.

Nodes compare the cluster they are in. A client (channel `client`) is in none and names the cluster it wants to ask, and
any node that was given that name may answer, also one that is alone in a cluster of its own.
These objects move bytes only; whether a proved peer is wanted is decided by `Links`.
"""

from __future__ import annotations

import hashlib
import hmac
from random import Random

import msgspec

from covey.core.errors import DecodeError
from covey.core.ids import ClusterId, Contact, Site
from covey.core.vocabulary import Cause, Channel
from covey.wire import codec
from covey.wire.messages.handshake import Accepted, Handshake, Hello, Proof, Refused, Welcome
from covey.wire.version import MAGIC, VERSION, VERSION_MIN, common


class Identity(msgspec.Struct, frozen=True):
    """Who we are, for the handshake."""

    cluster: ClusterId  # the one we are in: random while we are alone
    site: Site
    incarnation: int
    boot: bytes
    secret: bytes = b""
    home: ClusterId = ClusterId(b"")  # the hash of our cluster's name; without it, `cluster` is that

    def __post_init__(self) -> None:
        if not self.home:
            msgspec.structs.force_setattr(self, "home", self.cluster)

    @property
    def alone(self) -> bool:
        """Whether we left our cluster, or were thrown out of it."""
        return self.cluster != self.home

    def proof_key(self) -> bytes:
        """The key of our proofs: the secret itself is used for nothing else."""
        return hmac.new(b"covey proof key v1", self.secret, hashlib.sha256).digest()


class Peer(msgspec.Struct, frozen=True, gc=False):
    """Who the other side proved to be."""

    contact: Contact
    boot: bytes
    channel: Channel


class HandshakeFailed(Exception):
    """No link: `cause` and a `detail` for a person. `by_peer` if the other side said so; then it needs no telling."""

    def __init__(self, cause: Cause, detail: str, by_peer: bool = False) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.by_peer = by_peer


def _mac(key: bytes, role: bytes, hello: bytes, welcome: bytes) -> bytes:
    text = role + len(hello).to_bytes(4, "big") + hello + welcome
    return hmac.new(key, text, hashlib.sha256).digest()


def _decode(body: bytes) -> Handshake:
    try:
        message = codec.decode_handshake(body)
    except DecodeError as error:
        raise HandshakeFailed(Cause.DECODE, str(error)) from None
    if isinstance(message, Refused):
        cause = Cause(message.cause) if message.cause in Cause._value2member_map_ else Cause.VIOLATION
        raise HandshakeFailed(cause, message.detail[:300], by_peer=True)
    return message


def _unexpected(message: object, wanted: str) -> HandshakeFailed:
    return HandshakeFailed(Cause.VIOLATION, f"{type(message).__name__} came where {wanted} was due")


_ALONE = "one of the two nodes left the cluster or was thrown out, and is alone until it joins again"
_WRONG_SECRET = "the other side holds another secret; give every node of the cluster the same one"


class Dialler:
    """The connecting side.

    Law: `peer` is set only after the acceptor has proved the secret; `accepted` only after it let us in.
    """

    def __init__(self, me: Identity, address: str, channel: Channel, rng: Random) -> None:
        self._me = me
        self._channel = channel
        self._welcome = b""
        self._claimed: Welcome | None = None
        self._hello = codec.encode_handshake(
            Hello(
                MAGIC, VERSION_MIN, VERSION, me.cluster, channel, me.site, me.incarnation, me.boot, address,
                rng.randbytes(32),
            )
        )  # fmt: skip
        self.peer: Peer | None = None
        self.accepted = False

    def opening(self) -> bytes:
        """The first body."""
        return self._hello

    def receive(self, body: bytes) -> list[bytes]:
        """Take one body. Raises `HandshakeFailed`."""
        try:
            return self._receive(body)
        except HandshakeFailed as failure:
            if failure.cause is Cause.CLUSTER and self._me.alone:  # that is as it should be
                raise HandshakeFailed(Cause.ALONE, _ALONE, failure.by_peer) from None
            raise

    def _receive(self, body: bytes) -> list[bytes]:
        message = _decode(body)
        if self._claimed is None:
            if not isinstance(message, Welcome):
                raise _unexpected(message, "Welcome")
            if not VERSION_MIN <= message.version <= VERSION:
                raise HandshakeFailed(Cause.VERSION, f"the acceptor chose protocol version {message.version}")
            if message.cluster != self._me.cluster:
                raise HandshakeFailed(Cause.CLUSTER, "the acceptor belongs to another cluster")
            self._claimed, self._welcome = message, body
        elif self.peer is None:
            if not isinstance(message, Proof):
                raise _unexpected(message, "Proof")
            expected = _mac(self._me.proof_key(), b"acceptor", self._hello, self._welcome)
            if not hmac.compare_digest(expected, message.mac):
                raise HandshakeFailed(Cause.SECRET, _WRONG_SECRET)
            claimed = self._claimed
            contact = Contact(claimed.site, claimed.incarnation, claimed.address)
            self.peer = Peer(contact, claimed.boot, self._channel)
        elif isinstance(message, Accepted) and not self.accepted:
            self.accepted = True
        else:
            raise _unexpected(message, "Accepted")
        return []

    def proof(self) -> bytes:
        """The body that asks to be let in."""
        return codec.encode_handshake(Proof(_mac(self._me.proof_key(), b"dialler", self._hello, self._welcome)))


class Acceptor:
    """The accepting side. Law: `peer` is set only after the dialler has proved the secret."""

    def __init__(self, me: Identity, address: str, rng: Random) -> None:
        self._me = me
        self._address = address
        self._nonce = rng.randbytes(32)
        self._hello = b""
        self._welcome = b""
        self._claimed: Hello | None = None
        self.peer: Peer | None = None

    def receive(self, body: bytes) -> list[bytes]:
        """Take one body, give those to send. Raises `HandshakeFailed`."""
        message = _decode(body)
        if self._claimed is None:
            if not isinstance(message, Hello) or message.magic != MAGIC:
                raise _unexpected(message, "Hello")
            version = common(message.version_min, message.version_max)
            if version is None:
                raise HandshakeFailed(
                    Cause.VERSION,
                    f"protocol versions {message.version_min}-{message.version_max} and {VERSION_MIN}-{VERSION} have "
                    "none in common; upgrade the older node",
                )
            if message.channel not in Channel._value2member_map_:
                raise HandshakeFailed(Cause.VERSION, f"channel {message.channel} is not known here")
            cluster = self._me.home if message.channel == Channel.CLIENT else self._me.cluster
            if message.cluster != cluster:
                if message.cluster == self._me.home:
                    raise HandshakeFailed(Cause.ALONE, _ALONE)
                raise HandshakeFailed(Cause.CLUSTER, "the dialled node belongs to a cluster of another name")
            self._claimed, self._hello = message, body
            self._welcome = codec.encode_handshake(
                Welcome(
                    version, cluster, self._me.site, self._me.incarnation, self._me.boot, self._address,
                    self._nonce,
                )
            )  # fmt: skip
            mac = _mac(self._me.proof_key(), b"acceptor", self._hello, self._welcome)
            return [self._welcome, codec.encode_handshake(Proof(mac))]
        if self.peer is not None or not isinstance(message, Proof):
            raise _unexpected(message, "Proof")
        expected = _mac(self._me.proof_key(), b"dialler", self._hello, self._welcome)
        if not hmac.compare_digest(expected, message.mac):
            raise HandshakeFailed(Cause.SECRET, _WRONG_SECRET)
        claimed = self._claimed
        contact = Contact(claimed.site, claimed.incarnation, claimed.address)
        self.peer = Peer(contact, claimed.boot, Channel(claimed.channel))
        return []


def refusal(cause: Cause, detail: str) -> bytes:
    """The body that says no."""
    return codec.encode_handshake(Refused(cause, detail))


ACCEPTED = codec.encode_handshake(Accepted())
