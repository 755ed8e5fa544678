"""Values as programs hold them, and what each of them is to the store: a table, for tests that go through every entrance."""

from __future__ import annotations

import enum
import math
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from factstore import Keyword, Symbol, Uri


class Size(enum.IntEnum):
    BIG = 7


class Flags(enum.IntFlag):
    A = 4


class Color(enum.StrEnum):
    RED = ":red"
    PLAIN = "plain"


class Mood(enum.Enum):
    GOOD = 7


class MyInt(int):
    pass


class MyFloat(float):
    pass


class MyText(str):
    def __str__(self) -> str:
        return "not what it holds"


class MyBytes(bytes):
    pass


class MyDecimal(Decimal):
    pass


class MyUuid(UUID):
    pass


class MyDatetime(datetime):
    pass


class NoOffset(tzinfo):
    """A time zone that says no offset."""

    def utcoffset(self, _at: datetime | None) -> timedelta | None:
        return None


class Odd(NamedTuple):
    """A value, and what it is kept as by the types of attributes that take it; every other type rejects it."""

    name: str
    value: Any
    kept: dict[str, Any]


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))


def whole(number: int, **more: Any) -> dict[str, Any]:
    return {"long": number, "bigint": number, **more}


def real(number: float) -> dict[str, Any]:
    return {"double": number, "float": float(np.float32(number))}


# Names are unique; values are made once, for none of them changes.
ODD: tuple[Odd, ...] = (
    # whole numbers
    Odd("int", 7, whole(7)),
    Odd("negative int", -7, whole(-7)),
    Odd("IntEnum", Size.BIG, whole(7)),
    Odd("IntFlag", Flags.A, whole(4)),
    Odd("subclass of int", MyInt(7), whole(7)),
    Odd("int8", np.int8(-7), whole(-7)),
    Odd("int32", np.int32(7), whole(7)),
    Odd("int64", np.int64(7), whole(7)),
    Odd("uint8", np.uint8(7), whole(7)),
    Odd("uint64 beyond int64", np.uint64(2**64 - 1), {"bigint": 2**64 - 1}),
    Odd("least long", -(1 << 63), whole(-(1 << 63))),
    Odd("greatest long", (1 << 63) - 1, whole((1 << 63) - 1)),
    Odd("int beyond 64 bits", 1 << 70, {"bigint": 1 << 70}),
    Odd("plain enumeration", Mood.GOOD, {}),
    # truth
    Odd("true", True, {"boolean": True}),
    Odd("false", False, {"boolean": False}),
    Odd("numpy's true", np.bool_(True), {"boolean": True}),
    Odd("numpy's false", np.bool_(False), {"boolean": False}),
    # real numbers
    Odd("float", 0.5, real(0.5)),
    Odd("float that 32 bits round", 0.1, real(0.1)),
    Odd("infinity", math.inf, real(math.inf)),
    Odd("float beyond 32 bits", 1e300, {"double": 1e300}),
    Odd("subclass of float", MyFloat(0.5), real(0.5)),
    Odd("float16", np.float16(0.5), real(0.5)),
    Odd("float32", np.float32(0.1), real(float(np.float32(0.1)))),
    Odd("float64", np.float64(0.1), real(0.1)),
    Odd("longdouble that fits", np.longdouble(0.5), real(0.5)),
    Odd("nan", math.nan, {}),
    Odd("numpy's nan", np.float64("nan"), {}),
    Odd("complex", 1j, {}),
    Odd("decimal", Decimal("1.50"), {"bigdec": Decimal("1.50")}),
    Odd(
        "decimal of 40 digits",
        Decimal("1234567890123456789012345678901234567.89"),
        {"bigdec": Decimal("1234567890123456789012345678901234567.89")},
    ),
    Odd("subclass of Decimal", MyDecimal("2.50"), {"bigdec": Decimal("2.50")}),
    Odd("decimal nan", Decimal("NaN"), {}),
    Odd("decimal signalling nan", Decimal("sNaN"), {}),
    Odd("decimal infinity", Decimal("Infinity"), {}),
    Odd("fraction", Fraction(1, 2), {}),
    # text
    Odd("str", "plain", {"string": "plain"}),
    Odd("empty str", "", {"string": ""}),
    Odd("str with NUL", "a\0b", {"string": "a\0b"}),
    Odd("str beyond the BMP", "𝄞 naïve", {"string": "𝄞 naïve"}),
    Odd("lone surrogate", "a\ud800", {}),
    Odd("str with a colon", ":red", {"string": ":red", "keyword": Keyword(":red")}),
    Odd("StrEnum", Color.PLAIN, {"string": "plain"}),
    Odd("StrEnum with a colon", Color.RED, {"string": ":red", "keyword": Keyword(":red")}),
    Odd("subclass of str", MyText("held"), {"string": "held"}),
    Odd("numpy's str", np.str_("plain"), {"string": "plain"}),
    Odd("Keyword", Keyword(":a/b"), {"keyword": Keyword(":a/b")}),
    Odd("Symbol", Symbol("a/b"), {"symbol": Symbol("a/b")}),
    Odd("Uri", Uri("https://isle.example/"), {"uri": Uri("https://isle.example/")}),
    Odd("another Symbol", Symbol("c"), {"symbol": Symbol("c")}),
    Odd("another Uri", Uri("urn:x"), {"uri": Uri("urn:x")}),
    Odd("Uri with a surrogate", Uri("\ud800"), {}),
    # bytes
    Odd("bytes", b"\x00\xff", {"bytes": b"\x00\xff"}),
    Odd("bytearray", bytearray(b"ab"), {"bytes": b"ab"}),
    Odd("memoryview", memoryview(b"abcd")[::2], {"bytes": b"ac"}),
    Odd("subclass of bytes", MyBytes(b"ab"), {"bytes": b"ab"}),
    Odd("numpy's bytes", np.bytes_(b"a\0b"), {"bytes": b"a\0b"}),
    # ids
    Odd("UUID", UUID(int=5), {"uuid": UUID(int=5)}),
    Odd("another UUID", UUID(int=6), {"uuid": UUID(int=6)}),
    Odd("subclass of UUID", MyUuid(int=5), {"uuid": UUID(int=5)}),
    # times
    Odd("instant", NOON, {"instant": NOON}),
    Odd("instant elsewhere", NOON.astimezone(EAST), {"instant": NOON}),
    Odd("subclass of datetime", MyDatetime(2026, 1, 1, 12, tzinfo=UTC), {"instant": NOON}),
    Odd("first instant", datetime.min.replace(tzinfo=UTC), {"instant": datetime.min.replace(tzinfo=UTC)}),
    Odd("last instant", datetime.max.replace(tzinfo=UTC), {"instant": datetime.max.replace(tzinfo=UTC)}),
    Odd("before the first instant", datetime.min.replace(tzinfo=EAST), {}),
    Odd("after the last instant", datetime.max.replace(tzinfo=WEST), {}),
    Odd("naive datetime", datetime(2026, 1, 1, 12), {}),
    Odd("datetime without offset", datetime(2026, 1, 1, 12, tzinfo=NoOffset()), {}),
    Odd("datetime of an unfinished zone", datetime(2026, 1, 1, 12, tzinfo=tzinfo()), {}),
    Odd("datetime64", np.datetime64("2026-01-01T12:00"), {}),
    Odd("NaT of numpy", np.datetime64("NaT"), {}),
    Odd("timedelta64", np.timedelta64(5, "s"), {}),
    Odd("date", date(2026, 1, 1), {}),
    Odd("time", time(12), {}),
    Odd("timedelta", timedelta(1), {}),
    # what is no value
    Odd("object", object(), {}),
    Odd("function", len, {}),
    Odd("type", int, {}),
    Odd("dict", {"a": 1}, {}),
    Odd("array", np.array([1, 2]), {}),
    Odd("range", range(2), {}),
    Odd("void", np.void(b"ab"), {}),
)


def of_packages() -> tuple[Odd, ...]:
    """Return the values of pandas and pyarrow, where they are installed."""
    found: list[Odd] = []
    try:
        import pandas as pd
        import pyarrow as pa
    except ImportError:
        return ()
    found += [
        Odd("pandas.NA", pd.NA, {}),
        Odd("pandas.NaT", pd.NaT, {}),
        Odd("Timestamp", pd.Timestamp(NOON), {"instant": NOON}),
        Odd("Timestamp with nanoseconds", pd.Timestamp(NOON) + pd.Timedelta(1, "ns"), {}),
        Odd("naive Timestamp", pd.Timestamp("2026-01-01"), {}),
        Odd("arrow int", pa.scalar(7), whole(7)),
        Odd("arrow text", pa.scalar("plain"), {"string": "plain"}),
        Odd("arrow instant", pa.scalar(NOON), {"instant": NOON}),
        Odd("arrow null", pa.scalar(None, pa.int64()), {}),
    ]
    return tuple(found)


TYPES = ("long", "bigint", "double", "float", "bigdec", "boolean", "instant", "string", "keyword", "symbol", "uri", "uuid", "bytes")
