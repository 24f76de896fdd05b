"""One node of a cluster that uses groups, steered by lines on its input; it answers each with a JSON line.

Its only argument and its first line are those of `member_process`. Then, each with the event that answers it:

- `sit COUNT`: be in the group `fan`, answer calls, count what comes, until COUNT are in it: `sitting`;
- `expect COUNT`: so much will come: `expecting`, and `got` when it has;
- `fan COUNT`: broadcast so often, as fast as it goes: `sent`. `ping COUNT`: so many calls of one member: `rtt`;
- `join COUNT`: that many mailboxes, each in a group of its own: `joined`. `drop`: close them: `dropped`;
- `see COUNT`: `looking`, and `seen` when all these groups are here. `tidy`: collect garbage: `tidied`;
- `stop`: close the node: `stopped`. `again COUNT`: start it anew, until all these groups are here: `back`;
- `home FROM TO`: be in these groups: `home`. `churn SEED`: join, leave and say something else, at random, until
  `calm`: `calm`. `view`: what all groups look like from here: `view`.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
import sys
import time
from typing import Any

import msgspec

import covey
from benchmarks.member_process import Covey, Orders, say, serve
from benchmarks.processes import percentile, run

PAYLOAD = bytes(range(128))
BURST = 100  # messages between two looks at the event loop
JOINS = 1_000  # and joins
UNREAD_MAX = 1_000_000  # as long as Erlang's mailboxes may become; nothing holds a sender back until a socket is full
PAUSE_S, STEPS = 0.02, 10  # of churn: 500 steps a second


class GroupNode(Covey):
    """A node, and what it is told to do."""

    def __init__(self, orders: Orders) -> None:
        super().__init__(orders)
        self._fan: covey.Mailbox | None = None
        self._reading: asyncio.Task[None] | None = None
        self._boxes: list[covey.Mailbox] = []
        self._left = self._lost = 0
        self._churning: asyncio.Task[None] | None = None
        self._calm = asyncio.Event()

    async def obey(self, line: str) -> None:
        """Do what a line says."""
        command, *numbers = line.split()
        await getattr(self, f"do_{command}")(*map(int, numbers))

    # --- mail -------------------------------------------------------------------------------------------------------

    async def do_sit(self, count: int) -> None:
        group = self.node.group("fan")
        async with group.events() as events:
            self._fan = await group.join(mailbox_max=UNREAD_MAX).start()
            self._reading = asyncio.create_task(self._read(self._fan), name="read")
            while group.member_count() < count:
                await anext(events)
        say("sitting")

    async def _read(self, me: covey.Mailbox) -> None:
        async for message in me:
            if type(message) is covey.GroupMessage:
                self._left -= 1
                if not self._left:
                    say("got", lost=self._lost)
            elif type(message) is covey.GroupCall:
                message.reply(message.payload)
            elif type(message) is covey.Lost:
                self._lost += message.count
                self._left -= message.count
                if not self._left:
                    say("got", lost=self._lost)

    async def do_expect(self, count: int) -> None:
        self._left, self._lost = count, 0
        say("expecting")

    async def do_fan(self, count: int) -> None:
        assert self._fan is not None
        for number in range(count):
            await self._fan.broadcast(PAYLOAD)
            if number % BURST == BURST - 1:
                await asyncio.sleep(0)
        say("sent")

    async def do_ping(self, count: int) -> None:
        assert self._fan is not None
        to = self._fan.peers()[0]
        times: list[float] = []
        for _ in range(count):
            start_s = time.perf_counter()
            await self._fan.call(to, PAYLOAD)
            times.append((time.perf_counter() - start_s) * 1e6)
        times.sort()
        say("rtt", p50=percentile(times, 0.5), p99=percentile(times, 0.99))

    # --- members ----------------------------------------------------------------------------------------------------

    async def do_join(self, count: int) -> None:
        for number in range(count):
            self._boxes.append(await self.node.group(("g", number)).join().start())
            if number % JOINS == JOINS - 1:
                await asyncio.sleep(0)
        say("joined")

    async def do_drop(self) -> None:
        for number, box in enumerate(self._boxes):
            box.close()
            if number % JOINS == JOINS - 1:
                await asyncio.sleep(0)
        self._boxes.clear()
        say("dropped")

    async def do_see(self, count: int) -> None:
        """Rows of one owner come in order, so whoever has its last has all; counted nevertheless."""
        async with self.node.group(("g", count - 1)).events() as events:
            say("looking")
            if not events.snapshot:
                await anext(events)
        say("seen", groups=self._groups())

    async def do_tidy(self) -> None:
        gc.collect()
        say("tidied")

    async def do_stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        await self.node.close()
        say("stopped")

    async def do_again(self, count: int) -> None:
        self.node = self.make()
        begin_s = time.monotonic()
        await self.start()
        async with self.node.group(("g", count - 1)).events() as events:  # an owner's rows are told in their order
            if not events.snapshot:
                await anext(events)
        say("back", seconds=time.monotonic() - begin_s, groups=self._groups())

    def _groups(self) -> int:
        """How many groups there are, without `fan`."""
        return int(self.node.statistics().machines["groups"].groups) - bool(self.node.group("fan").members())

    # --- chaos ------------------------------------------------------------------------------------------------------

    async def do_home(self, first: int, end: int) -> None:
        for number in range(first, end):
            self._boxes.append(await self.node.group(("g", number)).join(meta={"home": number}).start())
            if number % JOINS == JOINS - 1:
                await asyncio.sleep(0)
        say("home")

    async def do_churn(self, seed: int, groups: int) -> None:
        self._calm.clear()
        self._churning = asyncio.create_task(self._churn(random.Random(seed), groups), name="churn")
        say("churning")

    async def _churn(self, rng: random.Random, groups: int) -> None:
        guests: list[covey.Mailbox] = []
        steps = 0
        while not self._calm.is_set():
            for _ in range(STEPS):
                steps += 1
                roll = rng.random()
                group = self.node.group(("g", rng.randrange(groups)))
                if roll < 0.4 or not guests:
                    guests.append(await group.join(meta=steps).start())
                elif roll < 0.6:
                    group.join(member=rng.choice(guests))
                elif roll < 0.8:
                    box = rng.choice(guests)
                    if box.member.meta is not None:
                        box.update_meta(steps)
                elif roll < 0.9:
                    rng.choice(guests).leave()
                else:
                    guests.pop(rng.randrange(len(guests))).close()
            await asyncio.sleep(PAUSE_S)
        self._boxes += guests
        say("calm", steps=steps)

    async def do_calm(self) -> None:
        self._calm.set()
        assert self._churning is not None
        await self._churning

    async def do_view(self) -> None:
        """A hash of all members of all groups, ours among them as we have them and not as rows say."""
        assert self.node._engine is not None
        machine = self.node._engine.groups
        mine = self.node.site, self.node.incarnation
        seen: list[Any] = []
        own: list[Any] = []
        for (scope, group), view in machine.members.by_place.items():
            for address, entry in view.items():
                fields = (scope, group, address.site, address.incarnation, address.mailbox, entry.count, entry.meta)
                (own if (address.site, address.incarnation) == mine else seen).append(fields)
        ours = [
            (scope, group, *mine, mailbox, *joined)
            for mailbox, joins in machine._mailboxes.items()
            for (scope, group), joined in joins.items()
        ]
        everything = msgspec.msgpack.encode(sorted(seen + ours))
        same = sorted(own) == sorted(ours)
        say("view", hash=hashlib.sha256(everything).hexdigest(), rows=len(seen) + len(ours), same=same,
            groups=len(machine.members.by_place))  # fmt: skip


if __name__ == "__main__":
    node = GroupNode(msgspec.json.decode(sys.argv[1], type=Orders))
    run(serve(node, node.obey))
