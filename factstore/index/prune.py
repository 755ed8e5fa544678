"""Pruning: removes excised facts from an index, live and past ones.

Only the blocks that contain one of them are written again.
Law: pruning the index of a log gives the index of the pruned log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from factstore.columns import column
from factstore.columns.column import BY_ENTITY, Array, Entities, Everything, FactArrays, Ints
from factstore.columns.kind import INTEGERS, KINDS
from factstore.index.build import Built, Merge, Writer, item, merge_family, pairs, write_blocks, write_directory
from factstore.index.directory import ATTRIBUTES_OF, NOTHING, Entry, Index
from factstore.schema.attribute import FIRST_FREE_ID, OF_TRANSACTIONS, Attribute, Schema

# Attributes of transactions that the log needs: the instant, the key, the migration, the excision.
IMMUNE: Final = OF_TRANSACTIONS


@dataclass(frozen=True, slots=True)
class Doomed:
    """The facts to remove: those of some entities and references to them, or those of some attributes."""

    entities: frozenset[int]
    attributes: frozenset[int]
    before: int  # only those asserted before this t

    def concerns(self, attribute: Attribute, e: int, v: Any) -> bool:
        """Tell whether a fact is to be removed if it is old enough."""
        a = attribute.id
        if a in self.attributes:
            return True
        return a not in IMMUNE and (
            e in self.entities or (attribute.is_ref and a >= FIRST_FREE_ID and v in self.entities)
        )

    def mask(self, attribute: Attribute, rows: FactArrays) -> Array:
        """Return the mask of the rows of an attribute to remove."""
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
    """Return an index without the facts to remove; its blocks are written, its root is not."""
    writer = Writer(index.blocks)
    entries = dict(index.entries)
    for a in index.attributes():
        if not doomed.attributes or a in doomed.attributes:
            entries[a] = _pruned(writer, entries[a], doomed, schema.attribute(a))
    pruned = replace(index, entries={a: entry for a, entry in entries.items() if entry.rows or entry.past_rows})
    writer.flush()  # the written blocks are read again
    forget = _forget_attributes if doomed.attributes else _forget_entities
    pruned = forget(writer, pruned, doomed, schema)
    writer.flush()
    return Built(pruned, frozenset(writer.written))


def _pruned(writer: Writer, entry: Entry, doomed: Doomed, attribute: Attribute) -> Entry:
    families, sizes = [], []
    for name in (entry.ev, entry.ve, entry.past_ev, entry.past_ve):
        kept = list(_kept(writer, name, doomed, attribute))
        sizes.append(sum(part[3] for part in kept))
        same = [part[2] for part in kept] == writer.blocks.directory(name).names
        families.append(name if same else write_directory(writer, kept, KINDS[attribute.value_type.ident]))
    ev, ve, past_ev, past_ve = families
    return Entry(sizes[0], sizes[2], ev, ve, past_ev, past_ve)


def _kept(writer: Writer, name: bytes, doomed: Doomed, attribute: Attribute) -> Iterator[tuple[Any, Any, bytes, int]]:
    """Yield the directory rows of a family's blocks; a block that loses rows is written again."""
    if name == NOTHING:
        return
    for block in writer.blocks.directory(name).names:
        columns = writer.blocks.read([block], keep=False)[0]
        gone = doomed.mask(attribute, FactArrays(*columns[:3]))
        if gone.any():
            yield from write_blocks(writer, tuple(part[~gone] for part in columns))
        else:
            yield columns[0][0].item(), item(columns[1]), block, len(columns[0])


def _forget_attributes(writer: Writer, index: Index, doomed: Doomed, _schema: Schema) -> Index:
    """Remove attributes that have no rows any more from the attribute sets."""
    gone = doomed.attributes - index.entries.keys()
    entry = index.entries.get(ATTRIBUTES_OF)
    if entry is None or not gone:
        return index
    numbers: dict[tuple[int, ...], int] = {}
    new = column.ints(numbers.setdefault(tuple(a for a in one if a not in gone), len(numbers)) for one in index.sets)
    rows = index.live(ATTRIBUTES_OF, Everything(BY_ENTITY), INTEGERS)
    rows = rows._replace(v=new[rows.v])
    rows = rows.take(rows.v != numbers.get((), -1))
    ev, _ = merge_family(writer, NOTHING, Merge(column.empty(INTEGERS), rows[:3]), BY_ENTITY, INTEGERS)
    return replace(index, entries={**index.entries, ATTRIBUTES_OF: Entry(rows.size, 0, ev)}, sets=tuple(numbers))


def _forget_entities(writer: Writer, index: Index, doomed: Doomed, schema: Schema) -> Index:
    """Update the attribute sets of the entities whose facts were removed."""
    entry = index.entries.get(ATTRIBUTES_OF)
    if entry is None:
        return index
    rows = index.live(ATTRIBUTES_OF, Entities(doomed.eids), INTEGERS)
    numbers = {one: n for n, one in enumerate(index.sets)}
    leaving, coming = [], []
    for e, number in zip(rows.e.tolist(), rows.v.tolist(), strict=True):
        left = tuple(a for a in index.sets[number] if _has(index, schema.attribute(a), e))
        if left != index.sets[number]:
            leaving.append((e, number))
            coming += [(e, numbers.setdefault(left, len(numbers)))] if left else []
    ev, _ = merge_family(writer, entry.ev, Merge(pairs(leaving), pairs(coming)[:3]), BY_ENTITY, INTEGERS)
    entries = {**index.entries, ATTRIBUTES_OF: Entry(entry.rows + len(coming) - len(leaving), 0, ev)}
    return replace(index, entries=entries, sets=tuple(numbers))


def _has(index: Index, attribute: Attribute, e: int) -> bool:
    region, kind = Entities(column.ints((e,))), KINDS[attribute.value_type.ident]
    return bool(index.live(attribute.id, region, kind).size or index.past(attribute.id, region, kind).rows.size)
