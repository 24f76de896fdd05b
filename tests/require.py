"""Things outside Python that some tests need: without them a test skips, unless `COVEY_REQUIRE` promises them here.

`COVEY_REQUIRE` holds names with spaces or commas between them; what it names is really run, or the test fails.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(name: str) -> str:
    """The path of the program `name`, where Debian keeps those of administrators too; else skips or fails."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    return found or lack(name, f"{name} is not installed")


def lack(name: str, reason: str) -> NoReturn:
    """Skip the test that needs `name`, or fail it where this machine promises it."""
    if name in os.environ.get("COVEY_REQUIRE", "").replace(",", " ").split():
        pytest.fail(f"COVEY_REQUIRE promises {name}, but {reason}")
    pytest.skip(reason)
