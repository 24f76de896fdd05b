"""What a second pair of eyes found: children that stayed nowhere, states that were lost, tokens that fell."""

from __future__ import annotations

from covey.core import children as c
from covey.core.claims import ClaimWon, Relinquish, Seek
from covey.protocols.registry import rows
from covey.protocols.registry import vocabulary as h
from covey.protocols.registry.copies import Phase
from covey.wire.keys import encode_key
from covey.wire.messages import registry as wire
from covey.wire.messages.rows import ROW_VALUE_BYTES_MAX
from tests.protocols.registry.registry_world import HUB, SECOND_US, SPEC, RegistryWorld, site


def test_a_child_whose_target_went_away_gives_back_what_it_still_holds_and_claims_anew():
    world = RegistryWorld("a", voters=("v", "w", "x"))
    world.auto = {c.StartChild}
    world.start("x")
    world.give("a", ClaimWon((HUB, encode_key("x")), 77))
    world.claims[site("a")].leases[HUB, encode_key("x")] = world.now_us + 100 * SECOND_US
    hub = world.hub("a")
    hosted = hub.hosting.hosted[encode_key("x")]
    hub.hosting.ask_to_leave(hosted, hub.moves._begin(hosted, (site("b"), 1), False))
    copy = world.copy("a", "x")
    world.take("a")
    world.give("a", c.HandoverGiven(copy, b"\x07"))
    world.give("a", c.ChildExited(copy, c.Ending.RETURNED))
    given_back, seek = [effect for effect in world.take("a") if isinstance(effect, (c.StartChild, Relinquish, Seek))]
    assert (type(given_back), type(seek)) == (Relinquish, Seek), "what is held is not sought"
    world.give("a", ClaimWon((HUB, encode_key("x")), 78))
    (started,) = world.take("a")
    assert (started.token, started.handed_over) == (78, b"\x07")


def test_whoever_was_to_hand_a_child_over_and_has_none_any_more_does_not_keep_others_from_starting_it():
    world = RegistryWorld("ab")
    (id,) = world.home("a")
    stray = wire.HandoverPart(HUB, 5, encode_key(id), 0, (), ())
    world.hub("a").moves.on_part((site("b"), 1), stray, world.now_us)
    world.start(id)
    assert world.runs(id) == {"a": "RUNNING"}


def test_of_a_batch_only_the_child_whose_row_is_too_large_is_refused():
    world = RegistryWorld()
    large = h.NewChild(encode_key("large"), SPEC, bytes(ROW_VALUE_BYTES_MAX))
    small = h.NewChild(encode_key("small"), SPEC, b"\x80")
    world.give("a", h.StartChildren(7, HUB, (large, small), 5 * SECOND_US))
    world.settle()
    outcome = world.outcomes[7]
    assert [place.id for place in outcome.started] == [small.id]
    assert [(error.id, error.trouble) for error in outcome.errors] == [(large.id, h.Trouble.REFUSED)]


def test_a_new_start_lies_above_every_epoch_that_was_seen_though_the_clock_is_behind():
    world = RegistryWorld("ab")
    ground = world.hub("b").ground
    seen = ground.epoch(0, world.now_us) + (10_000 << 16)  # somebody's clock is ten seconds ahead
    ground.heed(seen, world.now_us)
    assert ground.epoch(0, world.now_us) > seen


def test_who_claims_what_is_shown_to_run_elsewhere_gives_up_though_it_was_handed_over_once():
    world = RegistryWorld("ab", voters=("v", "w", "x"))
    (id,) = world.home("a")
    world.start(id)
    hosted = world.hub("a").hosting.hosted[encode_key(id)]
    assert hosted.phase is Phase.CLAIMING
    hosted.arrived = (site("b"), 1), 3
    running = rows.encode(rows.Running(5, 1, rows.State.RUNNING, birth=1))
    world.owned[site("b")][rows.running_key(encode_key(id))] = running
    world.hide("b", "a")
    world.show("b", "a")
    world.advance(0.1)
    assert encode_key(id) not in world.hub("a").hosting.hosted
