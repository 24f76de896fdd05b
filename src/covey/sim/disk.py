"""A simulated disk: what was told durable stays, everything else may be lost or torn by a crash."""

from __future__ import annotations

from random import Random

from covey.engine.gate import Store


class Disk:
    """One node's logs.

    Law: `durable(log)` is a prefix of what was stored and contains every position that was reported `Persisted`.
    A crash keeps an arbitrary further prefix of what was queued: the last record kept may be torn, and a torn record is
    recognised and dropped when the log is read (the real storage does it by checksums and transactions).
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._durable: dict[str, list[bytes]] = {}
        self._queued: list[Store] = []

    def write(self, store: Store) -> None:
        """Queue a store; nothing is durable yet. One that is queued again replaces nothing: positions tell."""
        self._queued.append(store)

    def sync(self) -> list[Store]:
        """One transaction over all that is queued; returns it for the `Persisted` facts."""
        done, self._queued = self._queued, []
        for store in done:
            self._append(store)
        return done

    def fail(self) -> list[Store]:
        """The transaction failed: nothing of it is durable."""
        done, self._queued = self._queued, []
        return done

    def crash(self) -> None:
        """Power is gone: of what was queued a random prefix survives, whole records only."""
        kept = self._rng.randint(0, len(self._queued))
        for store in self._queued[:kept]:
            self._append(store)
        if kept < len(self._queued):
            torn = self._queued[kept]
            self._append(Store(torn.log, torn.position, torn.records[: self._rng.randint(0, len(torn.records))]))
        self._queued = []

    def durable(self, log: str) -> list[bytes]:
        """What a restart finds of a log."""
        return list(self._durable.get(log, ()))

    def _append(self, store: Store) -> None:
        self._durable.setdefault(store.log, []).extend(store.records)
