"""classy's membership functions (emqx/classy, June 2026), by their names, over a running node.

classy has one server for each pair of a cluster and a site; a node serves one pair at a time, the cluster it is in and
its own site. So the pair is implied; where it is given it is checked, and any other pair is what an absent server is
to classy: reads answer with nothing, everything else raises `UnknownName`. Reads are classy's direct table reads: they
work on a closed node too, may show what is not durable yet, and never wait.

Three things differ throughout. `clock` is a hybrid logical clock, so a later command wins also across a split, and
import numbers are counted apart from it. A site that was thrown out is never wholly forgotten: that it is out stays, so
whoever returns after years is told. And members compare digests before they send operations, so nothing here has to be
called for the cluster to even out.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

from covey.api.node import Node
from covey.classic.values import Dump, checked_message, dump_of
from covey.core.errors import ClosedError, CoveyError, UnknownName, UsageError
from covey.core.ids import ClusterId, Site, short
from covey.protocols.membership import vocabulary as commands
from covey.protocols.membership.machine import Membership as Machine
from covey.protocols.membership.record import HOST, decode_address, stamp
from covey.protocols.membership.vocabulary import Outcome, SyncMessage

log = logging.getLogger(__name__)

ANSWER_SECONDS_MAX = 5.0  # classy's gen_server calls
IMPORT_MAX = 2**53


class Membership:
    """classy's membership functions for one node. Law: nothing is kept here; what it says is what the node holds.

    Raises `ClosedError` where the node has to run and does not, and whatever `Node` raises for a call from another
    thread or after a fork.
    """

    def __init__(self, node: Node) -> None:
        if not isinstance(node, Node):
            raise UsageError(f"Membership needs a covey.Node, not {type(node).__name__}")
        self.node = node

    # --- the pair ---------------------------------------------------------------------------------------------------

    @property
    def cluster(self) -> ClusterId:
        """The id of the cluster this node is in: the shared one, or one of its own while it is out."""
        return self._needed().cluster

    @property
    def local(self) -> Site:
        """The local site."""
        return self.node.site

    def _machine(self) -> Machine | None:
        """What the node holds; None before it was started."""
        node = self.node
        node._check_fork()
        if node._runner is None or node._engine is None:
            return None
        node._runner.check_thread()
        return node._engine.membership

    def _needed(self) -> Machine:
        machine = self._machine()
        if machine is None:
            raise ClosedError("the node was not started, so it is in no cluster yet; use it inside `async with`")
        return machine

    def _served(self, cluster: ClusterId | None, local: Site | None) -> Machine | None:
        """What is held for a pair; None for one that is not ours."""
        machine = self._machine()
        if machine is None or cluster not in (None, machine.cluster) or local not in (None, machine.me.site):
            return None
        return machine

    def _serve(self, cluster: ClusterId | None, local: Site | None) -> None:
        """Raise where classy finds no server."""
        self.node._live(closing=False)
        if self._served(cluster, local) is None:
            asked = ", ".join(value.hex() if isinstance(value, bytes) else repr(value) for value in (cluster, local))
            ours = f"{self.cluster.hex()}, {self.local.hex()}"
            raise UnknownName(f"this node does not serve ({asked}) but ({ours}); nothing was changed")

    # --- who belongs ------------------------------------------------------------------------------------------------

    async def set_member(
        self, target: Site, member: bool = True, *, cluster: ClusterId | None = None, local: Site | None = None
    ) -> int:
        """Write that `target` belongs, or does not. Always wins here; returns its clock.

        classy: a local operation at clock + 1, `ok` at once, durable with the next flush. Ours is durable when this
        returns, and its clock is later than all that is known of `target`, so it wins at everybody who knows no more.

        The target is not checked, as in classy: a site that never existed becomes a member everywhere. It has no
        address, so nothing is ever sent to it and its `Member.reachable` is False; `Node.kick` removes it, and leaves
        the trace that every thrown-out site leaves. `Node` has no such call: who is there joins by itself. False for
        the local site is leaving: it returns when a member has taken it, or nobody in 2 s.

        Raises `UnknownName` for another pair (classy: `{error, {exit, {noproc, _}}}`), `UsageError` for what is no site
        or no bool.
        """
        self._serve(cluster, local)
        self.node._check_site(target)
        if type(member) is not bool:
            raise UsageError(f"member must be True or False, not {member!r}; nothing was changed")
        clock: int = await self._ask(lambda request: commands.SetMember(request, target, member))
        return clock

    def members(self, *, cluster: ClusterId | None = None, local: Site | None = None) -> list[Site]:
        """The sites that belong, in order. Empty for another pair, and before the start; works after the end.

        As classy's. Where the local site itself is missing do not trust the answer: it is about to leave.
        """
        machine = self._served(cluster, local)
        return machine.members() if machine is not None else []

    def known_clusters(self, site: Site | None = None) -> dict[ClusterId, list[Site]]:
        """For each cluster that the local site `site` has a record of: every site recorded there, thrown-out ones and
        itself included.

        Empty for a site that does not live here. classy keeps the records of former clusters; we keep one, that of the
        cluster we are in: whoever still has to hear of a leave asks, and is told on the link it asks by.
        """
        machine = self._served(None, site)
        return {machine.cluster: machine.record.sites()} if machine is not None else {}

    def list_local_sites(self, which: Literal["running", "all"] = "all") -> list[tuple[ClusterId, Site]]:
        """The pairs of this node: with a `running` server, or `all` that ever had a clock and are still remembered.

        As classy's: a wiped cluster still appears. Ours has one clock for all clusters, and remembers two of them, the
        shared one and, while it is out of that, its own.
        """
        if which not in ("running", "all"):
            raise UsageError(f"list_local_sites takes 'running' or 'all', not {which!r}")
        machine = self._machine()
        if machine is None:
            return []
        current = (machine.cluster, machine.me.site)
        if which == "running":
            runner = self.node._runner
            return [current] if self.node._state == "open" and runner is not None and runner.dead is None else []
        shared = (self.node._options.cluster_id, machine.me.site)
        return [shared] if shared == current else [shared, current]

    def node_of_site(self, site: Site, *, cluster: ClusterId | None = None, local: Site | None = None) -> str | None:
        """The address on record for `site`, thrown-out ones included, until it is forgotten; None where there is none.

        As classy's. None for another pair too.
        """
        machine = self._served(cluster, local)
        return (machine.record.address(site) or None) if machine is not None else None

    def site_of_node(self, node: str, *, cluster: ClusterId | None = None, local: Site | None = None) -> Site | None:
        """The site on record at the address `node`, thrown-out ones included; None where there is none.

        If two sites used one address (a machine that was set up anew), classy keeps an arbitrary one, so a kick by
        address may hit the wrong one. Here a member goes before one that is out, and then who said so last.
        """
        machine = self._served(cluster, local)
        if machine is None:
            return None
        record = machine.record
        there = [
            entry.op for entry in record.entries() if entry.op.kind == HOST and decode_address(entry.op.value) == node
        ]
        return max(there, key=lambda op: (record.is_member(op.target), stamp(op))).target if there else None

    # --- syncs as values --------------------------------------------------------------------------------------------

    async def get_data(
        self, since: int = 0, acked: int = 0, *, cluster: ClusterId | None = None, local: Site | None = None
    ) -> SyncMessage:
        """One sync message: all operations imported here from `since` on, inclusive; `0, 0` is everything.

        `acked`: what was taken of the receiver's imports; both numbers stand in `dump`. As in classy nothing is in it
        that is not durable. Raises `UnknownName` for another pair (classy: `{error, not_in_cluster}`), and
        `DeadlineExceeded` after 5 s (classy exits the caller). Ours holds 16,384 operations at most, the oldest first;
        then `sync.imports` is where to go on.
        """
        self._serve(cluster, local)
        for name, number in (("since", since), ("acked", acked)):
            if type(number) is not int or not 0 <= number <= IMPORT_MAX:
                raise UsageError(f"{name} must be an int of at least 0, not {number!r:.40}")
        message: SyncMessage = await self._ask(lambda request: commands.GetData(request, since, acked))
        return message

    async def call_sync(self, message: SyncMessage) -> bool:
        """Take a sync message that came by any means, and wait until what it brought is durable.

        True: it was taken. False: a gap, something before `since` is missing here; the operations are dropped and the
        acknowledgement counts, so that the sender goes back. It is not answered: hand over `get_data`.

        classy checks neither the cluster nor the sender, so anybody who can call may write. Here nothing is taken, and
        it raises `ClusterMismatch` for a message of another cluster, and `PeerError` for one of a site that does not
        belong and does not say so itself with a later stamp, of an earlier life, or of ourselves; `UsageError` for what
        is no message.
        """
        self.node._live(closing=False)
        checked = checked_message(message)
        taken: bool = await self._ask(lambda request: commands.ReceiveSync(request, checked))
        return taken

    def cast_sync(self, message: SyncMessage) -> None:
        """Take a sync message, and do not wait. What `call_sync` would refuse is dropped, counted and logged.

        As in classy it vanishes where nobody serves it: on a node that is not open.
        """
        checked = checked_message(message)
        machine = self._machine()
        try:
            if machine is None:
                raise ClosedError("the node was not started")
            runner = self.node._live(closing=False)
            request, outcome = runner.request()
            outcome.add_done_callback(_log_refusal(checked))
            runner.feed(commands.ReceiveSync(request, checked))
        except ClosedError as error:
            log.warning("event=sync_dropped sender=%s reason=%r", short(checked.sender), str(error))

    # --- the disk ---------------------------------------------------------------------------------------------------

    async def flush(self, *, cluster: ClusterId | None = None, local: Site | None = None) -> Outcome:
        """Tell all members now what they lack. Returns who has taken it within 2 s, and who has not.

        classy: persist, send to all peers, persist, run the hooks; its `ok` means sent, and the peers include those
        thrown out, which is how they learn of it. Here everything is persisted before it is sent anyway, and who was
        thrown out is told when it speaks. Raises `UnknownName` for another pair (classy exits the caller).
        """
        self._serve(cluster, local)
        return await self.node.flush()

    async def cleanup(
        self, forget_after_seconds: float, *, cluster: ClusterId | None = None, local: Site | None = None
    ) -> list[Site]:
        """Forget now who was thrown out longer ago than this, and return who that was. 0 works.

        classy: `mem=false` is older than that by the origin's clock, and everybody not long gone himself has
        acknowledged all that is known of it; then every trace goes. Ours counts on its own clock since it heard, asks
        of every durable member whether it has shown that it knows of all kicks, and forgets the address and metadata;
        that the site is out stays for ever, because a site that was forgotten wholly and returns is met by silence. Of
        an ephemeral site everything goes. The local site is never forgotten.

        One member that is down blocks this for all, as in classy. Raises `UnknownName` for another pair (classy exits
        the caller), `UsageError` for what is no time.
        """
        self._serve(cluster, local)
        if type(forget_after_seconds) not in (int, float) or not 0 <= forget_after_seconds < 1e9:
            raise UsageError(
                f"forget_after_seconds must be 0 or more, not {forget_after_seconds!r}; nothing was changed"
            )
        window_us = round(forget_after_seconds * 1e6)
        forgotten: tuple[Site, ...] = await self._ask(lambda request: commands.Cleanup(request, window_us))
        return list(forgotten)

    async def wipe(self, *, cluster: ClusterId | None = None, local: Site | None = None) -> None:
        """Delete all records and acknowledgements of this pair, and begin again in place. Durable when it returns.

        The clock stays, or a stamp could be given out twice. As in newer classy the site is then alone in its record
        until others tell it the rest, which in a connected cluster is at once; its metadata it says again. Raises
        `UnknownName` for another pair, `UsageError` while the site is leaving.
        """
        self._serve(cluster, local)
        await self._ask(commands.Wipe)

    def dump(self) -> dict[tuple[ClusterId, Site], Dump]:
        """Everything that is held, by pair. For people; works after the end, and is empty before the start."""
        machine = self._machine()
        if machine is None:
            return {}
        return {(machine.cluster, machine.me.site): dump_of(machine)}

    async def _ask(self, command: Any) -> Any:
        return await self.node._ask(command, ANSWER_SECONDS_MAX)


def _log_refusal(message: SyncMessage) -> Any:
    def look(outcome: asyncio.Future[Any]) -> None:
        error = None if outcome.cancelled() else outcome.exception()
        if isinstance(error, CoveyError):
            log.warning("event=sync_dropped sender=%s reason=%r", short(message.sender), str(error))

    return look
