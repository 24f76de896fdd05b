"""The command line, `covey`.

Each command lives in a module of its own that is imported when it is called, so that `covey --help` is fast.

Exit status: 0 done, 1 it did not work, 2 it was called wrongly (nothing was started), 128+signal for a forced end.
"""

from __future__ import annotations

import importlib
import sys
from io import TextIOWrapper

import click

from covey import ConfigError, CoveyError, __version__

# name: (module, attribute, what `covey --help` says)
_COMMANDS = {
    "members": ("covey.cli.members", "members", "List who belongs to a cluster."),
    "groups": ("covey.cli.groups", "groups", "List the groups of a cluster, or the members of one."),
    "hub": ("covey.cli.hub", "hub", "List hubs and their children, show one, stop some."),
    "leave": ("covey.cli.members", "leave", "Have a node leave its cluster."),
    "kick": ("covey.cli.members", "kick", "Throw a member out of a cluster."),
    "dump": ("covey.cli.members", "dump", "Show all that a node holds of its membership."),
    "demo": (
        "covey.cli.demo.command",
        "demo",
        "Five processes serve a library; one is killed; nothing is lost.",
    ),
    "node": ("covey.cli.node", "node", "Run one node of a cluster and tell what happens to it."),
    "sim": ("covey.cli.simulate", "simulate", "Simulate clusters under faults."),
}


class Failure(click.ClickException):
    """It did not work: one line on stderr."""

    exit_code = 1

    def show(self, file: object = None) -> None:
        click.echo(f"covey: {' '.join(self.message.split())}", err=True)


class Misuse(Failure):
    """It was called wrongly, and nothing was started."""

    exit_code = 2


class LazyGroup(click.Group):
    """A group that imports a command when it is called, and shows every error of covey as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "covey"
            raise Misuse(f"{error.format_message()} Try: {where} --help") from None
        except ConfigError as error:
            raise Misuse(str(error)) from None
        except CoveyError as error:
            raise Failure(str(error)) from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="covey", message="%(prog)s %(version)s")
def main() -> None:
    """Masterless clustering for asyncio: processes that find each other and keep together without a leader."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where the terminal has no such letter
