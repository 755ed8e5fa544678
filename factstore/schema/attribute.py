"""Attributes and the schema, as immutable values.

A `Schema` is a fold over the facts of the system attributes: `schema.plus(facts)` is the schema after these facts. It
is not versioned: an older view of a database is read with the newest schema that its connection had.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from pyrsistent import PMap, pmap

from factstore.datom import Fact
from factstore.errors import DatabaseError
from factstore.values.process_bound import SharedValue
from factstore.values.quoting import as_name, did_you_mean
from factstore.values.types import REF, TUPLE, VALUE_TYPES, Keyword, Stored, ValueType, order_key

# Entity ids of the system attributes; a store's format depends on them, so they never change.
IDENT: Final = 10
VALUE_TYPE: Final = 11
CARDINALITY: Final = 12
UNIQUE: Final = 13
INDEX: Final = 14
IS_COMPONENT: Final = 15
NO_HISTORY: Final = 16
DOC: Final = 17
TX_INSTANT: Final = 18
FULLTEXT: Final = 19
TUPLE_ATTRS: Final = 20
TUPLE_TYPES: Final = 21
TUPLE_TYPE: Final = 22
ATTR_PREDS: Final = 23
ENTITY_ATTRS: Final = 24
ENTITY_PREDS: Final = 25
ENSURE: Final = 26  # virtual: it requests a check and adds no datom
INSTALL_ATTRIBUTE: Final = 27
TX_KEY: Final = 28  # the idempotency key of a transaction
EXCISE: Final = 29  # of a transaction: the entity or attribute that it excised
EXCISE_BEFORE: Final = 30
MIGRATION_NAME: Final = 31  # of a transaction: the name of its migration
MIGRATION_CHECKSUM: Final = 32
STAMP: Final = 33  # of an attribute with the time of creation or of the last change
FIRST_FREE_ID: Final = 100

CARDINALITY_MANY: Final = Keyword(":db.cardinality/many")
UNIQUE_IDENTITY: Final = Keyword(":db.unique/identity")
UNIQUE_VALUE: Final = Keyword(":db.unique/value")
STAMP_CREATED: Final = Keyword(":db.stamp/created")
STAMP_UPDATED: Final = Keyword(":db.stamp/updated")

# The attribute predicates of the store itself. They depend on the entity, not on the value, and are checked in every
# process, independent of its registered functions.
INSERT_ONLY: Final = "db/insert-only"  # the attribute can be asserted only of new entities
CAS_ONLY: Final = "db/cas-only"  # its value is replaced only by :db/cas, and retracted only with its entity

# System attributes of transactions, whose facts are not a part of the schema.
OF_TRANSACTIONS: Final = frozenset({TX_INSTANT, TX_KEY, EXCISE, EXCISE_BEFORE, MIGRATION_NAME, MIGRATION_CHECKSUM})
_RESERVED: Final = (":db/", ":db.")
_MANY_VALUED: Final = frozenset({ATTR_PREDS, ENTITY_ATTRS, ENTITY_PREDS, INSTALL_ATTRIBUTE})


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """An installed attribute: its type, and the rules for its facts."""

    id: int
    ident: Keyword
    value_type: ValueType
    many: bool = False
    unique: Keyword | None = None  # UNIQUE_IDENTITY, UNIQUE_VALUE or None
    index: bool = False
    is_component: bool = False
    no_history: bool = False
    fulltext: bool = False
    stamp: Keyword | None = None  # STAMP_CREATED, STAMP_UPDATED or None
    doc: str | None = None
    preds: tuple[str, ...] = ()  # names of registered predicates that a value must satisfy
    insert_only: bool = False  # an entity that has a value cannot get one again, not even the same
    cas_only: bool = False  # the value is replaced only by :db/cas, and retracted only with the whole entity
    members: tuple[int, ...] = ()  # composite: the member attributes
    tuple_attrs: tuple[Keyword, ...] = ()  # composite: the present idents of the members
    member_types: tuple[ValueType, ...] = ()  # composite: the types of the members
    tuple_types: tuple[ValueType, ...] = ()  # heterogeneous: one type per slot
    tuple_type: ValueType | None = None  # homogeneous: the type of all slots
    is_ref: bool = field(init=False)
    is_tuple: bool = field(init=False)
    is_identity: bool = field(init=False)
    has_avet: bool = field(init=False)  # can be read in order of value: indexed or unique
    is_plain: bool = field(init=False)  # an assertion needs no check except the type of the value
    reads_as_stored: bool = field(init=False)  # users get a stored value as it is
    is_single: bool = field(init=False)  # an entity shows its only stored value as it is

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "is_ref", self.value_type.name == "ref")
        put(self, "is_tuple", self.value_type is TUPLE)
        put(self, "is_identity", self.unique == UNIQUE_IDENTITY)
        put(self, "has_avet", self.index or self.unique is not None)
        special = self.is_ref or self.is_tuple or self.is_identity or self.preds or self.id < FIRST_FREE_ID
        put(self, "is_plain", not special)
        put(self, "reads_as_stored", self.value_type.load is None and not self.is_tuple)
        put(self, "is_single", self.reads_as_stored and not self.many and not self.is_ref)

    def __repr__(self) -> str:
        return f"<Attribute {self.ident}>"

    @property
    def order_key(self) -> Any:
        """The key function that orders stored values of this attribute; None if they have an order of their own."""
        return order_key if self.is_tuple else None

    def load(self, stored: Stored) -> Any:
        """Return the value that users get for a stored value."""
        load = self.value_type.load
        if load is not None:
            return load(stored)
        if self.is_tuple and self.tuple_slot_types:
            types = self.tuple_slot_types
            return tuple(_loaded(types[i % len(types)], slot) for i, slot in enumerate(stored))
        return stored

    def store(self, value: Any, entid: Callable[[Any], int | None]) -> Stored | None:
        """Return the stored form of a value; None for a reference, or a tuple with one, to no entity.

        Args:
            entid: returns the entity that a reference stands for.
        Raises: ValueError for a value of another type.
        """
        if self.is_ref:
            return entid(value)
        stored = self.value_type.store(value)
        types = self.tuple_slot_types if self.is_tuple else ()
        if not types:
            return stored
        slots: list[Stored] = []
        for i, slot in enumerate(stored):
            kind = types[i % len(types)]
            kept = None if slot is None else entid(slot) if kind is REF else kind.store(slot)
            if kept is None and slot is not None:
                return None
            slots.append(kept)
        return tuple(slots)

    @property
    def tuple_slot_types(self) -> tuple[ValueType, ...]:
        """The types of the slots of a tuple, to be read modulo their number."""
        return self.member_types or self.tuple_types or ((self.tuple_type,) if self.tuple_type else ())


K = TypeVar("K")
V = TypeVar("V")

_Facts: TypeAlias = "PMap[int, Mapping[int, Any]]"  # the properties of each entity, never changed in place
_NOTHING: Final[Mapping[int, Any]] = MappingProxyType({})


class Schema(SharedValue):
    """All attributes and idents of a database; immutable. Build on `EMPTY` with `plus`."""

    __slots__ = ("_by_key", "_composites", "_facts", "_ident_of", "_idents", "_names", "find", "references", "stamps")

    find: Callable[[int | str], Attribute | None]
    """Return the attribute of this id or present or former ident; None if it was never declared."""

    def __init__(
        self,
        facts: _Facts,
        idents: PMap[str, int],
        ident_of: PMap[int, Keyword],
        names: Names,
        by_key: dict[Any, Attribute],
        kinds: Kinds,
    ) -> None:
        self._facts = facts
        self._idents = idents
        self._ident_of = ident_of
        self._names = names
        # A plain dict that never changes: each form of a transaction looks up an attribute.
        self._by_key = by_key
        self.find = by_key.get
        self.references, self.stamps, self._composites = kinds

    def attribute(self, key: int | str) -> Attribute:
        """Return the attribute of this id or ident.

        Raises: DatabaseError(:db.error/not-an-attribute), with the nearest known idents.
        """
        attribute = self._by_key.get(key)
        if attribute is None:
            near = self.nearest(key)
            hint = did_you_mean(near)
            raise DatabaseError(
                ":db.error/not-an-attribute",
                f"no attribute {as_name(key)} is declared{hint}",
                attribute=key,
                nearest=near,
            )
        return attribute

    def nearest(self, key: object) -> list[str]:
        """Return up to three idents of declared attributes that are most similar to `key`."""
        return self._nearest(key, self._by_key, (a.ident for a in self.attributes))

    def nearest_entities(self, key: object) -> list[str]:
        """Return up to three idents of any entities that are most similar to `key`."""
        return self._nearest(key, self._idents, self._ident_of.values())

    def _nearest(self, key: object, known: Container[Any], idents: Iterable[str]) -> list[str]:
        name = as_name(key)
        if f":{name}" in known or name == "db/id":
            return [f":{name}"]
        is_reserved = name.startswith((*_RESERVED, "db/", "db."))  # idents of the system are similar only to such names
        candidates = [ident for ident in idents if ident.startswith(_RESERVED) == is_reserved]
        return difflib.get_close_matches(name, candidates, n=3, cutoff=0.6)

    @property
    def attributes(self) -> list[Attribute]:
        """All attributes, in order of id."""
        return sorted({a.id: a for a in self._by_key.values()}.values(), key=lambda a: a.id)

    def composites_of(self, a: int) -> tuple[Attribute, ...]:
        """Return the composite tuples that attribute `a` is a member of."""
        return self._composites.get(a, ())

    def entid(self, ident: str) -> int | None:
        """Return the entity that has or had this ident; None if there is none."""
        return self._idents.get(ident)

    def ident(self, eid: int) -> Keyword | None:
        """Return the present ident of an entity; None if it has none."""
        return self._ident_of.get(eid)

    def required(self, spec: int) -> dict[str, int | None]:
        """Return the attributes that an entity spec requires: names in the spec → ids; None for no attribute.

        A name in a spec means the attribute that had this name when the spec was transacted.
        """
        names = self.properties(spec).get(ENTITY_ATTRS, ())
        return {name: self._names.meant(spec, ENTITY_ATTRS, name) for name in sorted(names)}

    @property
    def has_composites(self) -> bool:
        """Whether any attribute is a composite tuple."""
        return bool(self._composites)

    def properties(self, eid: int) -> Mapping[int, Any]:
        """Return the system attributes asserted of an entity, by attribute id; many-valued ones as frozensets."""
        return self._facts.get(eid, _NOTHING)

    def plus(self, *transactions: Sequence[Fact]) -> Schema:
        """Return the schema after these transactions; the same object if they have no facts of the schema."""
        for facts in transactions:  # without calls, because every commit does this
            for fact in facts:
                if fact[1] < FIRST_FREE_ID and fact[1] not in OF_TRANSACTIONS:
                    return self._after([of_schema for of_schema in map(_system_facts, transactions) if of_schema])
        return self

    def _after(self, of_schema: Sequence[Sequence[Fact]]) -> Schema:
        """Return the schema after the schema facts of some transactions."""
        changed = {fact[0] for facts in of_schema for fact in facts}
        properties = {e: self._facts.get(e, _NOTHING) for e in changed}
        for e, a, v, _, added in chain.from_iterable(of_schema):
            properties[e] = _with_fact(properties[e], a, v, added)
        named = {v: e for e, a, v, _, added in chain.from_iterable(of_schema) if a == IDENT and added}
        known, idents, names = (
            _updated(self._facts, properties),
            _updated(self._idents, named),
            self._names.plus(of_schema),
        )
        ident_of = _updated(self._ident_of, {e: found[IDENT] for e, found in properties.items() if IDENT in found})
        for e in [e for e, found in properties.items() if IDENT not in found and e in ident_of]:
            ident_of = ident_of.remove(e)
        changed.update(
            composite.id for e in tuple(changed) for composite in self.composites_of(e)
        )  # they contain its ident
        changed.update(names.composites_naming(set(named)))
        # Only changed entries are rebuilt: a schema can have thousands of attributes and idents.
        made = {e: _attribute(e, known, ident_of, names) for e in changed}
        by_key = self._by_key_after(made, known, idents, names)
        kinds = Kinds(self.references, self.stamps, self._composites)
        if by_key is not self._by_key:
            kinds = kinds.after(
                [self._by_key[e] for e in made if e in self._by_key], [a for a in made.values() if a is not None]
            )
        return Schema(known, idents, ident_of, names, by_key, kinds)

    def _by_key_after(
        self, made: Mapping[int, Attribute | None], known: _Facts, idents: PMap[str, int], names: Names
    ) -> dict[Any, Attribute]:
        """Return the attributes by id and by all their names; the same dict if no attribute has changed."""
        entries: dict[Any, Attribute | None] = {}
        for e, attribute in made.items():
            entries[e] = attribute
            given = [*names.former(e), known[e][IDENT]] if IDENT in known[e] else names.former(e)
            entries.update((name, attribute) for name in given if idents.get(name) == e)
        if not any(attribute is not None or key in self._by_key for key, attribute in entries.items()):
            return self._by_key
        by_key = self._by_key.copy()
        for key, attribute in entries.items():
            if attribute is None:
                by_key.pop(key, None)
            else:
                by_key[key] = attribute
        return by_key


class Kinds(NamedTuple):
    """The attributes of a schema by kind: references, stamps and members of composites."""

    references: tuple[int, ...] = ()  # ids, in order
    stamps: tuple[Attribute, ...] = ()  # in order of id
    composites: Mapping[int, tuple[Attribute, ...]] = MappingProxyType({})  # by member

    def after(self, before: Sequence[Attribute], now: Sequence[Attribute]) -> Kinds:
        """Return the kinds after some attributes have replaced others."""
        gone, changed = {attribute.id for attribute in before}, (*before, *now)
        return Kinds(
            self._references(gone, changed, now), self._stamps(gone, changed, now), self._composites(gone, changed, now)
        )

    def _references(self, gone: set[int], changed: Sequence[Attribute], now: Sequence[Attribute]) -> tuple[int, ...]:
        if not any(attribute.is_ref for attribute in changed):
            return self.references
        return tuple(sorted({*self.references} - gone | {attribute.id for attribute in now if attribute.is_ref}))

    def _stamps(self, gone: set[int], changed: Sequence[Attribute], now: Sequence[Attribute]) -> tuple[Attribute, ...]:
        if not any(attribute.stamp is not None for attribute in changed):
            return self.stamps
        kept = [attribute for attribute in self.stamps if attribute.id not in gone]
        return tuple(sorted([*kept, *(each for each in now if each.stamp is not None)], key=lambda each: each.id))

    def _composites(
        self, gone: set[int], changed: Sequence[Attribute], now: Sequence[Attribute]
    ) -> Mapping[int, tuple[Attribute, ...]]:
        members = {member for attribute in changed for member in attribute.members}
        if not members:
            return self.composites
        kept = {m: [each for each in self.composites.get(m, ()) if each.id not in gone] for m in members}
        added = {m: [each for each in now if m in each.members] for m in members}
        return {**self.composites, **{m: (*kept[m], *added[m]) for m in members}}


def _loaded(kind: ValueType, slot: Any) -> Any:
    """Return the value of a stored slot of a tuple."""
    return slot if slot is None or kind.load is None else kind.load(slot)


def _updated(before: PMap[K, V], changes: Mapping[K, V]) -> PMap[K, V]:
    """Return a map with these entries; faster than `update`, which looks up each key three times."""
    evolver = before.evolver()
    for key, value in changes.items():
        evolver[key] = value
    return evolver.persistent()


def _system_facts(facts: Sequence[Fact]) -> list[Fact]:
    """Return the facts of the schema, retractions before the assertions that replace them."""
    system = [fact for fact in facts if fact[1] < FIRST_FREE_ID and fact[1] not in OF_TRANSACTIONS]
    return sorted(system, key=lambda fact: fact[4])


class Names:
    """The entity that a name meant when a fact with that name was transacted; immutable.

    Facts of the schema contain names of attributes, and a name can pass to another attribute later. A name in such a
    fact means the entity that had it at that time; if there was none, the first entity that got it.
    """

    __slots__ = ("_former", "_given", "_naming", "_naming_facts")

    def __init__(
        self,
        given: PMap[str, tuple[tuple[int, int], ...]],
        naming_facts: PMap[tuple[int, int, Any], int],
        former: PMap[int, tuple[str, ...]],
        naming: PMap[str, tuple[int, ...]],
    ) -> None:
        self._given = given  # name → (t, entity) of each assertion of the name, in order of t
        self._naming_facts = naming_facts  # (e, a, v) of a fact with names of attributes → its t
        self._former = former  # entity → its former names
        self._naming = naming  # name → the composite tuples with a member of this name

    def plus(self, transactions: Iterable[Sequence[Fact]]) -> Names:
        """Return the names after the facts of these transactions."""
        given: dict[str, tuple[tuple[int, int], ...]] = {}
        naming_facts, former, naming = self._naming_facts, self._former, self._naming
        for e, a, v, t, added in chain.from_iterable(transactions):
            if a == IDENT and added:
                earlier = given.get(v) or self._given.get(v)
                given[v] = tuple(sorted({*earlier, (t, e)})) if earlier else ((t, e),)
            elif a == IDENT:
                former = former.set(e, (*former.get(e, ()), v))
            elif a in _NAMING:
                key = (e, a, v)
                naming_facts = naming_facts.set(key, t) if added else naming_facts.discard(key)
                for name in v if a == TUPLE_ATTRS and added else ():
                    naming = naming.set(name, (*naming.get(name, ()), e))
        return Names(_updated(self._given, given), naming_facts, former, naming)

    def former(self, e: int) -> tuple[str, ...]:
        """Return the former names of an entity."""
        return self._former.get(e, ())

    def composites_naming(self, given: Set[Any]) -> set[int]:
        """Return the composite tuples with a member of any of these names."""
        return {e for name in given for e in self._naming.get(name, ())}

    def meant(self, e: int, a: int, v: Any, name: str | None = None) -> int | None:
        """Return the entity that a fact names by its value, or by `name`, a part of it; None if there is none."""
        given = self._given.get(v if name is None else name, ())
        t = self._naming_facts.get((e, a, v), 0)
        by_then = [eid for since, eid in given if since <= t]
        return by_then[-1] if by_then else given[0][1] if given else None


_NAMING: Final = frozenset({TUPLE_ATTRS, ENTITY_ATTRS})


def _with_fact(properties: Mapping[int, Any], a: int, v: Any, added: bool) -> Mapping[int, Any]:
    if a in _MANY_VALUED:
        values = properties.get(a, frozenset())
        return {**properties, a: values | {v} if added else values - {v}}
    return {**properties, a: v} if added else {key: value for key, value in properties.items() if key != a}


def _attribute(
    eid: int, known: Mapping[int, Mapping[int, Any]], ident_of: Mapping[int, Keyword], names: Names
) -> Attribute | None:
    """Return the attribute with the properties of an entity; None if the entity is not an attribute."""
    properties = known[eid]
    ident, value_type, cardinality = properties.get(IDENT), properties.get(VALUE_TYPE), properties.get(CARDINALITY)
    if ident is None or value_type is None or cardinality is None:
        return None
    unique = properties.get(UNIQUE)
    tuple_type = properties.get(TUPLE_TYPE)
    named = properties.get(TUPLE_ATTRS, ())
    members = tuple(member for name in named if (member := names.meant(eid, TUPLE_ATTRS, named, name)) is not None)
    return Attribute(
        id=eid,
        ident=ident,
        value_type=VALUE_TYPES[ident_of[value_type]],
        many=ident_of[cardinality] == CARDINALITY_MANY,
        unique=None if unique is None else ident_of[unique],
        index=bool(properties.get(INDEX)),
        is_component=bool(properties.get(IS_COMPONENT)),
        no_history=bool(properties.get(NO_HISTORY)),
        fulltext=bool(properties.get(FULLTEXT)),
        stamp=ident_of.get(properties.get(STAMP, -1)),
        doc=properties.get(DOC),
        preds=tuple(sorted(properties.get(ATTR_PREDS, frozenset()) - {INSERT_ONLY, CAS_ONLY})),
        insert_only=INSERT_ONLY in properties.get(ATTR_PREDS, ()),
        cas_only=CAS_ONLY in properties.get(ATTR_PREDS, ()),
        members=members,
        tuple_attrs=tuple(ident_of.get(member, name) for member, name in zip(members, named, strict=False)),
        member_types=tuple(
            VALUE_TYPES[ident_of[known[member][VALUE_TYPE]]] for member in members if VALUE_TYPE in known[member]
        ),
        tuple_types=tuple(VALUE_TYPES[name] for name in properties.get(TUPLE_TYPES, ())),
        tuple_type=None if tuple_type is None else VALUE_TYPES[tuple_type],
    )


EMPTY: Final = Schema(pmap(), pmap(), pmap(), Names(pmap(), pmap(), pmap(), pmap()), {}, Kinds())
