"""Bulk loading: tables become facts column by column, through the same checks as transactions.

    source ──► batches of columns ──► typed columns, references found ──► one transaction a batch, kept as sorted columns

A batch's rows become new entities; a row whose identity is known already, or an attribute that needs more than a check of
type (predicates, composite tuples), goes through `transact` as an entity map. The log holds every fact either way.
Law: loading rows gives the same facts as transacting them as maps.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import numpy as np

from factstore.commit import Change, Preparation
from factstore.datom import USER_BASE, Fact, tx_of
from factstore.db import Database
from factstore.errors import TransactError
from factstore.index import column
from factstore.index.column import BY_ENTITY, Array, Rows
from factstore.schema.attribute import TX_INSTANT, Attribute
from factstore.transact import prepare
from factstore.values import Stored, Uri

if TYPE_CHECKING:
    from factstore.conn import Connection

BATCH_ROWS: Final = 50_000
MISSING: Final = ("", "NA")

Table = Mapping[str, Sequence[Any]]  # name → values, None where there is none


@dataclass(frozen=True, slots=True)
class Into:
    """Where a column goes, when its attribute's name alone does not say it all."""

    attribute: str
    lookup: str | None = None  # for references: the unique attribute that the column's values are values of
    convert: Callable[[Any], Any] | None = None  # applied to each value that is there


class LoadReport(NamedTuple):
    """What a load came to."""

    rows: int
    datoms: int
    transactions: int
    seconds: float
    basis_t: int


class _Column(NamedTuple):
    name: str
    attribute: Attribute
    into: Into


def load(
    conn: Connection,
    source: Any,
    mapping: Mapping[str, str | Into],
    *,
    batch_rows: int = BATCH_ROWS,
    missing: Sequence[str] = MISSING,
    progress: Callable[[int, float], None] | bool | None = None,
) -> LoadReport:
    """Load a table; `Connection.load` says what it takes."""
    start, done, datoms, transactions = time.perf_counter(), 0, 0, 0
    tell = _bar if progress is True or (progress is None and sys.stderr.isatty()) else progress
    basis_t = conn.db().basis_t
    from_text = isinstance(source, str | os.PathLike)
    for table in batches(source, tuple(mapping), batch_rows):
        for part in _parts(conn.db(), table, mapping, missing, from_text):
            report = conn._committer.apply(part)
            datoms += report.size
            transactions += 1
            basis_t = report.db_after.basis_t
        done += len(next(iter(table.values()), ()))
        if tell:
            tell(done, time.perf_counter() - start)
    return LoadReport(done, datoms, transactions, time.perf_counter() - start, basis_t)


def _bar(rows: int, seconds: float) -> None:
    sys.stderr.write(f"\r{rows:>12,} rows  {rows / max(seconds, 1e-9):>10,.0f} rows/s ")
    sys.stderr.flush()


# -- sources


def batches(source: Any, names: Sequence[str], size: int) -> Iterator[Table]:
    """Yield a source's named columns, so many rows at a time.

    A path is a CSV file with a header; else rows (mappings), or a table: a mapping of columns, Arrow, pandas, polars.
    """
    if isinstance(source, str | os.PathLike):
        with Path(source).open(newline="", encoding="utf-8") as file:
            yield from _row_batches(csv.DictReader(file), names, size)
    elif isinstance(source, Mapping) or hasattr(source, "columns") or hasattr(source, "column_names"):
        table = {name: _values(source[name]) for name in names}
        rows = len(next(iter(table.values()), ()))
        for at in range(0, rows, size):
            yield {name: values[at : at + size] for name, values in table.items()}
    else:
        yield from _row_batches(source, names, size)


def _row_batches(rows: Iterable[Mapping[str, Any]], names: Sequence[str], size: int) -> Iterator[Table]:
    rest = iter(rows)
    while batch := list(islice(rest, size)):
        yield {name: [row.get(name) for row in batch] for name in names}


def _values(values: Any) -> Any:
    if isinstance(values, np.ndarray | list):
        return values
    for method in ("to_pylist", "to_list", "tolist"):  # Arrow, polars, pandas
        if hasattr(values, method):
            return getattr(values, method)()
    return list(values)


# -- a batch


def _parts(db: Database, table: Table, mapping: Mapping[str, str | Into], missing: Sequence[str], from_text: bool) -> Iterator[Preparation]:
    """Yield the transactions a batch needs: one in bulk for what is new, one of maps for what is not."""
    columns = [_column(db, name, into) for name, into in mapping.items()]
    converted = {c.name: _converted(c, table[c.name], missing, from_text) for c in columns}
    rows = len(next(iter(converted.values()), ()))
    plain = np.full(rows, all(_is_plain(db, c.attribute) for c in columns))
    for c in columns:
        if c.attribute.unique is not None:
            plain &= ~_needs_transact(db, c, converted[c.name])
    if plain.any():
        chosen = converted if plain.all() else {name: _where(values, plain) for name, values in converted.items()}
        yield lambda before, now: _bulk(before.database, now, columns, chosen)
    if not plain.all():
        maps = list(_maps(columns, {name: _where(values, ~plain) for name, values in converted.items()}))
        yield lambda before, now: Change(*prepare(before.database, maps, now=now))


def _column(db: Database, name: str, into: str | Into) -> _Column:
    into = Into(into) if isinstance(into, str) else into
    attribute = db.attribute(into.attribute)
    if (into.lookup is not None) != attribute.is_ref:
        wants = "needs a `lookup` attribute" if attribute.is_ref else "is no reference, so it takes no `lookup`"
        raise TransactError(
            ":db.error/invalid-load", f"{attribute.ident}, which column {name!r} goes to, {wants}", column=name, attribute=attribute.ident
        )
    return _Column(name, attribute, into)


def _is_plain(db: Database, attribute: Attribute) -> bool:
    return not (attribute.preds or attribute.is_tuple or db.schema.composites_of(attribute.id) or attribute.id < 100)


def _where(values: Sequence[Any], mask: Array) -> Any:
    return values[mask] if isinstance(values, np.ndarray) else [v for v, m in zip(values, mask.tolist(), strict=True) if m]


def _converted(c: _Column, values: Sequence[Any], missing: Sequence[str], from_text: bool) -> Sequence[Any]:
    """Return a column's values as users would write them, None for what is missing."""
    convert = c.into.convert
    if isinstance(values, np.ndarray) and values.dtype != object:
        return values if convert is None else [convert(v) for v in values.tolist()]
    if convert is None and from_text:
        convert = _FROM_TEXT.get("string" if c.attribute.is_ref else c.attribute.value_type.name)
    absent = frozenset(missing) if from_text else frozenset()
    if convert is None:
        return [None if v is None or v != v or (from_text and v in absent) else v for v in values]
    return [None if v is None or v != v or (from_text and v in absent) else convert(v) for v in values]


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"{text!r} is no boolean")
    return text.lower() in ("true", "1")


_FROM_TEXT: Final[Mapping[str, Callable[[str], Any]]] = {
    "long": int,
    "bigint": int,
    "double": float,
    "float": float,
    "bigdec": Decimal,
    "boolean": _boolean,
    "instant": datetime.fromisoformat,
    "uuid": UUID,
    "uri": Uri,
}


def _needs_transact(db: Database, c: _Column, values: Sequence[Any]) -> Array:
    """Tell of each row whether its unique value is known already, to the database or to another row of the batch."""
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    seen: dict[Any, int] = {}
    for value in listed:
        if value is not None:
            seen[value] = seen.get(value, 0) + 1
    known = set(db.view.by_value(c.attribute.id).v.tolist()) if db.view.count(c.attribute.id) else set()
    return np.fromiter((v is not None and (seen[v] > 1 or v in known) for v in listed), bool, len(listed))


def _maps(columns: Sequence[_Column], table: Table) -> Iterator[dict[str, Any]]:
    for row in zip(*(_listed(table[c.name]) for c in columns), strict=True):
        yield {
            c.attribute.ident: [c.into.lookup, value] if c.into.lookup else value
            for c, value in zip(columns, row, strict=True)
            if value is not None
        }


def _listed(values: Sequence[Any]) -> Sequence[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else values


def _bulk(db: Database, now: int, columns: Sequence[_Column], table: Table) -> Change:
    """Return the change that makes each row of a batch a new entity."""
    rows = len(next(iter(table.values())))
    t, instant = db.basis_t + 1, max(now, db.last_instant)
    es = np.arange(rows, dtype=np.int64) + (USER_BASE | db.next_n)
    loaded: dict[int, Rows] = {}
    for c in columns:
        found = _rows(db, c, table[c.name], es, t)
        if c.attribute.unique is not None:
            _check_unique(db, c, found)
        if found.size:
            loaded[c.attribute.id] = found if c.attribute.id not in loaded else _joined(loaded[c.attribute.id], found)
    stamp: Fact = (tx_of(t), TX_INSTANT, instant, t, True)
    return Change([stamp], {}, db.next_n + rows, instant, loaded)


def _check_unique(db: Database, c: _Column, rows: Rows) -> None:
    """Another process may have taken a value since the batch was looked through; then the whole batch is refused."""
    if db.view.count(c.attribute.id) and (taken := set(db.view.by_value(c.attribute.id).v.tolist()) & set(rows.v.tolist())):
        value = next(iter(taken))
        raise TransactError(
            ":db.error/unique-conflict",
            f"{c.attribute.ident} {value!r} was taken by another transaction while this batch was loading; load it again",
            attribute=c.attribute.ident,
            value=value,
        )


def _joined(one: Rows, other: Rows) -> Rows:
    dtype = "O" if one.v.dtype == object else one.v.dtype.str
    return column.sort(column.concat([one, other], dtype), BY_ENTITY)


def _rows(db: Database, c: _Column, values: Sequence[Any], es: Array, t: int) -> Rows:
    stored, present = _stored(db, c, values)
    if present is not None:
        es = es[present]
    return Rows(es, stored, np.full(len(es), t, np.int64))


def _stored(db: Database, c: _Column, values: Sequence[Any]) -> tuple[Array, Array | None]:
    """Return the stored values that are there, and the mask of the rows that have one (None: all)."""
    if isinstance(values, np.ndarray) and values.dtype != object and not c.attribute.is_ref:
        return _stored_array(c, values)
    listed = _listed(values)
    present = np.fromiter((v is not None for v in listed), bool, len(listed))
    if not present.all():
        listed = [v for v in listed if v is not None]
    stored = _references(db, c, listed) if c.attribute.is_ref else _checked(c, listed)
    return column.array_of(stored, c.attribute.value_type.dtype), None if present.all() else present


def _stored_array(c: _Column, values: Array) -> tuple[Array, Array | None]:
    kind, dtype = values.dtype.kind, c.attribute.value_type.dtype
    fits = {"i8": kind in "iu", "f8": kind == "f", "?": kind == "b"}.get(dtype, False) and c.attribute.value_type.load is None
    if not fits or (kind == "u" and values.dtype.itemsize == 8 and len(values) and int(values.max()) >> 63):
        return column.array_of(_checked(c, values.tolist()), dtype), None
    if kind != "f" or not np.isnan(values).any():
        return values.astype(np.dtype(dtype)), None
    present = ~np.isnan(values)
    return values[present].astype(np.float64), present


def _checked(c: _Column, values: Sequence[Any]) -> Sequence[Stored]:
    value_type = c.attribute.value_type
    if value_type.name == "string" and set(map(type, values)) <= {str} and "".join(values).isascii():
        return values
    stored: list[Stored] = []
    for row, value in enumerate(values):
        try:
            stored.append(value_type.store(value))
        except ValueError as why:
            raise TransactError(
                ":db.error/wrong-type-for-attribute",
                f"{c.attribute.ident} takes {value_type.wants}, got {value!r} ({type(value).__name__}), {why}, "
                f"in column {c.name!r}, value {row} of the batch",
                attribute=c.attribute.ident,
                value=value,
                column=c.name,
                row=row,
            ) from None
    return stored


def _references(db: Database, c: _Column, values: Sequence[Any]) -> Sequence[int]:
    assert c.into.lookup is not None
    found = {value: db.entid([c.into.lookup, value]) for value in set(values)}
    unknown = sorted((value for value, eid in found.items() if eid is None), key=repr)
    if unknown:
        raise TransactError(
            ":db.error/not-an-entity",
            f"no entity has {c.into.lookup} {unknown[0]!r}, which column {c.name!r} refers to ({len(unknown)} such values)",
            attribute=c.attribute.ident,
            column=c.name,
            values=tuple(unknown[:20]),
        )
    return [found[value] for value in values]  # type: ignore[misc]
