"""The simulator is worth its time: each planted bug is found by a seed, or by the scenario that knows it.

`make prove` prints which seed finds which.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from covey.core.rng import derive
from covey.core.vocabulary import Liveness, LivenessChanged
from covey.protocols.detector import record
from covey.protocols.detector.record import Evidence
from covey.sim.network import NetworkFaults
from covey.sim.world import World
from covey.wire.messages.detector import Rumour
from tests.protocols.detector import test_evidence as evidence
from tests.protocols.detector import test_refuting as refuting
from tests.protocols.detector import test_suspicion as suspicion
from tests.protocols.detector.detector_bench import ME, A, Bench
from tests.protocols.membership import test_membership_forgetting as forgetting
from tests.sim.planted_bugs import BUGS, KNOWN_TO_A_SCENARIO, first_failure

QUICK = ("told_before_persistence", "anybody_refutes")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BUGS]
)
def test_a_seed_finds_the_planted_bug(name, monkeypatch):
    bug = BUGS[name]
    bug.plant(monkeypatch)
    seed, failure = first_failure(bug)
    print(f"{name}: python -m covey.sim --profile {bug.profile} --seed {seed}: {failure}")
    assert seed, f"none of {bug.seeds_max} seeds of {bug.profile} finds it"
    assert bug.says in failure


# --- scenarios ------------------------------------------------------------------------------------------------------


def others_do_not_tell_us_which_life_we_lead() -> None:
    bench = Bench(A)
    bench.tell(A, Rumour(ME.site, ME.incarnation + 1, 0, Liveness.ALIVE))
    assert bench.machine.opinions.me.incarnation == ME.incarnation


def the_accused_is_told_whatever_it_says() -> None:
    refuting.test_any_message_of_the_accused_is_answered_with_the_accusation(Liveness.SUSPECT)


def confirmations_shorten_a_suspicion() -> None:
    suspicion.test_m27_what_remains_of_a_suspicion_of_2_to_30_s(3, 4, -2)


def the_last_word_of_a_life_stands() -> None:
    evidence.test_the_order_of_one_life_and_the_next()


def tables_that_differ_have_different_digests() -> None:
    states = (Liveness.ALIVE, Liveness.SUSPECT, Liveness.DOWN, Liveness.STOPPED)
    held = [Evidence(life, refutation, state) for life in (1, 2) for refutation in (0, 1) for state in states]
    assert len({record.fingerprint(A.site, one) for one in held}) == len(held)


def who_wakes_hears_before_it_accuses() -> None:
    """Answers take 600 ms; a pause too short to be called a sleep ends just after the probe's interval."""
    world = World(1, faults=NetworkFaults(300_000, 300_000))
    accused: list[object] = []

    class Ear:
        def started(self, node): ...
        def emitted(self, node, event): ...
        def stored(self, node, store): ...
        def observed(self, node, machine, incoming, effects):
            accused.extend(
                effect
                for effect in effects
                if type(effect) is LivenessChanged and (node.index, effect.cause) == (0, "unreached")
            )

    for _ in range(2):
        world.start_node(("n0:1",))
    world.run(20_000_000)
    world.watches.append(Ear())
    rng = derive(1, "pauses")
    for _ in range(200):
        world.run(rng.randint(500_000, 1_500_000))
        world.pause(world.nodes[0], 470_000)
    assert accused == []


def who_has_not_seen_a_kick_keeps_all_from_forgetting() -> None:
    forgetting.test_m09_nobody_is_forgotten_while_a_member_has_not_seen_the_kick()


SCENARIOS: dict[str, Callable[[], None]] = {
    "everybody_knows_whatever_one_of_them_does_not": who_has_not_seen_a_kick_keeps_all_from_forgetting,
    "believing_others_about_our_own_life": others_do_not_tell_us_which_life_we_lead,
    "the_accused_is_not_told": the_accused_is_told_whatever_it_says,
    "suspicion_does_not_shrink": confirmations_shorten_a_suspicion,
    "a_stopped_life_comes_back": the_last_word_of_a_life_stands,
    "a_digest_without_the_state": tables_that_differ_have_different_digests,
    "timers_before_packets": who_wakes_hears_before_it_accuses,
}


@pytest.mark.parametrize("name", KNOWN_TO_A_SCENARIO)
def test_a_scenario_finds_the_planted_bug(name, monkeypatch):
    SCENARIOS[name]()
    KNOWN_TO_A_SCENARIO[name](monkeypatch)
    with pytest.raises(AssertionError):
        SCENARIOS[name]()
    print(f"{name}: {SCENARIOS[name].__name__}")
