"""The view: the facts of one database value, read from the index and novelty, one by one or by column.

Time filters, speculation and user filters are implemented here, for single facts, and in `selection`, for columns. The
layers above get facts and columns of facts.
Law: the result does not depend on which transactions are in blocks and which are in novelty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import numpy as np

from factstore.columns import column
from factstore.columns.column import BY_ENTITY, BY_VALUE, Array, Entities, FactArrays, Ints, Range, Values
from factstore.datom import ORDERS, Datom, Fact, tx_of
from factstore.index.column_memory import ColumnMemory
from factstore.index.entity_rows import NOT_KEPT, EntityRows, KeptRow, Row
from factstore.index.novelty import Chain, Speculation, TxFacts
from factstore.index.positions import LastPositions, is_one_each, one_each
from factstore.index.selection import Layer, Selection
from factstore.schema.attribute import Schema
from factstore.values.types import Stored, order_key

__all__ = ("Layer", "View")


class Same(Enum):
    """A limit that stays the same."""

    SAME = 0


SAME: Final = Same.SAME
_SHARE_OF_ROWS: Final = 8  # the rows of entities take at most this part of the bound of the cache


@dataclass(slots=True, eq=False)
class View(Selection):
    """A selection of facts that keeps whole columns in memory; immutable."""

    _of_entities: EntityRows | None = field(default=None, repr=False)  # found when an entity is read
    _columns: ColumnMemory | None = field(default=None, repr=False)  # made when a column is read

    # -- other views of the same facts

    def cut(
        self,
        *,
        upto: int | None = None,
        after: int | None = None,
        is_history: bool | None = None,
        keep: Callable[[Fact], bool] | Same | None = SAME,
        layers: tuple[Layer, ...] | None = None,
        is_branch: bool | None = None,
    ) -> View:
        """Return this view with other limits; those that are not given stay the same."""
        # The rows of entities serve every t, and histories.
        is_as_plain = after is None and keep is SAME and layers is None and is_branch is None
        rows = self._of_entities or self._shared_rows() if is_as_plain else None
        return View(
            self.index,
            self.layers if layers is None else layers,
            self.schema,
            self.cache,
            self.upto if upto is None else upto,
            self.after if after is None else after,
            self.is_history if is_history is None else is_history,
            self.keep if keep is SAME else keep,
            self.is_branch if is_branch is None else is_branch,
            rows,
        )

    def plus(self, facts: Sequence[Fact], t: int, schema: Schema) -> View:
        """Return this view with a speculative transaction on top.

        A chain of transactions has one layer. Where it forks, layers are merged like the runs of novelty, so there are
        only a few.
        """
        layers, top = self.layers, self.layers[-1]
        if isinstance(top.novelty, Speculation) and top.novelty.append_once(top.upto, t, facts):
            layers = (*layers[:-1], Layer(top.novelty, t))
        else:
            new = [TxFacts(t, facts)]
            while len(layers) > 1 and layers[-1].novelty.count < 2 * sum([transaction.size for transaction in new]):
                new = [*_transactions(layers[-1], t), *new]
                layers = layers[:-1]
            layers = (*layers, _speculation(new))
        limits = self.after, self.is_history, self.keep, self.is_branch
        return View(self.index, layers, schema, self.cache, t, *limits)  # twice as fast as `replace`

    def branch(self, t: int) -> View:
        """Return a view as of t, on top of which facts of t + 1 and later can be put."""
        committed, *others = self.layers
        earlier = [transaction for layer in others for transaction in _transactions(layer, t)]
        layers = [Layer(committed.novelty, min(committed.upto, t))]
        if earlier:
            layers.append(Layer(_speculation(earlier).novelty, t))
        return self.cut(layers=tuple(layers), upto=t, is_branch=True)

    # -- scalar reads

    def values_of(self, e: int, a: int) -> tuple[Stored, ...]:
        """Return the values that an entity has of an attribute."""
        columns = self._columns
        if columns is not None and (lookup := columns.lookups.get(a)) is not None:
            return lookup.values_of(e)
        if len(self.layers) == 1 and not self.is_history and self.after < 0 and self.keep is None:
            strand = self.layers[0].novelty.strands.get(a)
            chain = None if strand is None else strand.of_entity(e)
            if chain is None:
                if strand is None or not strand.loaded:
                    if not self.index.may_hold(e, a):
                        return ()
                    if self._sees_index_as_is:
                        self._memory.note_look_up(self, a)
                        return tuple([v for v, _ in self.index.values_of(a, e)])
            elif chain[0][4] and self._is_newest and chain[0][3] <= self.upto and not self._is_many(a):
                # An attribute of cardinality one has one value now, if it ever had more.
                return (chain[0][2],)
        return tuple(fact[2] for fact in self.facts_of(e, a) if fact[4])

    def row_of(self, e: int) -> Row:
        """Return the values of an entity that are in memory, to which others can be added."""
        rows = self._of_entities or self._shared_rows()
        if rows is None:
            return NOT_KEPT
        row: KeptRow | None = rows.young.get(e)  # type: ignore[assignment]  # holders have other keys
        if row is not None and row.since <= self.upto <= row.until:
            return row  # most reads end here, without another call
        return rows.row(e, self.layers[0], self.upto)

    def _shared_rows(self) -> EntityRows | None:
        """Return the rows of entities that the views of one novelty share; None if this view has other facts."""
        if not self._is_plain:
            return None
        novelty = self.layers[0].novelty
        if novelty.rows is None:
            novelty.rows = EntityRows(self.index.basis_t, novelty, self.cache.max_bytes // _SHARE_OF_ROWS)
        self._of_entities = novelty.rows
        return novelty.rows

    @property
    def _is_plain(self) -> bool:
        """Whether this view has all facts of a committed database, now or as of an earlier t."""
        return self.after < 0 and self.keep is None and not self.is_branch and len(self.layers) == 1

    def unique_holders_of(self, a: int, v: Stored) -> tuple[int, ...]:
        """Return the entities that have a value of a unique attribute: at most one, except in the past."""
        novelty, basis = self.layers[0]
        rows = self._of_entities or self._shared_rows()
        if rows is None or self.upto < basis or self.is_history:
            return self.holders_of(a, v)
        holder = rows.holder(a, v, novelty, basis)
        if holder is not None:
            return (holder,)
        holders = self.holders_of(a, v)
        if len(holders) == 1:
            rows.keep_holder(a, v, holders[0], basis)
        return holders

    def holds(self, e: int, a: int, v: Stored) -> bool:
        """Tell whether an entity has a value; the time does not depend on the number of its values."""
        if not self._sees_index_as_is or self.after >= 0 or self.keep is not None:
            return v in self.values_of(e, a)
        for layer in reversed(self.layers):
            strand = layer.novelty.strands.get(a)
            if strand is None:
                continue
            upto = min(layer.upto, self.upto)
            event = strand.newest_of(e, v, upto)
            if event is not None:
                return event[4]
            # Bulk loads make new entities, so every other event of the layer is newer.
            if any(run.holds(e, v, upto) for run in strand.loaded_runs()):
                return True
        return self.index.may_hold(e, a) and self.index.holds(a, e, v, self._kind(a))

    def holders_of(self, a: int, v: Stored) -> tuple[int, ...]:
        """Return the entities that have a value of an attribute."""
        if self._is_plain and self._sees_index_as_is and a not in self.layers[0].novelty.strands:
            if a not in self.index.entries:
                return ()
            return tuple([e for e, _ in self.index.holders_of(a, v, self._kind(a))])
        return tuple([fact[0] for fact in self.facts_with(a, v) if fact[4]])

    def facts_of(self, e: int, a: int) -> list[Fact]:
        """Return the facts of an entity with an attribute; in a history view all events."""
        older: list[Fact] = []
        if self.index.may_hold(e, a):
            if self._sees_index_as_is:
                older = [(e, a, v, t, True) for v, t in self.index.values_of(a, e)]
            else:
                alive_at = None if self.is_history else self._committed
                live, past = self.index.values_of(a, e), self.index.past_values_of(a, e, alive_at)
                older = [(e, a, v, t, added) for v, t, added in self._then(live, past)]
        strands = list(self._strands(a))
        if not strands:
            return self._chosen(older)
        if len(strands) == 1 and not (self.is_history or strands[0][0].loaded):
            strand, upto = strands[0]
            facts = strand.now_of(e, older, upto, is_newest=self._is_newest, is_one=not self._is_many(a))
            if facts is not None:
                return self._chosen(facts)
        events = [
            (
                strand.of_entity(e),
                strand.loaded_facts(a, Entities(column.ints((e,))), upto) if strand.loaded else [],
                upto,
            )
            for strand, upto in strands
        ]
        return self._scalar(older, events, 2)

    def facts_with(self, a: int, v: Stored) -> list[Fact]:
        """Return the facts of an attribute with a value; in a history view all events."""
        older: list[Fact] = []
        if a in self.index.entries:
            if self._sees_index_as_is:
                older = [(e, a, v, t, True) for e, t in self.index.holders_of(a, v, self._kind(a))]
            else:
                kind = self._kind(a)
                alive_at = None if self.is_history else self._committed
                live, past = self.index.holders_of(a, v, kind), self.index.past_holders_of(a, v, kind, alive_at)
                older = [(e, a, v, t, added) for e, t, added in self._then(live, past)]
        strands = list(self._strands(a))
        if not strands:
            return self._chosen(older)
        if len(strands) == 1 and not self.is_history:
            strand, upto = strands[0]
            if not strand.loaded:
                facts = strand.now_with(v, older, upto)
                if facts is not None:
                    return self._chosen(facts)
        events = [
            (strand.with_value(v), strand.loaded_facts(a, Values([v]), upto) if strand.loaded else [], upto)
            for strand, upto in strands
        ]
        return self._scalar(older, events, 0)

    def facts_about(self, e: int) -> list[Fact]:
        """Return every fact of an entity, ordered by the id of the attribute."""
        facts: list[Fact] = []
        for a in self.attributes_of(e):
            fact = self._only_fact(e, a)
            facts += self.facts_of(e, a) if fact is None else (fact,)
        return facts

    def datoms_of(self, e: int, a: int) -> tuple[Datom, ...]:
        """Return the datoms of an entity with an attribute, in order of EAVT, from its row if they are there."""
        row, is_history = self.row_of(e), self.is_history
        datoms = row.datoms(a, is_history=is_history)
        if datoms is None:
            load, facts = self.schema.attribute(a).load, in_order(self.facts_of(e, a), "eavt")
            datoms = tuple([Datom(e, a, load(v), tx_of(t), added) for _, _, v, t, added in facts])
            row.keep_datoms(a, datoms, is_history=is_history)
        return datoms

    def attributes_of(self, e: int) -> list[int]:
        """Return the ids of the attributes that an entity ever had, in order."""
        attributes = set(self.index.attributes_of(e))
        for layer in self.layers:
            attributes.update(layer.novelty.attributes_of(e))
        return sorted(attributes)

    def _only_fact(self, e: int, a: int) -> Fact | None:
        """Return the fact of an entity with an attribute if it is easy to see that there was never another one."""
        if len(self.layers) > 1 or self.after >= 0 or self.keep is not None or self.index.may_hold(e, a):
            return None
        strand = self.layers[0].novelty.strands.get(a)
        chain = None if strand is None or strand.loaded else strand.of_entity(e)
        return chain[0] if chain is not None and chain[1] is None and chain[0][3] <= self.upto else None

    def facts_referring(self, e: int) -> list[Fact]:
        """Return every fact whose value is a reference to an entity."""
        return [fact for a in self.schema.references if self._may_refer(a, e) for fact in self.facts_with(a, e)]

    def _may_refer(self, a: int, e: int) -> bool:
        if a in self.index.entries:
            return True
        strands = (layer.novelty.strands.get(a) for layer in self.layers)
        return any(strand is not None and (strand.loaded or strand.with_value(e) is not None) for strand in strands)

    def known_values(self, a: int, values: set[Stored]) -> set[Stored]:
        """Return the values that an entity has, or had according to novelty."""
        held: set[Stored] = set()
        if self.index.count(a):
            kind = self._kind(a)
            wanted = Values(sorted(values, key=kind.order_key))
            held.update(values.intersection(self.index.near(a, wanted, kind)))
        for strand, _ in self._strands(a):
            for run in strand.loaded_runs():
                held.update(values.intersection(run.values))
            held.update(value for value in values if strand.with_value(value) is not None)
        return held

    def value_arrays(self, a: int) -> Iterator[Array]:
        """Yield the values of all facts, one part after the other, and some that were retracted."""
        yield from self.index.value_arrays(a)
        for strand, _ in self._strands(a):
            yield from (rows.v for rows in strand.events(self._kind(a)))

    # -- columns

    @property
    def _memory(self) -> ColumnMemory:
        """The columns that this view has read."""
        if self._columns is None:
            self._columns = ColumnMemory()
        return self._columns

    def has_one_each(self, a: int) -> bool:
        """Tell whether it is known that no entity has two values of an attribute; not for a history view."""
        return self._is_newest and not self._is_many(a)

    def by_entity(self, a: int) -> FactArrays:
        """Return all rows of an attribute in order of (e, v)."""
        return self._memory.column(self, a, BY_ENTITY)

    def by_value(self, a: int) -> FactArrays:
        """Return all rows of an attribute in order of (v, e)."""
        return self._memory.column(self, a, BY_VALUE)

    def of_entities(self, a: int, es: Ints, last: LastPositions | None = None) -> tuple[FactArrays, Ints]:
        """Return the rows of these entities, and for each row the position of its entity in `es`.

        Args:
            last: the positions of the same entities in the column that was read before.
        """
        rows, at, which = self._positions_of(a, es, last)
        return rows.take(at), which

    def values_of_entities(self, a: int, es: Ints, last: LastPositions) -> tuple[Array, Ints]:
        """Return the values of these entities, and for each value the position of its entity in `es`."""
        rows, at, which = self._positions_of(a, es, last)
        return rows.v[at], which

    def _positions_of(self, a: int, es: Ints, last: LastPositions | None) -> tuple[FactArrays, Ints, Ints]:
        rows = self._memory.column_if_it_pays(self, a, BY_ENTITY, len(es))
        if rows is None:
            rows = self._rows(a, Entities(np.unique(es)))
        if not (self.is_history or self._is_many(a)) and (self._is_newest or is_one_each(rows)):
            return rows, *one_each(rows, es, last or LastPositions())
        return rows, *column.positions_of_values(rows.e, es)

    def with_values(self, a: int, vs: Sequence[Stored] | Array) -> tuple[FactArrays, Ints]:
        """Return the rows with these values, and for each row the position of its value in `vs`."""
        rows, order_key = self._memory.column_if_it_pays(self, a, BY_VALUE, len(vs)), self._kind(a).order_key
        if rows is None:
            wanted = (
                np.unique(vs) if isinstance(vs, np.ndarray) and vs.dtype != object else sorted(set(vs), key=order_key)
            )
            rows = self._rows(a, Values(wanted))
        at, which = column.positions_of_values(rows.v, vs, order_key)
        return rows.take(at), which

    def between(
        self, a: int, low: Stored | None, high: Stored | None, *, low_open: bool = False, high_open: bool = False
    ) -> FactArrays:
        """Return the rows with values from low to high, in order of (v, e); None means no limit."""
        region = Range(low, high, low_open, high_open)
        all_rows = None if self.is_history else self._memory.column_if_it_pays(self, a, BY_VALUE, 0)
        if all_rows is None:
            rows = self._rows(a, region)
            self._memory.note_reads(a, BY_VALUE, rows.size)
            return rows
        return all_rows.take(column.range_of(all_rows.v, region, self._kind(a).order_key))

    def count(self, a: int) -> int:
        """Return the number of rows of an attribute: exact if its column is in memory, else a close upper bound."""
        size = self._memory.size(a)
        if size is not None:
            return size
        count = self.index.count(a) + sum(strand.count for strand, _ in self._strands(a))
        return (
            count + self.index.count_past(a) * 2 if self.is_history or self._committed < self.index.basis_t else count
        )

    def count_with(self, a: int, v: Stored) -> int:
        """Return the number of rows with a value: exact if the column is in memory, else a close upper bound."""
        rows = self._memory.find(self, a, BY_VALUE)
        if rows is not None:
            chosen = column.range_of(rows.v, Range(v, v), self._kind(a).order_key)
            return int(chosen.stop - chosen.start)
        kind = self._kind(a)
        count = self.index.count_with(a, v, kind)
        for strand, _ in self._strands(a):
            count += strand.count_with(v, kind)
        return count

    def attributes(self) -> list[int]:
        """Return the ids of the attributes that have any rows."""
        attributes = set(self.index.attributes())
        for layer in self.layers:
            # A list first: a commit may add a strand meanwhile.
            attributes.update(list(layer.novelty.strands))
        # Novelty also contains attributes that were declared later.
        return sorted(a for a in attributes if self.schema.find(a) is not None)

    # -- combining index and novelty

    def _scalar(self, older: list[Fact], strands: list[tuple[Chain, list[Fact], int]], component: int) -> list[Fact]:
        """Return the facts of one entity, or with one value; `component` distinguishes them (2: value, 0: entity)."""
        events: list[Fact] = []
        for chain, loaded, upto in strands:
            events += _oldest_first(chain, upto)
            if loaded:
                events = sorted([*loaded, *events], key=lambda fact: fact[3])
        if self.is_history:
            return self._chosen([*older, *events])
        if not events:
            return self._chosen(older)
        live = {fact[component]: fact for fact in older}
        for fact in events:
            if fact[4]:
                live[fact[component]] = fact
            else:
                live.pop(fact[component], None)
        return self._chosen(live.values())

    def _then(self, live: list[tuple[Any, int]], past: list[tuple[Any, int, int]]) -> list[tuple[Any, int, bool]]:
        """Return the rows of the index that were live as of this view; in a history view all events, oldest first."""
        upto = self._committed
        seen = [(x, t, True) for x, t in live if t <= upto]
        if not self.is_history:
            return seen + [(x, t, True) for x, t, t1 in past if t <= upto < t1] if past else seen
        seen += [(x, t, True) for x, t, _ in past if t <= upto]
        seen += [(x, t1, False) for x, _, t1 in past if t1 <= upto]
        return sorted(seen, key=lambda event: (event[1], event[2]))

    def _chosen(self, facts: Any) -> list[Fact]:
        if self.after >= 0:
            facts = [fact for fact in facts if fact[3] > self.after]
        elif self.keep is None:
            return facts if type(facts) is list else list(facts)
        return [fact for fact in facts if self.keep(fact)] if self.keep else list(facts)


def in_order(facts: Iterable[Fact], index: str) -> list[Fact]:
    """Return facts in the order of an index, the newest event of a fact first."""
    first, second, third = ORDERS[index]
    return sorted(facts, key=lambda fact: (fact[first], fact[second], order_key(fact[third]), -fact[3], fact[4]))


def _transactions(layer: Layer, upto: int) -> list[TxFacts]:
    """Return the transactions of a layer up to a t. Its novelty can contain later ones, of other databases."""
    last = min(layer.upto, upto)
    return [transaction for transaction in layer.novelty.transactions() if transaction.t <= last]


def _speculation(transactions: Sequence[TxFacts]) -> Layer:
    """Return a layer of transactions that are not committed."""
    novelty, t = Speculation(), -1
    for transaction in transactions:
        novelty.append_once(t, transaction.t, transaction.facts)
        t = transaction.t
    return Layer(novelty, t)


def _oldest_first(chain: Chain, upto: int) -> list[Fact]:
    facts = []
    while chain is not None:
        if chain[0][3] <= upto:
            facts.append(chain[0])
        chain = chain[1]
    facts.reverse()
    return facts
