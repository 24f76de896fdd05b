"""Who is to vote: names in everybody's configuration, and the durable members that bear them.

The list of names is what people write and all nodes have to agree on; which *site* sits for a name is the voters'
matter alone (`seats`). A host needs no more than whom to ask: everybody durable who bears a name of the list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import islice, pairwise

import msgspec

from covey.core.errors import ConfigError, invariant
from covey.core.ids import Site
from covey.core.vocabulary import MemberAdded

SEATS = (3, 5)  # majority.md: three or five
BEARERS_MAX = 8  # of one name are asked: one is right, the others are mistakes. Guess

_encoder = msgspec.msgpack.Encoder()
_meta_decoder = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])


class Electorate(msgspec.Struct, frozen=True, gc=False):
    """The names of a list in their order, and what stands for all of them in a claim.

    The digest is over names only: who has the same list agrees, whichever sites he has seen so far.
    """

    names: tuple[str, ...]
    digest: bytes

    @property
    def needed(self) -> int:
        """More than half of the names, whether anybody bears them or not."""
        return len(self.names) // 2 + 1


def electorate_of(voters: Iterable[str]) -> Electorate:
    """The electorate of a list of voters' names, in any order. Raises `ConfigError` for one that cannot work."""
    if isinstance(voters, str) or not isinstance(voters, (list, tuple)):
        raise ConfigError(f"voters: must be a list of node names, not {voters!r:.60}; nothing was claimed")
    for name in voters:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"voters: must hold names of nodes, not {name!r:.60}; nothing was claimed")
    names = tuple(sorted(voters))
    twice = [name for name, following in pairwise(names) if name == following]
    if twice:
        raise ConfigError(
            f"voters: {twice[0]!r} stands there twice, and has one vote; nothing was claimed: take it out"
        )
    if len(names) not in SEATS:
        raise ConfigError(
            f"voters: {len(names)} names; more than half of an odd number can go on while the others are away, and one "
            "can never be away; nothing was claimed: name three or five durable nodes"
        )
    digest = hashlib.blake2b(_encoder.encode(names), digest_size=8, person=b"covey.voters").digest()
    return Electorate(names, digest)


def name_in(meta: bytes) -> str:
    """The name in what a member says of itself, encoded; "" where it has none."""
    try:
        return _meta_decoder.decode(meta)[0] if meta else ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


class Bearers:
    """The durable members that have a name, and where they are.

    Law: it is the fold of what membership said. Invariant: a site bears one name.
    """

    def __init__(self) -> None:
        self._names: dict[Site, str] = {}
        self._sites: dict[str, dict[Site, str]] = {}  # of each name, the sites and their addresses

    def add(self, fact: MemberAdded) -> bool:
        """Whether somebody bears another name than before."""
        site, name = fact.contact.site, "" if fact.ephemeral else name_in(fact.meta)
        changed = self._names.get(site, "") != name
        if changed:
            self.forget(site)
        if name:
            self._names[site] = name
            self._sites.setdefault(name, {})[site] = fact.contact.address
        return changed

    def forget(self, site: Site) -> bool:
        """Whether it bore a name."""
        name = self._names.pop(site, "")
        if name:
            del self._sites[name][site]
            if not self._sites[name]:
                del self._sites[name]
        return bool(name)

    def clear(self) -> None:
        """Nobody is known."""
        self._names.clear()
        self._sites.clear()

    def of(self, name: str) -> tuple[Site, ...]:
        """Who bears this name, whom we heard of first first; not all, where there are far too many."""
        return tuple(islice(self._sites.get(name, ()), BEARERS_MAX))

    def address(self, site: Site) -> str:
        """Where a bearer is; "" for who bears nothing."""
        return self._sites[self._names[site]][site] if site in self._names else ""

    def check(self) -> None:
        """The invariant."""
        filed = {site: name for name, sites in self._sites.items() for site in sites}
        invariant(filed == self._names, "a site bears one name")
