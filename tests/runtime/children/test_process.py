"""A child in a process of its own: the same as elsewhere, but it can be killed, and ends when its node does."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import pytest

from covey.core import children as c
from covey.core.children import Ending
from covey.runtime.children import Start
from covey.wire.payloads import decode_payload
from tests.runtime.children import burning
from tests.runtime.children.fake_hub import OTHER, SECOND_US, FakeHub
from tests.runtime.transport.tcp_harness import every_loop, run_on

pytestmark = pytest.mark.serial

STARTS: dict[str, Start[...]] = {
    name: Start(getattr(burning, name), executor="process")
    for name in (
        "answer",
        "burns",
        "checks",
        "Slow",
        "cleans_up",
        "leaves_a_thread",
        "asks_its_hub",
        "only_burns",
        "StartsLong",
    )
}


def on_real_hub(kind: str, test: Callable[[FakeHub], Awaitable[None]]) -> None:
    """Run `test(hub)` on a real loop; at its end no process is left."""

    async def main() -> None:
        hub = FakeHub()
        hub.open(STARTS)
        try:
            await test(hub)
        finally:
            assert await hub.children.aclose() == 0
        assert len(hub.children) == 0
        with pytest.raises(ChildProcessError):  # none is left, not even a zombie
            os.waitpid(-1, os.WNOHANG)

    run_on(kind, main())


async def pid_of(hub: FakeHub, copy: c.Copy) -> int:
    hub.call(copy, "who")
    await hub.wait_for(c.ChildReplied, copy)
    pid: int = hub.replies(copy)[-1][2][1]
    return pid


@every_loop
def test_it_has_letters_a_token_and_a_handover_as_any_other(kind):
    async def test(hub: FakeHub) -> None:
        copy = hub.start("answer", "hello", id=("user", 42), token=9, handed_over=3)
        first, second = hub.call(copy, "a"), hub.call(copy, "fail")
        await hub.wait_for(c.ChildReplied, copy, 2)
        (_, _, (greeting, pid, id, token, count)), failed = hub.replies(copy)
        assert (greeting, id, token, count) == ("hello", ["user", 42], 9, 4)
        assert pid != os.getpid()
        assert failed == (second, True, "as you like")
        hub.say(c.TellToken(copy, 12))
        hub.cast(copy, "a cast")
        third = hub.call(copy, "b")
        await hub.wait_for(c.ChildReplied, copy, 3)
        assert hub.replies(copy)[-1] == (third, False, ["hello", pid, ["user", 42], 12, 7])
        hub.leave(copy, 10)
        assert (await hub.wait_exit(copy)).ending is Ending.RETURNED
        assert hub.kinds(copy) == ["ChildStarted", *["ChildReplied"] * 3, "HandoverGiven", "ChildExited"]
        state = hub.of(copy, c.HandoverGiven)[0].state
        assert b"move" in state and OTHER in state
        assert first != second

    on_real_hub(kind, test)


@pytest.mark.parametrize("ends", ["told", "leaves"])
def test_who_never_awaits_has_started_all_the_same_and_is_killed_after_its_grace(ends):
    async def test(hub: FakeHub) -> None:
        copy = hub.start("only_burns")
        await hub.wait_for(c.ChildStarted, copy)
        (hub.stop if ends == "told" else hub.leave)(copy, 0.1)
        await hub.wait_exit(copy)
        assert hub.kinds(copy) == ["ChildStarted", "ChildExited"]

    on_real_hub("asyncio", test)


def test_who_burns_in_its_start_has_not_started():
    async def test(hub: FakeHub) -> None:
        copy = hub.start("StartsLong")
        assert (await hub.wait_exit(copy)).error == "ValueError: in start"
        assert hub.kinds(copy) == ["ChildExited"]

    on_real_hub("asyncio", test)


def test_a_large_letter_and_a_large_state_pass():
    async def test(hub: FakeHub) -> None:
        copy = hub.start("answer")
        hub.cast(copy, large := os.urandom(900_000))
        assert (await hub.wait_exit(copy)).ending is Ending.RETURNED
        assert decode_payload(hub.of(copy, c.HandoverGiven)[0].state) == large

    on_real_hub("asyncio", test)


@every_loop
def test_it_is_built_before_it_is_run(kind):
    async def test(hub: FakeHub) -> None:
        copy, other = hub.prepare("Slow"), hub.prepare("answer")
        await hub.wait_for(c.ChildPrepared, copy)
        await hub.wait_for(c.ChildPrepared, other)
        hub.stop(other)
        assert (await hub.wait_exit(other)).ending is Ending.STOPPED
        hub.go(copy, "Slow")
        await hub.wait_for(c.ChildStarted, copy)
        hub.stop(copy, 10)
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED
        assert hub.kinds(copy) == ["ChildPrepared", "ChildStarted", "ChildExited"]

    on_real_hub(kind, test)


@pytest.mark.parametrize("where", ["init", "start"])
def test_who_fails_as_it_starts_was_never_started(where, caplog):
    async def test(hub: FakeHub) -> None:
        copy = hub.start("Slow", where)
        exited = await hub.wait_exit(copy)
        assert (exited.ending, exited.error) == (Ending.RAISED, f"ValueError: in {where}")
        assert "burning.py" in exited.trace and "tasks.py" not in exited.trace
        assert hub.kinds(copy) == ["ChildExited"]

    on_real_hub("asyncio", test)
    assert caplog.text.count("event=child_crashed") == 1


@pytest.mark.parametrize(
    "how, error",
    [
        ("raise", "ValueError: as you like"),
        ("exit", "SystemExit: 3"),
        ("die", "the process of the child was killed by SIGKILL"),
        ("garble", "what the process of the child said cannot be read"),
    ],
)
def test_a_crash_is_told_and_logged_once(how, error, caplog, capfd):
    async def test(hub: FakeHub) -> None:
        copy = hub.start("answer", id="user-42")
        hub.call(copy, how)
        exited = await hub.wait_exit(copy)
        assert (exited.ending, exited.error[: len(error)]) == (Ending.RAISED, error)
        assert ("Traceback" in exited.trace) is (how in ("raise", "exit"))

    on_real_hub("asyncio", test)
    (record,) = [record for record in caplog.records if record.name == "covey.runtime.children"]
    assert "event=child_crashed" in record.getMessage() and "'user-42'" in record.getMessage()
    assert capfd.readouterr().err == ""


@every_loop
def test_one_that_burns_is_killed_at_the_end_of_its_grace(kind):
    async def test(hub: FakeHub) -> None:
        copies = [hub.start("burns", id=number) for number in range(2)]
        for copy in copies:
            await hub.wait_for(c.ChildStarted, copy)
        hub.stop(copies[0], 0.2)
        hub.leave(copies[1], 0.2)
        for copy in copies:
            assert (await hub.wait_exit(copy)).ending is Ending.STOPPED

    on_real_hub(kind, test)


def test_one_that_ignores_its_end_can_clean_up_before_it_is_killed(tmp_path):
    async def test(hub: FakeHub) -> None:
        path = tmp_path / "out"
        copy = hub.start("cleans_up", str(path))
        await hub.wait_for(c.ChildStarted, copy)
        hub.stop(copy, 1)
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED
        assert path.read_text() == "clean"

    on_real_hub("asyncio", test)


def test_what_a_child_leaves_behind_does_not_keep_its_process(monkeypatch):
    monkeypatch.setattr("covey.runtime.children.process.EXIT_S", 0.2)

    async def test(hub: FakeHub) -> None:
        assert (await hub.wait_exit(hub.start("leaves_a_thread"))).ending is Ending.RETURNED

    on_real_hub("asyncio", test)


def test_it_has_no_hub_there():
    async def test(hub: FakeHub) -> None:
        exited = await hub.wait_exit(hub.start("asks_its_hub"))
        assert "no handle of its hub" in exited.error

    on_real_hub("asyncio", test)


def test_what_has_no_name_elsewhere_is_refused():
    async def local(context: object) -> None: ...

    async def test(hub: FakeHub) -> None:
        hub.open({"local": Start(local, executor="process")})
        exited = await hub.wait_exit(hub.start("local"))
        assert (exited.ending, "only inside another function" in exited.error) == (Ending.REFUSED, True)

    on_real_hub("asyncio", test)


def test_it_knows_of_its_lease_and_ends_with_it():
    async def test(hub: FakeHub) -> None:
        async def ask(copy: c.Copy) -> str:
            hub.call(copy)
            await hub.wait_for(c.ChildReplied, copy, len(hub.replies(copy)) + 1)
            answer: str = hub.replies(copy)[-1][2]
            return answer

        copy = hub.copy()
        hub.lease_us[copy] = hub.clock_us() + 60 * SECOND_US
        hub.say(c.StartChild(copy, "checks", b"\x92\x90\x80", 1, None))
        assert await ask(copy) == "may"
        hub.lease_us[copy] = 0
        assert (await hub.wait_exit(copy)).ending is Ending.STOPPED

    on_real_hub("asyncio", test)


def test_one_that_burns_ends_with_its_lease_though_its_node_says_nothing():
    async def test(hub: FakeHub) -> None:
        copy = hub.copy()
        hub.lease_us[copy] = hub.clock_us() + 60 * SECOND_US
        hub.say(c.StartChild(copy, "burns", b"\x92\x90\x80", 1, None))
        await hub.wait_for(c.ChildStarted, copy)
        hub.lease_us[copy] = hub.clock_us() + 1 * SECOND_US
        exited = await hub.wait_exit(copy)
        assert exited.error == "the process of the child was killed by SIGKILL"
        late_us = hub.clock_us() - hub.lease_us[copy]
        assert 0 < late_us < 10 * SECOND_US

    on_real_hub("asyncio", test)
