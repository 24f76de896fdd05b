"""What a hub is given: children to start, and what is to happen when the network splits."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeAlias, get_args

from covey.core.errors import ConfigError, UsageError
from covey.protocols.claims.electorate import SEATS
from covey.protocols.registry.rows import Restart, Spec
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.pubsub import check_interval
from covey.protocols.registry.strategies.strategy import FUNCTIONS, SynchronizationStrategy, described
from covey.protocols.registry.vocabulary import NewChild
from covey.runtime.children import Context, Start, encode_arguments, name_of
from covey.wire.keys import Key, encode_key
from covey.wire.payloads import encode_payload

P = ParamSpec("P")


class HasRun(Protocol):
    """What a class makes that can be a child."""

    def run(self) -> Awaitable[object]:
        """It runs until it is done."""
        ...


Result: TypeAlias = Awaitable[object] | HasRun

Runs: TypeAlias = Callable[..., Result] | Start[...]
"""What can be a child: a coroutine function, or a class with a coroutine method `run`; both get a `Context` first.

Or `covey.process(…)` of it.
"""

RunsWith: TypeAlias = Callable[Concatenate[Context, P], Result] | Start[P]
"""The same, of something that gets these arguments behind its `Context`."""

RunsById: TypeAlias = Callable[[Context, Any], Result] | Start[[Any]]
"""The same, of something that gets the id of its child behind its `Context`."""

RestartPolicy: TypeAlias = Literal["permanent", "transient", "temporary"]

SHUTDOWN_TIMEOUT = 5.0  # seconds a child has to end before it is cancelled. Guess
SECONDS_MAX = 86_400
META_BYTES_MAX = 16_384  # of one child: every node of the hub keeps it. Guess
SETTINGS_MAX = 1_000  # characters of how a strategy is written. Guess


class Majority:
    """Never two copies of a child at one time: a start needs the agreement of most of these nodes, named by `voters`.

    Three or five names of nodes (`Node(name=…)`) that keep a storage; the same on every node. The smaller side of a
    split stops its children; a child that outlives its right to run takes its process with it.
    """

    __slots__ = ("voters",)

    def __init__(self, voters: Iterable[str]) -> None:
        """Raises `ConfigError` for names that cannot be a majority's."""
        if isinstance(voters, str):
            raise ConfigError(f"voters: must be a list of names, not the str {voters!r}; write [{voters!r}, …]")
        if not isinstance(voters, Iterable):
            raise ConfigError(f"voters: must be a list of names, not {voters!r:.60}; write ['a', 'b', 'c']")
        names = tuple(voters)
        wrong = next((name for name in names if not isinstance(name, str) or not name), None)
        if wrong is not None:
            raise ConfigError(f"voters: must be the names of nodes, and {wrong!r} is none")
        if len(set(names)) != len(names):
            raise ConfigError(f"voters: {', '.join(names)} has a name twice; each node votes once")
        if len(names) not in SEATS:
            raise ConfigError(
                f"voters: there are {len(names)}; name three nodes, or five: an even number survives no more failures "
                "than the odd one below it, and with one nothing runs while it is away"
            )
        self.voters = names

    def __repr__(self) -> str:
        return f"Majority({list(self.voters)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Majority) and sorted(self.voters) == sorted(other.voters)

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.voters)))


OnSplit: TypeAlias = Literal["both"] | Majority
OnFailure: TypeAlias = Literal["continue", "rollback"]
Wait: TypeAlias = Literal["started", "visible_everywhere"]
Scope: TypeAlias = Literal["global", "local"]


def check_on_split(on_split: object) -> OnSplit:
    """What was chosen. Raises `ConfigError`, with what there is to choose."""
    if on_split == "both" or isinstance(on_split, Majority):
        return on_split
    raise ConfigError(
        f"on_split: must be chosen, and {on_split!r} is no choice. 'both': while the network is split each side runs a "
        "copy of every child, and afterwards one of them ends; covey.Majority(['a', 'b', 'c']): never two copies, and "
        "the smaller side stops"
    )


class ChildSpec(Generic[P]):
    """One child: its id, what to start, and the arguments that this gets behind its `Context`.

    `ChildSpec("device-7", poll, "10.0.0.7")` starts `poll(ctx, "10.0.0.7")` on one of the nodes. Whatever concerns how
    it is run, and not what, is said with `with_options`. Arguments travel as payloads do: tuples and sets arrive as
    lists, dataclasses and msgspec structs as dicts.
    """

    __slots__ = ("_named", "_options", "_positional", "id", "start")

    def __init__(
        self,
        id: Key,
        start: RunsWith[P],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        self.id = id
        self.start = start
        self._positional: tuple[Any, ...] = args
        self._named: dict[str, Any] = dict(kwargs)
        self._options: dict[str, Any] = {}

    def with_options(
        self,
        *,
        restart: RestartPolicy | None = None,
        shutdown_timeout: float | None = None,
        idle_timeout: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        tag: Any = None,
    ) -> ChildSpec[P]:
        """The same child, run otherwise.

        `restart`: "transient" (default) starts it again when it raises, "permanent" also when it returns, "temporary"
        never. `shutdown_timeout`: seconds it has to end (5). `idle_timeout`: seconds without a letter after which it is
        ended, and is no child any more (never). `metadata` is what `find` looks for; `tag` is metadata of that name.

        Raises `ConfigError`, and `UsageError` for metadata that is no dict with str keys.
        """
        given = {
            "restart": restart, "shutdown_timeout": shutdown_timeout, "idle_timeout": idle_timeout,
            "metadata": metadata, "tag": tag,
        }  # fmt: skip
        if restart is not None and restart not in get_args(RestartPolicy):
            raise ConfigError(f"restart: must be one of {', '.join(get_args(RestartPolicy))}, not {restart!r}")
        for name, seconds in (("shutdown_timeout", shutdown_timeout), ("idle_timeout", idle_timeout)):
            if seconds is not None:
                _microseconds(name, seconds, 0)
        if metadata is not None:
            check_metadata(metadata)
        other: ChildSpec[P] = ChildSpec.__new__(ChildSpec)
        other.id, other.start = self.id, self.start
        other._positional, other._named = self._positional, self._named
        other._options = self._options | {name: value for name, value in given.items() if value is not None}
        return other

    def __repr__(self) -> str:
        return f"ChildSpec({self.id!r}, {getattr(self.start, '__qualname__', self.start)})"


def process(start: Callable[Concatenate[Context, P], Result]) -> Start[P]:
    """A child that burns CPU: pass `covey.process(crunch)` to `children=`, and it runs in a process of its own.

    `singleton` takes it as well. In a `ChildSpec` and in `call(start=…)` it is the same as `crunch`: how a child runs
    is up to its host, and what that says in its `children=`.

    There `ctx.hub` raises `UsageError`: the handle is in the other process.
    """
    return Start(start, "process")


def starts_of(children: Iterable[Runs]) -> dict[str, Start[...]]:
    """What a node can start, by name. Raises `ConfigError` for what cannot be started."""
    if callable(children) or isinstance(children, (Start, str)) or not isinstance(children, Iterable):
        raise ConfigError("children: must be a list of what this node can start; write [session]")
    starts: dict[str, Start[...]] = {}
    for child in children:
        start = child if isinstance(child, Start) else Start(child)
        try:
            starts[name_of(start.call)] = start
        except UsageError as error:
            raise ConfigError(f"children: {error}") from None
    return starts


def new_child(spec: ChildSpec[Any], defaults: Mapping[str, Any] | None = None) -> NewChild:
    """A child as the machine starts it. Raises `UsageError` for what cannot be sent, `ConfigError` for options."""
    if not isinstance(spec, ChildSpec):
        raise UsageError(f"a child to start is a ChildSpec, not {spec!r:.80}; nothing was started")
    options = spec._options
    metadata = {**(defaults or {}), **options.get("metadata", {})}
    if (tag := options.get("tag")) is not None:
        metadata["tag"] = tag
    return NewChild(
        encode_key(spec.id),
        Spec(
            _name(spec.start),
            encode_arguments(spec._positional, spec._named),
            Restart[options.get("restart", "transient").upper()],
            _microseconds("shutdown_timeout", options.get("shutdown_timeout", SHUTDOWN_TIMEOUT), 0),
            _microseconds("idle_timeout", options.get("idle_timeout", 0), 0),
        ),
        encode_metadata(metadata),
    )


@functools.lru_cache(maxsize=1_024)
def _name(start: Runs) -> str:
    """The name of what is started: the same function ten thousand times, as a rule."""
    return name_of(start.call if isinstance(start, Start) else start)


def check_metadata(metadata: object) -> None:
    """It is a dict with str keys. Raises `UsageError`."""
    if not isinstance(metadata, Mapping) or not all(isinstance(name, str) for name in metadata):
        raise UsageError(f"metadata: must be a dict whose keys are str, not {metadata!r:.80}; nothing was changed")


def encode_metadata(metadata: Mapping[str, Any]) -> bytes:
    """What is said of a child: a dict with str keys. Raises `UsageError`, or `ValueTooLarge` above 16 kB."""
    check_metadata(metadata)
    return encode_payload(dict(metadata), "metadata", META_BYTES_MAX, "nothing was changed", "say less")


def encode_value(value: Any) -> bytes:
    """A value of metadata, as the index has it."""
    return encode_payload(value, "value", META_BYTES_MAX, "nothing was looked for", "ask for less")


def settings_of(on_split: OnSplit, resolves: bool, synchronization: SynchronizationStrategy) -> str:
    """What all nodes of a hub must have alike, in words."""
    split = "both" if on_split == "both" else f"majority of {', '.join(sorted(on_split.voters))}"
    return f"on_split={split}; resolve={'yes' if resolves else 'no'}; synchronization={described(synchronization)}"


def check_synchronization(strategy: Any) -> SynchronizationStrategy:
    """When and to whom the rows of a hub travel. Raises `ConfigError` for what cannot say that."""
    if isinstance(strategy, type):
        raise ConfigError(f"synchronization: must be a strategy, not a class of them; write {strategy.__name__}()")
    missing = [name for name in FUNCTIONS if not callable(getattr(strategy, name, None))]
    if missing:
        raise ConfigError(
            f"synchronization: {strategy!r:.60} has no {', '.join(missing)}; use covey.Delta(), covey.PubSub(), "
            "covey.Gossip(), or something with all six functions of covey.classic.SynchronizationStrategy"
        )
    interval = getattr(strategy, "sync_interval", None)
    if interval is not None:
        check_interval(interval)
    elif not isinstance(strategy, Delta):
        raise ConfigError(f"synchronization: {strategy!r:.60} has no sync_interval, in seconds")
    if len(described(strategy)) > SETTINGS_MAX:
        raise ConfigError(f"synchronization: its repr has more than {SETTINGS_MAX} characters: {strategy!r:.60}")
    return strategy  # type: ignore[no-any-return]


def _microseconds(name: str, seconds: Any, least: float) -> int:
    if type(seconds) not in (int, float) or not least <= seconds <= SECONDS_MAX:
        raise ConfigError(f"{name}: must be seconds from {least:g} to {SECONDS_MAX}, not {seconds!r}")
    return int(seconds * 1e6)


def timeout_us(seconds: Any) -> int:
    """A deadline in microseconds. Raises `UsageError`."""
    if type(seconds) not in (int, float) or not 0 <= seconds <= SECONDS_MAX:
        raise UsageError(f"timeout must be seconds from 0 to {SECONDS_MAX}, not {seconds!r}; nothing was done")
    return int(seconds * 1e6)
