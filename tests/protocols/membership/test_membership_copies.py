"""A copied disk: two processes are one site, and what one says of itself the other hears about itself."""

from __future__ import annotations

from covey.core.vocabulary import ClusterChanged, MessagesReceived
from covey.protocols.membership.record import MEM
from covey.wire.messages.membership import News
from tests.protocols.membership.membership_bench import CLOCK_NOW, ME, PEER, joined, own


def test_who_hears_that_another_life_of_its_site_has_left_says_that_it_is_there():
    """Who left comes back when it starts again, also if its disk does not know that it had left."""
    made = joined()
    left = own(MEM, 1, CLOCK_NOW + 99, 0, magic=3)
    effects = made.handle(MessagesReceived(PEER, [News((left,))]), 0)
    assert not made.solo
    assert made.record.is_member(ME)
    said = made.record.get(MEM, ME)
    assert said is not None
    assert (said.origin, said.clock > left.clock, said.magic) == (ME, True, made.me.incarnation)
    assert not any(isinstance(effect, ClusterChanged) for effect in effects)
