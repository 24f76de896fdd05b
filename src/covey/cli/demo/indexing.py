"""The children of the demo's hub: one shelf each, with the word index of its packages.

A shelf serves from its first moment on, from what it has indexed so far. When it moves by plan, it takes its index
along; when its process dies, the next copy reads the files again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import covey
from covey.cli.demo.corpus import count_words
from covey.cli.demo.tables import rows_of

TOTALS = "totals"  # the group whose members' metadata are the rows


class Host:
    """What a worker gives the shelves that run in its process.

    `copies` has those that run, and no other place knows it better: a shelf puts itself there, and takes itself away.
    """

    def __init__(self, node: covey.Node, root: Path, seconds: float) -> None:
        self.node = node
        self.root = root
        self.copies: dict[Index, None] = {}
        self._seconds = seconds
        self._began_s = 0.0

    def begin(self) -> None:
        """The work begins now, if it has not yet."""
        self._began_s = self._began_s or asyncio.get_running_loop().time()

    def seconds_left(self) -> float:
        """How long a shelf that begins now is to take: as long as the others still do, or a quarter of it all."""
        self.begin()
        gone_s = asyncio.get_running_loop().time() - self._began_s
        return max(self._seconds - gone_s, self._seconds / 4)


HOST: ContextVar[Host] = ContextVar("HOST")  # of the node that starts a shelf; set before that node is


class Index:
    """The words of one shelf's files, as far as they are counted, and their rows in the group of totals."""

    def __init__(self, host: Host, shelf: str, files: list[str]) -> None:
        self.shelf = shelf
        self.files = files
        self.tables: dict[str, dict[str, int]] = {}  # by file: how often each word is in it
        self._total: Counter[str] = Counter()
        self._host = host
        self._rows: list[covey.Mailbox] = []  # they are there as long as these

    @property
    def done(self) -> int:
        """How many files are indexed."""
        return len(self.tables)

    async def fill(self, brought: dict[str, dict[str, int]]) -> None:
        """Put in what the copy before handed over, then count the other files, at an even pace."""
        for file, table in brought.items():
            await self._put(file, table)
        missing = [file for file in self.files if file not in self.tables]
        pause_s = self._host.seconds_left() / max(1, len(missing))
        for file in missing:
            await asyncio.sleep(pause_s)
            await self._put(file, count_words((self._host.root / file).read_bytes()))

    async def _put(self, file: str, table: dict[str, int]) -> None:
        self.tables[file] = dict(table)
        self._total.update(table)
        group = self._host.node.group(TOTALS)
        for row in rows_of(file, table):
            self._rows.append(await group.join(meta=row, mailbox_max=1).start())

    def look_up(self, word: Any) -> tuple[int, bool]:
        """How often a word is in what is indexed, and whether that is everything."""
        return self._total.get(str(word), 0), self.done == len(self.files)

    def close(self) -> None:
        """Its rows go."""
        for row in self._rows:
            row.close()


async def shelf(ctx: covey.Context, files: list[str]) -> covey.Handover:
    """One shelf: index `files`, and answer whoever asks for a word."""
    host = HOST.get()
    index = Index(host, str(ctx.id), files)
    host.copies[index] = None
    try:
        async with asyncio.TaskGroup() as group:
            filling = group.create_task(index.fill(ctx.handed_over or {}))
            async for call in ctx.mailbox:
                call.reply(index.look_up(call.payload))
            filling.cancel()
    finally:
        del host.copies[index]
        index.close()
    return covey.Handover(index.tables)
