"""Commands as processes of a user with directories of their own."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager

import pytest

from tests.cli.command import LOOPBACK, SECRET, Command

NOT_OURS = ("COVEY_SECRET_FILE", "KUBERNETES_SERVICE_HOST", "POD_IP", "NO_COLOR")


@pytest.fixture
def run(tmp_path):
    """Start `covey` with a user's directory of its own; whatever still runs when its block ends is killed."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
    environment |= {"XDG_CONFIG_HOME": str(tmp_path / "config"), "COVEY_RUNTIME_DIR": str(tmp_path / "runtime")}

    @asynccontextmanager
    async def start(*arguments: str):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "covey", *arguments, stdout=PIPE, stderr=PIPE, env=environment
        )
        try:
            yield Command(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    return start


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return str(path)


@pytest.fixture
def node(run, secret_file):
    """Start `covey node orders` and wait until it is up: its command and what it said of itself."""

    @asynccontextmanager
    async def start(*arguments: str, name: str = "", cluster: str = "orders", secret: str = secret_file):
        given = ("--secret-file", secret) if secret else ()
        seed = () if "--seed" in arguments else ("--seed", "127.0.0.1:1")
        listen = () if "--listen" in arguments else LOOPBACK
        named = ("--name", name) if name else ()
        async with run("node", cluster, "--json", *listen, *given, *seed, *named, *arguments) as command:
            yield command, await command.event("started")

    return start


@pytest.fixture
def ask(run, secret_file):
    """Run a command to its end: its status, its lines, and its one line on stderr."""

    async def call(what: str, *arguments: str, cluster: str = "orders", secret: str = secret_file):
        given = ("--secret-file", secret) if secret else ()
        async with run(what, cluster, *given, *arguments) as command:
            status, out, err = await command.ended()
        assert len(err) == (status != 0), err
        assert all(line.startswith("covey: ") for line in err)
        return status, out, "".join(err)

    return call
