"""Bulk loading: tables become facts column by column, through the same checks as transactions.

    source ──► batches of columns ──► typed columns, references found ──► one transaction a batch, kept as sorted columns

A batch's rows become new entities, and a row whose identity is known already says more of that one; where more than types must be
checked (predicates, composite tuples, several unique attributes), rows go the way of entity maps in the same transaction. The log
holds every fact.
Law: loading rows gives the same facts as transacting them as maps.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import compress, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import numpy as np

from factstore.commit import Change, Preparation
from factstore.datom import USER_BASE, Fact
from factstore.db import Database, Snapshot
from factstore.errors import TransactError
from factstore.index import column
from factstore.index.column import BY_ENTITY, Array, Ints, Rows
from factstore.schema.attribute import Attribute
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
        read = partial(_read, table=table, mapping=mapping, missing=missing, from_text=from_text)
        db = conn.db()
        # Preparing a batch takes long: it would lose race after race, so the writer's turn comes first. Reading it does not need that.
        report = conn._committer.apply(_preparation(db, read(db), read), exclusive=True)
        datoms, transactions, basis_t = datoms + report.size, transactions + 1, report.t
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


class _Typed(NamedTuple):
    """A column of a batch."""

    column: _Column
    values: Sequence[Any]  # as users would write them, None for what is missing
    stored: Array  # what is there
    present: Array | None  # which rows have a value; None: all


def _read(db: Database, *, table: Table, mapping: Mapping[str, str | Into], missing: Sequence[str], from_text: bool) -> list[_Typed]:
    """Return a batch with its values checked and its references found, as a database has them."""
    columns = [_column(db, name, into) for name, into in mapping.items()]
    _check_mapping(columns)
    return [_Typed(c, *_typed(db, c, _converted(c, table[c.name], missing, from_text))) for c in columns]


def _preparation(known: Database, read: list[_Typed], reread: Callable[[Database], list[_Typed]]) -> Preparation:
    """Return the preparation of a batch: new rows in bulk, known ones as maps, in one transaction.

    Args:
        read: the batch as `known` has it; somebody else may have committed before we get the turn, then it is read again.
    """

    def prepared(before: Snapshot, now: int) -> Change:
        db = before.database
        batch = read if db.basis_t == known.basis_t else reread(db)
        rows = len(batch[0].values)
        new = np.full(rows, all(_is_plain(db, typed.column.attribute) for typed in batch))
        for typed in batch:
            if typed.column.attribute.unique is not None:
                new &= ~_is_taken(db, typed, batch)
        known_es = np.zeros(rows, np.int64) if new.all() else _known_entities(db, batch)
        maps = list(_maps(batch, ~new & (known_es == 0)))
        facts, tempids, next_n, instant = prepare(db, maps, now=now)
        count, t = int(new.sum()), db.basis_t + 1
        if known_es.any():
            facts += _facts_of_known(db, batch, known_es)
        if not count:
            return Change(facts, tempids, next_n, instant)
        es = np.arange(count, dtype=np.int64) + (USER_BASE | next_n)
        loaded = _bulk(batch, None if new.all() else new, es, t)
        if db.schema.stamps:
            _stamp(loaded, [attribute.id for attribute in db.schema.stamps], instant, t)
        return Change(facts, tempids, next_n + count, instant, loaded)

    return prepared


def _known_entities(db: Database, batch: Sequence[_Typed]) -> Ints:
    """Return of each row the entity that has its identity already, where that and types are all there is to check; 0 elsewhere."""
    whole = np.zeros(len(batch[0].values), np.int64)
    keys = [typed for typed in batch if typed.column.attribute.unique is not None]
    attributes = [typed.column.attribute for typed in batch]
    simple = all(_is_plain(db, attribute) and not attribute.many and not attribute.insert_only for attribute in attributes)
    if len(keys) != 1 or not keys[0].column.attribute.is_identity or not simple or db.schema.stamps:
        return whole
    stored, present = keys[0].stored, keys[0].present
    values = stored.tolist()
    counts = Counter(values)
    holders, which = db.view.with_values(keys[0].column.attribute.id, values if stored.dtype == object else stored)
    es = np.zeros(len(values), np.int64)
    es[which] = holders.e
    es[np.fromiter((counts[v] > 1 for v in values), bool, len(values))] = 0
    whole[slice(None) if present is None else present] = es
    return whole


def _facts_of_known(db: Database, batch: Sequence[_Typed], es: Ints) -> list[Fact]:
    """Return what the rows of known entities come to. As facts, not columns: a column that is loaded is of new entities only."""
    t = db.basis_t + 1
    gone: list[Fact] = []
    come: list[Fact] = []
    for typed in batch:
        a = typed.column.attribute.id
        of_values = es if typed.present is None else es[typed.present]
        chosen = of_values > 0
        about, values = of_values[chosen], typed.stored[chosen]
        known, which = db.view.of_entities(a, about)
        differs = known.v != values[which]
        gone += [(e, a, v, t, False) for e, v in zip(known.e[differs].tolist(), known.v[differs].tolist(), strict=True)]
        says_more = np.ones(len(about), bool)
        says_more[which] = differs
        come += [(e, a, v, t, True) for e, v in zip(about[says_more].tolist(), values[says_more].tolist(), strict=True)]
    return gone + come


def _column(db: Database, name: str, into: str | Into) -> _Column:
    into = Into(into) if isinstance(into, str) else into
    attribute = db.attribute(into.attribute)
    if (into.lookup is not None) != attribute.is_ref:
        wants = "needs a `lookup` attribute" if attribute.is_ref else "is no reference, so it takes no `lookup`"
        raise TransactError(
            ":db.error/invalid-load", f"{attribute.ident}, which column {name!r} goes to, {wants}", column=name, attribute=attribute.ident
        )
    return _Column(name, attribute, into)


def _check_mapping(columns: Sequence[_Column]) -> None:
    """Refuse two columns for one value."""
    first: dict[int, str] = {}
    for c in columns:
        other = first.setdefault(c.attribute.id, c.name)
        if other != c.name and not c.attribute.many:
            text = f"{c.attribute.ident} takes one value, and columns {other!r} and {c.name!r} both go there"
            raise TransactError(":db.error/invalid-load", text, column=c.name, attribute=c.attribute.ident)


def _is_plain(db: Database, attribute: Attribute) -> bool:
    return not (attribute.preds or attribute.is_tuple or db.schema.composites_of(attribute.id) or attribute.id < 100)


def _converted(c: _Column, values: Sequence[Any], missing: Sequence[str], from_text: bool) -> Sequence[Any]:
    """Return a column's values as users would write them, None for what is missing."""
    convert = c.into.convert
    if isinstance(values, np.ndarray) and values.dtype != object:
        if convert is None:
            return values
        values = values.tolist()
    if convert is None and from_text:
        convert = _FROM_TEXT.get("string" if c.attribute.is_ref else c.attribute.value_type.name)
    absent = frozenset(missing) if from_text else frozenset()
    there = [None if v is None or v != v or (from_text and v in absent) else v for v in values]
    if convert is None:
        return there
    return [None if v is None or (found := convert(v)) != found else found for v in there]


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


def _is_taken(db: Database, typed: _Typed, batch: Sequence[_Typed]) -> Array:
    """Tell of each row whether its unique value is known already, to the database or to another row of the batch."""
    a, values = typed.column.attribute.id, typed.stored.tolist()
    counts = Counter(v for other in batch if other.column.attribute.id == a for v in other.stored.tolist())
    known = db.view.known_values(a, set(values))
    taken = np.fromiter((counts[v] > 1 or v in known for v in values), bool, len(values))
    if typed.present is None:
        return taken
    whole = np.zeros(len(typed.present), bool)
    whole[typed.present] = taken
    return whole


def _maps(batch: Sequence[_Typed], wanted: Array) -> Iterator[dict[str, Any]]:
    columns = [typed.column for typed in batch]
    rows = zip(*(_listed(typed.values) for typed in batch), strict=True)
    for row in compress(rows, wanted.tolist()):
        form: dict[str, Any] = {}
        for c, value in zip(columns, row, strict=True):
            if value is None or value != value:
                continue
            term = [c.into.lookup, value] if c.into.lookup else value
            if c.attribute.many:
                form.setdefault(c.attribute.ident, []).append(term)  # several columns may go there
            else:
                form[c.attribute.ident] = term
        yield form


def _listed(values: Sequence[Any]) -> Sequence[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else values


def _bulk(batch: Sequence[_Typed], new: Array | None, es: Ints, t: int) -> dict[int, Rows]:
    """Return the columns that make each new row an entity."""
    loaded: dict[int, Rows] = {}
    for typed in batch:
        a = typed.column.attribute.id
        rows = _rows(typed, new, es, t)
        if rows.size:
            loaded[a] = rows if a not in loaded else _joined(loaded[a], rows)
    return loaded


def _stamp(loaded: dict[int, Rows], stamps: Sequence[int], instant: int, t: int) -> None:
    """Say of every new entity when it was made, unless a column does."""
    if loaded:
        made = np.unique(np.concatenate([rows.e for rows in loaded.values()]))
        for a in stamps:
            known = loaded.get(a)
            es = made if known is None else np.setdiff1d(made, known.e, assume_unique=True)
            rows = Rows(es, np.full(len(es), instant, np.int64), np.full(len(es), t, np.int64))
            loaded[a] = rows if known is None else column.sort(column.concat([known, rows], "i8"), BY_ENTITY)


def _rows(typed: _Typed, new: Array | None, es: Ints, t: int) -> Rows:
    stored, present = typed.stored, typed.present
    if new is not None:
        stored = stored[new if present is None else new[present]]
        present = None if present is None else present[new]
    es = es if present is None else es[present]
    return Rows(es, stored, np.full(len(es), t, np.int64))


def _joined(one: Rows, other: Rows) -> Rows:
    """Put two columns for one attribute together; a fact that both give is one fact."""
    dtype = "O" if one.v.dtype == object else one.v.dtype.str
    rows = column.sort(column.concat([one, other], dtype), BY_ENTITY)
    return rows.take(np.append(True, ~column.same_as_next(rows)))


def _typed(db: Database, c: _Column, values: Sequence[Any]) -> tuple[Sequence[Any], Array, Array | None]:
    return values, *_stored(db, c, values)


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
        rounds = c.attribute.value_type.name == "float" and values.dtype.itemsize > 4
        return column.array_of(_checked(c, values.tolist()), dtype) if rounds else values.astype(np.dtype(dtype)), None
    present = ~np.isnan(values)
    return _stored_array(c, values[present])[0], present


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
