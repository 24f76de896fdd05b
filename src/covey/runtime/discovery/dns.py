"""All addresses of one DNS name: what a headless service of Kubernetes, or several A records, are for.

The name is asked for again for ever. Who asks only at its start never finds those who came later, and two nodes that
start together may each find nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from covey.runtime.addresses import format_address

LOOKUP_SECONDS_MAX = 3.0  # guess; glibc gives one silent server 5 s (resolv.conf(5))
ADDRESSES_MAX = 1024  # guess: hosts times ports; who finds none among these will not find one among more

Resolver: TypeAlias = Callable[[str], Coroutine[Any, Any, Sequence[str]]]
"""From a name to its IP addresses, without brackets. Raises `OSError` where there are none."""


async def ask_system(name: str) -> list[str]:
    """The A and AAAA records of `name`, or what else the system knows of it, such as `/etc/hosts`."""
    found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(where[0]) for family, _, _, _, where in found if family in (socket.AF_INET, socket.AF_INET6)]


class DnsSeed:
    """Answers every address of a name, with every port.

    At most one lookup is under way: `getaddrinfo` cannot be called off, and while DNS is down each one holds a thread.
    """

    resolve_every = 5.0  # DESIGN 4: as the kubernetes profile has it

    def __init__(
        self,
        text: str,
        name: str,
        ports: Sequence[int],
        resolver: Resolver = ask_system,
        lookup_seconds_max: float = LOOKUP_SECONDS_MAX,
    ) -> None:
        self.text = text
        self.trouble = ""
        self._name = name
        self._ports = ports
        self._resolver = resolver
        self._lookup_seconds_max = lookup_seconds_max
        self._lookup: asyncio.Task[Sequence[str]] | None = None

    async def resolve(self) -> list[str]:
        lookup = self._lookup = self._lookup or self._start_lookup()
        await asyncio.wait((lookup,), timeout=self._lookup_seconds_max)  # leaves the lookup alone when it takes longer
        if not lookup.done():
            self.trouble = f"no answer for {self._name!r} within {self._lookup_seconds_max:g} s; still waiting for it"
            return []
        if self._lookup is lookup:
            self._lookup = None
        if lookup.cancelled():  # the seed was withdrawn
            return []
        return self._addresses(lookup)

    def announce(self, address: str) -> None:
        """Nothing to tell: whoever runs the name server does that."""

    def withdraw(self) -> None:
        """Nobody waits for the lookup any more."""
        if self._lookup is not None:
            self._lookup.cancel()

    def _start_lookup(self) -> asyncio.Task[Sequence[str]]:
        lookup = asyncio.create_task(self._resolver(self._name), name=f"covey lookup {self._name}")
        lookup.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may end when nobody waits
        return lookup

    def _addresses(self, lookup: asyncio.Task[Sequence[str]]) -> list[str]:
        try:
            hosts = lookup.result()
        except OSError as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.trouble = f"{self._name!r} was not found ({reason}); asked again in {self.resolve_every:g} s"
            return []
        self.trouble = "" if hosts else f"{self._name!r} has no addresses; asked again in {self.resolve_every:g} s"
        # Every host with its first port, then every host with its second: the bound leaves no host out for another's.
        different = dict.fromkeys(hosts)
        addresses = (format_address(host, port) for port in self._ports for host in different)
        return list(itertools.islice(addresses, ADDRESSES_MAX))
