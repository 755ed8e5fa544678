"""Checking a store: the pages of its file, every record and block, and the index against the log, row by row.

    log, first reading ──► schema, number of events per attribute ──► portions: an attribute, or a range of its entities
    log, once for several portions ──► their events ──► the rows that the index must have ◄── compare ──► its rows

Law: the result does not depend on the size of the portions; memory depends only on it, and on one entity's events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from factstore import log
from factstore.columns import block, column
from factstore.columns.column import BY_ENTITY, BY_VALUE, Array, FactArrays, Ints, Spans
from factstore.columns.kind import KINDS, Kind
from factstore.commit import indexing
from factstore.datom import Fact
from factstore.errors import FactStoreError
from factstore.index.directory import ATTRIBUTES_OF, Entry, Index
from factstore.rendering import shown_as_record
from factstore.schema import bootstrap
from factstore.schema.attribute import NO_HISTORY, TX_INSTANT, Attribute, Schema
from factstore.storage import Storage

if TYPE_CHECKING:
    from factstore.connection.connection import Connection

# Events that are compared at once; with the sorts they take about 100 bytes each. An object counts as four numbers.
PORTION: Final = 6_000_000
_WEIGHT_OF_OBJECTS: Final = 4
_FACTS_AT_ONCE: Final = 200_000  # facts of the log that are kept as tuples, before they become columns
_BLOCKS_AT_ONCE: Final = 64


@shown_as_record
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
        contents = _contents(storage, index.basis_t)
        names = set(index.reachable())
    except FactStoreError as error:
        result.problems.append(str(error))
        return result
    result.transactions, result.datoms = contents.transactions, contents.datoms
    for name, body in bodies(storage, names):
        try:
            if isinstance(body, FactStoreError):
                raise body
            if block.block_id(body) != name:
                result.problems.append(f"block {name.hex()} is damaged: its content does not match its id")
            block.decode(body, name)
            result.blocks += 1
        except FactStoreError as error:
            result.problems.append(str(error))
    if result.ok:
        result.problems += _differences(storage, index, contents)
    return result


def bodies(storage: Storage, names: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | FactStoreError]]:
    """Yield these blocks, or the error of each that cannot be read; many are read at once."""
    remaining = iter(names)
    while batch := list(islice(remaining, _BLOCKS_AT_ONCE)):
        try:
            yield from storage.get_blocks(batch).items()
        except FactStoreError:
            for name in batch:
                yield name, _body(storage, name)


def _body(storage: Storage, name: bytes) -> bytes | FactStoreError:
    try:
        return storage.get_blocks([name])[name]
    except FactStoreError as error:
        return error


# -- the log


class Contents(NamedTuple):
    """What the first reading of the log gives."""

    transactions: int
    datoms: int
    schema: Schema
    forgetful: set[int]  # attributes without history, now, or before they were altered
    events: Counter[int]  # how many there are of each attribute, up to the basis of the index


def _contents(storage: Storage, basis_t: int) -> Contents:
    transactions, datoms, schema = 0, len(bootstrap.FACTS), bootstrap.SCHEMA
    forgetful: set[int] = set()
    events = Counter(fact[1] for fact in bootstrap.FACTS if basis_t >= 0)
    for transaction in log.read(storage, 0):
        facts, columns = transaction.facts, transaction.columns or {}
        transactions += 1
        datoms += len(facts) + sum(rows.size for rows in columns.values())
        schema = schema.plus(facts)
        forgetful.update(fact[0] for fact in facts if fact[1] == NO_HISTORY)
        if transaction.t <= basis_t:
            events.update([fact[1] for fact in facts])
            events.update({a: rows.size for a, rows in columns.items()})
    return Contents(transactions, datoms, schema, forgetful, events)


class Portion:
    """An attribute and a range of entities, with the events of the log."""

    def __init__(self, attribute: Attribute, low: int | None = None, high: int | None = None) -> None:
        self.attribute = attribute
        self.kind: Kind = KINDS[attribute.value_type.ident]
        self.low, self.high = low, high  # entities from low up to, but not including, high; None means no limit
        self._parts: list[FactArrays] = []

    def mask(self, es: Ints) -> Array | slice:
        """Return what selects the entities of the portion."""
        if self.low is None and self.high is None:
            return slice(None)
        mask = np.ones(len(es), bool) if self.low is None else es >= self.low
        return mask if self.high is None else mask & (es < self.high)

    def add(self, rows: FactArrays) -> None:
        """Add events of the attribute; those of other entities are ignored."""
        rows = rows.take(self.mask(rows.e))
        if rows.size:
            self._parts.append(rows)

    def events(self) -> FactArrays:
        """Return all events, sorted by (e, v, t), and forget them."""
        events, self._parts = column.concat(self._parts, self.kind), []
        if events.added is None:
            events = events._replace(added=np.ones(events.size, bool))
        return column.sort(events, BY_ENTITY, self.kind)


EVERYTHING: Final = Portion(bootstrap.SCHEMA.attribute(TX_INSTANT))  # of no attribute in particular


def _portions(index: Index, contents: Contents) -> Iterator[list[Portion]]:
    """Yield the portions that are compared in one reading of the log; together they cover all attributes."""
    group: list[Portion] = []
    free = PORTION
    for attribute in contents.schema.attributes:
        dtype = KINDS[attribute.value_type.ident].dtype
        weight = contents.events[attribute.id] * (_WEIGHT_OF_OBJECTS if dtype == "O" else 1)
        bounds = _bounds(index, attribute.id, -(-weight // PORTION))
        for low, high in zip([None, *bounds], [*bounds, None], strict=True):
            if group and weight > free:
                yield group
                group, free = [], PORTION
            group.append(Portion(attribute, low, high))
            free -= weight // (len(bounds) + 1)
    yield group


def _bounds(index: Index, a: int, parts: int) -> list[int]:
    """Return the entities at which the entities of an attribute are divided into parts with about as many rows."""
    fences = index.blocks.directory(index.entries.get(a, Entry()).ev).first.e
    if parts <= 1 or not len(fences):
        return []
    inner = fences[np.arange(1, parts) * len(fences) // parts]
    return sorted(set(inner.tolist()))


def _collect(storage: Storage, basis_t: int, group: Sequence[Portion]) -> None:
    """Add the events of the log up to a t to the portions that they belong to."""
    of: dict[int, list[Portion]] = {}
    for portion in group:
        of.setdefault(portion.attribute.id, []).append(portion)
    waiting: list[Fact] = []
    for facts, columns in _read(storage, basis_t, of):
        waiting += (fact for fact in facts if fact[1] in of)
        for a, rows in columns.items():
            for portion in of[a]:
                portion.add(rows)
        if len(waiting) > _FACTS_AT_ONCE:
            _distribute(waiting, of)
            waiting = []
    _distribute(waiting, of)


def _read(
    storage: Storage, basis_t: int, only: Container[int]
) -> Iterator[tuple[Sequence[Fact], Mapping[int, FactArrays]]]:
    """Yield the facts and columns of the transactions up to a t, those of some attributes at least."""
    if basis_t >= 0:
        yield bootstrap.FACTS, {}
    for transaction in log.read(storage, 0, max(basis_t, 0), only=only):
        yield transaction.facts, transaction.columns or {}


def _distribute(facts: Sequence[Fact], of: Mapping[int, Sequence[Portion]]) -> None:
    by_attribute: dict[int, list[Fact]] = {}
    for fact in facts:
        by_attribute.setdefault(fact[1], []).append(fact)
    for a, own in by_attribute.items():
        rows = column.events_of(own, of[a][0].kind)
        for portion in of[a]:
            portion.add(rows)


# -- the comparison


def _differences(storage: Storage, index: Index, contents: Contents) -> Iterator[str]:
    """Yield the differences between the root and index on one side and the log on the other."""
    schema = contents.schema
    sets = _Sets(index)
    found: dict[int, _Found] = {}
    for group in _portions(index, contents):
        _collect(storage, index.basis_t, group)
        for portion in group:
            events, a = portion.events(), portion.attribute.id
            _compare(index, portion, events, found.setdefault(a, _Found()), with_past=a not in contents.forgetful)
            sets.compare(portion, events.e)
    for attribute in schema.attributes:
        yield from found[attribute.id].problems(attribute, index.entries.get(attribute.id, Entry()))
    declared = frozenset(attribute.id for attribute in schema.attributes)
    if unknown := index.entries.keys() - declared - {ATTRIBUTES_OF}:
        yield f"the index has rows of {len(unknown)} attributes that the log does not declare, such as {min(unknown)}"
    yield from sets.problems(declared)


@dataclass(slots=True)
class _Found:
    """The result of the comparison of one attribute."""

    live: int = 0  # rows, by the log
    wrong: set[tuple[str, str]] = field(default_factory=set)

    def problems(self, attribute: Attribute, entry: Entry) -> Iterator[str]:
        if entry.rows != self.live:
            yield f"{attribute.ident}: the index counts {entry.rows} live rows, the log has {self.live}"
        for by in ("entity", "value"):
            for rows in ("live", "past"):
                if (rows, by) in self.wrong:
                    yield f"{attribute.ident}: {rows} rows by {by} are not those of the log"


def _compare(index: Index, portion: Portion, events: FactArrays, found: _Found, *, with_past: bool) -> None:
    """Compare the index with the sorted events of a portion."""
    kind, entry = portion.kind, index.entries.get(portion.attribute.id, Entry())
    if not (events.size or entry.rows or entry.past_rows):
        return  # as for most attributes that every store declares
    _, live, spans = column.spans_of(events) if events.size else (events, events, Spans(events, events.t))
    found.live += live.size
    ordered = (BY_ENTITY, "entity", entry.ev, entry.past_ev), (BY_VALUE, "value", entry.ve, entry.past_ve)
    for order, by, of_live, of_past in ordered:
        rows = _rows(index, of_live if entry.rows else b"", portion, order)
        if not _same(FactArrays(*rows[:3]), column.sort(live, order, kind)):
            found.wrong.add(("live", by))
        if with_past:
            past = _rows(index, of_past if entry.past_rows else b"", portion, order, past=True)
            expected = spans.take(column.sort_positions(spans.rows, order, kind))
            if not _same(FactArrays(*past[:3]), expected.rows) or not np.array_equal(past[3], expected.t1):
                found.wrong.add(("past", by))


def _rows(index: Index, name: bytes, portion: Portion, order: str, *, past: bool = False) -> list[Array]:
    """Return the rows of a family for the entities of a portion: e, v, t, and t1 of past rows."""
    none = column.empty(portion.kind)
    parts = [[*none[:3], none.t] if past else [*none[:3]], *_blocks(index, name, portion, order)]
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def _blocks(index: Index, name: bytes, portion: Portion, order: str) -> Iterator[list[Array]]:
    """Yield the columns of the blocks of a family, for the entities of a portion."""
    directory = index.blocks.directory(name)
    start, end = 0, directory.length
    if order == BY_ENTITY:
        if portion.low is not None:
            start = max(int(np.searchsorted(directory.first.e, portion.low)) - 1, 0)
        if portion.high is not None:
            end = int(np.searchsorted(directory.first.e, portion.high))
    for at in range(start, end, _BLOCKS_AT_ONCE):
        for columns in index.blocks.read(directory.names[at : min(at + _BLOCKS_AT_ONCE, end)], keep=False):
            mask = portion.mask(columns[0])
            yield [values[mask] for values in columns]


def _same(one: FactArrays, other: FactArrays) -> bool:
    return (
        one.size == other.size
        and np.array_equal(one.e, other.e)
        and np.array_equal(one.t, other.t)
        and bool(column.equal(one.v, other.v).all())
    )


class _Sets:
    """The attributes of each entity: those of the index are compared with those of the log, one after the other."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._name = index.entries.get(ATTRIBUTES_OF, Entry()).ev
        self._wrong: list[Ints] = []  # entities
        self._fits = self._fit_the_root()

    def _fit_the_root(self) -> bool:
        count = 0
        for _, v, *_ in _blocks(self._index, self._name, EVERYTHING, BY_ENTITY):
            count += len(v)
            if not 0 <= v.min() <= v.max() < len(self._index.sets):
                return False
        return count == self._index.count(ATTRIBUTES_OF)

    def compare(self, portion: Portion, es: Ints) -> None:
        """Compare the entities with an attribute; `es` are those of its events in the log, sorted."""
        if self._fits:
            logged = es[np.append(es[:-1] != es[1:], True)] if len(es) else es
            indexed = self._entities(portion, [portion.attribute.id in one for one in self._index.sets])
            # After an excision of some of its facts, an entity may keep an attribute; reading it then returns nothing.
            differ = np.setdiff1d if self._index.excised_t else np.setxor1d
            if not np.array_equal(logged, indexed):
                self._wrong.append(differ(logged, indexed))

    def problems(self, declared: frozenset[int]) -> Iterator[str]:
        """Yield what is wrong, when all declared attributes have been compared."""
        if not self._fits:
            yield "the index's list of attributes by entity does not fit its root"
            return
        if not self._index.excised_t:
            self._wrong.append(self._entities(EVERYTHING, [not declared.issuperset(one) for one in self._index.sets]))
        wrong = np.unique(np.concatenate([column.ints(()), *self._wrong]))
        if len(wrong):
            yield f"the index has other attributes than the log of {len(wrong)} entities, such as {wrong[0]}"

    def _entities(self, portion: Portion, wanted: Sequence[bool]) -> Ints:
        """Return the entities of a portion with a wanted set."""
        is_wanted = np.array(wanted, bool)
        parts = [e[is_wanted[v]] for e, v, *_ in _blocks(self._index, self._name, portion, BY_ENTITY)]
        return np.concatenate([column.ints(()), *parts])
