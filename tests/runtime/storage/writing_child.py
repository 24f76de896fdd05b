"""A process that stores as fast as it can and prints each position that is reported durable, until it is killed."""

from __future__ import annotations

import asyncio
import os
import sys

from covey.core.ids import Site
from covey.core.vocabulary import Record
from covey.engine.gate import Store
from covey.runtime.storage import SqliteStorage

KEYS = 50
WINDOW = 40  # stores that are not reported yet


def records(position):
    """One key set and another removed, by each store."""
    return (Record(b"%d" % (position % KEYS), b"%d" % position), Record(b"%d" % (position * 7 % KEYS), None))


def state(position):
    """What the stores up to a position leave behind."""
    entries: dict[bytes, bytes] = {}
    for each in range(1, position + 1):
        for record in records(each):
            if record.value is None:
                entries.pop(record.key, None)
            else:
                entries[record.key] = record.value
    return entries


async def main(path):
    storage = SqliteStorage(path)
    stored = await storage.open()
    incarnation = stored.incarnation + 1
    await storage.begin_life(Site(b"site-of-16-bytes"), incarnation)
    print(f"life {incarnation}", flush=True)
    log, position = f"life {incarnation}", 0

    def hear(fact):
        nonlocal position
        os.write(1, b"%d\n" % fact.position)
        while position < fact.position + WINDOW:
            position += 1
            storage.store(Store(log, position, records(position)))

    storage.sink = hear
    position = 1
    storage.store(Store(log, 1, records(1)))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
