"""Checking a store: the pages of its file, every record and block, and the index against the log, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from factstore import log
from factstore.columns import column
from factstore.columns.block import block_id
from factstore.columns.column import BY_ENTITY, BY_VALUE, Everything, FactArrays
from factstore.columns.kind import INTEGERS, KINDS
from factstore.commit import indexing
from factstore.errors import FactStoreError
from factstore.index.build import attributes_by_entity
from factstore.index.cache import Cache
from factstore.index.directory import ATTRIBUTES_OF, Blocks, Entry, Index
from factstore.index.novelty import Novelty, Strand
from factstore.schema import bootstrap
from factstore.schema.attribute import NO_HISTORY, Attribute, Schema
from factstore.storage import Storage

if TYPE_CHECKING:
    from factstore.connection.connection import Connection


@dataclass(slots=True)
class Check:
    """The result of a check of a store."""

    transactions: int = 0
    datoms: int = 0
    blocks: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def check(conn: Connection) -> Check:
    """Read every page, record and block of a store, and compare its root and index with the log, row by row."""
    storage = conn._storage
    while True:
        index = conn.db().view.index
        result = _checked(storage, index)
        if indexing.is_same_log(storage, index):
            return result


def _checked(storage: Storage, index: Index) -> Check:
    result = Check(problems=storage.problems())
    try:
        novelty, schema = _replayed(storage, result)
        names = set(index.reachable())
    except FactStoreError as error:
        result.problems.append(str(error))
        return result
    for name in names:
        try:
            if block_id(storage.get_blocks([name])[name]) != name:
                result.problems.append(f"block {name.hex()} is damaged: its content does not match its id")
            Blocks(storage, Cache(0)).read([name])
            result.blocks += 1
        except FactStoreError as error:
            result.problems.append(str(error))
    if result.ok:
        result.problems += _differences(index, novelty, schema)
    return result


def _differences(index: Index, novelty: Novelty, schema: Schema) -> Iterator[str]:
    """Yield the differences between the root and index on one side and the log on the other."""
    forgetful = {
        fact[0] for fact in novelty.strands.get(NO_HISTORY, Strand()).facts
    }  # now, or before they were altered
    for attribute in schema.attributes:
        strand = novelty.strands.get(attribute.id, Strand())
        yield from _compare(index, attribute, strand, with_past=attribute.id not in forgetful)
    if unknown := index.entries.keys() - {attribute.id for attribute in schema.attributes} - {ATTRIBUTES_OF}:
        yield f"the index has rows of {len(unknown)} attributes that the log does not declare, such as {min(unknown)}"
    yield from _compare_sets(index, novelty)


def _compare_sets(index: Index, novelty: Novelty) -> Iterator[str]:
    """Yield the entities for which the index has other attributes than the log."""
    rows = index.live(ATTRIBUTES_OF, Everything(BY_ENTITY), INTEGERS)
    if rows.size != index.count(ATTRIBUTES_OF) or (
        rows.size and not 0 <= rows.v.min() <= rows.v.max() < len(index.sets)
    ):
        yield "the index's list of attributes by entity does not fit its root"
        return
    indexed = {e: index.sets[number] for e, number in zip(rows.e.tolist(), rows.v.tolist(), strict=True)}
    logged, loads = attributes_by_entity(novelty, index.basis_t)
    for a, loaded in (item for columns in loads for item in columns.items()):
        for e in loaded.e.tolist():
            logged.setdefault(e, set()).add(a)
    # After an excision of some of its facts, an entity may keep an attribute; reading it then returns nothing.
    may_have_more = index.excised_t != 0
    wrong = [
        e
        for e in logged.keys() | indexed.keys()
        if not (
            logged.get(e, set()) <= set(indexed.get(e, ()))
            if may_have_more
            else logged.get(e, set()) == set(indexed.get(e, ()))
        )
    ]
    if wrong:
        yield f"the index has other attributes than the log of {len(wrong)} entities, such as {min(wrong)}"


def _replayed(storage: Storage, result: Check) -> tuple[Novelty, Schema]:
    """Return all facts of the log and the schema; count them in the result."""
    novelty, schema = Novelty(bootstrap.FACTS), bootstrap.SCHEMA
    for transaction in log.read(storage, 0):
        novelty.append(transaction.t, transaction.facts, transaction.columns)
        schema = schema.plus(transaction.facts)
        result.transactions += 1
    result.datoms = novelty.count
    return novelty, schema


def _compare(index: Index, attribute: Attribute, strand: Strand, *, with_past: bool) -> Iterator[str]:
    """Yield the differences between the index and the events of the log up to its basis, for one attribute."""
    kind = KINDS[attribute.value_type.ident]
    events = column.concat([run.by_entity for run in strand.runs(kind)], kind)
    if events.added is None:
        events = events._replace(added=np.ones(events.size, bool))
    events = column.sort(events.take(events.t <= index.basis_t), BY_ENTITY, kind)
    _, live, spans = column.spans_of(events) if events.size else (events, events, None)
    entry = index.entries.get(attribute.id, Entry())
    if entry.rows != live.size:
        yield f"{attribute.ident}: the index counts {entry.rows} live rows, the log has {live.size}"
    for order, by in ((BY_ENTITY, "entity"), (BY_VALUE, "value")):
        rows = index.live(attribute.id, Everything(order), kind)
        if not _same(rows, column.sort(live, order, kind)):
            yield f"{attribute.ident}: live rows by {by} are not those of the log"
        past = index.past(attribute.id, Everything(order), kind)
        if not with_past or spans is None:
            continue
        expected = spans.take(column.sort_positions(spans.rows, order, kind))
        if not _same(past.rows, expected.rows) or not np.array_equal(past.t1, expected.t1):
            yield f"{attribute.ident}: past rows by {by} are not those of the log"


def _same(one: FactArrays, other: FactArrays) -> bool:
    return (
        one.size == other.size
        and np.array_equal(one.e, other.e)
        and np.array_equal(one.t, other.t)
        and bool(column.equal(one.v, other.v).all())
    )
