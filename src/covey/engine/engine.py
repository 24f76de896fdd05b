"""The engine composes the machines of one node and says who hears what. It owns no protocol rule.

::

    bytes ──▶ links ──▶ messages ──▶ overlay, direct, …   (by message type)
      ▲                                   │
      └── links ◀── Send, Multicast ──────┘               (through the gate)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from covey.core import children as child
from covey.core import claims as lease
from covey.core import rows as row
from covey.core import vocabulary as v
from covey.core.ids import Contact
from covey.core.vocabulary import Machine, MessagesReceived
from covey.engine.gate import GateConfig
from covey.engine.roster import Roster
from covey.protocols.broadcast.config import BroadcastConfig
from covey.protocols.broadcast.machine import Broadcast
from covey.protocols.broadcast.vocabulary import Spread
from covey.protocols.claims import vocabulary as claim
from covey.protocols.claims.config import ClaimsConfig
from covey.protocols.claims.host import Host
from covey.protocols.claims.voter import Voter
from covey.protocols.clients.machine import AnswerClient, Clients, ClientsConfig
from covey.protocols.detector import vocabulary as detection
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.machine import Detector
from covey.protocols.direct.machine import Direct, DirectConfig, SendPayloads
from covey.protocols.groups import vocabulary as group
from covey.protocols.groups.config import GroupsConfig
from covey.protocols.groups.machine import Groups
from covey.protocols.links import vocabulary as link
from covey.protocols.links.config import LinksConfig
from covey.protocols.links.handshake import Identity
from covey.protocols.links.machine import Links
from covey.protocols.membership import vocabulary as member
from covey.protocols.membership.config import MembershipConfig
from covey.protocols.membership.machine import Membership
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.machine import Overlay
from covey.protocols.overlay.vocabulary import LeaveOverlay, SeedsResolved
from covey.protocols.registry import vocabulary as hub
from covey.protocols.registry.config import RegistryConfig
from covey.protocols.registry.machine import Registry
from covey.protocols.replication import vocabulary as replicated
from covey.protocols.replication.config import ReplicationConfig
from covey.protocols.replication.machine import Replication
from covey.protocols.replication.shelf import Shelf
from covey.wire.messages import broadcast as broadcast_messages
from covey.wire.messages import claims as claims_messages
from covey.wire.messages import client as client_messages
from covey.wire.messages import detector as detector_messages
from covey.wire.messages import direct as direct_messages
from covey.wire.messages import groups as group_messages
from covey.wire.messages import links as link_messages
from covey.wire.messages import membership as membership_messages
from covey.wire.messages import overlay as overlay_messages
from covey.wire.messages import registry as registry_messages
from covey.wire.messages import rows as rows_messages

Route = tuple[tuple[str, Machine], ...]


class EngineConfig(msgspec.Struct, frozen=True):
    """The configuration of every machine."""

    links: LinksConfig = LinksConfig()
    overlay: OverlayConfig = OverlayConfig()
    broadcast: BroadcastConfig = BroadcastConfig()
    direct: DirectConfig = DirectConfig()
    membership: MembershipConfig = MembershipConfig()
    detector: DetectorConfig = DetectorConfig()
    clients: ClientsConfig = ClientsConfig()
    replication: ReplicationConfig = ReplicationConfig()
    groups: GroupsConfig = GroupsConfig()
    claims: ClaimsConfig = ClaimsConfig()
    registry: RegistryConfig = RegistryConfig()
    gate: GateConfig = GateConfig()


class Engine:
    """The machines of one node.

    Law: every type has its hearers, decided here once; a message goes to the one machine that owns its kind.
    """

    durable_logs = ("membership", "voter", "shelf")  # each the log of the machine of that name
    durable: frozenset[str] = frozenset(durable_logs)

    def __init__(
        self,
        config: EngineConfig,
        identity: Identity,
        address: str,
        rng: Random,
        nonces: Random,
        now_us: int,
        logs: Mapping[str, Mapping[bytes, bytes]] | None = None,
        meta: bytes | None = None,
    ) -> None:
        """`nonces` feeds the handshakes: in the real world it must be the system's own generator.

        `identity.cluster` is the cluster's shared id, its `home`; `logs` is what the storage kept for each durable
        machine; `meta` is what this node says of itself (None: what it said before).
        """
        me = Contact(identity.site, identity.incarnation, address)
        stored = (logs or {}).get("membership", {})
        self.membership = Membership(
            config.membership, rng, now_us, me=me, shared=identity.cluster, stored=stored, meta=meta
        )
        identity = msgspec.structs.replace(identity, cluster=self.membership.cluster)
        self.links = Links(config.links, nonces, now_us, identity=identity, address=address)
        self.overlay = Overlay(config.overlay, rng, now_us, me=me, solo=self.membership.solo)
        self.broadcast = Broadcast(config.broadcast, now_us, me=me)
        self.detector = Detector(config.detector, rng, now_us, me=me)
        kept = None if config.membership.ephemeral else (logs or {}).get("shelf", {})
        self.replication = Replication(config.replication, rng, now_us, me=me, stored=kept)
        self.shelf = Shelf(rng, now_us)
        self.groups = Groups(config.groups, rng, now_us, me=me)
        durable, votes = not config.membership.ephemeral, (logs or {}).get("voter", {})
        self.voter = Voter(config.claims, rng, now_us, me=me, durable=durable, stored=votes)
        self.claims = Host(config.claims, rng, now_us, me=me)
        registry = msgspec.structs.replace(config.registry, stop_grace_us=config.claims.stop_grace_us)
        self.registry = Registry(registry, rng, now_us, me=me, rows=self.replication, claims=self.claims)
        self.direct = Direct(config.direct, identity.site)
        self.clients = Clients(config.clients)
        self.roster = Roster()
        self.machines: dict[str, Machine] = {
            "links": self.links,
            "overlay": self.overlay,
            "broadcast": self.broadcast,
            "membership": self.membership,
            "detector": self.detector,
            "replication": self.replication,
            "shelf": self.shelf,
            "groups": self.groups,
            "voter": self.voter,
            "claims": self.claims,
            "registry": self.registry,
            "direct": self.direct,
            "clients": self.clients,
            "roster": self.roster,
        }
        self._owners: dict[type, tuple[str, Machine]] = {
            **dict.fromkeys(overlay_messages.OverlayMessage.__args__, ("overlay", self.overlay)),
            **dict.fromkeys(broadcast_messages.BroadcastMessage.__args__, ("broadcast", self.broadcast)),
            **dict.fromkeys(membership_messages.MembershipMessage.__args__, ("membership", self.membership)),
            **dict.fromkeys(detector_messages.DetectorMessage.__args__, ("detector", self.detector)),
            **dict.fromkeys(rows_messages.RowsMessage.__args__, ("replication", self.replication)),
            group_messages.Mail: ("groups", self.groups),
            **dict.fromkeys(
                (claims_messages.Claim, claims_messages.Release, claims_messages.Seats), ("voter", self.voter)
            ),
            **dict.fromkeys(claims_messages.Answer.__args__, ("claims", self.claims)),
            **dict.fromkeys(registry_messages.RegistryMessage.__args__, ("registry", self.registry)),
            direct_messages.Payload: ("direct", self.direct),
            **dict.fromkeys(client_messages.ClientMessage.__args__, ("clients", self.clients)),
            **dict.fromkeys(link_messages.LinkMessage.__args__, ("links", self.links)),
        }
        self.routes: dict[type, Route] = self._build_routes()

    def _build_routes(self) -> dict[type, Route]:
        links, overlay, direct = self._named("links"), self._named("overlay"), self._named("direct")
        membership, detector, roster = self._named("membership"), self._named("detector"), self._named("roster")
        clients, rows, groups = self._named("clients"), self._named("replication"), self._named("groups")
        broadcast = self._named("broadcast")
        voter, claims, hubs = self._named("voter"), self._named("claims"), self._named("registry")
        by_hearers: dict[Route, tuple[type, ...]] = {
            (links,): (
                link.BytesReceived, link.ConnectionAccepted, link.ConnectionClosed, link.ConnectionFailed,
                link.ConnectionOpened, link.StrangerFailed, link.ConnectionPaused, link.ConnectionResumed,
                link.CloseLinks, v.Send, v.SendMany, v.Multicast, v.Dial, v.Disconnect, v.Pin, v.Unpin,
            ),
            (overlay,): (SeedsResolved, LeaveOverlay, v.Flood),
            (broadcast,): (Spread, v.NeighborUp, v.NeighborDown),
            (direct,): (SendPayloads, v.SendData),
            (direct, hubs): (v.Abandon,),
            (direct, clients, broadcast): (v.PeerCongested, v.PeerDrained),
            (clients,): (AnswerClient,),
            (groups,): (
                group.SendMail, group.SendLetters, group.JoinGroup, group.LeaveGroup, group.UpdateMeta, group.HoldScope,
                group.OpenMailbox, group.CloseMailbox,
            ),
            (groups, hubs): (row.RowsChanged,),
            (hubs,): (
                hub.OpenHub, hub.CloseHub, hub.StartChildren, hub.StopChildren, hub.CallChild, hub.UpdateChild,
                hub.Synchronize,
                child.ChildPrepared, child.ChildStarted, child.ChildReceives, child.ChildReplied, child.HandoverGiven,
                child.ChildStuck, child.ChildExited, child.StatesResolved, row.SharedChanged, row.SharedRefused,
                row.RowsToTell, lease.ClaimWon, lease.LeaseEnded,
            ),
            (claims, voter): (lease.Elect,),
            (voter,): (claim.ForVoter,),
            (claims,): (claim.FromVoter, lease.Seek, lease.Relinquish),
            (membership,): (
                member.SetMember, member.SetMeta, member.Kick, member.Leave, member.Join, member.Flush, member.Cleanup,
                member.GetData, member.ReceiveSync, member.Wipe,
                v.DigestsHeard, v.ClusterEntered, v.Superseded,
            ),
            (detector, rows): (v.Stop,),
            (detector,): (detection.PeerSpoke, v.DigestsChanged, v.LoopLagged),
            (rows,): (
                row.HoldInstance, row.ReleaseInstance, row.WriteRows, row.WriteShared, row.TakeOperations, row.TakeRows,
                v.PeerProbed, replicated.RowsStored,
            ),
            (self._named("shelf"),): (replicated.StoreRows,),
            (groups, rows, hubs, broadcast, links): (v.TurnEnded,),
            (membership, voter, claims, hubs): (v.WallOffset,),
            (links, overlay, broadcast, detector, groups, rows, voter, claims, hubs, roster): (v.ClusterChanged,),
            (roster, detector, groups, rows, voter, claims, hubs, overlay): (v.MemberAdded, v.MemberRemoved),
            (overlay, membership, groups, rows, hubs, roster): (v.LivenessChanged,),
            (links, overlay, broadcast, membership, detector, clients, rows, voter, claims, hubs): (v.Tick,),
            (links, overlay, membership, detector, groups, rows, hubs): (v.AddressLearned,),
            (overlay, membership): (v.AddressAnswered, v.AddressFailed),
            (overlay, detector, hubs, direct): (v.PeerUnreached,),
            (broadcast, overlay, membership, detector, groups, rows, voter, hubs, direct, clients): (v.PeerConnected,),
            (broadcast, overlay, membership, detector, groups, rows, hubs, direct, clients): (v.PeerLost,),
            (): (MessagesReceived,),
        }  # fmt: skip
        return {kind: hearers for hearers, kinds in by_hearers.items() for kind in kinds}

    def _named(self, name: str) -> tuple[str, Machine]:
        return name, self.machines[name]

    def split(self, incoming: MessagesReceived) -> Sequence[tuple[str, Machine, Any]]:
        """The parts of a frame for their owners, in order; and whoever speaks while it is accused is told so."""
        messages = incoming.messages
        owners = self._owners
        first = owners[type(messages[0])]
        if self.detector.accuses(incoming.peer):
            return (*self._split(incoming), ("detector", self.detector, detection.PeerSpoke(incoming.peer)))
        return ((*first, incoming),) if len(messages) == 1 else self._split(incoming)

    def _split(self, incoming: MessagesReceived) -> Sequence[tuple[str, Machine, Any]]:
        messages = incoming.messages
        owners = self._owners
        first = owners[type(messages[0])]
        parts: list[tuple[str, Machine, Any]] = []
        start = 0
        for at, message in enumerate(messages):
            owner = owners[type(message)]
            if owner[1] is not first[1]:
                parts.append((*first, MessagesReceived(incoming.peer, messages[start:at])))
                start, first = at, owner
        parts.append((*first, MessagesReceived(incoming.peer, messages[start:]) if start else incoming))
        return parts

    def check(self) -> None:
        """Every machine's invariants."""
        for machine in self.machines.values():
            machine.check()

    def statistics(self) -> dict[str, msgspec.Struct]:
        return {name: machine.statistics() for name, machine in self.machines.items()}
