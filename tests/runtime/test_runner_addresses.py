"""Where a node says it can be reached, and how its seeds are asked and told."""

from __future__ import annotations

import asyncio

import pytest

from covey.core.vocabulary import AddressLearned
from covey.protocols.overlay.vocabulary import SeedsResolved
from covey.testing import Cluster, run
from tests.runtime.runner_harness import (
    Bench,
    on_bench,
)


def test_what_is_listened_on_is_advertised_where_it_can_be_dialled():
    async def test(bench: Bench) -> None:
        assert bench.machine.of(AddressLearned) == [AddressLearned("127.0.0.1:7777")]
        bench.transport.local_host("10.0.0.7")
        assert len(bench.machine.of(AddressLearned)) == 1

    on_bench(test)


def test_a_wildcard_is_not_advertised_but_our_end_of_the_first_link_is():
    async def test(bench: Bench) -> None:
        assert bench.machine.of(AddressLearned) == []
        bench.transport.local_host("10.0.0.7")
        bench.transport.local_host("10.0.0.8")
        assert bench.machine.of(AddressLearned) == [AddressLearned("10.0.0.7:7777")]
        assert bench.runner.contact.address == "10.0.0.7:7777"

    on_bench(test, listen="0.0.0.0:0")


@pytest.mark.parametrize(
    "advertise, learned",
    [("10.0.0.9", "10.0.0.9:7777"), ("10.0.0.9:80", "10.0.0.9:80"), ("[fd00::9]", "[fd00::9]:7777"),
     ("pod.example:80", "pod.example:80")],
)  # fmt: skip
def test_what_is_to_be_advertised_gets_the_port_that_was_taken(advertise, learned):
    async def main(_: Cluster) -> None:
        bench = Bench()
        await bench.runner.start("0.0.0.0:0", advertise)
        assert bench.machine.of(AddressLearned) == [AddressLearned(learned)]
        await bench.runner.close()

    run(main)


def test_an_ipv6_address_of_a_pod_is_advertised_in_brackets(monkeypatch):
    """Kubernetes gives it without."""
    monkeypatch.setenv("POD_IP", "fd00:10:244::7")

    async def main(cluster: Cluster) -> None:
        node = cluster.node(listen="[::]:7777", seeds=[])
        async with node:
            assert node.address == "[fd00:10:244::7]:7777"

    run(main)


class Rendezvous:
    """A seed that a test steers."""

    def __init__(self, answers: list[list[str]], resolve_every: float) -> None:
        self.text = "a test's"
        self.trouble = ""
        self.resolve_every = resolve_every
        self.answers = answers
        self.asked = 0
        self.told: list[str] = []

    async def resolve(self) -> list[str]:
        self.asked += 1
        self.trouble = "" if self.answers else "nobody there"
        return self.answers.pop(0) if self.answers else []

    def announce(self, address: str) -> None:
        self.told.append(address)

    def withdraw(self) -> None:
        self.told.append("withdrawn")


def test_seeds_are_asked_for_ever_told_where_we_are_and_withdrawn(caplog):
    async def main(_: Cluster) -> None:
        bench = Bench()
        once, often = Rendezvous([["a:1"]], 0), Rendezvous([["b:1"], [], ["c:1"]], 5.0)
        bench.runner._seeds = [once, often]
        await bench.runner.start("127.0.0.1:0")
        await asyncio.sleep(16)
        assert (once.asked, often.asked) == (1, 4)
        assert bench.machine.of(SeedsResolved) == [
            SeedsResolved(("a:1",)), SeedsResolved(("b:1",)), SeedsResolved(("c:1",)),
        ]  # fmt: skip
        await bench.runner.close()
        await asyncio.sleep(16)
        assert often.asked == 4
        assert once.told == often.told == ["127.0.0.1:7777", "withdrawn"]

    run(main)
    assert caplog.text.count("event=seed_trouble") == 1
    assert "nobody there" in caplog.text


def test_a_seed_that_breaks_its_promise_and_raises_takes_no_other_with_it():
    class Broken(Rendezvous):
        async def resolve(self) -> list[str]:
            self.asked += 1
            raise ValueError("a bug in discovery")

    async def main(_: Cluster) -> None:
        bench = Bench()
        broken, good = Broken([], 5.0), Rendezvous([["b:1"]], 5.0)
        bench.runner._seeds = [broken, good]
        await bench.runner.start("127.0.0.1:0")
        await asyncio.sleep(1)
        assert bench.machine.of(SeedsResolved) == [SeedsResolved(("b:1",))]
        await bench.runner.close()

    run(main)
