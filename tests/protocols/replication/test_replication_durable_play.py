"""Durable instances at random: whoever crashes when, and with whatever on its disk, all end alike."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from covey.core.errors import InvariantError
from covey.core.ids import Dot
from covey.rows.keeping import Keeping
from tests.protocols.replication.replication_net import CONFIG, SECOND, F, I, Node, again, alike, kept


def removals_promised(node: Node, births: dict[Dot, bytes]) -> list[Dot]:
    """What this one knows to be removed, if it says that its disk has all that it has."""
    if not node.machine.shared.saving.saved(I):
        return []
    table = node.table()
    here = [entry[2] for key in dict.fromkeys(births.values()) for entry in table.entries(key)]
    return [dot for dot in births if dot in table.context and dot not in here]


def play(seed: int) -> None:
    """Three with disks that write, crash one by one or all at once with whatever their disks had; all end alike, and
    what every disk had, is there."""
    rng = Random(f"durable {seed}")
    config = msgspec.structs.replace(
        CONFIG, stored_max=rng.choice((1, 2, 1_000)), shared_log_bytes_max=rng.choice((1, 8 << 20))
    )
    net, *_ = kept(config, 3)
    births: dict[Dot, bytes] = {}
    promised: dict[Dot, None] = {}  # births of which somebody said that its disk knows them to be removed
    for _ in range(60):
        node: Node = rng.choice(net.nodes)
        key = rng.choice((b"1", b"2", b"3"))
        what = rng.random()
        if what < 0.35:
            node.start(key, b"%d" % rng.randrange(1_000))
            births.update(dict.fromkeys((dot for dot, _ in node.shared[I][key].births), key))
        elif what < 0.5 and key in node.has():
            node.remove(key)
        elif what < 0.65 and key in node.has():
            node.put(key, F, b"%d" % rng.randrange(1_000))
        elif what < 0.8:
            node.disk_takes = not node.disk_takes
        elif what < 0.85:
            node.store(rng.randrange(3))
        elif what < 0.93:
            crashing = [node] if what < 0.89 else net.nodes
            promised.update(dict.fromkeys(dot for one in crashing for dot in removals_promised(one, births)))
            again(net, *crashing)
        if rng.random() < 0.7:
            net.run()
    for node in net.nodes:
        node.disk_takes = True
    net.wait(20 * SECOND)
    assert alike(*net.nodes)
    before = net.nodes[0].has()
    alive = [dot for row in net.nodes[0].shared.get(I, {}).values() for dot, _ in row.births]
    assert not any(dot in promised for dot in alive), "what is removed on a disk is removed"
    fresh = again(net, *net.nodes)
    assert [node.has() for node in fresh] == [before] * 3
    net.wait(5 * SECOND)
    assert alike(*fresh)
    assert fresh[0].has() == before


@pytest.mark.parametrize("seed", range(20))
def test_whoever_crashes_when_and_with_whatever_on_its_disk_all_end_alike(seed):
    play(seed)


@pytest.mark.slow
def test_the_play_finds_that_removals_are_not_kept(monkeypatch):
    begin = Keeping._begin

    def bare(self: Keeping) -> None:
        begin(self)
        self._context.clear()
        self._received.clear()

    monkeypatch.setattr(Keeping, "_begin", bare)
    for seed in range(20):
        try:
            play(seed)
        except (AssertionError, InvariantError):
            return
    pytest.fail("nobody notices")
