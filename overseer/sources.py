"""Databases and connections: the objects that hold a connection, and checks of the first argument of public functions.

An error about the argument has a hint if it is a connection instead of a database, or the other way round.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import factstore
from factstore import quoted
from overseer.errors import OverseerError

if TYPE_CHECKING:  # at run time they are imported when they are needed, because they load numpy
    from factstore import Connection, Database

F = TypeVar("F", bound=Callable[..., Any])


class ConnectionBound:
    """An object that uses a connection, so that it belongs to its process, and is neither copied nor pickled."""

    __slots__ = ()
    _instead: ClassVar[str] = "send the address of the store, and make another one there, on connect(address)"

    def __reduce__(self) -> tuple[Any, ...]:
        kind = type(self).__name__
        text = f"an object of the class {kind} belongs to its process, and cannot be copied or pickled: {self._instead}"
        raise factstore.DatabaseError(":db.error/process-bound", text, kind=kind)


def of_database(function: F) -> F:
    """Make a function check that its first argument, `db`, is a database."""

    @wraps(function)
    def checked(db: Database, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(db, factstore.Database):
            raise _wrong(function, "a database", db, "give conn.db()" if isinstance(db, factstore.Connection) else None)
        return function(db, *args, **kwargs)

    return cast(F, checked)


def of_connection(function: F) -> F:
    """Make a function check that its first argument, `conn`, is a connection."""

    @wraps(function)
    def checked(conn: Connection, *args: Any, **kwargs: Any) -> Any:
        check_connection(function, conn)
        return function(conn, *args, **kwargs)

    return cast(F, checked)


def check_connection(user: Callable[..., Any], conn: object) -> None:
    """Raise OverseerError(:job.error/bad-argument) unless `conn` is a connection; the error names the caller."""
    if not isinstance(conn, factstore.Connection):
        meant = "a database cannot be written to: give the connection that it came from"
        raise _wrong(user, "a connection", conn, meant if isinstance(conn, factstore.Database) else None)


def _wrong(user: Callable[..., Any], expected: str, got: object, meant: str | None) -> OverseerError:
    named = {factstore.Connection: "a connection", factstore.Database: "a database"}
    given = next((name for kind, name in named.items() if isinstance(got, kind)), quoted(got))
    why = f"{user.__name__} takes {expected} first, got {given}{'' if meant is None else f'; {meant}'}"
    return OverseerError(":job.error/bad-argument", why, function=user.__name__, got=got)
