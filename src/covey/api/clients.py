"""What clients may ask of a node, and how it is carried out.

A client holds the cluster's secret, so it may do what a member may: read everything, and decide who belongs. Every ask
is logged with what the client says of itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from covey.api.dump import dump
from covey.api.group_listing import bytes_of, list_groups, list_members, scopes, text_of
from covey.api.hub_listing import HubDesk
from covey.api.members import Member
from covey.core.errors import ClosedError, CoveyError, Overloaded, UnknownName, UsageError
from covey.core.ids import SITE_BYTES, Site
from covey.core.vocabulary import Channel
from covey.protocols.clients.machine import AnswerClient, ClientAsked
from covey.protocols.membership.vocabulary import Outcome
from covey.wire.codec import HOSTILE

if TYPE_CHECKING:
    from covey.api.node import Node
    from covey.engine.engine import Engine

log = logging.getLogger(__name__)

TASKS_MAX = 64  # guess: asks of clients that have gone meanwhile count too, until they are done
PREFIX_LENGTH_MIN = 4  # of a site in hex: shorter ones are names, or mistakes
CHANGING = frozenset({"kick", "leave", "hub_stop"})

Arguments = Mapping[str, Any]


class Desk:
    """Carries out what is asked of `node`.

    Law: every ask is logged, and answered once, with what was found or a `CoveyError` as text: its class, a colon, its
    message. An error of another kind is our bug: it is logged, and ends nothing but the ask.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._asks: dict[str, Callable[[Arguments], Awaitable[Any]]] = {
            "members": self._members,
            "why": self._why,
            "dump": self._dump,
            "groups": self._groups,
            "group": self._group,
            "kick": self._kick,
            "leave": self._leave,
            **HubDesk(node).asks,
        }

    def on_asked(self, asked: ClientAsked) -> None:
        """Begin to carry out what a client asks."""
        remote = self._engine().links.remote(asked.client, Channel.CLIENT)
        if len(self._tasks) >= TASKS_MAX:
            error = Overloaded(f"{TASKS_MAX} asks are under way here; nothing was done: try again")
            self._refuse(asked, remote, error)
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(asked, remote), name="covey client")
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def aclose(self) -> None:
        """Give up what is under way; the node ends."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, asked: ClientAsked, remote: str) -> None:
        try:
            arguments = _decode(asked.arguments)
            level = logging.WARNING if asked.what in CHANGING else logging.INFO
            log.log(level, "event=client_asked remote=%s by=%r what=%r arguments=%r", remote,
                    str(arguments.get("by", ""))[:100], asked.what, _brief(arguments))  # fmt: skip
            ask = self._asks.get(asked.what)
            if ask is None:
                raise UnknownName(f"this node does not know how to {asked.what!r}; it can {', '.join(self._asks)}")
            body = msgspec.msgpack.encode(await ask(arguments))
        except CoveyError as failure:
            self._refuse(asked, remote, failure)
        except Exception:
            log.exception("event=client_ask_failed what=%r", asked.what)
            bug = CoveyError(f"{asked.what!r} failed because of a bug in covey; see the log of the node")
            self._refuse(asked, remote, bug)
        else:
            self._answer(AnswerClient(asked.client, asked.number, body))

    def _refuse(self, asked: ClientAsked, remote: str, error: CoveyError) -> None:
        log.info("event=client_refused remote=%s what=%r error=%r", remote, asked.what, _text(error))
        self._answer(AnswerClient(asked.client, asked.number, error=_text(error)))

    def _answer(self, answer: AnswerClient) -> None:
        runner = self._node._runner
        assert runner is not None
        try:
            runner.feed(answer)
        except ClosedError:
            pass  # and its connection with it

    # --- what may be asked ------------------------------------------------------------------------------------------

    async def _members(self, arguments: Arguments) -> dict[str, Any]:
        """Who belongs, in which state; with `why` also the story of each."""
        node = self._node
        kicked = node.kicked
        members = [msgspec.structs.asdict(member) for member in node.members()]
        if arguments.get("why"):
            for member in members:
                member["why"] = node.why(member["site"])
        return {
            "cluster": node.cluster,
            "site": node.site,
            "solo": node.alone,
            "kicked": None if kicked is None else {"by": kicked.by, "wall_ms": kicked.wall_ms},
            "members": members,
        }

    async def _why(self, arguments: Arguments) -> dict[str, Any]:
        """The story of what is held of one member: `who`."""
        member = find(self._node.members(), arguments.get("who"))
        return {"site": member.site, "name": member.name, "status": member.status, "why": self._node.why(member.site)}

    async def _dump(self, arguments: Arguments) -> dict[str, Any]:
        """Everything that is held here."""
        return dump(self._engine())

    async def _groups(self, arguments: Arguments) -> dict[str, Any]:
        """A page of the groups of one `scope`, or who else knows them."""
        engine, scope, after = self._engine(), text_of(arguments, "scope"), bytes_of(arguments, "after")
        head = self._of_scope(engine, scope)
        return {**head, **list_groups(engine, scope, after)} if head["known"] else head

    async def _group(self, arguments: Arguments) -> dict[str, Any]:
        """A page of the members of the group `key` of one `scope`, or who else knows them."""
        engine, scope, after = self._engine(), text_of(arguments, "scope"), bytes_of(arguments, "after")
        head = self._of_scope(engine, scope)
        return {**head, **list_members(engine, scope, bytes_of(arguments, "key"), after)} if head["known"] else head

    def _of_scope(self, engine: Engine, scope: str) -> dict[str, Any]:
        """Who answers; whether this node knows the groups of a scope, or at which addresses there is one that does."""
        node, used = self._node, scopes(engine)
        known = node.site in used.get(scope, ())
        members = node.members()
        return {
            "cluster": node.cluster,
            "site": node.site,
            "scope": scope,
            "scopes": sorted(used),
            "known": known,
            "elsewhere": [] if known else [each.address for each in members if each.site in used.get(scope, ())],
            "names": {member.site: member.name for member in members},
        }

    def _engine(self) -> Engine:
        engine = self._node._engine
        assert engine is not None
        return engine

    async def _kick(self, arguments: Arguments) -> dict[str, Any]:
        """Throw out the member `who`. The node that is asked throws others out, not itself: `itself` says so."""
        member = find(self._node.members(), arguments.get("who"))
        if member.site == self._node.site:
            return {"site": member.site, "name": member.name, "itself": True, "acknowledged": (), "missing": ()}
        outcome = await self._node.kick(member.site)
        return {"site": member.site, "name": member.name, "itself": False, **_outcome(outcome)}

    async def _leave(self, arguments: Arguments) -> dict[str, Any]:
        """Leave the cluster and go on alone."""
        return {"site": self._node.site, "name": self._node.name, **_outcome(await self._node.leave())}


def find(members: list[Member], who: object) -> Member:
    """The one member that is called `who`: its name, or the beginning of its site in hex, four digits or more.

    Raises `UnknownName` where there is none, `UsageError` where there are several. Nothing was changed then.
    """
    if not isinstance(who, str) or not who:
        raise UsageError(f"who is meant? give a name or a site, not {who!r:.60}; nothing was changed")
    prefix = who.lower() if PREFIX_LENGTH_MIN <= len(who) <= 2 * SITE_BYTES else "-"
    found = [member for member in members if member.name == who or member.site.hex().startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if not found:
        digits = "" if prefix != "-" else f" (a site takes {PREFIX_LENGTH_MIN} hex digits or more)"
        raise UnknownName(f"no member is called {who!r:.60}, and no site begins so{digits}; nothing was changed")
    listed = ", ".join(f"{member.site.hex()} {member.name!r:.40}" for member in found[:8])
    raise UsageError(f"{who!r:.60} may be {len(found)} members; nothing was changed: give more of the site: {listed}")


def _outcome(outcome: Outcome) -> dict[str, tuple[Site, ...]]:
    return {"acknowledged": outcome.acknowledged, "missing": outcome.missing}


def _decode(encoded: bytes) -> Arguments:
    try:
        arguments = msgspec.msgpack.decode(encoded) if encoded else {}
    except HOSTILE as error:
        raise UsageError(f"the arguments are not msgpack ({error}); nothing was done") from None
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise UsageError("the arguments are no map with text for keys; nothing was done")
    return arguments


def _brief(arguments: Arguments) -> str:
    return ", ".join(f"{key}={value!r:.60}" for key, value in arguments.items() if key != "by")[:200]


def _text(error: CoveyError) -> str:
    """An error as it travels; what cannot be written in UTF-8 is escaped."""
    return f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
