"""The process of a child ends with its node, and finds what it is to run."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.runtime.transport.tcp_harness import run_on

pytestmark = pytest.mark.serial

NODE = """
import asyncio, sys
sys.path[:0] = [{root!r}]
from tests.runtime.children.fake_hub import FakeHub
from tests.runtime.children.test_process import STARTS, pid_of
from covey.core import children as c

async def main():
    hub = FakeHub()
    hub.open(STARTS)
    answers, burns = hub.start("answer", id=1), hub.start("burns", id=2)
    await hub.wait_for(c.ChildStarted, burns)
    print(await pid_of(hub, answers), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_it_ends_when_its_node_is_killed():
    root = str(Path(__file__).parents[3])

    async def main() -> None:
        node = await asyncio.create_subprocess_exec(
            sys.executable, "-c", NODE.format(root=root), stdout=asyncio.subprocess.PIPE
        )
        assert node.stdout is not None
        async with asyncio.timeout(30):
            pid = int(await node.stdout.readline())
            os.kill(pid, 0)
            node.send_signal(signal.SIGKILL)
            await node.wait()
            # The children have its standard output: it is at its end when the one that burns has ended as well.
            assert await node.stdout.read() == b""

    run_on("asyncio", main())


MAIN = """
import asyncio, os
from covey.core import children as c
from covey.runtime.children import Start, name_of
from tests.runtime.children.fake_hub import FakeHub

async def mine(context):
    async for call in context.mailbox:
        call.reply(os.getpid())

async def main():
    hub = FakeHub()
    hub.open({name_of(mine): Start(mine, executor="process")})
    copy = hub.start("__main__:mine")
    hub.call(copy)
    await hub.wait_for(c.ChildReplied, copy)
    print(hub.replies(copy)[0][2] != os.getpid(), flush=True)
    await hub.children.aclose(5)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_a_child_may_stand_in_the_main_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(MAIN)
    root = str(Path(__file__).parents[3])

    async def main() -> None:
        node = await asyncio.create_subprocess_exec(
            sys.executable, str(script), stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
        )  # fmt: skip
        async with asyncio.timeout(30):
            out, _ = await node.communicate()
        assert (node.returncode, out) == (0, b"True\n")

    run_on("asyncio", main())
