"""A database as an immutable value: all facts up to one point, and the operations that read them.

The read side and the write side share this module only. A database costs nothing to keep, and needs no connection to
be read. `as_of`, `since`, `history` and `filter` return other views of the same facts; `plus` adds a transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from factstore.datom import ORDERS, USER_BASE, Datom, Fact, t_of, tx_of
from factstore.db.datoms import Datoms, datom_of
from factstore.db.methods import Methods
from factstore.db.names import Names, wrong_type
from factstore.errors import DatabaseError
from factstore.rendering import html_table, text_table
from factstore.schema.attribute import FIRST_FREE_ID, TX_INSTANT, Attribute, Schema
from factstore.values.moments import point_in
from factstore.values.process_bound import SharedValue
from factstore.values.quoting import as_name, described, quoted
from factstore.values.types import (
    Stored,
    instant_to_micros,
    is_missing,
    is_naive,
    micros_to_instant,
    plain,
)

if TYPE_CHECKING:
    from factstore.index.view import View

Predicate: TypeAlias = Callable[["Database", Datom], Any]  # of an unfiltered database and a datom in it
# t, a transaction's entity id, an aware datetime, or t or a moment in words (values/moments.py)
Point: TypeAlias = int | datetime | timedelta | str
_COUNTED: Final = 100_000  # datoms of an attribute up to which a summary counts exactly
_SUMMARY: Final = ("attribute", "type", "datoms")
# By each way to write the name of an index: the name, the components in its order, and the position of the attribute.
_INDEXES: Final = {
    text: (name, (*order, 3), order.index(1)) for name, order in ORDERS.items() for text in (name, f":{name}")
}


def check_database(user: str, db: object) -> None:
    """Check the database argument of a public function; the error names the function.

    Raises: DatabaseError(:db.error/not-a-database).
    """
    if not isinstance(db, Database):
        hint = "; give conn.db()" if callable(getattr(db, "db", None)) else "; the database is the first argument"
        raise DatabaseError(
            ":db.error/not-a-database",
            f"{user} reads a database, got {described(db)}{hint}",
            function=user,
            got=db,
        )


def _is_kept(answer: Any) -> bool:
    """Return whether the result of a filter's predicate is true; a marker of a missing value is not."""
    if answer is True or answer is False:
        return answer
    try:
        return not is_missing(answer) and bool(answer)
    except Exception as error:  # of the code of the result
        text = f"the predicate of a filter returns true or false, got {described(answer)}: {error}"
        raise DatabaseError(":db.error/invalid-filter", text, answer=answer) from error


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Database(Names, Methods, SharedValue):
    """An immutable database value; get one from `conn.db()` or a transaction's report."""

    view: View = field(repr=False)
    schema: Schema = field(repr=False)
    basis_t: int  # the t of the newest transaction; a view by `as_of` keeps that of its database
    next_n: int = field(repr=False)  # the n of the next entity id; no id with this n or a higher one was assigned
    last_instant: int = field(repr=False)  # microseconds since 1970 of the newest transaction
    as_of_t: int | None = None  # the t of the last transaction that a view by `as_of` contains; None: the present
    as_of_at: datetime | None = None  # the instant given to `as_of`, if it was one
    predicates: tuple[Predicate, ...] = field(default=(), repr=False)  # the predicates of its filters
    store: object = field(default=None, repr=False)  # the same object for all databases of one store

    def __init__(
        self,
        view: View,
        schema: Schema,
        basis_t: int,
        next_n: int,
        last_instant: int,
        as_of_t: int | None = None,
        as_of_at: datetime | None = None,
        predicates: tuple[Predicate, ...] = (),
        store: object = None,
    ) -> None:
        # Half the time of the generated method, which looks up each field by name.
        _put_view(self, view)
        _put_schema(self, schema)
        _put_basis_t(self, basis_t)
        _put_next_n(self, next_n)
        _put_last_instant(self, last_instant)
        _put_as_of_t(self, as_of_t)
        _put_as_of_at(self, as_of_at)
        _put_predicates(self, predicates)
        _put_store(self, store)

    def __repr__(self) -> str:
        limits = "".join(
            f" {name}={value}"
            for name, value in (("as_of", self.as_of_t), ("since", self.since_t), ("history", self.is_history or None))
            if value is not None
        )
        return f"<Database t={self.basis_t}{limits}{' filtered' if self.is_filtered else ''}>"

    def __str__(self) -> str:
        return f"{self!r}\n{text_table(_SUMMARY, self._summary())}"

    def _repr_html_(self) -> str:
        return html_table(repr(self), _SUMMARY, self._summary())

    def _summary(self) -> Iterator[tuple[object, ...]]:
        """Yield the attributes that have datoms."""
        for a in self.view.attributes():
            attribute = self.schema.find(a)
            if a >= FIRST_FREE_ID and attribute is not None and (size := self._size_of(a)) != "0":
                yield attribute.ident, attribute.value_type.name, size

    def _size_of(self, a: int) -> str:
        """Return the number of datoms of an attribute; an upper bound if counting would read too much."""
        bound = self.view.count(a)
        return f"{self.view.by_entity(a).size:,}" if bound <= _COUNTED else f"≤ {bound:,}"

    @property
    def since_t(self) -> int | None:
        """The t given to `since`; None if the database contains facts of every age."""
        after = self.view.after
        return None if after < 0 else after

    @property
    def is_history(self) -> bool:
        """Whether the database contains all assertions and retractions; see `history`."""
        return self.view.is_history

    @property
    def is_filtered(self) -> bool:
        """Whether the database contains only datoms that a predicate accepts; see `filter`."""
        return bool(self.predicates)

    @property
    def next_t(self) -> int:
        """The t that the next transaction will have. Source: Datomic API, next-t."""
        return self.basis_t + 1

    @property
    def next_tx(self) -> int:
        """The entity id that the next transaction will have."""
        return tx_of(self.basis_t + 1)

    # -- other databases of the same facts

    def as_of(self, point: Point) -> Database:
        """Return the database as it was after a point in time, the point included.

        Args:
            point: t, a transaction's entity id, an aware datetime, or a moment in words, such as "2026-11-24T03:12Z"
                or "-5m", five minutes ago by the clock of the connection: the last transaction at or before it. A text
                of digits is a t: "2026" is t 2026 and no year.
        Source: Datomic API, as-of.
        """
        if type(point) is not int:
            point = self.exactly(point)
        t, at = self.t_at(point), point if isinstance(point, datetime) else None
        if self.as_of_t is not None and self.as_of_t < t:
            t, at = self.as_of_t, self.as_of_at
        elif self.as_of_t == t:  # the earlier instant; None means the instant of the transaction
            at = None if at is None or self.as_of_at is None else min(at, self.as_of_at)
        view = self.view
        return self._through(view.cut(upto=min(t, view.upto)), t, at)

    def _through(self, view: View, as_of_t: int | None, as_of_at: datetime | None) -> Database:
        """Return the same facts through another view, as of the t and the instant of that view."""
        return Database(
            view,
            self.schema,
            self.basis_t,
            self.next_n,
            self.last_instant,
            as_of_t,
            as_of_at,
            self.predicates,
            self.store,
        )

    @property
    def moment(self) -> datetime | None:
        """The instant given to `as_of`, or that of its transaction; None for the present."""
        return None if self.as_of_t is None else self.as_of_at or self.instant_of(self.as_of_t)

    def since(self, point: Point) -> Database:
        """Return the facts asserted after a point in time; an instant means its last transaction.

        Idents and identities asserted earlier are not included: resolve entities in the whole database first.
        Source: Datomic API, since.
        """
        t = self.t_at(point)
        return self._through(self.view.cut(after=max(t, self.view.after)), self.as_of_t, self.as_of_at)

    def history(self) -> Database:
        """Return all assertions and retractions within the limits of `as_of` and `since`.

        Source: Datomic API, history.
        """
        return self._through(self.view.cut(is_history=True), self.as_of_t, self.as_of_at)

    def branch(self, point: Point) -> Database:
        """Return the database after a point in time as the basis of `with_`, as if nothing had been committed since.

        On an `as_of` database, `with_` uses all facts; on a branch it uses the facts of that time, and its transactions
        are t + 1, t + 2, … after the point. They cannot be committed. The schema is the current one, and new entities
        get ids that no other entity has.

        Args:
            point: t, a transaction's entity id, or an aware datetime: the last transaction at or before it.
        Raises: DatabaseError(:db.error/history-not-supported) for a history database.
        """
        if self.is_history:
            raise DatabaseError(":db.error/history-not-supported", "a branch needs a database, got a history")
        t = min(self.t_at(point), self.basis_t if self.as_of_t is None else self.as_of_t)
        instant = self.instant_of(t)
        last = 0 if instant is None else instant_to_micros(instant)
        branched = replace(self, view=self.view.branch(t), basis_t=t, last_instant=last, as_of_t=None)
        return branched.filtered_by(self.predicates) if self.predicates else branched

    def filter(self, predicate: Predicate) -> Database:
        """Return the datoms for which `predicate(unfiltered database, datom)` is true; several filters all apply.

        Raises: when the database is read, DatabaseError(:db.error/invalid-filter) for a result that is neither true nor
            false, such as an array of numpy, and the exceptions of the predicate.
        Source: Datomic API, filter.
        """
        if not callable(predicate):
            raise DatabaseError(
                ":db.error/invalid-filter", f"expected a function of a database and a datom, got {described(predicate)}"
            )
        return self.filtered_by((*self.predicates, predicate))

    def filtered_by(self, predicates: tuple[Predicate, ...]) -> Database:
        """Return the datoms for which all of these predicates are true; they replace those of earlier filters."""
        schema = self.schema
        unfiltered = replace(self, predicates=(), view=self.view.cut(keep=None))

        def keep(fact: Fact) -> bool:
            datom = datom_of(schema, fact)
            return all(_is_kept(predicate(unfiltered, datom)) for predicate in predicates)

        return replace(self, predicates=predicates, view=self.view.cut(keep=keep))

    def plus(self, facts: Sequence[Fact], *, instant: int, next_n: int) -> Database:
        """Return this database with one more transaction, which is not committed.

        Args:
            facts: of t = basis_t + 1, including the `:db/txInstant` of the transaction.
            instant: microseconds since 1970.
            next_n: the next free entity n after them.
        """
        t, schema = self.basis_t + 1, self.schema.plus(facts)
        view, limits = self.view.plus(facts, t, schema), (self.as_of_t, self.as_of_at, self.predicates)
        return Database(view, schema, t, next_n, instant, *limits, self.store)  # twice as fast as `replace`

    def exactly(self, point: Point) -> int | datetime:
        """Return a point in time without words: those of `as_of` mean a t or an instant.

        Raises: DatabaseError(:db.error/invalid-point).
        """
        if not isinstance(point, str | timedelta):
            return point
        clock: Callable[[], int] | None = getattr(self.store, "clock", None)
        return point_in(point, now=None if clock is None else micros_to_instant(clock()))

    def t_at(self, point: Point) -> int:
        """Return the t of a point in time; for an instant, that of the last transaction at or before it, else 0."""
        if type(point) is not int:
            point = plain(self.exactly(point))
        if type(point) is int and 0 <= point < USER_BASE:  # a t, or the id of a transaction
            return t_of(point)
        if not isinstance(point, datetime):
            raise DatabaseError(
                ":db.error/invalid-point",
                f"expected t, a transaction's id or an aware datetime, got {quoted(point)}",
                point=point,
            )
        if is_naive(point):
            raise DatabaseError(
                ":db.error/invalid-point", f"expected an aware datetime, got the naive {point}", point=point
            )
        return self._t_at_instant(instant_to_micros(point))

    def _t_at_instant(self, micros: int) -> int:
        """Return the t of the last transaction at or before an instant.

        Instants never decrease, so the newest ones are read in growing steps, and then the last step in halves.
        """
        view = self.view.cut(after=-1, keep=None, is_history=False)
        low = high = view.upto
        step = 1
        while low > 0 and not _is_by(view, low, micros):
            high, low, step = low - 1, max(low - step, 0), step * 2
        while low < high:
            middle = (low + high + 1) // 2
            if _is_by(view, middle, micros):
                low = middle
            else:
                high = middle - 1
        return low

    def instant_of(self, t: int) -> datetime | None:
        """Return the instant of a transaction, given by t or by entity id; None if there is no such transaction."""
        if type(t) is not int:
            raise DatabaseError(
                ":db.error/invalid-point", f"expected t or a transaction's id, got {described(t)}", point=t
            )
        instants = self.view.cut(after=-1, keep=None, is_history=False).values_of(tx_of(t), TX_INSTANT)
        return micros_to_instant(instants[0]) if instants else None

    # -- datoms

    def datoms(self, index: str, *components: Any) -> Datoms:
        """Return the datoms that begin with these components, in the order of an index, to iterate over or to slice.

        Args:
            index: "eavt", "aevt", "avet" or "vaet", also as a keyword such as ":eavt".
            components: leading parts of the order of the index; entities and attributes in any form.
        Raises: DatabaseError(:db.error/unknown-index, :db.error/attribute-not-indexed, :db.error/not-an-attribute).
        Source: Datomic API, datoms.
        """
        name, parts = self._components(index, components)
        if None in parts:
            return Datoms(self.schema, lambda: iter(()))
        read = partial(self._facts, name, parts)
        if len(parts) == 1 and name in ("aevt", "avet"):
            column = self.view.by_entity if name == "aevt" else self.view.by_value
            return Datoms(self.schema, read, lambda: column(parts[0]).size)
        made = partial(self.view.datoms_of, *parts) if len(parts) == 2 and name == "eavt" else None
        return Datoms(self.schema, read, made=made)

    def _facts(self, index: str, components: tuple[Any, ...]) -> Iterator[Fact]:
        """Return the facts that begin with resolved components."""
        from factstore.index import scan

        return scan.prefix(self.view, index, components)

    def seek_datoms(self, index: str, *components: Any) -> Datoms:
        """Return the datoms from the first one at or after the components to the end of the index.

        Source: Datomic API, seek-datoms.
        """
        from factstore.index import scan

        name, parts = self._start(index, components)
        return Datoms(self.schema, lambda: scan.seek(self.view, name, parts))

    def rseek_datoms(self, index: str, *components: Any) -> Datoms:
        """Return the datoms from the last one at or before the components back to the start of the index."""
        from factstore.index import scan

        name, parts = self._start(index, components)
        return Datoms(self.schema, lambda: scan.seek(self.view, name, parts, backwards=True))

    def index_range(self, attribute: object, start: object = None, end: object = None) -> Datoms:
        """Return the datoms of an indexed attribute in order of value, from start to before end; None is open.

        Raises: DatabaseError(:db.error/attribute-not-indexed, :db.error/wrong-type-for-attribute).
        Source: Datomic API, index-range.
        """
        from factstore.columns.column import Range
        from factstore.index import scan

        indexed = self._indexed(self.attribute(attribute))
        low, high = self._bound(indexed, start), self._bound(indexed, end)
        return Datoms(
            self.schema,
            lambda: scan.between(self.view, indexed.id, Range(low, high, high_open=True)),
            lambda: self.view.between(indexed.id, low, high, high_open=True).size,
        )

    def _bound(self, attribute: Attribute, value: object) -> Stored | None:
        stored = self.stored(attribute, value)
        if stored is None and value is not None:
            raise wrong_type(attribute, value, "which cannot be a bound")
        return stored

    def _indexed(self, attribute: Attribute) -> Attribute:
        if not attribute.has_avet:
            raise DatabaseError(
                ":db.error/attribute-not-indexed",
                f"{attribute.ident} cannot be read in order of value: it has neither :db/index nor :db/unique",
                attribute=attribute.ident,
            )
        return attribute

    def _start(self, index: str, components: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        name, parts = self._components(index, components)
        if None in parts:
            unknown = components[parts.index(None)]
            raise DatabaseError(
                ":db.error/invalid-components",
                f"a seek in {name} has no start: {quoted(unknown)} is neither an entity nor a value there",
                index=name,
            )
        return name, parts

    def _components(self, index: str, components: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        """Return the name of the index and its resolved components; None among them means that nothing can match."""
        found = _INDEXES.get(index if type(index) is str else as_name(index))
        if found is None:
            raise DatabaseError(
                ":db.error/unknown-index", f"expected one of {', '.join(ORDERS)}, got {quoted(index)}", index=index
            )
        name, order, at = found
        if len(components) > 4:
            raise DatabaseError(
                ":db.error/invalid-components", f"{name} has 4 components, got {len(components)}", index=name
            )
        attribute = self.attribute(components[at]) if len(components) > at else None
        if name == "avet" and attribute is not None:
            self._indexed(attribute)
        parts: list[Any] = []
        for position, part in zip(order, components):
            if position == 1:
                parts.append(attribute and attribute.id)
            elif position == 3:
                parts.append(self.t_at(part))
            elif position == 0 or attribute is None:
                parts.append(self.entid(part))
            else:
                parts.append(self.stored(attribute, part))
        return name, tuple(parts)

    def datom(self, fact: Fact) -> Datom:
        """Return a fact as a datom."""
        return datom_of(self.schema, fact)


(
    _put_view,
    _put_schema,
    _put_basis_t,
    _put_next_n,
    _put_last_instant,
    _put_as_of_t,
    _put_as_of_at,
    _put_predicates,
    _put_store,
) = (getattr(Database, each.name).__set__ for each in fields(Database))


def _is_by(view: View, t: int, micros: int) -> bool:
    """Tell whether a transaction was committed by an instant."""
    instants = view.values_of(tx_of(t), TX_INSTANT)
    return bool(instants) and instants[0] <= micros
