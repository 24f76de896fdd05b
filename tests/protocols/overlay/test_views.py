"""The two partial views against naive models."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.core.errors import InvariantError
from covey.core.ids import Contact
from covey.protocols.overlay.views import ActiveView, PassiveView
from tests.protocols.overlay.overlay_harness import contact, number_of, numbers, site

pytestmark = pytest.mark.timeout(600)  # for the ten thousand examples of make prove

ME = 3
NUMBERS = st.integers(0, 12)
CONTACTS = st.builds(
    lambda number, incarnation, address: Contact(site(number), incarnation, address),
    NUMBERS,
    st.integers(1, 3),
    st.sampled_from(["", "here:1", "there:2"]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), CONTACTS, st.lists(NUMBERS, max_size=3)),
        st.tuples(st.just("discard"), NUMBERS),
        st.tuples(st.just("sample"), st.integers(0, 15)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 6), st.integers(0, 1000))
def test_the_passive_view_is_a_bounded_dict_of_newest_lives(steps, size_max, seed):
    view, rng = PassiveView(site(ME), size_max), Random(seed)
    model: dict[int, Contact] = {}
    for step in steps:
        match step:
            case ("add", new, drop_first):
                number = number_of(new.site)
                view.add(new, rng, [site(n) for n in drop_first])
                if number != ME and new.address:
                    known = model.get(number)
                    if known is not None:
                        model[number] = new if new.incarnation >= known.incarnation else known
                    else:
                        gone = sorted(set(model) - set(numbers(view)))
                        assert len(gone) == (len(model) == size_max)
                        for victim in gone:
                            preferred = [n for n in drop_first if n in model]
                            assert not preferred or victim == preferred[0]
                            del model[victim]
                        model[number] = new
            case ("discard", number):
                assert view.discard(site(number)) == model.pop(number, None)
            case ("sample", count):
                sample = view.sample(rng, count)
                assert len(sample) == len(set(numbers(sample))) == min(count, len(model))
                assert all(model[number_of(one.site)] == one for one in sample)
        view.check()
        assert {number_of(one.site): one for one in view} == model
        assert len(view) == len(model) <= size_max
        for number in range(13):
            assert (site(number) in view) == (number in model)
            assert view.get(site(number)) == model.get(number)


@given(STEPS, st.integers(0, 1000), st.one_of(st.none(), NUMBERS))
def test_the_active_view_is_a_dict_in_the_order_of_arrival(steps, seed, but):
    view, rng = ActiveView(site(ME), 5), Random(seed)
    model: dict[int, Contact] = {}
    left_out = None if but is None else site(but)
    for step in steps:
        match step:
            case ("add", new, _):
                number = number_of(new.site)
                if number != ME and (number in model or not view.full):
                    view.add(new)
                    model[number] = new
            case ("discard", number):
                assert view.discard(site(number)) == model.pop(number, None)
            case ("sample", count):
                others = [number for number in model if number != but]
                sample = numbers(view.sample(rng, count, but=left_out))
                assert set(sample) <= set(others) and len(sample) == min(count, len(others))
                chosen = view.choose(rng, but=left_out)
                assert (chosen is None) == (not others) and (chosen is None or number_of(chosen.site) in others)
                assert [number_of(one) for one in view.sites(but=left_out)] == others
        view.check()
        assert list(view) == list(model.values()) and len(view) == len(model)
        assert view.full == (len(model) == 5)
        for number in range(13):
            assert (site(number) in view) == (number in model)
            assert view.get(site(number)) == model.get(number)


def test_a_known_lifes_new_address_is_taken():
    view = PassiveView(site(ME), 3)
    for address in ("old:1", "new:1"):
        view.add(Contact(site(1), 2, address), Random(0))
    assert list(view) == [Contact(site(1), 2, "new:1")]


def test_every_other_neighbour_can_be_chosen():
    view = ActiveView(site(ME), 5)
    for number in (0, 1, 2):
        view.add(contact(number))
    rng = Random(1)
    assert {number_of(view.choose(rng, but=site(1)).site) for _ in range(50)} == {0, 2}  # type: ignore[union-attr]


def test_every_contact_can_be_dropped():
    victims = set()
    for seed in range(60):
        view = PassiveView(site(ME), 3)
        for number in (0, 1, 2):
            view.add(contact(number), Random(0))
        view.add(contact(9), Random(seed))
        victims |= {0, 1, 2} - set(numbers(view))
    assert victims == {0, 1, 2}


def test_views_that_break_their_laws_are_invariant_errors():
    passive, active = PassiveView(site(ME), 1), ActiveView(site(ME), 1)
    active.add(contact(ME))
    with pytest.raises(InvariantError, match="their own neighbour"):
        active.check()
    active.add(contact(1))
    with pytest.raises(InvariantError, match="active view is bounded"):
        active.check()
    passive.add(contact(1), Random(0))
    passive._sites.add(site(2))
    passive._contacts[site(2)] = contact(2)
    with pytest.raises(InvariantError, match="passive view is bounded"):
        passive.check()
    passive = PassiveView(site(ME), 1)
    passive._sites.add(site(ME))
    passive._contacts[site(ME)] = contact(ME)
    with pytest.raises(InvariantError, match="their own passive view"):
        passive.check()
    passive = PassiveView(site(ME), 1)
    passive._contacts[site(1)] = contact(1)
    with pytest.raises(InvariantError, match="halves agree"):
        passive.check()
