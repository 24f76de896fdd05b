"""Addresses as people write them: `host:port`, and `host:first-last` where a node may take any port of a range.

A host is an IP address or a DNS name; an IPv6 address stands in brackets, because its own colons would hide the port.
Whoever holds a `(host, port)` pair holds the host without brackets, as the operating system wants it.

Mistakes are `ConfigError`s that name the field and the fix. They are found here and not at the first dial: a wrong
address in a seed list would otherwise look like a machine that is down.
"""

from __future__ import annotations

import ipaddress
import re

import msgspec

from covey.core.errors import ConfigError

PORT_MAX = 65535
PORTS_MAX = 256  # in one range: a seed without a port is tried on each of them. Guess
DEFAULT_PORTS = (8946, 8961)  # DESIGN 4: sixteen nodes of one host

_HOST_LENGTH_MAX = 253  # RFC 1035, 2.3.4, as text; with a port it fits in `ids.ADDRESS_LENGTH_MAX`
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")  # with "_", which Docker's names have
_IPV6_LIKE = re.compile(r"[0-9A-Fa-f:.]+(%.*)?")
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}")  # the interface of a link-local address; Linux allows 15 characters


class Listen(msgspec.Struct, frozen=True, gc=False):
    """Where to listen: the first free port of `port_first` to `port_last`. Both 0: any port the system gives."""

    host: str
    port_first: int
    port_last: int


def parse_address(text: str, field: str = "address") -> tuple[str, int]:
    """The host and the port, 1 to 65535, of `host:port`. Raises `ConfigError` that names `field`."""
    host, port_text = split_address(text, field)
    if port_text is None:
        raise ConfigError(f"{field} {text!r} has no port; write {text + ':8946'!r}")
    return host, parse_port(port_text, text, field)


def format_address(host: str, port: int) -> str:
    """`host:port`, with an IPv6 address in brackets: what `parse_address` takes apart again."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_listen(text: str, field: str = "listen") -> Listen:
    """`host` (the default ports), `host:port`, `host:0` (any port) or `host:first-last`, both included.

    Raises `ConfigError` that names `field`.
    """
    host, ports_text = split_address(text, field)
    if ports_text is None:
        return Listen(host, *DEFAULT_PORTS)
    if ports_text == "0":
        return Listen(host, 0, 0)
    first_text, dash, last_text = ports_text.partition("-")
    first = parse_port(first_text, text, field)
    last = parse_port(last_text, text, field) if dash else first
    check_ports((first, last), text, field)
    return Listen(host, first, last)


def is_loopback(host: str) -> bool:
    """Whether only this machine can be at the other end. A name other than `localhost` may lead anywhere."""
    ip = _as_ip(host)
    return ip.is_loopback if ip is not None else host.lower().rstrip(".") == "localhost"


def is_wildcard(host: str) -> bool:
    """Whether `host` means every interface: good for listening, never to be advertised. `""` does so in asyncio."""
    ip = _as_ip(host)
    return ip.is_unspecified if ip is not None else not host


def split_address(text: str, field: str) -> tuple[str, str | None]:
    """The valid host, an IPv6 address in its shortest form, and what follows the colon: None where none stands."""
    if not isinstance(text, str):
        raise ConfigError(f"{field} must be a str such as '10.0.0.7:8946', not {text!r}")
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"{field} {text!r}: after '[' stand an IPv6 address, ']' and a port, as in '[::1]:8946'")
        return _ipv6(inside, text, field), rest[1:] if rest else None
    if text.count(":") > 1:
        fix = "put the IPv6 address" if _IPV6_LIKE.fullmatch(text) else "write host:port, an IPv6 address"
        raise ConfigError(f"{field} {text!r} has more than one ':'; {fix} in brackets, as in '[::1]:8946'")
    host, colon, rest = text.partition(":")
    if not host:
        raise ConfigError(
            f"{field} {text!r} has no host; write '127.0.0.1:8946', or '0.0.0.0:8946' to listen everywhere"
        )
    if not _is_host(host):
        raise ConfigError(f"{field} {text!r}: {host!r} is neither an IP address nor a DNS name; write host:port")
    return host, rest if colon else None


def parse_port(port_text: str, text: str, field: str) -> int:
    """A port that can be dialled. `text` is the whole address, for the error."""
    if len(port_text) > 5 or not (port_text.isascii() and port_text.isdigit()) or not 1 <= int(port_text) <= PORT_MAX:
        raise ConfigError(f"{field} {text!r}: {port_text!r} is not a port; give a number from 1 to {PORT_MAX}")
    return int(port_text)


def check_ports(ports: tuple[int, int], text: str, field: str) -> None:
    """Raise `ConfigError` unless `ports` are the first and the last of a range that can be tried out."""
    first, last = ports
    if not 1 <= first <= last <= PORT_MAX or last - first >= PORTS_MAX:
        raise ConfigError(
            f"{field} {text!r}: {first}-{last} is not a range of ports; give the lower one first, 1 to {PORT_MAX}, "
            f"at most {PORTS_MAX} of them"
        )


def _ipv6(inside: str, text: str, field: str) -> str:
    try:
        ip = ipaddress.IPv6Address(inside)
    except ValueError:
        raise ConfigError(f"{field} {text!r}: {inside!r} is not an IPv6 address; write '[::1]:8946'") from None
    if ip.scope_id is not None and not _SCOPE.fullmatch(ip.scope_id):
        raise ConfigError(
            f"{field} {text!r}: {ip.scope_id!r} is not an interface; write one as in '[fe80::1%eth0]:8946'"
        )
    return str(ip)


def _is_host(host: str) -> bool:
    labels = host.removesuffix(".").split(".")  # a last dot makes a DNS name absolute: no search list is tried
    if labels[-1].isdigit():  # what looks like an IPv4 address is one: the system would read "10.1" as 10.0.0.1
        return _as_ip(host) is not None
    return len(host) <= _HOST_LENGTH_MAX and all(_LABEL.fullmatch(label) for label in labels)


def _as_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped if mapped is not None else ip  # before 3.13, `ip` itself does not look through "::ffff:127.0.0.1"
