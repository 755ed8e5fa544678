"""Codecs: values of Python types as values that EDN can write, by the annotation of an argument or a result.

Law: `decode(read(write(encode(value))))` equals the value, for each value that `encode` accepts.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import combinations
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints
from uuid import UUID

from factstore import Keyword, quoted
from overseer.errors import HandlerError


class Mismatch(Exception):
    """A value that is not of the type of an annotation.

    Args:
        expected: the type, in words.
        got: the value, or the part of it.
    """

    def __init__(self, expected: str, got: Any) -> None:
        super().__init__(expected, got)
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return f"expected {self.expected}, got {quoted(self.got)}"


class Codec(NamedTuple):
    """How the values of one type are written and read; both functions raise a Mismatch for any other value."""

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


SCALARS: Final = (bool, bytes, datetime, Decimal, float, int, Keyword, str, UUID)


def codec(hint: Any) -> Codec:
    """Return the codec for an annotation. Raises: HandlerError(:job.error/bad-annotation) if there is none."""
    if hint is Any or hint is object:
        return Codec("any value", _unchanged, _unchanged)
    if hint is None or hint is types.NoneType:
        return _checked("None", lambda value: value is None)
    if hint in SCALARS:
        return _scalar(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _of_dataclass(hint)
    build = _BUILDERS.get(get_origin(hint) or hint)
    if build is None:
        why = (
            f"{getattr(hint, '__name__', hint)} is not a type that a job can keep; such types are "
            f"{', '.join(kind.__name__ for kind in SCALARS)}, Literal, Any, dataclasses, and list, tuple, set, "
            "frozenset, dict and X | None of them"
        )
        raise HandlerError(":job.error/bad-annotation", why, annotation=hint)
    return build(hint)


def _unchanged(value: Any) -> Any:
    return value


def _checked(name: str, accepts: Callable[[Any], bool], convert: Callable[[Any], Any] = _unchanged) -> Codec:
    def check(value: Any) -> Any:
        if not accepts(value):
            raise Mismatch(name, value)
        return convert(value)

    return Codec(name, check, check)


def _scalar(kind: type) -> Codec:
    if kind is float:
        return _checked("float", lambda value: type(value) in (int, float), float)
    if kind is int:
        return _checked("int", lambda value: type(value) is int)
    if kind is datetime:
        return _checked("datetime with a zone", lambda value: isinstance(value, datetime) and value.tzinfo is not None)
    return _checked(kind.__name__, lambda value: isinstance(value, kind))


def _of_union(hint: Any) -> Codec:
    kinds = [arm for arm in get_args(hint) if dataclasses.is_dataclass(arm) and isinstance(arm, type)]
    for earlier, later in combinations(kinds, 2):
        _check_distinct(hint, earlier, later)
    arms = [codec(arm) for arm in get_args(hint)]
    name = " | ".join(arm.name for arm in arms)

    def first(value: Any, ways: Sequence[Callable[[Any], Any]]) -> Any:
        for way in ways:
            try:
                return way(value)
            except Mismatch:
                continue
        raise Mismatch(name, value)

    encoders, decoders = [arm.encode for arm in arms], [arm.decode for arm in arms]
    return Codec(name, lambda value: first(value, encoders), lambda value: first(value, decoders))


def _check_distinct(hint: Any, earlier: type, later: type) -> None:
    """Reject a union in which a value of the later class would be read as one of the earlier, because of its fields."""
    fields = {field.name for field in dataclasses.fields(earlier) if field.init}
    required = {
        field.name
        for field in dataclasses.fields(earlier)
        if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if required <= {field.name for field in dataclasses.fields(later) if field.init} <= fields:
        why = (
            f"a {later.__name__} cannot be distinguished from a {earlier.__name__} in {hint}, because it has no field"
            f" that {earlier.__name__} lacks; give one of them another field, such as kind: Literal[…]"
        )
        raise HandlerError(":job.error/bad-annotation", why, annotation=hint)


def _of_literal(hint: Any) -> Codec:
    values = get_args(hint)
    name = " or ".join(map(repr, values))
    return _checked(name, lambda value: any(value == one and type(value) is type(one) for one in values))


def _of_collection(hint: Any) -> Codec:
    kind: Callable[[Iterator[Any]], Any] = _KINDS[get_origin(hint) or hint]
    of = codec(get_args(hint)[0]) if get_args(hint) else codec(Any)
    is_set = kind in (set, frozenset)
    accepted: Any = (set, frozenset) if is_set else (list, tuple)
    name = f"{getattr(kind, '__name__', kind)} of {of.name}"

    def encode(value: Any) -> list[Any]:
        if not isinstance(value, accepted):
            raise Mismatch(name, value)
        plain = list(map(of.encode, value))
        return sorted(plain, key=repr) if is_set else plain  # a list: the members of a set may be maps in EDN

    def decode(value: Any) -> Any:
        if not isinstance(value, list | tuple | set | frozenset):
            raise Mismatch(name, value)
        return kind(map(of.decode, value))

    return Codec(name, encode, decode)


def _of_tuple(hint: Any) -> Codec:
    args = get_args(hint)
    if not args or args[-1] is Ellipsis:
        return _of_collection(hint)
    parts = [codec(arg) for arg in args]
    name = f"tuple of {', '.join(part.name for part in parts)}"

    def each(value: Any, ways: Sequence[Callable[[Any], Any]]) -> list[Any]:
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            raise Mismatch(name, value)
        return [way(item) for way, item in zip(ways, value, strict=True)]

    encoders, decoders = [part.encode for part in parts], [part.decode for part in parts]
    return Codec(name, lambda value: each(value, encoders), lambda value: tuple(each(value, decoders)))


def _of_mapping(hint: Any) -> Codec:
    key, item = [codec(arg) for arg in get_args(hint) or (Any, Any)]
    name = f"dict from {key.name} to {item.name}"

    def each(value: Any, of_key: Callable[[Any], Any], of_item: Callable[[Any], Any]) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise Mismatch(name, value)
        return {of_key(one): of_item(other) for one, other in value.items()}

    return Codec(
        name, lambda value: each(value, key.encode, item.encode), lambda value: each(value, key.decode, item.decode)
    )


def _of_dataclass(kind: type) -> Codec:
    hints = get_type_hints(kind)
    try:
        of = {field.name: codec(hints[field.name]) for field in dataclasses.fields(kind) if field.init}
    except RecursionError:
        why = f"{kind.__name__} contains itself; a job keeps values of a known depth"
        raise HandlerError(":job.error/bad-annotation", why, annotation=kind) from None

    def encode(value: Any) -> dict[Keyword, Any]:
        if type(value) is not kind:
            raise Mismatch(kind.__name__, value)
        return {Keyword(f":{name}"): one.encode(getattr(value, name)) for name, one in of.items()}

    def decode(value: Any) -> Any:
        if not isinstance(value, Mapping) or not {key.removeprefix(":") for key in value} <= of.keys():
            raise Mismatch(kind.__name__, value)
        given = {key.removeprefix(":"): item for key, item in value.items()}
        try:
            return kind(**{name: of[name].decode(item) for name, item in given.items()})
        except TypeError:  # a field that has no default, and that the value lacks
            raise Mismatch(kind.__name__, value) from None

    return Codec(kind.__name__, encode, decode)


_KINDS: Final[Mapping[Any, Any]] = {
    list: list,
    Sequence: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}
_BUILDERS: Final[Mapping[Any, Callable[[Any], Codec]]] = {
    Union: _of_union,
    types.UnionType: _of_union,
    Literal: _of_literal,
    list: _of_collection,
    Sequence: _of_collection,
    set: _of_collection,
    frozenset: _of_collection,
    tuple: _of_tuple,
    dict: _of_mapping,
    Mapping: _of_mapping,
}
