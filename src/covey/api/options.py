"""What a `Node` was given, checked before anything is opened. Every error names the option and the fix."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from covey.api.config import Config
from covey.api.members import encode_meta
from covey.api.secrets import read_secret, user_secret
from covey.core.errors import ConfigError
from covey.core.ids import ClusterId, cluster_id
from covey.runtime.addresses import is_loopback, is_wildcard, parse_listen, parse_port, split_address
from covey.runtime.discovery import Seed, parse_seed
from covey.runtime.storage import MemoryStorage, Storage
from covey.runtime.transport.tcp import Tls


class Options(msgspec.Struct, frozen=True):
    """Options that can work."""

    cluster: str
    cluster_id: ClusterId
    config: Config
    listen: str
    name: str
    seeds: list[Any]  # of Seed
    secret: bytes
    advertise: str
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None
    encrypt: bool
    storage: Any  # a Storage
    meta: bytes

    def make_tls(self) -> Tls | None:
        """The contexts to speak TLS with; None for plaintext. Raises `ConfigError` when the extra `tls` is missing."""
        if self.tls is not None:
            return Tls(*self.tls, server_name=None)
        if not self.encrypt:
            return None
        from covey.runtime.transport.tls import SERVER_NAME, contexts_from_secret

        contexts = contexts_from_secret(self.secret, self.cluster_id)
        return Tls(contexts.server, contexts.client, SERVER_NAME)


def check_options(
    cluster: str,
    *,
    listen: str | None,
    seeds: Iterable[str] | None,
    secret: str | bytes | Path | None,
    name: str | None,
    advertise: str | None,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None,
    insecure: bool,
    storage: str | Path | Storage | None,
    meta: Mapping[str, Any] | None,
    config: Config | None,
) -> Options:
    """The options of a `Node`, with the profile's defaults filled in. Raises `ConfigError`."""
    hashed = cluster_id(cluster)
    if config is not None and not isinstance(config, Config):
        raise ConfigError(f"config: must be a covey.Config, not {type(config).__name__}")
    beyond = listen is not None and not is_loopback(parse_listen(listen).host)
    profile = config or Config.here(listen_beyond_loopback=beyond)
    where = listen if listen is not None else profile.listen
    host = parse_listen(where).host
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= 255):
        raise ConfigError(f"name: must be a str of 1 to 255 characters, not {name!r:.60}")
    if type(insecure) is not bool:
        raise ConfigError(f"insecure: must be True or False, not {insecure!r}")
    if tls is not None and not (
        isinstance(tls, tuple) and len(tls) == 2 and all(isinstance(context, ssl.SSLContext) for context in tls)
    ):
        raise ConfigError("tls: must be (server_context, client_context), two ssl.SSLContext objects")
    if tls is not None and (tls[0].protocol, tls[1].protocol) == (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
        raise ConfigError("tls: the server's context stands first, the client's second; these are the other way round")
    return Options(
        cluster=cluster,
        cluster_id=hashed,
        config=profile,
        listen=where,
        name=name or "",
        storage=_check_storage(storage),
        meta=encode_meta(name or "", {} if meta is None else meta),
        seeds=_check_seeds(seeds, cluster, profile),
        advertise=_check_advertise(advertise, host),
        tls=tls,
        encrypt=tls is not None or not (is_loopback(host) or insecure),
        secret=_find_secret(secret, profile, where, open_to_all=not (is_loopback(host) or insecure or tls)),
    )


def _check_storage(storage: str | Path | Storage | None) -> Storage:
    """What remembers: a file, what was given, or nothing beyond this life."""
    if storage is None:
        return MemoryStorage(durable=False)
    if isinstance(storage, (str, Path)):
        if not str(storage):
            raise ConfigError("storage: must be the path of a file, not an empty str")
        from covey.runtime.storage.sqlite import SqliteStorage

        return SqliteStorage(storage)
    missing = [name for name in ("open", "begin_life", "store", "aclose", "durable") if not hasattr(storage, name)]
    if missing:
        raise ConfigError(f"storage: must be a path or a covey.Storage; {type(storage).__name__} has no {missing[0]}")
    return storage


def _check_seeds(seeds: Iterable[str] | None, cluster: str, config: Config) -> list[Seed]:
    if isinstance(seeds, (str, bytes)):
        raise ConfigError(f"seeds: must be a list of str, not the {type(seeds).__name__} {seeds!r}; write [{seeds!r}]")
    if seeds is None:
        seeds = config.seeds or ((f"local:{cluster}",) if config.profile == "laptop" else ())
    try:
        texts = list(seeds)
    except TypeError:
        raise ConfigError(f"seeds: must be a list of str, not {seeds!r}") from None
    return [parse_seed(text, config.port_range) for text in texts]


def _check_advertise(advertise: str | None, listen_host: str) -> str:
    """What to advertise: the option, else `POD_IP` where every interface is listened on, else "" (found out later)."""
    field = "advertise"
    if advertise is None:
        field, advertise = "POD_IP", os.environ.get("POD_IP", "")
        if not advertise or not is_wildcard(listen_host):
            return ""
        with contextlib.suppress(ValueError):  # Kubernetes writes IPv6 without brackets
            advertise = f"[{ipaddress.IPv6Address(advertise)}]"
    host, port_text = split_address(advertise, field)
    if port_text is not None:
        parse_port(port_text, advertise, field)
    if is_wildcard(host):
        raise ConfigError(f"{field}: nobody can dial {advertise!r}; give an address that others reach this node at")
    return advertise


def _find_secret(secret: str | bytes | Path | None, config: Config, listen: str, open_to_all: bool) -> bytes:
    if secret is not None:
        return read_secret(secret)
    if path := os.environ.get("COVEY_SECRET_FILE"):
        return read_secret(Path(path))
    if config.secret_required:
        raise ConfigError("secret: this profile needs one; set COVEY_SECRET_FILE or give secret=Path(…)")
    if open_to_all:
        raise ConfigError(
            f"secret: listening on {listen} without one would let anybody in; give secret=, tls= or insecure=True"
        )
    return user_secret() if config.user_secret and is_loopback(parse_listen(listen).host) else b""
