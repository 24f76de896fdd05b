"""One worker of the demo: a process with a node that counts its share and reads what the others have counted.

Nobody assigns work, and nobody sends any. Each worker computes from the members it holds alive who owns which file,
counts what is its own, and joins a group with every finished table as metadata. All see the same group, so each adds up
the whole of it. A worker that dies takes its tables with it: the files are missing again, and whoever owns them now
counts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
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
GROUP = "tables"
FORM_SECONDS_MAX = 15.0  # forming takes 0.03 s; this is for a machine that is busy
REPORT_SECONDS = 0.1
END_SECONDS_MAX = 3.0  # after the end of the input the process ends, if need be without a goodbye


Rows = covey.Subscription[tuple[covey.GroupMember, ...], covey.GroupJoined | covey.GroupLeft | covey.GroupUpdated]


class Worker:
    """Counts its share until every table is there, and stays with its own, which go when it goes."""

    def __init__(self, node: covey.Node, orders: Orders, report: Callable[[Report], None]) -> None:
        self._node = node
        self._orders = orders
        self._report = report
        self._root = Path(orders.root)
        self._tables = tables.Tables(orders.files)
        self._mine: dict[str, list[covey.Mailbox]] = {}  # a file's rows live as long as these
        self._live: list[Site] = []  # the others
        self._owners: dict[str, bytes] = {}
        self._first_owners: dict[str, bytes] = {}
        self._todo: deque[str] = deque()
        self._moved = asyncio.Event()  # there is more to do
        self._counted_taken = 0

    async def run(self) -> None:
        """Work until cancelled."""
        async with self._node as node, node.events() as events, node.group(GROUP).events() as rows:
            self._report(Started(node.site.hex(), node.address, os.getpid()))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tell())
                group.create_task(self._read(rows))
                await node.wait_members(self._orders.nodes, timeout=FORM_SECONDS_MAX)
                self._place()
                self._first_owners = self._owners
                group.create_task(self._listen(events))  # what came meanwhile waited in `events`
                group.create_task(self._count())

    def _place(self) -> None:
        """Compute who owns what among those alive now; who is only suspected keeps what it has."""
        me = self._node.site
        live = [member.site for member in self._node.members() if member.status in ALIVE and member.site != me]
        if live == self._live:
            return
        self._live = live
        self._owners = tables.shares(self._orders.files, [me, *live])
        self._todo.clear()
        self._want(self._tables.missing)

    def _want(self, files: Iterable[str]) -> None:
        """These are missing: what is ours of them is to be counted."""
        self._todo.extend(file for file in files if self._owners.get(file) == self._node.site)
        self._moved.set()

    # --- one task each ----------------------------------------------------------------------------------------------

    async def _listen(self, events: AsyncIterator[object]) -> None:
        async for event in events:
            match event:
                case covey.MemberDown(member, cause):
                    self._report(MemberLost(member.site.hex(), cause))
                    self._place()
                case covey.MemberUp() | covey.MemberLeft() | covey.Lost():
                    self._place()
                case _:
                    pass

    async def _read(self, rows: Rows) -> None:
        """Follow the group: a table is there while a member says it."""
        self._put(rows.snapshot)
        async for event in rows:
            match event:
                case covey.GroupJoined(member):
                    self._put([member])
                case covey.GroupLeft(member):
                    if file := self._tables.drop(member.address):
                        self._want([file])
                case covey.Lost():
                    self._tables = tables.Tables(self._orders.files)
                    self._put(self._node.group(GROUP).members())
                    self._want(self._tables.missing)
                case _:
                    pass

    def _put(self, members: Iterable[covey.GroupMember]) -> None:
        for member in members:
            self._tables.put(member.address, member.meta)

    async def _count(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._moved.clear()
            while self._todo:
                file = self._todo.popleft()
                if file in self._tables.held or file in self._mine:  # it came while it waited here
                    continue
                self._mine[file] = await self._publish(file)
                self._counted_taken += self._first_owners[file] != self._node.site
                due += self._orders.pace_s
                await asyncio.sleep(max(0.0, due - loop.time()))
            await self._moved.wait()
            due = loop.time()

    async def _publish(self, file: str) -> list[covey.Mailbox]:
        """Count a file, and be a member of the group with each row of its table."""
        group, words = self._node.group(GROUP), count_words((self._root / file).read_bytes())
        return [await group.join(meta=row, mailbox_max=1).start() for row in tables.rows_of(file, words)]

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
                metas = [member.meta for member in self._node.group(GROUP).members()]
                found = await asyncio.to_thread(_sum, metas)
                complete = found.files == len(self._orders.files)  # else one has gone, and its rows with it
                if complete:
                    self._report(found)
            await asyncio.sleep(REPORT_SECONDS)

    # --- helpers ----------------------------------------------------------------------------------------------------

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


def _sum(metas: list[object]) -> Complete:
    files, total = tables.add_up(metas)
    return Complete(files, total.total(), tables.digest(total))


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
