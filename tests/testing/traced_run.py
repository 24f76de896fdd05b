"""One run of a small cluster with cuts, kills and sends, written down. Run it as a script, or call `trace`.

Everything that every machine heard and said is in it, and what the users of the nodes saw.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections.abc import Sequence
from typing import Any

import covey
from covey.testing import Cluster, run

RAW = re.compile(r"<msgspec\.Raw object at 0x[0-9a-f]+>")  # its repr is its address; its bytes stand beside it anyway


def trace(seed: int) -> list[str]:
    """What happened, in order, as text."""
    lines: list[str] = []

    async def story(cluster: Cluster) -> None:
        rng = random.Random(seed)
        loop = asyncio.get_running_loop()
        started = loop.time()
        alive: list[covey.Node] = []

        def note(number: int, text: str) -> None:
            lines.append(f"{(loop.time() - started) * 1e6:.0f} node{number} {text}")

        def observe(node: covey.Node, number: int) -> None:
            def observed(now_us: int, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
                note(number, RAW.sub("raw", f"{now_us} {machine} {incoming!r} -> {list(effects)!r}"))

            runner: Any = node._runner
            runner._pump._observe = observed

        async def read(node: covey.Node, number: int) -> None:
            async with node.events() as events:
                note(number, f"snapshot {events.snapshot!r}")
                async for event in events:
                    note(number, f"event {event!r}")
                    if type(event) is covey.Message and event.payload[0] == "ask":
                        node.send_nowait(event.sender, ("answer", event.payload[1]))

        async def send(node: covey.Node, number: int, site: covey.Site, payload: Any) -> None:
            try:
                await node.send(site, payload, timeout=1)
            except covey.CoveyError as error:
                note(number, f"{type(error).__name__} {error}")

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                node = cluster.node()
                await node.start()
                observe(node, number)
                alive.append(node)
                group.create_task(read(node, number))
            for step in range(30):
                await asyncio.sleep(rng.choice((0.01, 0.2, 1.0)))
                match rng.choice(("send", "send", "send", "cut", "heal", "kill", "close")):
                    case "send":
                        for _ in range(3):
                            one, other = rng.sample(alive, 2)
                            group.create_task(send(one, alive.index(one), other.site, ("ask", step)))
                    case "cut":
                        half = set(rng.sample(range(len(alive)), len(alive) // 2))
                        one_side = [node for index, node in enumerate(alive) if index in half]
                        other_side = [node for index, node in enumerate(alive) if index not in half]
                        cluster.partition(one_side, other_side)
                    case "heal":
                        cluster.heal()
                    case "kill" if len(alive) > 5:
                        await cluster.kill(alive.pop(rng.randrange(len(alive))))
                    case "close" if len(alive) > 5:
                        await alive.pop(rng.randrange(len(alive))).close()
            cluster.heal()
            await asyncio.sleep(20)
            for number, node in enumerate(alive):
                note(number, f"at the end {node.neighbours()!r} {node.statistics()!r}")
            await cluster.close()

    run(story, seed=seed)
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(trace(int(sys.argv[1]))))
