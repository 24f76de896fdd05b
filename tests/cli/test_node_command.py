"""`covey node` as a process: what it prints, how it ends, and what it says when it cannot start."""

from __future__ import annotations

import json
import logging
import signal
import socket
import sys
from datetime import UTC, datetime

import pytest

import covey
from covey.cli.logs import KeyValueFormatter
from covey.cli.node import as_record, parse_meta, sentence
from covey.cli.output import plain
from covey.core.ids import Site
from tests.cli.command import SECRET


@pytest.mark.serial
async def test_help_lists_the_commands(run):
    async with run("--help") as command:
        status, out, err = await command.ended()
    assert (status, err) == (0, [])
    listed = [line.split()[0] for line in out[out.index("Commands:") + 1 :]]
    assert listed == ["demo", "dump", "groups", "hub", "kick", "leave", "members", "node", "sim"]


@pytest.mark.serial
async def test_it_says_who_it_is_and_sigterm_ends_it_in_order(run):
    async with run("node", "orders", "--json") as command:
        started = await command.event("started")
        command.process.send_signal(signal.SIGTERM)
        status, out, err = await command.ended()
    host, port = started["address"].split(":")
    assert (started["cluster"], started["pid"], started["profile"]) == ("orders", command.process.pid, "laptop")
    assert len(bytes.fromhex(started["site"])) == 16
    assert (host, int(port) > 0, started["incarnation"] > 0) == ("127.0.0.1", True, True)
    assert (status, [json.loads(line) for line in out], err) == (0, [{"event": "stopped", "cause": "SIGTERM"}], [])


@pytest.mark.serial
async def test_two_find_each_other_and_one_that_leaves_says_goodbye(run, secret_file):
    node = ("node", "orders", "--json", "--listen", "127.0.0.1:0", "--secret-file", secret_file, "--seed")
    async with run(*node, "127.0.0.1:1") as first:
        one = await first.event("started")
        async with run(*node, one["address"]) as second:
            two = await second.event("started")
            for command, other in ((first, two), (second, one)):
                assert await command.event("neighbour_up") == {"event": "neighbour_up", **contact(other)}
            second.process.send_signal(signal.SIGINT)
            down = await first.event("neighbour_down")
            assert (await second.ended())[0] == 0
    assert down == {"event": "neighbour_down", **contact(two), "cause": "goodbye"}


def contact(started: dict) -> dict:
    """Who that is, as neighbours tell it."""
    return {key: started[key] for key in ("site", "incarnation", "address")}


@pytest.mark.serial
async def test_without_a_seed_those_of_one_user_and_one_cluster_find_each_other(run):
    orders, stocks = ("node", "orders"), ("node", "stocks", "--json")
    async with run(*orders) as first, run(*orders) as second, run(*stocks) as other:
        for command in (first, second):
            assert (await command.line()).startswith("node ")
            while not (line := await command.line()).startswith("neighbour "):
                assert line.startswith("member ")
            site, state = line.split()[1:3]
            assert (len(site), state) == (8, "up")
        await other.event("started")
        other.process.send_signal(signal.SIGTERM)
        assert [json.loads(line)["event"] for line in (await other.ended())[1]] == ["stopped"]


@pytest.mark.serial
async def test_a_message_is_told_with_its_bytes_as_hex(run, secret_file):
    async with run("node", "orders", "--json", "--listen", "127.0.0.1:0", "--secret-file", secret_file) as command:
        started = await command.event("started")
        async with covey.Node("orders", listen="127.0.0.1:0", seeds=[started["address"]], secret=SECRET) as node:
            (neighbour,) = await node.wait_neighbours(1)
            await node.send(neighbour.site, {"raw": b"\x01\xff", 2: ["x", None, 1.5]})
            message = await command.event("message")
    assert message["sender"] == node.site.hex()
    assert message["payload"] == {"raw": "01ff", "2": ["x", None, 1.5]}


@pytest.mark.serial
async def test_another_secret_is_refused_on_both_sides(run, secret_file, tmp_path):
    wrong_file = tmp_path / "wrong"
    wrong_file.write_text("a secret of some other cluster")
    node = ("node", "orders", "--json", "--listen", "127.0.0.1:0")
    async with run(*node, "--secret-file", secret_file) as first:
        address = (await first.event("started"))["address"]
        async with run(*node, "--secret-file", str(wrong_file), "--seed", address) as second:
            dialled = await second.event("link_refused")
            accepted = await first.event("link_refused")
    assert (dialled["cause"], dialled["inbound"], dialled["address"]) == ("secret", False, address)
    assert (accepted["cause"], accepted["inbound"]) == ("secret", True)


@pytest.mark.serial
async def test_a_second_signal_ends_it_at_once(run):
    async with run("node", "orders", "--json") as command:
        await command.event("started")
        # Both arrive while it sleeps, so it hears of the second before it could close.
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT):
            command.process.send_signal(number)
        status, out, _ = await command.ended()
    assert (status in (128 + signal.SIGTERM, 128 + signal.SIGINT), out) == (True, [])


@pytest.mark.serial
async def test_a_port_in_use_is_one_line_and_status_2(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with run("node", "orders", "--listen", f"127.0.0.1:{port}") as command:
            status, out, err = await command.ended()
    assert (status, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"covey: listen: cannot listen on 127.0.0.1:{port} (Address already in use)")


@pytest.mark.serial
@pytest.mark.parametrize(
    "arguments, said",
    [
        (
            ("--secret-file", "/no/secret"),
            "covey: secret: cannot read /no/secret (No such file or directory)",
        ),
        (("--listen", "127.0.0.1:http"), "covey: listen '127.0.0.1:http':"),
        (("--seed", "127.0.0.1:0x50"), "covey: seed '127.0.0.1:0x50':"),
        (("--profile", "moon"), "covey: Invalid value for '--profile': 'moon' is not one of"),
        (("--meta", "zone"), "covey: --meta 'zone': write KEY=VALUE"),
        (("--join", "nowhere"), "covey: --join 'nowhere'"),
        (("--listen", "0.0.0.0:0"), "covey: secret: listening on 0.0.0.0:0 without one would let anybody in"),
    ],
)
async def test_a_wrong_option_is_one_line_and_status_2(run, arguments, said):
    async with run("node", "orders", *arguments) as command:
        status, out, err = await command.ended()
    assert (status, out, len(err)) == (2, [], 1)
    assert err[0].startswith(said)


@pytest.mark.serial
async def test_what_a_node_says_of_itself_reaches_the_others_and_it_keeps_its_site(run, secret_file, tmp_path):
    node = ("node", "orders", "--json", "--listen", "127.0.0.1:0", "--secret-file", secret_file, "--seed")
    own = ("--name", "b", "--meta", "zone=eu-1", "--meta", "rack=", "--storage", str(tmp_path / "b.db"))
    sites = []
    async with run(*node, "127.0.0.1:1") as first:
        one = await first.event("started")
        for _ in range(2):
            async with run(*node, one["address"], *own) as second:
                sites.append((await second.event("started"))["site"])
                up = await first.event("member_up")
                assert (up["site"], up["name"], up["ephemeral"]) == (sites[0], "b", False)
                assert up["meta"] == {"zone": "eu-1", "rack": ""}
                second.process.send_signal(signal.SIGTERM)
                assert (await second.ended())[0] == 0
    assert sites == [sites[0]] * 2


@pytest.mark.serial
async def test_a_join_that_comes_to_nothing_is_one_line_and_status_1(run, secret_file):
    node = ("node", "orders", "--json", "--listen", "127.0.0.1:0", "--secret-file", secret_file)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with run(*node, "--join", f"127.0.0.1:{nobody.getsockname()[1]}") as command:
            status, out, err = await command.ended()
    assert (status, [json.loads(line)["event"] for line in out], len(err)) == (1, ["started"], 1)
    assert err[0].startswith("covey: nobody of this cluster answers at ")


@pytest.mark.serial
async def test_verbose_logs_are_key_value_on_stderr(run):
    async with run("node", "orders", "--json", "--verbose") as command:
        await command.event("started")
        command.process.send_signal(signal.SIGTERM)
        _, _, err = await command.ended()
    events = [dict(part.split("=", 1) for part in line.split(" ")[:4]) for line in err]
    assert all(list(event) == ["time", "level", "logger", "event"] for event in events)
    assert [event["event"] for event in events] == ["node_started", "node_closed"]


# --- without a process ----------------------------------------------------------------------------------------------


def make_record(message, *args, level=logging.WARNING, exc_info=None):
    record = logging.LogRecord("covey.somewhere", level, __file__, 1, message, args, exc_info)
    record.created = datetime(2024, 2, 29, 12, 0, 0, 250_000, tzinfo=UTC).timestamp()
    return record


def test_a_record_of_another_library_gets_an_event_too():
    line = KeyValueFormatter(color=False).format(make_record("no %s", "luck"))
    assert line == (
        "time=2024-02-29T12:00:00.250+00:00 level=warning logger=covey.somewhere event=log message='no luck'"
    )


def test_an_error_stays_on_one_line_with_its_traceback():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = KeyValueFormatter(color=False).format(make_record("event=died", exc_info=sys.exc_info()))
    assert len(line.splitlines()) == 1
    assert " event=died traceback=" in line
    assert "ValueError: two\\nlines" in line


def test_colour_frames_the_whole_line_where_it_is_wanted():
    assert KeyValueFormatter(color=True).format(make_record("event=x")).startswith("\x1b[33mtime=")


SITE = Site(bytes(range(16)))
NEIGHBOUR = covey.Neighbor(SITE, 7, "127.0.0.1:80")
MEMBER = covey.Member(SITE, "\x07b", "127.0.0.1:80", "alive", 7, {}, True)


@pytest.mark.parametrize(
    "event, said",
    [
        (covey.NeighborUp(NEIGHBOUR), "neighbour 00010203 up at 127.0.0.1:80"),
        (covey.NeighborDown(NEIGHBOUR, "reset"), "neighbour 00010203 down: reset"),
        (covey.Message(SITE, ["\x1b[2J"]), "message from 00010203: ['\\x1b[2J']"),
        (
            covey.LinkRefused("127.0.0.1:80", False, "secret", "an\x07other", True),
            "link to 127.0.0.1:80 refused by the other side: secret (an\\x07other)",
        ),
        (covey.ProtocolViolation(SITE, "frame", "too long"), "link to 00010203 dropped: frame (too long)"),
        (covey.Lost(3), "3 events were lost: they came faster than they were written"),
        (
            covey.MemberUp(MEMBER, "spoke", "it spoke to us"),
            "member 00010203 \\x07b is up at 127.0.0.1:80: it spoke to us",
        ),
        (covey.MemberSuspect(MEMBER, "unreached", "no ack"), "member 00010203 \\x07b is suspected: no ack"),
        (covey.MemberDown(MEMBER, "silent", "no word"), "member 00010203 \\x07b is down: no word"),
        (covey.MemberLeft(MEMBER, "left"), "member 00010203 \\x07b belongs no more: it left"),
        (covey.MemberLeft(MEMBER, "alone"), "member 00010203 \\x07b belongs no more: it is we who are out"),
        (covey.MemberKicked(MEMBER, SITE), "member 00010203 \\x07b was thrown out by 00010203"),
        (covey.MemberUpdated(MEMBER), "member 00010203 \\x07b is alive at 127.0.0.1:80"),
        (covey.Kicked(SITE, 0), "thrown out by 00010203 at -; going on alone"),
        (
            covey.PartitionSuspected((SITE, SITE), 2),
            "the network may be cut: silent are 00010203, 00010203; 2 others are not",
        ),
        (covey.LinkBroken(SITE, SITE), "00010203 does not reach 00010203, and others do"),
        (covey.LinkMended(SITE, SITE), "00010203 reaches 00010203 again"),
        (covey.StorageTrouble("disk\x07 full", 3), "the storage refuses: disk\\x07 full; 3 effects wait for it"),
        (covey.StorageRecovered(), "the storage took everything that waited for it"),
        (covey.ClockSkew(SITE, 70), "the clock of 00010203 is 70 ms ahead of ours"),
    ],
)
def test_every_event_is_one_line_without_control_characters(event, said):
    assert sentence(as_record(event))[0] == said


def test_metadata_is_given_in_pairs():
    assert parse_meta(("zone=eu", "query=a=b", "empty=")) == {"zone": "eu", "query": "a=b", "empty": ""}
    for pairs in (("zone",), ("=eu",), ("zone=eu", "zone=us")):
        with pytest.raises(covey.ConfigError, match="--meta"):
            parse_meta(pairs)


def test_plain_is_what_json_can_say():
    assert plain({b"\x00": {1: (b"\x01", True)}, "t": datetime(2024, 1, 1)}) == {
        "00": {"1": ["01", True]},
        "t": "2024-01-01 00:00:00",
    }
