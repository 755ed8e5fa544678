"""SQL over a database: DuckDB with one view per namespace, as of the database's moment.

    :person/first-name   ──►   view person, columns db_id and first_name

Only the views that a query names are made. `-` and `.` in names become `_`, if no other name becomes the same. SQL does
not distinguish case, so of names that differ only in case, all but the first get a number: x, X_1.
Law: a query reads one database value, and cannot change the store.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import duckdb

from factstore.errors import QueryError
from factstore.upkeep.wide_tables import ID, arrow_of, namespaces, wide_table

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.schema.attribute import Attribute


_WRITE: Final = re.compile(r"\s*(insert|update|delete|merge|truncate|alter|drop)\b", re.IGNORECASE)
_READ_ONLY: Final = "the views are read-only: SQL reads a store, and `transact` or `import` writes to it"


def run(db: Database, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns and the rows of a query in SQL.

    Raises: QueryError(:db.error/invalid-query) with the message of DuckDB, or because the views are read-only.
    """
    names = _names(list(namespaces(db)))
    try:
        with duckdb.connect(":memory:") as engine:
            engine.execute("SET TimeZone = 'UTC'")
            wanted = {name.strip('"').lower() for name in engine.get_table_names(query)}
            for namespace, view in names.items():
                if view.lower() in wanted:
                    table = wide_table(db, namespace)
                    engine.register(view, arrow_of(table, _columns(list(table.attributes))))
            found = engine.execute(query)
            columns = [column[0] for column in found.description or ()]
            return columns, found.fetchall() if columns else []
    except duckdb.Error as error:
        known = ", ".join(names.values()) or "none"
        why = _READ_ONLY if _WRITE.match(query) else str(error).strip()
        message = f"{why} (views: {known})"
        raise QueryError(":db.error/invalid-query", message, query=query) from error


def views(db: Database) -> Iterator[tuple[str, str, str]]:
    """Yield the view, the column and the value type of each attribute."""
    found = namespaces(db)
    for namespace, view in _names(list(found)).items():
        attributes = found[namespace]
        entity, *columns = _columns([_name(attribute) for attribute in attributes])
        yield view, entity, "long"
        for column, attribute in zip(columns, attributes, strict=True):
            yield view, column, f"{attribute.value_type.name}{'[]' if attribute.many else ''}"


def _name(attribute: Attribute) -> str:
    return attribute.ident.removeprefix(":").rpartition("/")[2]


def _columns(names: list[str]) -> list[str]:
    return list(_names([ID, *names]).values())


def _names(names: list[str]) -> dict[str, str]:
    """Return a name for SQL for each name; no two of them differ only in case."""
    plain = {name: "".join(c if c.isalnum() else "_" for c in name) or "_" for name in names}
    counts = Counter(name.lower() for name in plain.values())
    chosen = {name: short if counts[short.lower()] == 1 else name for name, short in plain.items()}
    used = {name.lower() for name in chosen.values()}
    first: set[str] = set()
    for name, short in chosen.items():
        if short.lower() in first:
            chosen[name] = next(each for n in count(1) if (each := f"{short}_{n}").lower() not in used)
            used.add(chosen[name].lower())
        first.add(short.lower())
    return chosen
