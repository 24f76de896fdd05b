"""The pump asks machines for their deadlines, and only those whose deadline can have changed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.test_pump import Command, Fact, Script, build


def test_only_a_machine_that_heard_something_is_asked_for_another_deadline():
    """Also one that raised: it may have changed before."""
    answers: dict[Any, Any] = {Command("wrong"): ValueError("wrong")}
    one, two = Script(answers, due_us=50), Script(due_us=60)
    pump, _ = build(one, two)
    assert pump.deadline() == 50
    one.due_us, two.due_us = 10, 20
    assert pump.deadline() == 50
    pump.feed(Fact("for two"), 0)
    assert pump.deadline() == 20
    with pytest.raises(ValueError, match="wrong"):
        pump.feed(Command("wrong"), 0)
    assert pump.deadline() == 10
    one.due_us = None
    pump.feed(Command("for one"), 0)
    assert pump.deadline() == 20
