"""Wide tables: the entities of a namespace as rows, its attributes as columns; as files, and as tables of Arrow.

    :person/name, :person/email   ──►   person: db/id | name | email

A column of cardinality many has lists. A reference is the id of an entity, or its ident if all values of the column
have idents. This module does not use queries or transactions.
Law: the rows have every fact of the namespace, and only these.
"""

from __future__ import annotations

import io
import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from factstore import edn
from factstore.errors import DatabaseError
from factstore.schema.attribute import FIRST_FREE_ID, Attribute
from factstore.tables.csv_files import csv_of
from factstore.tables.texts import MISSING
from factstore.values.types import Keyword, Symbol, Uri

if TYPE_CHECKING:
    import pyarrow

    from factstore.db.database import Database

ID: Final = "db/id"


class WideTable(NamedTuple):
    """A table by column; the first column has the ids of the entities."""

    columns: Mapping[str, list[Any]]
    attributes: Mapping[str, Attribute]  # by the name of the column, without the first

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Return the rows, in order of entity."""
        return zip(*self.columns.values(), strict=True)


def namespaces(db: Database) -> dict[str, list[Attribute]]:
    """Return the attributes of each namespace of the application, in order; `""` for attributes without one."""
    found: dict[str, list[Attribute]] = {}
    for attribute in db.schema.attributes:
        if attribute.id >= FIRST_FREE_ID:
            found.setdefault(_parts(attribute.ident)[0], []).append(attribute)
    return dict(sorted(found.items()))


def wide_table(db: Database, namespace: str) -> WideTable:
    """Return the table of a namespace. Raises: DatabaseError(:db.error/not-an-attribute) for one without attributes."""
    attributes = namespaces(db).get(namespace.removeprefix(":"))
    if attributes is None:
        known = ", ".join(namespaces(db)) or "none"
        message = f"no attribute has the namespace {namespace!r}; the namespaces are: {known}"
        raise DatabaseError(":db.error/not-an-attribute", message, namespace=namespace)
    values = {attribute: _values(db, attribute) for attribute in attributes}
    entities = sorted(set[int]().union(*values.values()))
    columns: dict[str, list[Any]] = {ID: list(entities)}
    by_name = {_parts(attribute.ident)[1]: attribute for attribute in attributes}
    for name, attribute in by_name.items():
        columns[name] = [values[attribute].get(e) for e in entities]
    return WideTable(columns, by_name)


def _parts(ident: str) -> tuple[str, str]:
    namespace, _, name = ident.removeprefix(":").rpartition("/")
    return namespace, name


def _values(db: Database, attribute: Attribute) -> dict[int, Any]:
    """Return the values of an attribute by entity."""
    pairs = [(datom.e, datom.v) for datom in db.datoms("aevt", attribute.id)]
    if attribute.is_ref:
        names = {v: db.ident(v) for _, v in pairs}
        pairs = pairs if None in names.values() else [(e, names[v]) for e, v in pairs]
    if not attribute.many:
        return dict(pairs)
    lists: dict[int, Any] = {}
    for e, v in pairs:
        lists.setdefault(e, []).append(v)
    return lists


# -- files


def file_of(table: WideTable, form: str, *, for_spreadsheets: bool = False) -> bytes:
    """Return a table as the bytes of a file: csv, ndjson, edn or parquet.

    Args:
        for_spreadsheets: in CSV, write texts so that a spreadsheet takes none for a formula; an import does not read
            them back.
    Raises: DatabaseError(:db.error/unsupported) for Parquet without pyarrow.
    """
    return _csv(table, for_spreadsheets=True) if for_spreadsheets and form == "csv" else FORMATS[form](table)


def _csv(table: WideTable, *, for_spreadsheets: bool = False) -> bytes:
    rows = (map(_cell, row) for row in table.rows())
    return csv_of(table.columns, rows, for_spreadsheets=for_spreadsheets)


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return edn.write(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return value
    return tagged(value) if isinstance(value, Symbol | Uri | bytes) else _json_value(value)


def tagged(value: Symbol | Uri | bytes) -> str:
    """Return the text of a value, or EDN with a tag if an import would take the text for a missing value, or for a tag.

    >>> tagged(Symbol("x")), tagged(Symbol("NA")), tagged(b"")
    ('x', '#symbol "NA"', '#base64 ""')
    """
    text: str = _json_value(value)
    is_text = text not in MISSING and not text.startswith("#")
    name = "base64" if isinstance(value, bytes) else "symbol" if isinstance(value, Symbol) else "uri"
    return text if is_text else f"#{name} {edn.write(text)}"


def _ndjson(table: WideTable) -> bytes:
    lines = (
        {name: _json_value(value) for name, value in zip(table.columns, row) if value is not None}
        for row in table.rows()
    )
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode()


def _json_value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json_value(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, float) and value - value != 0:
        return str(value)
    if isinstance(value, bool):
        return value
    return str(value) if isinstance(value, str | UUID | Decimal) else value


def _edn(table: WideTable) -> bytes:
    names = [":db/id", *(attribute.ident for attribute in table.attributes.values())]
    rows = ({name: value for name, value in zip(names, row) if value is not None} for row in table.rows())
    return "".join(f"{edn.write({Keyword(name): value for name, value in row.items()})}\n" for row in rows).encode()


def _parquet(table: WideTable) -> bytes:
    frame = arrow_of(table)
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(frame, file)
    return file.getvalue()


FORMATS: Final[Mapping[str, Callable[[WideTable], bytes]]] = {
    "csv": _csv,
    "ndjson": _ndjson,
    "edn": _edn,
    "parquet": _parquet,
}


# -- Arrow


def arrow_of(table: WideTable, names: Sequence[str] | None = None) -> pyarrow.Table:
    """Return a table of Arrow with the types of the attributes; values without such a type are text.

    Args:
        names: other names of the columns.
    Raises: DatabaseError(:db.error/unsupported) if pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        message = "a table of Arrow needs pyarrow: install factstore[pyarrow]"
        raise DatabaseError(":db.error/unsupported", message, package="pyarrow") from error
    arrays = [pyarrow.array(table.columns[ID], pyarrow.int64())]
    arrays += [_array(pyarrow, table.columns[name], attribute) for name, attribute in table.attributes.items()]
    return pyarrow.table(dict(zip(names or table.columns, arrays, strict=True)))


def _array(arrow: Any, values: list[Any], attribute: Attribute) -> Any:
    items = [item for value in values if value is not None for item in (value if attribute.many else [value])]
    kind = {
        "long": arrow.int64(),
        "ref": arrow.string() if any(isinstance(item, str) for item in items) else arrow.int64(),
        "double": arrow.float64(),
        "float": arrow.float32(),
        "boolean": arrow.bool_(),
        "instant": arrow.timestamp("us", tz="UTC"),
        "bytes": arrow.binary(),
    }.get(attribute.value_type.name, arrow.string())
    if kind == arrow.string():
        values = [_texts(value, attribute.many) for value in values]
    return arrow.array(values, arrow.list_(kind) if attribute.many else kind)


def _texts(value: Any, is_many: bool) -> Any:
    if value is None:
        return None
    return [_text(item) for item in value] if is_many else _text(value)


def _text(value: Any) -> str:
    return edn.write(value) if isinstance(value, list | tuple) else str(value)
