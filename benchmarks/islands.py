"""Network namespaces, one a member, on one bridge; what passes a member's cable is counted, and a cable can be pulled.

All of it exists only inside `unshare`, in namespaces of users, mounts, networks and processes of its own. Its first
process is ours; when that ends, however it ends, the kernel ends every process in there and takes the networks away.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

ALONE = ["unshare", "--map-root-user", "--mount", "--net", "--pid", "--mount-proc", "--fork", "--kill-child"]
BRIDGE = "covey-bridge"
PORT = 8946


def why_not() -> str:
    """Why namespaces cannot be made here; empty where they can."""
    try:
        trial = [*ALONE, "ip", "link", "add", "name", "trial", "type", "veth", "peer", "name", "other"]
        done = subprocess.run(trial, capture_output=True, text=True, timeout=10)
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    except subprocess.TimeoutExpired:
        return "making a namespace took more than 10 s"
    return f"namespaces cannot be made here: {done.stderr.strip()}" if done.returncode else ""


async def alone(arguments: list[str], seconds: float) -> dict[str, Any]:
    """What a module of ours prints in the end, run where it has a network of its own; its end ends all of that."""
    process = await asyncio.create_subprocess_exec(
        *ALONE, sys.executable, "-m", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(seconds):
            told = (await process.stdout.read()).splitlines()
            status = await process.wait()
    finally:
        process.stdin.close()  # the one in there ends with its input, and everything with it
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status or not told:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {status}")
    found: dict[str, Any] = json.loads(told[-1])
    return found


async def until_input_ends(measuring: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """The same, seen from there: it ends when our input does."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    over = asyncio.create_task(reader.read(), name="end of input")
    work = asyncio.ensure_future(measuring)
    await asyncio.wait((work, over), return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        over.cancel()
        return work.result()
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    raise SystemExit(1)


def own_loopback() -> None:
    """Bring up the loopback of a network of its own. Only inside `ALONE`."""
    _run("ip", "link", "set", "lo", "up")


def sent_on_loopback() -> tuple[int, int]:
    """Bytes and packets that passed the loopback of this network so far, headers included."""
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    fields = line.partition(":")[2].split()
    return int(fields[8]), int(fields[9])


class Islands:
    """`count` namespaces `n0`, `n1`, …; `n0` has the address 10.77.0.1, and so on. Only inside `ALONE`."""

    def __init__(self, count: int) -> None:
        self.count = count

    def make(self) -> None:
        """Make them. IPv6 is off, so that the kernel has nothing of its own to say."""
        _run("mount", "-t", "tmpfs", "none", "/run")
        _run("ip", "link", "add", "name", BRIDGE, "type", "bridge", "mcast_snooping", "0")
        _silence("/proc/sys/net/ipv6/conf/all/disable_ipv6")
        _run("ip", "link", "set", BRIDGE, "up")
        for number in range(self.count):
            inside = f"n{number}"
            _run("ip", "netns", "add", inside)
            _run("ip", "netns", "exec", inside, "sysctl", "-q", "net.ipv6.conf.all.disable_ipv6=1", check=False)
            _run("ip", "link", "add", "name", cable(number), "type", "veth", "peer", "name", "eth0", "netns", inside)
            _run("ip", "link", "set", cable(number), "master", BRIDGE, "up")
            _run("ip", "-n", inside, "link", "set", "lo", "up")
            _run("ip", "-n", inside, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
            _run("ip", "-n", inside, "link", "set", "eth0", "up")

    def addresses(self) -> list[str]:
        """Where each member listens."""
        return [f"10.77.0.{number + 1}:{PORT}" for number in range(self.count)]

    def prefixes(self) -> list[list[str]]:
        """What to write before a command so that it runs on each island."""
        return [["ip", "netns", "exec", f"n{number}"] for number in range(self.count)]

    def pull(self, number: int) -> None:
        """From now on nothing passes this cable, either way, and neither side is told."""
        _run("ip", "link", "set", cable(number), "nomaster")

    def sent(self) -> list[tuple[int, int]]:
        """Bytes, with Ethernet's headers, and packets that each member has sent so far."""
        lines = Path("/proc/net/dev").read_text().splitlines()[2:]
        fields = {name.strip(): rest.split() for name, _, rest in (line.partition(":") for line in lines)}
        found = [fields[cable(number)] for number in range(self.count)]
        return [(int(field[0]), int(field[1])) for field in found]  # what our end receives, the member has sent


def cable(number: int) -> str:
    """The end of a member's cable that is plugged into the bridge."""
    return f"cable{number}"


def _silence(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).write_text("1")


def _run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True, text=True)
