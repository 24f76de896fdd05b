"""The options of a hub, checked before it is opened. Every error names the option and the fix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from covey.api.hub_allowed import Allowed, check_modules
from covey.api.hub_node import Hubs, WantedHub
from covey.api.hub_specs import (
    ChildSpec,
    Majority,
    check_on_split,
    check_synchronization,
    new_child,
    settings_of,
    starts_of,
)
from covey.api.hubs import Hub
from covey.api.members import decode_meta
from covey.api.options import Options
from covey.core.errors import ConfigError, UsageError
from covey.protocols.registry.placement import WEIGHT_MAX, can_run
from covey.protocols.registry.rows import PREFIX
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.strategy import SynchronizationStrategy
from covey.protocols.registry.vocabulary import HubOptions, NewChild
from covey.runtime.children import Resolve
from covey.wire.keys import Key, encode_key

STATIC_MAX = 8_000  # eight bytes of each fit into one row
DELTA = Delta()


class MoreOptions(TypedDict, total=False):
    """The options of a hub that have a default.

    `weight`: how many children this node gets, against that of others (0 to 64; with 0 it only calls them). `zone`:
    where it stands; by default what its `meta` says. `app_version`: of the program, for people. `resolve(id, ours,
    theirs)`: makes one state of what two copies of a child left after a split. `allow`: names of modules: this node
    also runs what is in them, and imports them when a child needs it. `synchronization`: when and to whom rows travel,
    the same on all nodes: `covey.Delta()` (pushed, compared and asked for), `covey.PubSub(…)`, `covey.Gossip(…)`, or
    one of your own.
    """

    weight: int
    zone: str | None
    app_version: str
    resolve: Resolve | None
    allow: Iterable[str]
    synchronization: SynchronizationStrategy


NAMES = ("children", "on_split", "static", *MoreOptions.__annotations__)


def make_hub(hubs: Hubs, node: Options, name: Key, given: Mapping[str, Any]) -> Hub:
    """A handle of the hub `name`, with these options. Raises `ConfigError`."""
    return Hub(hubs, name, PREFIX + encode_key(name), wanted_hub(given, node))


def wanted_hub(given: Mapping[str, Any], node: Options | None) -> WantedHub:
    """A hub as it is to be opened. Raises `ConfigError`.

    Without a `node`, which is still to come: only to learn what is wrong with its options whichever node opens it.
    """
    unknown = next((name for name in given if name not in NAMES), None)
    if unknown is not None:
        raise ConfigError(f"{unknown}: a hub has no such option; those it has are {', '.join(NAMES)}")
    split, static = check_on_split(given.get("on_split")), given.get("static", ())
    weight, app_version, resolve = given.get("weight", 1), given.get("app_version", ""), given.get("resolve")
    strategy = check_synchronization(given.get("synchronization", DELTA))
    if type(weight) is not int or not 0 <= weight <= WEIGHT_MAX:
        raise ConfigError(f"weight: must be an int from 0 to {WEIGHT_MAX}, not {weight!r}")
    if not isinstance(app_version, str) or len(app_version) > 255:
        raise ConfigError(f"app_version: must be a str of at most 255 characters, not {app_version!r:.60}")
    if resolve is not None and not callable(resolve):
        raise ConfigError(f"resolve: must be a function of (id, ours, theirs), not {resolve!r:.60}")
    starts = Allowed(starts_of(given.get("children", ())), check_modules(given.get("allow", ())))
    voters = tuple(sorted(split.voters)) if isinstance(split, Majority) else ()
    declared = _declared(static, starts)
    name, zone = _said_by(node, voters, given.get("zone"))
    settings = settings_of(split, resolve is not None, strategy)
    options = HubOptions(
        name, starts.said, settings, voters, resolve is not None, weight, zone, app_version, strategy,
    )  # fmt: skip
    return WantedHub(options, starts, declared, resolve)


def _said_by(node: Options | None, voters: tuple[str, ...], zone: object) -> tuple[str, str]:
    """The name of a node and its zone."""
    if zone is not None and not isinstance(zone, str):
        raise ConfigError(f"zone: must be a str, not {zone!r:.60}")
    if node is None:
        return "", ""
    if node.name in voters and not node.storage.durable:
        raise ConfigError(
            f"on_split: this node, {node.name!r}, is to vote and has no storage; give it one (storage=...), or "
            "name another node in Majority([...])"
        )
    return node.name, (str(decode_meta(node.meta)[1].get("zone", "")) if zone is None else zone)[:255]


def _declared(static: Any, starts: Allowed) -> tuple[NewChild, ...]:
    if isinstance(static, (ChildSpec, str)) or not isinstance(static, Iterable):
        raise ConfigError(f"static: must be a list of ChildSpecs, not {static!r:.60}")
    try:
        declared = tuple(_static(spec, starts) for spec in static)
    except ConfigError:
        raise
    except UsageError as error:
        raise ConfigError(f"static: {error}") from None
    if len(declared) > STATIC_MAX:
        raise ConfigError(f"static: there are {len(declared)}, at most {STATIC_MAX} are allowed; start the rest later")
    if len({one.id for one in declared}) < len(declared):
        raise ConfigError("static: an id is there twice; each child has its own")
    return declared


def _static(spec: ChildSpec[Any], starts: Allowed) -> NewChild:
    new = new_child(spec)
    if not can_run(starts.said, new.spec.start):
        raise ConfigError(f"static: this node does not run {new.spec.start!r}; pass it to children=[...] as well")
    return new
