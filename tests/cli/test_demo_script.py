"""Which act follows which in the demo, and what a key of the keyboard does."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from covey.cli.demo import script
from covey.cli.demo.director import Director
from covey.cli.demo.keyboard import keys
from covey.cli.demo.processes import Process
from covey.cli.demo.reports import Progress
from covey.cli.demo.screen import Column, View


class Blank:
    """A screen that nobody sees."""

    def show(self, view: View) -> None: ...
    def explain(self, view: View) -> None: ...
    def close(self) -> None: ...


class Noted:
    """Acts that only note that they were played. Keys are pressed while some of them are."""

    def __init__(self, director: Director) -> None:
        self.victims: list[int] = []
        self.is_cut = False
        self.played: list[str] = []
        self.pressed: dict[str, str] = {}
        self.press = lambda key: None

    def __getattr__(self, name: str):
        async def act() -> None:
            self.played.append(name)
            match name:
                case "kill":
                    self.victims.append(1)
                case "restart":
                    self.victims.pop()
                case "split" | "heal":
                    self.is_cut = name == "split"
            for key in self.pressed.pop(name, ""):
                self.press(key)

        return act

    def all_held(self) -> bool:
        return True


async def play(tmp_path, monkeypatch, *options: bool, nodes: int = 3, **pressed: str) -> tuple[list[str], list[str]]:
    """The acts that were played, and what was explained."""
    monkeypatch.setattr(script, "Acts", Noted)
    director = Director(nodes, 1.0, tmp_path, {"a": ["a.py"]}, Blank(), tmp_path)
    for number in range(nodes):
        column = Column(f"n{number}", state="alive", progress=Progress(held=1))
        director.view.columns.append(column)
        director.processes.append(Process(None, column))  # type: ignore[arg-type]
    said: list[str] = []
    monkeypatch.setattr(director, "explain", lambda act, why: said.append(f"{act}: {why}"))
    kills, splits = options or (True, True)
    played = script.Script(director, kills, splits, 0.0)
    acts = played._acts
    assert isinstance(acts, Noted)
    acts.pressed, acts.press = pressed, played.press
    showing = asyncio.create_task(wake(director))
    async with asyncio.timeout(10):
        await played.run()
    showing.cancel()
    return acts.played, said


async def wake(director: Director) -> None:
    """What reports do all the time."""
    while True:
        director.wake()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "kills, splits, acts",
    [
        (True, True, "form fill kill restart split heal finish"),
        (True, False, "form fill kill restart finish"),
        (False, True, "form fill split heal finish"),
        (False, False, "form fill finish"),
    ],
)
async def test_the_script(tmp_path, monkeypatch, kills, splits, acts):
    assert await play(tmp_path, monkeypatch, kills, splits) == (acts.split(), [])


async def test_a_key_ends_the_script_and_from_then_on_keys_do_it_until_q(tmp_path, monkeypatch):
    played, said = await play(tmp_path, monkeypatch, fill="k", kill="x?p", split="p", heal="r", restart="q")
    assert (played, said) == (["form", "fill", "kill", "split", "heal", "restart", "finish"], [])


async def test_what_cannot_be_is_not_done_and_is_said(tmp_path, monkeypatch):
    played, said = await play(tmp_path, monkeypatch, nodes=2, fill="krp", split="krpq")
    assert played == ["form", "fill", "split", "heal", "finish"]
    assert said == [
        "kill: not of the last two: press r first",
        "restart: nobody was killed: press k",
        "kill: not while the network is split: press p first",
        "restart: nobody was killed: press k",
    ]


async def test_keys_come_one_by_one_and_the_terminal_is_put_back(monkeypatch):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    other, terminal = pty.openpty()
    heard: asyncio.Queue[str] = asyncio.Queue()
    with os.fdopen(terminal) as stdin, os.fdopen(other, "wb", buffering=0) as typed:
        monkeypatch.setattr(sys, "stdin", stdin)
        before = termios.tcgetattr(terminal)
        with keys(heard.put_nowait) as there_are:
            assert there_are
            typed.write(b"Kp")
            assert [await heard.get(), await heard.get()] == ["k", "p"]
            assert termios.tcgetattr(terminal) != before
        assert termios.tcgetattr(terminal) == before


async def test_without_a_terminal_there_are_no_keys(monkeypatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with keys(lambda key: None) as there_are:
            assert not there_are
