"""The EDN writer: a table with one function per type of atom, and an explicit stack for nested collections.

Law: the text of a value is read as an equal value of the same type, and equal values have the same text, sets included.
A value without such a text is rejected in bounded time and memory, also one that contains itself, is nested too deep,
or whose text is too long.
"""

from __future__ import annotations

import base64
import math
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from factstore.edn.read import MAX_KEY_DEPTH, is_symbol
from factstore.errors import FactStoreError
from factstore.values.numerals import to_digits
from factstore.values.quoting import described
from factstore.values.types import Keyword, Symbol, Uri, plain

MAX_DEPTH: Final = 100_000  # levels of nesting
LONGEST: Final = 1 << 30  # characters
_CHUNK: Final = 256  # parts that are joined, and whose length is added, at a time


def write(value: Any, *, longest: int = LONGEST) -> str:
    """Return the EDN text of a value, on one line.

    Args:
        longest: the maximum number of characters of the text.
    Raises: FactStoreError(:db.error/not-edn) for a value that EDN cannot express, or whose text is longer.

    >>> write({Keyword(":a/b"): [1, 2.0, None, ("x", True)]})
    '{:a/b [1 2.0 nil ("x" true)]}'
    """
    try:
        atom = _atom(value)
        return _Writer(longest).text(value, 0) if atom is None else _limited(atom, len(atom), longest)
    except (FactStoreError, MemoryError):
        raise
    except Exception as error:  # raised by a collection or a time zone of the caller
        raise FactStoreError(
            ":db.error/not-edn", f"expected a value of EDN, but reading it raised {described(error)}", value=value
        ) from error


class _Nested:
    """A value that has not been written yet; its class distinguishes it from text."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class _Hashed(_Nested):
    """A nested value inside a set or a map's key, which the reader will hash."""

    __slots__ = ()


class _Writer:
    """The state of writing one value."""

    __slots__ = ("length", "longest")

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.length = 0  # of the chunks written

    def text(self, value: Any, key_depth: int) -> str:
        """Return the text of a value.

        Args:
            key_depth: how many levels the value is inside an element of a set or a key, which Python will hash.
        """
        chunks: list[str] = []
        parts: list[str] = []
        stack: list[Iterator[str | _Nested]] = [iter((_Nested(value),))]
        # The collections around the current value, by id. The references keep them alive, so that no id is reused.
        around: dict[int, Any] = {}
        while stack:
            for part in stack[-1]:
                if type(part) is str:
                    parts.append(part)
                    continue
                inner = part.value  # type: ignore[union-attr]
                atom = _atom(inner)
                if atom is not None:
                    parts.append(atom)
                elif type(part) is _Hashed:
                    parts.append(self._hashed(inner, key_depth + 1))
                else:
                    if len(parts) > _CHUNK:
                        self._join(parts, chunks)
                    if id(inner) in around or len(around) >= MAX_DEPTH:
                        raise _too_deep(inner, around)
                    around[id(inner)] = inner
                    stack.append(self._collection(inner, key_depth))
                    break
            else:
                stack.pop()
                if around:
                    around.popitem()
        self._join(parts, chunks)
        return "".join(chunks)

    def _join(self, parts: list[str], chunks: list[str]) -> None:
        chunk = "".join(parts)
        parts.clear()
        self.length += len(chunk)
        chunks.append(_limited(chunk, self.length, self.longest))

    def _hashed(self, value: Any, key_depth: int) -> str:
        """Return the text of a hashed collection as one string; sets are sorted by the texts of their elements."""
        if key_depth > MAX_KEY_DEPTH:
            raise _unwritable(value, f"at most {MAX_KEY_DEPTH} levels inside a set or a map's key")
        return self.text(value, key_depth)

    def _collection(self, value: Any, key_depth: int) -> Iterator[str | _Nested]:
        inner = _Hashed if key_depth else _Nested
        kind = type(value)
        if kind is dict or (kind is not list and kind is not tuple and isinstance(value, Mapping)):
            if not _DISTINCT_TEXTS.issuperset(map(type, value)):
                self._texts(value, value, key_depth)
            return _pairs(value, inner)
        if isinstance(value, list):
            return _sequence("[", value, "]", inner)
        if isinstance(value, tuple):
            return _sequence("(", value, ")", inner)
        if isinstance(value, AbstractSet):
            return iter(("#{", " ".join(sorted(self._texts(value, value, key_depth))), "}"))
        raise _unwritable(value, "a value of EDN")

    def _texts(self, keys: Iterable[Any], holder: Any, key_depth: int) -> list[str]:
        """Return the texts of elements or keys; reject equal ones, which the reader would reject, such as two NaN."""
        texts = [_atom(key) or self._hashed(key, key_depth + 1) for key in keys]
        if len(set(texts)) != len(texts):
            raise _unwritable(holder, "elements or keys with different texts")
        return texts


def _limited(text: str, length: int, longest: int) -> str:
    if length > longest:
        message = f"expected a value whose text has at most {longest:,} characters, got a longer one"
        raise FactStoreError(":db.error/not-edn", message, longest=longest)
    return text


def _atom(value: Any) -> str | None:
    """Return the text of a value that contains no other values; None for any other value."""
    kind = type(value)
    text = _ATOMS.get(kind)
    if text is not None:
        return text(value)
    if kind in _COLLECTIONS:
        return None
    value = plain(value)  # converts numbers of numpy and members of enums, for example
    return next((_ATOMS[base](value) for base in type(value).__mro__ if base in _ATOMS), None)


def _sequence(opener: str, items: Any, closer: str, inner: type[_Nested]) -> Iterator[str | _Nested]:
    space = opener
    for item in items:
        yield space
        yield _atom(item) or inner(item)
        space = " "
    yield closer if space == " " else opener + closer


def _pairs(mapping: Mapping[Any, Any], inner: type[_Nested]) -> Iterator[str | _Nested]:
    space = "{"
    for key, value in mapping.items():
        yield space
        yield _atom(key) or _Hashed(key)
        yield " "
        yield _atom(value) or inner(value)
        space = ", "
    yield "}" if space == ", " else "{}"


# Types of keys with different texts for different keys.
_DISTINCT_TEXTS: Final = frozenset({str, Keyword, int, bool, type(None), uuid.UUID})
_COLLECTIONS: Final = frozenset({list, tuple, dict, set, frozenset})
_SPECIAL: Final = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]')
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


def _string(value: str) -> str:
    return f'"{_SPECIAL.sub(_escaped, value)}"'


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"


def _float(value: float) -> str:
    if math.isfinite(value):
        return float.__repr__(value)
    return "##NaN" if math.isnan(value) else "##Inf" if value > 0 else "##-Inf"


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise _unwritable(value, "a finite decimal")
    return f"{value}M"


def _instant(value: datetime) -> str:
    if value.utcoffset() is None:
        raise _unwritable(value, "an aware datetime")
    if getattr(value, "nanosecond", 0):
        raise _unwritable(value, "a datetime of whole microseconds")
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        raise _unwritable(value, "a datetime within the years 1 to 9999 of UTC") from None
    unit = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return f'#inst "{moment.replace(tzinfo=None).isoformat(timespec=unit)}Z"'


def _symbol(value: Symbol) -> str:
    """Return the name of a symbol, or a tagged text if that would be read as something else, such as `true` or `1`."""
    return str(value) if is_symbol(value) else f"#symbol {_string(value)}"


def _too_deep(value: Any, around: Mapping[int, Any]) -> FactStoreError:
    is_cyclic = id(value) in around
    return _unwritable(
        value, "a value that does not contain itself" if is_cyclic else f"at most {MAX_DEPTH:,} levels of nesting"
    )


def _unwritable(value: Any, expected: str) -> FactStoreError:
    return FactStoreError(":db.error/not-edn", f"expected {expected}, got {described(value)}", value=value)


_ATOMS: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda value: "nil",
    bool: lambda value: "true" if value else "false",
    int: to_digits,
    float: _float,
    Decimal: _decimal,
    Keyword: str,
    Symbol: _symbol,
    Uri: lambda value: f"#uri {_string(value)}",
    str: _string,
    datetime: _instant,
    uuid.UUID: lambda value: f'#uuid "{value}"',
    bytes: lambda value: f'#base64 "{base64.b64encode(value).decode()}"',
}
