"""What can be a child has a name that other processes find; what cannot is told why."""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest

from covey.core.errors import DecodeError, UsageError, ValueTooLarge
from covey.runtime.children import decode_arguments, encode_arguments, name_of


async def session(context: Any) -> None: ...


class Session:
    async def run(self) -> None: ...

    class Inner:
        async def start(self) -> None: ...

        async def run(self) -> None: ...

    async def method(self) -> None: ...


class NoRun: ...


class PlainRun:
    def run(self) -> None: ...


class PlainStart(Session):
    def start(self) -> None: ...


class Callable:
    async def __call__(self) -> None: ...


def plain(context: Any) -> None: ...


async def yields(context: Any) -> AsyncIterator[int]:
    yield 1


renamed = session


async def session_again(context: Any) -> None: ...


hidden, session_again = session_again, session


def nested() -> Any:
    async def inside(context: Any) -> None: ...

    return inside


def test_a_name_is_module_and_qualified_name():
    here = __name__
    assert name_of(session) == f"{here}:session"
    assert name_of(renamed) == f"{here}:session"
    assert name_of(Session) == f"{here}:Session"
    assert name_of(Session.Inner) == f"{here}:Session.Inner"


def test_a_name_in_the_main_script_does_not_say_where_that_lies(monkeypatch):
    main = ModuleType("__main__")
    main.__file__ = "anything.py"
    exec("async def mine(context): ...", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert name_of(main.mine) == "__main__:mine"


@pytest.mark.parametrize(
    "start, why",
    [
        (lambda context: None, "a lambda has no name"),
        (nested(), "only inside another function"),
        (functools.partial(session), "a partial has no name"),
        (Session().method, "a method belongs to one object"),
        (Callable(), "it has no name"),
        (plain, "write `async def`"),
        (len, "write `async def`"),
        (yields, "take the `yield` out"),
        (NoRun, "needs `async def run"),
        (PlainRun, "needs `async def run"),
        (PlainStart, "its `start` must be `async def start"),
        (hidden, "session_again is something else"),
    ],
)
def test_what_cannot_be_a_child_is_told_why(start, why):
    with pytest.raises(UsageError, match="cannot be a child") as caught:
        name_of(start)
    assert why in str(caught.value)


def test_arguments_go_there_and_back():
    encoded = encode_arguments((1, "a", (2, 3)), {"x": None})
    assert decode_arguments(encoded) == ([1, "a", [2, 3]], {"x": None})
    with pytest.raises(UsageError, match=r"arguments\[0\]\[0\] cannot be serialised.*nothing was started"):
        encode_arguments((object(),), {})
    with pytest.raises(ValueTooLarge, match="pass less"):
        encode_arguments((b"x" * 70_000,), {})
    with pytest.raises(DecodeError):
        decode_arguments(b"\x90")
