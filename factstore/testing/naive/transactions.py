"""The facts after a transaction, by the simplest model that can be right: a set of facts, and loops over all of them.

A transaction is a set of forms that reads the facts before it. The model has no order of forms, no indexes, no stages.

    facts_of(db) ──► after(facts, tx_data, db) ──► the facts, or Rejected

New entities are named by the set of their tempids, because the model assigns no ids; `renamed` replaces the names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from factstore import registry
from factstore.db.database import Database
from factstore.errors import FactStoreError
from factstore.schema.attribute import FIRST_FREE_ID, Attribute
from factstore.testing.naive.list_forms import Invalid, ListForm, NotModelled, list_forms
from factstore.transact.report import TxReport
from factstore.values.types import Stored

__all__ = ["Facts", "NotModelled", "Rejected", "after", "alike", "facts_of", "modelled", "renamed"]

Entity: TypeAlias = Any  # an id; for a new entity, the frozenset of its tempids
Fact: TypeAlias = tuple[Entity, str, Stored]
Facts: TypeAlias = frozenset[Fact]
TRANSACTION: Final = "datomic.tx"
_ADDING: Final = (":db/add", ":db/cas")


class Rejected(Exception):
    """The model does not accept a transaction."""


class Form(NamedTuple):
    """A list form whose attribute and values were read; entities can still be tempids."""

    op: str
    e: Any
    a: str = ""
    v: Any = None
    old: Any = None  # of :db/cas
    is_valued: bool = True  # False for a retraction of all values


def modelled(db: Database) -> list[Attribute]:
    """Return the attributes of users, without those that the store itself asserts."""
    return [a for a in db.schema.attributes if a.id >= FIRST_FREE_ID and a.stamp is None]


def facts_of(db: Database) -> Facts:
    """Return the facts of users in a database."""
    return frozenset((d.e, str(a.ident), _hashable(a, d.v)) for a in modelled(db) for d in db.datoms("aevt", a.id))


def _hashable(attribute: Attribute, value: Any) -> Any:
    """Return the stored form of a value that was read."""
    return attribute.store(value, lambda e: e)


def after(facts: Facts, tx_data: Any, db: Database) -> Facts:
    """Return the facts after a transaction.

    Args:
        facts: those before it.
        db: the database before it, for its schema and the ids of its entities, and for transaction functions.
    Raises: Rejected; NotModelled.
    """
    try:
        return _after(facts, list_forms(db, tx_data), db)
    except (FactStoreError, Invalid) as error:
        raise Rejected(str(error)) from error


def _after(facts: Facts, forms: Sequence[ListForm], db: Database) -> Facts:
    reader = _Reader(facts, db)
    read = [form for form in map(reader.read, forms) if form is not None]
    who = _resolved(facts, read, reader)
    settled = [form._replace(e=who.get(form.e, form.e), v=reader.settled(form, who)) for form in read]
    for form in settled:
        if form.op == ":db/cas":
            _require({v for e, a, v in facts if (e, a) == (form.e, form.a)} == ({form.old} - {None}), "cas")
    added = {(form.e, form.a, form.v) for form in settled if form.op in _ADDING}
    gone = _gone(facts, settled, db)
    _require(not added & gone, "asserted and retracted")
    single = [fact for fact in added if not db.schema.attribute(fact[1]).many]
    _require(len({fact[:2] for fact in single}) == len(single), "two values")
    replaced = {fact[:2] for fact in single}
    result = _composed({fact for fact in facts - gone if fact[:2] not in replaced} | added, db)
    _check_unique(result, db)
    return result


def _gone(facts: Facts, settled: Sequence[Form], db: Database) -> set[Fact]:
    """Return the facts that retractions name, whether they exist or not."""
    retractions = [form for form in settled if form.op == ":db/retract"]
    whole = {(form.e, form.a) for form in retractions if not form.is_valued}
    gone = {(form.e, form.a, form.v) for form in retractions if form.is_valued}
    gone |= {fact for fact in facts if fact[:2] in whole}
    for form in settled:
        if form.op == ":db/retractEntity":
            gone |= _belongings(facts, form.e, db)
    return gone


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise Rejected(why)


def _check_unique(facts: Facts, db: Database) -> None:
    unique = {str(a.ident) for a in db.schema.attributes if a.unique is not None}
    values = [(a, v) for _, a, v in facts if a in unique]
    _require(len(set(values)) == len(values), "unique")


class _Reader:
    """Reads the terms of list forms."""

    def __init__(self, facts: Facts, db: Database) -> None:
        self._facts = facts
        self._db = db

    def read(self, form: ListForm) -> Form | None:
        """Return a form with its terms read; None if there is nothing to do."""
        op, length = form[0], len(form)
        _require(length in {":db/add": (4,), ":db/cas": (5,), ":db/retract": (3, 4), ":db/retractEntity": (2,)}[op], op)
        if op == ":db/retractEntity":
            e = self._entity(form[1], must_exist=False)
            return None if e is None else Form(op, e)
        attribute = self._attribute(form[2])
        e = self._entity(form[1], must_exist=op != ":db/retract")
        _require(e is not None, "no entity")
        if op == ":db/retract":
            _require(not attribute.tuple_attrs, "composite")
            v = self._value(attribute, form[3], must_exist=False) if length == 4 else None
            return Form(op, e, str(attribute.ident), v, is_valued=length == 4)
        if attribute.tuple_attrs or attribute.insert_only or attribute.cas_only:
            raise NotModelled(str(attribute.ident))
        _require(op == ":db/add" or not attribute.many, "cas of many")
        v = self._value(attribute, form[-1])
        for name in attribute.preds:
            predicate = registry.lookup(name)
            _require(predicate is not None and predicate(attribute.load(v)) is True, name)
        old = self._value(attribute, form[3]) if op == ":db/cas" and form[3] is not None else None
        return Form(op, e, str(attribute.ident), v, old)

    def settled(self, form: Form, who: Mapping[Any, Entity]) -> Any:
        """Return the value of a form, with the entity of a tempid in its place."""
        return who.get(form.v, form.v) if form.a and self._attribute(form.a).is_ref else form.v

    def is_identity(self, a: str) -> bool:
        return self._attribute(a).is_identity

    def is_ref(self, a: str) -> bool:
        return bool(a) and self._attribute(a).is_ref

    def _attribute(self, key: Any) -> Attribute:
        attribute = self._db.schema.find(key) if isinstance(key, str | int) else None
        if attribute is None:
            raise Rejected(f"no attribute {key}")
        if attribute.id < FIRST_FREE_ID or attribute.stamp is not None:
            raise NotModelled(str(attribute.ident))
        return attribute

    def _entity(self, term: Any, *, must_exist: bool = True) -> Any:
        """Return the id of an entity, or a tempid; None for a name without an entity that need not exist."""
        if isinstance(term, list | tuple):
            return self._holder(term, must_exist)
        if type(term) is int:
            _require(term < 0 or not must_exist or self._db.was_minted(term), "an id that was never assigned")
            return term
        _require(isinstance(term, str), "no entity")
        if not term.startswith(":"):
            _require(term == TRANSACTION or not term.startswith("datomic"), "a reserved tempid")
            return str(term)
        e = self._db.schema.entid(term)
        _require(e is not None or not must_exist, "no ident")
        return e

    def _holder(self, ref: Sequence[Any], must_exist: bool) -> int | None:
        _require(len(ref) == 2 and ref[1] is not None, "no lookup ref")
        attribute = self._attribute(ref[0])
        _require(attribute.unique is not None, "no unique attribute")
        v = self._value(attribute, ref[1])
        holders = [e for e, a, w in self._facts if (a, w) == (str(attribute.ident), v)]
        _require(bool(holders) or not must_exist, "no entity has the value")
        return holders[0] if holders else None

    def _value(self, attribute: Attribute, value: Any, *, must_exist: bool = True) -> Any:
        if attribute.is_ref:
            _require(value is not None, "nil")
            return self._entity(value, must_exist=must_exist)
        types = attribute.tuple_slot_types
        if attribute.is_tuple:
            _require(isinstance(value, list | tuple) and 2 <= len(value) <= 8, "no tuple")
            _require(attribute.tuple_type is not None or len(value) == len(types), "slots")
        try:
            return attribute.store(value, self._entity)
        except ValueError as error:
            raise Rejected(str(error)) from error


def _is_tempid(term: Any) -> bool:
    return (isinstance(term, str) and term != TRANSACTION) or (type(term) is int and term < 0)


def _resolved(facts: Facts, forms: Sequence[Form], reader: _Reader) -> dict[Any, Entity]:
    """Return the entity of each tempid: an id, or the set of all tempids that are one new entity."""
    terms = [form.e for form in forms] + [form.v for form in forms if reader.is_ref(form.a)]
    names = {term for term in terms if _is_tempid(term)}
    who: dict[Any, Entity] = {name: frozenset({name}) for name in names}
    claims = [form for form in forms if form.op in _ADDING and form.e in names and reader.is_identity(form.a)]
    while True:
        same = _united(facts, claims, who, reader)
        if same is None:
            break
        united = _one_entity(same)
        who = {name: united if e in same else e for name, e in who.items()}
    made = {who.get(form.e) for form in forms if form.op in _ADDING}
    _require(all(e in made for e in who.values() if isinstance(e, frozenset)), "nothing is asserted of a tempid")
    return {TRANSACTION: frozenset({TRANSACTION}), **who}


def _united(facts: Facts, claims: Sequence[Form], who: Mapping[Any, Entity], reader: _Reader) -> set[Entity] | None:
    """Return entities that differ so far and are one by an identity; None if there are none."""
    identities = [(who[claim.e], claim.a, reader.settled(claim, who)) for claim in claims]
    for _, a, v in identities:
        same = {f for f, b, w in (*facts, *identities) if (b, w) == (a, v)}
        if len(same) > 1:
            return same
    return None


def _one_entity(same: set[Entity]) -> Entity:
    """Return the entity that several are: the old one among them, or the new one with all their tempids."""
    old = [e for e in same if not isinstance(e, frozenset)]
    _require(len(old) <= 1, "two entities of one tempid")
    return old[0] if old else frozenset().union(*same)


def _belongings(facts: Facts, e: Entity, db: Database) -> set[Fact]:
    """Return the facts that are retracted with an entity."""
    schema = db.schema
    parts, more = {e}, {e}
    while more:
        more = {v for f, a, v in facts if schema.attribute(a).is_component and f in parts} - parts
        parts |= more
    own = {(f, a, v) for f, a, v in facts if f in parts or (schema.attribute(a).is_ref and v in parts)}
    return {fact for fact in own if not schema.attribute(fact[1]).tuple_attrs}


def _composed(facts: set[Fact], db: Database) -> Facts:
    """Return the facts with each composite tuple as its members determine it."""
    composites = [a for a in db.schema.attributes if a.tuple_attrs]
    names = {str(a.ident) for a in composites}
    plain = {fact for fact in facts if fact[1] not in names}
    values = {(e, a): v for e, a, v in plain}
    for composite in composites:
        members = [str(db.schema.attribute(member).ident) for member in composite.members]
        for e in {e for e, _, _ in plain}:
            slots = tuple(values.get((e, member)) for member in members)
            if any(slot is not None for slot in slots):
                plain.add((e, str(composite.ident), slots))
    return frozenset(plain)


# -- the names of new entities


def renamed(facts: Facts, report: TxReport) -> Facts:
    """Return the facts with the ids that a report assigns to tempids; other new entities keep their names."""
    ids = {TRANSACTION: report.tx_data[0].e, **report.tempids}

    def eid(x: Any) -> Any:
        if isinstance(x, frozenset):
            return next((ids[name] for name in x if name in ids), x)
        return tuple(map(eid, x)) if isinstance(x, tuple) else x

    return frozenset((eid(e), a, eid(v)) for e, a, v in facts)


def alike(expected: Facts, found: Facts) -> bool:
    """Return whether the facts are the same up to the ids of new entities, which `expected` names by sets of tempids.

    Entities are compared by their facts and those of their neighbours, so this can be True for facts that differ only
    in their distant neighbours.
    """
    known = {term for fact in expected for term in (fact[0], fact[2]) if type(term) is int}
    new = {e for e, _, _ in found if e not in known}
    return _shapes(expected, {e for e, _, _ in expected if isinstance(e, frozenset)}) == _shapes(found, new)


def _shapes(facts: Facts, new: set[Entity]) -> Counter[Any]:
    """Return the facts with new entities replaced by what is known about them."""
    shapes: dict[Entity, Any] = dict.fromkeys(new, 0)
    for _ in range(3):
        about: dict[Entity, list[Any]] = {e: [] for e in new}
        for e, a, v in facts:
            if e in new:
                about[e].append((a, "of", shapes.get(v, v)))
            if v in new:
                about[v].append((a, "from", shapes.get(e, e)))
        shapes = {e: hash(frozenset(Counter(shape).items())) for e, shape in about.items()}
    return Counter((shapes.get(e, e), a, shapes.get(v, v)) for e, a, v in facts)
