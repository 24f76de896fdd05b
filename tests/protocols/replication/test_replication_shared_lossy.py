"""Shared rows over a net that loses, repeats and reorders: once it is calm all show what the operations say. And bugs
put in on purpose, each of which this finds."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from covey.core.errors import InvariantError
from covey.core.ids import Dot, Origin
from covey.protocols.replication import exchanges as exchanges_module
from covey.protocols.replication import pieces
from covey.protocols.replication import shared as shared_module
from covey.protocols.replication.exchanges import Exchanges
from covey.protocols.replication.retiring import Retiring
from covey.protocols.replication.shared import Shared
from covey.rows.op_log import Op, OpLog
from tests.protocols.replication.replication_net import CONFIG, SECOND, F, I, Net, Node, alike
from tests.rows.shared_words import alive, oracle, shape

LOSSY = {
    "as it is": CONFIG,
    "small messages": msgspec.structs.replace(CONFIG, bytes_aim=120, pull_ops_max=12),
    "short logs": msgspec.structs.replace(CONFIG, bytes_aim=200, shared_log_bytes_max=300),
    "few lives": msgspec.structs.replace(CONFIG, context_keep_us=20 * SECOND, direct_max=1),
}


def last_op(node: Node, ops: dict[Dot, Op]) -> None:
    """Remember what a node did last."""
    number = node.machine.shared._minted.get(I, 0)
    told = node.table().log.run(node.life, number, number, 1)
    if told:
        ops.setdefault((*node.life, number), told[0])


def write(node: Node, rng: Random, step: int, ops: dict[Dot, Op]) -> None:
    key = b"%d" % rng.randrange(5)
    if key not in node.has() or rng.random() < 0.2:
        node.start(key, b"%d" % step)
    elif rng.random() < 0.3:
        node.remove(key)
    else:
        node.put(key, F, b"%d" % step)
    last_op(node, ops)


def lossy(config: str, seed: int) -> Net:
    """Writers that hold, let go and begin new lives while much is lost; then a minute of calm."""
    net, rng = Net(4, LOSSY[config], seed), Random(f"writers of {config} {seed}")
    net.loss, net.duplicate, net.reorder, net.links = 0.2, 0.2, True, True
    ops: dict[Dot, Op] = {}
    for step in range(150):
        node = rng.choice(net.nodes)
        if I not in node.machine.tables:
            node.hold()
        elif rng.random() < 0.04:
            node.release()
        elif rng.random() < 0.03:
            node.begin(node.me.incarnation + 1)
            net.mesh()
        else:
            for _ in range(rng.choice((1, 1, 3))):
                write(node, rng, step, ops)
        net.wait(rng.randrange(SECOND // 4))
    net.loss = net.duplicate = 0.0
    net.reorder = False
    for node in net.nodes:
        if I not in node.machine.tables:
            node.hold()
    net.wait(60 * SECOND)
    assert alike(*net.nodes)
    assert [node.machine.statistics().shared.exchanges for node in net.nodes] == [0] * 4
    assert [node.events for node in net.nodes] == [[]] * 4
    table = net.nodes[0].table()
    here = alive(table)  # also by comparisons that were given up, while who did it let go of it
    known = {dot: op for dot, op in ops.items() if dot in table.received or dot in table.retired or dot in here}
    if LOSSY[config] is not LOSSY["few lives"]:  # there removals are forgotten
        assert shape(table) == oracle(known)
        assert len(known) > 50
    return net


@pytest.mark.parametrize("seed", [0, *[pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2)]])
@pytest.mark.parametrize("config", LOSSY)
def test_whatever_a_lossy_net_does_to_shared_rows_all_show_the_same_once_it_is_calm(config, seed):
    lossy(config, seed)


def test_these_nets_pull_compare_and_retire():
    counts = dict.fromkeys(("applied", "pulls", "comparisons", "retired"), 0)
    for config in ("small messages", "short logs"):
        for node in lossy(config, 1).nodes:
            for name in counts:
                counts[name] += getattr(node.machine.statistics().shared, name)
    assert all(count > 10 for count in counts.values()), counts


# --- planted bugs ---------------------------------------------------------------------------------------------------


def who_holds_again_counts_its_operations_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Shared.close

    def forgetful(self: Shared, instance: bytes, keep: bool) -> Any:
        effects = close(self, instance, keep)
        self._minted.pop(instance, None)
        return effects

    monkeypatch.setattr(Shared, "close", forgetful)


def a_new_life_counts_as_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shared, "_me", property(lambda self: (self._audience.me.site, 1)))
    monkeypatch.setattr(Shared, "new_life", lambda self: self._unsaid.clear() or self._minted.clear())


def every_message_of_an_answer_begins_with_the_first_number(monkeypatch: pytest.MonkeyPatch) -> None:
    in_pieces = pieces.shared_in_pieces

    def same(instance: bytes, life: Origin, first: int, ops: list[Op], bytes_aim: int) -> Any:
        messages = in_pieces(instance, life, first, ops, bytes_aim)
        return [msgspec.structs.replace(message, first=first) for message in messages]

    monkeypatch.setattr(exchanges_module, "shared_in_pieces", same)
    monkeypatch.setattr(shared_module, "shared_in_pieces", same)


def rows_are_never_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchanges, "compare", lambda self, instance, peer, now_us: self.end(instance) or [])


def the_log_is_told_over_its_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaping(self: OpLog, life: Origin, first: int, last: int, bytes_max: int) -> list[Op]:
        log = self._ops.get(life, {})
        return [log[number] for number in sorted(log) if first <= number <= last]

    monkeypatch.setattr(OpLog, "run", leaping)


def an_exchange_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchanges, "lost", lambda self, peer: None)
    end = Exchanges.end

    def endless(self: Exchanges, instance: bytes) -> None:
        if ("exchange", instance) in self._timers:
            end(self, instance)

    monkeypatch.setattr(Exchanges, "end", endless)


def a_peer_that_has_less_counts_for_having_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def equal(self: Retiring, now_us: int) -> None:
        for table in self._tables.values():
            for life in table.received.lives():
                if not self._is_current(life) and not table.has_alive(life):
                    table.retire(life)
                    table.forget(life)

    monkeypatch.setattr(Retiring, "trim", equal)


def nobody_is_asked_for_what_a_digest_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shared, "sums", lambda self, instances: [])


PLANT: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    bug.__name__: bug
    for bug in (
        who_holds_again_counts_its_operations_from_the_beginning,
        a_new_life_counts_as_the_one_before,
        every_message_of_an_answer_begins_with_the_first_number,
        rows_are_never_compared,
        the_log_is_told_over_its_gaps,
        an_exchange_has_no_end,
        a_peer_that_has_less_counts_for_having_all,
        nobody_is_asked_for_what_a_digest_shows,
    )
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANT)
def test_a_lossy_net_finds_the_planted_bug(bug, monkeypatch):
    PLANT[bug](monkeypatch)
    for seed in range(3):
        for config in LOSSY:
            try:
                lossy(config, seed)
            except (AssertionError, InvariantError):
                return
    pytest.fail(f"no net notices: {bug.replace('_', ' ')}")
