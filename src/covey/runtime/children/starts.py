"""What can be started, and the names that it has on the wire.

A name is `module:qualname`. A node runs what it was given itself: a name that it hears is looked up among these, and
nothing is ever imported for it.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, Generic, Literal, ParamSpec

import msgspec

from covey.core.errors import DecodeError, UsageError
from covey.wire.payloads import encode_payload

Executor = Literal["task", "process"]
ARGUMENTS_BYTES_MAX = 65_536  # of one child: they stand in its row, which every node of the hub keeps. Guess

_arguments_decoder = msgspec.msgpack.Decoder(tuple[list[Any], dict[str, Any]])


P = ParamSpec("P")


class Start(msgspec.Struct, Generic[P], frozen=True):
    """One thing that this node can start, and in what: a task of the event loop, or a process of its own.

    For type checkers it has the arguments that what it starts gets behind its `Context`.
    """

    call: Callable[..., Any]
    executor: Executor = "task"


def is_class(start: Callable[..., Any]) -> bool:
    """Whether a start is a class with `run`, and not a coroutine function."""
    return inspect.isclass(start)


def name_of(start: Callable[..., Any]) -> str:
    """The name of a start on every node: `module:qualname`; in the main script `__main__:qualname`, wherever that lies.

    Raises `UsageError` for what other processes could not find by a name, and for what is neither a coroutine function
    nor a class with a coroutine method `run`.
    """
    what = f"{start!r:.80} cannot be a child"
    if isinstance(start, functools.partial):
        raise UsageError(f"{what}: a partial has no name; pass the function, and its arguments in the child's spec")
    if inspect.ismethod(start):
        raise UsageError(f"{what}: a method belongs to one object here; use a function, or a class with `run`")
    name, module = getattr(start, "__qualname__", ""), getattr(start, "__module__", None)
    if not name or not isinstance(module, str):
        raise UsageError(f"{what}: it has no name; use a function or a class at the top of a module")
    if "<lambda>" in name:
        raise UsageError(f"{what}: a lambda has no name; use `async def` at the top of a module")
    if "<locals>" in name:
        raise UsageError(f"{what}: it exists only inside another function; move it to the top of its module")
    _check_kind(start, what)
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not start:
        raise UsageError(f"{what}: {module}:{name} is something else; give it a name of its own in its module")
    return f"{module}:{name}"


def _check_kind(start: Callable[..., Any], what: str) -> None:
    if is_class(start):
        if not inspect.iscoroutinefunction(getattr(start, "run", None)):
            raise UsageError(f"{what}: a class needs `async def run(self)`")
        before = getattr(start, "start", None)
        if before is not None and not inspect.iscoroutinefunction(before):
            raise UsageError(f"{what}: its `start` must be `async def start(self)`, or have another name")
    elif inspect.isasyncgenfunction(start):
        raise UsageError(f"{what}: it yields; a child is a coroutine, so take the `yield` out")
    elif not inspect.iscoroutinefunction(start):
        raise UsageError(f"{what}: it is no coroutine function; write `async def`")


def encode_arguments(arguments: tuple[Any, ...], named: dict[str, Any]) -> bytes:
    """What a child is to be started with, as it travels: `[args, kwargs]`. Raises `UsageError`, `ValueTooLarge`."""
    undone = "nothing was started"
    return encode_payload(
        [arguments, named], "arguments", ARGUMENTS_BYTES_MAX, undone, "pass less, or where to find it"
    )


def decode_arguments(encoded: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The same, at the host. Raises `DecodeError`."""
    try:
        return _arguments_decoder.decode(encoded)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"its arguments cannot be read ({error})") from None
