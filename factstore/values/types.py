"""The types of values in datoms.

Each value type is one row of `VALUE_TYPES`: the values that users write, their check, the *stored* form in novelty,
columns, log and queries, and the conversion back. Stored values are ordered and hashable: plain numbers if numpy has a
type for them (an instant is its microseconds since 1970), otherwise the Python value.

Values of other Python types (scalars of numpy, enumerations, subclasses) are converted in one place, `plain`, for all
inputs: tx-data, inputs of queries, tables, arguments of reads.

Law: for each type, `load(store(x)) == x`, and stored values have the order of the values. A value is stored exactly, or
rejected with a ValueError that has the reason.
"""

from __future__ import annotations

import re
import struct
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final, Self, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from factstore.values.quoting import quoted

LONG_MIN: Final = -(1 << 63)
LONG_MAX: Final = (1 << 63) - 1


class Keyword(str):
    """An EDN keyword, interned; its text includes the colon, so `row[":person/name"]` also works with plain strings.

    >>> Keyword(":person/name") is Keyword(":person/name"), Keyword(":person/name").namespace
    (True, 'person')
    """

    __slots__ = ("__weakref__",)
    _interned: ClassVar[WeakValueDictionary[str, Keyword]] = WeakValueDictionary()

    def __new__(cls, text: str) -> Self:
        keyword = cls._interned.get(text)
        if keyword is None:
            if not _KEYWORD.fullmatch(text):
                raise ValueError(f"a keyword looks like :name or :namespace/name, got {quoted(text)}")
            keyword = cls._interned.setdefault(text, super().__new__(cls, text))
        return keyword  # type: ignore[return-value]

    @staticmethod
    def is_one(text: str) -> bool:
        """Return whether a text reads as a keyword."""
        return bool(_KEYWORD.fullmatch(text))

    def __reduce__(self) -> tuple[Any, ...]:
        return Keyword, (str(self),)

    def __repr__(self) -> str:
        return str(self)

    @property
    def namespace(self) -> str | None:
        """The part before the slash, without the colon; None if there is none."""
        head, slash, _ = self[1:].partition("/")
        return head if slash and head else None

    @property
    def name(self) -> str:
        """The part after the slash, or the whole text without the colon."""
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
    """A value of `:db.type/uri`; stored as it was written."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Uri({str(self)!r})"


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def instant_to_micros(instant: datetime) -> int:
    """Return the microseconds since 1970 of an aware datetime, exactly."""
    return (instant - EPOCH) // _MICROSECOND


# Datetimes of other zones near the ends of the calendar are beyond these limits: in UTC they are no datetimes.
INSTANT_MIN: Final = instant_to_micros(datetime.min.replace(tzinfo=UTC))
INSTANT_MAX: Final = instant_to_micros(datetime.max.replace(tzinfo=UTC))


def micros_to_instant(micros: int) -> datetime:
    """Return the aware UTC datetime of these microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)


# -- what users write

ANOTHER_TYPE: Final = "of another type"
# The types that values have in the store, in queries and in answers.
OWN_TYPES: Final = frozenset(
    (int, float, bool, datetime, str, Keyword, Symbol, Uri, bytes, Decimal, uuid.UUID, type(None))
)


def plain(value: Any) -> Any:
    """Return a value as one of the value types if that is exact; return any other value unchanged.

    Scalars of numpy and pyarrow, members of IntEnum and StrEnum, bytearrays and memoryviews, and instances of
    subclasses are converted to the value that they contain. A marker of a missing value (pandas.NA, NaT, a null of
    pyarrow) is None.
    An instance of a subclass of datetime is unchanged, because it can have nanoseconds and a zone of its own.

    >>> from enum import IntEnum
    >>> plain(IntEnum("Size", {"BIG": 7}).BIG), plain(bytearray(b"a")), plain(1.5)
    (7, b'a', 1.5)
    """
    if type(value) in OWN_TYPES:
        return value
    if is_missing(value):
        return None
    if _is_of("numpy", "generic", value):
        return _from_numpy(value)
    if _is_of("pyarrow", "Scalar", value):
        return _from_arrow(value)
    for base, convert in _SUBCLASSES:
        if isinstance(value, base):
            return convert(value)
    return value


_MARKERS: Final[Mapping[str, str]] = {"NAType": "pandas", "NaTType": "pandas", "MaskedConstant": "numpy"}


def is_missing(value: Any) -> bool:
    """Return whether a value is a marker of a missing value.

    These are None, pandas.NA, pandas.NaT, NaT and masked of numpy, and a null of pyarrow. NaN is a number.
    """
    if value is None:
        return True
    kind = type(value)
    if kind in OWN_TYPES:
        return False
    package = _MARKERS.get(kind.__name__)
    if package is not None:
        return kind.__module__.partition(".")[0] == package
    if _is_of("pyarrow", "Scalar", value):
        return not value.is_valid
    return _is_of("numpy", "generic", value) and value.dtype.kind in "mM" and bool(value != value)


def is_nan(value: Any) -> bool:
    """Return whether a value is a NaN of any type."""
    if isinstance(value, Decimal):
        return value.is_nan()
    return (isinstance(value, float) or _is_of("numpy", "floating", value)) and bool(value != value)


def is_naive(value: Any) -> bool:
    """Return whether a value is a datetime without a time zone, which is no definite instant."""
    kind = type(value)
    if kind in OWN_TYPES and kind is not datetime:
        return False
    if isinstance(value, datetime):
        return not is_missing(value) and _offset(value) is None
    return _is_of("numpy", "datetime64", value) and not is_missing(value)


def _offset(value: datetime) -> timedelta | None:
    try:
        return value.utcoffset()
    except NotImplementedError:  # of an incomplete `tzinfo`
        return None


def _is_of(package: str, name: str, value: Any) -> bool:
    """Return whether a value is an instance of a class of a package, without importing the package."""
    module = sys.modules.get(package)
    kind = getattr(module, name, None)
    return kind is not None and isinstance(value, kind)


def _from_numpy(value: Any) -> Any:
    kind = value.dtype.kind
    if kind == "b":
        return bool(value)
    if kind in "iu":
        return int(value)
    if kind == "f":
        number = float(value)
        return number if number == value or number != number else value  # a longdouble can be more precise than a float
    if kind in "US":
        return str.__str__(value) if kind == "U" else memoryview(value).tobytes()
    return value


def _from_arrow(value: Any) -> Any:
    try:
        return plain(value.as_py())
    except ValueError:
        return value  # nanoseconds, which a datetime cannot represent


def first_nanoseconds(series: Any) -> int | None:
    """Return the position of the first instant of a polars series with nanoseconds, which polars itself would cut."""
    if getattr(getattr(series, "dtype", None), "time_unit", None) != "ns" or not hasattr(series, "to_physical"):
        return None
    positions = ((series.to_physical() % 1000).fill_null(0) != 0).arg_true()
    return int(positions[0]) if len(positions) else None


_SUBCLASSES: Final[tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...]] = (
    (int, int.__int__),
    (float, float.__float__),
    (Keyword, lambda value: Keyword(str.__str__(value))),
    (Symbol, lambda value: Symbol(str.__str__(value))),
    (Uri, lambda value: Uri(str.__str__(value))),
    (str, str.__str__),
    ((bytes, bytearray, memoryview), lambda value: memoryview(value).tobytes()),
    (Decimal, lambda value: Decimal(value)),
    (uuid.UUID, lambda value: uuid.UUID(int=value.int)),
)


Stored: TypeAlias = Any  # int, float, bool, str, bytes, Keyword, Symbol, Uri, UUID, Decimal or a tuple of such


@dataclass(frozen=True, slots=True)
class ValueType:
    """One row of the table of value types."""

    ident: Keyword
    kind: type  # exact Python type of a stored value; a quick check before `store`
    wants: str  # what users write, for messages
    dtype: str  # numpy dtype of a column: "i8", "f8", "?" or "O"
    store: Callable[[Any], Stored]  # value of a user → stored form; ValueError for another type
    load: Callable[[Stored], Any] | None = None  # stored form → value for users; None is the identity

    @property
    def name(self) -> str:
        """The short name of the type: "long" of `:db.type/long`."""
        return self.ident.name


def _exactly(kind: type) -> Callable[[Any], Any]:
    def store(value: Any) -> Any:
        return value if type(value) is kind else _as(kind, value)

    return store


def _as(kind: type, value: Any) -> Any:
    """Return a value as one of a type if that is exact. Raises: ValueError."""
    same = plain(value)
    if type(same) is not kind:
        if is_missing(value):
            raise ValueError("it marks a missing value; leave the fact out")
        raise ValueError(ANOTHER_TYPE)
    return same


def _store_long(value: Any) -> int:
    if type(value) is not int:
        value = _as(int, value)
    if not LONG_MIN <= value <= LONG_MAX:
        raise ValueError("outside 64 bits; a :db.type/bigint holds it")
    return value  # type: ignore[no-any-return]


def _store_string(value: Any) -> str:
    text: str = value if type(value) is str else _as(str, value)
    return text if text.isascii() else _encodable(text)


T = TypeVar("T", bound=str)


def _encodable(text: T) -> T:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("a lone surrogate, which no UTF-8 text can hold") from None
    return text


_MOST_DIGITS: Final = 4300  # the limit of Python
_BEYOND: Final = 10**_MOST_DIGITS


def _store_bigint(value: Any) -> int:
    whole: int = value if type(value) is int else _as(int, value)
    if not -_BEYOND < whole < _BEYOND:
        raise ValueError(f"more than {_MOST_DIGITS:,} digits")
    return whole


def _store_double(value: Any) -> float:
    if type(value) is not float:
        value = _as(float, value)
    if value != value:
        # NaN equals no value: it could never be found, replaced or retracted.
        raise ValueError("not a number; leave the fact out")
    return value  # type: ignore[no-any-return]


def _store_float(value: Any) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", _store_double(value)))[0])
    except OverflowError:
        raise ValueError("outside the range of a 32-bit float") from None


def _store_instant(value: Any) -> int:
    if type(value) is not datetime:
        value = _datetime(value)
    if value.tzinfo is UTC:
        return (value - EPOCH) // _MICROSECOND  # type: ignore[no-any-return]  # within the limits
    if _offset(value) is None:
        raise ValueError(_NAIVE)
    micros = instant_to_micros(value)
    if not INSTANT_MIN <= micros <= INSTANT_MAX:
        raise ValueError("in UTC it lies outside of the years 1 to 9999")
    return micros


_NAIVE: Final = "a naive datetime; say its time zone, as in datetime.now(UTC)"


def _datetime(value: Any) -> datetime:
    same = plain(value)
    if isinstance(same, datetime):
        if getattr(same, "nanosecond", 0):
            raise ValueError("an instant has microseconds, and this one has nanoseconds; round it first")
        return same
    if is_naive(value):
        raise ValueError(_NAIVE)
    return _as(datetime, value)  # type: ignore[no-any-return]  # raises ValueError


def _store_keyword(value: Any) -> Keyword:
    if type(value) is Keyword:
        return _encodable(value)
    same = plain(value)
    if type(same) is str and same.startswith(":"):
        same = Keyword(same)
    return _encodable(same if type(same) is Keyword else _as(Keyword, value))


def _named(kind: type[T]) -> Callable[[Any], T]:
    def store(value: Any) -> T:
        return _encodable(value if type(value) is kind else _as(kind, value))

    return store


def _store_bigdec(value: Any) -> Decimal:
    if type(value) is not Decimal:
        value = _as(Decimal, value)
    if not value.is_finite():
        raise ValueError("not a finite number")
    return value  # type: ignore[no-any-return]


def _store_tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(ANOTHER_TYPE)
    return tuple(value)


def _row(name: str, kind: type, wants: str, dtype: str, store: Callable[[Any], Any], load: Any = None) -> ValueType:
    return ValueType(Keyword(f":db.type/{name}"), kind, wants, dtype, store, load)


REF: Final = _row("ref", int, "an entity id, ident, lookup ref or tempid", "i8", _store_long)
LONG: Final = _row("long", int, "an int within 64 bits", "i8", _store_long)
BIGINT: Final = _row("bigint", int, "an int of at most 4,300 digits", "O", _store_bigint)
DOUBLE: Final = _row("double", float, "a float", "f8", _store_double)
FLOAT: Final = _row("float", float, "a float of 32 bits", "f8", _store_float)
BIGDEC: Final = _row("bigdec", Decimal, "a decimal.Decimal", "O", _store_bigdec)
BOOLEAN: Final = _row("boolean", bool, "a bool", "?", _exactly(bool))
INSTANT: Final = _row("instant", int, "an aware datetime", "i8", _store_instant, micros_to_instant)
STRING: Final = _row("string", str, "a str", "O", _store_string)
KEYWORD: Final = _row("keyword", Keyword, 'a Keyword, or a str such as ":red"', "O", _store_keyword)
SYMBOL: Final = _row("symbol", Symbol, "a Symbol", "O", _named(Symbol))
URI: Final = _row("uri", Uri, "a Uri", "O", _named(Uri))
UUID: Final = _row("uuid", uuid.UUID, "a uuid.UUID", "O", _exactly(uuid.UUID))
BYTES: Final = _row("bytes", bytes, "bytes", "O", _exactly(bytes))
TUPLE: Final = _row("tuple", tuple, "a tuple or list of 2 to 8 values", "O", _store_tuple)

VALUE_TYPES: Final[Mapping[Keyword, ValueType]] = {
    row.ident: row
    for row in (
        *(REF, LONG, BIGINT, DOUBLE, FLOAT, BIGDEC, BOOLEAN, INSTANT),
        *(STRING, KEYWORD, SYMBOL, URI, UUID, BYTES, TUPLE),
    )
}


def order_key(value: Stored) -> Any:
    """Return a key that orders stored values of one type. None, which can only be a slot of a tuple, comes first.

    Only tuples need the key, because their slots can be None. The other types have an order of their own.
    """
    if type(value) is tuple:
        return tuple((slot is not None, order_key(slot)) for slot in value)
    return value
