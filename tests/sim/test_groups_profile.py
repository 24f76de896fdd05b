"""Groups under users and faults: no view and no letter is ever wrong, and all is told once the faults end."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from covey.core.rng import derive
from covey.protocols.groups import vocabulary as g
from covey.protocols.groups.post import Post
from covey.sim.faults import KINDS, draw_plan
from covey.sim.gatherings import GROUPS
from covey.sim.groups import SCOPES, GroupsWorld, check_groups, check_mail, groups_pending, user_of
from covey.sim.profiles import PROFILES, build_groups, run_profile
from tests.protocols.groups import test_groups_lives as lives
from tests.protocols.groups import test_groups_mail as letters
from tests.protocols.groups import test_groups_streams as streams
from tests.sim.planted_group_bugs import (
    PLANT,
    mail_for_the_life_before_is_delivered,
    pairs_begin_again_at_the_same_number,
    the_forgotten_are_not_remembered,
)

PROFILE = PROFILES["groups"]
QUICK = (8, 19)
# 7: the last letters of one that left came behind the news of that, and counted as a gap. 92: the first gap of a pair
# was not told in a life of ours whose one before had forgotten pairs.
SEEDS = (*range(1, 21), 92)
SECOND = 1_000_000
PLACE = SCOPES[0], GROUPS[0]


@pytest.mark.parametrize(
    "seed", [*QUICK, *[pytest.param(seed, marks=pytest.mark.slow) for seed in SEEDS if seed > 50]]
)  # `make test` runs the first fifty apart
def test_views_and_mail_are_right_after_whatever_was_done_and_went_wrong(seed):
    result = run_profile(PROFILE, seed)
    assert result.failure == "", f"python -m covey.sim --profile groups --seed {seed}"
    assert 0 <= result.settled_s <= PROFILE.budget_us / 1e6
    assert 2 <= result.nodes <= 16, "copies of a disk are more than the 8 that it began with"


def test_these_seeds_know_every_kind_of_fault():
    plans = [draw_plan(derive(seed, "groups profile")).kinds for seed in SEEDS]
    assert sorted({kind for kinds in plans for kind in kinds}) == sorted(KINDS)


@pytest.mark.slow
def test_a_run_is_the_same_each_time():
    assert run_profile(PROFILE, 3) == run_profile(PROFILE, 3)


@pytest.mark.slow
def test_everything_that_groups_do_happens():
    """A run without gaps, answers, members that change and lives that end would prove little."""
    counts: dict[str, int] = {}

    def count(what: str, times: int = 1) -> None:
        counts[what] = counts.get(what, 0) + times

    def hear(_: object, event: object) -> None:
        match event:
            case g.MailReceived(letters):
                for letter in letters:
                    count(letter.kind.name)
                    count("lost", letter.lost)
            case g.GroupChanged(_, _, changes):
                for before, after in changes:
                    count("came" if before is None else "went" if after is None else "changed")
            case g.LifeEnded(_, _, why):
                count(why)

    for seed in (2, 4, 11, 22, 29):
        world = build_groups(seed, False).world
        world.listeners.append(hear)
        world.run(60 * SECOND)
    ends = ("is held for down", "is no member any more", "is in another cluster")
    for what in (*(kind.name for kind in g.Kind), "lost", "came", "went", "changed", *ends):
        assert counts.get(what), (what, counts)


# --- what the laws say of a world that breaks them ------------------------------------------------------------------


def two() -> GroupsWorld:
    """Two that know each other; the first's user is a member with its first mailbox."""
    world = GroupsWorld(1)
    first = world.start_node()
    world.start_node((first.address,))
    world.run(5 * SECOND)
    user = user_of(first)
    user.join(user.open(), PLACE, b"\xc0")
    return world


def test_what_is_pending_is_said_with_the_sites_it_is_about():
    world = two()
    sites = [node.site for node in world.nodes]
    assert groups_pending(world) == ("n1 shows 0 members of n0, not its 1", sites[::-1])
    world.run(SECOND)
    assert groups_pending(world) is None
    user_of(world.nodes[0]).boxes[1][PLACE] = (2, b"\xc0")
    assert groups_pending(world) == ("n1 shows 1 members of n0, not its 1", sites[::-1])


def test_a_member_that_never_joined_so_is_found():
    world = two()
    world.said.clear()
    with pytest.raises(AssertionError, match="joined so in that life"):
        world.run(SECOND)


def test_what_is_shown_without_an_event_is_found():
    world = two()
    world.run(SECOND)
    check_groups(world)
    world.nodes[1].engine.groups.members.by_place.clear()
    with pytest.raises(AssertionError, match="snapshot plus events is the view"):
        check_groups(world)


def test_in_a_calm_world_mail_arrives_or_the_check_says_which_does_not(monkeypatch):
    world = two()
    world.run(SECOND)
    check_mail(world)
    monkeypatch.setattr(Post, "sort", lambda self, letters, sender, targets, mail: None)
    with pytest.raises(AssertionError, match="the last letter from n0 to n0 arrived"):
        check_mail(world)


def test_a_lost_letter_is_counted_to_the_user_and_one_told_twice_is_found():
    world = two()
    world.run(SECOND)
    source, target = (user_of(node) for node in world.nodes)
    box, to = 1, target.address(target.open())
    for _ in range(3):
        source.send(box, [to])
    world.run(SECOND)
    pair = world.pair(source.address(box), to)
    assert pair.told == 3
    late = g.Letter(to.mailbox, source.address(box), 0, g.Kind.VALUE, 0, pair.sent[1][0])
    with pytest.raises(AssertionError, match="in order, and once"):
        target.emitted(g.MailReceived((late,)))
    pair.told = 0
    for lost, why in ((0, "1 letters are missing, not 0"), (2, "no more are missing than were sent")):
        with pytest.raises(AssertionError, match=why):
            target.emitted(g.MailReceived((msgspec.structs.replace(late, lost=lost),)))
    target.emitted(g.MailReceived((msgspec.structs.replace(late, lost=1),)))
    target.close(to.mailbox)
    with pytest.raises(AssertionError, match="nothing reaches a closed mailbox"):
        target.emitted(g.MailReceived((late,)))


# --- planted bugs ---------------------------------------------------------------------------------------------------

QUICK_BUGS = ("one_leave_takes_all_joins", "events_of_updates_are_not_told")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "bug", [bug if bug in QUICK_BUGS else pytest.param(bug, marks=pytest.mark.slow) for bug in PLANT]
)
def test_a_seed_finds_the_planted_bug(bug, monkeypatch):
    PLANT[bug](monkeypatch)
    found = next(((seed, said) for seed in (*QUICK, *SEEDS) if (said := run_profile(PROFILE, seed).failure)), None)
    print(f"{bug}: {found}")
    assert found is not None


# --- what few seeds show: a life that is removed and comes back, one that ends between two words --------------------


SCENARIOS: dict[Callable[[pytest.MonkeyPatch], None], Callable[[], None]] = {
    pairs_begin_again_at_the_same_number: (
        streams.test_a_sender_that_forgot_a_pair_is_not_taken_for_one_that_repeats_itself
    ),
    mail_for_the_life_before_is_delivered: (letters.test_mail_for_another_life_of_ours_is_counted_and_not_delivered),
    the_forgotten_are_not_remembered: lives.test_a_life_that_was_forgotten_and_is_back_begins_without_a_gap,
}


@pytest.mark.parametrize("plant", SCENARIOS, ids=lambda plant: plant.__name__)
def test_a_scenario_finds_the_planted_bug(plant, monkeypatch):
    SCENARIOS[plant]()
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        SCENARIOS[plant]()
