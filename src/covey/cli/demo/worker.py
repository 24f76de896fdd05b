"""One worker of the demo: a process with a node that counts its share and exchanges tables with the others.

Nobody assigns work. Each worker computes from the members it holds alive who owns which file, counts what is its own,
and sends each finished table to all of them. When one dies or comes back it computes again. Once a second it asks the
present owners for what it lacks, and somebody else for what is its own, so neither a message that was lost with a
process nor a start in the middle of the work costs more than a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

import covey
from covey.cli import logs
from covey.cli.demo import tables
from covey.cli.demo.corpus import count_words
from covey.cli.demo.reports import Complete, Failed, MemberLost, Orders, Progress, Report, Started
from covey.cli.loop import run
from covey.core.ids import Site

ALIVE = ("alive", "suspect")  # who answers for its files
FORM_SECONDS_MAX = 15.0  # forming takes 0.03 s; this is for a machine that is busy
SEND_SECONDS_MAX = 2.0  # then the receiver has to ask
ASK_SECONDS = 1.0
REPORT_SECONDS = 0.1
END_SECONDS_MAX = 3.0  # after the end of the input the process ends, if need be without a goodbye


class Table(msgspec.Struct, frozen=True, tag="table"):
    """The words of one file, or part of them. Between nodes."""

    file: str
    words: dict[str, int]
    part: int
    parts: int


class Want(msgspec.Struct, frozen=True, tag="want"):
    """Send me the tables of these files, if you have them. Between nodes."""

    files: list[str]


class Worker:
    """Counts its share until every table is here, and then still answers those who lack one."""

    def __init__(self, node: covey.Node, orders: Orders, report: Callable[[Report], None]) -> None:
        self._node = node
        self._orders = orders
        self._report = report
        self._root = Path(orders.root)
        self._tables = tables.Tables(orders.files)
        self._live: list[Site] = []  # the others
        self._owners: dict[str, bytes] = {}
        self._first_owners: dict[str, bytes] = {}
        self._todo: deque[str] = deque()
        self._moved = asyncio.Event()  # files changed hands
        self._counted_taken = 0

    async def run(self) -> None:
        """Work until cancelled."""
        async with self._node as node, node.events() as events:
            self._report(Started(node.site.hex(), node.address, os.getpid()))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell())
                await node.wait_members(self._orders.nodes, timeout=FORM_SECONDS_MAX)
                self._place()
                self._first_owners = self._owners
                group.create_task(self._listen(events))  # what came meanwhile waited in `events`
                group.create_task(self._count())
                group.create_task(self._ask())

    def _place(self) -> None:
        """Compute who owns what among those alive now; who is only suspected keeps what it has."""
        me = self._node.site
        live = [member.site for member in self._node.members() if member.status in ALIVE and member.site != me]
        if live == self._live:
            return
        self._live = live
        self._owners = tables.shares(self._orders.files, [me, *live])
        self._todo = deque(file for file in self._tables.missing if self._owners[file] == me)
        self._moved.set()

    # --- one task each ----------------------------------------------------------------------------------------------

    async def _listen(self, events: AsyncIterator[object]) -> None:
        async for event in events:
            match event:
                case covey.Message(sender, payload):
                    self._on_message(sender, payload)
                case covey.MemberDown(member, cause):
                    self._report(MemberLost(member.site.hex(), cause))
                    self._place()
                case covey.MemberUp() | covey.MemberLeft() | covey.Lost():
                    self._place()
                case _:
                    pass

    def _on_message(self, sender: Site, payload: object) -> None:
        try:
            message = msgspec.convert(payload, Table | Want)
        except msgspec.ValidationError:
            return  # not of this demo
        match message:
            case Table(file, words, part, parts):
                self._tables.add(file, words, part, parts)
            case Want(files):
                # What does not fit in the link now is asked for again.
                with contextlib.suppress(covey.UnavailableError, covey.UnknownName):
                    for file in files:
                        for table in self._messages(file):
                            self._node.send_nowait(sender, table)

    async def _count(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._moved.clear()
            while self._todo:
                file = self._todo.popleft()
                if file in self._tables.held:  # it came while it waited here
                    continue
                if self._tables.add(file, count_words((self._root / file).read_bytes())):
                    self._counted_taken += self._first_owners[file] != self._node.site
                messages = self._messages(file)
                await asyncio.gather(*(self._send(site, messages) for site in self._live))
                due += self._orders.pace_s
                await asyncio.sleep(max(0.0, due - loop.time()))
            await self._moved.wait()
            due = loop.time()

    async def _ask(self) -> None:
        """Ask the owners for what is missing, so that it does not matter which message was lost.

        What is ours may have been counted by others while we were away: one of them is asked.
        """
        turn = 0
        while not self._tables.complete:
            wanted: dict[Site, list[str]] = {}
            live = list(self._live)
            for file in self._tables.missing:
                owner = Site(self._owners[file])
                if owner != self._node.site:
                    wanted.setdefault(owner, []).append(file)
                elif live:
                    wanted.setdefault(live[turn % len(live)], []).append(file)
            for site in live:
                if site in wanted:
                    with contextlib.suppress(covey.UnavailableError, covey.UnknownName):
                        await self._node.send(site, Want(wanted[site]), SEND_SECONDS_MAX)
            turn += 1
            await asyncio.sleep(ASK_SECONDS)

    async def _tell(self) -> None:
        """Report where this worker stands, and once the sum."""
        told = None
        complete = False
        while True:
            progress = self._progress()
            if progress != told:
                self._report(progress)
                told = progress
            if self._tables.complete and not complete:
                complete = True  # and `total` changes no more
                digest = await asyncio.to_thread(tables.digest, self._tables.total)
                self._report(Complete(len(self._tables.held), self._tables.words, digest))
            await asyncio.sleep(REPORT_SECONDS)

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _messages(self, file: str) -> list[Table]:
        words = self._tables.held.get(file)
        if words is None:
            return []
        parts = tables.split(words)
        return [Table(file, part, number, len(parts)) for number, part in enumerate(parts)]

    async def _send(self, site: Site, messages: list[Table]) -> None:
        with contextlib.suppress(covey.UnavailableError, covey.UnknownName):  # it died, or it will ask
            for table in messages:
                await self._node.send(site, table, SEND_SECONDS_MAX)

    def _progress(self) -> Progress:
        me, held = self._node.site, self._tables.held
        owned = [file for file, site in self._owners.items() if site == me]
        taken = [file for file in owned if self._first_owners[file] != me]
        return Progress(
            members=sum(member.status in ALIVE for member in self._node.members()) - 1,
            owned=len(owned),
            done=sum(file in held for file in owned),
            taken=len(taken),
            taken_done=sum(file in held for file in taken),
            counted_taken=self._counted_taken,
            held=len(held),
            words=self._tables.words,
        )


def _write(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


def _read_orders() -> Orders:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 65536)
        if not more:
            sys.exit(0)  # the director is gone already
        line += more
    return msgspec.json.decode(line, type=Orders)


def _watch_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Runs in a thread. The end of the input means that the director wants us to end, or is dead: no orphan stays."""
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended before
        loop.call_soon_threadsafe(ended.set)
    threading.Event().wait(END_SECONDS_MAX)
    os._exit(1)


async def _work(orders: Orders) -> None:
    ended = asyncio.Event()
    threading.Thread(target=_watch_input, args=(asyncio.get_running_loop(), ended), daemon=True).start()
    node = covey.Node(
        orders.cluster,
        listen="127.0.0.1:0",
        seeds=orders.seeds,
        secret=orders.secret,
        storage=orders.storage,
        config=covey.Config.laptop(),
    )
    work = asyncio.create_task(Worker(node, orders, _write).run())
    ending = asyncio.create_task(ended.wait())
    await asyncio.wait((work, ending), return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if ended.is_set():
        work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


def main() -> None:
    """Take orders, work, and end when the input ends."""
    logs.configure()
    orders = _read_orders()
    try:
        run(_work(orders))
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, BrokenPipeError):
            _write(Failed(f"{type(error).__name__}: {error}"))
        raise


if __name__ == "__main__":
    main()
