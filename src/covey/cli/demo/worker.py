"""One worker of the demo: a process with a node that takes part in the hub, and a client that asks it.

Nobody assigns work: whichever shelves the hub places here run here. Each writes what it counted into a group, so every
worker adds up the whole. A worker that dies takes its shelves and their rows with it; the hub starts the shelves
elsewhere, and they read their files again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import covey
from covey.api.hub_values import HubEvent
from covey.cli.demo import tables
from covey.cli.demo.client import Client
from covey.cli.demo.faults import CuttingEnvironment
from covey.cli.demo.indexing import HOST, TOTALS, Host, shelf
from covey.cli.demo.reports import Command, Compare, Complete, Cut, Fill, Orders, Progress, Report, Started, Why
from covey.cli.demo.shelves import questions
from covey.wire.keys import Key

HUB = "library"
ALIVE = ("alive", "suspect")  # who answers for its shelves
FILL_SECONDS_MAX = 20.0
REPORT_SECONDS = 0.1

Rows = covey.Subscription[tuple[covey.GroupMember, ...], covey.GroupJoined | covey.GroupLeft | covey.GroupUpdated]
Moves = covey.Subscription[tuple[covey.Child, ...], HubEvent]


class Worker:
    """Takes part in the hub and asks it, until cancelled. `obey` takes the director's commands."""

    def __init__(
        self, node: covey.Node, network: CuttingEnvironment, orders: Orders, report: Callable[[Report], None]
    ) -> None:
        self._node = node
        self._network = network
        self._orders = orders
        self._report = report
        self._host = Host(node, Path(orders.root), orders.seconds)
        self._files = [file for files in orders.shelves.values() for file in files]
        self._tables = tables.Tables(self._files)
        self._compares = False
        self._full = asyncio.Event()  # every shelf runs
        self._commands: asyncio.Queue[Command] = asyncio.Queue()

    def obey(self, command: Command) -> None:
        """Do that, behind what was commanded before."""
        self._commands.put_nowait(command)

    async def run(self) -> None:
        """Work until cancelled."""
        HOST.set(self._host)  # before the node starts: its children see what is set then
        async with self._node as node:
            self._report(Started(node.site.hex(), node.address, os.getpid()))
            hub = node.hub(HUB, children=[shelf], on_split="both")
            async with hub, hub.events() as moves, node.group(TOTALS).events() as rows, asyncio.TaskGroup() as group:
                client = Client(hub, questions(self._orders.shelves, random.Random()), self._report)
                group.create_task(self._read(rows))
                group.create_task(self._explain(hub, moves))
                group.create_task(self._obey(hub))
                group.create_task(self._ask(client))
                group.create_task(self._tell(hub, client))

    # --- one task each ----------------------------------------------------------------------------------------------

    async def _obey(self, hub: covey.Hub) -> None:
        while True:
            match await self._commands.get():
                case Fill():
                    specs = [covey.ChildSpec(name, shelf, files) for name, files in self._orders.shelves.items()]
                    (await hub.start_children(specs, timeout=FILL_SECONDS_MAX)).raise_for_errors()
                case Cut(addresses):
                    self._network.cut(addresses)
                case Compare():
                    self._compares = True

    async def _ask(self, client: Client) -> None:
        """Let the client ask, once there is somebody to ask."""
        await self._full.wait()
        await client.run()

    async def _explain(self, hub: covey.Hub, moves: Moves) -> None:
        """Say why whatever comes here comes here."""
        told: dict[Key, int] = {}
        async for event in moves:
            if not isinstance(event, covey.ChildUpdated):
                continue
            child = event.child
            mine = next((copy for copy in child.copies if copy.site == self._node.site), None)
            if mine is not None and mine.state == "running" and told.get(child.id) != mine.instance:
                told[child.id] = mine.instance
                self._report(Why(why_here(hub.explain(child.id), self._orders.name)))

    async def _read(self, rows: Rows) -> None:
        """Follow the group: what a file's rows say is there while a member says it."""
        self._put(rows.snapshot)
        async for event in rows:
            match event:
                case covey.GroupJoined(member):
                    self._put([member])
                case covey.GroupLeft(member):
                    self._tables.drop(member.address)
                case covey.Lost():
                    self._tables = tables.Tables(self._files)
                    self._put(self._node.group(TOTALS).members())
                case _:
                    pass

    def _put(self, members: Iterable[covey.GroupMember]) -> None:
        for member in members:
            self._tables.put(member.address, member.meta)

    async def _tell(self, hub: covey.Hub, client: Client) -> None:
        """Report where this worker stands, and the sum where it is asked for and everything is there."""
        told = None
        while True:
            progress = self._progress(hub, client)
            if progress != told:
                self._report(progress)
                told = progress
            if progress.running:
                self._host.begin()
            if progress.running == len(self._orders.shelves):
                self._full.set()
            if self._compares and self._tables.complete:
                metas = [member.meta for member in self._node.group(TOTALS).members()]
                found = await asyncio.to_thread(_sum, metas, dict(client.found), client.differing, self._orders)
                if found is not None:  # else rows went meanwhile
                    self._compares = False
                    self._report(found)
            await asyncio.sleep(REPORT_SECONDS)

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _progress(self, hub: covey.Hub, client: Client) -> Progress:
        return Progress(
            members=sum(member.status in ALIVE for member in self._node.members()) - 1,
            nodes=len(hub.nodes()),
            copies=[(index.shelf, index.done) for index in self._host.copies],
            running=_running(hub),
            doubles=sum(len(child.copies) > 1 for child in hub.dump().values()),
            held=len(self._tables.held),
            words=self._tables.words,
            answered=client.answered,
            failed=client.failed,
            silence_s=round(client.silence_s, 3),
            waits_s=round(client.waits_s, 3),
        )


def _running(hub: covey.Hub) -> int:
    return sum(any(copy.state == "running" for copy in child.copies) for child in hub.dump().values())


def _sum(metas: list[object], found: dict[tuple[str, str], int], differing: int, orders: Orders) -> Complete | None:
    files = tables.whole_files(metas)
    if any(file not in files for some in orders.shelves.values() for file in some):
        return None
    total = tables.add_up(files)
    wrong = differing + tables.count_wrong(found, orders.shelves, files)
    return Complete(len(files), total.total(), tables.digest(total), wrong)


def why_here(explained: covey.Explanation, here: str) -> str:
    """One line of why a shelf runs here."""
    order = " > ".join(explained.ranking)
    reason = f"of {order} its hash ranks it first" if explained.ranking[:1] == (here,) else order
    return "; ".join([f"{explained.id!s} runs on {here}: {reason}", *explained.reasons])


async def work(orders: Orders, commands: asyncio.Queue[Command | None], report: Callable[[Report], None]) -> None:
    """Run a worker until None comes instead of a command."""
    network = CuttingEnvironment()
    node = covey.Node(
        orders.cluster,
        name=orders.name,
        listen="127.0.0.1:0",
        seeds=orders.seeds,
        secret=orders.secret,
        storage=orders.storage or None,
        config=covey.Config.laptop(),
        _environment=network,
    )
    worker = Worker(node, network, orders, report)
    working = asyncio.create_task(worker.run())
    try:
        while True:
            hearing = asyncio.create_task(commands.get())
            await asyncio.wait((working, hearing), return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done():
                hearing.cancel()
                break
            if (command := hearing.result()) is None:
                break
            worker.obey(command)
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
