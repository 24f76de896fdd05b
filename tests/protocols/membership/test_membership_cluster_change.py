"""Between two clusters (reference M14, M15, M17, M18, M20): nothing of the old one gets into the new one."""

from __future__ import annotations

from covey.core.vocabulary import Channel, ClusterChanged, MessagesReceived, PeerConnected
from covey.protocols.membership.record import MEM
from covey.wire.messages.membership import News
from tests.protocols.membership.membership_net import START_WALL_US, mem, record_of, three


def test_a_link_that_comes_up_in_the_old_cluster_before_the_change_is_carried_out_brings_nothing_over() -> None:
    """The gate holds `ClusterChanged` until the disk has it; until then links still shake hands for the old cluster."""
    net, a, b, c = three()
    net.unlink(a, c)
    b.kick(a)
    verdict = record_of(b)[MEM, a.site]
    a.dirty = []
    a.feed(MessagesReceived(b.site, [News((verdict,))]))
    assert a.solo
    assert any(isinstance(effect, ClusterChanged) for effects in a.dirty for effect in effects)
    a.feed(PeerConnected(c.machine.me, Channel.CONTROL))
    news = News((mem(9, (START_WALL_US // 1000) << 16, 1, origin=3),))
    a.feed(MessagesReceived(c.site, [news]))  # c floods it to its neighbours, and a is still one
    assert a.members == [1]
    assert a.machine.statistics().strays == 1
