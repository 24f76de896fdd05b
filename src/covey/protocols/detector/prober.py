"""SWIM's probing: one member an interval, directly, then through others; and the same done for others.

SWIM (DSN 2002, section 3.1) with Lifeguard's nacks (arXiv 1707.00788, section IV-A). Changed here: others are asked
before the direct ping has timed out, and the probe ends at its timeout if all of them have sent a nack by then, since
nothing can be learnt by waiting for more; and whoever spoke to us while we probed it is not accused: it lives.

::

    0        ask_us       timeout                    interval
    ping ──▶ ask 3 ──▶    all nacks in: failed  ──▶  failed            (all times x (health score + 1))
             └──────────── any ack: it lives ─────────────┘
"""

from __future__ import annotations

from random import Random
from typing import Any

from covey.core.errors import invariant
from covey.core.ids import Site
from covey.core.timers import Timers
from covey.core.vocabulary import Emit, Liveness, PeerProbed, Send
from covey.protocols.detector.config import DetectorConfig
from covey.protocols.detector.health import Health
from covey.protocols.detector.opinions import Opinions, Timer
from covey.protocols.detector.probe import Probe, Relay, Round
from covey.protocols.detector.record import Member
from covey.protocols.detector.speech import Speech
from covey.protocols.detector.vocabulary import LinkBroken, LinkMended
from covey.wire.messages.detector import Ack, IndirectAck, Nack, PingRequest, Rumour

Effect = Any


class Prober:
    """Probe every member once a pass, one an interval.

    Invariants: the next probe has its time; a direct ping that has not failed has its timeout; relays are bounded and
    each has a timer.
    """

    def __init__(
        self,
        config: DetectorConfig,
        rng: Random,
        timers: Timers[Timer],
        health: Health,
        opinions: Opinions,
        speech: Speech,
        now_us: int,
    ) -> None:
        self._config = config
        self._rng = rng
        self._timers = timers
        self._health = health
        self._opinions = opinions
        self._speech = speech
        self._round = Round()
        self._probe: Probe | None = None
        self._relays: dict[int, Relay] = {}
        self.failed = 0
        timers.set(("probe",), now_us + rng.randrange(config.probe_interval_us) + 1)  # not all nodes at once

    @property
    def probe(self) -> Probe | None:
        """The probe under way."""
        return self._probe

    @property
    def relays(self) -> int:
        """How many pings we are doing for others."""
        return len(self._relays)

    # --- members ----------------------------------------------------------------------------------------------------

    def added(self, site: Site) -> None:
        """A new member gets its turn in the pass under way."""
        self._round.add(site, self._rng)

    def removed(self, site: Site) -> None:
        """Forget what belongs to this site."""
        self._round.discard(site)
        if self._probe is not None and self._probe.site == site:
            self._end_probe()
        for number in [n for n, relay in self._relays.items() if site in (relay.target, relay.requester)]:
            self._end_relay(number)

    def hurry(self, site: Site) -> None:
        """Others suspect it: a few of us bring its turn forward, so that it is confirmed, or cleared, soon.

        About half of the nodes have its turn still before them; so many of them are to hurry that twice K do.
        """
        if self._rng.random() * self._opinions.nodes < 4 * self._config.confirmations_max:
            self._round.hurry(site)

    def restart(self) -> None:
        """A new pass over all that are to be probed."""
        self._round.begin(self._opinions.probed(), self._rng)

    def overslept(self, long: bool, now_us: int) -> list[Effect]:
        """We did not run while answers were due: ask again instead of counting. `long` forgets the whole pass."""
        for number in list(self._relays):
            self._end_relay(number)  # who asked has given up
        probe = self._probe
        self._end_probe()
        if long:
            self.restart()
        if probe is None:
            return []
        member = self._opinions.members.get(probe.site)
        return [] if long or member is None else self._begin(member, now_us)

    # --- our own probe ----------------------------------------------------------------------------------------------

    def on_interval(self, now_us: int) -> list[Effect]:
        """Conclude the last probe and begin the next."""
        effects = [] if self._probe is None else self._fail(self._probe, now_us)
        member = self._next()
        if member is None:
            self._timers.set(("probe",), now_us + self._health.scale(self._config.probe_interval_us))
            return effects
        return effects + self._begin(member, now_us)

    def _next(self) -> Member | None:
        """Whose turn it is; a pass that is over is followed by the next."""
        for _ in range(2):
            while (site := self._round.next()) is not None:
                member = self._opinions.members.get(site)
                if member is not None and self._opinions.is_probed(member):
                    return member
            self.restart()
        return None

    def _begin(self, member: Member, now_us: int) -> list[Effect]:
        config, health = self._config, self._health
        timeout_us = health.scale(config.probe_timeout_us)
        number = next(self._speech.numbers)
        self._probe = Probe(number, member.site, member.evidence.incarnation, now_us, timeout_us)
        self._timers.set(("ask",), now_us + health.scale(config.ask_us))
        self._timers.set(("direct",), now_us + timeout_us)
        self._timers.set(("probe",), now_us + health.scale(config.probe_interval_us))
        return [self._speech.ping(member, number), PeerProbed(member.site)]

    def on_ask_timer(self, now_us: int) -> list[Effect]:
        """Ask others to ping it; where there is nobody to ask, ping it once more ourselves."""
        probe = self._probe
        assert probe is not None
        member = self._opinions.members[probe.site]
        helpers = self._opinions.helpers(self._config.indirect_probes, but=probe.site)
        if not helpers:
            return [self._speech.ping(member, probe.number)]
        probe.asked = {helper.site: False for helper in helpers}
        request = PingRequest(probe.number, member.contact)
        return [Send(helper.site, request, helper.address) for helper in helpers]

    def on_direct_timeout(self, now_us: int) -> list[Effect]:
        """Our own ping has failed; that decides where others have reached it, or all of them have not."""
        probe = self._probe
        assert probe is not None
        probe.direct_failed = True
        if probe.reached:
            self._end_probe()
            return self._way_round(self._opinions.members[probe.site])
        return self._fail(probe, now_us) if probe.hopeless else []

    def on_unreached(self, site: Site, now_us: int) -> list[Effect]:
        """No link to it can be made: no need to wait for the direct ping."""
        probe = self._probe
        if probe is None or probe.site != site or not self._timers.cancel(("ask",)):
            return []
        return self.on_ask_timer(now_us)

    def on_ack(self, peer: Site, ack: Ack, now_us: int) -> list[Effect]:
        """The answer to our probe, or to a ping that we did for another."""
        probe = self._probe
        if probe is not None and probe.number == ack.number:
            if probe.site != peer or ack.incarnation < probe.incarnation:
                return []
            self._end_probe()
            if not probe.reached:
                self._health.change(-1)
            member = self._opinions.members[peer]
            member.rtt_us = now_us - probe.sent_us
            return self._reached(member)
        relay = self._relays.get(ack.number)
        if relay is None or relay.target != peer:
            return []
        self._end_relay(ack.number)
        return [Send(relay.requester, IndirectAck(relay.number, ack.incarnation, ack.refutation))]

    def on_indirect_ack(self, peer: Site, ack: IndirectAck, now_us: int) -> list[Effect]:
        """Another member reached it: it lives. Our own ping has until its timeout."""
        probe = self._probe
        if probe is None or probe.number != ack.number or peer not in probe.asked:
            return []
        if ack.incarnation < probe.incarnation:
            return []
        alive = Rumour(probe.site, ack.incarnation, ack.refutation, Liveness.ALIVE)
        effects = self._opinions.learn(alive, now_us, peer)
        if not probe.reached:
            probe.reached = True
            self._health.change(-1)
        if probe.direct_failed:
            self._end_probe()
            effects += self._way_round(self._opinions.members[probe.site])
        return effects

    def on_nack(self, peer: Site, number: int, now_us: int) -> list[Effect]:
        """Whom we asked is there, but has no answer either."""
        probe = self._probe
        if probe is None or probe.number != number or peer not in probe.asked:
            return []
        probe.asked[peer] = True
        return self._fail(probe, now_us) if probe.hopeless else []

    def _way_round(self, member: Member) -> list[Effect]:
        """The member lives, and our own way to it failed. When that repeats itself the link is broken."""
        member.unanswered += 1
        if member.broken or member.unanswered < self._config.broken_probes:
            return []
        member.broken = True
        return [Emit(LinkBroken(self._opinions.me.site, member.site))]

    def _reached(self, member: Member) -> list[Effect]:
        """Our own way to the member works."""
        member.unanswered = 0
        if not member.broken:
            return []
        member.broken = False
        return [Emit(LinkMended(self._opinions.me.site, member.site))]

    def _fail(self, probe: Probe, now_us: int) -> list[Effect]:
        """Nobody reached it in time."""
        self._end_probe()
        member = self._opinions.members[probe.site]
        if member.spoke_us > probe.sent_us or member.evidence.incarnation != probe.incarnation:
            return []
        if member.state in (Liveness.DOWN, Liveness.STOPPED):
            return []  # as was to be expected, or has been learnt meanwhile
        self.failed += 1
        rtt = "never measured" if member.rtt_us is None else f"{member.rtt_us / 1000:.1f} ms"
        why = (
            f"no answer in {(now_us - probe.sent_us) // 1000} ms, asked through {len(probe.asked)} others "
            f"({probe.nacks} nacks); last rtt {rtt}; own health {self._health.score}"
        )
        self._health.change(probe.health_delta())
        return self._opinions.accuse(probe.site, why, now_us)

    def _end_probe(self) -> None:
        self._probe = None
        self._timers.cancel(("ask",))
        self._timers.cancel(("direct",))

    # --- pings for others -------------------------------------------------------------------------------------------

    def on_request(self, peer: Site, request: PingRequest, now_us: int) -> list[Effect]:
        """Ping a member for `peer`; only members, so that nobody can make us dial what they like."""
        opinions = self._opinions
        target = request.target.site
        if target == opinions.me.site:
            return [Send(peer, IndirectAck(request.number, opinions.me.incarnation, opinions.refutation))]
        member = opinions.members.get(target)
        if member is None:
            return [Send(peer, Nack(request.number))]
        if len(self._relays) >= self._config.relays_max:
            self._end_relay(next(iter(self._relays)))
        number = next(self._speech.numbers)
        self._relays[number] = Relay(peer, request.number, target)
        self._timers.set(("nack", number), now_us + self._config.nack_us)
        return [self._speech.ping(member, number)]

    def on_nack_timer(self, number: int, now_us: int) -> list[Effect]:
        """Tell the requester that we are there; a later answer is still passed on, as long as it may wait."""
        relay = self._relays[number]
        longest_us = self._config.probe_timeout_us * (self._config.health_max + 1)
        self._timers.set(("relay", number), now_us + longest_us)
        return [Send(relay.requester, Nack(relay.number))]

    def on_relay_timer(self, number: int) -> None:
        """No answer is awaited any more, not even by the requester."""
        self._end_relay(number)

    def _end_relay(self, number: int) -> None:
        del self._relays[number]
        self._timers.cancel(("nack", number))
        self._timers.cancel(("relay", number))

    def check(self) -> None:
        invariant(("probe",) in self._timers, "the next probe has its time")
        waits = self._probe is not None and not self._probe.direct_failed
        invariant((("direct",) in self._timers) == waits, "a direct ping has its timeout")
        if self._probe is not None:
            invariant(self._probe.site in self._opinions.members, "only members are probed")
        invariant(len(self._relays) <= self._config.relays_max, "relays are bounded")
        for number in self._relays:
            timed = ("nack", number) in self._timers or ("relay", number) in self._timers
            invariant(timed, "every relay has a timer")
