"""Statements of the shell, as typed.

    statement = "." name rest                     a command: one line, unless its forms have open brackets
              | query input*                      [:find …] or {:find …}, and the values of its :in after $
              | transaction                       [[:db/add …] {:person/name …} …]

Law: `is_ready` is true for the whole text of a statement, and false for its beginnings that end inside of a bracket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from factstore import edn
from factstore.editing.brackets import is_complete
from factstore.errors import QueryError
from factstore.values.quoting import quoted
from factstore.values.types import Keyword


class DotCommand(NamedTuple):
    """A command and the text after its name."""

    name: str
    rest: str


class WrittenQuery(NamedTuple):
    """A query as text, and the values of its inputs after the database."""

    form: Any
    inputs: tuple[Any, ...]


class Transaction(NamedTuple):
    """Transaction data."""

    forms: list[Any]


Statement: TypeAlias = DotCommand | WrittenQuery | Transaction


def is_ready(text: str) -> bool:
    """Tell whether Enter runs a text; otherwise it begins a new line.

    >>> is_ready(".help"), is_ready("[:find ?e"), is_ready(".try [{"), is_ready("")
    (True, False, False, False)
    """
    stripped = text.strip()
    if not stripped.startswith("."):
        return is_complete(text)
    rest = stripped.partition(" ")[2]
    return not rest.strip() or is_complete(rest)


def statements(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    r"""Yield the texts of the statements in lines, each with the number of its first line; the last may be incomplete.

    >>> list(statements([".now\n", "\n", "[:find ?e\n", "]\n"]))
    [(1, '.now\n'), (3, '[:find ?e\n]\n')]
    """
    start, text = 1, ""
    for number, line in enumerate(lines, 1):
        if _is_blank(text):
            start, text = number, ""
        text += line
        if is_ready(text):
            yield start, text
            text = ""
    if not _is_blank(text):
        yield start, text


def _is_blank(text: str) -> bool:
    return all(not line.strip() or line.lstrip().startswith(";") for line in text.splitlines())


def read(text: str) -> Statement:
    """Return the statement that a text means.

    Raises: ReadError; QueryError(:db.error/invalid-query) for a form that is neither a query nor a transaction.
    """
    stripped = text.strip()
    if stripped.startswith("."):
        name, _, rest = stripped.partition(" ")
        return DotCommand(name, rest.strip())
    first, *rest_forms = edn.read_all(text)
    if is_query(first):
        return WrittenQuery(first, tuple(rest_forms))
    if isinstance(first, list) and not rest_forms and all(isinstance(form, list | dict | tuple) for form in first):
        return Transaction(first)
    message = (
        'a statement is a query, [:find ?e :where [?e :person/name]], a transaction, [{:person/name "Ann"}], '
        f"or a command such as .help; got {quoted(first if not rest_forms else stripped)}"
    )
    raise QueryError(":db.error/invalid-query", message, text=text)


def is_query(form: Any) -> bool:
    """Tell whether a form is a query."""
    begins = form[0] if isinstance(form, list) and form else next(iter(form), None) if isinstance(form, dict) else None
    return isinstance(begins, Keyword) and not (isinstance(form, dict) and ":find" not in form)
