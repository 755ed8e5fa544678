"""The line and column of a form. They are computed from the text on request, so that reading need not record them."""

from __future__ import annotations

from collections.abc import Sequence

from factstore.edn.read import TOKEN

_OPENERS = frozenset(("(", "[", "{", "#{"))
_CLOSERS = frozenset((")", "]", "}"))


def place_of(text: str, path: Sequence[int]) -> tuple[int, int] | None:
    """Return the line and column of a form, counted from 1; None if the text has no such form.

    Args:
        path: the index of the value in the text, then of the form inside it, and so on, from 0. In a map, each key
            and each value counts as one form.

    >>> place_of("[1 2]\\n[3 #_x [4 5]]", [1, 1, 0])
    (2, 9)
    """
    indexes = [0]  # at each level, the index of the next form
    prefixes: list[list[str]] = [[]]  # at each level, the discards and tags before that form
    starts = [-1]  # at each level, the offset of the first of these prefixes, or -1
    for match in TOKEN.finditer(text):
        token, start = match[1], match.start(1)
        if not token:
            break
        if token in _CLOSERS:
            if len(indexes) == 1:
                return None
            for stack in (indexes, prefixes, starts):
                stack.pop()
            _end_form(indexes, prefixes, starts)
            continue
        if starts[-1] < 0:
            starts[-1] = start
        if token.startswith("#") and token not in _OPENERS and not token.startswith("##"):
            prefixes[-1].append(token)
            continue
        if indexes == list(path) and not any("#_" in level for level in prefixes):
            return _line_and_column(text, starts[-1])
        if token in _OPENERS:
            indexes.append(0)
            prefixes.append([])
            starts.append(-1)
        else:
            _end_form(indexes, prefixes, starts)
    return None


def _end_form(indexes: list[int], prefixes: list[list[str]], starts: list[int]) -> None:
    """Count a form that has ended, unless a discard before it applies to it."""
    pending = prefixes[-1]
    while pending:
        if pending.pop() == "#_":
            starts[-1] = starts[-1] if pending else -1
            return
    indexes[-1] += 1
    starts[-1] = -1


def _line_and_column(text: str, start: int) -> tuple[int, int]:
    return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
