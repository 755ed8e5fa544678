"""The EDN writer: one row of a table per Python type, and a stack for what nests.

Law: what it writes is read back as an equal value of the same type, and equal values are written alike, sets included.
"""

from __future__ import annotations

import base64
import math
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from factstore.edn.read import is_symbol
from factstore.errors import FactStoreError
from factstore.values import Keyword, Symbol, Uri


def write(value: Any) -> str:
    """Return the EDN text of a value, on one line.

    Raises: FactStoreError(:db.error/not-edn) for a value that no EDN text means.

    >>> write({Keyword(":a/b"): [1, 2.0, None, ("x", True)]})
    '{:a/b [1 2.0 nil ("x" true)]}'
    """
    parts: list[str] = []
    stack: list[Iterator[str | _Nested]] = [iter((_Nested(value),))]
    while stack:
        for part in stack[-1]:
            if type(part) is str:
                parts.append(part)
                continue
            atom = _atom(part.value)  # type: ignore[union-attr]
            if atom is None:
                stack.append(_collection(part.value))  # type: ignore[union-attr]
                break
            parts.append(atom)
        else:
            stack.pop()
    return "".join(parts)


class _Nested:
    """A value still to be written, told apart from text by its type."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _atom(value: Any) -> str | None:
    """Return the text of a value that holds no others; None for any other value."""
    kind = type(value)
    for base in (kind,) if kind in _ATOMS else kind.__mro__:
        if base in _ATOMS:
            return _ATOMS[base](value)
    return None


def _collection(value: Any) -> Iterator[str | _Nested]:
    if isinstance(value, Mapping):
        return _pairs(value)
    if isinstance(value, list):
        return _sequence("[", value, "]")
    if isinstance(value, tuple):
        return _sequence("(", value, ")")
    if isinstance(value, AbstractSet):
        return _sequence("#{", sorted(value, key=write), "}")
    raise _unwritable(value, "a value of EDN")


def _sequence(opener: str, items: Any, closer: str) -> Iterator[str | _Nested]:
    space = opener
    for item in items:
        yield space
        yield _Nested(item)
        space = " "
    yield closer if space == " " else opener + closer


def _pairs(mapping: Mapping[Any, Any]) -> Iterator[str | _Nested]:
    space = "{"
    for key, value in mapping.items():
        yield space
        yield _Nested(key)
        yield " "
        yield _Nested(value)
        space = ", "
    yield "}" if mapping else "{}"


_SPECIAL: Final = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]')
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


def _string(value: str) -> str:
    return f'"{_SPECIAL.sub(_escaped, value)}"'


def _escaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"


def _float(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "##NaN" if math.isnan(value) else "##Inf" if value > 0 else "##-Inf"


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise _unwritable(value, "a finite decimal")
    return f"{value}M"


def _instant(value: datetime) -> str:
    if value.tzinfo is None:
        raise _unwritable(value, "an aware datetime")
    moment = value.astimezone(UTC)
    unit = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return f'#inst "{moment.replace(tzinfo=None).isoformat(timespec=unit)}Z"'


def _symbol(value: Symbol) -> str:
    if not is_symbol(value):
        raise _unwritable(value, "a symbol that would be read as one")
    return str(value)


def _unwritable(value: Any, wanted: str) -> FactStoreError:
    message = f"expected {wanted}, got {value!r} ({type(value).__name__})"
    return FactStoreError(":db.error/not-edn", message, value=value)


_ATOMS: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda value: "nil",
    bool: lambda value: "true" if value else "false",
    int: lambda value: str(int(value)),
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
