"""What README says is run: its programs, its commands and its transcript."""

import asyncio
import re
from pathlib import Path

import pytest

import covey

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(<!-- not run: [^\n]*-->\n)?```python\n(.*?)```", re.DOTALL)


def programs() -> list[str]:
    return [code for excused, code in BLOCK.findall(README.read_text()) if not excused]


def test_there_is_a_program_to_run():
    assert programs()


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
    assert covey.Node.__doc__
