"""Where a node keeps what it must not forget. `SqliteStorage` is imported when it is first asked for.

`import covey` has a time budget, and most nodes of a test or a laptop never open a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from covey.runtime.storage.base import Storage, Stored
from covey.runtime.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from covey.runtime.storage.sqlite import SqliteStorage

__all__ = ["MemoryStorage", "SqliteStorage", "Storage", "Stored"]


def __getattr__(name: str) -> Any:
    if name == "SqliteStorage":
        from covey.runtime.storage.sqlite import SqliteStorage

        return SqliteStorage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
