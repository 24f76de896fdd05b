"""Every wrong option is a `ConfigError` that names it and says what to do, before anything is opened."""

from __future__ import annotations

import os
import re
import socket
import ssl
from pathlib import Path

import pytest

import covey
from covey.core.errors import ConfigError
from covey.engine.engine import EngineConfig
from covey.protocols.links.config import LinksConfig
from covey.protocols.overlay.config import OverlayConfig

SECRET = "sixteen bytes at"


@pytest.fixture(autouse=True)
def nothing_is_opened(monkeypatch, tmp_path):
    """No socket can be made, and this user has a home of their own."""

    class NoSocket(socket.socket):
        def __init__(self, *arguments, **options):
            raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", NoSocket)
    for name in ("COVEY_SECRET_FILE", "KUBERNETES_SERVICE_HOST", "POD_IP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COVEY_RUNTIME_DIR", str(tmp_path / "runtime"))


def refusal(*arguments, **options) -> str:
    """What `Node` says to these options: one line, and of the right kind."""
    with pytest.raises(ConfigError) as caught:
        covey.Node(*arguments, **options)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, covey.UsageError)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_good_options_are_taken():
    node = covey.Node(
        "orders", listen="127.0.0.1:8946-8961", seeds=("10.0.0.7:8946", "dns:orders.svc"), secret=SECRET, name="a",
        advertise="10.0.0.8", insecure=True, config=covey.Config.lan(),
    )  # fmt: skip
    assert (node.cluster, node.name, node.config.profile) == ("orders", "a", "lan")


@pytest.mark.parametrize("cluster", ["", None, 7, b"orders", ["orders"], "x" * 256, "ü" * 128])
def test_a_wrong_cluster_is_refused(cluster):
    assert "cluster" in refusal(cluster, secret=SECRET)


def test_a_cluster_name_may_have_255_bytes():
    assert covey.Node("x" * 255, secret=SECRET).cluster == "x" * 255


@pytest.mark.parametrize(
    "listen",
    [
        "", ":8946", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:99999999999", "::1:8946",
        "[::1:8946", "[::1]8946", "[nonsense]:1", "127.0.0.1:2-1", "127.0.0.1:1-300", "127.0.0.1:0-5", "127.0.0.1:1-2-3",
        "127.0.0.300:1", "10.1:1", "two words:1", "under/way:1", b"127.0.0.1:1", 8946, ("127.0.0.1", 8946), True,
    ],
)  # fmt: skip
def test_a_wrong_listen_is_refused(listen):
    text = refusal("orders", listen=listen, secret=SECRET, config=covey.Config.laptop())
    assert text.startswith("listen")


@pytest.mark.parametrize("seeds", ["127.0.0.1:8946", b"127.0.0.1:8946", "local:orders"])
def test_a_bare_seed_is_refused_with_the_list_it_should_have_been(seeds):
    assert f"write [{seeds!r}]" in refusal("orders", seeds=seeds, secret=SECRET)


@pytest.mark.parametrize("seeds", [7, True, object(), 1.5])
def test_seeds_that_are_no_list_are_refused(seeds):
    assert refusal("orders", seeds=seeds, secret=SECRET).startswith("seeds: must be a list of str")


@pytest.mark.parametrize(
    "seed",
    ["", None, 7, b"10.0.0.7:1", "10.0.0.7:x", "10.0.0.7:0", "10.0.0.7:70000", "::1", "local:", "dns:", "dns:a:b",
     "dns:a b", "http://a:1", "a:1-2"],
)  # fmt: skip
def test_a_wrong_seed_is_refused_with_the_forms_there_are(seed):
    text = refusal("orders", seeds=["10.0.0.7:8946", seed], secret=SECRET)
    assert "seed" in text
    assert "local:NAME" in text


@pytest.mark.parametrize("seeds", [[], (), {"10.0.0.7:1": None}, (seed for seed in ["10.0.0.7"]), {"10.0.0.7"}])
def test_seeds_may_come_from_any_iterable(seeds):
    assert covey.Node("orders", seeds=seeds, secret=SECRET).cluster == "orders"


@pytest.mark.parametrize("secret", [7, True, bytearray(32), ["s" * 32], 1.5, object()])
def test_a_secret_of_another_kind_is_refused(secret):
    text = refusal("orders", secret=secret)
    assert text.startswith("secret: must be str, bytes or a pathlib.Path")
    assert repr(secret) not in text


@pytest.mark.parametrize("secret", ["", b"", "fifteen bytes a", b"x" * 15, "x" * 4097, b"x" * 4097])
def test_a_secret_that_is_too_short_or_too_long_is_refused_and_never_shown(secret):
    text = refusal("orders", secret=secret)
    assert text.startswith("secret:")
    assert "secrets.token_hex" in text
    if secret:
        assert str(secret) not in text


@pytest.mark.parametrize("secret", ["x" * 16, b"x" * 16, "ü" * 8, b"\0" * 4096])
def test_a_secret_of_sixteen_to_4096_bytes_is_taken(secret):
    assert covey.Node("orders", secret=secret).cluster == "orders"


def test_a_secret_file_is_read_and_its_troubles_name_it(tmp_path):
    file = tmp_path / "secret"
    assert str(file) in refusal("orders", secret=file)
    assert str(tmp_path) in refusal("orders", secret=tmp_path)
    file.write_text("too short\n")
    assert str(file) in refusal("orders", secret=file)
    file.write_text("  " + "s" * 32 + "\n")
    assert covey.Node("orders", secret=file)._secret == b"s" * 32


def test_the_secret_files_place_may_come_from_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    file.write_text("s" * 32)
    monkeypatch.setenv("COVEY_SECRET_FILE", str(file))
    assert covey.Node("orders", listen="0.0.0.0:0")._secret == b"s" * 32
    assert covey.Node("orders", secret="t" * 32)._secret == b"t" * 32
    monkeypatch.setenv("COVEY_SECRET_FILE", str(tmp_path / "nowhere"))
    assert "nowhere" in refusal("orders")


@pytest.mark.parametrize("name", ["", 7, b"a", "x" * 256, ["a"], True])
def test_a_wrong_name_is_refused(name):
    assert refusal("orders", name=name, secret=SECRET).startswith("name: must be a str of 1 to 255 characters")


@pytest.mark.parametrize("advertise", ["0.0.0.0", "0.0.0.0:8946", "[::]", "[::]:8946", "[::ffff:0.0.0.0]:1"])
def test_a_wildcard_is_not_advertised(advertise):
    text = refusal("orders", advertise=advertise, secret=SECRET)
    assert text.startswith("advertise: nobody can dial")
    assert "give an address" in text


@pytest.mark.parametrize("advertise", ["", ":8946", "::1", "two words", b"10.0.0.7:1", 7, ("10.0.0.7", 1), "[::1", "10.1"])
def test_a_wrong_advertise_is_refused(advertise):
    assert refusal("orders", advertise=advertise, secret=SECRET).startswith("advertise")


@pytest.mark.parametrize("port", ["0", "x", "70000", "1-2", "", "-1", "²"])
def test_an_advertised_port_must_be_one_that_can_be_dialled(port):
    """Otherwise every other node is told an address that it can do nothing with."""
    assert refusal("orders", advertise=f"10.0.0.7:{port}", secret=SECRET).startswith("advertise")


@pytest.mark.parametrize(
    "tls",
    [
        True, "cert.pem", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), (), (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),),
        ("a", "b"), (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None),
        [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)],
    ],
)  # fmt: skip
def test_wrong_tls_contexts_are_refused(tls):
    assert refusal("orders", tls=tls, secret=SECRET).startswith("tls: must be (server_context, client_context)")


def test_tls_contexts_in_the_wrong_order_are_refused():
    """Each has one end it can be used for; the mistake would show at the first connection only, as somebody else's."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert refusal("orders", tls=(client, server), secret=SECRET).startswith("tls")


@pytest.mark.parametrize("insecure", [1, 0, "yes", None, []])
def test_insecure_is_said_in_so_many_words(insecure):
    assert refusal("orders", insecure=insecure, secret=SECRET).startswith("insecure: must be True or False")


@pytest.mark.parametrize("config", [covey.Config, {}, "laptop", 7, covey.Config.laptop])
def test_a_config_of_another_kind_is_refused(config):
    assert refusal("orders", config=config, secret=SECRET).startswith("config: must be a covey.Config")


@pytest.mark.parametrize("listen", ["0.0.0.0:8946", "[::]:8946", "10.0.0.7:8946", "myhost:8946", "10.0.0.7"])
def test_beyond_loopback_a_secret_is_asked_for_with_the_ways_out(listen):
    text = refusal("orders", listen=listen)
    assert text.startswith("secret:")
    assert all(way in text for way in ("secret=", "tls=", "insecure=True"))
    assert covey.Node("orders", listen=listen, insecure=True)
    assert covey.Node("orders", listen=listen, secret=SECRET)


def test_an_unknown_option_is_a_type_error_as_everywhere():
    with pytest.raises(TypeError, match="lisen"):
        covey.Node("orders", lisen="127.0.0.1:1")  # type: ignore[call-arg]


# --- profiles -------------------------------------------------------------------------------------------------------

PROFILES = {"laptop": covey.Config.laptop, "lan": covey.Config.lan, "kubernetes": covey.Config.kubernetes}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("option", ["eventsmax", "profile", "Listen", "timeout", "site"])
def test_a_profile_names_the_options_it_has(profile, option):
    with pytest.raises(ConfigError) as caught:
        PROFILES[profile](**{option: 1})
    assert str(caught.value).startswith(f"Config.{profile}() has no option {option!r}; it has listen, seeds")


@pytest.mark.parametrize(
    "field, value",
    [
        ("events_max", 0), ("events_max", -1), ("events_max", 1.5), ("events_max", True), ("events_max", "9"),
        ("send_timeout", 0), ("send_timeout", -1), ("send_timeout", "1"), ("send_timeout", None), ("send_timeout", True),
        ("send_timeout", 86_400), ("send_timeout", float("nan")), ("send_timeout", float("inf")),
        ("close_timeout", 0), ("close_timeout", -0.5), ("close_timeout", None), ("close_timeout", float("nan")),
        ("port_range", (0, 5)), ("port_range", (2, 1)), ("port_range", (1, 65536)), ("port_range", (1, 300)),
        ("port_range", (1.0, 2.0)), ("port_range", (True, 2)), ("port_range", ("1", "2")), ("port_range", 8946),
        ("port_range", (1,)), ("port_range", (1, 2, 3)), ("port_range", None),
        ("engine", None), ("engine", {}), ("engine", EngineConfig),
        ("engine", EngineConfig(overlay=OverlayConfig(active_max=0))),
        ("engine", EngineConfig(overlay=OverlayConfig(passive_max=0))),
        ("listen", None), ("listen", 8946), ("listen", "nonsense:x"), ("listen", ""),
        ("seeds", "127.0.0.1:1"), ("seeds", 7), ("seeds", [7]), ("seeds", ["10.0.0.1:x"]),
        ("user_secret", "yes"), ("secret_required", 1), ("metrics", "on"), ("metrics", None),
    ],
)  # fmt: skip
def test_a_profiles_options_are_checked_where_they_are_written(field, value):
    with pytest.raises(ConfigError) as caught:
        covey.Config.laptop(**{field: value})
    assert re.match(rf"{field}\b", str(caught.value))


@pytest.mark.parametrize(
    "part, field, value",
    [
        ("links", "silence_us_max", 0), ("links", "keepalive_us", -1), ("links", "connect_us_max", "3"),
        ("links", "queue_bytes_max", -1), ("links", "unauthenticated_max", 0),
        ("overlay", "probe_period_us", 0), ("overlay", "beacon_period_us", -1), ("overlay", "shuffle_period_us", "5"),
    ],
)  # fmt: skip
def test_what_is_inside_the_engines_options_is_checked_too(part, field, value):
    """A keepalive of 0 would spin, a wrong type would kill the node at its first use."""
    kinds: dict[str, type] = {"links": LinksConfig, "overlay": OverlayConfig}
    with pytest.raises(ConfigError, match=field):
        covey.Config.laptop(engine=EngineConfig(**{part: kinds[part](**{field: value})}))


def test_a_profiles_options_can_be_changed_one_by_one():
    config = covey.Config.laptop(events_max=3, send_timeout=1, port_range=(4000, 4001), seeds=("10.0.0.7",))
    assert (config.profile, config.events_max, config.send_timeout) == ("laptop", 3, 1)
    assert config.listen == covey.Config.laptop().listen


def test_the_profile_is_the_laptops_on_loopback_and_the_lans_beyond():
    assert covey.Node("orders", secret=SECRET).config == covey.Config.laptop()
    assert covey.Node("orders", secret=SECRET, listen="localhost:1").config == covey.Config.laptop()
    assert covey.Node("orders", secret=SECRET, listen="[::1]:1").config == covey.Config.laptop()
    assert covey.Node("orders", secret=SECRET, listen="0.0.0.0:1").config == covey.Config.lan()


def test_on_a_laptop_processes_of_one_cluster_look_for_each_other_by_its_name():
    assert [seed.text for seed in covey.Node("orders", secret=SECRET)._seeds] == ["local:orders"]
    assert covey.Node("orders", secret=SECRET, listen="0.0.0.0:1")._seeds == []
    assert covey.Node("orders", secret=SECRET, seeds=[])._seeds == []


def test_in_a_pod_the_profile_is_kubernetes_and_the_pods_address_is_advertised(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("POD_IP", "10.244.1.7")
    assert "COVEY_SECRET_FILE" in refusal("orders")
    file = tmp_path / "secret"
    file.write_text("s" * 32)
    monkeypatch.setenv("COVEY_SECRET_FILE", str(file))
    node = covey.Node("orders", seeds=["dns:orders.default.svc"])
    assert node.config == covey.Config.kubernetes()
    assert (node.config.secret_required, node.config.close_timeout) == (True, 20.0)
    assert (node._listen, node._advertise) == ("0.0.0.0:8946-8961", "10.244.1.7")
    assert node._seeds[0].resolve_every == 5.0
    assert covey.Node("orders", listen="127.0.0.1:1")._advertise == ""
    assert covey.Node("orders", advertise="10.0.0.9:7")._advertise == "10.0.0.9:7"


@pytest.mark.parametrize("pod_ip", ["not an address", "0.0.0.0", "10.0.0.7:1:2"])
def test_a_pod_ip_that_is_none_is_refused_before_anything_is_opened(monkeypatch, pod_ip):
    monkeypatch.setenv("POD_IP", pod_ip)
    assert "POD_IP" in refusal("orders", listen="0.0.0.0:8946", secret=SECRET)


def test_a_constructor_that_refuses_leaves_nothing_behind(tmp_path):
    refusal("orders", name="", listen="127.0.0.1:0")
    refusal("orders", seeds="x")
    assert os.listdir(tmp_path) == []
    assert not Path(tmp_path / "config").exists()
