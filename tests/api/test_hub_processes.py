"""`covey.process(…)` is taken wherever something to start is: real nodes and processes, on a real loop."""

from __future__ import annotations

import os

import pytest

import covey
from tests.runtime.children.burning import answer

pytestmark = pytest.mark.serial


def node() -> covey.Node:
    return covey.Node("processes", listen="127.0.0.1:0", seeds=[], config=covey.Config.laptop())


@pytest.mark.timeout(60)
async def test_a_singleton_may_run_in_a_process():
    async with node() as one, one.singleton("answer", covey.process(answer), "hello", on_split="both") as singleton:
        greeting, pid, *_ = await singleton.call(1)
        assert greeting == "hello"
        assert pid != os.getpid()


@pytest.mark.timeout(60)
async def test_what_is_to_start_may_be_named_as_the_host_has_it():
    start = covey.process(answer)
    async with node() as one, one.hub("h", children=[start], on_split="both") as hub:
        await hub.start_child(covey.ChildSpec("a", start, "hello"))
        assert (await hub.call("a", 1))[:1] == ["hello"]
        assert (await hub.call("b", 1, start=start))[:1] == ["b"]
        assert os.getpid() not in [(await hub.call(id, 1))[1] for id in "ab"]
