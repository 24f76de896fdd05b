"""`covey demo`: the command."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from covey.cli.demo.corpus import library_root, list_files
from covey.cli.demo.director import Director, Stuck
from covey.cli.demo.keyboard import keys
from covey.cli.demo.screen import Screen, choose
from covey.cli.demo.script import KEYS, Script
from covey.cli.demo.shelves import shelves
from covey.cli.loop import first_signal, run

HOLD = 0.25  # of the seconds of work, between two acts


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; the last one is the result.")
@click.option("--nodes", type=click.IntRange(2, 6), default=5, show_default=True, help="How many processes.")
@click.option(
    "--seconds-of-work",
    type=click.FloatRange(1.0, 30.0),
    default=12.0,
    show_default=True,
    help="Indexing takes a fraction of a second; it is paced to take so long, for you to see it.",
)
@click.option("--no-kill", is_flag=True, help="Leave all processes alive.")
@click.option("--no-split", is_flag=True, help="Leave the network whole.")
def demo(as_json: bool, nodes: int, seconds_of_work: float, no_kill: bool, no_split: bool) -> None:
    """Processes serve one library without a leader; one is killed, the network splits; nothing is lost.

    They hold the word index of the Python standard library's own sources, on shelves that are children of one hub: each
    runs in exactly one process, and answers whoever asks. Halfway one process is killed with SIGKILL: its shelves run
    elsewhere, and are indexed again. It comes back, the network splits in two, both sides answer, and it heals. The
    last line says whether the sum that each process reads equals a plain count by one, and whether every query was
    answered outside the failovers; the exit status is 0 only then. Its `nodes` are those that were there all the time;
    who was killed and is there again counts as `killed and back`.

    On a terminal keys do it by hand: k kills, p splits and heals, r starts the killed one again, q comes to the end.
    """
    summary, details = run(_run(as_json, nodes, seconds_of_work, not no_kill, not no_split))
    if as_json:
        click.echo(json.dumps({"event": "result", **summary, **details}))
    else:
        click.echo(result_line(summary))
    sys.exit(0 if summary["exact"] == "yes" and "reason" not in summary else 1)


async def _run(
    as_json: bool, nodes: int, seconds: float, kills: bool, splits: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    screen = choose(as_json)
    signalled = first_signal(screen.close)
    root = library_root()
    stock = shelves(list_files(root))
    with tempfile.TemporaryDirectory(prefix="covey-demo-") as folder:
        director = Director(nodes, seconds, root, stock, screen, Path(folder))
        try:
            if len(stock) < 2 * nodes:
                reason = f"there are only {director.view.files} sources in {root}: too few to share"
            else:
                script = Script(director, kills, splits, seconds * HOLD)
                reason = await _play(director, script, screen, signalled)
            return director.summary(reason), director.details()
        finally:
            await director.end()
            screen.close()


async def _play(director: Director, script: Script, screen: Screen, signalled: asyncio.Future[Any]) -> str:
    """Run the acts; returns why they did not come to their end, if they did not."""
    with keys(script.press) as there_are_keys:
        director.view.hint = KEYS if there_are_keys else ""
        showing = asyncio.create_task(director.show())
        running = asyncio.create_task(script.run())
        try:
            await asyncio.wait((running, signalled), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                return f"ended by {signalled.result().name}"
            running.result()
            screen.show(director.now())
            return ""
        except Stuck as stuck:
            return str(stuck)
        finally:
            for task in (running, showing):
                task.cancel()
            await asyncio.gather(running, showing, return_exceptions=True)


def result_line(summary: dict[str, Any]) -> str:
    """The last line for people: `exact: yes  nodes: 4/5  files: 734  …`."""
    return "  ".join(f"{key}: {value}" for key, value in summary.items())
