"""False accusations: somebody is told that a third one, which is well, is not."""

from __future__ import annotations

from random import Random

from covey.core.vocabulary import Liveness, MessagesReceived
from covey.sim.node import SimNode
from covey.sim.world import World
from covey.wire.messages.detector import Rumour, Rumours


def accuse(world: World, rng: Random, node: SimNode) -> None:
    """Somebody tells `node` that a third one, which is well, is suspect or down."""
    members = node.engine.detector.opinions.members
    others = [other for other in world.alive() if other is not node and other.site in members]
    if len(others) < 2:
        return
    teller, accused = rng.sample(others, 2)
    evidence = members[accused.site].evidence
    state = rng.choice((Liveness.SUSPECT, Liveness.DOWN))
    rumour = Rumour(accused.site, evidence.incarnation, evidence.refutation, state, teller.site)
    node.feed(MessagesReceived(teller.site, (Rumours((rumour,)),)))
