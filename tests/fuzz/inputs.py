"""Inputs for the fuzzer: texts that are nearly right, values of every kind, and forms with one part replaced.

Everything is drawn from a `random.Random`, so that a seed repeats a run.
"""

from __future__ import annotations

import copy
import math
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any, Final

import numpy as np

from factstore import Keyword, Symbol, Uri

FRAGMENTS: Final = (
    *"()[]{}\"\\;:#_/.+-0129aeEMNu, \n'@^`~%$?*&|<>=!\t\r\0\x7f",
    *("#{", "#_", "#inst", '#inst "2026-01-01"', "#uuid ", "#:a", "##Inf", "##NaN", "nil", "true", "[[", "]]", "...", "?e", "$", "%", "_"),
    *(":a/b", ":db/id", ":where", ":find", ":in", "(or ", "(not ", "(and ", "(pull ?e [*])", "(count ?e)", "1N", "1.5M", "1e400", "-0.0"),
    *("\ud800", "\ufeff", "\u2028", "é", "😀", "٣", "9" * 30, "9" * 5000, "x" * 1000, "A" * 50, "\\u0000", "\\uD83D", "'", ",", '""'),
)


def text(rng: Random, corpus: Sequence[str], fragments: Sequence[str] = FRAGMENTS) -> str:
    """Return a text of a corpus with some changes, some fragments put together, or any text."""
    kind = rng.random()
    if kind >= 0.95:
        return rng.randbytes(rng.randint(0, 250)).rstrip(b"\0").decode("utf-8", "replace")
    if kind >= 0.85:
        return "".join(rng.choices(fragments, k=rng.randint(0, 30)))
    made = rng.choice(corpus)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        made = rng.choice(_CHANGES)(rng, made, corpus, fragments)[:200_000]
    return made


def _span(rng: Random, whole: str, longest: int = 20) -> tuple[int, int]:
    start = rng.randint(0, len(whole))
    return start, min(len(whole), start + rng.randint(0, longest))


def _insert(rng: Random, whole: str, corpus: Sequence[str], fragments: Sequence[str]) -> str:
    at = rng.randint(0, len(whole))
    return whole[:at] + rng.choice(fragments) + whole[at:]


def _delete(rng: Random, whole: str, corpus: Sequence[str], fragments: Sequence[str]) -> str:
    start, end = _span(rng, whole)
    return whole[:start] + whole[end:]


def _replace(rng: Random, whole: str, corpus: Sequence[str], fragments: Sequence[str]) -> str:
    start, end = _span(rng, whole, 6)
    return whole[:start] + rng.choice(fragments) + whole[end:]


def _repeat(rng: Random, whole: str, corpus: Sequence[str], fragments: Sequence[str]) -> str:
    start, end = _span(rng, whole, 60)
    return whole[:end] + whole[start:end] * rng.choice((1, 2, 20, 300)) + whole[end:]


def _cut(rng: Random, whole: str, corpus: Sequence[str], fragments: Sequence[str]) -> str:
    return whole[: rng.randint(0, len(whole))]


def _splice(rng: Random, whole: str, corpus: Sequence[str], fragments: Sequence[str]) -> str:
    other = rng.choice(corpus)
    return whole[: rng.randint(0, len(whole))] + other[rng.randint(0, len(other)) :]


def _nest(rng: Random, whole: str, corpus: Sequence[str], fragments: Sequence[str]) -> str:
    start, end = _span(rng, whole, 40)
    opener, closer = rng.choice((("[", "]"), ("(", ")"), ("{:a ", "}"), ("#{", "}"), ("(or ", ")"), ("(not ", ")"), ("[{:p/to ", "}]")))
    levels = rng.choice((1, 2, 20, 90, 300, 20_000))
    return whole[:start] + opener * levels + whole[start:end] + closer * levels + whole[end:]


def _swap(rng: Random, whole: str, corpus: Sequence[str], fragments: Sequence[str]) -> str:
    words = whole.split(" ")
    i, j = rng.randrange(len(words)), rng.randrange(len(words))
    words[i], words[j] = words[j], words[i]
    return " ".join(words)


_CHANGES: Final[tuple[Callable[[Random, str, Sequence[str], Sequence[str]], str], ...]] = (
    *(_insert, _delete, _replace, _repeat, _cut, _splice, _nest, _swap),
)


class Unshowable:
    """Has no text: a message that quotes it must do without."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def circle(rng: Random) -> Any:
    """Return a value that contains itself."""
    in_list: list[Any] = [1]
    in_map: dict[Any, Any] = {":p/name": "x"}
    in_list.append(rng.choice((in_list, (in_list,), [in_list, in_list], {"a": in_list})))
    in_map[rng.choice((":p/to", ":a", Keyword(":b")))] = rng.choice((in_map, [in_map], [in_map, in_map], (in_map,)))
    return rng.choice((in_list, in_map))


def nested(rng: Random) -> Any:
    """Return a value with many levels."""
    kind = rng.choice((list, tuple, frozenset, dict))
    value: Any = kind()
    for _ in range(rng.choice((3, 50, 99, 101, 300, 3000, 30_000)) if kind is not frozenset else rng.randint(1, 150)):
        value = {rng.choice((":p/to", "a", ":or")): value} if kind is dict else kind([value])
    return value


_ATOMS: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 5, 1 << 31, (1 << 63) - 1, 1 << 63, -(1 << 63) - 1, 1 << 70, 10**5000, -(10**4301)),
    *(0.0, -0.0, 1.5, 1e300, 5e-324, math.nan, math.inf, -math.inf, Decimal("1.10"), Decimal("NaN"), Decimal("1e999999"), Fraction(1, 3)),
    *("", "a", "x" * 5000, ":a", ":a/b", ":", "::", "?e", "$", "%", "_", "...", ".", "*", "a/b", "\ud800", "a\0b", "😀", "٣"),
    *(b"", b"\xff", bytearray(b"x"), memoryview(b"y"), uuid.UUID(int=5), date(2026, 1, 1), timedelta(1), object(), int, len, Ellipsis),
    *(datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
    *(Keyword(":p/name"), Keyword(":p/age"), Keyword(":find"), Symbol("?e"), Symbol("or"), Symbol("..."), Symbol("$"), Uri("x:y")),
    *(np.int64(3), np.float32(0.1), np.datetime64("NaT"), np.array([1, 2]), np.array([[1, 2]]), range(3), 1j, Unshowable()),
)


def value(rng: Random, depth: int = 3) -> Any:
    """Return a value of any kind."""
    roll = rng.random()
    if roll < 0.03:
        return circle(rng)
    if roll < 0.05:
        return nested(rng)
    if roll < 0.6 or depth == 0:
        return rng.choice(_ATOMS)
    parts = [value(rng, depth - 1) for _ in range(rng.choice((0, 1, 1, 2, 3, 5)))]
    kind = rng.choice(("list", "list", "tuple", "dict", "set", "frozenset", "iterator"))
    if kind == "iterator":
        return iter(parts)
    if kind == "dict":
        return dict(zip(map(_hashable, parts), reversed(parts), strict=True))
    if kind in ("set", "frozenset"):
        return (set if kind == "set" else frozenset)(map(_hashable, parts))
    return parts if kind == "list" else tuple(parts)


def _hashable(part: Any) -> Any:
    if isinstance(part, tuple | list | dict | set | memoryview | bytearray | np.ndarray):
        return "part"
    try:
        hash(part)
    except TypeError:
        return "part"
    return part


def changed(rng: Random, form: Any) -> Any:
    """Return a copy of a form with one to three of its parts replaced, repeated, dropped or wrapped."""
    made = copy.deepcopy(form)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        made = _changed_part(rng, made)
    return made


def _changed_part(rng: Random, form: Any, depth: int = 6) -> Any:
    if not depth:  # the form may contain itself by now
        return value(rng, 1)
    if isinstance(form, dict) and form and rng.random() < 0.85:
        key = rng.choice(list(form))
        if rng.random() < 0.15:
            return {(_hashable(value(rng, 1)) if each is key else each): part for each, part in form.items()}
        return {**form, key: _changed_part(rng, form[key], depth - 1)}
    if isinstance(form, list | tuple) and len(form) and rng.random() < 0.85:
        at, kind = rng.randrange(len(form)), type(form)
        changed = _changed_part(rng, form[at], depth - 1)
        middle = rng.choice(([changed], [changed], [], [form[at], form[at]], [form]))
        return kind([*form[:at], *middle, *form[at + 1 :]])
    return value(rng)
