"""The options of a hub, checked before it is opened. Every error names the option and the fix."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from covey.api.hub_allowed import Allowed, check_modules
from covey.api.hub_node import Hubs, WantedHub
from covey.api.hub_specs import (
    ChildSpec,
    Majority,
    Runs,
    check_on_split,
    check_synchronization,
    new_child,
    settings_of,
    starts_of,
)
from covey.api.hubs import Hub
from covey.api.members import decode_meta
from covey.api.options import Options
from covey.core.errors import ConfigError
from covey.protocols.registry.placement import WEIGHT_MAX, can_run
from covey.protocols.registry.rows import PREFIX
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.strategy import SynchronizationStrategy
from covey.protocols.registry.vocabulary import HubOptions, NewChild
from covey.runtime.children import Resolve, Start
from covey.wire.keys import Key, encode_key

STATIC_MAX = 8_000  # eight bytes of each fit into one row
DELTA = Delta()


def make_hub(
    hubs: Hubs,
    node: Options,
    name: Key,
    children: Iterable[Runs | Start],
    on_split: str | Majority | None,
    static: Iterable[ChildSpec[Any]],
    *,
    weight: int = 1,
    zone: str | None = None,
    app_version: str = "",
    resolve: Resolve | None = None,
    allow: Iterable[str] = (),
    synchronization: SynchronizationStrategy = DELTA,
) -> Hub:
    """A handle of the hub `name`.

    `weight`: how many children this node gets, against that of others (0 to 64; with 0 it only calls them). `zone`:
    where it stands; by default what its `meta` says. `app_version`: of the program, for people. `resolve(id, ours,
    theirs)`: makes one state of what two copies of a child left after a split. `allow`: names of modules: this node
    also runs what is in them, and imports them when a child needs it. `synchronization`: when and to whom rows travel,
    the same on all nodes: `covey.Delta()` (pushed, compared and asked for), `covey.PubSub(…)`, `covey.Gossip(…)`, or
    one of your own. Raises `ConfigError`.
    """
    split = check_on_split(on_split)
    strategy = check_synchronization(synchronization)
    if type(weight) is not int or not 0 <= weight <= WEIGHT_MAX:
        raise ConfigError(f"weight: must be an int from 0 to {WEIGHT_MAX}, not {weight!r}")
    if not isinstance(app_version, str) or len(app_version) > 255:
        raise ConfigError(f"app_version: must be a str of at most 255 characters, not {app_version!r:.60}")
    if resolve is not None and not callable(resolve):
        raise ConfigError(f"resolve: must be a function of (id, ours, theirs), not {resolve!r:.60}")
    starts = Allowed(starts_of(children), check_modules(allow))
    voters: tuple[str, ...] = ()
    if isinstance(split, Majority):
        voters = tuple(sorted(split.voters))
        if node.name in voters and not node.storage.durable:
            raise ConfigError(
                f"on_split: this node, {node.name!r}, is to vote and has no storage; give it one (storage=...), or "
                "name another node in Majority([...])"
            )
    if zone is None:
        zone = str(decode_meta(node.meta)[1].get("zone", ""))
    declared = tuple(_static(spec, starts) for spec in static)
    if len(declared) > STATIC_MAX:
        raise ConfigError(f"static: there are {len(declared)}, at most {STATIC_MAX} are allowed; start the rest later")
    if len({one.id for one in declared}) < len(declared):
        raise ConfigError("static: an id is there twice; each child has its own")
    settings = settings_of(split, resolve is not None, strategy)
    options = HubOptions(
        node.name, starts.said, settings, voters, resolve is not None, weight, zone[:255], app_version, strategy,
    )  # fmt: skip
    return Hub(hubs, name, PREFIX + encode_key(name), WantedHub(options, starts, declared, resolve))


def _static(spec: ChildSpec[Any], starts: Allowed) -> NewChild:
    new = new_child(spec)
    if not can_run(starts.said, new.spec.start):
        raise ConfigError(f"static: this node does not run {new.spec.start!r}; pass it to children=[...] as well")
    return new
