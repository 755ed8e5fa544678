"""Expansion: list forms, maps, nested maps, reverse attributes and calls of functions become claims.

    claim = (entity or slot, attribute, stored value or slot, place)

After this stage, only the entities of tempids are unknown. Law: different forms of the same facts have the same claims.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pyrsistent import pmap

from factstore import registry
from factstore.db.database import Database
from factstore.errors import DatabaseError
from factstore.schema.attribute import (
    DOC,
    ENSURE,
    EXCISE,
    EXCISE_BEFORE,
    FIRST_FREE_ID,
    IDENT,
    INSTALL_ATTRIBUTE,
    OF_TRANSACTIONS,
    TX_INSTANT,
    VALUE_TYPE,
    Attribute,
)
from factstore.schema.class_fields import is_instance, map_of
from factstore.schema.reverse import forward_of
from factstore.transact.forms import Call, Place, shown, steps_of
from factstore.transact.registered_functions import MAX_DEPTH, MAX_INNER_CALLS, Functions, forms_of
from factstore.transact.stages import ALL, REST, Claim, Entity, Slot
from factstore.transact.terms import ENUMS, NAMES, Terms
from factstore.values.quoting import did_you_mean
from factstore.values.types import Stored

ID: Final = ":db/id"
MAX_STEPS: Final = 4000  # from a form to a nested map
_COLLECTIONS: Final = (list, tuple, set, frozenset)
_STRUCTURED: Final = frozenset(
    {*_COLLECTIONS, dict, type(pmap())}
)  # exact types, for speed; a map inside a set is read as a pmap
# A change of these attributes does not change the schema.
_NO_SCHEMA: Final = (OF_TRANSACTIONS | {DOC, ENSURE, INSTALL_ATTRIBUTE}) - {EXCISE, EXCISE_BEFORE}


class Claims(Terms):
    """The claims of a transaction, and the reader that collects them."""

    __slots__ = (
        "_functions",
        "_inner_calls",
        "_instances",
        "_none_retracts",
        "_pending",
        "asserted",
        "subjects",
        "touches_schema",
    )

    def __init__(
        self, db: Database, forms: Sequence[Any], functions: Functions, *, none_retracts: bool = False
    ) -> None:
        super().__init__(db, forms)
        self._none_retracts = none_retracts
        self._instances: dict[
            int, tuple[Entity, Any]
        ] = {}  # by id(): entity of each dataclass instance, which is kept alive
        self.asserted: list[Claim] = []
        self.subjects: set[Entity] = set()  # slots that are the subject of an assertion
        self.touches_schema = False
        self._functions = functions
        self._inner_calls = 0  # calls of functions in the forms that functions returned
        self._pending: list[
            tuple[Any, Place, Entity | None]
        ] = []  # nested maps (with their entity) and forms of functions

    # -- forms

    def read(self, form: Any, place: Place) -> None:
        """Read one form, and all forms that are nested in it or returned by the functions that it calls."""
        self._form(form, place)
        while self._pending:
            inner, where, e = self._pending.pop()
            if e is None:
                self._form(inner, where)
            else:
                self._attributes(e, inner, where)

    def _form(self, form: Any, place: Place) -> None:
        kind = form.__class__
        if kind is list or kind is tuple:
            op = form[0] if form else None
            verb = VERBS.get(op) if isinstance(op, str) else None
            if verb is not None:
                verb(self, form, place)
            else:
                self._call(form, place)
        elif isinstance(form, Mapping):
            self._attributes(self._subject(form, place), form, place)
        elif is_instance(form):
            self._instance(form, place)
        else:
            self._invalid(form, place, "a map, or a list that begins with an operation such as :db/add")

    def _invalid(self, form: Any, place: Place, expected: str) -> None:
        self.problems.add(
            ":db.error/invalid-tx-form", f"expected {expected}, got {shown(form)}", place, expected=expected, got=form
        )

    def _add(self, form: Sequence[Any], place: Place) -> None:
        if len(form) != 4:
            return self._invalid(form, place, "[:db/add entity attribute value]")
        _, term, key, value = form
        e = self.entity(term, place)
        attribute = (self.find(key) if type(key) in NAMES else None) or self.attribute(key, value, place)
        if attribute is None:
            return None
        if e < 0:
            self.subjects.add(e)
        return self._assert(e, attribute, value, place)

    def _retract(self, form: Sequence[Any], place: Place) -> None:
        if len(form) not in (3, 4):
            return self._invalid(form, place, f"[{form[0]} entity attribute] or [{form[0]} entity attribute value]")
        e = self.entity(form[1], place, must_exist=False)
        attribute = self.attribute(form[2], form[3] if len(form) == 4 else None, place)
        if attribute is None or attribute.id in (ENSURE, INSTALL_ATTRIBUTE):
            return None
        value = ALL if len(form) == 3 else self._retractable(attribute, form[3], place)
        return self._retract_value(e, attribute, value, place)

    def _retract_value(self, e: Entity, attribute: Attribute, value: Stored | None, place: Place) -> None:
        if attribute.tuple_attrs:
            self._written_by_hand(attribute, place)
        elif value is not None:
            self.touches_schema |= attribute.id < FIRST_FREE_ID and attribute.id not in _NO_SCHEMA
            self.own_special().retracted.append((e, attribute, value, place))

    def _retractable(self, attribute: Attribute, value: Any, place: Place) -> Stored | None:
        if attribute.is_ref and type(value) is int and value >= 0:
            return value
        return self.stored(attribute, value, place)

    def _retract_entity(self, form: Sequence[Any], place: Place) -> None:
        if len(form) != 2:
            return self._invalid(form, place, f"[{form[0]} entity]")
        if self._names_no_entity(form[1]):
            return None
        self.own_special().doomed.append((self.entity(form[1], place, must_exist=False), place))
        return None

    def _names_no_entity(self, term: Any) -> bool:
        """Return whether an ident or a valid lookup ref finds no entity: then there is nothing to retract."""
        if isinstance(term, str) and term.startswith(":"):
            return self.schema.entid(term) is None
        if not isinstance(term, list | tuple) or not self.is_lookup(term):
            return False
        key = self.schema.attribute(term[0])
        try:
            value = self.db.stored(key, term[1])
        except DatabaseError:  # a value that the lookup itself will reject
            return False
        return value is not None and not self.db.view.holders_of(key.id, value)

    def _swap(self, form: Sequence[Any], place: Place) -> None:
        if len(form) != 5:
            return self._invalid(form, place, f"[{form[0]} entity attribute old new]")
        _, term, key, old, new = form
        e = self.entity(term, place)
        attribute = self.attribute(key, new, place)
        if attribute is None:
            return None
        if attribute.many:
            message = f"expected an attribute of cardinality one to compare and swap, {attribute.ident} has many"
            self.problems.add(":db.error/invalid-cas-many", message, place, attribute)
            return None
        if e < 0:
            self.subjects.add(e)
        expected = None if old is None else self.stored(attribute, old, place)
        self.own_special().swaps.append((e, attribute, expected, place))
        return self._assert(e, attribute, new, place)

    def _set_exactly(self, form: Sequence[Any], place: Place) -> None:
        if len(form) != 4 or not isinstance(form[3], _COLLECTIONS):
            return self._invalid(form, place, f"[{form[0]} entity attribute values], the values in a list")
        _, term, key, values = form
        e = self.entity(term, place)
        attribute = self.attribute(key, values, place)
        if attribute is None:
            return None
        if attribute.tuple_attrs or attribute.id < FIRST_FREE_ID:
            return self._invalid(form, place, "an attribute of your own that is not a composite tuple")
        if e < 0 and values:
            self.subjects.add(e)
        self.own_special().retracted.append((e, attribute, REST, place))
        return self._each(e, attribute, values, (*steps_of(place), 3))

    def _require(self, form: Sequence[Any], place: Place) -> None:
        if len(form) < 2 or not (callable(form[1]) or (isinstance(form[1], str) and "/" in form[1].strip("/"))):
            return self._invalid(
                form, place, f"[{form[0]} predicate argument …], the predicate a function or its registered name"
            )
        self.own_special().required.append((form[1], form[2:], place))
        return None

    def _call(self, form: Sequence[Any], place: Place) -> None:
        """Replace the call of a transaction function by the forms that it returns."""
        op = form[0] if form else None
        if isinstance(op, str) and f":{op}" in VERBS:
            return self._invalid(form, place, f"the operation :{op}, which begins with a colon")
        if not isinstance(op, str) or op.startswith((":db/", ":db.")) or "/" not in op.strip(":/"):
            return self._invalid(
                form, place, f"an operation ({', '.join(VERBS)}) or the name of a transaction function first"
            )
        name = op.removeprefix(":")
        function = self._functions(name)
        if function is None:
            near = self.problems.similar(registry.nearest, name)
            hint = did_you_mean(near)
            self.problems.add(
                ":db.error/unknown-tx-function",
                f"no transaction function {name} is registered{hint}",
                place,
                function=name,
                nearest=near,
            )
            return None
        steps = steps_of(place)
        depth = sum(type(step) is Call for step in steps)
        self._inner_calls += depth > 0
        if depth >= MAX_DEPTH or self._inner_calls > MAX_INNER_CALLS:
            most = f"{MAX_DEPTH} nested" if depth >= MAX_DEPTH else f"{MAX_INNER_CALLS:,}"
            self._invalid(form, place, f"at most {most} calls of transaction functions by transaction functions")
            self.raise_any()  # at once: functions that call themselves twice could go on almost without end
        call = Call(name, forms_of(self.db, name, function, form[1:]))
        self._pending += [(inner, (*steps, call, i), None) for i, inner in reversed([*enumerate(call.forms)])]
        return None

    # -- maps

    def _subject(self, form: Mapping[Any, Any], place: Place) -> Entity:
        return self.entity(form[ID], place) if ID in form else self.new_slot()

    def _instance(self, instance: Any, place: Place) -> Entity:
        """Return the entity of a dataclass instance; the same instance is the same entity, read once."""
        entry = self._instances.get(id(instance))
        if entry is None:
            form = map_of(instance)
            entry = self._instances[id(instance)] = self._subject(form, place), instance
            # An optional field without a value asserts nothing: a pull of the entity returns such a field.
            stated = form if self._none_retracts else {key: value for key, value in form.items() if value is not None}
            self._pending.append((stated, place, entry[0]))
        return entry[0]

    def _attributes(self, e: Entity, form: Mapping[Any, Any], place: Place) -> None:
        find, is_subject = self.find, False
        for key, value in form.items():
            attribute = find(key) if type(key) in NAMES else self.named_otherwise(key)
            if attribute is None:
                if key != ID:
                    self._reverse(e, key, value, place)
                continue
            if value is None and self._none_retracts:
                self._retract_value(e, attribute, ALL, place)
                continue
            is_subject = True
            if value.__class__ in _STRUCTURED or (attribute.is_ref and _is_map(value)):
                self._structured(e, attribute, key, value, place)
            else:
                self._assert(e, attribute, value, place)
        if is_subject and e < 0:
            self.subjects.add(e)

    def _structured(self, e: Entity, attribute: Attribute, key: Any, value: Any, place: Place) -> None:
        """Assert the values of a collection or the entity of a nested map."""
        if attribute.is_ref and attribute.id not in ENUMS and _is_map(value):
            self._nested(e, attribute, value, (*steps_of(place), key))
        elif self._is_many_values(attribute, value):
            self._each(e, attribute, value, (*steps_of(place), key))
        else:
            self._assert(e, attribute, value, place)

    def _each(self, e: Entity, attribute: Attribute, values: Any, inside: tuple[Any, ...]) -> None:
        for i, item in enumerate(values):
            if attribute.is_ref and _is_map(item):
                self._nested(e, attribute, item, (*inside, i))
            else:
                self._assert(e, attribute, item, (*inside, i))

    def _is_many_values(self, attribute: Attribute, value: Any) -> bool:
        if not attribute.many or not isinstance(value, _COLLECTIONS):
            return False
        if attribute.is_ref:
            return not self.is_lookup(value)
        # A tuple contains no tuples, so a list of lists must be several tuples.
        return not attribute.is_tuple or all(isinstance(item, list | tuple) for item in value)

    def _nested(self, e: Entity, attribute: Attribute, inner: Any, place: Place) -> None:
        """Assert a reference to the entity that a nested map, or an instance, describes."""
        form = inner if isinstance(inner, Mapping) else map_of(inner)
        if not (attribute.is_component or ID in form or self._has_unique(form)):
            self.problems.add(
                ":db.error/invalid-tx-form",
                f"a map nested under {attribute.ident}, which is no component, would be an entity that nothing else "
                f"can find: expected a unique attribute or :db/id in it, got {shown(form)}",
                place,
                expected="a unique attribute or :db/id",
                got=form,
            )
            return
        if not form:
            self._invalid(form, place, "at least one attribute in a nested map")
            return
        child = self._described(inner, place)
        self._keep((e, attribute, child, place))
        if child < 0:
            self.own_slot_claims().values.append((Slot(child), attribute, place))

    def _described(self, inner: Any, place: Place) -> Entity:
        """Return the entity of a map or an instance; its attributes are read later."""
        if not isinstance(inner, Mapping):
            return self._instance(inner, place)
        if len(steps_of(place)) > MAX_STEPS:  # a map that contains itself has more with each level
            self._invalid(inner, place, f"at most {MAX_STEPS} steps into nested maps, and no map that contains itself")
            self.raise_any()
        e = self._subject(inner, place)
        self._pending.append((inner, place, e))
        return e

    def _has_unique(self, form: Mapping[Any, Any]) -> bool:
        attributes = (self.find(key) for key, value in form.items() if isinstance(key, str) and value is not None)
        return any(attribute is not None and attribute.unique is not None for attribute in attributes)

    def _reverse(self, e: Entity, key: Any, value: Any, place: Place) -> None:
        """Assert references to this entity: `{:order/_lines 5}` of entity 7 means `[5 :order/lines 7]`."""
        forward = forward_of(key) if isinstance(key, str) else None
        attribute = None if forward is None else self.find(forward) or self.implied(forward)
        if attribute is None:
            attribute = self.attribute(key, value, (*steps_of(place), key))
            if attribute is not None:
                self._structured(e, attribute, key, value, place)
            return
        inside = (*steps_of(place), key)
        if attribute.id in ENUMS:
            self._invalid(value, inside, f"{attribute.ident} in the map of the attribute that it describes")
            return
        if not attribute.is_ref:
            self._invalid(
                value,
                inside,
                f"a reference attribute to reverse, {attribute.ident} is a {attribute.value_type.name}",
            )
            return
        if e < 0:
            self.own_slot_claims().values.append((Slot(e), attribute, inside))
        if isinstance(value, _COLLECTIONS) and not self._looks_up(value):
            for i, item in enumerate(value):
                self._referrer(e, attribute, item, (*inside, i))
        else:
            self._referrer(e, attribute, value, inside)

    def _looks_up(self, value: Any) -> bool:
        """Return whether a collection under a reverse attribute is a lookup ref, valid or not."""
        is_pair = isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)
        return is_pair and self.find(value[0]) is not None

    def _referrer(self, e: Entity, attribute: Attribute, term: Any, place: Place) -> None:
        if _is_map(term):
            other = self._described(term, place)
        else:
            other = self.entity(term, place)
        if other < 0:
            self.subjects.add(other)
        self._keep((other, attribute, e, place))

    # -- claims

    def _assert(self, e: Entity, attribute: Attribute, value: Any, place: Place) -> None:
        stored = self.stored(attribute, value, place)
        if stored is None:
            return
        if attribute.is_plain:
            self.asserted.append((e, attribute, stored, place))
        else:
            self._keep((e, attribute, stored, place))

    def _keep(self, claim: Claim) -> None:
        """Add a claim to the lists that the later stages read."""
        e, attribute, _, _ = claim
        if attribute.id < FIRST_FREE_ID and not self._is_plain(claim):
            return
        if attribute.preds:
            self.own_special().predicated.append(claim)
        if e < 0 and attribute.is_identity:
            self.own_slot_claims().identities.append(claim)  # type: ignore[arg-type]  # e < 0: a slot
        if attribute.tuple_attrs:
            self.own_special().written.append(claim)
        else:
            self.asserted.append(claim)

    def _is_plain(self, claim: Claim) -> bool:
        """Return whether a claim of a system attribute is asserted like any other."""
        e, attribute, _, _ = claim
        if attribute.id == TX_INSTANT:
            self.own_special().instants.append(claim)
        elif attribute.id == ENSURE:
            self.own_special().ensured.append(claim)
        elif attribute.id != INSTALL_ATTRIBUTE:
            self.touches_schema |= attribute.id not in _NO_SCHEMA
            if attribute.id == VALUE_TYPE and e < 0:
                self.own_slot_claims().typed.append(claim)
            return True
        return False

    def settle_foretold(self) -> None:
        """Find the entities of the idents that only this transaction asserts."""
        with_ident = {claim[2]: claim for claim in self.asserted if claim[1].id == IDENT}
        for slot, ident, place, attribute in self.slot_claims.foretold:
            claim = with_ident.get(ident)
            if claim is None:
                self.unknown_ident(ident, place, attribute)
            elif claim[0] < 0:
                self.own_slot_claims().identities.append((slot, *claim[1:]))
            else:
                self.own_slot_claims().bound.append((slot, claim))

    def _written_by_hand(self, attribute: Attribute, place: Place) -> None:
        members = ", ".join(attribute.tuple_attrs)
        self.problems.add(
            ":db.error/composite-tuple-write",
            f"{attribute.ident} is made of {members}: write those, the tuple follows",
            place,
            attribute,
        )


def _is_map(value: Any) -> bool:
    """Return whether a value is read as a map; an entity is not, although it has the interface of a mapping."""
    return is_instance(value) or (isinstance(value, Mapping) and not hasattr(value, "eid"))


VERBS: Final[Mapping[str, Callable[[Claims, Sequence[Any], Place], None]]] = {
    ":db/add": Claims._add,
    ":db/retract": Claims._retract,
    ":db/retractEntity": Claims._retract_entity,
    ":db/cas": Claims._swap,
    ":db/setExactly": Claims._set_exactly,
    ":db/require": Claims._require,
    ":db.fn/retractAttribute": Claims._retract,
    ":db.fn/retractEntity": Claims._retract_entity,
    ":db.fn/cas": Claims._swap,
}


def expand(db: Database, forms: Sequence[Any], functions: Functions, *, none_retracts: bool = False) -> Claims:
    """Return the claims of the forms. Raises: TransactError, the first of all problems in the forms."""
    claims = Claims(db, forms, functions, none_retracts=none_retracts)
    for i, form in enumerate(forms):
        claims.read(form, i)
    if claims.slot_claims.foretold:
        claims.settle_foretold()
    claims.raise_any()
    return claims
