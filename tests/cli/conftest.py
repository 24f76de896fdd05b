"""Commands as processes of a user with directories of their own."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager

import pytest

from tests.cli.command import SECRET, Command

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
