"""Guessing: the value type of a column, from all its values.

    texts of CSV     long, bigint, double, boolean, instant, uuid, or string: the first that reads each text exactly
    EDN              by the type of each value
    other values     by their Python type; texts that are all times with a zone are instants; mixed ones are strings,
                     written as in JSON

Law: each value of the column can be converted to the guessed type, and no text of digits loses a zero.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from factstore.tables.texts import MISSING
from factstore.values.types import LONG_MAX, LONG_MIN, Keyword, Symbol, Uri

INFINITIES: Final = ("inf", "-inf")


class Guess(NamedTuple):
    """The type of a column.

    Args:
        kind: the name of a value type; None for a column without values.
        convert: from a value of the file to a value of the type; None if nothing is to convert.
        reason: why no value type has all values of the column; empty if one has.
    """

    kind: str | None
    is_many: bool = False
    convert: Callable[[Any], Any] | None = None
    reason: str = ""


class Seen:
    """The values of a column so far, as the kinds that each of them may have."""

    def __init__(self, *, is_text: bool, is_typed: bool) -> None:
        self._is_text = is_text
        self._texts = _OF_CSV if is_text else ("string",) if is_typed else _OF_TEXT
        self._kinds: set[str] = set()
        self._possible: Sequence[str] | None = None  # of texts
        self._is_many = False

    def add(self, value: Any) -> None:
        """Take note of a value."""
        if value is None or (self._is_text and value in MISSING):
            return
        if isinstance(value, list | tuple):
            self._is_many = True
            for item in value:
                self._add(item)
        else:
            self._add(value)

    def _add(self, value: Any) -> None:
        if isinstance(value, str) and not isinstance(value, Keyword | Symbol | Uri):
            before = self._texts if self._possible is None else self._possible
            self._possible = [kind for kind in before if _PATTERNS[kind](value)]
            self._kinds.add("string")
        else:
            self._kinds.add(_kind_of(value))

    def guess(self) -> Guess:
        """Return the type of the column."""
        kinds = set(self._kinds)
        if not kinds:
            return Guess(None)
        possible = (self._possible or ["string"])[0]
        if possible == "infinite" and kinds <= {"string", "long", "double"}:
            return Guess("double", self._is_many, float)
        if kinds == {"string"}:
            kind = possible.replace("zoned", "instant")
            return Guess(kind, self._is_many, _READERS.get(kind))
        for mixed, kind in _MIXED:
            if kinds == mixed:
                return Guess(kind, self._is_many, _CONVERT.get(kind))
        if len(kinds) == 1 and kinds != {"other"}:
            (kind,) = kinds
            return Guess(kind, self._is_many, _CONVERT.get(kind))
        reason = "bytes and values of other types" if "bytes" in kinds else ""
        return Guess("string", self._is_many, written, reason)


def guessed(
    rows: Iterable[Mapping[str, Any]], *, is_text: bool, is_typed: bool = False
) -> tuple[dict[str, Guess], int]:
    """Return the guess for each column, and the number of rows."""
    seen: dict[str, Seen] = {}
    count = 0
    for row in rows:
        count += 1
        for name, value in row.items():
            column = seen.get(name)
            if column is None:
                column = seen[name] = Seen(is_text=is_text, is_typed=is_typed)
            column.add(value)
    return {name: column.guess() for name, column in seen.items()}, count


def _kind_of(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return "long" if LONG_MIN <= value <= LONG_MAX else "bigint"
    return next((kind for python, kind in _KINDS if isinstance(value, python)), "other")


def in_utc(value: Any) -> datetime:
    """Return a text, a date or a datetime as a datetime; one without a zone is in UTC."""
    moment: datetime = datetime.fromisoformat(value.strip()) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        moment = datetime.combine(value, datetime.min.time())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def written(value: Any) -> str:
    """Return a value as a text: a text as it is, an infinity as inf, other values as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | list | tuple | Mapping):
        return json.dumps(value, ensure_ascii=False, default=_written_part)
    return _written_part(value)


def _written_part(value: Any) -> str:
    """Return a value that JSON does not have as a text."""
    if isinstance(value, date | time):
        return value.isoformat()
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _is_whole(text: str) -> bool:
    return bool(_WHOLE.fullmatch(text))


def _is_long(text: str) -> bool:
    return _is_whole(text) and len(text) < 21 and LONG_MIN <= int(text) <= LONG_MAX


def _is_real(text: str) -> bool:
    """Return whether a text is a number with few digits, or the text that Python writes for a double."""
    if _REAL.fullmatch(text) and len(text) < 18:
        return True
    return text in INFINITIES or (bool(_WRITTEN.fullmatch(text)) and repr(float(text)) == text)


def _is_time(text: str) -> bool:
    if not _TIME.match(text):
        return False
    try:
        in_utc(text)
    except ValueError:
        return False
    return True


_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,4000}")
_REAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?")
_WRITTEN: Final = re.compile(r"-?[0-9]{1,17}(?:\.[0-9]{1,20})?(?:e[+-][0-9]{2,3})?")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?|$)")
_WITH_ZONE: Final = re.compile(r".*T.*(?:Z|[+-][0-9]{2}:?[0-9]{2})")
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_PATTERNS: Final[Mapping[str, Callable[[str], bool]]] = {
    "long": _is_long,
    "bigint": _is_whole,
    "double": _is_real,
    "infinite": lambda text: text in INFINITIES,
    "boolean": lambda text: text in ("true", "false", "True", "False"),
    "instant": _is_time,
    "uuid": lambda text: bool(_UUID.fullmatch(text)),
    "zoned": lambda text: bool(_WITH_ZONE.fullmatch(text)) and _is_time(text),
    "string": lambda _text: True,
}
_OF_CSV: Final = ("long", "bigint", "double", "boolean", "instant", "uuid", "string")
_OF_TEXT: Final = ("zoned", "uuid", "infinite", "string")
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {"instant": in_utc, "uuid": UUID}
_KINDS: Final = (
    (bool, "boolean"),
    (Keyword, "keyword"),
    (Symbol, "symbol"),
    (Uri, "uri"),
    (float, "double"),
    (Decimal, "bigdec"),
    (date, "instant"),  # also datetime
    (UUID, "uuid"),
    (bytes, "bytes"),
    (Mapping, "part"),
)
_MIXED: Final = (({"long", "bigint"}, "bigint"), ({"long", "double"}, "double"))
_CONVERT: Final[Mapping[str, Callable[[Any], Any]]] = {"double": float, "instant": in_utc}
