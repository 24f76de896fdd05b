"""The simulated disk: what was told durable stays; of the rest a crash keeps what it likes, in order."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from covey.engine.gate import Persisted, PersistFailed, Store
from covey.sim.disk import Disk
from covey.sim.world import World

LOGS = ("rows", "membership")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(LOGS), st.integers(0, 3)),
        st.tuples(st.sampled_from(["sync", "fail"]), st.none(), st.none()),
    ),
    max_size=30,
)


def store(position: int, *records: bytes, log: str = "rows") -> Store:
    return Store(log, position, records)


@given(STEPS, st.integers(0, 1_000))
def test_after_a_crash_a_log_is_a_prefix_of_what_was_stored_and_holds_all_that_was_told_durable(steps, seed):
    disk = Disk(Random(seed))
    given_records: dict[str, list[bytes]] = {log: [] for log in LOGS}  # those a failure did not take back
    durable: dict[str, list[bytes]] = {log: [] for log in LOGS}
    queued: list[Store] = []
    for number, (step, log, size) in enumerate(steps):
        if step == "write":
            queued.append(Store(log, number, tuple(b"%d.%d" % (number, at) for at in range(size))))
            disk.write(queued[-1])
            continue
        assert (disk.sync() if step == "sync" else disk.fail()) == queued
        if step == "sync":
            for one in queued:
                durable[one.log] += one.records
        queued = []
    for log in LOGS:
        given_records[log] = durable[log] + [record for one in queued if one.log == log for record in one.records]
        assert disk.durable(log) == durable[log]
    disk.crash()
    for log in LOGS:
        kept = disk.durable(log)
        assert kept == given_records[log][: len(kept)]
        assert kept[: len(durable[log])] == durable[log]
    assert disk.sync() == []


def test_a_crash_keeps_nothing_everything_or_a_torn_store():
    kept = []
    for seed in range(200):
        disk = Disk(Random(seed))
        disk.write(store(1, b"a", b"b"))
        disk.write(store(2, b"c"))
        disk.crash()
        kept.append(b"".join(disk.durable("rows")))
    assert sorted(dict.fromkeys(kept)) == [b"", b"a", b"ab", b"abc"]


def test_what_failed_is_not_durable_and_may_be_written_again():
    disk = Disk(Random(1))
    disk.write(store(1, b"a"))
    assert disk.fail() == [store(1, b"a")]
    assert disk.durable("rows") == []
    disk.write(store(1, b"a"))
    assert disk.sync() == [store(1, b"a")]
    assert disk.durable("rows") == [b"a"]


def test_a_log_is_given_away_as_a_copy():
    disk = Disk(Random(1))
    disk.write(store(1, b"a"))
    disk.sync()
    disk.durable("rows").clear()
    assert disk.durable("rows") == [b"a"]


# --- the world's hands on it ----------------------------------------------------------------------------------------


def listen(monkeypatch, node) -> list[Any]:
    """What the disk tells this node from now on."""
    facts: list[Any] = []

    def feed(fact: Any) -> None:
        if isinstance(fact, (Persisted, PersistFailed)):
            facts.append(fact)

    monkeypatch.setattr(node, "feed", feed)
    return facts


def test_one_transaction_takes_all_that_is_queued_and_tells_each_position(monkeypatch):
    world = World(1)
    node = world.start_node()
    facts = listen(monkeypatch, node)
    world.store(node, store(1, b"a"))
    world.store(node, store(2, b"b"))
    world.run(20_000)
    assert facts == [Persisted("rows", 1), Persisted("rows", 2)]
    assert node.disk.durable("rows") == [b"a", b"b"]


def test_while_the_disk_refuses_every_position_fails_and_nothing_is_kept(monkeypatch):
    world = World(1)
    node = world.start_node()
    facts = listen(monkeypatch, node)
    world.disk_fails = True
    world.store(node, store(1, b"a"))
    world.run(20_000)
    assert facts == [PersistFailed("rows", 1, "no space left on device")]
    assert node.disk.durable("rows") == []


def test_a_node_that_restarts_while_its_disk_was_busy_gets_its_own_answers(monkeypatch):
    world = World(1)
    before = world.start_node()
    world.store(before, store(1, b"before"))
    world.crash(before)
    after = world.start_node(index=0, keep_site=True)
    facts = listen(monkeypatch, after)
    world.store(after, store(1, b"after"))
    world.run(1_000_000)
    assert facts == [Persisted("rows", 1)]
    assert after.disk.durable("rows")[-1:] == [b"after"]
