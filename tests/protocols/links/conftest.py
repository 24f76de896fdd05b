"""Two linked nodes, or none yet."""

from __future__ import annotations

import pytest

from tests.protocols.links.links_harness import Net, Node


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def a(net: Net) -> Node:
    """The lower site."""
    return net.node("a", 1)


@pytest.fixture
def b(net: Net) -> Node:
    return net.node("b", 2)


@pytest.fixture
def linked(net: Net, a: Node, b: Node) -> tuple[Net, Node, Node]:
    """`a` dialled `b` and said "hi"; what they said about it is forgotten."""
    a.send(b, "hi")
    net.run()
    for node in (a, b):
        node.said.clear()
        node.read.clear()
    return net, a, b
