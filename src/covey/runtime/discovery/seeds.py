"""What a seed is, and how it is written.

=================  ===========================================================================  ====================
``host:port``      that address                                                                 `static.StaticSeed`
``host``           that host, every port of the range                                           `static.StaticSeed`
``dns:NAME``       every address of the name, every port of the range; asked again for ever     `dns.DnsSeed`
``dns:NAME:PORT``  every address of the name                                                    `dns.DnsSeed`
``local:NAME``     processes of this user on this host that named the same                      `local.LocalSeed`
=================  ===========================================================================  ====================
"""

from __future__ import annotations

from typing import Protocol

from covey.core.errors import ConfigError
from covey.runtime.addresses import check_ports, format_address, parse_port, split_address

_FORMS = "a seed is host:port, host, dns:NAME, dns:NAME:PORT or local:NAME"


class Seed(Protocol):
    """One place to look for other nodes."""

    text: str
    """As it was given."""

    trouble: str
    """Why the last `resolve` found less than it should have, in one line; "" when nothing was wrong."""

    resolve_every: float
    """Seconds after which to ask again; 0 where the answer cannot change."""

    async def resolve(self) -> list[str]:
        """Addresses `host:port` to try, perhaps our own among them. [] where there are none; never raises for that."""

    def announce(self, address: str) -> None:
        """Let others find us here under `address`; a later call replaces it. Never raises: see `trouble`."""

    def withdraw(self) -> None:
        """Take back what `announce` did."""


def parse_seed(text: str, port_range: tuple[int, int]) -> Seed:
    """The seed written as `text`; `port_range` holds the first and the last port to try where none is given.

    Raises `ConfigError` that names the seed and the forms there are, and for a rendezvous directory that others can
    write to.
    """
    if not isinstance(text, str) or not text:
        raise ConfigError(f"seed must be a non-empty str, not {text!r}; {_FORMS}")
    # Each kind is imported when it is first asked for: `import covey` has a time budget.
    scheme, _, rest = text.partition(":")
    if scheme == "local":
        if not rest:
            raise ConfigError(f"seed {text!r} has no name; write 'local:NAME' with a name that the processes share")
        from covey.runtime.discovery.local import LocalSeed

        return LocalSeed(text, rest)
    try:
        host, ports = _host_and_ports(rest if scheme == "dns" else text, port_range)
    except ConfigError as error:
        raise ConfigError(f"seed {text!r}: {error}; {_FORMS}") from None
    if scheme == "dns":
        from covey.runtime.discovery.dns import DnsSeed

        return DnsSeed(text, host, ports)
    from covey.runtime.discovery.static import StaticSeed

    return StaticSeed(text, [format_address(host, port) for port in ports])


def _host_and_ports(text: str, port_range: tuple[int, int]) -> tuple[str, range]:
    host, port_text = split_address(text, "address")
    if port_text is not None:
        port = parse_port(port_text, text, "address")
        return host, range(port, port + 1)
    check_ports(port_range, text, "port range for")
    return host, range(port_range[0], port_range[1] + 1)
