"""Clojure's functions of numbers, instants and UUIDs: conversion, parsing, bit operations, and predicates on types."""

from __future__ import annotations

import math
import operator
import re
import uuid
from collections.abc import Callable, Mapping, Set
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from factstore.clojure.order import NUMBERS
from factstore.values.quoting import described, quoted
from factstore.values.types import LONG_MAX, LONG_MIN, Keyword, Symbol, Uri, instant_to_micros

_LONG: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DOUBLE: Final = re.compile(
    r"\s*[+-]?(?:NaN|Infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[dDfF]?)\s*", re.ASCII
)
_UUID: Final = re.compile(r"[0-9a-fA-F]{1,8}(?:-[0-9a-fA-F]{1,4}){3}-[0-9a-fA-F]{1,12}", re.ASCII)
_MOST_DIGITS: Final = 10_000
_INT_MAX: Final = (1 << 31) - 1


def number(value: Any) -> Any:
    """Return a number unchanged; reject any other value."""
    if type(value) not in NUMBERS:
        raise TypeError(f"expected a number, got {described(value)}")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"expected a string, got {described(value)}")
    return value


def _bits(value: Any) -> int:
    if type(value) is not int or not LONG_MIN <= value <= LONG_MAX:
        raise TypeError(f"expected a whole number within 64 bits, got {described(value)}")
    return value


def _whole(value: Any) -> int:
    """Return a number without its places. Raises: ValueError for a decimal whose digits would take seconds to make."""
    if type(value) is Decimal and value.is_finite() and value.adjusted() > _MOST_DIGITS:
        raise ValueError(f"expected a number of at most {_MOST_DIGITS:,} digits, got {described(value)}")
    return int(number(value))


def _within(low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        integer = _whole(value)
        if not low <= integer <= high:
            raise ValueError(f"expected a number from {low} to {high}, got {quoted(integer)}")
        return integer

    return convert


def _bigdec(value: Any) -> Decimal:
    number(value)
    if type(value) is Fraction:
        return Decimal(value.numerator) / value.denominator
    return Decimal(repr(value)) if type(value) is float else Decimal(value)


def _parse_long(text: str) -> int | None:
    if not _LONG.fullmatch(_text(text)):
        return None
    digits = text.lstrip("+-0") or "0"
    if len(digits) > len(str(LONG_MAX)):
        return None
    integer = -int(digits) if text[0] == "-" else int(digits)
    return integer if LONG_MIN <= integer <= LONG_MAX else None


def _parse_double(text: str) -> float | None:
    return float(text.strip().rstrip("dDfF")) if _DOUBLE.fullmatch(_text(text)) else None


def _parse_uuid(text: str) -> uuid.UUID | None:
    if not _UUID.fullmatch(_text(text)):
        return None
    return uuid.UUID("".join(part.zfill(size) for part, size in zip(text.split("-"), (8, 4, 4, 4, 12), strict=True)))


def _inst_ms(value: Any) -> int:
    if not isinstance(value, datetime):
        raise TypeError(f"expected an instant, got {described(value)}")
    return instant_to_micros(value) // 1000


def _signed(value: int) -> int:
    """Return the lowest 64 bits of a number as a signed integer, like a long of Java."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _bitwise(operation: Callable[[int, int], int]) -> Callable[..., int]:
    def calculate(x: Any, y: Any, *more: Any) -> int:
        bits = operation(_bits(x), _bits(y))
        for value in more:
            bits = operation(bits, _bits(value))
        return bits

    return calculate


def _at_bit(operation: Callable[[int, int], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, n: operation(_bits(x), _bits(n) % 64)


def _has_namespace(kinds: tuple[type, ...], expected: bool) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds) and ("/" in str(value)[1:-1]) == expected


_NAMES: Final = (Keyword, Symbol)
_COLLECTIONS: Final = (list, tuple, Set, Mapping)

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "long": _within(LONG_MIN, LONG_MAX),
    "int": _within(-_INT_MAX - 1, _INT_MAX),
    "short": _within(-(1 << 15), (1 << 15) - 1),
    "byte": _within(-128, 127),
    "num": number,
    "double": lambda x: float(number(x)),
    "float": lambda x: float(number(x)),
    "bigint": _whole,
    "biginteger": _whole,
    "bigdec": _bigdec,
    "parse-long": _parse_long,
    "parse-double": _parse_double,
    "parse-boolean": lambda text: {"true": True, "false": False}.get(_text(text)),
    "parse-uuid": _parse_uuid,
    "inst-ms": _inst_ms,
    "bit-and": _bitwise(operator.and_),
    "bit-or": _bitwise(operator.or_),
    "bit-xor": _bitwise(operator.xor),
    "bit-and-not": _bitwise(lambda x, y: x & ~y),
    "bit-not": lambda x: ~_bits(x),
    "bit-shift-left": _at_bit(lambda x, n: _signed(x << n)),
    "bit-shift-right": _at_bit(lambda x, n: x >> n),
    "unsigned-bit-shift-right": _at_bit(lambda x, n: _signed((x % (1 << 64)) >> n)),
    "bit-test": _at_bit(lambda x, n: bool(x >> n & 1)),
    "bit-set": _at_bit(lambda x, n: _signed(x | 1 << n)),
    "bit-clear": _at_bit(lambda x, n: _signed(x & ~(1 << n))),
    "bit-flip": _at_bit(lambda x, n: _signed(x ^ 1 << n)),
    "int?": lambda x: type(x) is int and LONG_MIN <= x <= LONG_MAX,
    "pos-int?": lambda x: type(x) is int and 0 < x <= LONG_MAX,
    "neg-int?": lambda x: type(x) is int and LONG_MIN <= x < 0,
    "nat-int?": lambda x: type(x) is int and 0 <= x <= LONG_MAX,
    "double?": lambda x: type(x) is float,
    "float?": lambda x: type(x) is float,
    "decimal?": lambda x: type(x) is Decimal,
    "rational?": lambda x: type(x) in NUMBERS and type(x) is not float,
    "ratio?": lambda x: type(x) is Fraction,
    "NaN?": lambda x: math.isnan(number(x)),
    "infinite?": lambda x: math.isinf(number(x)),
    "boolean?": lambda x: type(x) is bool,
    "inst?": lambda x: isinstance(x, datetime),
    "uuid?": lambda x: isinstance(x, uuid.UUID),
    "uri?": lambda x: type(x) is Uri,
    "bytes?": lambda x: isinstance(x, bytes),
    "any?": lambda x: True,
    "ident?": lambda x: isinstance(x, _NAMES),
    "simple-ident?": _has_namespace(_NAMES, False),
    "qualified-ident?": _has_namespace(_NAMES, True),
    "simple-keyword?": _has_namespace((Keyword,), False),
    "qualified-keyword?": _has_namespace((Keyword,), True),
    "simple-symbol?": _has_namespace((Symbol,), False),
    "qualified-symbol?": _has_namespace((Symbol,), True),
    "coll?": lambda x: isinstance(x, _COLLECTIONS),
    "counted?": lambda x: isinstance(x, _COLLECTIONS),
    "seqable?": lambda x: (
        x is None or (isinstance(x, str | list | tuple | Set | Mapping) and not isinstance(x, _NAMES))
    ),
    "sequential?": lambda x: isinstance(x, list | tuple),
    "vector?": lambda x: isinstance(x, list | tuple),
    "map?": lambda x: isinstance(x, Mapping),
    "set?": lambda x: isinstance(x, Set),
    "associative?": lambda x: isinstance(x, (list, tuple, Mapping)),
}
