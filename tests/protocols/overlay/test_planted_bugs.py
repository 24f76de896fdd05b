"""The simulator is worth its time: with a bug planted in the overlay it reports a failure within forty seeds.

Two bugs pass the shipped profile, because the overlay heals what they do sooner than the profile looks: a link that
only one end believes in ends with the next affirmation, and a component's name lives on for three beacons. They are
found by the two sharper profiles below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from covey.core.ids import Site, short
from covey.core.rng import derive
from covey.core.vocabulary import Send
from covey.engine.engine import EngineConfig
from covey.protocols.overlay.config import OverlayConfig
from covey.protocols.overlay.machine import Overlay
from covey.protocols.overlay.neighbours import Neighbours
from covey.sim.faults import FaultInjector, FaultPlan
from covey.sim.profiles import PROFILES, Profile, Scene, overlay_scene, run_profile
from covey.sim.world import World
from covey.wire.messages.overlay import Disconnect, NeighborRequest
from tests.protocols.overlay import test_overlay_worlds as worlds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECOND_US = 1_000_000
SEEDS_MAX = 40
OVERLAY = PROFILES["overlay"]

Method = Callable[..., list[Any]]


def no_affirmation(real: Method) -> Method:
    """Who is wrongly taken for a neighbour says nothing."""
    return lambda self, peer, affirm, now_us: []


def no_probes_among_neighbours(real: Method) -> Method:
    """Only who is alone tries its addresses."""

    def probe_next(self, now_us, count=1):
        if self.active:
            self._timers.set(("probe",), now_us + SECOND_US)
            return []
        return real(self, now_us, count)

    return probe_next


def never_promoting(real: Method) -> Method:
    """Free places are left free."""
    return lambda self, now_us: []


def refusing_the_urgent(real: Method) -> Method:
    """High priority is treated as low."""
    return lambda self, peer, request, now_us: real(
        self, peer, NeighborRequest(request.sender, request.number, False), now_us
    )


def deaf_to_dismissals(real: Method) -> Method:
    """Who is dropped goes on believing."""
    return lambda self, peer, message, now_us: []


def blind_to_other_components(real: Method) -> Method:
    """Another lowest site is taken for our own."""

    def on_probe_reply(self, peer, reply, now_us):
        self._probes.answered(peer)
        return []

    return on_probe_reply


def evicting_silently(real: Method) -> Method:
    """Who loses its place to a newcomer is not told."""
    return lambda self, contact, now_us: [
        effect
        for effect in real(self, contact, now_us)
        if not (isinstance(effect, Send) and isinstance(effect.message, Disconnect))
    ]


def keeping_beacons(real: Method) -> Method:
    """A beacon is heard and not passed on."""

    def on_beacon(self, peer, beacon, now_us):
        real(self, peer, beacon, now_us)
        return []

    return on_beacon


def first_failure(profile: Profile) -> str:
    """What the first of forty seeds that fails says."""
    for seed in range(1, SEEDS_MAX + 1):
        failure = run_profile(profile, seed).failure
        if failure:
            return failure
    return ""


def plant(monkeypatch: pytest.MonkeyPatch, method: str, bug: Callable[[Method], Method]) -> None:
    where = Overlay if hasattr(Overlay, method) else Neighbours
    monkeypatch.setattr(where, method, bug(getattr(where, method)))


@pytest.mark.parametrize(
    "method, bug, failure",
    [
        ("_on_affirm", no_affirmation, "but not the other way round"),
        ("_probe_next", no_probes_among_neighbours, "nodes are connected"),
        ("promote", never_promoting, "have free places and are not linked"),
        ("on_disconnect", deaf_to_dismissals, "but not the other way round"),
    ],
)
def test_the_shipped_profile_finds_a_planted_bug(monkeypatch, method, bug, failure):
    plant(monkeypatch, method, bug)
    assert failure in first_failure(OVERLAY)


@pytest.mark.parametrize(
    "method, bug",
    [("on_request", refusing_the_urgent), ("_on_probe_reply", blind_to_other_components)],
)
def test_a_split_into_two_full_meshes_finds_a_planted_bug(monkeypatch, method, bug):
    """Where a place is free, members find each other by what membership knows; two full sides need the urgent link."""
    worlds.test_a_split_of_six_and_six_heals(1)
    plant(monkeypatch, method, bug)
    with pytest.raises(AssertionError):
        worlds.test_a_split_of_six_and_six_heals(1)


# --- sharper profiles -----------------------------------------------------------------------------------------------


def _one_sided(world: World) -> tuple[str, list[Site]] | None:
    views = {node.site: {contact.site for contact in node.engine.overlay.active} for node in world.alive()}
    for site, view in views.items():
        for other in sorted(view):
            if site not in views.get(other, ()):
                return f"{short(site)} holds {short(other)}, but not the other way round", [site, other]
    return None


def _build_calm(seed: int, telling: bool) -> Scene:
    """Small views, many newcomers at once, and no fault at all: nothing has to be repaired."""
    rng = derive(seed, "calm profile")
    config = EngineConfig(overlay=OverlayConfig(active_max=rng.choice((2, 3)), passive_max=6))
    world = World(seed, config=config, telling=telling)
    world.start_node()
    for _ in range(rng.randint(5, 11)):
        world.start_node(("n0:1",))
        world.run(rng.choice((0, 50_000)))
    injector = FaultInjector(world, FaultPlan((), SECOND_US), derive(seed, "faults"), ("n0:1",))
    return msgspec.structs.replace(overlay_scene(world, injector.stop), pending=lambda: _one_sided(world))


# In a calm network both ends agree at once: within a second, long before the first affirmation.
CALM = Profile(
    name="calm",
    build=_build_calm,
    faulty_us=3 * SECOND_US,
    budget_us=SECOND_US,
    quiet_us=0,
)
# What was heard when a link came up is forgotten after three beacons: only then their flood is needed.
LONG_QUIET = msgspec.structs.replace(OVERLAY, name="long quiet", quiet_us=60 * SECOND_US)


@pytest.mark.parametrize(
    "profile, method, bug, failure",
    [
        (CALM, "_raise", evicting_silently, "but not the other way round"),
        (LONG_QUIET, "_on_beacon", keeping_beacons, "names its component"),
    ],
)
def test_a_sharper_profile_finds_what_the_shipped_one_heals_in_time(monkeypatch, profile, method, bug, failure):
    plant(monkeypatch, method, bug)
    assert failure in first_failure(profile)


@pytest.mark.parametrize("profile, seeds", [(CALM, 40), (LONG_QUIET, 10)])
def test_the_sharper_profiles_find_nothing_where_nothing_is_planted(profile, seeds):
    assert [run_profile(profile, seed).failure for seed in range(1, seeds + 1)] == [""] * seeds
