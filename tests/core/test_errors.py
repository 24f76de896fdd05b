"""The tree that is drawn atop `core/errors.py` is the tree that exists."""

from __future__ import annotations

import inspect
import re

import pytest

from covey.core import errors
from covey.core.errors import CoveyError, InvariantError, invariant

BUILTINS = {
    "ValueError": ValueError,
    "LookupError": LookupError,
    "ConnectionError": ConnectionError,
    "TimeoutError": TimeoutError,
}


def drawn_tree() -> dict[str, tuple[str, ...]]:
    """Class name to the names of its bases, read from the module's docstring."""
    bases: dict[str, tuple[str, ...]] = {}
    above: list[str] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        found = re.match(r"^\s*([│├└─ ]*?)([A-Z]\w+)\b(?:\s+\(also (\w+)\))?", line)
        if found is None or not re.match(r"^ {4}(CoveyError$|[│├└])", line):
            continue
        branch, name, also = found.groups()
        depth = len(branch) // 3
        above = [*above[:depth], name]
        if depth:
            bases[name] = (above[depth - 1], *((also,) if also else ()))
        else:
            bases[name] = ("Exception",)
    return bases


DRAWN = drawn_tree()


def test_the_drawing_is_understood_by_this_test():
    assert len(DRAWN) == 22
    assert DRAWN["ConfigError"] == ("UsageError", "ValueError")
    assert DRAWN["SiteConflict"] == ("PeerError",)
    assert DRAWN["Deposed"] == ("CoveyError",)


@pytest.mark.parametrize("name", DRAWN)
def test_each_drawn_class_has_exactly_the_drawn_bases_and_says_what_it_means(name):
    kind = getattr(errors, name)
    assert tuple(base.__name__ for base in kind.__bases__) == DRAWN[name]
    for base in kind.__bases__:
        assert base is Exception or base is getattr(errors, base.__name__, BUILTINS.get(base.__name__))
    assert kind.__doc__


def test_there_is_no_error_that_is_not_drawn():
    defined = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    assert sorted(defined) == sorted([*DRAWN, "InvariantError"])


def test_an_invariant_error_is_our_bug_and_no_covey_error_hides_it():
    assert InvariantError.__bases__ == (AssertionError,)
    assert not issubclass(InvariantError, CoveyError)
    with pytest.raises(InvariantError):
        try:
            invariant(False, "a law")
        except CoveyError:
            pytest.fail("except CoveyError must not hide a bug")


def test_an_invariant_that_holds_is_silent_and_one_that_does_not_names_the_law():
    invariant(True, "never said")
    with pytest.raises(InvariantError, match=r"^the law that was broken$"):
        invariant(False, "the law that was broken")
