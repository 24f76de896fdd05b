"""`covey demo`: the command."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import click

from covey.cli.demo.corpus import library_root, list_files
from covey.cli.demo.director import Director, Stuck
from covey.cli.demo.screen import choose
from covey.cli.loop import first_signal, run


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; the last one is the result.")
@click.option("--nodes", type=click.IntRange(2, 6), default=5, show_default=True, help="How many processes.")
@click.option(
    "--seconds-of-work",
    type=click.FloatRange(1.0, 30.0),
    default=12.0,
    show_default=True,
    help="Counting takes a fraction of a second; it is paced to take so long, for you to see it.",
)
@click.option("--no-kill", is_flag=True, help="Leave all processes alive.")
def demo(as_json: bool, nodes: int, seconds_of_work: float, no_kill: bool) -> None:
    """Processes share work without a leader; one is killed and starts again; nothing is lost.

    They count the words of the Python standard library's own sources. Each computes alone which files are its own, and
    joins a group with what it counted as metadata, which all the others see. Halfway one of them is killed with
    SIGKILL; its tables go with it, the others count those files again, and it is started again. The last line says
    whether the sum that each of them reads equals a plain count by one process; the exit status is 0 only then.
    """
    summary = run(_run(as_json, nodes, seconds_of_work, not no_kill))
    if as_json:
        click.echo(json.dumps({"event": "result", **summary}))
    else:
        click.echo(result_line(summary))
    sys.exit(0 if summary["exact"] == "yes" else 1)


async def _run(as_json: bool, nodes: int, seconds_of_work: float, kill: bool) -> dict[str, Any]:
    screen = choose(as_json)
    signalled = first_signal(screen.close)
    root = library_root()
    files = list_files(root)
    director = Director(nodes, seconds_of_work, kill, root, files, screen)
    try:
        if len(files) < 10 * nodes:
            return director.summary(f"there are only {len(files)} sources in {root}: too few to share")
        running = asyncio.create_task(director.run())
        await asyncio.wait((running, signalled), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return director.summary(f"ended by {signalled.result().name}")
        running.result()
        return director.summary()
    except Stuck as stuck:
        return director.summary(str(stuck))
    finally:
        screen.close()


def result_line(summary: dict[str, Any]) -> str:
    """The last line for people, within 80 columns: `exact: yes  nodes: 5/5  files: 734  …`."""
    return "  ".join(f"{key}: {value}" for key, value in summary.items() if key != "seconds")
