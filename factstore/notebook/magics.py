"""The cell magic `%%datalog` of IPython, and the completion of attributes and functions in its cells.

    %%datalog                     show the answer; the database is that of the variable `conn`, else `db`
    %%datalog name <<             put the answer into a variable, and show nothing
    %%datalog name << expression  the database, or the connection, that an expression of Python returns

Only this module knows IPython. Law: an error of a cell is our sentence with the marked line, and the cell fails.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from factstore.connection.connection import Connection
from factstore.db.database import Database
from factstore.editing.mistakes import in_words
from factstore.editing.words import KnownWords, fitting, typed_word
from factstore.errors import FactStoreError, QueryError
from factstore.notebook.inputs import bound, cut
from factstore.query import rows
from factstore.values.quoting import described, text_of

if TYPE_CHECKING:
    from factstore.query import Rows

_LINE: Final = re.compile(r"\s*(?:(?P<name>[^\W\d]\w*)\s*<<)?\s*(?P<expression>.*?)\s*")
_CELL: Final = "%%datalog"
_COMPLETES: Final = "factstore.datalog"
_DEFAULTS: Final = ("conn", "db")


class Line(NamedTuple):
    """The first line of a cell, after the name of the magic."""

    name: str | None
    expression: str


def line_of(text: str) -> Line:
    """Return the parts of the first line.

    >>> line_of("people << conn.db().as_of(5)"), line_of("")
    (Line(name='people', expression='conn.db().as_of(5)'), Line(name=None, expression=''))
    """
    found = _LINE.fullmatch(text)
    return Line(found["name"], found["expression"]) if found else Line(None, text)


class Datalog:
    """The magic of one IPython shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._words = KnownWords()

    def run(self, line: str, cell: str) -> Rows | None:
        """Run a cell; return its answer, or put it into the variable that the line names."""
        try:
            name, expression = line_of(line)
            query, inputs = bound(cut(cell), self._database(expression), self._value)
            found: Rows = rows(query, *inputs)
        except FactStoreError as error:
            raise _without_traceback(error, in_words(cell, error)) from None
        if name is None:
            return found
        self._shell.push({name: found})
        return None

    def complete(self, context: Any) -> Any:
        """Return the words that complete the text before the cursor in a cell of Datalog, for IPython."""
        from IPython.core.completer import SimpleCompletion

        lines = context.full_text.splitlines() or [""]
        if context.cursor_line == 0 or not lines[0].startswith(_CELL):
            return {"completions": []}
        typed = typed_word(lines[context.cursor_line][: context.cursor_position] if context.full_text else "")
        database = self._shell.user_ns.get(line_of(lines[0].removeprefix(_CELL)).expression) or self._default()
        known = self._words.of(_database_of(database)) if isinstance(database, Connection | Database) else ()
        found = fitting(known, typed, context.full_text)
        return {
            "completions": [SimpleCompletion(word.text, type=word.kind) for word in found],
            "matched_fragment": typed,
            "suppress": True,
            "ordered": True,
        }

    def _database(self, expression: str) -> Database:
        found = self._value(expression) if expression else self._default()
        if isinstance(found, Connection | Database):
            return _database_of(found)
        got = f"{expression} is {described(found)}" if expression else "there is no variable conn or db"
        message = f"%%datalog needs a connection or a database, as in %%datalog name << conn; {got}"
        raise QueryError(":db.error/invalid-inputs", message, expression=expression)

    def _default(self) -> Any:
        values = (self._shell.user_ns.get(name) for name in _DEFAULTS)
        return next((value for value in values if isinstance(value, Connection | Database)), None)

    def _value(self, expression: str) -> Any:
        try:
            return self._shell.ev(expression.strip())
        except Exception as error:
            shown = f"{{{expression}}}"
            message = f"{shown} has no value: {type(error).__name__}: {text_of(error)}"
            raise QueryError(":db.error/invalid-inputs", message, expression=shown) from error


def _database_of(value: Connection | Database) -> Database:
    return value.db() if isinstance(value, Connection) else value


def _without_traceback(error: FactStoreError, text: str) -> FactStoreError:
    """Return an error that IPython shows as a text, instead of the frames of this package."""
    vars(error)["_render_traceback_"] = lambda: [text]
    return error


def load(shell: Any) -> None:
    """Add the magic and its completion to a shell; loading it again replaces both."""
    from IPython.core.completer import context_matcher

    magic = Datalog(shell)
    shell.register_magic_function(magic.run, "cell", "datalog")
    matchers = shell.Completer.custom_matchers
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", None) != _COMPLETES]
    matchers.append(context_matcher(identifier=_COMPLETES)(lambda context: magic.complete(context)))
