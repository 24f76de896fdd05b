"""Identities: drawn from a seed, ordered as bytes, refused in any other shape."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from covey.core.errors import ConfigError
from covey.core.ids import SITE_BYTES, Contact, Life, Site, cluster_id, draw_site, parse_site, short

SITES = st.binary(min_size=SITE_BYTES, max_size=SITE_BYTES).map(Site)


def test_a_drawn_site_is_sixteen_bytes_and_a_function_of_the_generator():
    assert draw_site(Random(1)).hex() == "f5b165224a58b791df6af1d8303e61cd"
    assert draw_site(Random(1)) == draw_site(Random(1))
    rng = Random(1)
    assert len({draw_site(rng) for _ in range(100)}) == 100


@given(SITES, SITES)
def test_sites_order_as_bytes_whatever_their_life(one, other):
    assert (one < other) == (bytes(one) < bytes(other))
    assume(one != other)
    assert (Life(one, 9) < Life(other, 1)) == (one < other)
    assert (Contact(one, 9, "z:1") < Contact(other, 1, "a:1")) == (one < other)


def test_a_life_orders_by_site_then_incarnation_and_a_contact_by_address_last():
    low, high = Site(bytes(16)), Site(b"\xff" * 16)
    lives = [Life(high, 1), Life(low, 2), Life(low, 1)]
    assert sorted(lives) == [Life(low, 1), Life(low, 2), Life(high, 1)]
    contacts = [Contact(low, 2, "a:1"), Contact(low, 1, "b:1"), Contact(low, 1, "a:1")]
    assert sorted(contacts) == [Contact(low, 1, "a:1"), Contact(low, 1, "b:1"), Contact(low, 2, "a:1")]


def test_a_contact_names_its_life_and_both_are_frozen_and_hashable():
    contact = Contact(Site(bytes(16)), 7, "host:1")
    assert contact.life == Life(Site(bytes(16)), 7)
    assert {contact: 1, contact.life: 2} == {Contact(Site(bytes(16)), 7, "host:1"): 1, Life(Site(bytes(16)), 7): 2}
    with pytest.raises(AttributeError):
        contact.address = "other:1"  # type: ignore[misc]


def test_a_cluster_id_never_changes_between_versions():
    assert cluster_id("orders").hex() == "a24c0947ccd9b2b51d22c98be6792103"
    assert cluster_id("größe").hex() == "a8ed2135a6383f858f2ba7fb6204925e"


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_clusters_of_different_names_have_different_ids(one, other):
    assert len(cluster_id(one)) == 16
    assert (cluster_id(one) == cluster_id(other)) == (one == other)


@pytest.mark.parametrize("name", ["", None, 7, b"orders", ["orders"]])
def test_a_cluster_without_a_name_in_text_is_a_config_error(name):
    with pytest.raises(ConfigError, match="non-empty str"):
        cluster_id(name)


def test_a_cluster_name_may_have_255_bytes_and_no_more():
    assert len(cluster_id("x" * 255)) == 16
    with pytest.raises(ConfigError, match="256 bytes, at most 255"):
        cluster_id("x" * 254 + "ß")


def test_a_cluster_name_with_a_lone_surrogate_still_has_an_id():
    assert cluster_id("\ud800") != cluster_id("\ud801")


def test_a_site_is_shown_as_its_first_eight_hex_digits():
    assert short(Site(bytes(range(16)))) == "00010203"


@given(SITES)
def test_a_site_written_in_hex_parses_to_itself(site):
    assert parse_site(site.hex()) == site
    assert parse_site(site.hex().upper()) == site


@pytest.mark.parametrize("text", ["", "00", "00" * 15, "00" * 17, "g" * 32, "é" * 32, "0" * 31, None, 5])
def test_what_is_not_32_hex_digits_is_no_site(text):
    with pytest.raises(ConfigError, match="32 hex digits"):
        parse_site(text)


@pytest.mark.parametrize("text", [" ".join(["00"] * 16), "00" * 16 + "\n", " " + "00" * 16])
def test_blanks_between_the_digits_are_not_hex_digits(text):
    with pytest.raises(ConfigError, match="32 hex digits"):
        parse_site(text)
