"""`covey members`, `leave`, `kick` and `dump` against nodes that are processes, over TCP and under TLS."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.cli.command import ENCRYPTED, LOOPBACK, answer, at, until_members

# --- asking ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("listen", [LOOPBACK, ENCRYPTED], ids=["in the clear", "under TLS"])
async def test_members_and_dump_of_a_node_with_a_secret(node, ask, listen):
    async with node(*listen, name="a", cluster="orders") as (_, one):
        async with node(*listen, "--seed", one["address"], "--meta", "zone=eu", name="b") as (_, two):
            found = await until_members(ask, one, 2)
            names = {member["site"]: member["name"] for member in found["members"]}
            assert names == {one["site"]: "a", two["site"]: "b"}
            status, lines, _ = await ask("members", *at(one), "--why")
            assert (status, lines[0].split()) == (0, ["SITE", "NAME", "ADDRESS", "STATUS", "KIND", "META"])
            rows = {line.removeprefix("*").split()[0]: line.removeprefix("*").split()[1:] for line in lines[1:3]}
            assert rows == {
                one["site"][:8]: ["a", one["address"], "alive", "ephemeral"],
                two["site"][:8]: ["b", two["address"], "alive", "ephemeral", "zone=eu"],
            }
            assert lines[3] == "2 members, 2 alive"
            assert lines[5] == f"{two['site'][:8]} b is alive:" and lines[6].startswith("  ")
            dumped = await answer(ask, "dump", *at(two))
    assert dumped["site"] == two["site"]
    kinds = {entry["kind"] for entry in dumped["record"] if entry["site"] == one["site"]}
    assert kinds == {"mem", "host", "meta"}
    assert [life["state"] for life in dumped["liveness"]] == ["alive", "alive"]
    assert [floor["site"] for floor in dumped["floors"]] == [one["site"]]


@pytest.mark.serial
async def test_without_a_secret_and_an_address_the_node_of_this_user_is_found(run, ask):
    async with run("node", "orders", "--json") as command:
        started = await command.event("started")
        found = await answer(lambda *arguments: ask(*arguments, secret=""), "members")
        status, lines, _ = await ask("dump", secret="")
    assert [member["site"] for member in found["members"]] == [started["site"]]
    assert (status, lines[0]) == (0, f"site         {started['site']}")


@pytest.mark.serial
async def test_nobody_found_and_nobody_there_are_one_line_and_status_1(ask):
    status, _, said = await ask("members")
    assert (status, said.startswith("covey: no node of 'orders' is found on this host")) == (1, True)
    status, _, said = await ask("members", "--node", "127.0.0.1:1")
    assert (status, said) == (1, "covey: 127.0.0.1:1 (refused: nobody listens there); nothing was asked")


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("what", ["members", "leave", "dump", "kick"])
async def test_a_command_that_is_called_wrongly_has_status_2(ask, what):
    who = ("a",) if what == "kick" else ()
    no_file = ("--node", "127.0.0.1:1", "--secret-file", "/no/file")
    for arguments in (("--node", "nowhere"), ("--timeout", "0"), ("--timeout", "nan"), no_file):
        status, out, said = await ask(what, *who, *arguments)
        assert (status, out) == (2, []), said
        assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("listen", [LOOPBACK, ENCRYPTED], ids=["in the clear", "under TLS"])
async def test_another_secret_is_refused_and_nothing_was_asked(node, ask, tmp_path, listen):
    wrong = tmp_path / "wrong"
    wrong.write_text("a secret of some other cluster")
    async with node(*listen) as (_, started):
        status, out, said = await ask("leave", *at(started), secret=str(wrong))
        assert (status, out) == (1, []) and "another secret" in said and said.endswith("nothing was asked")
        assert (await until_members(ask, started, 1))["solo"] is False


@pytest.mark.serial
async def test_another_cluster_is_refused(node, ask):
    async with node() as (_, started):
        status, _, said = await ask("members", *at(started), cluster="stocks")
    assert status == 1 and "belongs to a cluster of another name); nothing was asked" in said


@pytest.mark.slow
@pytest.mark.serial
async def test_a_stopped_process_is_waited_for_only_so_long(node, ask):
    async with node() as (command, started):
        command.process.send_signal(signal.SIGSTOP)
        before = time.monotonic()
        status, _, said = await ask("members", *at(started), "--timeout", "1")
        assert time.monotonic() - before < 8  # of which nearly all is the start of a process
        command.process.send_signal(signal.SIGCONT)
    assert (status, said) == (1, f"covey: no answer from {started['address']} in 1 s; nothing was asked")


@pytest.mark.slow
@pytest.mark.serial
async def test_of_several_nodes_found_one_that_hangs_does_not_hide_the_others(run, ask):
    async with run("node", "orders", "--json") as one, run("node", "orders", "--json") as other:
        started = [await command.event("started") for command in (one, other)]
        first = min(started, key=lambda found: found["address"])
        stopped = one if first is started[0] else other
        stopped.process.send_signal(signal.SIGSTOP)
        found = await answer(lambda *arguments: ask(*arguments, secret=""), "members", "--timeout", "4")
        assert found["site"] == next(each["site"] for each in started if each is not first)


# --- changing -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.serial
async def test_who_is_kicked_says_so_is_not_run_again_and_joins(node, run, ask, secret_file, tmp_path):
    storage = ("--storage", str(tmp_path / "b.db"))
    async with node(name="a") as (first, one):
        member = (*storage, "--seed", one["address"])
        async with node(*member, name="b") as (second, two):
            await until_members(ask, one, 2)
            status, lines, _ = await ask("kick", "b", *at(one))
            assert (status, lines) == (
                0,
                [f"{two['site'][:8]} b was thrown out of 'orders'; no other member is there to know of it"],
            )
            assert (await first.event("member_kicked"))["by"] == one["site"]
            assert (await second.event("kicked"))["by"] == one["site"]
            alone = await answer(ask, "members", *at(two))
            assert (alone["solo"], alone["kicked"]["by"]) == (True, one["site"])
            assert [member["site"] for member in alone["members"]] == [two["site"]]
            status, lines, _ = await ask("members", *at(two))
            assert (status, lines[-1].startswith(f"This node was thrown out by {one['site'][:8]} at 20")) == (0, True)
            second.process.send_signal(signal.SIGTERM)
            assert (await second.ended())[0] == 0

        async with run("node", "orders", *LOOPBACK, "--secret-file", secret_file, *member) as third:
            status, out, err = await third.ended()
        assert (status, out) == (2, [])
        who = f"this node, {two['site'][:8]}, was thrown out of 'orders' by {one['site'][:8]}"
        assert err[-1].startswith(f"covey: {who} at 20")
        assert "--join HOST:PORT" in err[-1]

        async with node(*member, "--join", one["address"], name="b") as (fourth, again):
            assert (await fourth.event("joined"))["site"] == one["site"]
            assert again["site"] == two["site"]
            assert {member["name"] for member in (await until_members(ask, again, 2))["members"]} == {"a", "b"}


@pytest.mark.slow
@pytest.mark.serial
async def test_who_was_kicked_while_it_was_away_is_ended_by_the_news(node, run, ask, secret_file, tmp_path):
    async with node(name="a") as (_, one):
        member = ("--storage", str(tmp_path / "b.db"), "--seed", one["address"])
        async with node(*member, name="b") as (second, two):
            await until_members(ask, one, 2)
            second.process.send_signal(signal.SIGTERM)
            assert (await second.ended())[0] == 0
        assert (await ask("kick", two["site"], *at(one)))[0] == 0
        async with run("node", "orders", *LOOPBACK, "--secret-file", secret_file, "--json", *member) as third:
            status, out, err = await third.ended()
        assert status == 2
        assert [record["event"] for record in map(json.loads, out)][-1] == "kicked"
        assert f"this node, {two['site'][:8]}, was thrown out of 'orders' by {one['site'][:8]}" in err[-1]
        assert "it was ended" in err[-1]


@pytest.mark.slow
@pytest.mark.serial
async def test_a_kick_of_nobody_of_one_of_two_and_of_the_asked_node_changes_nothing(node, ask):
    async with node(name="twin") as (_, one), node("--seed", one["address"], name="twin") as (_, two):
        await until_members(ask, one, 2)
        before = await answer(ask, "dump", *at(one))
        for who, said in (
            ("nobody", "no member is called 'nobody', and no site begins so; nothing was changed"),
            ("ffff" * 8, "no member is called"),
            ("twin", "'twin' may be 2 members; nothing was changed"),
            (one["site"][:12], "is the very node that was asked; nothing was changed"),
        ):
            status, out, error = await ask("kick", who, *at(one))
            assert (status, out) == (1, []) and said in error, error
        after = await answer(ask, "dump", *at(one))
        assert (after["record"], after["imports"]) == (before["record"], before["imports"])
        assert (await answer(ask, "kick", two["site"][:12], *at(one)))["site"] == two["site"]


@pytest.mark.slow
@pytest.mark.serial
async def test_a_kick_without_an_address_is_given_to_another_node_than_the_one_it_is_about(run, ask):
    async with run("node", "orders", "--json") as one, run("node", "orders", "--json") as other:
        started = [await command.event("started") for command in (one, other)]
        for command in (one, other):
            await command.event("member_up")
        first = min(started, key=lambda found: found["address"])  # the one that is asked first
        status, _, said = await ask("kick", first["site"], secret="")
        assert (status, said) == (0, "")
        assert (await (one if first is started[0] else other).event("kicked"))["by"] != first["site"]


@pytest.mark.slow
@pytest.mark.serial
async def test_leave_is_answered_when_others_know_and_asks_which_node_where_there_are_several(node, run, ask):
    async with node(name="a") as (first, one), node("--seed", one["address"], name="b") as (_, two):
        await until_members(ask, two, 2)
        status, lines, _ = await ask("leave", *at(two))
        assert (status, lines) == (0, [f"{two['site'][:8]} b left 'orders' and is alone; 1 member knows of it"])
        assert (await first.event("member_left"))["site"] == two["site"]
        status, lines, _ = await ask("members", *at(two))
        assert lines[-1].startswith("This node left the cluster and is alone")
    async with run("node", "orders", "--json") as one, run("node", "orders", "--json") as other:
        for command in (one, other):
            await command.event("started")
        status, _, said = await ask("leave", secret="")
    assert status == 2 and "several nodes of 'orders' run here; nothing was changed" in said
