"""Pruning: an index without facts that must not be kept, live and past ones alike.

Only the blocks that hold one of them are written again. Law: pruning the index of a log gives the index of the pruned log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from factstore.index import column
from factstore.index.build import Built, Merge, Writer, _item, _pairs, _write_blocks, _write_directory, merge_family
from factstore.index.column import BY_ENTITY, Array, Entities, Ints, Rows
from factstore.index.directory import ATTRIBUTES_OF, NOTHING, Entry, Index
from factstore.schema.attribute import EXCISE, EXCISE_BEFORE, FIRST_FREE_ID, TX_INSTANT, TX_KEY, Attribute, Schema

# What holds the log together: when a transaction was, that it was, and what was taken out by it.
IMMUNE: Final = frozenset({TX_INSTANT, TX_KEY, EXCISE, EXCISE_BEFORE})


@dataclass(frozen=True, slots=True)
class Doomed:
    """Which facts must go: those about some entities and those referring to them, or those of some attributes."""

    entities: frozenset[int]
    attributes: frozenset[int]
    before: int  # of them those asserted before this t

    def concerns(self, attribute: Attribute, e: int, v: Any) -> bool:
        """Tell whether a fact must go if it is old enough."""
        a = attribute.id
        if a in self.attributes:
            return True
        return a not in IMMUNE and (e in self.entities or (attribute.is_ref and a >= FIRST_FREE_ID and v in self.entities))

    def mask(self, attribute: Attribute, rows: Rows) -> Array:
        """Tell of each row of an attribute whether it must go."""
        a = attribute.id
        if a in IMMUNE:
            return np.zeros(rows.size, bool)
        old: Array = rows.t < self.before
        if a in self.attributes:
            return old
        eids = self.eids
        mask = np.isin(rows.e, eids)
        if attribute.is_ref and a >= FIRST_FREE_ID:
            mask |= np.isin(rows.v, eids)
        return mask & old

    @property
    def eids(self) -> Ints:
        """The entities, sorted."""
        return column.ints(sorted(self.entities))


def prune(index: Index, doomed: Doomed, schema: Schema) -> Built:
    """Return an index without the facts that must go; its blocks are written, its root is not."""
    writer = Writer(index.blocks)
    entries = dict(index.entries)
    for a in index.attributes():
        if not doomed.attributes or a in doomed.attributes:
            entries[a] = _pruned(writer, entries[a], doomed, schema.attribute(a))
    # Of a large store a whole column of attributes may go: their number in the attribute sets goes with them.
    gone = {a for a in doomed.attributes if a in entries and not entries[a].rows + entries[a].past_rows}
    sets = tuple(tuple(a for a in one if a not in gone) for one in index.sets)
    pruned = replace(index, entries={a: entry for a, entry in entries.items() if a not in gone}, sets=sets)
    pruned = _forget_attributes(writer, index, pruned, doomed, schema)
    writer.flush()
    return Built(pruned, frozenset(writer.written))


def _pruned(writer: Writer, entry: Entry, doomed: Doomed, attribute: Attribute) -> Entry:
    families, sizes = [], []
    for name in (entry.ev, entry.ve, entry.past_ev, entry.past_ve):
        kept = list(_kept(writer, name, doomed, attribute))
        sizes.append(sum(part[3] for part in kept))
        same = [part[2] for part in kept] == writer.blocks.directory(name).names
        families.append(name if same else _write_directory(writer, kept, attribute.value_type.dtype))
    ev, ve, past_ev, past_ve = families
    return Entry(sizes[0], sizes[2], ev, ve, past_ev, past_ve)


def _kept(writer: Writer, name: bytes, doomed: Doomed, attribute: Attribute) -> Iterator[tuple[Any, Any, bytes, int]]:
    """Yield the blocks of a family, those that lose rows written again, as a directory lists them."""
    if name == NOTHING:
        return
    for block in writer.blocks.directory(name).names:
        columns = writer.blocks.read([block], keep=False)[0]
        gone = doomed.mask(attribute, Rows(*columns[:3]))
        if gone.any():
            yield from _write_blocks(writer, tuple(part[~gone] for part in columns))
        else:
            yield columns[0][0].item(), _item(columns[1]), block, len(columns[0])


def _forget_attributes(writer: Writer, before: Index, index: Index, doomed: Doomed, schema: Schema) -> Index:
    """Say of the entities that went which attributes they still have, if any."""
    entry = index.entries.get(ATTRIBUTES_OF)
    if entry is None or not doomed.entities:
        return index
    known = before.live(ATTRIBUTES_OF, Entities(doomed.eids), "i8", None)
    numbers = {one: n for n, one in enumerate(index.sets)}
    leaving, coming = [], []
    for e, number in zip(known.e.tolist(), known.v.tolist(), strict=True):
        left = tuple(a for a in index.sets[number] if _has(index, schema.attribute(a), e))
        if left != index.sets[number]:
            leaving.append((e, number))
            coming += [(e, numbers.setdefault(left, len(numbers)))] if left else []
    if not leaving:
        return index
    ev, _ = merge_family(writer, entry.ev, Merge(_pairs(leaving), _pairs(coming)[:3]), BY_ENTITY, "i8", None)
    entries = {**index.entries, ATTRIBUTES_OF: Entry(entry.rows + len(coming) - len(leaving), 0, ev)}
    # Sets may have become equal; each keeps its number.
    return replace(index, entries=entries, sets=(*index.sets, *list(numbers)[len(set(index.sets)) :]))


def _has(index: Index, attribute: Attribute, e: int) -> bool:
    region, dtype, key = Entities(column.ints((e,))), attribute.value_type.dtype, attribute.order_key
    return bool(index.live(attribute.id, region, dtype, key).size or index.past(attribute.id, region, dtype, key).rows.size)
