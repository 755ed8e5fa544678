"""Text of values as in Clojure: `str` and `format` for people, `pr-str` for the EDN reader."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final

from factstore import edn
from factstore.values.numerals import to_digits
from factstore.values.quoting import described

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WIDE: Final = Context(prec=10_000, rounding=ROUND_HALF_UP)
_LEAST_PLAIN, _MOST_PLAIN = 1e-3, 1e7  # smaller and larger doubles are written with an exponent


def text_of(value: Any) -> str:
    """Return the text of a value like Clojure's `str`; values inside a collection are written like `pr-str`."""
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    for kind, show in _SHOWN:
        if isinstance(value, kind):
            return show(value)
    return edn.write(value)


def _double(value: float) -> str:
    """Return a double as Java writes it."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value == 0 or _LEAST_PLAIN <= abs(value) < _MOST_PLAIN:
        return format(Decimal(repr(value)), "f") if "e" in repr(value) else repr(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    rest = "".join(map(str, digits[1:])) or "0"
    return f"{'-' * sign}{digits[0]}.{rest}E{int(exponent) + len(digits) - 1}"


def _instant(value: datetime) -> str:
    moment = value.astimezone(UTC)
    return f"{_DAYS[moment.weekday()]} {_MONTHS[moment.month - 1]} {moment:%d %H:%M:%S} UTC {moment.year}"


def written(value: Any) -> str:
    """Return the text of a value like `pr-str`; lists and tuples are both written as vectors."""
    return edn.write(_vectors(value))


def _vectors(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_vectors(part) for part in value]
    return {key: _vectors(part) for key, part in value.items()} if isinstance(value, Mapping) else value


_SHOWN: Final[tuple[tuple[Any, Callable[[Any], str]], ...]] = (
    (bool, lambda value: "true" if value else "false"),
    (int, to_digits),
    (float, _double),
    (Decimal, str),
    (datetime, _instant),
    ((list, tuple, Mapping), written),
    (AbstractSet, lambda value: "#{" + " ".join(sorted(map(written, value))) + "}"),
    (bytes, repr),
    (object, str),
)

# -- format

_COUNT_DIGITS: Final = 6
_DIRECTIVE: Final = re.compile(r"%(?:(\d+)\$)?([-#+ 0,(]*)(\d+)?(?:\.(\d+))?([a-zA-Z%])")


def formatted(pattern: str, *args: Any) -> str:
    """Return a text with its directives replaced by the arguments, like `java.util.Formatter`.

    Conversions: %d %x %o for integers, %f %e for other numbers, %s for any value, %c for a character, %b, %n and %%.
    Raises: ValueError, TypeError for an invalid directive, and for an argument of the wrong type.
    """
    if type(pattern) is not str:
        raise TypeError(f"expected a string, got {described(pattern)}")
    next_args = iter(args)

    def directive(match: re.Match[str]) -> str:
        position, flags, width, precision, kind = match.groups()
        if kind in ("%", "n"):
            return _padded("%" if kind == "%" else "\n", flags, _count(width, 0))
        try:
            value = args[_count(position, 1) - 1] if position else next(next_args)
        except (StopIteration, IndexError):
            raise ValueError(f"{match[0]} has no argument") from None
        return _padded(_converted(kind, value, flags, precision, match[0]), flags, _count(width, 0))

    rest = _DIRECTIVE.sub("", pattern)
    if "%" in rest:
        raise ValueError(f"{pattern!r} contains a % that does not begin a directive")
    return _DIRECTIVE.sub(directive, pattern)


def _count(digits: str | None, default: int) -> int:
    """Return a number in a directive. Raises: ValueError for one that would need much memory."""
    if digits is not None and len(digits.lstrip("0")) > _COUNT_DIGITS:
        raise ValueError(f"a width, precision or position has at most {_COUNT_DIGITS} digits")
    return int(digits) if digits else default


def _padded(text: str, flags: str, width: int) -> str:
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags:
        sign = text[:1] if text[:1] in ("-", "+", "(", " ") else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _converted(kind: str, value: Any, flags: str, precision: str | None, directive: str) -> str:
    lower = kind.lower()
    if lower == "s":
        text = "null" if value is None else text_of(value)
        text = text if precision is None else text[: _count(precision, 0)]
    elif lower == "b":
        text = "true" if value is not None and value is not False else "false"
    elif lower == "c" and type(value) is str and len(value) == 1:
        text = value
    elif value is None:
        text = "null"
    elif lower in "dxo" and type(value) is int:
        text = _whole(lower, value, flags)
    elif lower in "fe" and type(value) in (float, Decimal):
        text = _fraction(lower, value, flags, _count(precision, 6))
    else:
        raise TypeError(f"{directive} does not accept {described(value)}")
    return text.upper() if kind.isupper() else text


def _whole(kind: str, value: int, flags: str) -> str:
    if kind != "d":  # a negative number is written as the bits of a long
        return format(value % (1 << 64) if value < 0 else value, f"{'#' if '#' in flags else ''}{kind}")
    digits = to_digits(abs(value))
    if "," in flags:
        first = len(digits) % 3 or 3
        digits = ",".join([digits[:first], *(digits[i : i + 3] for i in range(first, len(digits), 3))])
    return _signed(digits, value < 0, flags)


def _fraction(kind: str, value: float | Decimal, flags: str, digits: int) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return _signed("NaN" if math.isnan(value) else "Infinity", value < 0, flags)
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    if kind == "e":
        return _signed(_scientific(abs(exact), digits), exact < 0, flags)
    rounded = abs(exact).quantize(Decimal(1).scaleb(-digits), context=_WIDE)
    return _signed(format(rounded, ",f" if "," in flags else "f"), exact.is_signed(), flags)


def _scientific(value: Decimal, digits: int) -> str:
    exponent = value.adjusted() if value else 0
    head = value.scaleb(-exponent, context=_WIDE).quantize(Decimal(1).scaleb(-digits), context=_WIDE)
    if head >= 10:
        head, exponent = head.scaleb(-1).quantize(Decimal(1).scaleb(-digits), context=_WIDE), exponent + 1
    return f"{head:f}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _signed(text: str, is_negative: bool, flags: str) -> str:
    if is_negative:
        return f"({text})" if "(" in flags else f"-{text}"
    return f"+{text}" if "+" in flags else f" {text}" if " " in flags else text
