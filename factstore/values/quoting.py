"""Quoting: any value as short text, for the messages of errors.

A message must not fail, hang or grow because of the very value that it complains of: one that contains itself, is nested without
end, has a million digits, or raises in its own `__repr__`.
Law: `quoted` returns at most `limit` characters, in bounded time, and never raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

LONGEST: Final = 200  # characters
_DEEPEST: Final = 8  # levels of nesting that are shown
_MOST_BITS: Final = 2_000  # of an int that Python turns into text whatever its limit of digits is
_BRACKETS: Final[Mapping[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
}


def quoted(value: object, limit: int = LONGEST) -> str:
    """Return a value as Python shows it, cut to `limit` characters.

    >>> circle = []
    >>> circle.append(circle)
    >>> print(quoted(["a", 10**5000]), quoted(circle))
    ['a', <int of 16,610 bits>] [[[[[[[[[…]]]]]]]]]
    """
    try:
        text = _text(value, limit, _DEEPEST)
    except Exception:  # whatever the value's own code raises: the message that quotes it counts, not this
        text = f"<{type(value).__name__} that cannot be shown>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def as_name(value: object, limit: int = LONGEST) -> str:
    """Return what stands for a name as it is where it is text, without quotes, and as `quoted` otherwise."""
    return str.__str__(value)[:limit] if isinstance(value, str) else quoted(value, limit)


def text_of(value: object) -> str:
    """Return a value as `str` does, and as `quoted` does where that fails: for a number of too many digits, for instance."""
    try:
        return str(value)
    except Exception:  # of the value's own code
        return quoted(value)


def described(value: object, limit: int = LONGEST) -> str:
    """Return a value as `quoted` does, with its type."""
    return f"{quoted(value, limit)} ({type(value).__name__})"


def _text(value: Any, room: int, levels: int) -> str:
    kind = type(value)
    if kind is int and value.bit_length() > _MOST_BITS:
        return f"<int of {value.bit_length():,} bits>"
    if kind is str or kind is bytes:
        return repr(value[:room])
    brackets = _BRACKETS.get(kind)
    if brackets is None:
        return repr(value)
    if not levels:
        return "…".join(brackets)
    if not value:
        return repr(value)
    parts = _pairs(value, room, levels - 1) if kind is dict else _items(value, room, levels - 1)
    inside = _joined(parts, room)
    return f"{brackets[0]}{inside}{',' if kind is tuple and len(value) == 1 else ''}{brackets[1]}"


def _items(values: Iterable[Any], room: int, levels: int) -> Iterator[str]:
    return (_text(value, room, levels) for value in values)


def _pairs(mapping: Mapping[Any, Any], room: int, levels: int) -> Iterator[str]:
    return (f"{_text(key, room, levels)}: {_text(value, room, levels)}" for key, value in mapping.items())


def _joined(parts: Iterator[str], room: int) -> str:
    """Join parts until there are more characters than will be shown."""
    joined = ""
    for part in islice(parts, room):
        joined = f"{joined}, {part}" if joined else part
        if len(joined) > room:
            break
    return joined
