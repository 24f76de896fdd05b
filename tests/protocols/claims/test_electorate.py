"""Lists of voters' names, and who bears a name."""

from __future__ import annotations

import pytest

from covey.api.members import encode_meta
from covey.core.errors import ConfigError
from covey.core.ids import Contact, Site
from covey.core.vocabulary import MemberAdded
from covey.protocols.claims.electorate import BEARERS_MAX, Bearers, electorate_of, name_in

A, B = (Site(bytes([number]) * 16) for number in range(2))


def member(site: Site, name: str, address: str = "a:1", ephemeral: bool = False) -> MemberAdded:
    return MemberAdded(Contact(site, 1, address), ephemeral, True, encode_meta(name, {"zone": 1} if name else {}))


def test_the_order_of_a_list_does_not_matter_and_everything_else_does():
    one = electorate_of(["b", "a", "c"])
    assert (one.names, one.needed) == (("a", "b", "c"), 2)
    assert electorate_of(("c", "b", "a")) == one
    assert electorate_of(["a", "b", "cc"]).digest != one.digest
    assert electorate_of(list("abcde")).needed == 3


@pytest.mark.parametrize(
    "voters, match",
    [
        ([], "^voters: 0 names.*nothing was claimed: name three or five"),
        (["a", "b"], "^voters: 2 names"),
        (["a"], "one can never be away"),
        (list("abcd"), "^voters: 4 names"),
        (list("abcdefg"), "^voters: 7 names"),
        (["a", "b", "a"], "^voters: 'a' stands there twice.*take it out"),
        ("abc", "^voters: must be a list of node names, not 'abc'"),
        (["a", "b", ""], "^voters: must hold names of nodes, not ''"),
        (["a", "b", 7], "^voters: must hold names of nodes, not 7"),
        (None, "^voters: must be a list"),
    ],
    ids=repr,
)
def test_a_list_that_cannot_work_is_refused(voters, match):
    with pytest.raises(ConfigError, match=match):
        electorate_of(voters)


def test_a_name_is_read_from_what_the_node_itself_encoded():
    assert name_in(encode_meta("ann", {"zone": 1})) == "ann"
    assert name_in(encode_meta("", {"zone": 1})) == ""
    for blob in (b"", b"\xc1", b"\x92", encode_meta("x", {})[:-1], b"\x91\xa1a", b"\x92\x01\x80"):
        assert name_in(blob) == ""


def test_durable_members_bear_their_names_until_they_go_or_are_named_anew():
    bearers = Bearers()
    assert bearers.add(member(A, "ann"))
    assert not bearers.add(member(A, "ann", "a:2"))
    assert not bearers.add(member(B, "ann", ephemeral=True))
    assert (bearers.of("ann"), bearers.address(A), bearers.address(B)) == ((A,), "a:2", "")
    assert bearers.add(member(B, "ann"))
    assert bearers.of("ann") == (A, B)
    assert bearers.add(member(A, "bob"))
    bearers.check()
    assert (bearers.of("ann"), bearers.of("bob")) == ((B,), (A,))
    assert bearers.forget(A)
    assert not bearers.forget(A)
    assert bearers.add(member(B, ""))
    assert (bearers.of("ann"), bearers.of("bob")) == ((), ())
    bearers.check()
    bearers.add(member(A, "ann"))
    bearers.clear()
    assert bearers.of("ann") == ()


def test_of_far_too_many_that_bear_a_name_some_are_asked():
    bearers = Bearers()
    for number in range(BEARERS_MAX + 2):
        bearers.add(member(Site(bytes([number]) * 16), "ann"))
    assert len(bearers.of("ann")) == BEARERS_MAX
