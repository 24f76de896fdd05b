"""The hub profile: what must hold of children, and of the calls to them, whatever happens.

Safety, at every node: the fold of `ChildChanged` is its book; what was stopped stays so; of each child a process runs
one copy at most; no copy applies a letter twice, whatever was handed over to it included; two copies apply it only
where one was handed over to the other; what was said not to have been delivered is applied nowhere, ever; of the
copies that one process starts of a child each has a higher token than all before it.
With `Majority` no two processes run a child at one time, and each start has a higher token than all before it.
Liveness: all show the same children, and each runs exactly once, where it belongs; what a node declares is one of them,
unless it failed as it started; of each copy that ended with its lease, or for another one, there was an event. Then
nothing that was acknowledged is lost when a node joins.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from covey.core.errors import DeadlineExceeded, Overloaded, PeerUnreachable, UnknownName, invariant
from covey.core.ids import Site
from covey.core.rng import derive
from covey.engine.gate import Store
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.copies import Phase
from covey.protocols.registry.rows import State
from covey.protocols.registry.strategies.delta import Delta
from covey.protocols.registry.strategies.gossip import Gossip
from covey.protocols.registry.strategies.pubsub import PubSub
from covey.protocols.registry.strategies.strategy import SynchronizationStrategy, described
from covey.sim.hub_children import SimChild, SimChildren
from covey.sim.hub_user import HUB, SECOND_US, HubUser
from covey.sim.node import SimNode
from covey.sim.record_progress import record_pending
from covey.sim.world import World


class HubWorld(World):
    """A world in which every process takes part in one hub, and somebody knows what every child did."""

    def __init__(
        self,
        *arguments: Any,
        voters: tuple[str, ...] = (),
        failing: float = 0.02,
        strategy: SynchronizationStrategy | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.voters = voters
        self.strategy = Delta() if strategy is None else strategy
        self.settings = f"both, {described(self.strategy)}"
        self.resolves = derive(self.seed, "resolves").random() < 0.5  # users make one state of two
        self.resolved = 0  # how often they did
        self.failing = failing  # the share of what children do that goes wrong
        self.chance = derive(self.seed, "children")
        self.users: dict[int, HubUser] = {}  # by process
        self.acknowledged: dict[int, bytes] = {}  # operations, and the children that did them
        self.undelivered: dict[int, None] = {}  # those that were said not to have run
        self.mailboxes: dict[int, set[int]] = {}  # names of those from which an operation was taken
        self.tokens: dict[tuple[bytes, int], int] = {}  # the last: of each process, or with voters of all (-1)
        self.live: dict[bytes, dict[tuple[int, int], SimChild]] = {}  # copies by child: process, number
        self._work = 0
        self.watches.append(self)

    def start_node(self, seeds: tuple[str, ...] = (), *arguments: Any, **options: Any) -> SimNode:
        """Start a process, and give it a user."""
        node = super().start_node(seeds, *arguments, **options)
        user = self.users[node.number] = HubUser(self, node)
        user.open(f"n{node.index}")
        return node

    def meta_of(self, index: int) -> bytes | None:
        """Its name: voters are known by theirs."""
        return msgspec.msgpack.encode((f"n{index}", {}))

    def pause(self, node: SimNode, duration_us: int) -> None:
        """What runs there is excused from running beside others: it cannot know, and may not serve once it can."""
        super().pause(node, duration_us)
        for copies in self.live.values():
            for child in copies.values():
                child.excused = child.excused or child.node is node

    def work(self) -> int:
        """An operation that nobody did before."""
        self._work += 1
        return self._work

    # --- what children do -------------------------------------------------------------------------------------------

    def has_token(self, children: SimChildren, child: SimChild, token: int) -> None:
        """A copy is given a token, as it starts or later."""
        by = (child.copy.id, -1 if self.voters else children.node.number)
        invariant(token > self.tokens.get(by, 0), "each copy has a higher token than all before it")
        self.tokens[by] = token

    def copy_starts(self, children: SimChildren, child: SimChild) -> None:
        """A copy is about to run."""
        id, node = child.copy.id, children.node
        here = [
            other for other in children.copies.values() if other is not child and other.copy.id == id and other.runs
        ]
        invariant(not here, "a process runs one copy of a child at most")
        self.live[id] = {
            (number, copy): other
            for (number, copy), other in self.live.get(id, {}).items()
            if any(one.number == number and one.alive for one in self.nodes)
        }
        if self.voters:
            others = [f"n{other.node.index}" for other in self.live[id].values() if not other.excused]
            invariant(not others, f"with Majority no two copies run at one time, and {id!r} runs on {others}")
        self.live[id][node.number, child.copy.number] = child

    def copy_ends(self, children: SimChildren, child: SimChild) -> None:
        """A copy has ended."""
        self.live.get(child.copy.id, {}).pop((children.node.number, child.copy.number), None)

    def applied(self, children: SimChildren, child: SimChild, work: int) -> None:
        """A copy does what a letter says."""
        invariant(work not in child.done, "a letter is taken once")
        invariant(work not in self.undelivered, "what was said not to have run does not run")
        hosted = children.node.engine.registry.hubs[HUB].hosting.hosted.get(child.copy.id)
        if hosted is not None:
            names = set(hosted.mailbox.names)
            before = self.mailboxes.setdefault(work, names)
            invariant(bool(names & before), "nobody applies a letter again who has nothing of the copy that did")

    def told(self, work: int, outcome: Any, id: bytes) -> None:
        """A caller heard what became of a call."""
        if isinstance(outcome, h.Answer):
            self.acknowledged[work] = id
        elif isinstance(outcome, (PeerUnreachable, UnknownName)):
            ran = [child for copies in self.live.values() for child in copies.values() if work in child.done]
            invariant(not ran, "what was said not to have run did not run")
            self.undelivered[work] = None
        else:
            known = isinstance(outcome, (DeadlineExceeded, Overloaded))  # the one may have run, the other did not
            invariant(known, f"a call has an answer or an error that says whether it ran, not {outcome!r}")

    # --- it looks on at everybody -----------------------------------------------------------------------------------

    def started(self, node: SimNode) -> None:
        """Its user comes when it runs."""

    def observed(self, node: SimNode, machine: str, incoming: Any, effects: Sequence[Any]) -> None:
        """What machines do is their own."""

    def emitted(self, node: SimNode, event: Any) -> None:
        """Tell a user its node's events."""
        if (user := self.users.get(node.number)) is not None:
            user.emitted(event)

    def stored(self, node: SimNode, store: Store) -> None:
        """What is on disks is judged elsewhere."""

    def on_event(self, node: SimNode, event: Any) -> None:
        """Tell it to whoever listens; a process is told nothing before it has a user."""
        if isinstance(event, h.ChildChanged) and node.number not in self.users:
            return
        super().on_event(node, event)


def draw_strategy(rng: Random) -> SynchronizationStrategy:
    """How the rows of a hub travel in this run: half of them leave it to the row machine."""
    interval = rng.choice((1.0, 2.0))
    gossip = Gossip(interval, rng.choice((1, 2, 3)), rng.random() < 0.7)
    return rng.choice((Delta(), Delta(), PubSub(interval), gossip))


def user_of(node: SimNode) -> HubUser:
    """The user of a process."""
    world = node.world
    assert isinstance(world, HubWorld)
    return world.users[node.number]


def check_hubs(world: World) -> None:
    """Safety at any moment."""
    for node in world.alive():
        user_of(node).check()


def hubs_pending(world: World) -> tuple[str, list[Site]] | None:
    """Why not every child runs exactly once, where it belongs, and all show that."""
    nodes = [node for node in world.alive() if not node.engine.membership.solo]
    if not nodes:
        return None
    if (reason := record_pending(world)) is not None:
        return reason
    first: SimNode | None = None
    for node in nodes:
        user, about = user_of(node), [node.site]
        hub = node.engine.registry.hubs.get(HUB)
        if hub is None:
            return f"n{node.index} has no hub open", about
        if not hub.ground.ready:
            return f"n{node.index} does not place yet", about
        if len(hub.book.participants) != len(nodes):
            return f"n{node.index} shows {len(hub.book.participants)} participants, not {len(nodes)}", about
        if user.calls or hub.is_busy:
            return f"n{node.index} waits for {len(user.calls)} calls", about
        if untold := [id for (id, _), events in user.untold.items() if events > 0]:
            return f"n{node.index} heard nothing of the end of a copy of {untold[0]!r}", about
        if user.is_opening:
            return f"n{node.index} waits for what it declares", about
        if missing := [id for id in user.declared if id not in user.shown]:
            return f"n{node.index} declares {missing[0]!r}, which is no child", about
        for id, shown in user.shown.items():
            if len(shown.runs) > 1:
                return f"{id!r} runs {len(shown.runs)} times", [life[0] for life, _ in shown.runs]
        if first is None:
            first = node
        elif user.shown != user_of(first).shown:
            return f"n{node.index} and n{first.index} show other children", [first.site, node.site]
    assert first is not None
    sites = {node.site: node for node in nodes}
    hub = first.engine.registry.hubs[HUB]
    for id, shown in user_of(first).shown.items():
        placed = hub.ground.places.host(id)
        if shown.child is None:
            return f"{id!r} is no child and is shown to run", [life[0] for life, _ in shown.runs]
        if not shown.runs:
            return f"{id!r} runs nowhere", [] if placed is None else [placed]
        (((site, _), running),) = shown.runs
        if site != placed:
            return f"{id!r} does not run where it belongs", [site]
        if running.state not in (State.RUNNING, State.FAILED):
            return f"{id!r} is {running.state.name}", [site]
        host = sites[site]
        copies = [one for one in user_of(host).children.copies.values() if one.copy.id == id and one.runs]
        if running.state is State.RUNNING and len(copies) != 1:
            return f"{len(copies)} copies of {id!r} run on n{host.index}", [site]
        if not all(user_of(host).children.may_run(one) for one in copies):
            return f"{id!r} runs on n{host.index} without a lease", [site]
    for node in nodes:
        for child in user_of(node).children.copies.values():
            if child.runs and child.copy.id not in user_of(first).shown:
                return f"n{node.index} runs {child.copy.id!r}, which is no child", [node.site]
        for id, hosted in node.engine.registry.hubs[HUB].hosting.hosted.items():
            if hosted.phase not in (Phase.RUNNING, Phase.FAILED):
                return f"n{node.index} has {id!r} {hosted.phase.name}", [node.site]
    return None


def finish_hubs(world: World) -> None:
    """In a calm world: what is done to children stays done when they move to a node that joins."""
    assert isinstance(world, HubWorld)
    nodes = [node for node in world.alive() if not node.engine.membership.solo]
    if not nodes:
        return
    world.failing = 0.0
    user = user_of(nodes[0])
    ids = [id for id, shown in user.shown.items() if shown.runs[0][1].state is State.RUNNING]
    before = {id: _ask(world, user, id) for id in ids}
    world.start_node(tuple(node.address for node in nodes[:2]))
    # Who joins may hear of vanished members from the last who has not forgotten them yet, and forgets them in its turn.
    budget_us = world.config.membership.forget_ephemeral_us + 20 * SECOND_US
    settled = world.run_until(lambda: hubs_pending(world) is None, budget_us)
    invariant(settled, f"it settles: {hubs_pending(world)}")
    for id in ids:
        if id in user.shown:
            after = _ask(world, user, id)
            had = before[id]  # None: it had too many unread
            kept = had is None or (after is not None and after > had)
            invariant(kept, f"{id!r} had done {had} and has done {after}: a planned move loses nothing")
    check_hubs(world)


def _ask(world: HubWorld, user: HubUser, id: bytes) -> int | None:
    """How many operations a child has done, this one included."""
    work = user.call(id)
    world.run_until(lambda: not user.waits(work), 10 * SECOND_US)
    return user.counts.pop(work, None)
