"""Judgements about connections that need nothing but the connections: who contradicts whom, and what is told."""

from __future__ import annotations

from covey.core.vocabulary import Cause
from covey.protocols.links.connection import Connection
from covey.protocols.links.handshake import Identity, Peer

# Somebody has to mend these; the rest are the world's ordinary troubles. `ALONE` is one of those: an address of
# somebody who has left is dialled for a while.
TOLD = frozenset(
    {Cause.VERSION, Cause.CLUSTER, Cause.SECRET, Cause.SITE_CONFLICT, Cause.FRAME, Cause.DECODE, Cause.VIOLATION,
     Cause.TLS}
)  # fmt: skip


def contradicts(peer: Peer, linked: Peer | None) -> bool:
    """Whether `peer` cannot be what became of `linked`: an older life, or a second process in the same one."""
    if linked is None:
        return False
    if peer.contact.incarnation == linked.contact.incarnation:
        return peer.boot != linked.boot
    return peer.contact.incarnation < linked.contact.incarnation


def contests(peer: Peer, me: Identity) -> bool:
    """Whether another process of our site goes before us: the later life, or the other of two in one."""
    return (peer.contact.incarnation, peer.boot) > (me.incarnation, me.boot)


CONFLICT = (
    "two processes claim one life of one site, or an older life came back: a copied disk or identity; "
    "stop one of them, or give it storage of its own"
)
NO_TLS = "no TLS session: one side speaks TLS and the other does not, or their certificates have different authorities"


def left_over(connection: Connection, linked: Connection | None) -> bool:
    """Whether it was on its way before our own dial became the link: no new dial of one who lost it."""
    return linked is not None and not linked.inbound and connection.began < linked.opened
