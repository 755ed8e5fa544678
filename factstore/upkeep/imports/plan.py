"""The plan of an import: declarations, and the steps that load the tables.

    1. tables with a key, without their references        2. their references, and tables without a key

Law: a plan reads the file and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from factstore.errors import DatabaseError, SchemaError, TransactError
from factstore.tables.cells import Into
from factstore.upkeep.imports import datascript
from factstore.upkeep.imports.guess import Guess, guessed
from factstore.upkeep.imports.readers import Reader, reader_of
from factstore.upkeep.imports.sources import ID, NO_NAMESPACE, Source, format_of, sources, text_of_file
from factstore.values.quoting import described, quoted
from factstore.values.types import REF, Keyword

if TYPE_CHECKING:
    from factstore.connection.connection import Connection
    from factstore.db.database import Database
    from factstore.schema.attribute import Attribute

_BATCH: Final = 1_000  # rows of a transaction of maps


class Options(NamedTuple):
    """What the caller knows about a file.

    Args:
        form: csv, tsv, ndjson, parquet, sqlite, edn or datascript; None: by the suffix.
        namespace: of the attributes; None: the name of the table.
        identity: columns that identify a row.
        refs: column → the unique attribute of the entity whose value the column has.
    """

    form: str | None = None
    namespace: str | None = None
    identity: tuple[str, ...] = ()
    refs: Mapping[str, str] = {}


class Step(NamedTuple):
    """A table to load, or a part of its columns.

    Args:
        maps: from a row and its number to a map to transact, if cells have several values, tuples or objects; None:
            load the mapping.
    """

    name: str
    size: int
    rows: Callable[[], Iterable[Mapping[str, Any]]]
    mapping: Mapping[str, Into]
    ignored: tuple[str, ...] = ()
    maps: Callable[[Mapping[str, Any], int], dict[str, Any]] | None = None


class Plan(NamedTuple):
    """The declarations of an import, and its steps in order; or the forms of a database of DataScript."""

    schema: list[dict[str, Any]]
    steps: list[Step]
    forms: list[list[Any]]


class Imported(NamedTuple):
    """The result of an import."""

    rows: int
    datoms: int


def plan(db: Database, path: Path, options: Options) -> Plan:
    """Return the plan of an import into a database.

    Raises: Unavailable(:db.error/file-unavailable); TransactError(:db.error/invalid-load) or ReadError for a file that
        is not of its format; SchemaError(:db.error/cannot-infer) for a column whose values no type has; DatabaseError
        for options that do not fit.
    """
    form = options.form or format_of(path)
    text = text_of_file(path) if form in ("datascript", "edn") else ""
    if form == "datascript" or datascript.is_printed(text):
        schema, forms = datascript.read(text)
        return Plan([form for form in schema if db.schema.find(form[":db/ident"]) is None], [], forms)
    tables = sources(path, form)
    targets = {target for table in tables for target in table.refs.values()}
    planned = [_Table(db, table, options, targets) for table in tables]
    _check_columns(options, planned)
    steps = [step for steps_of in (_Table.first, _Table.second) for table in planned for step in steps_of(table)]
    declared = {form[":db/ident"]: form for table in planned for form in table.schema}
    return Plan(list(declared.values()), steps, [])


def carry_out(conn: Connection, planned: Plan) -> Imported:
    """Commit the declarations and the rows of a plan.

    Raises: TransactError with the row; earlier batches stay committed.
    """
    if planned.schema:
        conn.transact(planned.schema)
    if planned.forms:
        report = conn.transact(planned.forms)
        return Imported(len({form[1] for form in planned.forms}), len(report.tx_data))
    rows = datoms = 0
    for step in planned.steps:
        with _closed(step.rows()) as table:
            if step.maps is None:
                datoms += conn.load(table, step.mapping).datoms
            else:
                batches = _batches(map(step.maps, table, count(1)))
                datoms += sum(len(conn.transact(batch).tx_data) for batch in batches)
        rows += step.size
    return Imported(rows, datoms)


@contextmanager
def _closed(rows: Iterable[Mapping[str, Any]]) -> Iterator[Iterable[Mapping[str, Any]]]:
    """Yield rows; afterwards close their file, which a rejected row would leave open as long as its error exists."""
    try:
        yield rows
    finally:
        if isinstance(rows, Generator):
            rows.close()


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(rows, _BATCH)):
        yield [row for row in batch if row]


def _check_columns(options: Options, tables: list[_Table]) -> None:
    columns = {name for table in tables for name in table.guesses}
    for name in (*options.identity, *options.refs):
        if name not in columns:
            known = ", ".join(map(quoted, sorted(columns)))
            raise DatabaseError(
                ":db.error/invalid-load", f"there is no column {name!r}; there are {known}", column=name
            )


def _ident(namespace: str, column: str) -> Keyword:
    """Return the attribute of a column: a name with a namespace is itself."""
    if isinstance(column, Keyword):
        return column
    name = column.removeprefix(":")
    namespace, name = name.rsplit("/", 1) if "/" in name else (namespace, name)
    return Keyword(f":{_word(name)}" if namespace == NO_NAMESPACE else f":{_word(namespace)}/{_word(name)}")


def _known_ident(db: Database, namespace: str, column: str) -> Keyword:
    """Return the attribute of a column: the one with exactly its name, such as :a/-b, if there is one."""
    exact = f"{namespace}/{column}" if namespace != NO_NAMESPACE and "/" not in column else column.removeprefix(":")
    existing = db.schema.find(f":{exact}")
    return _ident(namespace, column) if existing is None else existing.ident


def _word(text: str) -> str:
    word = _NOT_IN_WORD.sub("-", text.strip()).strip("-") or "column"
    return f"c{word}" if word[0].isdigit() else word


_NOT_IN_WORD: Final = re.compile(r"[^\w.*+!?<>=$&%-]+")


def _check_key(existing: Attribute | None, ident: Keyword, column: str) -> None:
    """Check that the values of a column identify entities of the store."""
    if existing is not None and not existing.is_identity:
        message = (
            f"{ident} is not a unique identity in this store, so its values cannot identify rows; "
            f"transact [[:db/add {ident} :db/unique :db.unique/identity]] first"
        )
        raise DatabaseError(":db.error/invalid-load", message, column=column, attribute=ident)


class _Table:
    """A table with its attributes."""

    def __init__(self, db: Database, source: Source, options: Options, targets: set[tuple[str, str]]) -> None:
        self.source = source
        self.namespace = options.namespace or source.name
        self.guesses, self.size = guessed(source.rows(), is_text=source.is_text, is_typed=source.is_typed)
        self.schema: list[dict[str, Any]] = []
        self.ignored: list[str] = []
        self.keys = [source.key] if source.key else [name for name in options.identity if name in self.guesses]
        unique = {*self.keys, *(column for table, column in targets if table == source.name)}
        lookups = {column: _ident(table, target) for column, (table, target) in source.refs.items()} | {
            column: Keyword(f":{attribute.removeprefix(':')}") for column, attribute in options.refs.items()
        }
        self.values: dict[str, Into] = {}
        self.refs: dict[str, Into] = {}
        self.readers: dict[str, Reader] = {}
        self.parts: dict[str, _Table] = {}  # the objects in a column
        self.nested: set[str] = set()  # the columns whose cells a load does not take
        for name, guess in self.guesses.items():
            ident = _known_ident(db, self.namespace, name)
            existing = db.schema.find(ident)
            if name == ID or guess.kind is None or (existing is not None and existing.members):
                self.ignored.append(name)
                continue
            _check_column(existing, ident, name, guess, is_ref=name in lookups)
            if name in self.keys:
                _check_key(existing, ident, name)
            reader = self.readers[name] = reader_of(existing, guess, is_text=source.is_text)
            into = Into(ident, lookups.get(name), reader.one())
            self._declare(existing, ident, "ref" if into.lookup else guess.kind, guess.is_many, name in unique)
            (self.refs if into.lookup else self.values)[name] = into
            is_split = reader.is_many and (source.is_text or guess.is_many)
            if is_split or guess.is_many or guess.kind == "part" or (existing is not None and existing.is_tuple):
                self.nested.add(name)
            if guess.kind == "part":
                self._declare_parts(db, name)

    def _declare(self, existing: object, ident: Keyword, kind: str, is_many: bool, is_unique: bool) -> None:
        if existing is None:
            form: dict[str, Any] = {
                ":db/ident": ident,
                ":db/valueType": Keyword(f":db.type/{'ref' if kind == 'part' else kind}"),
                ":db/cardinality": Keyword(f":db.cardinality/{'many' if is_many else 'one'}"),
            }
            form |= {":db/isComponent": True} if kind == "part" else {}
            self.schema.append(form | ({":db/unique": Keyword(":db.unique/identity")} if is_unique else {}))

    def _declare_parts(self, db: Database, name: str) -> None:
        """Declare the attributes of the objects in a column, under its name."""
        parts = [part for row in self.source.rows() for part in _parts(row.get(name))]
        self.parts[name] = _Table(db, self.source._replace(name=name, rows=lambda: parts), Options(), set())
        self.schema += self.parts[name].schema

    def first(self) -> Iterator[Step]:
        """Yield the step of the table without its references, if it has a key."""
        if self.values and (self.keys or not self.refs):
            yield self._step(self.namespace, self.size, self.values, tuple(self.ignored))

    def second(self) -> Iterator[Step]:
        """Yield the step of the references."""
        if not self.refs:
            return
        keys = {name: self.values[name] for name in self.keys if name in self.values}
        if self.keys:
            yield self._step(f"{self.namespace}: references, in a second pass", 0, keys | self.refs)
        else:
            yield self._step(self.namespace, self.size, self.values | self.refs, tuple(self.ignored))

    def _step(self, title: str, size: int, mapping: Mapping[str, Into], ignored: tuple[str, ...] = ()) -> Step:
        maps = None if self.nested.isdisjoint(mapping) else partial(self._map, mapping)
        return Step(title, size, self.source.rows, mapping, ignored, maps)

    def _map(self, mapping: Mapping[str, Into], row: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Return a row with lists, tuples or objects as a map of attributes.

        Raises: TransactError(:db.error/invalid-load) for a cell that cannot be read.
        """
        found: dict[str, Any] = {}
        for name, into in mapping.items():
            reader = self.readers[name]
            try:
                values = self._objects(name, row, number) if name in self.parts else reader.values(row.get(name))
            except ValueError as error:
                text = f"{into.attribute} cannot have {described(row[name])}: {error}, in column {name!r}, row {number}"
                about = {"attribute": into.attribute, "column": name, "row": number}
                raise TransactError(":db.error/invalid-load", text, **about) from error
            if into.lookup:
                values = [[into.lookup, value] for value in values]
            if values:
                found[into.attribute] = values if reader.is_many or len(values) > 1 else values[0]
        return found

    def _objects(self, name: str, row: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
        part = self.parts[name]
        return [found for each in _parts(row.get(name)) if (found := part._map(part.values, each, number))]


def _parts(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Mapping)]


def _check_column(existing: Attribute | None, ident: Keyword, name: str, guess: Guess, *, is_ref: bool) -> None:
    """Reject a column that cannot be imported, before anything is written."""
    about = {"column": name, "attribute": ident}
    if existing is None and guess.reason:
        message = f"column {name!r} has {guess.reason}, and no value type has both; declare {ident} to choose one"
        raise SchemaError(":db.error/cannot-infer", message, **about)
    if existing is None or is_ref:
        return
    if existing.is_ref and guess.kind != "part":
        message = f"{ident} is a reference; give the unique attribute that {name!r} names, with --ref"
        raise DatabaseError(":db.error/invalid-load", message, **about)
    if existing.is_tuple and REF in existing.tuple_slot_types:
        message = f"{ident} is a tuple with references, whose ids mean nothing in another store"
        raise DatabaseError(":db.error/invalid-load", message, **about)
