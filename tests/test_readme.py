"""What README says is run: here, or where it stands word for word in an example that has its own test."""

import ast
import asyncio
import re
from pathlib import Path

import pytest

import covey
from covey import cli

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = README.parent / "examples"
BLOCK = re.compile(r"(<!-- not run: [^\n]*-->\n)?```python\n(.*?)```", re.DOTALL)


def example_with(code: str) -> str:
    """The example that has this code word for word and is run by its own test, or ""."""
    tests = Path(__file__).parent / "examples"
    found = (path.stem for path in sorted(EXAMPLES.glob("*.py")) if code in path.read_text())
    return next((name for name in found if (tests / f"test_{name}.py").exists()), "")


def programs() -> list[str]:
    """What is run here."""
    blocks = BLOCK.findall(README.read_text())
    return [code for excused, code in blocks if not excused and not example_with(code)]


def test_it_shows_the_examples_and_more():
    assert [example_with(code) for _, code in BLOCK.findall(README.read_text())] == ["sessions", "cron", "", "", ""]
    assert len(programs()) == 2


def test_an_example_says_first_how_to_run_it_and_readme_says_the_same():
    for name in ("sessions", "cron"):
        told = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text()))
        assert told is not None
        command = re.findall(r"^\$ (.*?)(?:  .*)?$", told, re.MULTILINE)[0]
        assert command in README.read_text()


@pytest.mark.serial
@pytest.mark.parametrize("program", programs())
async def test_two_copies_of_the_program_greet_each_other(program, tmp_path, monkeypatch, capsys):
    """Two mains in one process: for covey that is the same as two processes."""
    monkeypatch.setenv("COVEY_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    scope: dict = {}
    exec(compile(program, "README.md", "exec"), scope)
    greeted = asyncio.Event()
    lines: list[str] = []

    def hear(*words: object) -> None:
        lines.append(" ".join(map(str, words)))
        if len(lines) == 2:
            greeted.set()

    scope["print"] = hear
    mains = [asyncio.create_task(scope["main"]()) for _ in range(2)]
    async with asyncio.timeout(20):
        await greeted.wait()
    for main in mains:
        main.cancel()
    await asyncio.gather(*mains, return_exceptions=True)
    assert all("hello from" in line for line in lines), lines


def test_every_file_that_readme_links_to_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target


def test_excused_programs_still_parse():
    for _, code in BLOCK.findall(README.read_text()):
        compile(code, "README.md", "exec")


def test_the_commands_of_readme_exist():
    makefile = (README.parent / "Makefile").read_text()
    for verb in re.findall(r"^\$ make (\w+)", README.read_text(), re.MULTILINE):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb
    context = cli.main.make_context("covey", [], resilient_parsing=True)
    for command in re.findall(r"^\$ covey (\w+)", README.read_text(), re.MULTILINE):
        assert cli.main.get_command(context, command) is not None, command
    assert covey.Node.__doc__
