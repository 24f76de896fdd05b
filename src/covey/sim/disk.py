"""A simulated disk: what was told durable stays, everything else may be lost or torn by a crash."""

from __future__ import annotations

from random import Random

from covey.engine.gate import Store


class Disk:
    """One node's logs.

    Law: `durable(log)` is what a prefix of the stores leaves behind, and that prefix contains every position that was
    reported `Persisted`. A crash keeps a random further prefix; a torn transaction is dropped whole when the log is
    read (the real storage recognises it by checksums).
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._durable: dict[str, dict[bytes, bytes]] = {}
        self._queued: list[Store] = []

    def write(self, store: Store) -> None:
        """Queue a store; nothing is durable yet. To store the same again is harmless: the last value counts."""
        self._queued.append(store)

    def sync(self) -> list[Store]:
        """One transaction over all that is queued; returns it for the `Persisted` facts."""
        done, self._queued = self._queued, []
        for store in done:
            self._apply(store)
        return done

    def fail(self) -> list[Store]:
        """The transaction failed: nothing of it is durable."""
        done, self._queued = self._queued, []
        return done

    def crash(self) -> None:
        """Power is gone: of what was queued a random prefix survives."""
        for store in self._queued[: self._rng.randint(0, len(self._queued))]:
            self._apply(store)
        self._queued = []

    def is_writing(self, log: str) -> bool:
        """Whether anything of this log is queued."""
        return any(store.log == log for store in self._queued)

    def durable(self, log: str) -> dict[bytes, bytes]:
        """What a restart finds."""
        return dict(self._durable.get(log, {}))

    def _apply(self, store: Store) -> None:
        log = self._durable.setdefault(store.log, {})
        for record in store.records:
            if record.value is None:
                log.pop(record.key, None)
            else:
                log[record.key] = record.value
