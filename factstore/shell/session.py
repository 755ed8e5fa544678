"""A session of the shell: the connection, the view, and what the next statement needs to know of the last ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from factstore.db.database import Database
from factstore.query import rows
from factstore.shell.view import View

if TYPE_CHECKING:
    from factstore.connection.connection import Connection
    from factstore.datom import Datom

SHOWN: Final = 1_000  # rows on a terminal; in a pipe all


class Output(Protocol):
    """Where a session writes: the command line gives one that draws tables on a terminal."""

    def table(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a table."""

    def line(self, text: str) -> None:
        """Write lines of text."""

    def note(self, text: str) -> None:
        """Write a line about the statement, which is no part of its answer."""


class Leave(Exception):
    """The person wants to leave the shell."""


class Session:
    """One session; commands read and change its attributes."""

    def __init__(self, conn: Connection, out: Output, *, most: int | None = None) -> None:
        self.conn = conn
        self.out = out
        self.most = most  # rows of a table; None: all
        self.view = View()
        self.timing = False
        self.query: str | None = None  # the text of the last one

    @property
    def db(self) -> Database:
        """The newest database, within the view."""
        return self.view.of(self.conn.db())

    def ask(self, form: Any, inputs: Sequence[Any]) -> None:
        """Run a query on the database of the view, and write its answer."""
        found = rows(form, self.db, *inputs)
        self.table(found.columns, found, len(found))

    def table(self, header: Sequence[str], found: Any, count: int, what: str = "row") -> None:
        """Write a table of `count` rows, and their number; `found` can be sliced."""
        shown = found if self.most is None else found[: self.most]
        if count:
            self.out.table(header, shown)
        more = f", the first {self.most:,} shown" if self.most is not None and count > self.most else ""
        self.out.note(f"{count:,} {what}{'' if count == 1 else 's'}{more}")

    def datoms(self, db: Database, data: Iterable[Datom]) -> None:
        """Write datoms as a table."""
        named = [("+" if d.added else "-", d.e, str(db.ident(d.a) or d.a), value_in(db, d)) for d in data]
        self.table(("", "entity", "attribute", "value"), named, len(named), "datom")


def value_in(db: Database, datom: Datom) -> Any:
    """Return the value of a datom; for a reference, the ident of the entity if it has one."""
    attribute = db.schema.find(datom.a)
    return (db.ident(datom.v) or datom.v) if attribute is not None and attribute.is_ref else datom.v


Action = Callable[[Session, str], None]
