"""Indexing: merges novelty into blocks, in bulk, and makes the root that refers to them.

Only blocks that receive an event are written again. No existing block is changed, so a crash leaves only blocks to
which no root refers.
Law: the index built from index(t) and the events up to u equals the index built from the log up to u.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from factstore.columns import block, column
from factstore.columns.column import BY_ENTITY, BY_VALUE, Array, Entities, FactArrays, Spans
from factstore.columns.kind import INTEGERS, KINDS, Kind, plain_kind
from factstore.index.directory import ATTRIBUTES_OF, NOTHING, Blocks, Directory, Entry, Index, divide
from factstore.index.novelty import Novelty
from factstore.schema.attribute import Schema

_BLOCKS_AT_ONCE: Final = 64  # adjacent blocks that are merged together
_FEW_ROWS: Final = 64  # rows up to which one after the other is faster than column by column


Watch: TypeAlias = Callable[[int, int], object]


class Merge(NamedTuple):
    """A change of a family: the rows to remove, and the rows to add, with all their columns."""

    leaving: FactArrays
    coming: tuple[Array, ...]  # e, v, t, and for past rows t1


class Built(NamedTuple):
    """A new index, and the ids of the blocks that were written for it."""

    root: Index
    written: frozenset[bytes]


def build(
    index: Index,
    novelty: Novelty,
    schema: Schema,
    *,
    upto_t: int,
    next_n: int,
    instant: int,
    watch: Watch = lambda _done, _all: None,
) -> Built:
    """Return the index with the events of novelty up to a t; its blocks are written, its root is not.

    Args:
        watch: called several times per second with the numbers of datoms that are merged, and of all. An exception that
            it raises ends the build; only blocks to which no root refers have been written.
    """
    entries, single = dict(index.entries), {}
    writer = Writer(index.blocks, Work(2 * novelty.count, watch))
    for a, strand in sorted(novelty.strands.items()):
        attribute = schema.find(a)
        if attribute is None:
            continue  # declared after this t
        kind = KINDS[attribute.value_type.ident]
        single[a] = strand.entities(kind, upto_t)
        events = _events(strand.events(kind), upto_t, kind)
        if events.size:
            entry = entries.get(a, Entry())
            entries[a] = _merge_attribute(writer, entry, events, kind, forget=attribute.no_history)
    sets, entry = _merge_sets(writer, index, single, novelty.loads(upto_t))
    if entry.rows:
        entries[ATTRIBUTES_OF] = entry
    writer.flush()
    new = replace(index, basis_t=upto_t, next_n=next_n, instant=instant, sets=sets, entries=entries)
    return Built(new, frozenset(writer.written))


class Work:
    """The rows that are merged, of all rows: each datom is a row by entity and one by value."""

    def __init__(self, rows: int = 0, watch: Watch = lambda _done, _all: None) -> None:
        self._rows = rows
        self._done = 0
        self._watch = watch

    def done(self, rows: int = 0) -> None:
        """Count merged rows, and call the watch."""
        self._done += rows
        self._watch(self._done // 2, self._rows // 2)


class Writer:
    """Collects blocks and writes a few megabytes of them at once."""

    _FLUSH_BYTES = 8 << 20

    def __init__(self, blocks: Blocks, work: Work | None = None) -> None:
        self.blocks = blocks
        self.work = work or Work()
        self.written: set[bytes] = set()
        self._waiting: list[tuple[bytes, bytes]] = []
        self._bytes = 0

    def write(self, columns: tuple[Array, ...]) -> bytes:
        """Add columns as a block and return its id."""
        body = block.encode(columns)
        name = block.block_id(body)
        self.written.add(name)
        self._waiting.append((name, body))
        self._bytes += len(body)
        if self._bytes >= self._FLUSH_BYTES:
            self.flush()
        return name

    def flush(self) -> None:
        """Write the collected blocks to the storage."""
        if self._waiting:
            self.blocks.storage.put_blocks(self._waiting)
            self._waiting, self._bytes = [], 0


def _events(parts: list[FactArrays], upto_t: int, kind: Kind) -> FactArrays:
    """Return sorted sequences of events as one, without those after a t."""
    rows = column.concat(parts, kind)
    if rows.added is None:
        rows = rows._replace(added=np.ones(rows.size, bool))
    if rows.size and rows.t.max() > upto_t:
        rows = rows.take(rows.t <= upto_t)
    return column.sort(rows, BY_ENTITY, kind) if len(parts) > 1 else rows


def _merge_attribute(writer: Writer, entry: Entry, events: FactArrays, kind: Kind, *, forget: bool) -> Entry:
    """Return the entry of an attribute after these events, sorted by (e, v, t); `forget` discards retracted rows."""
    ends_older, live, spans = column.spans_of(events)
    ev, left = merge_family(writer, entry.ev, Merge(ends_older, live[:3]), BY_ENTITY, kind)
    writer.work.done(events.size)
    by_value = Merge(column.to_value_order(ends_older, kind), column.to_value_order(live, kind)[:3])
    ve, _ = merge_family(writer, entry.ve, by_value, BY_VALUE, kind)
    writer.work.done(events.size)
    rows = entry.rows - left.size + live.size
    if forget:
        return entry._replace(rows=rows, ev=ev, ve=ve)
    past = _past(left, ends_older, spans, kind)
    if not past.rows.size:
        return entry._replace(rows=rows, ev=ev, ve=ve)
    past_ev = _merge_past(writer, entry.past_ev, past, BY_ENTITY, kind)
    past_ve = _merge_past(writer, entry.past_ve, past, BY_VALUE, kind)
    return Entry(rows, entry.past_rows + past.rows.size, ev, ve, past_ev, past_ve)


def _past(left: FactArrays, ends: FactArrays, spans: Spans, kind: Kind) -> Spans:
    """Return the new past rows: removed rows, which have their t, and spans within the events."""
    t1 = ends.t
    if left.size != ends.size:
        # Facts that did not exist were retracted; they have no past row.
        t1 = ends.t[column.positions_of(ends, left, BY_ENTITY, kind)]
    return Spans(column.concat([left, spans.rows], kind), np.concatenate([t1, spans.t1]))


def _merge_past(writer: Writer, name: bytes, past: Spans, order: str, kind: Kind) -> bytes:
    past = past.take(column.sort_positions(past.rows, order, kind))
    coming = (*past.rows[:3], past.t1)
    merged, _ = merge_family(writer, name, Merge(column.empty(kind), coming), order, kind)
    return merged


def merge_family(writer: Writer, name: bytes, merge: Merge, order: str, kind: Kind) -> tuple[bytes, FactArrays]:
    """Merge a change into a family; its rows are sorted in the order of the family.

    Returns: the id of the new directory, and the removed rows.
    """
    directory = writer.blocks.directory(name)
    none = column.empty(kind)
    if directory.length == 0:
        return write_directory(writer, list(write_blocks(writer, merge.coming)), kind), none
    leaves = divide(directory, merge.leaving, order, kind)
    comes = divide(directory, FactArrays(*merge.coming[:3]), order, kind)
    written: list[tuple[Any, Any, bytes, int]] = []
    left, done = [none], 0
    for start, end in _stretches(np.flatnonzero((np.diff(leaves) > 0) | (np.diff(comes) > 0))):
        written += _untouched(directory, done, start)
        base = _concat(writer.blocks.read(directory.ids[start:end].tolist(), keep=False))
        leaving = merge.leaving.take(slice(leaves[start], leaves[end]))
        arriving = slice(comes[start], comes[end])
        merged, gone = _merged(base, leaving, tuple(part[arriving] for part in merge.coming), order, kind)
        left.append(gone)
        written += write_blocks(writer, merged)
        writer.work.done()
        done = end
    written += _untouched(directory, done, directory.length)
    return write_directory(writer, written, kind), column.concat(left, kind)


def _merged(
    base: tuple[Array, ...], leaving: FactArrays, coming: tuple[Array, ...], order: str, kind: Kind
) -> tuple[tuple[Array, ...], FactArrays]:
    """Return base rows without the leaving and with the coming ones, and the rows that left."""
    rows = FactArrays(*base[:3])
    gone = rows.take(slice(0))
    if leaving.size:
        at = column.positions_of(rows, leaving, order, kind)
        at = at[at >= 0]
        keep = np.ones(rows.size, bool)
        keep[at] = False
        gone, base = rows.take(np.sort(at)), tuple(part[keep] for part in base)
    # Equal facts are past rows: those of the base ended before the others began.
    values = column.comparable(base[1], coming[1], kind.order_key)
    return column.merged(base, coming, values, order, plain_kind(values[0])), gone


def _stretches(touched: Array) -> Iterator[tuple[int, int]]:
    """Yield [start, end) of adjacent blocks, a limited number at once, because their rows are in memory."""
    if not len(touched):
        return
    breaks = np.flatnonzero(np.diff(touched) > 1) + 1
    for part in np.split(touched, breaks):
        for at in range(0, len(part), _BLOCKS_AT_ONCE):
            yield int(part[at]), int(part[at : at + _BLOCKS_AT_ONCE][-1]) + 1


def _untouched(directory: Directory, start: int, end: int) -> list[tuple[Any, Any, bytes, int]]:
    first = directory.first
    columns = (first.e[start:end], first.v[start:end], directory.ids[start:end], directory.sizes[start:end])
    return list(zip(*(part.tolist() for part in columns), strict=True))


def _concat(parts: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    return parts[0] if len(parts) == 1 else tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def write_blocks(writer: Writer, columns: tuple[Array, ...]) -> Iterator[tuple[Any, Any, bytes, int]]:
    """Write sorted rows as blocks; yield the rows of the directory for them."""
    if not len(columns[0]):
        return
    for piece in block.split(columns):
        yield piece[0][0].item(), item(piece[1]), writer.write(piece), len(piece[0])


def item(values: Array) -> Any:
    """Return the first value of a column as a Python object."""
    return values[0] if values.dtype == object else values[0].item()


def write_directory(writer: Writer, blocks: list[tuple[Any, Any, bytes, int]], kind: Kind) -> bytes:
    """Write the directory of these blocks and return its id."""
    if not blocks:
        return NOTHING
    e, v, ids, sizes = zip(*blocks, strict=True)
    return writer.write((column.ints(e), column.array_of(v, kind.dtype), column.array_of(ids, "O"), column.ints(sizes)))


def _merge_sets(
    writer: Writer, index: Index, single: Mapping[int, Array], loads: Sequence[Mapping[int, FactArrays]]
) -> tuple[tuple[tuple[int, ...], ...], Entry]:
    """Return the attribute sets and the entry of ATTRIBUTES_OF, after the transactions of novelty.

    Args:
        single: the entities of single facts, in any order, by attribute.
        loads: the columns of each bulk load.
    """
    numbers = {one: n for n, one in enumerate(index.sets)}
    with_facts = _sorted_once([column.ints(()), *(single.values() if loads else ())])
    by_attribute = {a: [es] for a, es in single.items()}
    loaded = [_sets_of_load(columns, with_facts, by_attribute, numbers) for columns in loads]
    es, which, sets = _numbered(by_attribute)
    entry = index.entries.get(ATTRIBUTES_OF, Entry())
    rows = index.live(ATTRIBUTES_OF, Entities(es), INTEGERS)
    old = np.full(len(es), -1)
    old[np.searchsorted(es, rows.e)] = rows.v
    # There are few different pairs of an old set and the attributes that are added to it.
    count = len(sets)
    kinds, place = np.unique((old + 1) * count + which, return_inverse=True)
    of_kinds = [
        tuple(sorted({*sets[kind % count], *(index.sets[kind // count - 1] if kind >= count else ())}))
        for kind in kinds.tolist()
    ]
    new = column.ints(numbers.setdefault(one, len(numbers)) for one in of_kinds)[place]
    leaving, changed = (new != old) & (old >= 0), new != old
    coming = _of_sets(es[changed], new[changed])
    arriving = column.sort(column.concat([coming, *loaded], INTEGERS), BY_ENTITY, INTEGERS)
    merge = Merge(_of_sets(es[leaving], old[leaving]), arriving[:3])
    ev, _ = merge_family(writer, entry.ev, merge, BY_ENTITY, INTEGERS)
    return tuple(numbers), Entry(entry.rows + arriving.size - merge.leaving.size, 0, ev)


def _numbered(entities: Mapping[int, Sequence[Array]]) -> tuple[Array, Array, list[tuple[int, ...]]]:
    """Return the entities, sorted, with the number of the attribute set of each, and the sets by number.

    Args:
        entities: arrays of the entities of each attribute, in any order and repeated.
    """
    distinct = {a: _sorted_once(arrays) for a, arrays in sorted(entities.items())}
    es = np.concatenate([column.ints(()), *distinct.values()])
    order = np.argsort(es, kind="stable")  # the attributes of an entity stay in order
    a = np.repeat(column.ints(distinct), [len(each) for each in distinct.values()])[order]
    es = es[order]
    begins = np.flatnonzero(np.append(True, es[1:] != es[:-1])[: len(es)])
    sizes = np.diff(np.append(begins, len(es)))
    numbers: dict[tuple[int, ...], int] = {}
    which = np.zeros(len(begins), np.int64)
    for size in np.unique(sizes).tolist():
        of_size = np.flatnonzero(sizes == size)
        rows = a[begins[of_size][:, None] + np.arange(size)]
        which[of_size] = _numbers_of_rows(rows, numbers)
    return es[begins], which, list(numbers)


def _numbers_of_rows(rows: Array, numbers: dict[tuple[int, ...], int]) -> Array:
    """Return the number of each row of a matrix; most entities have one of a few sets of attributes."""
    if len(rows) < _FEW_ROWS:
        return column.ints(numbers.setdefault(tuple(row), len(numbers)) for row in rows.tolist())
    kinds = np.zeros(len(rows), np.int64)
    for part in rows.T:  # the beginnings of the rows so far have a kind
        values, place = np.unique(part, return_inverse=True)
        kinds = np.unique(kinds * len(values) + place, return_inverse=True)[1]
    first = np.unique(kinds, return_index=True)[1]
    return column.ints(numbers.setdefault(tuple(row), len(numbers)) for row in rows[first].tolist())[kinds]


def _sets_of_load(
    columns: Mapping[int, FactArrays],
    with_facts: Array,
    by_attribute: dict[int, list[Array]],
    numbers: dict[tuple[int, ...], int],
) -> FactArrays:
    """Return the entities of a bulk load and their attribute sets.

    A load creates its entities, so they have no earlier set. There are few different sets, computed as bit patterns.

    Args:
        with_facts: entities that have single facts, sorted; those of the load are added to `by_attribute` instead.
    """
    by_entities = _by_entities(columns)
    es = _sorted_once([of_columns for of_columns, _ in by_entities])
    sets: list[tuple[int, ...]] = [()]
    which = np.zeros(len(es), np.int64)  # of the sets so far
    for of_columns, attributes in by_entities:
        has = np.zeros(len(es), np.int64)
        has[np.searchsorted(es, of_columns)] = len(sets)
        sets += [(*one, *attributes) for one in sets]
        used = np.flatnonzero(np.bincount(which + has, minlength=len(sets)))
        place = np.zeros(len(sets), np.int64)
        place[used] = np.arange(len(used))
        which, sets = place[which + has], [sets[i] for i in used]
    number = column.ints(numbers.setdefault(tuple(sorted(one)), len(numbers)) for one in sets)[which]
    low, high = column.bounds(with_facts, es)
    others = low < high
    for n in np.unique(which[others]).tolist():
        for a in sets[n]:
            by_attribute.setdefault(a, []).append(es[others & (which == n)])
    return _of_sets(es[~others], number[~others])


def _by_entities(columns: Mapping[int, FactArrays]) -> list[tuple[Array, list[int]]]:
    """Return the attributes of a bulk load that have the same entities: most columns have those of the first one."""
    of_sums: dict[tuple[int, int], list[tuple[Array, list[int]]]] = {}  # only arrays of the same sum are compared
    for a in sorted(columns):
        es = columns[a].e
        alike = of_sums.setdefault((len(es), int(es.sum())), [])
        same = next((attributes for others, attributes in alike if others is es or np.array_equal(others, es)), None)
        if same is None:
            alike.append((es, [a]))
        else:
            same.append(a)
    return list(chain.from_iterable(of_sums.values()))


def _sorted_once(columns: Sequence[Array]) -> Array:
    """Return the integers of all columns in order, each of them once."""
    values = columns[0] if len(columns) == 1 else np.concatenate(columns)
    if not _ascends(values):
        values = np.sort(values)
        values = values[np.append(True, values[1:] > values[:-1])]
    return values


def _ascends(values: Array) -> bool:
    return bool((values[1:] > values[:-1]).all())


def pairs(pairs: list[tuple[int, int]]) -> FactArrays:
    """Return (entity, number of an attribute set) as rows."""
    e, v = (column.ints(part) for part in zip(*pairs, strict=True)) if pairs else (column.ints(()), column.ints(()))
    return _of_sets(e, v)


def _of_sets(e: Array, v: Array) -> FactArrays:
    """Return entities and the numbers of their attribute sets as rows."""
    return FactArrays(e, v, np.zeros(len(e), np.int64))
