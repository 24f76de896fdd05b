"""What the tests of the gate say: words, records to keep, and a disk's refusals."""

from __future__ import annotations

from typing import Any

from covey.core.ids import Site
from covey.core.vocabulary import Emit, Persist, Record, Send
from covey.engine.gate import Gate, GateConfig, PersistFailed, StorageRecovered, StorageTrouble, Store

SITE = Site(bytes(16))
CONFIG = GateConfig(held_max=3, retry_us_min=100, retry_us_max=1_000)


def say(word: str) -> Send:
    return Send(SITE, word)


def entries(*keys: bytes) -> tuple[Record, ...]:
    return tuple(Record(key, b"value of " + key) for key in keys)


def keep(*keys: bytes) -> Persist:
    return Persist("rows", entries(*keys))


def stored(position: int, *keys: bytes, log: str = "rows") -> Store:
    """What the disk is asked for after `keep`."""
    return Store(log, position, entries(*keys))


def failed(position: int, log: str = "rows") -> PersistFailed:
    return PersistFailed(log, position, "no space left on device")


def trouble(held: int, log: str = "rows") -> Emit:
    return Emit(StorageTrouble(log, "no space left on device", held))


def recovered(log: str = "rows") -> Emit:
    return Emit(StorageRecovered(log))


def open_gate(*steps: list[Any]) -> Gate:
    """A gate through which the machine `rows` has said `steps`."""
    gate = Gate(CONFIG)
    for effects in steps:
        gate.admit("rows", effects)
        gate.check()
    return gate
