"""Whom a client means: a name, or the beginning of a site, and never one of two."""

from __future__ import annotations

import pytest

import covey
from covey.api.clients import find
from covey.api.members import Member
from covey.core.ids import Site


def member(site: str, name: str = "") -> Member:
    return Member(Site(bytes.fromhex(site.ljust(32, "0"))), name, "", "alive", 1, {}, False)


MEMBERS = [member("cafe01", "a"), member("cafe02", "b"), member("beef", "cafe01"), member("abcd", "b")]


@pytest.mark.parametrize("who, index", [("a", 0), ("cafe02", 1), ("CAFE02", 1), ("beef", 2), ("abcd" + "0" * 28, 3)])
def test_a_member_is_found_by_its_name_or_the_beginning_of_its_site(who, index):
    assert find(MEMBERS, who) is MEMBERS[index]


@pytest.mark.parametrize("who", ["cafe", "cafe0", "b", "cafe01"])
def test_what_may_be_two_members_is_neither(who):
    with pytest.raises(covey.UsageError, match="may be 2 members; nothing was changed"):
        find(MEMBERS, who)


@pytest.mark.parametrize("who", ["c", "caf", "bee", "A", "x", "cafe01" + "0" * 27, "-"])
def test_what_is_too_short_too_long_or_nobody_is_unknown(who):
    with pytest.raises(covey.UnknownName, match="nothing was changed"):
        find(MEMBERS, who)
