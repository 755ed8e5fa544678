"""Where in a text a form stands, found again by its place among the others, so that reading pays nothing for it."""

from __future__ import annotations

from collections.abc import Sequence

from factstore.edn.read import TOKEN

_OPENERS = frozenset(("(", "[", "{", "#{"))
_CLOSERS = frozenset((")", "]", "}"))


def place_of(text: str, path: Sequence[int]) -> tuple[int, int] | None:
    """Return line and column of a form, from 1; None when the text holds no such form.

    Args:
        path: the number of the value in the text, of the form inside it, and so on, from 0; keys and values of maps
            both count.

    >>> place_of("[1 2]\\n[3 #_x [4 5]]", [1, 1, 0])
    (2, 9)
    """
    places = [0]  # of the form that comes next, at each level
    prefixes: list[list[str]] = [[]]  # what stands before that form: discards and tags
    starts = [-1]  # where the first of these prefixes stands
    for match in TOKEN.finditer(text):
        token, start = match[1], match.start(1)
        if not token:
            break
        if token in _CLOSERS:
            if len(places) == 1:
                return None
            for stack in (places, prefixes, starts):
                stack.pop()
            _passed(places, prefixes, starts)
            continue
        if starts[-1] < 0:
            starts[-1] = start
        if token.startswith("#") and token not in _OPENERS and not token.startswith("##"):
            prefixes[-1].append(token)
            continue
        if places == list(path) and not any("#_" in level for level in prefixes):
            return _line_and_column(text, starts[-1])
        if token in _OPENERS:
            places.append(0)
            prefixes.append([])
            starts.append(-1)
        else:
            _passed(places, prefixes, starts)
    return None


def _passed(places: list[int], prefixes: list[list[str]], starts: list[int]) -> None:
    """Count a form that has ended; the nearest discard before it takes it out again."""
    waiting = prefixes[-1]
    while waiting:
        if waiting.pop() == "#_":
            starts[-1] = starts[-1] if waiting else -1
            return
    places[-1] += 1
    starts[-1] = -1


def _line_and_column(text: str, start: int) -> tuple[int, int]:
    return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
