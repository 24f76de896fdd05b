"""What docs/groups.md shows is run, and prints what it says there."""

from __future__ import annotations

import ast
import asyncio
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.together import together
from tests.testing.virtual import until

PAGE = (Path(__file__).parents[1] / "docs" / "groups.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def test_there_are_examples_and_each_says_what_it_prints():
    assert len(EXAMPLES) == 5
    for example in EXAMPLES:
        ast.parse(example)  # also what is awaited at the top
        assert PRINTED.findall(example) and example.count("print(") == len(PRINTED.findall(example))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_prints_what_stands_beside_it(example):
    printed: list[str] = []

    def hear(*words: object) -> None:
        printed.append(" ".join(map(str, words)))

    async def test(cluster: Cluster) -> None:
        node, other = await together(cluster, 2)
        for scope in ("", "presence"):  # what the page takes for granted: both have asked for groups before
            node.groups(scope), other.groups(scope)
        await until(lambda: len(node._engine.replication.holders(b"groups:")) == 2)  # type: ignore[union-attr]
        names: dict[str, Any] = {"covey": covey, "asyncio": asyncio, "node": node, "other": other, "print": hear}
        exec(f"async def example():\n{textwrap.indent(example, '    ')}", names)
        async with asyncio.timeout(10):
            await names["example"]()

    run(test)
    assert printed == PRINTED.findall(example)
