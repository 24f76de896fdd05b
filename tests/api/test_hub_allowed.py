"""Modules that a node allows as a whole: what is in them runs, and nothing else is ever imported."""

from __future__ import annotations

import sys

import pytest

from covey.api.hub_allowed import Allowed, check_modules
from covey.core.errors import ConfigError
from covey.protocols.registry.placement import can_run
from covey.runtime.children import Start, name_of
from tests.api.hub_children import session

MODULE = "tests.api.hub_children"
NAME = name_of(session)


def test_what_is_in_an_allowed_module_is_found_and_remembered():
    allowed = Allowed({}, (MODULE,))
    assert allowed.get(NAME) == Start(session)
    assert NAME in allowed


@pytest.mark.parametrize("module", ["tests.api", "tests", MODULE])
def test_a_module_is_allowed_with_all_that_is_below_it(module):
    assert can_run(Allowed({}, (module,)).said, NAME)


@pytest.mark.parametrize("module", ["tests.api.hub_child", "tests.api.hub_children.more", "ests", "json"])
def test_what_only_looks_like_it_is_not_allowed(module):
    allowed = Allowed({}, (module,))
    assert not can_run(allowed.said, NAME)
    assert allowed.get(NAME) is None


def test_what_is_not_allowed_is_never_imported():
    allowed = Allowed({"a:b": Start(session)}, (MODULE,))
    before = dict.fromkeys(sys.modules)
    assert allowed.get("antigravity:fly") is None
    assert allowed.get("a:b") == Start(session)
    assert dict.fromkeys(sys.modules) == before


@pytest.mark.parametrize("name", [f"{MODULE}:nothing", f"{MODULE}:asyncio.sleep", f"{MODULE}.gone:session", MODULE])
def test_what_is_not_there_or_cannot_be_started_is_nothing(name):
    assert Allowed({}, (MODULE,)).get(name) is None


def test_others_are_told_in_order_what_a_node_runs():
    assert Allowed({"b:x": Start(session), "a:y": Start(session)}, ("m", "l")).said == ("a:y", "b:x", "l.*", "m.*")


@pytest.mark.parametrize(
    "allow, text", [("app", "write ['app']"), (["app workers"], "not the name of a module"), ([7], "7 is not")]
)
def test_what_names_no_module_is_refused(allow, text):
    with pytest.raises(ConfigError, match="allow:") as caught:
        check_modules(allow)
    assert text in str(caught.value)
