"""`covey` as a process, read line by line."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process

SECRET = "a secret of these tests, and of nobody else"
SECONDS_MAX = 12.0
LOOPBACK = ("--listen", "127.0.0.1:0")
ENCRYPTED = ("--listen", "0.0.0.0:0", "--advertise", "127.0.0.1")


class Command:
    """A running `covey`, read line by line with a deadline."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            line = await self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise AssertionError(f"it ended: {await self.process.stderr.read()!r}")
        return line.decode().rstrip("\n")

    async def event(self, kind: str) -> dict:
        """The next event of this kind."""
        while True:
            event = json.loads(await self.line())
            if event["event"] == kind:
                return event

    async def ended(self) -> tuple[int, list[str], list[str]]:
        """The exit status, and the lines still on stdout and stderr."""
        async with asyncio.timeout(SECONDS_MAX):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode().splitlines(), err.decode().splitlines()


def at(started: dict) -> tuple[str, str]:
    return "--node", started["address"]


async def answer(ask, what: str, *arguments: str):
    status, out, err = await ask(what, *arguments, "--json")
    assert (status, err, len(out)) == (0, "", 1)
    return json.loads(out[0])


async def until_members(ask, started: dict, count: int) -> dict:
    """What a node answers once it sees `count` members alive."""
    async with asyncio.timeout(20):
        while True:
            found = await answer(ask, "members", *at(started))
            if [member["status"] for member in found["members"]].count("alive") == count == len(found["members"]):
                return found
