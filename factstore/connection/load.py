"""Bulk loading: tables become facts column by column, with the same checks as transactions.

    source ──► batches of columns ──► typed columns, resolved references ──► one transaction per batch: sorted columns

The rows of a batch become new entities; a row whose identity exists already adds its values to that entity. If more
than types must be checked (predicates, composite tuples, several unique attributes), rows are processed as entity maps
in the same transaction. The log contains every fact.
Law: loading rows gives the same facts as transacting them as maps.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import compress
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from factstore.columns import column
from factstore.columns.column import BY_ENTITY, Array, FactArrays, Ints
from factstore.columns.kind import INTEGERS, plain_kind
from factstore.commit.commit import Committer
from factstore.connection.progress import chosen, rows_line
from factstore.connection.unique_values import UniqueValues
from factstore.datom import USER_BASE, Fact
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.errors import TransactError
from factstore.rendering import shown_as_record
from factstore.schema.attribute import Attribute
from factstore.tables.batch import Batch, invalid
from factstore.tables.cells import Into, Typed, goals, is_missing_cell, typed_column
from factstore.tables.sources import Table, listed
from factstore.transact import Preparation, Prepared, prepare
from factstore.values.quoting import quoted
from factstore.values.types import plain

__all__ = ["BATCH_ROWS", "MISSING", "Into", "LoadReport", "load"]

BATCH_ROWS: Final = 50_000
MISSING: Final = ("", "NA")


@shown_as_record
class LoadReport(NamedTuple):
    """The result of a load."""

    rows: int
    datoms: int
    transactions: int
    seconds: float
    basis_t: int
    missing: Mapping[Any, int] = MappingProxyType({})  # column → number of rows without a value, if not 0
    unmapped: tuple[Any, ...] = ()  # columns of the source that are not in the mapping


def load(
    committer: Committer,
    source: Any,
    mapping: Mapping[str, str | Into],
    *,
    batch_rows: int = BATCH_ROWS,
    missing: Sequence[str] = MISSING,
    progress: Callable[[int, float], None] | bool | None = None,
) -> LoadReport:
    """Load a table; see `Connection.load`."""
    start, rows_done, datoms, transactions = time.perf_counter(), 0, 0, 0
    show_progress = chosen(progress, rows_line)
    db = committer.caught_up()
    basis_t, lacking = db.basis_t, Counter[Any]()
    _check_arguments(mapping, batch_rows, missing)
    goals(db, mapping)
    table = Table(source, tuple(mapping), int(batch_rows))
    unique_values = UniqueValues(committer.storage)
    for batch in table.batches():
        read = partial(_read, batch=batch, mapping=mapping, missing=frozenset(missing), is_text=table.is_text)
        db = committer.caught_up()
        columns = read(db)
        lacking.update({each.column.name: batch.size - len(each.stored) for each in columns})
        # Preparing a batch takes long and would lose races, so it acquires the writer lock first. Reading a batch does
        # not need it.
        report = committer.apply(_preparation(db, batch, columns, read, unique_values), exclusive=True)
        datoms, transactions, basis_t = datoms + report.size, transactions + 1, report.t
        committer.keep_pace()
        rows_done += batch.size
        if show_progress:
            show_progress(rows_done, time.perf_counter() - start)
    return LoadReport(
        rows_done, datoms, transactions, time.perf_counter() - start, basis_t, dict(+lacking), table.unmapped
    )


def _check_arguments(mapping: Any, batch_rows: Any, missing: Any) -> None:
    if not isinstance(mapping, Mapping) or not mapping:
        raise invalid(
            f"expected a mapping of at least one column to its attribute, got {quoted(mapping)}", mapping=mapping
        )
    size = plain(batch_rows)
    if type(size) is not int or size < 1:
        raise invalid(f"batch_rows is a whole number from 1, got {quoted(batch_rows)}", batch_rows=batch_rows)
    if isinstance(missing, str) or not all(isinstance(text, str) for text in missing):
        raise invalid(f"missing is a collection of texts, got {quoted(missing)}", missing=missing)


# -- a batch


def _read(
    db: Database, *, batch: Batch, mapping: Mapping[str, str | Into], missing: frozenset[str], is_text: bool
) -> list[Typed]:
    """Return a batch with checked values and with references resolved in a database."""
    return [typed_column(db, goal, batch, missing, is_text=is_text) for goal in goals(db, mapping)]


def _preparation(
    read_in: Database,
    batch: Batch,
    read: list[Typed],
    reread: Callable[[Database], list[Typed]],
    unique_values: UniqueValues,
) -> Preparation:
    """Return the preparation of a batch: new rows in bulk, existing ones as maps, in one transaction.

    Args:
        read: the batch as resolved in `read_in`; it is read again if others have committed before the turn is acquired.
    """

    def prepare_batch(before: Snapshot, now: int) -> Prepared:
        db = before.database
        columns = read if db.basis_t == read_in.basis_t else reread(db)
        new = np.full(batch.size, all(_is_plain(db, each.column.attribute) for each in columns))
        for each in columns:
            if each.column.attribute.unique is not None:
                new &= ~_is_taken(db, each, columns, unique_values)
        existing = np.zeros(batch.size, np.int64) if new.all() else _existing_entities(db, columns)
        prepared = _prepared_maps(db, batch, columns, ~new & (existing == 0), now)
        count, t = int(new.sum()), db.basis_t + 1
        if existing.any():
            prepared.facts += _facts_of_existing(db, columns, existing)
        if not count:
            return prepared
        es = np.arange(count, dtype=np.int64) + (USER_BASE | prepared.next_n)
        prepared.next_n += count
        prepared.columns = loaded = _bulk(columns, None if new.all() else new, es, t)
        if db.schema.stamps:
            _stamp(loaded, [attribute.id for attribute in db.schema.stamps], prepared.instant, t)
        return prepared

    return prepare_batch


def _prepared_maps(db: Database, batch: Batch, columns: Sequence[Typed], mask: Array, now: int) -> Prepared:
    """Prepare the rows that are processed as entity maps. Raises: TransactError, which names the row."""
    try:
        return prepare(db, list(_maps(columns, mask)), now=now)
    except TransactError as error:
        form = _FORM.match(error.data.get("path") or "")
        if form is None:
            raise
        where, position = batch.position(int(np.flatnonzero(mask)[int(form[1])]))
        names = [each.column.name for each in columns if each.column.attribute.ident == error.data.get("attribute")]
        column_name = f"column {names[0]!r}, " if names else ""
        data = {**error.data, **position, **({"column": names[0]} if names else {})}
        raise type(error)(error.code, f"{error.message}, which is {column_name}{where}", **data) from error


_FORM: Final = re.compile(r"tx-data\[([0-9]+)\]")


def _existing_entities(db: Database, batch: Sequence[Typed]) -> Ints:
    """Return for each row the entity that has its identity, if only identity and types must be checked; otherwise 0."""
    whole = np.zeros(len(batch[0].values), np.int64)
    keys = [typed for typed in batch if typed.column.attribute.unique is not None]
    attributes = [typed.column.attribute for typed in batch]
    simple = all(_is_plain(db, attribute) and _is_replaced_freely(attribute) for attribute in attributes)
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


def _is_replaced_freely(attribute: Attribute) -> bool:
    """Return whether a new value of an existing entity needs no further check; its identity is never replaced."""
    return not (attribute.many or attribute.insert_only or (attribute.cas_only and not attribute.is_identity))


def _facts_of_existing(db: Database, batch: Sequence[Typed], es: Ints) -> list[Fact]:
    """Return the facts of the rows of existing entities, not as columns: only new entities are loaded in bulk."""
    t = db.basis_t + 1
    retracted: list[Fact] = []
    asserted: list[Fact] = []
    for typed in batch:
        a = typed.column.attribute.id
        of_values = es if typed.present is None else es[typed.present]
        chosen = of_values > 0
        about, values = of_values[chosen], typed.stored[chosen]
        current, which = db.view.of_entities(a, about)
        differs = current.v != values[which]
        retracted += [
            (e, a, v, t, False) for e, v in zip(current.e[differs].tolist(), current.v[differs].tolist(), strict=True)
        ]
        is_new = np.ones(len(about), bool)
        is_new[which] = differs
        asserted += [(e, a, v, t, True) for e, v in zip(about[is_new].tolist(), values[is_new].tolist(), strict=True)]
    return retracted + asserted


def _is_plain(db: Database, attribute: Attribute) -> bool:
    return not (attribute.preds or attribute.is_tuple or db.schema.composites_of(attribute.id) or attribute.id < 100)


def _is_taken(db: Database, typed: Typed, batch: Sequence[Typed], unique_values: UniqueValues) -> Array:
    """Return for each row whether its unique value exists in the database or in another row of the batch."""
    a, values = typed.column.attribute.id, typed.stored.tolist()
    counts = Counter(v for other in batch if other.column.attribute.id == a for v in other.stored.tolist())
    existing = unique_values.existing(db, a, set(values))
    taken = np.fromiter((counts[v] > 1 or v in existing for v in values), bool, len(values))
    if typed.present is None:
        return taken
    whole = np.zeros(len(typed.present), bool)
    whole[typed.present] = taken
    return whole


def _maps(batch: Sequence[Typed], mask: Array) -> Iterator[dict[str, Any]]:
    columns = [typed.column for typed in batch]
    rows = zip(*(listed(typed.values) for typed in batch), strict=True)
    for row in compress(rows, mask.tolist()):
        form: dict[str, Any] = {}
        for c, value in zip(columns, row, strict=True):
            if is_missing_cell(value):
                continue
            term = [c.into.lookup, value] if c.into.lookup else value
            if c.attribute.many:
                form.setdefault(c.attribute.ident, []).append(term)  # several columns may go there
            else:
                form[c.attribute.ident] = term
        yield form


def _bulk(batch: Sequence[Typed], new: Array | None, es: Ints, t: int) -> dict[int, FactArrays]:
    """Return the columns that make an entity of each new row."""
    loaded: dict[int, FactArrays] = {}
    for typed in batch:
        a = typed.column.attribute.id
        rows = _rows(typed, new, es, t)
        if rows.size:
            loaded[a] = rows if a not in loaded else _joined(loaded[a], rows)
    return loaded


def _stamp(loaded: dict[int, FactArrays], stamps: Sequence[int], instant: int, t: int) -> None:
    """Add the instant of creation to every new entity, unless a column contains it."""
    if loaded:
        created = np.unique(np.concatenate([rows.e for rows in loaded.values()]))
        for a in stamps:
            given = loaded.get(a)
            es = created if given is None else np.setdiff1d(created, given.e, assume_unique=True)
            rows = FactArrays(es, column.constant(instant, len(es)), column.constant(t, len(es)))
            loaded[a] = (
                rows if given is None else column.sort(column.concat([given, rows], INTEGERS), BY_ENTITY, INTEGERS)
            )


def _rows(typed: Typed, new: Array | None, es: Ints, t: int) -> FactArrays:
    stored, present = typed.stored, typed.present
    if new is not None:
        stored = stored[new if present is None else new[present]]
        present = None if present is None else present[new]
    es = es if present is None else es[present]
    return FactArrays(es, stored, column.constant(t, len(es)))


def _joined(one: FactArrays, other: FactArrays) -> FactArrays:
    """Merge two columns of one attribute; a fact that is in both becomes one fact."""
    kind = plain_kind(one.v)
    rows = column.sort(column.concat([one, other], kind), BY_ENTITY, kind)
    return rows.take(np.append(True, ~column.same_as_next(rows)))
