"""OrderedSet against a plain list: the same members, in an order that operations alone decide."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from covey.core.ordered import OrderedSet

ITEMS = st.integers(0, 12) | st.text("ab", max_size=2)


class AgainstAList(RuleBasedStateMachine):
    """The oracle is a list; a removal moves its last element into the gap."""

    def __init__(self) -> None:
        super().__init__()
        self.ordered: OrderedSet = OrderedSet()
        self.model: list = []

    @rule(item=ITEMS)
    def add(self, item):
        assert self.ordered.add(item) is (item not in self.model)
        if item not in self.model:
            self.model.append(item)

    @rule(item=ITEMS)
    def discard(self, item):
        assert self.ordered.discard(item) is (item in self.model)
        if item in self.model:
            place = self.model.index(item)
            last = self.model.pop()
            if place < len(self.model):
                self.model[place] = last

    @rule(seed=st.integers(0, 5), count=st.integers(0, 20))
    def draw(self, seed, count):
        sample = self.ordered.sample(Random(seed), count)
        assert sample == Random(seed).sample(self.model, min(count, len(self.model)))
        if self.model:
            assert self.ordered.choose(Random(seed)) == self.model[Random(seed).randrange(len(self.model))]
        else:
            with pytest.raises(IndexError, match="empty OrderedSet"):
                self.ordered.choose(Random(seed))

    @invariant()
    def agrees(self):
        assert list(self.ordered) == self.model
        assert len(self.ordered) == len(self.model)
        assert self.ordered == set(self.model) == self.ordered
        assert repr(self.ordered) == f"OrderedSet({self.model!r})"
        for item in self.model:
            assert item in self.ordered
        assert "no such item" not in self.ordered


TestAgainstAList = AgainstAList.TestCase


@given(st.lists(ITEMS))
def test_an_ordered_set_keeps_the_order_of_insertion(items):
    assert list(OrderedSet(items)) == list(dict.fromkeys(items))


@given(st.lists(ITEMS), st.lists(ITEMS))
def test_two_are_equal_as_sets_whatever_their_order(one, other):
    assert (OrderedSet(one) == OrderedSet(other)) == (set(one) == set(other))
    assert (OrderedSet(one) == frozenset(other)) == (set(one) == set(other))


def test_it_is_not_equal_to_a_list_and_has_no_hash():
    assert OrderedSet([1]) != [1]
    with pytest.raises(TypeError, match="unhashable"):
        hash(OrderedSet())
