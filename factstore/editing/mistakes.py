"""The part of a text that an error is about, for editors that mark it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from factstore.errors import FactStoreError, is_unregistered
from factstore.values.numerals import to_digits
from factstore.values.quoting import text_of

_OPENERS: Final = frozenset("([{")
_NOT_IMPORTED: Final = "; if a module registers it, give --import MODULE"


class Mistake(NamedTuple):
    """An error in a text: the text before it, the marked part, the text after it, and the sentence."""

    before: str
    marked: str
    after: str
    code: str
    message: str


def mistake_in(text: str, error: FactStoreError) -> Mistake:
    """Return an error with the part of the text that it is about; that part is empty if the error has no place."""
    start, end = _span(text, error)
    return Mistake(text[:start], text[start:end], text[end:], error.code, error.message)


def remedy_of(error: FactStoreError) -> str:
    """Return how a command gets functions, to append to an error about one that nothing has registered; else ""."""
    is_of_transactor = "--require" in error.message  # it runs the function, and its message has the remedy
    return _NOT_IMPORTED if is_unregistered(error) and not is_of_transactor else ""


def in_words(text: str, error: FactStoreError, *, remedy: str = "") -> str:
    """Return an error as lines of plain text: the sentence, and the line of the text with its part underlined.

    Args:
        remedy: is appended to the sentence.
    """
    found, sentence = mistake_in(text, error), f"{error}{remedy}"
    if not found.marked.strip():
        return sentence
    ahead = found.before.rpartition("\n")[2]
    line = ahead + (found.marked + found.after).partition("\n")[0]
    under = "".join(char if char == "\t" else " " for char in ahead) + "^" * len(found.marked.partition("\n")[0])
    return f"{sentence}\n\n    {line}\n    {under}"


def _span(text: str, error: FactStoreError) -> tuple[int, int]:
    """Return where the part of a text is that an error is about: its place, else the first word that it names."""
    if "line" in error.data and "column" in error.data:
        lines = text.splitlines(keepends=True)
        start = min(sum(map(len, lines[: error.line - 1])) + error.column - 1, max(len(text) - 1, 0))
        end = next((i for i in range(start + 1, len(text)) if text[i] in " \n)]}"), len(text))
        return start, start + 1 if text[start : start + 1] in _OPENERS else end
    for word in _words(error):
        if word != text and word in text:
            return text.index(word), text.index(word) + len(word)
    return len(text), len(text)


def _words(error: FactStoreError) -> Iterator[str]:
    for value in error.data.values():
        for each in value if isinstance(value, list | tuple) else [value]:
            if each:
                yield to_digits(each) if type(each) is int else text_of(each)
