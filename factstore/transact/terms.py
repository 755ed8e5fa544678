"""Terms: the names of entities, attributes and values in a form, read with the database before the transaction.

    entity = id | ident | [unique-attribute value] | tempid | "datomic.tx"        tempid = string | negative int

All terms except tempids become ids here. A tempid becomes a *slot*, a negative int. So every int is either an entity
(>= 0) or a slot, and the later stages process plain ints only.
Law: an invalid term is reported as a problem with its place, and reading continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from factstore.datom import USER_BASE, tx_of
from factstore.db.database import Database
from factstore.errors import SchemaError
from factstore.schema.attribute import (
    ATTR_PREDS,
    CARDINALITY,
    ENSURE,
    ENTITY_PREDS,
    INSTALL_ATTRIBUTE,
    STAMP,
    TUPLE_ATTRS,
    TUPLE_TYPE,
    TUPLE_TYPES,
    UNIQUE,
    VALUE_TYPE,
    Attribute,
)
from factstore.schema.bootstrap import ENUM_IDS
from factstore.schema.hints import NO_FUNCTIONS, declaration_of, hint_for
from factstore.transact.before import Holders
from factstore.transact.forms import Place, Problems, shown
from factstore.transact.stages import NO_SLOTS, NOT_SPECIAL, Entity, EntityId, OfSlots, Slot, Special
from factstore.values.quoting import as_name, did_you_mean, quoted
from factstore.values.types import ANOTHER_TYPE, Keyword, Stored, Symbol, ValueType, plain

NAMES: Final = frozenset({str, Keyword, int})  # the exact types that can name an attribute
TRANSACTION: Final = "datomic.tx"
_RESERVED: Final = "datomic"

ENUMS: Final = {
    a: {name: eid for name, eid in ENUM_IDS.items() if name.startswith(prefix)}
    for a, prefix in (
        (VALUE_TYPE, ":db.type/"),
        (CARDINALITY, ":db.cardinality/"),
        (UNIQUE, ":db.unique/"),
        (STAMP, ":db.stamp/"),
    )
}
_IMPLIED: Final = frozenset({":db.alter/attribute", ":db.install/partition"})
_CALLED_BY_NAME: Final = frozenset({ATTR_PREDS, ENTITY_PREDS})
_SHAPES: Final = frozenset({TUPLE_ATTRS, TUPLE_TYPES, TUPLE_TYPE})


class Terms:
    """The reader of the terms of one transaction, and the slots of its tempids."""

    __slots__ = (
        "_forms",
        "_holders",
        "_problems",
        "db",
        "find",
        "first_fresh",
        "named",
        "schema",
        "slot_claims",
        "slots",
        "special",
        "tx",
    )

    def __init__(self, db: Database, forms: Sequence[Any]) -> None:
        self.db = db
        self.schema = db.schema
        self.find = db.schema.find
        self._forms = forms
        self._holders: Holders | None = None
        self._problems: Problems | None = None
        self.first_fresh = USER_BASE | db.next_n  # the first entity id that this transaction may create
        self.tx = EntityId(tx_of(db.basis_t + 1))
        self.named: dict[str | int, Slot] = {}  # tempids of the caller → slots
        self.slots = 0  # number of slots: -1, -2, …
        self.slot_claims: OfSlots = NO_SLOTS
        self.special: Special[Entity] = NOT_SPECIAL

    @property
    def holders(self) -> Holders:
        """The holders of unique values in the database before; each value is looked up once."""
        if self._holders is None:
            self._holders = Holders(self.db)
        return self._holders

    def own_slot_claims(self) -> OfSlots:
        """Return the claims about slots, to add one."""
        if self.slot_claims is NO_SLOTS:
            self.slot_claims = OfSlots()
        return self.slot_claims

    def own_special(self) -> Special[Entity]:
        """Return the special claims, to add one."""
        if self.special is NOT_SPECIAL:
            self.special = Special()
        return self.special

    # -- problems

    @property
    def problems(self) -> Problems:
        """The problems found so far."""
        if self._problems is None:
            self._problems = Problems(self._forms, self.schema)
        return self._problems

    def raise_any(self) -> None:
        """Raise the problems of the stages so far. Raises: TransactError."""
        if self._problems is not None:
            self._problems.raise_any()

    # -- entities

    def new_slot(self) -> Slot:
        """Return a new slot."""
        self.slots += 1
        return -self.slots  # type: ignore[return-value]

    def slot(self, tempid: str | int) -> Slot:
        """Return the slot of a tempid."""
        slot = self.named.get(tempid)
        if slot is None:
            slot = self.named[tempid] = self.new_slot()
        return slot

    def name_of(self, slot: int) -> str:
        """Return the name that the caller used for a slot, for messages."""
        for name, other in self.named.items():
            if other == slot:
                return f"tempid {quoted(name)}"
        for other, ident, _, _ in self.slot_claims.foretold:
            if other == slot:
                return str(ident)
        return "a map without :db/id"

    def entity(self, term: Any, place: Place, attribute: Attribute | None = None, *, must_exist: bool = True) -> Entity:
        """Return the entity id or slot of a term; for an invalid term, report the problem and return a new slot.

        Args:
            attribute: the attribute of which the term is the value; None if the term is the subject of a form.
            must_exist: whether an id that was never assigned is a problem; it is none in a retraction.
        """
        kind = term.__class__
        if kind is int:
            if USER_BASE <= term < self.first_fresh:
                return term  # type: ignore[no-any-return]
            return self._numbered(term, place, attribute, must_exist)
        if kind is Keyword or (kind is str and term[:1] == ":"):
            return self._ident(term, place, attribute)
        if kind is str:
            return self._tempid(term, place, attribute)
        if kind is list or kind is tuple:
            return self.lookup(term, place, attribute)
        eid = getattr(term, "eid", None)  # an entity as `factstore.entity` returns it
        if type(eid) is int:
            return EntityId(eid)
        same = plain(term)
        if type(same) in NAMES:
            return self.entity(same, place, attribute, must_exist=must_exist)
        return self._no_entity(term, place, attribute)

    def _numbered(self, term: int, place: Place, attribute: Attribute | None, must_exist: bool) -> Entity:
        if term < 0:
            return self.slot(term)
        if not must_exist or self.db.was_minted(term):
            return EntityId(term)
        return self._problem(
            ":db.error/invalid-entity-id",
            f"expected the id of an entity of this database, got {quoted(term)}, which was never assigned; "
            'a new entity gets its id from a tempid: a string, or no ":db/id" at all',
            place,
            attribute,
            got=term,
        )

    def _ident(self, term: str, place: Place, attribute: Attribute | None) -> Entity:
        eid = self.schema.entid(term)
        if eid is not None:
            return eid  # type: ignore[return-value]
        # Another form may assert the ident; its entity is known when all forms are read.
        slot = self.new_slot()
        self.own_slot_claims().foretold.append((slot, term, place, attribute))
        return slot

    def unknown_ident(self, term: str, place: Place, attribute: Attribute | None) -> None:
        """Report an ident that no entity has."""
        is_spec = attribute is not None and attribute.id == ENSURE
        near = self.problems.similar(self.schema.nearest_entities, term)
        hint = did_you_mean(near)
        self.problems.add(
            ":db.error/not-an-entity-spec" if is_spec else ":db.error/not-an-entity",
            f"expected the ident of an entity{' spec' * is_spec}, got {as_name(term)}, which names nothing{hint}",
            place,
            attribute,
            got=term,
            what="ident",
            nearest=near,
        )

    def _tempid(self, term: str, place: Place, attribute: Attribute | None) -> Entity:
        if term == TRANSACTION:
            return self.tx
        if term.startswith(_RESERVED):
            return self._problem(
                ":db.error/invalid-tempid",
                f'tempids that begin with "{_RESERVED}" are reserved; "{TRANSACTION}" is the transaction, '
                f"got {quoted(term)}",
                place,
                attribute,
                got=term,
            )
        return self.slot(term)

    def _no_entity(self, term: Any, place: Place, attribute: Attribute | None) -> Slot:
        if attribute is None:
            expected = "an entity id, an ident, a lookup ref or a tempid"
            return self._problem(
                ":db.error/invalid-tx-form", f"expected {expected} as the entity, got {shown(term)}", place, None,
                expected=expected, got=term,
            )  # fmt: skip
        self.wrong_type(attribute, term, place)
        return self.new_slot()

    def _problem(self, code: str, message: str, place: Place, attribute: Attribute | None, **data: Any) -> Slot:
        self.problems.add(code, message, place, attribute, **data)
        return self.new_slot()

    def is_lookup(self, term: Any) -> bool:
        """Return whether a list is a lookup ref, not two references: of two items, the first is a unique attribute."""
        if len(term) != 2 or not isinstance(term, list | tuple) or not isinstance(term[0], str):
            return False
        attribute = self.find(term[0])
        return attribute is not None and attribute.unique is not None

    def lookup(self, ref: Sequence[Any], place: Place, attribute: Attribute | None = None) -> Entity:
        """Return the entity of a lookup ref in the database before the transaction."""
        if len(ref) != 2 or type(plain(ref[0])) not in NAMES or ref[1] is None:
            return self._problem(
                ":db.error/invalid-lookup-ref",
                f"expected a lookup ref [unique-attribute value], got {shown(ref)}",
                place,
                attribute,
                got=ref,
            )
        key = self.attribute(ref[0], ref[1], place)
        if key is None:
            return self.new_slot()
        if key.unique is None:
            return self._problem(
                ":db.error/lookup-ref-attr-not-unique",
                f"a lookup ref needs a unique attribute, {key.ident} in {quoted(ref)} has no :db/unique",
                place,
                attribute,
                got=ref,
            )
        return self._holder(key, ref, place, attribute)

    def _holder(self, key: Attribute, ref: Sequence[Any], place: Place, attribute: Attribute | None) -> Entity:
        """Return the entity of a lookup ref with a unique attribute."""
        problems_before = len(self.problems.found)
        value = self.entity(ref[1], place, key) if key.is_ref else self.stored(key, ref[1], place)
        if len(self.problems.found) > problems_before:
            return self.new_slot()
        if key.is_ref and value is not None and value < 0:
            return self._problem(
                ":db.error/invalid-lookup-ref",
                f"a lookup ref cannot contain an entity that this transaction creates, got {quoted(ref)}",
                place,
                attribute,
                got=ref,
            )
        holders = self.db.view.holders_of(key.id, value)
        if holders:
            return holders[0]  # type: ignore[return-value]
        return self._problem(
            ":db.error/not-an-entity",
            f"no entity has {key.ident} {quoted(ref[1])} in the database before this transaction; "
            "use the tempid of an entity that this transaction creates",
            place,
            attribute,
            got=ref,
            what="lookup-ref",
        )

    # -- attributes

    def attribute(self, key: Any, value: Any, place: Place) -> Attribute | None:
        """Return the attribute that a key names; if there is none, report the problem and return None.

        Args:
            value: the value in the form, used to suggest a declaration.
        """
        attribute = self.find(key) or self.implied(key) if type(key) in NAMES else self.named_otherwise(key)
        if attribute is None:
            self._unknown_attribute(key, value, place)
        return attribute

    def named_otherwise(self, key: Any) -> Attribute | None:
        """Return the attribute of a key that is not exactly a str or an int, such as a member of an enumeration."""
        same = plain(key)
        return self.find(same) if type(same) in NAMES else None

    def implied(self, key: Any) -> Attribute | None:
        """Return the attribute for a Datomic attribute that requests what happens anyway, and that creates no datom."""
        return self.find(INSTALL_ATTRIBUTE) if key in _IMPLIED else None

    def _unknown_attribute(self, key: Any, value: Any, place: Place) -> None:
        if type(key) not in NAMES:
            self.problems.add(
                ":db.error/not-an-entity",
                f"expected an attribute's ident or id, got {shown(key)}",
                place,
                what="attribute",
                got=key,
            )
            return
        near = self.problems.similar(self.schema.nearest, key)
        self.problems.add(
            ":db.error/not-an-entity",
            f"{as_name(key)} is not an attribute of the database before this transaction"
            f"{hint_for(key, value, self.problems.declared, near)}",
            place,
            what="attribute",
            got=key,
            value=value,
            nearest=near,
            declaration=declaration_of(key, value, near),
        )

    # -- values

    def stored(self, attribute: Attribute, value: Any, place: Place) -> Stored | None:
        """Return the stored form of a value; if the attribute cannot have it, report the problem and return None."""
        if attribute.is_ref:
            return self.reference(attribute, value, place)
        if attribute.is_tuple:
            return self._tuple(attribute, value, place)
        try:
            if attribute.id in _CALLED_BY_NAME and type(value) is str:
                return attribute.value_type.store(Symbol(value))
            return attribute.value_type.store(value)
        except ValueError as why:
            self.wrong_type(attribute, value, place, str(why))
            return None

    def reference(self, attribute: Attribute, value: Any, place: Place) -> Entity | None:
        """Return the entity or slot that a reference points to; if invalid, report the problem and return None."""
        if value.__class__ is int and USER_BASE <= value < self.first_fresh:
            return value  # type: ignore[return-value]
        if attribute.id in ENUMS:
            return self._enum(attribute, value, place)
        eid = self.entity(value, place, attribute)
        if eid < 0:
            self.own_slot_claims().values.append((eid, attribute, place))  # type: ignore[arg-type]
        return eid

    def _enum(self, attribute: Attribute, value: Any, place: Place) -> EntityId | None:
        """Return the id of a value of :db/valueType, :db/cardinality, :db/unique or :db/stamp."""
        allowed = ENUMS[attribute.id]
        named = plain(value)
        name = self.schema.ident(named) if type(named) is int else named
        if isinstance(name, str) and name in allowed:
            return EntityId(allowed[name])
        self.problems.add(
            ":db.error/invalid-install-attribute",
            f"{attribute.ident} takes one of {', '.join(allowed)}; got {shown(value)}"
            + f"; {NO_FUNCTIONS}" * (isinstance(name, str) and name == ":db.type/fn"),
            place,
            attribute,
            SchemaError,
            expected=tuple(allowed),
            got=value,
        )
        return None

    def _tuple(self, attribute: Attribute, value: Any, place: Place) -> tuple[Any, ...] | None:
        if not isinstance(value, list | tuple):
            self.wrong_type(attribute, value, place)
            return None
        types = attribute.tuple_slot_types
        wanted = "2 to 8" if attribute.tuple_type or not types else str(len(types))
        if not (2 <= len(value) <= 8) or (wanted != "2 to 8" and len(value) != len(types)):
            self._invalid_tuple(
                attribute, value, place, f"a tuple of {wanted} slots", f"{len(value)} slots in {shown(value)}"
            )
            return None
        slots = []
        for i, slot in enumerate(value):
            slot_type = types[i % len(types)]
            try:
                slots.append(None if slot is None else self._tuple_slot(slot_type, slot, attribute, place))
            except ValueError as why:
                reason = "" if str(why) == ANOTHER_TYPE else f": {why}"
                self._invalid_tuple(attribute, value, place, f"{slot_type.wants} in slot {i}", f"{shown(slot)}{reason}")
                return None
        return tuple(slots)

    def _tuple_slot(self, slot_type: ValueType, slot: Any, attribute: Attribute, place: Place) -> Stored:
        if slot_type.name != "ref":
            return slot_type.store(slot)
        if isinstance(slot, str) and slot[:1] == ":":
            eid = self.schema.entid(slot)
            if eid is None:
                self.unknown_ident(slot, place, attribute)
            return eid
        eid = self.entity(slot, place, attribute)
        if type(plain(slot)) in (str, int) and eid < 0:
            raise ValueError("a tempid")
        return eid

    def _invalid_tuple(self, attribute: Attribute, value: Any, place: Place, expected: str, got: str) -> None:
        code, kind = ":db.error/invalid-tuple-value", None
        if attribute.id in _SHAPES:
            code, kind = ":db.error/invalid-tuple-attrs", SchemaError
        more = {} if kind is None else {"kind": kind}
        self.problems.add(
            code,
            f"{attribute.ident} takes {expected}, got {got}",
            place,
            attribute,
            expected=expected,
            got=value,
            **more,
        )

    def wrong_type(self, attribute: Attribute, value: Any, place: Place, why: str = ANOTHER_TYPE) -> None:
        """Report that an attribute cannot have a value."""
        expected = attribute.value_type.wants
        if value is None:
            self.problems.add(
                ":db.error/nil-value",
                f"{attribute.ident} takes {expected}, got None; retract the fact, or leave it out",
                place,
                attribute,
                expected=expected,
                got=None,
            )
            return
        reason = "" if why == ANOTHER_TYPE else f": {why}"
        self.problems.add(
            ":db.error/wrong-type-for-attribute",
            f"{attribute.ident} takes {expected}, got {shown(value)}{reason}",
            place,
            attribute,
            expected=expected,
            got=value,
        )
