"""The simulated disk: what was told durable stays; of the rest a crash keeps what it likes, in order and whole."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from covey.core.vocabulary import Record
from covey.engine.gate import Persisted, PersistFailed, Store
from covey.sim.disk import Disk
from covey.sim.world import World

LOGS = ("rows", "membership")
RECORDS = st.lists(
    st.builds(Record, st.sampled_from([b"a", b"b", b"c"]), st.none() | st.binary(max_size=1)), max_size=3
).map(tuple)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(LOGS), RECORDS),
        st.tuples(st.sampled_from(["sync", "fail"]), st.none(), st.none()),
    ),
    max_size=30,
)


def store(position: int, *keys: bytes, log: str = "rows") -> Store:
    """Each of these keys gets the position as its value."""
    return Store(log, position, tuple(Record(key, b"%d" % position) for key in keys))


def folded(stores: list[Store]) -> dict[str, dict[bytes, bytes]]:
    """What these leave behind, one after the other."""
    logs: dict[str, dict[bytes, bytes]] = {log: {} for log in LOGS}
    for one in stores:
        for record in one.records:
            logs[one.log] = {key: value for key, value in logs[one.log].items() if key != record.key}
            if record.value is not None:
                logs[one.log][record.key] = record.value
    return logs


def held(disk: Disk) -> dict[str, dict[bytes, bytes]]:
    return {log: disk.durable(log) for log in LOGS}


@given(STEPS, st.integers(0, 1_000))
def test_after_a_crash_the_logs_are_a_prefix_of_what_was_stored_and_hold_all_that_was_told_durable(steps, seed):
    disk = Disk(Random(seed))
    durable: list[Store] = []
    queued: list[Store] = []
    for number, (step, log, records) in enumerate(steps):
        if step == "write":
            queued.append(Store(log, number, records))
            disk.write(queued[-1])
        else:
            assert (disk.sync() if step == "sync" else disk.fail()) == queued
            durable += queued if step == "sync" else []
            queued = []
        assert held(disk) == folded(durable)
    disk.crash()
    assert held(disk) in [folded([*durable, *queued[:count]]) for count in range(len(queued) + 1)]
    assert disk.sync() == []


def test_a_crash_keeps_a_transaction_whole_or_not_at_all():
    kept = []
    for seed in range(200):
        disk = Disk(Random(seed))
        disk.write(store(1, b"a", b"b"))
        disk.write(store(2, b"c"))
        disk.crash()
        kept.append(b"".join(disk.durable("rows")))
    assert sorted(dict.fromkeys(kept)) == [b"", b"ab", b"abc"]


def test_the_last_value_of_a_key_counts_and_a_key_without_one_is_gone():
    disk = Disk(Random(1))
    disk.write(store(1, b"a", b"b"))
    disk.write(store(2, b"a"))
    disk.write(Store("rows", 3, (Record(b"b", None), Record(b"never there", None))))
    disk.sync()
    assert disk.durable("rows") == {b"a": b"2"}


def test_what_failed_is_not_durable_and_may_be_written_again():
    disk = Disk(Random(1))
    disk.write(store(1, b"a"))
    assert disk.fail() == [store(1, b"a")]
    assert disk.durable("rows") == {}
    disk.write(store(1, b"a"))
    assert disk.sync() == [store(1, b"a")]
    assert disk.durable("rows") == {b"a": b"1"}


def test_a_log_is_given_away_as_a_copy():
    disk = Disk(Random(1))
    disk.write(store(1, b"a"))
    disk.sync()
    disk.durable("rows").clear()
    assert disk.durable("rows") == {b"a": b"1"}


# --- the world's hands on it ----------------------------------------------------------------------------------------


def listen(monkeypatch, node) -> list[Any]:
    """What the disk tells this node of the log `rows` from now on; it hears nothing else."""
    facts: list[Any] = []

    def feed(fact: Any) -> None:
        if isinstance(fact, (Persisted, PersistFailed)) and fact.log == "rows":
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
    assert node.disk.durable("rows") == {b"a": b"1", b"b": b"2"}


def test_while_the_disk_refuses_every_position_fails_and_nothing_is_kept(monkeypatch):
    world = World(1)
    node = world.start_node()
    facts = listen(monkeypatch, node)
    world.disk_fails = True
    world.store(node, store(1, b"a"))
    world.run(20_000)
    assert facts == [PersistFailed("rows", 1, "no space left on device")]
    assert node.disk.durable("rows") == {}


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
    assert after.disk.durable("rows")[b"after"] == b"1"
