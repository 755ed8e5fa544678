"""The options that the commands of both programs share.

-s, --store URI    the store; also from $FACTSTORE
--as-of POINT      the database as it was at a t or a moment in words
--json             one line of JSON per row
-v, --verbose      see `factstore.cli.commands`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol, TypeAlias, TypeVar

import click

import factstore
from factstore.errors import DatabaseError
from factstore.storage.patience import opened_in_failover
from factstore.values.moments import point_in
from factstore.values.quoting import quoted

Point: TypeAlias = int | datetime
Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)


class Option(Protocol):
    """A decorator that gives a command an option."""

    def __call__(self, command: Command, /) -> Command:
        """Return the command."""


def _point(_ctx: click.Context, _param: click.Parameter, text: str | None) -> Point | None:
    """Return the point in time in a text: t, or a moment in words."""
    try:
        return None if text is None else point_in(text)
    except DatabaseError:
        why = "is neither a t nor a time such as 2026-01-31T12:00+01:00 or -5m"
        raise click.BadParameter(f"{quoted(text)} {why}") from None


def store_option(
    name: str = "store", *, variables: tuple[str, ...] = ("FACTSTORE",), required: bool = True, after: str = ""
) -> Option:
    """Return the option --store, which a command receives as the argument `name`.

    Args:
        variables: environment variables to read it from; the first that is set counts.
        after: where else the command finds a store, for its help.
    """
    also = " or ".join(f"${variable}" for variable in variables)
    uri = "A path, lmdb:PATH, or postgresql://host/database?name=NAME."
    return click.option(
        "-s",
        "--store",
        name,
        envvar=variables,
        required=required,
        metavar="URI",
        help=f"{uri} Also from {also}{after}.",
    )


def point_option(flag: str, name: str, *, help: str) -> Option:
    """Return an option that a command receives as a t, an aware datetime or None."""
    return click.option(flag, name, callback=_point, metavar="POINT", help=help)


def as_of_option(name: str = "as_of") -> Option:
    """Return the option --as-of."""
    return point_option("--as-of", name, help="A t, a time (ISO 8601 with zone) or -5m (five minutes ago).")


STORE = store_option()
AS_OF = as_of_option()
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Write each row as a line of JSON.")
IMPORT = click.option(
    "--import",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="A module to import first, also from the current directory; it registers functions that transactions or "
    "queries call.",
)


@contextmanager
def opened(store: str, *, read_only: bool = True) -> Iterator[factstore.Connection]:
    """Open a store that exists."""
    with factstore.connect(store, create=False, read_only=read_only) as conn:
        yield conn


@contextmanager
def opened_at(store: str, as_of: Point | None) -> Iterator[factstore.Database]:
    """Open a store that exists, and give its database, as of a point."""
    with opened(store) as conn:
        yield at(conn, as_of)


def opened_when_reachable(uri: str, *, create: bool) -> factstore.Connection:
    """Open a store for a process that keeps running: while no server can be reached, try again for a minute.

    Raises: StorageError, as `factstore.connect`.
    """
    return opened_in_failover(lambda: factstore.connect(uri, create=create))


def at(conn: factstore.Connection, as_of: Point | None) -> factstore.Database:
    """Return the database of a connection, as of a point."""
    db = conn.db()
    return db if as_of is None else db.as_of(as_of)
