"""Facts as a source: data patterns answered by a database's view.

One pattern against one attribute is one read: rows of these entities, rows with these values, a range, or a whole column.
Which of them is decided here, by exact counts. Few rows are read one by one, many by column; the answers are the same.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from factstore.datom import tx_of
from factstore.errors import QueryError
from factstore.query.language.ast import BLANK, Blank, Constant, Pattern, Term, Variable
from factstore.query.language.dialect import hint, shown
from factstore.query.relations import algebra, array_tables
from factstore.query.relations.relation import PLAIN, Array, Column, Ints, Relation, empty, repeated
from factstore.query.sources.convert import (
    as_entities,
    as_values,
    entity,
    kind_of,
    loaded,
    stored,
    transaction,
    transactions,
)
from factstore.query.sources.match import (
    ANY,
    PLACES,
    UNKNOWN,
    Limits,
    Match,
    Place,
    Read,
    agreeing,
    all_of,
    both,
    check_terms,
    found_one,
    is_known,
    joined,
    narrowed,
    out_place,
    paired,
    stacked,
    value_at,
    where_equal,
)

if TYPE_CHECKING:
    from factstore.columns.column import FactArrays
    from factstore.db.database import Database
    from factstore.schema.attribute import Attribute

FEW: Final = 48  # rows up to which reading one by one is faster than by column
_WHOLE_COLUMN_PAYS: Final = 16  # reading a sixteenth of a column costs about what reading all of it does
_SORTED_AT_ONCE: Final = (
    1 << 18
)  # rows of an attribute that are put in order for the sake of one range, for the next may come
_SEARCHES_PER_ROW: Final = 40  # rows that can be put into a dictionary in the time of one search by value
_PRODUCT: Final = (
    4  # times as many pairs as there are rows on both sides, from which on the rows are joined on what is known
)
_PLACES_OF_POINT: Final = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """A database as a source of facts."""

    db: Database
    _counts: dict[Any, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def value(self) -> Database:
        """What a function gets that is given this source."""
        return self.db

    # -- before running

    def check(self, pattern: Pattern) -> None:
        """Raise QueryError for a pattern that no facts could match because it does not fit the schema."""
        a = pattern.terms[1] if len(pattern.terms) > 1 else BLANK
        attribute = self.attribute(a.value, pattern.form) if isinstance(a, Constant) else None
        check_terms(pattern, takes_symbols=attribute is None or attribute.value_type.name == "symbol")

    def attribute(self, key: Any, form: Any) -> Attribute:
        """Return the attribute that a query names.

        Raises: QueryError(:db.error/unknown-attribute), with the nearest known idents.
        """
        found = self.db.schema.find(key) if isinstance(key, str) or type(key) is int else None
        if found is None:
            near = self.db.schema.nearest(key)
            raise QueryError(
                ":db.error/unknown-attribute",
                f"no attribute {shown(key)} is declared{hint(near)}, in {shown(form)}",
                attribute=key,
                nearest=near,
                form=form,
            )
        return found

    # -- planning

    def is_point(self, pattern: Pattern, relation: Relation) -> bool:
        """Tell whether a pattern leaves at most one row for each row, without looking at any data."""
        terms = pattern.terms
        attribute = self._known_attribute(terms[1], relation) if len(terms) > 1 else None
        if attribute is None or self.db.view.is_history:
            return False
        if not attribute.many and is_known(terms[0], relation):
            return True
        return attribute.unique is not None and len(terms) > 2 and value_at(terms[2], relation) is not UNKNOWN

    def estimate(self, pattern: Pattern, relation: Relation) -> float:
        """Return about how many rows a relation will have once it is joined with a pattern."""
        e, a, v, *_ = (*pattern.terms, BLANK, BLANK, BLANK)
        view = self.db.view
        attribute = self._known_attribute(a, relation)
        e_known, v_known = is_known(e, relation), is_known(v, relation)
        if attribute is None:
            if e_known:
                return relation.size * 8.0
            total = float(sum(map(view.count, view.attributes())))
            return relation.size * (total / 50 if v_known else total)
        count = view.count(attribute.id)
        value = value_at(v, relation)
        if value is not UNKNOWN:
            value = stored(self.db, attribute, value)
            with_value = 0 if value is None else self._count_with(attribute.id, value)
            if not e_known:
                return relation.size * float(with_value)
            return min(relation.size * (with_value / count if count else 0.0), float(with_value))
        if e_known:
            fanout = 1.0 if v_known else min(2.0, count) if attribute.many else 1.0
            return relation.size * fanout * (0.5 if v_known else 1.0)
        if isinstance(v, Variable) and v_known:
            return relation.size * self._fanout(attribute, relation.columns[v.name])
        return relation.size * float(count)

    def _count_with(self, a: int, value: Any) -> int:
        """Return how many rows of an attribute have a value, counted once in a run."""
        found = self._counts.get((a, value))
        if found is None:
            found = self._counts[a, value] = self.db.view.count_with(a, value)
        return found

    def _fanout(self, attribute: Attribute, column: Column) -> float:
        """Return about how many entities have one of the values of a column, by looking at three of them."""
        if attribute.unique is not None or not column.size:
            return 1.0
        places = sorted({0, column.size // 2, column.size - 1})
        sample, _ = as_values(self.db, attribute, column.take(places))
        counts = [self._count_with(attribute.id, value) for value in sample.machine()]
        return sum(counts) / len(places)

    def _known_attribute(self, term: Term, relation: Relation) -> Attribute | None:
        key = value_at(term, relation)
        return self.db.schema.find(key) if isinstance(key, str | int) else None

    def values_kind(self, pattern: Pattern) -> type | None:
        """Return the kind of the values of a pattern's attribute; None when it has not one attribute."""
        if len(pattern.terms) < 3 or not isinstance(pattern.terms[1], Constant):
            return None
        return kind_of(self.attribute(pattern.terms[1].value, pattern.form))

    # -- matching

    def match(self, pattern: Pattern, relation: Relation, keep: Set[str], limits: Limits | None = None) -> Match:
        """Return a relation joined with the facts that a pattern matches.

        Args:
            keep: the variables still needed; others that the pattern has are not bound.
            limits: a range for the pattern's values, for a pattern whose entity and value are free.
        """
        terms = pattern.terms
        a = terms[1] if len(terms) > 1 else BLANK
        key = value_at(a, relation)
        if key is not UNKNOWN:
            found = self.db.schema.find(key) if isinstance(key, str | int) else None
            if found is None:
                return Match(empty(relation.names | (pattern.variables & keep)), "no such attribute")
            if not relation.columns and len(terms) <= _PLACES_OF_POINT and not self.db.view.is_history:
                point = self._match_point(found, pattern, relation, keep)
                if point is not None:
                    return point
            return self._match(found, pattern, relation, keep, limits)
        if isinstance(a, Variable) and a.name in relation.columns:
            return self._match_each(a.name, pattern, relation, keep)
        return self._match_any(a, pattern, relation, keep)

    def _match_point(self, attribute: Attribute, pattern: Pattern, relation: Relation, keep: Set[str]) -> Match | None:
        """Match for a relation of one row and what is known of a fact without more ado; None when nothing is known.

        What asks for one entity or one value of it takes this way alone, and its price is what a small query costs.
        """
        terms, view, a = pattern.terms, self.db.view, attribute.id
        e_term, v_term = terms[0], terms[2] if len(terms) > 2 else BLANK
        e, v = value_at(e_term, relation), value_at(v_term, relation)
        if e is UNKNOWN and v is UNKNOWN:
            return None
        if v is not UNKNOWN:
            v = stored(self.db, attribute, v)
            if v is None:
                return Match(empty(relation.names | (pattern.variables & keep)), "no such value")
        if e is UNKNOWN:
            if attribute.unique is None and self._count_with(a, v) > FEW:
                entities = Column(int, self._with_value(a, v).e)
                names = {e_term.name: entities} if isinstance(e_term, Variable) and e_term.name in keep else {}
                return Match(
                    Relation(entities.size if names else 1, names, relation.constants, distinct=True),
                    "rows with the value",
                )
            return found_one(e_term, list(view.holders_of(a, v)), relation, keep, None)
        e = e if type(e) is int else entity(self.db, e)
        values = () if e is None else view.values_of(e, a)
        if v is not UNKNOWN:
            return Match(relation if v in values else empty(relation.names), "one fact")
        return found_one(v_term, list(values), relation, keep, (self.db.schema, attribute))

    def _match_each(self, name: str, pattern: Pattern, relation: Relation, keep: Set[str]) -> Match:
        """Match once for each attribute that a bound variable has."""
        column = relation.columns[name]
        places: dict[Any, list[int]] = {}
        for i, key in enumerate(column.values()):
            places.setdefault(key if isinstance(key, str | int) else None, []).append(i)
        parts = []
        for key, which in places.items():
            attribute = None if key is None or type(key) is bool else self.db.schema.find(key)
            if attribute is not None:
                parts.append(self._match(attribute, pattern, relation.take(which, len(which)), keep, None).relation)
        return Match(stacked(parts, relation.names | (pattern.variables & keep)), f"each of {len(parts)} attributes")

    def _match_any(self, a: Term, pattern: Pattern, relation: Relation, keep: Set[str]) -> Match:
        """Match once for each attribute that there is, and bind the variable to its id."""
        view, find = self.db.view, self.db.schema.find
        e = value_at(pattern.terms[0], relation)
        if e is not UNKNOWN:
            eid = entity(self.db, e)
            ids = [] if eid is None else sorted({fact[1] for fact in view.facts_about(eid)})
        else:
            ids = view.attributes()
        out = a.name if isinstance(a, Variable) and (a.name in keep or pattern.terms.count(a) > 1) else None
        parts = []
        for attribute in map(find, ids):
            if attribute is None:
                continue
            seeded = (
                relation
                if out is None
                else relation.plus({out: repeated(attribute.id, relation.size)}, distinct=relation.distinct)
            )
            part = self._match(attribute, pattern, seeded, keep, None, idents=False).relation
            if part.size:
                parts.append(part)
        found = stacked(parts, relation.names | (pattern.variables & keep))
        if out is None:
            found = Relation(found.size, found.columns, found.constants, distinct=False)
        return Match(found.keep(relation.names | keep), f"all of {len(ids)} attributes")

    def _match(
        self,
        attribute: Attribute,
        pattern: Pattern,
        relation: Relation,
        keep: Set[str],
        limits: Limits | None,
        *,
        idents: bool = True,
    ) -> Match:
        names = relation.names | (pattern.variables & keep)
        settled = self._settle(attribute, pattern, relation, keep, idents)
        if settled is None:
            return Match(empty(names), "no such value")
        relation, (e, v, tx, op), same = settled
        if not relation.size:
            return Match(empty(names), "no such value")
        read = self._read(attribute, e, v, tx, op, relation, limits)
        if read is None:
            return self._mask(attribute, e, v, relation)
        found = self._bind(attribute, (e, v, tx, op), read, relation)
        for first, second in same:
            found = where_equal(found, first, second)
        return Match(found.keep(names), read.access)

    def _settle(
        self, attribute: Attribute, pattern: Pattern, relation: Relation, keep: Set[str], idents: bool
    ) -> tuple[Relation, list[Place], list[tuple[str, str]]] | None:
        """Return the places of a pattern, and the rows of the relation that can match; None when none can."""
        places: list[Place] = []
        same: list[tuple[str, str]] = []
        masks: list[list[bool]] = []
        for i, term in enumerate((*pattern.terms, *(BLANK,) * (PLACES - len(pattern.terms)))):
            if i == 1:
                continue
            if isinstance(term, Blank):
                places.append(ANY)
                continue
            value = value_at(term, relation)
            if value is not UNKNOWN:
                value = self._stored(attribute, i, value, idents)
                if value is None:
                    return None
                places.append(Place(value=value))
            elif term.name in relation.columns:  # type: ignore[union-attr]
                column, mask = self._stored_column(attribute, i, relation.columns[term.name])  # type: ignore[union-attr]
                places.append(Place(column=column))
                masks.append(mask or [])
            else:
                places.append(out_place(term.name, pattern, places, same, keep))  # type: ignore[union-attr]
        if any(masks):
            relation, places = narrowed(relation, places, masks)
        return relation, places, same

    def _stored(self, attribute: Attribute, place: int, value: Any, idents: bool) -> Any:
        if place == 0:
            return entity(self.db, value)
        if place == 2:
            if attribute.is_ref and not idents and type(value) is not int:
                return None
            return stored(self.db, attribute, value)
        if place == 3:
            return transaction(self.db, value)
        return value if type(value) is bool else None

    def _stored_column(self, attribute: Attribute, place: int, column: Column) -> tuple[Column, list[bool] | None]:
        if place == 2:
            return as_values(self.db, attribute, column)
        if place == 4:
            return (column, None) if column.kind is bool else (Column(bool, []), [False] * column.size)
        return as_entities(self.db, column)

    # -- reading

    def _read(
        self, attribute: Attribute, e: Place, v: Place, tx: Place, op: Place, relation: Relation, limits: Limits | None
    ) -> Read | None:
        """Read the facts; None when whether there are any is all that matters, and a mask over the relation will do."""
        a, view = attribute.id, self.db.view
        if e.is_known and relation.size <= FEW:
            return self._read_few(attribute, e, v, tx, op, relation)
        if v.value is not UNKNOWN and relation.size == 1 and not e.is_known and self._count_with(a, v.value) <= FEW:
            return self._read_few(attribute, e, v, tx, op, relation)
        if e.column is not None:
            if not (tx.is_needed or op.is_needed or v.out):
                return None
            if (
                attribute.many and v.is_known
            ):  # joined on both: each row of an entity with each value asked of it is their product
                rows, _ = view.of_entities(a, np.unique(e.column.array()))
                return self._rows(attribute, rows, None, (e, v, tx, op), "rows of the entities")
            if relation.size * _WHOLE_COLUMN_PAYS > view.count(a):
                rows = view.by_entity(a)
                pairs = array_tables.found(rows.e, e.column.array())
                return self._gathered(attribute, rows, *pairs, (ANY, v, tx, op), "rows of the entities")
            rows, at = view.of_entities(a, e.column.array())
            return self._rows(attribute, rows, at, (ANY, v, tx, op), "rows of the entities")
        if e.value is not UNKNOWN:
            rows, _ = view.of_entities(a, np.array([e.value]))
            return self._rows(attribute, rows, None, (ANY, v, tx, op), "rows of the entity")
        if v.value is not UNKNOWN:
            return self._rows(attribute, self._with_value(a, v.value), None, (e, ANY, tx, op), "rows with the value")
        if v.column is not None:
            return self._read_values(attribute, v.column, (e, ANY, tx, op))
        if limits is not None:
            if view.count(a) <= _SORTED_AT_ONCE:
                view.by_value(a)
            rows = view.between(a, limits.low, limits.high, low_open=limits.low_open, high_open=limits.high_open)
            return self._rows(attribute, rows, None, (e, v, tx, op), "rows with values in the range")
        return self._rows(attribute, view.by_entity(a), None, (e, v, tx, op), "all rows")

    def _read_few(self, attribute: Attribute, e: Place, v: Place, tx: Place, op: Place, relation: Relation) -> Read:
        view, a = self.db.view, attribute.id
        size = relation.size
        entities = [e.value] * size if e.column is None else e.column.machine()
        at: list[int] = []
        facts: list[Any] = []
        if not e.is_known:
            facts = view.facts_with(a, v.value)
            at = [0] * len(facts)
        elif view.is_history or tx.is_needed or op.is_needed:
            for i, eid in enumerate(entities):
                found = view.facts_of(eid, a)
                facts += found
                at += [i] * len(found)
        else:
            for i, eid in enumerate(entities):
                for value in view.values_of(eid, a):
                    facts.append((eid, a, value, 0, True))
                    at.append(i)
        es, _, vs, ts, ops = zip(*facts, strict=True) if facts else ((), (), (), (), ())
        columns = (
            Column(int, list(es)),
            Column(kind_of(attribute), list(vs)),
            Column(int, list(map(tx_of, ts))),
            Column(bool, list(ops)),
        )
        return Read(columns, len(facts), at if size > 1 or relation.columns else None, "facts one by one")

    def _read_values(self, attribute: Attribute, column: Column, needs: tuple[Place, ...]) -> Read:
        """Read the rows with the values of a column, each value looked for once, or the whole attribute when that is less work."""
        view, a = self.db.view, attribute.id
        narrow = algebra.distinct(Relation(column.size, {"?v": column}, {})).columns["?v"]
        if kind_of(attribute) is int and narrow.size * _WHOLE_COLUMN_PAYS > view.count(a):
            rows = view.by_value(a)
            return self._gathered(
                attribute, rows, *array_tables.found(rows.v, column.array()), needs, "rows with the values"
            )
        if narrow.array().dtype == object and narrow.size * _SEARCHES_PER_ROW > view.count(a):
            rows = view.by_value(a)
            at, which = algebra.matches([column], [self._value_column(attribute, rows.v)])
            return self._gathered(
                attribute, rows, np.asarray(which, np.int64), np.asarray(at, np.int64), needs, "all rows, by value"
            )
        rows, at = view.with_values(a, narrow.array() if narrow.array().dtype != object else narrow.machine())
        if narrow.size < column.size:
            back, places = algebra.matches([column], [narrow.take(at)])
            rows, at = rows.take(np.asarray(places, np.int64)), np.asarray(back, np.int64)
        return self._rows(attribute, rows, at, needs, "rows with the values")

    def _with_value(self, a: int, value: Any) -> FactArrays:
        view = self.db.view
        if self._count_with(a, value) * _WHOLE_COLUMN_PAYS > view.count(a):
            view.by_value(a)  # which the view keeps, so that this read and the next are slices of it
        return view.between(a, value, value)

    def _rows(
        self, attribute: Attribute, rows: FactArrays, at: Array | None, needs: tuple[Place, ...], access: str
    ) -> Read:
        e, v, tx, op = (need.is_needed for need in needs)
        columns = (
            Column(int, rows.e) if e else None,
            self._value_column(attribute, rows.v) if v else None,
            Column(int, transactions(rows.t)) if tx else None,
            Column(bool, np.ones(rows.size, bool) if rows.added is None else rows.added) if op else None,
        )
        return Read(columns, rows.size, at, access)

    def _gathered(
        self,
        attribute: Attribute,
        rows: FactArrays,
        at: Ints,
        which: Ints | slice,
        needs: tuple[Place, ...],
        access: str,
    ) -> Read:
        """Return the rows at some positions of a whole column, taking only what is needed."""
        read = self._rows(attribute, rows, None, needs, access)
        e, v, tx, op = (None if column is None else column.take(at) for column in read.columns)
        return Read((e, v, tx, op), len(at), which, access)

    def _value_column(self, attribute: Attribute, values: Array) -> Column:
        """Return the values of a whole column, as numbers of a dictionary where that pays."""
        kind = kind_of(attribute)
        if (
            values.dtype == object and kind in PLAIN and kind is not Decimal
        ):  # 1.0M and 1.00M are equal, and each stays as it is
            coded = array_tables.dictionary_of(values)
            if coded is not None:
                return Column(kind, *coded)
        return Column(kind, values)

    def _mask(self, attribute: Attribute, e: Place, v: Place, relation: Relation) -> Match:
        """Keep the rows of the relation whose entity has any fact of the attribute, or one with the value."""
        view, a = self.db.view, attribute.id
        assert e.column is not None
        es = e.column.array()
        whole = relation.size * _WHOLE_COLUMN_PAYS > view.count(a)
        if not whole and v.value is not UNKNOWN and self._count_with(a, v.value) <= 4 * relation.size:
            mask: Array = np.isin(es, self._with_value(a, v.value).e)
            return Match(relation.filter(mask), "entities with the value")
        which: Array | slice
        if whole or attribute.many:
            rows = view.by_entity(a) if whole else view.of_entities(a, np.unique(es))[0]
            if v.column is not None and attribute.many and kind_of(attribute) is int:
                pairs = array_tables.pairs_of(rows.e, rows.v)
                if pairs is not None:
                    return Match(relation.filter(pairs.holds(es, v.column.array())), "pairs of entity and value")
            values = self._value_column(attribute, rows.v)
            if attribute.many and array_tables.answers(rows.e, es) > _PRODUCT * (rows.size + relation.size):
                return Match(agreeing(relation, (e, v), (Column(int, rows.e), values)), "pairs of entity and value")
            places, which = array_tables.found(rows.e, es)
            values = values.take(places)
        else:
            rows, which = view.of_entities(a, es)
            values = Column(kind_of(attribute), rows.v)
        hits = self._hits(values, which, v)
        if hits is not None:
            which = hits if isinstance(which, slice) else which[hits]
        mask = np.zeros(relation.size, bool)
        mask[which] = True
        return Match(relation.filter(mask), "entities that have the attribute")

    def _hits(self, values: Column, which: Array | slice, v: Place) -> Ints | None:
        """Return where values that were found for rows are those asked for; None when any will do."""
        if v.value is not UNKNOWN:
            return np.flatnonzero(algebra.equal_stored(values, v.value))
        if v.column is not None:
            return np.flatnonzero(algebra.equal_columns(values, v.column.take(which)))
        return None

    # -- binding

    def _bind(self, attribute: Attribute, places: tuple[Place, ...], read: Read, relation: Relation) -> Relation:
        """Join a relation with what was read: check what was known, bind what was not."""
        at, keep = read.at, None
        for place, column in zip(places, read.columns, strict=True):
            if column is None:
                continue  # settled by how it was read, or of no interest
            if place.value is not UNKNOWN:
                keep = both(keep, algebra.equal_stored(column, place.value))
            elif place.column is not None and at is not None:
                keep = both(keep, algebra.equal_columns(column, place.column.take(at)))
        if keep is not None and not all_of(keep):
            read = read.filter(keep)
        at, size = read.at, read.size
        outs = self._outs(attribute, places, read)
        distinct = self._is_distinct(attribute, places)
        if at is None:
            keys = [
                (place.column, column)
                for place, column in zip(places, read.columns, strict=True)
                if place.column and column
            ]
            return joined(relation, outs, keys, size, distinct) if keys else paired(relation, outs, size, distinct)
        if not outs:
            at = sorted(set(at)) if isinstance(at, list) else at if isinstance(at, slice) else np.unique(at)
            return relation if isinstance(at, slice) else relation.take(at, len(at))
        rows = relation if isinstance(at, slice) else relation.take(at, size)
        return rows.plus(outs, distinct=relation.distinct and distinct)

    def _outs(self, attribute: Attribute, places: tuple[Place, ...], read: Read) -> dict[str, Column]:
        """Return what was read as the columns of the variables that a pattern binds."""
        outs: dict[str, Column] = {}
        for i, (place, column) in enumerate(zip(places, read.columns, strict=True)):
            if place.out is not None and column is not None:
                outs[place.out] = (
                    loaded(self.db.schema, attribute, column.data) if i == 1 and attribute.is_tuple else column
                )
        return outs

    def _is_distinct(self, attribute: Attribute, places: tuple[Place, ...]) -> bool:
        """Tell whether every fact that was read gives a row of its own."""
        e, v, tx, op = (place is not ANY for place in places)
        if self.db.view.is_history:
            return e and v and tx and op
        return (e and (v or not attribute.many)) or (v and attribute.unique is not None)
