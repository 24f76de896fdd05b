"""What others hold of us, and what we answer; and what we answer those whom we accuse.

Only a life itself refutes an accusation (SWIM, DSN 2002, section 4.2), so the accused must hear of it: whoever speaks
to us while we hold it for suspect or down is told.
"""

from __future__ import annotations

from typing import Any

from covey.core.ids import Site
from covey.core.vocabulary import Emit, Liveness, Send, SiteContested, Superseded
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.health import Health
from covey.protocols.detector.opinions import Opinions
from covey.protocols.detector.vocabulary import SelfAccused
from covey.wire.messages.detector import REFUTATION_MAX, Rumour, Rumours

Effect = Any

_ACCUSED = (Liveness.SUSPECT, Liveness.DOWN)
_OVER = (Liveness.DOWN, Liveness.STOPPED)


class Defence:
    """Refute what is said of this life; tell others what is said of theirs.

    Law: our refutation rises above every accusation of this life that it can rise above, and never falls within it.
    """

    def __init__(self, config: DetectorConfig, opinions: Opinions, health: Health) -> None:
        self._config = config
        self._opinions = opinions
        self._health = health
        self._told: Rumour | None = None  # what the last `SelfAccused` was about

    def on_own_name(self, rumour: Rumour, peer: Site, now_us: int) -> list[Effect]:
        """What `peer` holds of us."""
        opinions = self._opinions
        me = opinions.me
        accused = rumour.state in _ACCUSED
        if rumour.incarnation < me.incarnation:
            return [Send(peer, Rumours((opinions.own_rumour,)))]
        if rumour.incarnation > me.incarnation or rumour.state is Liveness.STOPPED:
            return self._tell(rumour, refuted=False)
        if rumour.refutation < opinions.refutation:
            return [Send(peer, Rumours((opinions.own_rumour,)))] if accused else []
        if not accused and rumour.refutation == opinions.refutation:
            return []
        if rumour.refutation >= REFUTATION_MAX:
            return self._tell(rumour, refuted=False)
        opinions.raise_refutation(rumour.refutation, now_us)
        effects: list[Effect] = [Send(peer, Rumours((opinions.own_rumour,)))]
        if accused:
            self._health.change(+1)  # Lifeguard: somebody did not hear us in time
            effects += self._tell(rumour, refuted=True)
        return effects

    def answer(self, peer: Site, now_us: int) -> list[Effect]:
        """Tell `peer` what it is accused of, if it is, and was not told just now."""
        message = self.accusation(peer)
        if message is None:
            return []
        member = self._opinions.members[peer]
        if member.accused_us is not None and now_us - member.accused_us < self._config.accuse_pause_us:
            return []
        member.accused_us = now_us
        return [Send(peer, message)]

    def accusation(self, site: Site) -> Rumours | None:
        """What to answer any frame of `site` with; None unless it is suspect or down."""
        member = self._opinions.members.get(site)
        if member is None or member.state not in _ACCUSED:
            return None
        return Rumours((self._opinions.rumour(member),))

    def reset(self) -> None:
        """A new life."""
        self._told = None

    def _tell(self, rumour: Rumour, refuted: bool) -> list[Effect]:
        """Once for each accusation, however many tell us of it."""
        if rumour == self._told:
            return []
        self._told = rumour
        effects: list[Effect] = [Emit(SelfAccused(rumour.by, rumour.state, rumour.incarnation, refuted))]
        if refuted:
            return effects
        if rumour.state in _OVER or rumour.incarnation == self._opinions.me.incarnation:
            return [*effects, Superseded(rumour.incarnation)]
        detail = (
            f"a later life of ours ({rumour.incarnation}) is held alive: another process has our storage, or a copy"
        )
        return [*effects, Emit(SiteContested(detail))]
