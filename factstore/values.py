"""Values: what may stand in the `v` of a datom, and everything that differs between its types.

All knowledge of a value type is one row of `VALUE_TYPES`: what users write, how it is checked, the *stored* form that
novelty, columns, log and query engine work with, and the way back. The stored form is ordered and hashable, plain
numbers where numpy has a type for them (an instant is its microseconds since 1970), the Python value otherwise.

Law: for each type, `load(store(x)) == x`, and the order of stored values is the order of the values.
"""

from __future__ import annotations

import math
import re
import struct
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final, Self, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from factstore.quoting import quoted

LONG_MIN: Final = -(1 << 63)
LONG_MAX: Final = (1 << 63) - 1


class Keyword(str):
    """An EDN keyword, interned; its text keeps the colon, so `row[":person/name"]` works with plain strings too.

    >>> Keyword(":person/name") is Keyword(":person/name"), Keyword(":person/name").namespace
    (True, 'person')
    """

    __slots__ = ("__weakref__",)
    _interned: ClassVar[WeakValueDictionary[str, Keyword]] = WeakValueDictionary()

    def __new__(cls, text: str) -> Self:
        found = cls._interned.get(text)
        if found is None:
            if not _KEYWORD.fullmatch(text):
                raise ValueError(f"a keyword looks like :name or :namespace/name, got {quoted(text)}")
            found = cls._interned.setdefault(text, super().__new__(cls, text))
        return found  # type: ignore[return-value]

    def __reduce__(self) -> tuple[Any, ...]:
        return Keyword, (str(self),)

    def __repr__(self) -> str:
        return str(self)

    @property
    def namespace(self) -> str | None:
        """The part before the slash, without the colon; None when there is none."""
        head, slash, _ = self[1:].partition("/")
        return head if slash and head else None

    @property
    def name(self) -> str:
        """The part after the slash, or all of it without the colon."""
        head, slash, tail = self[1:].partition("/")
        return tail if slash and head else self[1:]


# keyword = ":" name ["/" name]; what EDN allows between delimiters, and a lone slash
_KEYWORD = re.compile(r""":(?:[^\s,()\[\]{}"';@^`~\\:/][^\s,()\[\]{}"';@^`~\\/]*(?:/[^\s,()\[\]{}"';@^`~\\]+)?|/)""")


class Symbol(str):
    """An EDN symbol: a variable `?x`, a source `$`, the name of a function."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Uri(str):
    """A value of `:db.type/uri`; kept as it was written."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Uri({str(self)!r})"


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def instant_to_micros(instant: datetime) -> int:
    """Return the microseconds since 1970 of an aware datetime, exactly."""
    return (instant - EPOCH) // _MICROSECOND


def micros_to_instant(micros: int) -> datetime:
    """Return the aware UTC datetime of these microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)


Stored: TypeAlias = Any  # int, float, bool, str, bytes, Keyword, Symbol, Uri, UUID, Decimal or a tuple of such


@dataclass(frozen=True, slots=True)
class ValueType:
    """One row of the table of value types."""

    ident: Keyword
    kind: type  # exact Python type of a stored value; a quick check before `store`
    wants: str  # what users write, for messages
    dtype: str  # numpy dtype of a column: "i8", "f8", "?" or "O"
    store: Callable[[Any], Stored]  # what the user wrote → stored form; ValueError when it is of another type
    load: Callable[[Stored], Any] | None = None  # stored form → what users read; None is the identity

    @property
    def name(self) -> str:
        """The type's short name: "long" of `:db.type/long`."""
        return self.ident.name


def _exactly(kind: type) -> Callable[[Any], Any]:
    def store(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError("of another type")
        return value

    return store


def _store_long(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("of another type")
    if not LONG_MIN <= value <= LONG_MAX:
        raise ValueError("outside 64 bits; a :db.type/bigint holds it")
    return value


def _store_string(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("of another type")
    return _encodable(value)


T = TypeVar("T", bound=str)


def _encodable(text: T) -> T:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("a lone surrogate, which no UTF-8 text can hold") from None
    return text


def _store_double(value: Any) -> float:
    if type(value) is not float:
        raise ValueError("of another type")
    return value


def _store_float(value: Any) -> float:
    if type(value) is not float:
        raise ValueError("of another type")
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        raise ValueError("outside the range of a 32-bit float") from None


def _store_instant(value: Any) -> int:
    if not isinstance(value, datetime):
        raise ValueError("of another type")
    if value.tzinfo is None:
        raise ValueError("a naive datetime; say its time zone, as in datetime.now(UTC)")
    return instant_to_micros(value)


def _store_keyword(value: Any) -> Keyword:
    if type(value) is Keyword:
        return _encodable(value)
    if type(value) is str and value.startswith(":"):
        return _encodable(Keyword(value))
    raise ValueError("of another type")


def _store_symbol(value: Any) -> Symbol:
    if type(value) is Symbol:
        return _encodable(value)
    raise ValueError("of another type")


def _store_uri(value: Any) -> Uri:
    if type(value) is Uri:
        return _encodable(value)
    raise ValueError("of another type")


def _store_bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise ValueError("of another type")


def _store_bigdec(value: Any) -> Decimal:
    if type(value) is not Decimal:
        raise ValueError("of another type")
    if not value.is_finite():
        raise ValueError("not a finite number")
    return value


def _store_tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("of another type")
    return tuple(value)


def _row(name: str, kind: type, wants: str, dtype: str, store: Callable[[Any], Any], load: Any = None) -> ValueType:
    return ValueType(Keyword(f":db.type/{name}"), kind, wants, dtype, store, load)


REF: Final = _row("ref", int, "an entity id, ident, lookup ref or tempid", "i8", _store_long)
LONG: Final = _row("long", int, "an int within 64 bits", "i8", _store_long)
BIGINT: Final = _row("bigint", int, "an int", "O", _exactly(int))
DOUBLE: Final = _row("double", float, "a float", "f8", _store_double)
FLOAT: Final = _row("float", float, "a float of 32 bits", "f8", _store_float)
BIGDEC: Final = _row("bigdec", Decimal, "a decimal.Decimal", "O", _store_bigdec)
BOOLEAN: Final = _row("boolean", bool, "a bool", "?", _exactly(bool))
INSTANT: Final = _row("instant", int, "an aware datetime", "i8", _store_instant, micros_to_instant)
STRING: Final = _row("string", str, "a str", "O", _store_string)
KEYWORD: Final = _row("keyword", Keyword, 'a Keyword, or a str such as ":red"', "O", _store_keyword)
SYMBOL: Final = _row("symbol", Symbol, "a Symbol", "O", _store_symbol)
URI: Final = _row("uri", Uri, "a Uri", "O", _store_uri)
UUID: Final = _row("uuid", uuid.UUID, "a uuid.UUID", "O", _exactly(uuid.UUID))
BYTES: Final = _row("bytes", bytes, "bytes", "O", _store_bytes)
TUPLE: Final = _row("tuple", tuple, "a tuple or list of 2 to 8 values", "O", _store_tuple)

VALUE_TYPES: Final[Mapping[Keyword, ValueType]] = {
    row.ident: row
    for row in (
        *(REF, LONG, BIGINT, DOUBLE, FLOAT, BIGDEC, BOOLEAN, INSTANT),
        *(STRING, KEYWORD, SYMBOL, URI, UUID, BYTES, TUPLE),
    )
}


def order_key(value: Stored) -> Any:
    """Return a key that orders stored values of one type; None, which only stands inside tuples, comes first.

    Numbers, strings and the other plain types order themselves; this is for tuples, whose slots may be None.
    """
    if type(value) is tuple:
        return tuple((slot is not None, order_key(slot)) for slot in value)
    return value


def is_nan(value: Stored) -> bool:
    """Tell whether a stored value is the float that equals nothing."""
    return type(value) is float and math.isnan(value)
