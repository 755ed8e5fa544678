"""Dialects: the two notations of a query, EDN and Python data, read in the same way.

In EDN a symbol is a `Symbol` and a string is a string. In Python data a plain str is used for both. It is a symbol if
it looks like one ("?x", "$", "_", "...") or if only a name is allowed at its position; it is a keyword if it reads as
one, ":red". Only in a pattern does ":red" stay a str, until its position decides whether it is a keyword, an entity or
a string. A form that contains any `Symbol` is EDN, so a form that the reader returned is never interpreted a second
time.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from factstore import edn
from factstore.errors import FactStoreError, QueryError, ReadError
from factstore.query.language.ast import BLANK, Blank, SourceName, Variable
from factstore.values.quoting import quoted
from factstore.values.types import Keyword, Symbol, plain

_SYMBOL_LIKE: Final = re.compile(r"[?$]\S*|%|_|\.\.\.|\.")
_SEQUENCE: Final = (list, tuple)
_COLLECTIONS: Final = (list, tuple, set, frozenset)
_NESTING: Final = (dict, *_COLLECTIONS)
_LONGEST_SHOWN: Final = 200
_LONGEST_WRITTEN: Final = 10_000  # a longer form is shown as Python data, because writing it as EDN is slow


MAX_NESTING: Final = 100  # levels of brackets; the parser, the planner and the evaluation recurse on Python's stack
_MANY_BRACKETS: Final = 1_000  # in a level: enough to look whether they are repetitions of few
_MAX_BRACKETS: Final = 1_000_000  # a form that contains the same part repeatedly can have many more than were written


def check_nesting(form: Any, what: str) -> None:
    """Raise QueryError(:db.error/invalid-query) for a form that is nested too deep, or contains itself."""
    level = [form]
    for _ in range(MAX_NESTING):
        level = [part for each in level for part in _parts_of(each) if isinstance(part, _NESTING)]
        if not level:
            return
        if len(level) > _MAX_BRACKETS:
            break
        if len(level) > _MANY_BRACKETS and 2 * len(set(map(id, level))) < len(level):
            if not _is_too_deep(form):
                return
            break
    raise QueryError(
        ":db.error/invalid-query",
        f"{what} is nested at most {MAX_NESTING} levels deep, got more, in {quoted(form)}",
        form=form,
    )


def _is_too_deep(form: Any) -> bool:
    """Tell whether a form has too many levels or brackets; visit each part of a level once, even if it is repeated."""
    level = {id(form): (form, 1)}  # the parts, with their number
    for _ in range(MAX_NESTING):
        below: dict[int, tuple[Any, int]] = {}
        for each, times in level.values():
            for part in _parts_of(each):
                if isinstance(part, _NESTING):
                    below[id(part)] = (part, times + below.get(id(part), (part, 0))[1])
        if not below:
            return False
        if sum(times for _, times in below.values()) > _MAX_BRACKETS:
            return True
        level = below
    return True


def _parts_of(form: Any) -> Iterable[Any]:
    if isinstance(form, dict):
        return (*form, *form.values())
    return form if isinstance(form, _COLLECTIONS) else ()


def too_deep(error: RecursionError) -> QueryError:
    """Return the error for a query, or a value in it, that is nested deeper than Python's stack allows."""
    return QueryError(
        ":db.error/invalid-query", f"the query, or a value in it, is nested too deep or contains itself: {error}"
    )


def is_sequence(form: Any) -> bool:
    """Tell whether a form is a vector or a list."""
    return isinstance(form, _SEQUENCE)


def holds_symbol(form: Any) -> bool:
    """Tell whether any `Symbol` occurs in a form."""
    stack = [form]
    while stack:
        part = stack.pop()
        if type(part) is Symbol:
            return True
        if isinstance(part, dict):
            stack.extend(part)
            stack.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            stack.extend(part)
    return False


def is_quoted(form: Any) -> bool:
    """Tell whether a form is `(quote form)`; the reader returns it for `'form`."""
    return isinstance(form, _SEQUENCE) and len(form) == 2 and type(form[0]) is Symbol and form[0] == "quote"


def unquoted(form: Any) -> Any:
    """Return a form without the quote before it, if it has one."""
    return form[1] if is_quoted(form) else form


def without_quotes(form: Any) -> Any:
    """Return a form in which every quoted part has lost its quote."""
    if is_quoted(form):
        return form[1]
    if isinstance(form, dict):
        return {without_quotes(key): without_quotes(value) for key, value in form.items()}
    return type(form)(map(without_quotes, form)) if type(form) in _COLLECTIONS else form


def shown(form: Any) -> str:
    """Return a form for a message: as EDN text, or as Python shows it; a long text is shortened."""
    try:
        text = edn.write(form, longest=_LONGEST_WRITTEN)
    except FactStoreError:
        return quoted(form, _LONGEST_SHOWN)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return up to three of some names that are most similar to `name`."""
    return difflib.get_close_matches(name, list(names), n=3)


def invalid(message: str, form: Any, **data: Any) -> QueryError:
    """Return the error for a form that is not part of the language."""
    return QueryError(":db.error/invalid-query", f"{message}, in {shown(form)}", form=form, **data)


def read_text(text: str, what: str) -> Any:
    """Return the form that a text contains.

    Raises: QueryError(:db.error/invalid-query) with line and column.
    """
    try:
        return edn.read(text, quotes=True)
    except ReadError as error:
        where = {name: error.data[name] for name in ("line", "column") if name in error.data}
        raise QueryError(
            ":db.error/invalid-query", f"the text of {what} is not EDN: {error.message}", text=text, **where
        ) from error


@dataclass(frozen=True, slots=True)
class Dialect:
    """The notation of symbols: only `Symbol`, or in Python data also plain str."""

    plain: bool

    @staticmethod
    def of(form: Any) -> Dialect:
        """Return the dialect of a form."""
        return Dialect(plain=not holds_symbol(form))

    def symbol(self, form: Any) -> str | None:
        """Return the text of a form that is a symbol at any position; None for other forms."""
        if type(form) is Symbol:
            return str(form)
        if self.plain and type(form) is str and _SYMBOL_LIKE.fullmatch(form):
            return form
        return None

    def name(self, form: Any) -> str | None:
        """Return the text of a symbol at the position of a function, rule or aggregate name; None for other forms."""
        if type(form) is Symbol:
            return str(form)
        if self.plain and type(form) is str and form and not form.startswith(":"):
            return form
        return None

    def keyword(self, form: Any) -> str | None:
        """Return the text of a keyword; None for other forms."""
        return (
            str(form)
            if isinstance(form, str) and form.startswith(":") and (self.plain or type(form) is Keyword)
            else None
        )

    def variable(self, form: Any) -> str | None:
        """Return the name of a variable; None for other forms."""
        text = self.symbol(form)
        return text if text is not None and text.startswith("?") and len(text) > 1 else None

    def source(self, form: Any) -> str | None:
        """Return the name of a source; None for other forms."""
        text = self.symbol(form)
        return text if text is not None and text.startswith("$") else None

    def constant(self, form: Any) -> Any:
        """Return the value of an argument; in Python data a str that reads as a keyword is one, also in collections."""
        if not self.plain:
            return plain(form)
        if type(form) not in _COLLECTIONS:
            form = plain(form)
        if type(form) is str and form.startswith(":"):
            try:
                return Keyword(form)
            except ValueError:  # a string that begins with a colon
                return form
        if isinstance(form, dict):
            return {self.constant(key): self.constant(value) for key, value in form.items()}
        return type(form)(map(self.constant, form)) if type(form) in _COLLECTIONS else form

    def is_symbol(self, form: Any, text: str) -> bool:
        """Tell whether a form is the symbol with this text."""
        return self.symbol(form) == text

    def special(self, form: Any) -> Variable | SourceName | Blank | None:
        """Return the term for a symbol; None for other forms, and for symbols that are not terms."""
        text = self.symbol(form)
        if text is None:
            return None
        if text.startswith("?") and len(text) > 1:
            return Variable(text)
        if text.startswith("$"):
            return SourceName(text)
        return BLANK if text == "_" else None
