"""What pages are made of, as values: a page, its request, its answer, and the tables that are shown and exported.

A page's view is a function from a `PageRequest` to an `Answer` or a `Redirect`. It runs on a thread of its own, with a
flag that is set when the browser has gone. Law: a view reads facts through `request.db` only, which lacks the hidden
attributes and everything after the moment of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlencode

from factstore.console.hidden import Hidden
from factstore.console.moment import Moment
from factstore.errors import ReadOnly

if TYPE_CHECKING:
    from factstore.connection.connection import Connection
    from factstore.datom import Datom
    from factstore.db.database import Database
    from factstore.query import Rows

BY: Final = ":console/by"  # the attribute of a transaction with the name of the person who made it
TIMEOUT: Final = 10.0  # seconds of a query
MAX_ROWS: Final = 100_000  # of a step of a query, and of its answer


class Ref(NamedTuple):
    """A cell that names an entity: shown as a link, exported as its id."""

    eid: int
    label: str


class Table(NamedTuple):
    """Rows under named columns; `more` states what is left out, if anything is."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    more: str = ""

    def dicts(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as dicts, with entities as their ids."""
        for row in self.rows:
            yield {name: plain(cell) for name, cell in zip(self.columns, row, strict=True)}


def plain(cell: Any) -> Any:
    """Return a cell as a value of the store: an entity as its id."""
    return cell.eid if type(cell) is Ref else cell


@dataclass(frozen=True, slots=True)
class Answer:
    """A page's content: a template with its values, and its tables by name; the first one is exported as rows.

    A live page is drawn again after each commit, and `again` seconds after it was drawn: the time until it is
    out of date although nothing was committed.
    """

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    status: int = 200
    again: float | None = None


class Redirect(NamedTuple):
    """An answer that sends the browser to another page of the console."""

    path: str
    parameters: Mapping[str, str] = {}


@dataclass(frozen=True)
class PageRequest:
    """A request for a page, and what its view may use."""

    conn: Connection
    moment: Moment
    hidden: Hidden
    path: str = "/"  # below the root, without the suffix of an export
    parts: Mapping[str, Any] = field(default_factory=dict)  # the parts of the path that the page names
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the address
    form: Mapping[str, str] | None = None  # of a POST; None: a GET
    who: str = ""  # the name of the person who has signed in
    root: str = ""  # the path under which the console is mounted
    read_only: bool = False
    backups: Mapping[str, Connection] = field(default_factory=dict)  # other stores to compare with, by name
    cancel: Event = field(default_factory=Event)

    @cached_property
    def newest(self) -> Database:
        """The newest database, without the hidden attributes."""
        return self.hidden.removed_from(self.conn.db())

    @cached_property
    def db(self) -> Database:
        """The database at the moment of the page, without the hidden attributes."""
        return self.newest.as_of(self.moment.upto)

    @cached_property
    def before(self) -> Database:
        """The database at the left handle."""
        return self.newest.as_of(self.moment.after)

    def rows(self, query: Any, *inputs: Any, stats: bool = False) -> Rows:
        """Return the answer of a query, within the limits of the console."""
        from factstore.query import rows

        limits: dict[str, Any] = {"timeout": TIMEOUT, "max_rows": MAX_ROWS, "cancel": self.cancel}
        found: Rows = rows(query, *inputs, stats=stats, **limits)
        return found

    def transactions(self, start: int, end: int) -> Iterator[tuple[int, list[Datom]]]:
        """Yield transactions from `start` to before `end`, up to the moment, without hidden attributes."""
        db = self.conn.db()
        visible = self.hidden.visible(db)
        for t, data in self.conn.log().tx_range(max(start, 1), min(end, self.moment.upto + 1)):
            if self.cancel.is_set():
                return
            yield t, [datom for datom in data if visible(datom.a)]

    def shown(self, datoms: Iterable[Datom]) -> list[Datom]:
        """Return datoms of a speculative or committed transaction without those of hidden attributes."""
        visible = self.hidden.visible(self.conn.db())
        return [datom for datom in datoms if visible(datom.a)]

    def export_address(self, suffix: str) -> str:
        """Return a link to this page in the format of a suffix."""
        given = {name: value for name, value in self.parameters.items() if name not in ("t", "from")}
        return self.address(f"{self.path}.{suffix}", **given)

    def check_writable(self) -> None:
        """Raise ReadOnly if this console does not write."""
        if self.read_only:
            raise ReadOnly(":db.error/read-only", "this console was opened for reading; it commits nothing")

    def address(self, path: str, **changes: object) -> str:
        """Return a link to another page at the same moment; a parameter of "" or None is left out."""
        both = {**self.moment.parameters(), **{name.rstrip("_"): value for name, value in changes.items()}}
        given = {name: str(value) for name, value in both.items() if value is not None and value != ""}
        return f"{self.root}{path}{'?' if given else ''}{urlencode(given)}"


View: TypeAlias = Callable[[PageRequest], Answer | Redirect]


class Page(NamedTuple):
    """A page of the console.

    Fields: the path, with `{name}` for a part that the view finds in `parts`; the title in the list of
    pages, "" for none; the view; whether the page also takes POST; whether it is drawn again at every commit;
    whether it is only a form, which a console that does not write leaves out of the list.
    """

    path: str
    title: str
    view: View
    writes: bool = False
    live: bool = True
    is_form: bool = False


class Extension(NamedTuple):
    """Pages that a package adds to the console.

    Fields: the heading; the pages; the folder of their templates; the ident of an attribute without which a
    store has none of these pages, "" for any store; rules of CSS for the pages.
    """

    heading: str
    pages: Sequence[Page]
    templates: Path
    needs: str = ""
    style: str = ""

    def is_for(self, db: Database) -> bool:
        """Tell whether a store has these pages."""
        return not self.needs or db.schema.find(self.needs) is not None
