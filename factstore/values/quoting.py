"""Values as short text, for error messages.

A message must not fail, hang or grow because of its value, which may contain itself, be nested endlessly, have a
million digits, or raise an exception in `__repr__`.
Law: `quoted` returns at most `limit` characters, in bounded time, and never raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

LONGEST: Final = 200  # characters
_DEEPEST: Final = 8  # levels of nesting that are shown
_MOST_BITS: Final = 2_000  # of an int that Python converts to text with any limit of digits
_BRACKETS: Final[Mapping[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
}


def quoted(value: object, limit: int = LONGEST) -> str:
    """Return the `repr` of a value, cut to `limit` characters.

    >>> circle = []
    >>> circle.append(circle)
    >>> print(quoted(["a", 10**5000]), quoted(circle))
    ['a', <int of 16,610 bits>] [[[[[[[[[…]]]]]]]]]
    """
    try:
        text = _text(value, limit, _DEEPEST)
    except Exception:  # of the code of the value; the message is more important
        text = f"<{type(value).__name__} that cannot be shown>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def as_name(value: object, limit: int = LONGEST) -> str:
    """Return text without quotes, and any other value as `quoted` does."""
    return str.__str__(value)[:limit] if isinstance(value, str) else quoted(value, limit)


def did_you_mean(names: Sequence[str], otherwise: str = "") -> str:
    """Return the end of a message that suggests the nearest names; `otherwise` if there is none.

    >>> did_you_mean(["odd", "even?"])
    '; did you mean odd or even?'
    """
    if not names:
        return otherwise
    return f"; did you mean {' or '.join(names).removesuffix('?')}?"


def text_of(value: object) -> str:
    """Return a value as `str` does; as `quoted` does if that fails, for example for a number of too many digits."""
    try:
        return str(value)
    except Exception:  # of the code of the value
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
    """Join parts until the text exceeds the characters to show."""
    joined = ""
    for part in islice(parts, room):
        joined = f"{joined}, {part}" if joined else part
        if len(joined) > room:
            break
    return joined
