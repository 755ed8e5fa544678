"""The direct way from forms to facts: one pass, without claims, slots and places.

    form ──► entity, row, value ──► read before ──► fact

A new entity gets its id at its first mention, which is the order in which the stages assign ids. If a tempid that was
mentioned earlier turns out to be an existing entity, `late` records it, and the pass is repeated with that knowledge.
Law: see `factstore.transact.direct`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from factstore.datom import TX_BASE, USER_BASE, Fact
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.errors import TransactError
from factstore.schema.attribute import TX_INSTANT
from factstore.transact.direct.compiled import ID, NESTED, PLAIN, Leave, Row, Shape, Special, compiled, found
from factstore.transact.direct.reads import Before, check_whole
from factstore.transact.registered_functions import MAX_INNER_CALLS, Functions, called_at, forms_of
from factstore.transact.stages import ALL, Prepared
from factstore.values.types import LONG_MAX, LONG_MIN, Keyword, Stored

DEEPEST: Final = 50  # maps within maps, and calls within calls
_COLLECTIONS: Final = frozenset((list, tuple, set, frozenset))
_TRANSACTION: Final = "datomic.tx"
_RESERVED: Final = "datomic"


class Rare:
    """What only some transactions need to remember."""

    __slots__ = ("doomed", "inner_calls", "late", "pending", "retracted", "unsaid")

    def __init__(self) -> None:
        self.pending: list[tuple[int, dict[Any, Any], Sequence[Row | None], bool, int]] = []  # nested maps, to be read
        self.unsaid: set[int] = set()  # new entities of tempids about which nothing is asserted yet
        self.late: dict[str | int, int] = {}  # tempids that turned out to be existing entities too late
        self.retracted: list[tuple[int, Row, Any]] = []  # entity, attribute, value or ALL
        self.doomed: list[int] = []  # entities to retract entirely
        self.inner_calls = 0  # calls of functions in the forms that functions returned


NOT_RARE: Final = Rare()  # of most transactions: it contains nothing and never changes


class Writing(Before, Prepared):
    """The facts of one transaction while its forms are read; afterwards it is the prepared transaction."""

    __slots__ = (
        "_bound",
        "_functions",
        "_now",
        "compiled",
        "first_fresh",
        "index",
        "layers",
        "owners",
        "rare",
        "reads",
        "said",
        "source",
        "t",
        "tx",
    )

    keeps_schema = True

    def __init__(
        self,
        source: Snapshot | Database,
        now: int,
        functions: Functions,
        bound: Mapping[str | int, int],
        said: dict[tuple[Any, ...], Fact] | None,
    ) -> None:
        """Begin a transaction. Raises: Leave, if the database is limited or filtered."""
        self.source = source
        if type(source) is Snapshot:
            t, instant = source.t, source.instant
            self.index = source.index
            self.layers = ((source.novelty, t),)
        else:
            t, instant, view = source.basis_t, source.last_instant, source.view  # type: ignore[union-attr]
            check_whole(view)
            self.index = view.index
            self.layers = view.layers[::-1]
        self.columns = None
        self.reads = 0
        self.compiled = found(source.schema) or compiled(source.schema)
        self._functions = functions
        self._now = now  # by the clock
        self.instant = instant = instant if instant > now else now
        self.next_n = n = source.next_n  # of the next new entity
        self.first_fresh = USER_BASE | n
        self.t = t = t + 1
        self.tx = tx = TX_BASE | t
        self.facts = [(tx, TX_INSTANT, instant, t, True)]
        self._bound = bound  # tempids that are known to be existing entities
        self.tempids: dict[str | int, int] = {}
        # The first assertion by (e, a) of cardinality one or (e, a, v), unless only one form can mention the entity.
        # None: no assertion can be repeated, because there is only one form, and it has only one value per attribute.
        self.said = said
        self.owners: dict[tuple[int, Stored], int] = {}  # of unique values that were not held before
        self.rare = NOT_RARE

    def _own_rare(self) -> Rare:
        """Return what only some transactions remember, to change it."""
        if self.rare is NOT_RARE:
            self.rare = Rare()
        return self.rare

    # -- forms

    def read(self, forms: Sequence[Any], depth: int = 0) -> None:
        """Read forms. Raises: Leave; ValueError for a value of another type."""
        for form in forms:
            kind = type(form)
            if kind is dict:
                self._map(form)
                continue
            op = form[0] if (kind is list or kind is tuple) and form else None
            if type(op) is not str and type(op) is not Keyword:
                raise Leave
            verb = VERBS.get(op)
            if verb is not None:
                verb(self, form)
            elif "/" in op and depth < DEEPEST and not op.startswith(":db"):
                if depth:
                    self._count_inner_call()
                self.read(self._call(op.removeprefix(":"), form[1:]), depth + 1)
            else:
                raise Leave

    def _count_inner_call(self) -> None:
        rare = self._own_rare()
        rare.inner_calls += 1
        if rare.inner_calls > MAX_INNER_CALLS:
            raise Leave  # the stages report the place

    def _call(self, name: str, arguments: Sequence[Any]) -> Sequence[Any]:
        """Return the forms that a transaction function returns."""
        self.said = {} if self.said is None else self.said
        function = self._functions(name)
        if function is None:
            raise Leave
        try:
            return called_at(self.instant, self._now, forms_of, self.database, name, function, arguments)
        except TransactError:
            raise Leave from None  # the stages report the place

    def shape_of(self, keys: tuple[Any, ...]) -> Shape:
        """Return the compiled shape of maps with these keys. Raises: Leave."""
        return self.compiled.shape_of(keys) or self.compiled.new_shape(keys)

    def _map(self, form: dict[Any, Any]) -> None:
        keys = tuple(form)
        shape = self.compiled.shape_of(keys) or self.compiled.new_shape(keys)
        rows, has_id, identities, _, kinds = shape
        e = self._named(form, shape) if has_id else self._holder(form, identities) if identities else None
        is_alone = e is None
        if e is None:
            e = USER_BASE | self.next_n
            self.next_n += 1
            if kinds is PLAIN:
                add, t = self.facts.append, self.t
                for (a, kind, check, store, _), v in zip(rows, form.values()):  # type: ignore[misc]
                    # Comparing a number takes less time than calling its check.
                    if type(v) is not kind or not (LONG_MIN <= v <= LONG_MAX if kind is int else check(v)):
                        v = store(v)
                    add((e, a, v, t, True))
                return
        if self.said is None and kinds is NESTED:
            self.said = {}
        self._attributes(e, form, rows, is_alone, 0)
        if self.rare is not NOT_RARE:
            while self.rare.pending:
                self._attributes(*self.rare.pending.pop())

    def _attributes(self, e: int, form: dict[Any, Any], rows: Sequence[Row | None], is_alone: bool, depth: int) -> None:
        """Assert the attributes of a map.

        Args:
            is_alone: the entity is new, and no other form can mention it.
        """
        add, t = self.facts.append, self.t
        for row, v in zip(rows, form.values()):
            if row is None:  # of :db/id
                if self.rare is not NOT_RARE and len(form) > 1:
                    self.rare.unsaid.discard(e)
                continue
            a, kind, check, store, special = row
            # `_subject` has found that nothing else has the identities of a new entity.
            if special is not None and not (special.is_simple_if_new and e >= self.first_fresh):
                self._special(e, row, special, v, depth)
                continue
            if type(v) is not kind or not check(v):
                v = store(v)
            if is_alone:
                add((e, a, v, t, True))
            else:
                self._set(e, a, v)

    def _special(self, e: int, row: Row, special: Special, value: Any, depth: int) -> None:
        """Assert the values of an attribute that are references, unique or many."""
        if special.many and type(value) in _COLLECTIONS and not (special.is_ref and self._is_lookup(value)):
            for item in value:
                self._assert(e, row, special, self._value(row, special, item, depth))
            return
        self._assert(e, row, special, self._value(row, special, value, depth))

    def _add(self, form: Sequence[Any]) -> None:
        if len(form) != 4:
            raise Leave
        _, term, key, v = form
        row = self.compiled[key] if type(key) is str or type(key) is Keyword else None
        if row is None:
            raise Leave
        e = term if type(term) is int and USER_BASE <= term < self.first_fresh else self._entity(term)
        a, kind, check, store, special = row
        if special is not None:
            self._add_special(e, term, row, special, v)
        else:
            if type(v) is not kind or not (LONG_MIN <= v <= LONG_MAX if kind is int else check(v)):
                v = store(v)
            self._set(e, a, v)
        if self.rare is not NOT_RARE:
            self.rare.unsaid.discard(e)

    def _add_special(self, e: int, term: Any, row: Row, special: Special, v: Any) -> None:
        if type(v) is dict:
            raise Leave
        v = self._value(row, special, v, 0)
        if special.is_identity and e >= self.first_fresh:
            self._identify(e, term, row, v)
        self._assert(e, row, special, v)

    def _swap(self, form: Sequence[Any]) -> None:
        if len(form) != 5:
            raise Leave
        _, term, key, old, new = form
        row = self.compiled[key] if type(key) is str or type(key) is Keyword else None
        if row is None:
            raise Leave
        e, (a, _, _, _, special) = self._existing(term), row
        if special is not None and (special.many or special.is_unique or special.insert_only):
            raise Leave
        current = self.value_of(e, a)
        if current != (None if old is None else self._known(row, old)):
            raise Leave
        v = self._known(row, new)
        fact = (e, a, v, self.t, True)
        if self._is_first(e, a, v, fact) and current != v:
            if current is not None:
                self.facts.append((e, a, current, self.t, False))
            self.facts.append(fact)

    def _retract(self, form: Sequence[Any]) -> None:
        if not 3 <= len(form) <= 4:
            raise Leave
        row = self.compiled[form[2]] if type(form[2]) is str or type(form[2]) is Keyword else None
        if row is None or (row[4] is not None and row[4].cas_only):
            raise Leave
        value = self._known(row, form[3]) if len(form) == 4 else ALL
        self._own_rare().retracted.append((self._existing(form[1]), row, value))

    def _retract_entity(self, form: Sequence[Any]) -> None:
        if len(form) != 2:
            raise Leave
        self._own_rare().doomed.append(self._existing(form[1]))

    # -- entities

    def _new(self) -> int:
        """Return the id of a new entity."""
        self.next_n = n = self.next_n + 1
        return USER_BASE | (n - 1)

    def _named(self, form: dict[Any, Any], shape: Shape) -> int:
        """Return the entity of a map with :db/id."""
        term = form[ID]
        if type(term) is int and USER_BASE <= term < self.first_fresh:
            return term
        e = self._entity(term)
        if e >= self.first_fresh:
            for key, row in shape.identities:
                self._identify(e, term, row, self._known(row, form[key]))
        return e

    def _holder(self, form: dict[Any, Any], identities: Sequence[tuple[str, Row]]) -> int | None:
        """Return the entity that has the identities of a map; None if the next new entity gets them."""
        found: int | None = None
        unheld: list[tuple[int, Stored]] = []
        for key, (a, kind, check, store, special) in identities:
            v = form[key]
            if type(v) is not kind or not check(v):
                v = store(v)
            holder = self.holder_of(a, v, special.order)  # type: ignore[union-attr]  # it is unique
            if holder is None:
                unheld.append((a, v))
            elif found is not None and found != holder:
                raise Leave
            else:
                found = holder
        if found is None:
            e = USER_BASE | self.next_n
            for unique in unheld:
                if self.owners.setdefault(unique, e) != e:
                    raise Leave
        return found

    def _identify(self, e: int, tempid: str | int, row: Row, v: Stored) -> None:
        """Check whether the identity of a tempid belongs to an entity that exists, or to another new one."""
        holder = self.holder_of(row[0], v, row[4].order)  # type: ignore[union-attr]  # it is unique
        if holder is None:
            if self.owners.setdefault((row[0], v), e) != e:
                raise Leave
        elif self._own_rare().late.setdefault(tempid, holder) != holder:
            raise Leave

    def _entity(self, term: Any) -> int:
        """Return the entity of a term; for a tempid at its first mention, a new one."""
        if type(term) is int and term < 0:
            return self._tempid(term)
        if type(term) is str and term[:1] != ":":
            if term == _TRANSACTION:
                return self.tx
            if term.startswith(_RESERVED):
                raise Leave
            return self._tempid(term)
        return self._existing(term)

    def _tempid(self, tempid: str | int) -> int:
        e = self.tempids.get(tempid)
        if e is None:
            e = self._bound.get(tempid)
            if e is None:
                e = self._new()
                self._own_rare().unsaid.add(e)
            self.tempids[tempid] = e
        return e

    def are_new_tempids(self, terms: Sequence[Any]) -> bool:
        """Return whether terms are different tempids in the form of text that are not mentioned yet."""
        named = set(terms) if set(map(type, terms)) <= {str} else ()
        return (
            len(named) == len(terms)
            and not any(term[:1] == ":" or term.startswith(_RESERVED) for term in named)
            and self.tempids.keys().isdisjoint(named)
            and self._bound.keys().isdisjoint(named)
        )

    def _existing(self, term: Any) -> int:
        """Return the existing entity of an id, an ident or a lookup ref."""
        kind = type(term)
        if kind is int and USER_BASE <= term < self.first_fresh:
            return term  # type: ignore[no-any-return]
        if kind is Keyword or (kind is str and term[:1] == ":"):
            eid = self.schema.entid(term)
        elif (kind is list or kind is tuple) and self._is_lookup(term):
            row = self.compiled[term[0]]
            if row is None or row[4] is None:
                raise Leave
            eid = self.holder_of(row[0], self._known(row, term[1]), row[4].order)
        else:
            raise Leave
        if eid is None:
            raise Leave
        return eid

    def _is_lookup(self, term: Any) -> bool:
        """Return whether a list is a lookup ref, not two references."""
        if len(term) != 2 or type(term) is set or type(term) is frozenset or not isinstance(term[0], str):
            return False
        attribute = self.schema.find(term[0])
        return attribute is not None and attribute.unique is not None

    # -- values

    def _known(self, row: Row, value: Any) -> Stored:
        """Return the stored form of a value that is no new entity."""
        _, kind, check, store, special = row
        if special is not None and special.is_ref:
            return self._existing(value)
        return value if type(value) is kind and check(value) else store(value)

    def _value(self, row: Row, special: Special, value: Any, depth: int) -> Stored:
        """Return the stored form of a value; for a reference its entity, which may be new."""
        if not special.is_ref:
            return value if type(value) is row[1] and row[2](value) else row[3](value)
        if type(value) is int and USER_BASE <= value < self.first_fresh:
            return value
        if type(value) is not dict:
            return self._entity(value)
        shape = self.shape_of(tuple(value))
        if not value or depth >= DEEPEST or not (special.is_component or shape.has_id or shape.has_unique):
            raise Leave
        e = self._named(value, shape) if shape.has_id else self._holder(value, shape.identities)
        is_alone = e is None
        if e is None:
            e = self._new()
        self._own_rare().pending.append((e, value, shape.rows, is_alone, depth + 1))
        return e

    # -- facts

    def _assert(self, e: int, row: Row, special: Special, v: Stored) -> None:
        if not special.many:
            self._set(e, row[0], v, special)
            return
        fact = (e, row[0], v, self.t, True)
        if self.said is not None and self.said.setdefault((e, row[0], v), fact) is not fact:
            return
        if e < self.first_fresh and e != self.tx:
            if special.insert_only:
                raise Leave
            if self.has(e, row[0], v, special.order):
                return
        self.facts.append(fact)

    def _set(self, e: int, a: int, v: Stored, special: Special | None = None) -> None:
        """Assert the value of an attribute of cardinality one, and retract the value that it replaces."""
        fact = (e, a, v, self.t, True)
        if self.said is not None and not self._is_first(e, a, v, fact):
            return
        if e < self.first_fresh and e != self.tx:
            old = self.value_of(e, a)
            if old is not None:
                if special is not None and (special.insert_only or (special.cas_only and old != v)):
                    raise Leave
                if old == v:
                    return
                self.facts.append((e, a, old, self.t, False))
        if special is not None and special.is_unique:
            self._own(e, a, v, special)
        self.facts.append(fact)

    def _is_first(self, e: int, a: int, v: Stored, fact: Fact) -> bool:
        """Return whether no form has asserted this value before. Raises: Leave, if one has asserted another."""
        if self.said is None:
            return True
        first = self.said.setdefault((e, a), fact)
        if first[2] != v:
            raise Leave
        return first is fact

    def _own(self, e: int, a: int, v: Stored, special: Special) -> None:
        """Check that no other entity has, or gets, a unique value."""
        if e >= self.first_fresh and special.is_identity:
            return  # `_identify` has checked it
        holder = self.holder_of(a, v, special.order)
        if self.owners.setdefault((a, v), e) != e or (holder is not None and holder != e):
            raise Leave


VERBS: Final[Mapping[str, Callable[[Writing, Sequence[Any]], None]]] = {
    ":db/add": Writing._add,
    ":db/cas": Writing._swap,
    ":db/retract": Writing._retract,
    ":db/retractEntity": Writing._retract_entity,
}
