"""What all tests of storages share. The conformance tests live in the sources: their asserts shall show values too."""

import os
import tempfile
from pathlib import Path

import pytest

pytest.register_assert_rewrite("covey.testing.storage")


@pytest.fixture
def quick_path():
    """A folder in memory where there is one: thousands of small files are copied in it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)
