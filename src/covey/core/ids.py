"""Identities: who somebody is, apart from where it can be reached.

A *site* is a node's random identity; an *incarnation* is one life of it. `(site, incarnation)` names one life and
never comes back. Both travel as plain bytes and ints, because they are in every frame.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Annotated, NewType, TypeAlias

import msgspec

from covey.core.errors import ConfigError

Site = NewType("Site", bytes)
"""16 random bytes. Sites are ordered as bytes: "the lowest site" is `min`."""

ClusterId = NewType("ClusterId", bytes)
"""16 bytes: a hash of the cluster's name."""

SITE_BYTES = 16
INCARNATION_MAX = 2**53  # milliseconds since 1970 fit with 250,000 years to spare; JSON readers keep it exact
ADDRESS_LENGTH_MAX = 261  # a DNS name, a colon and a port

# The same, as fields of wire messages: a peer cannot send an id of another shape.
SiteField: TypeAlias = Annotated[Site, msgspec.Meta(min_length=SITE_BYTES, max_length=SITE_BYTES)]
IncarnationField: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=INCARNATION_MAX)]
AddressField: TypeAlias = Annotated[str, msgspec.Meta(max_length=ADDRESS_LENGTH_MAX)]


Origin: TypeAlias = tuple[Site, int]
"""The life that operations come from, as messages and tables have it: a site and an incarnation."""

Dot: TypeAlias = tuple[Site, int, int]
"""One operation: the life it comes from, and its number in that life, from 1 on."""


def rank(dot: Dot) -> tuple[int, int, Site]:
    """Of dots that know nothing of each other the highest counts: arbitrary, and the same everywhere."""
    return dot[1], dot[2], dot[0]


class Life(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """One life of one site."""

    site: Site
    incarnation: int


class Contact(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A life and the address it advertises, `host:port`."""

    site: SiteField
    incarnation: IncarnationField
    address: AddressField

    @property
    def life(self) -> Life:
        return Life(self.site, self.incarnation)


def draw_site(rng: Random) -> Site:
    """A new random identity."""
    return Site(rng.randbytes(SITE_BYTES))


def cluster_id(name: str) -> ClusterId:
    """The id shared by all nodes that were given the cluster name `name`.

    Raises `ConfigError` for an empty name or one that is longer than 255 bytes in UTF-8.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"cluster must be a non-empty str, not {name!r}; give every node of one cluster the same name"
        )
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) > 255:
        raise ConfigError(f"cluster name has {len(encoded)} bytes, at most 255 are allowed; choose a shorter one")
    return ClusterId(hashlib.blake2b(encoded, digest_size=16, person=b"covey.cluster").digest())


def short(site: Site) -> str:
    """Eight hex digits: enough for a person to tell sites apart in a log."""
    return site[:4].hex()


def parse_site(text: str) -> Site:
    """The site written as 32 hex digits. Raises `ConfigError` for anything else."""
    try:
        raw = bytes.fromhex(text) if len(text) == 2 * SITE_BYTES else b""
    except (ValueError, TypeError):
        raw = b""
    if len(raw) != SITE_BYTES:
        raise ConfigError(f"a site is written as 32 hex digits, not {text!r}")
    return Site(raw)
