"""What two strangers say until they trust each other. Spoken once per connection; see `protocols.links.handshake`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from covey.core.ids import AddressField, IncarnationField, SiteField

Bytes16: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Nonce: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Mac: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """The connecting side's first frame."""

    magic: str
    version_min: int
    version_max: int
    cluster: Bytes16
    channel: int
    site: SiteField
    incarnation: IncarnationField
    boot: Bytes16  # drawn at each start: tells two processes with a copied identity apart
    address: AddressField
    nonce: Nonce


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """The accepting side's answer; its `Proof` follows at once."""

    version: int
    cluster: Bytes16
    site: SiteField
    incarnation: IncarnationField
    boot: Bytes16
    address: AddressField
    nonce: Nonce


class Proof(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """HMAC-SHA256 over the speaker's role and the two frames above: both nonces and identities are bound."""

    mac: Mac


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The link is up."""


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """Why there will be no link; the connection closes behind it."""

    cause: int
    detail: str


Handshake = Hello | Welcome | Proof | Accepted | Refused
