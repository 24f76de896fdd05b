"""Profiles: where a node runs decides what its options are when nobody gives them."""

from __future__ import annotations

import os

import msgspec

from covey.core.errors import ConfigError
from covey.engine.engine import EngineConfig
from covey.protocols.claims.config import check_claims
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.links.config import LinksConfig
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.registry.config import RegistryConfig
from covey.runtime.addresses import check_ports, parse_listen
from covey.runtime.discovery import parse_seed

SECOND_US = 1_000_000
PORT_FIRST, PORT_LAST = 8946, 8961
LOOPBACK_LISTEN = "127.0.0.1:0"
LAN_LISTEN = f"0.0.0.0:{PORT_FIRST}-{PORT_LAST}"


class Config(msgspec.Struct, frozen=True):
    """The defaults of one kind of place. Take a profile and change fields with `Config.lan(events_max=…)`.

    Times are in seconds here and in microseconds inside `engine`.
    """

    profile: str
    listen: str
    seeds: tuple[str, ...] = ()
    port_range: tuple[int, int] = (PORT_FIRST, PORT_LAST)  # where seeds without a port are tried
    user_secret: bool = False  # make a secret for this user where none is given
    secret_required: bool = False
    events_max: int = 10_000  # unread events a subscriber may leave. Guess: about 3 MB
    send_timeout: float = 5.0  # seconds `Node.send` waits for a link. Guess: longer than connecting may take
    close_timeout: float = 5.0  # seconds `Node.close` takes at most. Guess
    metrics: bool = False  # count every input and effect by kind; costs about 0.3 µs each
    engine: EngineConfig = EngineConfig()

    def __post_init__(self) -> None:
        parse_listen(self.listen)
        if not isinstance(self.seeds, tuple) or not all(isinstance(seed, str) for seed in self.seeds):
            raise ConfigError(f"seeds: must be a tuple of str, not {self.seeds!r}")
        _check_port_range(self.port_range)
        try:
            for text in self.seeds:
                parse_seed(text, self.port_range)
        except ConfigError as error:
            raise ConfigError(f"seeds: {error}") from None
        for name in ("user_secret", "secret_required", "metrics"):
            if type(getattr(self, name)) is not bool:
                raise ConfigError(f"{name}: must be True or False, not {getattr(self, name)!r}")
        _check_int("events_max", self.events_max, 1)
        _check_seconds("send_timeout", self.send_timeout)
        _check_seconds("close_timeout", self.close_timeout)
        if not isinstance(self.engine, EngineConfig):
            raise ConfigError(f"engine: must be an EngineConfig, not {type(self.engine).__name__}")
        for part in self.engine.__struct_fields__:
            machine = getattr(self.engine, part)
            for field in machine.__struct_fields__:  # periods, bounds and sizes: nothing works with none of them
                value = getattr(machine, field)
                if type(value) is not bool:
                    _check_int(f"engine: {part}.{field}", value, 1)
        try:
            check_claims(self.engine.claims)
        except ConfigError as error:
            raise ConfigError(f"engine: claims.{error}") from None

    @classmethod
    def laptop(cls, **changes: object) -> Config:
        """One machine, one user: loopback, a secret made for this user, processes that find each other by name."""
        overlay = OverlayConfig(
            beacon_period_us=2 * SECOND_US,  # a fifth of the paper's and partisan's periods: loopback is free
            shuffle_period_us=5 * SECOND_US,
            affirm_period_us=5 * SECOND_US,
            probe_period_us=SECOND_US // 4,
            probe_backoff_us_min=SECOND_US // 4,
            probe_backoff_us_max=5 * SECOND_US,
        )
        links = LinksConfig(
            connect_us_max=2 * SECOND_US,
            keepalive_us=SECOND_US,
            silence_us_max=5 * SECOND_US,
            congested_us_max=3 * SECOND_US,
        )
        defaults: dict[str, object] = {
            "engine": EngineConfig(
                links=links,
                overlay=overlay,
                detector=DetectorConfig.laptop(),
                registry=RegistryConfig(settle_us=SECOND_US),  # seeds of this host are tried four times in that
            )
        }
        return _make(cls, "laptop", {"listen": LOOPBACK_LISTEN, "user_secret": True, **defaults}, changes)

    @classmethod
    def lan(cls, **changes: object) -> Config:
        """Several hosts: every interface, a given secret, TLS from it."""
        return _make(cls, "lan", {"listen": LAN_LISTEN}, changes)

    @classmethod
    def kubernetes(cls, **changes: object) -> Config:
        """Pods behind a headless service: a secret file, DNS seeds, 20 s to drain."""
        return _make(cls, "kubernetes", {"listen": LAN_LISTEN, "secret_required": True, "close_timeout": 20.0}, changes)

    @classmethod
    def here(cls, listen_beyond_loopback: bool) -> Config:
        """The profile for where this process runs."""
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            return cls.kubernetes()
        return cls.lan() if listen_beyond_loopback else cls.laptop()


def _make(cls: type[Config], profile: str, defaults: dict[str, object], changes: dict[str, object]) -> Config:
    unknown = sorted(set(changes) - set(cls.__struct_fields__) | ({"profile"} & set(changes)))
    if unknown:
        allowed = ", ".join(name for name in cls.__struct_fields__ if name != "profile")
        raise ConfigError(f"Config.{profile}() has no option {unknown[0]!r}; it has {allowed}")
    return cls(**{"profile": profile, **defaults, **changes})  # type: ignore[arg-type]


def _check_port_range(ports: object) -> None:
    if isinstance(ports, tuple) and len(ports) == 2 and all(type(port) is int for port in ports):
        check_ports(ports, repr(ports), "port_range")
    else:
        raise ConfigError(f"port_range: must be (first, last), two ints, not {ports!r}")


def _check_int(name: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise ConfigError(f"{name}: must be an int of at least {least}, not {value!r}")


def _check_seconds(name: str, value: object) -> None:
    if type(value) not in (int, float) or not 0 < value < 86_400:  # type: ignore[operator]
        raise ConfigError(f"{name}: must be seconds, more than 0 and less than a day, not {value!r}")
