"""Clojure's functions of strings, keywords and symbols, and those of clojure.string."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from factstore.clojure.printing import formatted, text_of, written
from factstore.values.quoting import described
from factstore.values.types import Keyword, Symbol

_GROUP: Final = re.compile(r"\\(.)|\$(\d)", re.DOTALL)


def text(value: Any) -> str:
    """Return a string unchanged; reject any other value."""
    if type(value) is not str:
        raise TypeError(f"expected a string, got {described(value)}")
    return value


def pattern_of(value: Any) -> re.Pattern[str]:
    """Return a regular expression, which can be given as a string."""
    return value if isinstance(value, re.Pattern) else re.compile(text(value))


def _symbol(*parts: Any) -> Symbol:
    if len(parts) == 2:
        return Symbol("/".join(map(text, parts)) if parts[0] is not None else text(parts[1]))
    (name,) = parts
    return Symbol(str(name).removeprefix(":") if isinstance(name, Keyword | Symbol) else text(name))


def _keyword(*parts: Any) -> Keyword | None:
    if len(parts) == 2:
        return Keyword(f":{text(parts[0])}/{text(parts[1])}" if parts[0] is not None else f":{text(parts[1])}")
    (name,) = parts
    if isinstance(name, Keyword):
        return name
    return Keyword(f":{str(name).removeprefix(':')}") if isinstance(name, str) else None


def _replacement(new: str) -> Callable[[re.Match[str]], str]:
    """Return a function that inserts the groups of a match into a replacement: $1 is the first group, \\$ a dollar."""

    def replaced(match: re.Match[str]) -> str:
        return _GROUP.sub(lambda part: part[1] if part[1] is not None else match[int(part[2])] or "", new)

    return replaced


def _replace(count: int) -> Callable[[Any, Any, Any], str]:
    def replace(whole: Any, part: Any, new: Any) -> str:
        if isinstance(part, re.Pattern):
            return part.sub(_replacement(text(new)), text(whole), count=count)
        return text(whole).replace(text(part), text(new), count or -1)

    return replace


def _split(whole: Any, pattern: Any, limit: int = 0) -> tuple[str, ...]:
    """Split a text at the matches of a pattern; without a limit, empty pieces at the end are dropped, as in Java."""
    pieces = re.split(pattern_of(pattern), text(whole), maxsplit=max(limit - 1, 0)) if limit != 1 else [whole]
    if pattern_of(pattern).groups:
        pieces = _pieces(pattern_of(pattern), whole, limit)
    while not limit and len(pieces) > 1 and pieces[-1] == "":
        pieces.pop()
    if len(pieces) > 1 and pieces[0] == "" and pattern_of(pattern).match("") is not None:
        pieces = pieces[1:]  # an empty match at the beginning does not split the text
    return tuple(pieces)


def _pieces(pattern: re.Pattern[str], whole: str, limit: int) -> list[str]:
    """Split a text without keeping the groups of the pattern."""
    pieces: list[str] = []
    start = 0
    for match in pattern.finditer(whole):
        if limit and len(pieces) == limit - 1:
            break
        pieces.append(whole[start : match.start()])
        start = match.end()
    return [*pieces, whole[start:]]


def _index_of(whole: Any, part: Any, start: int = 0) -> int | None:
    position = text(whole).find(text(part), max(start, 0))
    return None if position < 0 else position


def _last_index_of(whole: Any, part: Any, end: int | None = None) -> int | None:
    position = text(whole).rfind(text(part), 0, None if end is None else end + len(part))
    return None if position < 0 else position


def _escape(whole: Any, replacements: Any) -> str:
    return "".join(text_of(replacements.get(character, character)) for character in text(whole))


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "str": lambda *values: "".join(map(text_of, values)),
    "pr-str": lambda *values: " ".join(map(written, values)),
    "format": formatted,
    "symbol": _symbol,
    "keyword": _keyword,
    "clojure.string/index-of": _index_of,
    "clojure.string/last-index-of": _last_index_of,
    "clojure.string/replace": _replace(0),
    "clojure.string/replace-first": _replace(1),
    "clojure.string/split": _split,
    "clojure.string/split-lines": lambda whole: _split(whole, r"\r?\n"),
    "clojure.string/trim-newline": lambda whole: text(whole).rstrip("\r\n"),
    "clojure.string/escape": _escape,
    "clojure.string/re-quote-replacement": lambda whole: re.sub(r"([\\$])", r"\\\1", text(whole)),
}
