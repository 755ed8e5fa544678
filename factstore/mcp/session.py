"""What a tool may use: the store, the name of the client, the limits of its answer, and arguments in EDN."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from factstore import edn
from factstore.errors import QueryError, ReadError
from factstore.query import rows
from factstore.values.quoting import quoted

if TYPE_CHECKING:
    from factstore.connection.connection import Connection
    from factstore.db.database import Database
    from factstore.query import Rows

MAX_WORK: Final = 1_000_000  # rows of a step of a query


class Limits(NamedTuple):
    """The limits of an answer."""

    rows: int = 1000
    bytes: int = 100_000  # of its JSON
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Session:
    """One call of a tool.

    Args:
        conn: the connection of the server.
        who: the name of the client, which every transaction states.
        limits: of the answer.
        cancel: is set when the client cancels the call, or the time is over.
    """

    conn: Connection
    who: str
    limits: Limits
    cancel: Event = field(default_factory=Event)

    def db(self, at: str | int | None = None) -> Database:
        """Return the newest database, or the one as of a t, an instant, or a duration ago such as "-5m".

        Raises: DatabaseError(:db.error/invalid-point).
        """
        db = self.conn.db()
        if at is None:
            return db
        return db.as_of(at)

    def rows(self, query: str, db: Database, args: str | None = None) -> Rows:
        """Return the answer of a query on a database, within the limits.

        Args:
            args: the inputs after the database, as a vector in EDN.
        Raises: QueryError, QueryStopped, ReadError.
        """
        inputs = [] if args is None else self.vector(args, "args")
        return rows(query, db, *inputs, timeout=self.limits.seconds, max_rows=MAX_WORK, cancel=self.cancel)

    @staticmethod
    def vector(text: str, name: str) -> list[Any]:
        """Return the vector in an EDN text. Raises: ReadError; QueryError(:db.error/invalid-inputs)."""
        found = read(text, name)
        if not isinstance(found, list):
            message = f"{name} is a vector in EDN, got {quoted(text)}"
            raise QueryError(":db.error/invalid-inputs", message, argument=name, got=text)
        return found


def read(text: str, name: str) -> Any:
    """Return the value of an argument in EDN. Raises: ReadError, which names the argument."""
    try:
        return edn.read(text)
    except ReadError as error:
        raise ReadError(error.code, f"in {name}: {error.message}", **error.data) from None
