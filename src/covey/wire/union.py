"""The one union of all messages that travel on an open link, and who hears which.

Tags: 0-15 handshake, 16-31 links, 32-47 overlay, 48-63 direct, 64-79 membership, 80-95 detector, 96-111 client,
112-127 rows, 128-143 groups, 144-159 claims, 160-191 hubs, 192-207 broadcast. A protocol takes the next free block of
sixteen.
"""

from __future__ import annotations

from covey.wire.messages import (
    broadcast,
    claims,
    client,
    detector,
    direct,
    groups,
    links,
    membership,
    overlay,
    registry,
    rows,
)

Message = (
    links.LinkMessage
    | overlay.OverlayMessage
    | direct.DirectMessage
    | membership.MembershipMessage
    | detector.DetectorMessage
    | client.ClientMessage
    | rows.RowsMessage
    | groups.GroupMessage
    | claims.ClaimsMessage
    | registry.RegistryMessage
    | broadcast.BroadcastMessage
)
