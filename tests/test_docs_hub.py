"""What docs/hub.md shows is run, one example after the other, and prints what it says there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from pathlib import Path
from types import CodeType, ModuleType

import pytest

import covey
from covey.testing import Cluster, run
from tests.api.together import together

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "hub.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"(?<!-->\n)```python\n(.*?)```", PAGE, re.DOTALL)
PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def compiled(example: str) -> CodeType:
    """As a module: what a child is must be at the top of one, and there may be awaited as well."""
    code = compile(example, "docs/hub.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    return code


def test_there_are_examples_and_each_print_says_what_comes():
    assert len(EXAMPLES) == 13
    for example in EXAMPLES:
        assert example.count("print(") == len(PRINTED.findall(example)), example


def test_what_is_not_run_says_why_and_is_python_all_the_same():
    for reason, example in re.findall(r"<!-- not run: (.*) -->\n```python\n(.*?)```", PAGE, re.DOTALL):
        assert reason
        compiled(example)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_examples_print_what_stands_beside_them(monkeypatch):
    page = ModuleType("docs_hub")
    monkeypatch.setitem(sys.modules, "docs_hub", page)
    printed: list[str] = []

    def hear(*words: object) -> None:
        printed.append(" ".join(map(str, words)))

    async def test(cluster: Cluster) -> None:
        (node,) = await together(cluster, 1, name="a")
        (other,) = await cluster.start(1, name="b")
        await node.wait_members(2)
        await other.wait_members(2)
        vars(page).update(covey=covey, node=node, other=other, print=hear)
        for example in EXAMPLES:
            printed.clear()
            async with asyncio.timeout(60):
                begun = eval(compiled(example), vars(page))
                if inspect.iscoroutine(begun):
                    await begun
            assert printed == PRINTED.findall(example), example

    run(test)


def test_every_file_that_the_page_links_to_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
