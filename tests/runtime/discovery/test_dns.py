"""Seeds from DNS: with a scripted resolver, with the system's, and with a real name server."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys

import pytest

from covey.runtime.discovery.dns import ADDRESSES_MAX, DnsSeed
from tests.require import lack, require


class Script:
    """A resolver that plays its answers one after the other; an exception is raised, a future waited for."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, name):
        self.asked.append(name)
        answer = self.answers.pop(0)
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer


def seed_of(script, ports=(8946,), **options):
    return DnsSeed("dns:orders", "orders", ports, script, **options)


NXDOMAIN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_every_address_of_the_name_comes_with_every_port():
    seed = seed_of(Script(["10.0.0.1", "fd00::1"]), ports=range(8946, 8948))
    assert await seed.resolve() == ["10.0.0.1:8946", "[fd00::1]:8946", "10.0.0.1:8947", "[fd00::1]:8947"]


async def test_the_name_is_asked_for_anew_each_time():
    script = Script(["10.0.0.1"], ["10.0.0.2", "10.0.0.3", "10.0.0.2"])
    seed = seed_of(script)
    assert await seed.resolve() == ["10.0.0.1:8946"]
    assert await seed.resolve() == ["10.0.0.2:8946", "10.0.0.3:8946"]
    assert script.asked == ["orders", "orders"]
    assert seed.resolve_every == 5


async def test_a_name_that_is_not_found_is_trouble_until_it_is():
    seed = seed_of(Script(NXDOMAIN, [], ["10.0.0.1"]))
    assert await seed.resolve() == []
    assert seed.trouble == "'orders' was not found (Name or service not known); asked again in 5 s"
    assert await seed.resolve() == []
    assert seed.trouble == "'orders' has no addresses; asked again in 5 s"
    assert await seed.resolve() == ["10.0.0.1:8946"]
    assert seed.trouble == ""


async def test_a_slow_answer_is_waited_for_only_so_long_and_used_when_it_comes():
    answer = asyncio.get_running_loop().create_future()
    script = Script(answer)
    seed = seed_of(script, lookup_seconds_max=0)
    assert await seed.resolve() == []
    assert "no answer for 'orders' within 0 s" in seed.trouble
    assert await seed.resolve() == []
    assert script.asked == ["orders"]  # one lookup at a time
    answer.set_result(["10.0.0.1"])
    waiting = DnsSeed.resolve(seed)
    seed._lookup_seconds_max = 60
    assert await waiting == ["10.0.0.1:8946"]
    assert seed.trouble == ""


async def test_two_who_ask_at_once_share_a_lookup():
    script = Script(["10.0.0.1"])
    seed = seed_of(script)
    one, other = await asyncio.gather(seed.resolve(), seed.resolve())
    assert one == other == ["10.0.0.1:8946"]
    assert script.asked == ["orders"]


async def test_who_asks_may_be_cancelled():
    answer = asyncio.get_running_loop().create_future()
    seed = seed_of(Script(answer))
    asking = asyncio.create_task(seed.resolve())
    await asyncio.wait([asking], timeout=0)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    answer.set_result(["10.0.0.1"])
    assert await seed.resolve() == ["10.0.0.1:8946"]


async def test_withdrawing_ends_the_lookup_and_leaves_the_seed_usable():
    seed = seed_of(Script(asyncio.get_running_loop().create_future(), ["10.0.0.1"]))
    seed.announce("10.0.0.9:8946")
    asking = asyncio.create_task(seed.resolve())
    await asyncio.wait([asking], timeout=0)
    seed.withdraw()
    assert await asking == []
    seed.withdraw()
    assert await seed.resolve() == ["10.0.0.1:8946"]


async def test_addresses_are_bounded_and_no_host_is_left_out_for_the_ports_of_another():
    hosts = [f"10.0.{number >> 8}.{number & 255}" for number in range(ADDRESSES_MAX)]
    found = await seed_of(Script(hosts), ports=range(8946, 8962)).resolve()
    assert found == [f"{host}:8946" for host in hosts]


async def test_the_system_knows_localhost():
    seed = DnsSeed("dns:localhost:8946", "localhost", [8946])
    found = await seed.resolve()
    assert seed.trouble == ""
    assert "127.0.0.1:8946" in found
    assert set(found) <= {"127.0.0.1:8946", "[::1]:8946"}


async def test_the_system_does_not_know_an_invalid_name():
    seed = DnsSeed("dns:covey.invalid:8946", "covey.invalid", [8946])  # RFC 2606: nobody ever has it
    assert await seed.resolve() == []
    assert "'covey.invalid'" in seed.trouble


# --- a real name server ---------------------------------------------------------------------------------------------

IN_NAMESPACES = """
set -e
printf 'nameserver 127.0.0.1\\noptions timeout:1 attempts:1\\n' > "$1/resolv.conf"
mount --bind "$1/resolv.conf" /etc/resolv.conf
echo 'hosts: dns' > "$1/nsswitch.conf"
mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf
ip link set lo up
shift
exec "$@"
"""

# Runs as process 1 with its own network and resolv.conf, so whatever happens, nothing is left. dnsmasq goes to the
# background once it listens, so there is nothing to wait for.
CHILD = """
import asyncio, json, os, pathlib, signal, subprocess, sys
from covey.runtime.discovery import parse_seed

dnsmasq, folder = sys.argv[1], pathlib.Path(sys.argv[2])

def serve(*records):
    subprocess.run([dnsmasq, "--conf-file=/dev/null", "--user=", "--group=", "--no-hosts", "--no-resolv",
        "--local=/test/", "--listen-address=127.0.0.1", "--bind-interfaces", f"--pid-file={folder / 'pid'}",
        *[f"--host-record={record}" for record in records]], check=True)
    return int((folder / "pid").read_text())

def stop(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)  # the orphan is ours: its port is free now

async def main():
    found = {}
    seed = parse_seed("dns:orders.test:8946", (1, 2))
    async def ask(key):
        found[key] = [sorted(await seed.resolve()), seed.trouble]
    pid = serve("orders.test,10.0.0.1,fd00::1", "orders.test,10.0.0.2")
    await ask("first")
    stop(pid)
    await ask("silent")
    pid = serve("other.test,10.0.0.1")
    await ask("unknown")
    stop(pid)
    pid = serve("orders.test,10.0.0.3")
    await ask("later")
    stop(pid)
    print(json.dumps(found))

asyncio.run(main())
"""


@pytest.mark.serial
def test_a_real_name_server_is_asked_for_all_addresses_and_asked_again(tmp_path):
    dnsmasq = require("dnsmasq")
    for tool in ("unshare", "ip"):
        require(tool)
    alone = ["unshare", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        lack("dnsmasq", "namespaces cannot be made here")
    child = [sys.executable, "-c", CHILD, dnsmasq, str(tmp_path)]
    done = subprocess.run(
        [*alone, "sh", "-c", IN_NAMESPACES, "sh", str(tmp_path), *child],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["first"] == [["10.0.0.1:8946", "10.0.0.2:8946", "[fd00::1]:8946"], ""]
    assert found["silent"][0] == found["unknown"][0] == []
    assert "'orders.test' was not found" in found["silent"][1]
    assert "'orders.test' was not found" in found["unknown"][1]
    assert found["later"] == [["10.0.0.3:8946"], ""]
