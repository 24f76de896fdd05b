"""How seeds are written, and what those do that were written down."""

from __future__ import annotations

import pytest

from covey.core.errors import ConfigError
from covey.runtime.discovery import Seed, parse_seed
from covey.runtime.discovery.dns import DnsSeed
from covey.runtime.discovery.local import LocalSeed
from covey.runtime.discovery.static import StaticSeed

PORTS = (8946, 8948)


@pytest.fixture(autouse=True)
def runtime_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("COVEY_RUNTIME_DIR", str(tmp_path / "covey"))
    return tmp_path / "covey"


@pytest.mark.parametrize(
    "text, addresses",
    [
        ("10.0.0.7:1", ["10.0.0.7:1"]),
        ("db.example.org:65535", ["db.example.org:65535"]),
        ("[::1]:8946", ["[::1]:8946"]),
        ("10.0.0.7", ["10.0.0.7:8946", "10.0.0.7:8947", "10.0.0.7:8948"]),
        ("[fe80::1%eth0]", ["[fe80::1%eth0]:8946", "[fe80::1%eth0]:8947", "[fe80::1%eth0]:8948"]),
        ("localhost", ["localhost:8946", "localhost:8947", "localhost:8948"]),
    ],
)
async def test_a_host_is_itself_or_itself_on_every_port(text, addresses):
    seed = parse_seed(text, PORTS)
    assert isinstance(seed, StaticSeed)
    seed.announce("10.0.0.9:8946")
    assert await seed.resolve() == addresses
    seed.withdraw()
    assert (seed.text, seed.trouble, seed.resolve_every) == (text, "", 0)


def test_the_scheme_tells_the_kind():
    kinds = {"dns:orders.default.svc": DnsSeed, "dns:orders:8946": DnsSeed, "local:orders": LocalSeed}
    for text, kind in kinds.items():
        seed: Seed = parse_seed(text, PORTS)
        assert type(seed) is kind
        assert (seed.text, seed.trouble) == (text, "")
        assert seed.resolve_every > 0


def test_a_local_name_is_any_text(runtime_directory):
    for text in ("local:a:b", "local:../../etc", "local: ", "local:Ä"):
        assert parse_seed(text, PORTS).text == text
    assert not runtime_directory.exists()  # parsing creates nothing


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "non-empty"),
        (None, "must be a non-empty str"),
        (b"a:1", "must be a non-empty str"),
        (("a", 1), "must be a non-empty str"),
        ("consul:x", "'x' is not a port"),
        ("tcp://10.0.0.7:8946", "more than one ':'; write host:port"),
        ("10.0.0.7:0", "'0' is not a port"),
        ("10.0.0.7:70000", "'70000' is not a port"),
        ("10.0.0.7:8946-8961", "'8946-8961' is not a port"),
        ("::1", "put the IPv6 address in brackets"),
        ("::1:8946", "put the IPv6 address in brackets"),
        ("fe80::1%eth0", "put the IPv6 address in brackets"),
        (" a:1", "neither an IP address nor a DNS name"),
        ("a:1,b:2", "more than one ':'"),
        (":8946", "has no host"),
        ("dns:", "has no host"),
        ("dns:8946", "neither an IP address nor a DNS name"),
        ("dns:a:b", "'b' is not a port"),
        ("dns:a:1:2", "more than one ':'"),
        ("dns://a", "neither an IP address nor a DNS name"),
        ("local:", "has no name"),
    ],
)
def test_a_wrong_seed_is_a_config_error_that_names_it_and_the_forms(text, problem):
    with pytest.raises(ConfigError) as caught:
        parse_seed(text, PORTS)
    message = str(caught.value)
    assert message.startswith("seed ")
    assert repr(text) in message
    assert problem in message
    assert "local:NAME" in message
    assert "\n" not in message


@pytest.mark.parametrize("ports", [(0, 0), (0, 5), (8961, 8946), (65535, 65536), (1, 65535)])
def test_a_seed_without_a_port_needs_a_range_of_ports(ports):
    assert parse_seed("a:1", ports).text == "a:1"
    assert parse_seed("dns:a:1", ports).text == "dns:a:1"
    for text in ("a", "dns:a"):
        with pytest.raises(ConfigError, match="is not a range of ports"):
            parse_seed(text, ports)
