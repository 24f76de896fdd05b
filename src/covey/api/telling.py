"""From what machines say to what users hear: events, the state they start from, and a log for people."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from covey.api import members as m
from covey.api.events import (
    ClockSkew,
    EventHub,
    LinkBroken,
    LinkMended,
    LinkRefused,
    Message,
    Neighbor,
    NeighborDown,
    NeighborUp,
    ProtocolViolation,
    StorageRecovered,
    StorageTrouble,
)
from covey.api.group_node import Groups
from covey.api.hub_node import Hubs, hub_name
from covey.core import vocabulary as v
from covey.core.errors import DecodeError, SiteConflict
from covey.core.ids import Contact, Site, short
from covey.engine import gate, roster
from covey.protocols.claims import vocabulary as claims
from covey.protocols.clients.machine import ClientAsked
from covey.protocols.detector import vocabulary as detector
from covey.protocols.direct.machine import PayloadsReceived
from covey.protocols.groups import vocabulary as g
from covey.protocols.links import vocabulary as link
from covey.protocols.membership import vocabulary as membership
from covey.protocols.registry import vocabulary as hub
from covey.wire.payloads import decode_payload

log = logging.getLogger(__name__)

NodeEvent = (
    m.MemberEvent
    | m.Kicked
    | m.PartitionSuspected
    | NeighborUp
    | NeighborDown
    | Message
    | LinkRefused
    | LinkBroken
    | LinkMended
    | ProtocolViolation
    | StorageTrouble
    | StorageRecovered
    | ClockSkew
)

HUB_EVENTS = (hub.ChildChanged, hub.ParticipantsChanged, hub.ConfigDiffers, hub.CopyEnded, hub.MoveFailed,
              hub.NobodyRuns, hub.HandoverLost, hub.StrategyFailed, hub.VotersMissing)  # fmt: skip

CLAIMS_ADVICE = {
    claims.VotersDiffer: "it names other voters than this node, so neither counts for the other: name the same ones in "
    "Majority([...]) on all nodes",
    claims.EpochsAhead: "one of both has a wrong date, and until it is set right that voter counts as absent here",
}

# The same facts reach users as changes of the roster.
_TOLD_BY_THE_ROSTER = (membership.MemberJoined, membership.MemberLeft)


class NodeState(msgspec.Struct, frozen=True):
    """What a node knows of others, as of one event.

    All members, itself included, in the order of their sites; and its neighbours, in the order they came up.
    """

    members: tuple[m.Member, ...]
    neighbours: tuple[Neighbor, ...]


class Telling:
    """The events of one node.

    Law: `state()` is the fold of the events published so far. `on_conflict` is called once if the node has to end,
    `on_asked` for what clients ask.
    """

    me: m.Member  # this node, as of the last event; there is none before it has an identity

    def __init__(self, on_conflict: Callable[[SiteConflict], None], on_asked: Callable[[ClientAsked], None]) -> None:
        self.hub: EventHub[NodeState, NodeEvent] = EventHub(self.state)
        self.undecodable = 0
        self.groups: Groups | None = None
        self.hubs: Hubs | None = None
        self._on_conflict = on_conflict
        self._on_asked = on_asked
        self._members: dict[Site, m.Member] = {}
        self._neighbours: dict[Site, Neighbor] = {}

    def state(self) -> NodeState:
        """The state as of the last event."""
        members = sorted((self.me, *self._members.values()), key=lambda member: member.site)
        return NodeState(tuple(members), tuple(self._neighbours.values()))

    def on_event(self, event: Any) -> None:
        """Take one event of a machine, or the error that ended the node."""
        kind = type(event)
        if kind is g.GroupChanged or kind is g.MailReceived:  # before all that is rare
            if self.groups is not None:
                (self.groups.on_changed if kind is g.GroupChanged else self.groups.on_mail)(event)
            return
        if isinstance(event, HUB_EVENTS):
            if self.hubs is not None:
                self.hubs.on_event(event)
            return
        match event:
            case g.LifeEnded():
                if self.groups is not None:
                    self.groups.on_life_ended(event)
            case PayloadsReceived(sender, values):
                self._on_payloads(sender, values)
            case roster.MemberChanged(before, after) if m.same(before, after):
                pass  # only why it is held for what it is
            case roster.MemberChanged():
                self._on_member(m.event_of(event))
            case membership.SelfChanged(contact, meta):
                self._on_self(m.member_of(contact, v.Liveness.ALIVE, meta, self.me.ephemeral))
            case v.NeighborUp(contact):
                neighbor = self._neighbours[contact.site] = neighbor_of(contact)
                log.info("event=neighbour_up site=%s address=%s", short(contact.site), contact.address)
                self.hub.publish(NeighborUp(neighbor))
            case v.NeighborDown(contact, cause):
                del self._neighbours[contact.site]
                log.info("event=neighbour_down site=%s cause=%s", short(contact.site), _word(cause))
                self.hub.publish(NeighborDown(neighbor_of(contact), _word(cause)))
            case link.LinkRefused(address, inbound, cause, detail, by_peer):
                log.warning("event=link_refused address=%s inbound=%s cause=%s by_peer=%s detail=%r",
                            address, inbound, _word(cause), by_peer, detail)  # fmt: skip
                self.hub.publish(LinkRefused(address, inbound, _word(cause), detail, by_peer))
            case v.ProtocolViolation(site, cause, detail):
                log.warning("event=protocol_violation site=%s cause=%s detail=%r", short(site), _word(cause), detail)
                self.hub.publish(ProtocolViolation(site, _word(cause), detail))
            case v.SiteContested(detail):
                self._on_conflict(SiteConflict(f"{detail}; this node ended: give it a storage of its own"))
            case BaseException():
                self.close(event)
            case _:
                self._on_rare(event)

    def close(self, cause: BaseException | None) -> None:
        """The node ends: every stream does, after what it still holds."""
        self.hub.close(cause)
        if self.groups is not None:
            self.groups.close(cause)
        if self.hubs is not None:
            self.hubs.close(cause)

    def _on_rare(self, event: Any) -> None:
        match event:
            case ClientAsked():
                self._on_asked(event)
            case membership.Kicked(by, wall_ms):
                log.warning("event=kicked by=%s", short(by))
                self.hub.publish(m.Kicked(by, wall_ms))
            case roster.PartitionSuspected(silent, others):
                log.warning("event=partition_suspected silent=%d others=%d", len(silent), others)
                self.hub.publish(m.PartitionSuspected(silent, others))
            case detector.LinkBroken(one, other):
                log.warning("event=link_broken one=%s other=%s", short(one), short(other))
                self.hub.publish(LinkBroken(one, other))
            case detector.LinkMended(one, other):
                log.info("event=link_mended one=%s other=%s", short(one), short(other))
                self.hub.publish(LinkMended(one, other))
            case gate.StorageTrouble(_, reason, held):
                log.error("event=storage_trouble reason=%r held=%d", reason, held)
                self.hub.publish(StorageTrouble(reason, held))
            case gate.StorageRecovered():
                log.warning("event=storage_recovered")
                self.hub.publish(StorageRecovered())
            case membership.ClockSkew(site, ahead_ms):
                log.warning("event=clock_skew site=%s ahead_ms=%d", short(site), ahead_ms)
                self.hub.publish(ClockSkew(site, ahead_ms))
            case claims.SeatEmpty() | claims.VotersDiffer() | claims.EpochsAhead():  # there people have to do something
                self._on_claims(event)
            case _ if isinstance(event, _TOLD_BY_THE_ROSTER):
                pass
            case _:
                log.info("event=%s detail=%r", type(event).__name__, event)

    def _on_claims(self, event: claims.SeatEmpty | claims.VotersDiffer | claims.EpochsAhead) -> None:
        hubs = self.hubs
        if isinstance(event, claims.SeatEmpty):
            sites = ",".join(map(short, event.sites))
            log.warning("event=seat_empty name=%r sites=%s reason=%r", event.name, sites, event.why)
            if hubs is not None:
                hubs.on_seat_empty(event)
            return
        known = self._members.get(event.site)
        log.warning("event=%s hub=%s site=%s name=%r reason=%r", _snake(event), hub_name(event.instance),
                    short(event.site), "" if known is None else known.name, CLAIMS_ADVICE[type(event)])  # fmt: skip

    def _on_member(self, event: m.MemberEvent) -> None:
        site = event.member.site
        if isinstance(event, (m.MemberLeft, m.MemberKicked)):
            self._members.pop(site, None)
        else:
            self._members[site] = event.member
        level = logging.DEBUG if isinstance(event, m.MemberUpdated) else logging.INFO
        why = getattr(event, "evidence", "") or getattr(event, "cause", "")
        log.log(level, "event=%s site=%s status=%s why=%r", _snake(event), short(site), event.member.status, why)
        self.hub.publish(event)

    def _on_self(self, me: m.Member) -> None:
        if me != self.me:
            self.me = me
            self.hub.publish(m.MemberUpdated(me))

    def _on_payloads(self, sender: Site, values: tuple[bytes, ...]) -> None:
        if not self.hub:
            return
        for value in values:
            try:
                payload = decode_payload(value)
            except DecodeError as error:
                self.undecodable += 1
                log.warning("event=payload_undecodable sender=%s reason=%r", short(sender), str(error))
            else:
                self.hub.publish(Message(sender, payload))


def neighbor_of(contact: Contact) -> Neighbor:
    """A neighbour as users see it."""
    return Neighbor(contact.site, contact.incarnation, contact.address)


def _word(cause: v.Cause) -> str:
    return cause.name.lower()


def _snake(event: object) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in type(event).__name__).lstrip("_")
