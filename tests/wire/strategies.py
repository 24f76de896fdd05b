"""Hypothesis strategies for everything on the wire, read from the types themselves, constraints included."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from covey.wire.codec import KNOWN_TAGS
from covey.wire.messages.handshake import Handshake
from covey.wire.union import Message

MESSAGE_KINDS: tuple[type[Any], ...] = Message.__args__
HANDSHAKE_KINDS: tuple[type[Any], ...] = Handshake.__args__

# Text is everything UTF-8 can hold; ints are what msgpack can hold.
TEXTS = st.text(max_size=20)
INTS = st.integers(-(2**63), 2**64 - 1) | st.integers(-300, 300)
SCALARS = st.none() | st.booleans() | INTS | st.floats(allow_nan=False) | TEXTS | st.binary(max_size=40)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
KEYS: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | INTS | TEXTS | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type that stands in a message."""
    return _of(inspect.type_info(kind))


def _of(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.StructType(cls=kind, fields=fields):
            return st.builds(kind, *(_of(field.type) for field in fields))
        case inspect.IntType(ge=low, le=high):
            return st.integers(-(2**63) if low is None else low, 2**64 - 1 if high is None else high)
        case inspect.StrType(max_length=longest):
            return st.text(max_size=min(20, longest or 20)) | st.just("x" * (longest or 20))
        case inspect.BytesType(min_length=least, max_length=longest):
            return st.binary(min_size=least or 0, max_size=40 if longest is None else longest)
        case inspect.TupleType(item_types=items):
            return st.tuples(*map(_of, items))
        case inspect.NoneType():
            return st.none()
        case inspect.VarTupleType(item_type=item):
            return st.lists(_of(item), max_size=4).map(tuple)
        case inspect.BoolType():
            return st.booleans()
        case inspect.EnumType(cls=kind):
            return st.sampled_from(kind)
        case inspect.UnionType(types=kinds):
            return st.one_of(*map(_of, kinds))
        case inspect.RawType():
            return VALUES.map(lambda value: msgspec.Raw(msgspec.msgpack.encode(value)))
        case _:
            raise NotImplementedError(f"say in {__name__} how a {info!r} is drawn")


MESSAGES = st.one_of(*map(of, MESSAGE_KINDS))
HANDSHAKES = st.one_of(*map(of, HANDSHAKE_KINDS))


def tag_of(kind: type[Any]) -> int:
    """The number that stands for a message kind on the wire."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, int)
    return tag


def required(kind: type[Any]) -> int:
    """How many fields of a message kind have no default; the tag counts as one."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return 1 + sum(field.required for field in info.fields)


def fields_of(encoded: bytes) -> list[Any]:
    """A message as the list it is on the wire."""
    fields = msgspec.msgpack.decode(encoded)
    assert isinstance(fields, list)
    return fields


# Messages of kinds that only a newer version has, encoded.
UNKNOWN = st.builds(
    lambda tag, rest: msgspec.msgpack.encode([tag, *rest]),
    st.integers(0, 2**64 - 1).filter(lambda tag: tag not in KNOWN_TAGS),
    st.lists(VALUES, max_size=3),
)
