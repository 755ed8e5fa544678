"""Rules for the installation and alteration of attributes.

    installed     an attribute with :db/ident, :db/valueType and :db/cardinality; its properties must fit together
    altered       all properties except the value type; uniqueness and cardinality only if existing facts permit it
    guarded       the system entities of every store: only :db/doc and users' own attributes can be asserted of them

Unlike in Datomic, an attribute without :db/index can be made unique: all attributes are also stored in order of value,
so there is no index to wait for, and no error `unique-without-index`.
Law: after an accepted change, the schema is valid, and all existing facts satisfy it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from factstore.datom import Fact
from factstore.schema import attribute as at
from factstore.schema.attribute import FIRST_FREE_ID, Attribute, Schema
from factstore.schema.bootstrap import ENUM_IDS, SCHEMA
from factstore.values.quoting import quoted
from factstore.values.types import TUPLE, VALUE_TYPES, Keyword, Stored

RowsOf: TypeAlias = Callable[[int], Iterable[tuple[int, Stored]]]  # the live (e, v) of an attribute
Properties: TypeAlias = Mapping[int, Any]

_NEEDED: Final = {at.IDENT: ":db/ident", at.VALUE_TYPE: ":db/valueType", at.CARDINALITY: ":db/cardinality"}
_FIXED: Final = (at.VALUE_TYPE, at.TUPLE_ATTRS, at.TUPLE_TYPES, at.TUPLE_TYPE, at.FULLTEXT)
_DEFINING: Final = frozenset(
    {at.VALUE_TYPE, at.CARDINALITY, at.UNIQUE, at.INDEX, at.IS_COMPONENT, at.NO_HISTORY, at.FULLTEXT, at.STAMP}
    | {at.TUPLE_ATTRS, at.TUPLE_TYPES, at.TUPLE_TYPE, at.ATTR_PREDS}
)
_TUPLE_SHAPES: Final = (at.TUPLE_ATTRS, at.TUPLE_TYPES, at.TUPLE_TYPE)
_MANY: Final = ENUM_IDS[":db.cardinality/many"]
_SHOWN: Final = 5  # offending datoms in a message


class Violation(NamedTuple):
    """A change of the schema that is not allowed."""

    code: str
    message: str
    eid: int
    a: int | None  # the system attribute at fault
    data: dict[str, Any]


def violations(schema: Schema, facts: Sequence[Fact], rows_of: RowsOf) -> list[Violation]:
    """Return the reasons why these facts cannot be added to a schema; none if they can."""
    changes: dict[int, list[Fact]] = {}
    for fact in facts:
        if fact[1] < FIRST_FREE_ID and fact[1] != at.TX_INSTANT:
            changes.setdefault(fact[0], []).append(fact)
    after = {e: _after(schema.properties(e), changed) for e, changed in changes.items()}
    change = _SchemaChange(schema, after, facts, rows_of)
    return [violation for e, changed in changes.items() for violation in change.of(e, changed)]


def _after(before: Properties, changed: list[Fact]) -> dict[int, Any]:
    properties = dict(before)
    for _, a, v, _, added in sorted(changed, key=lambda fact: fact[4]):
        if SCHEMA.attribute(a).many:
            values = properties.get(a, frozenset())
            properties[a] = values | {v} if added else values - {v}
        elif added:
            properties[a] = v
        else:
            properties.pop(a, None)
    return properties


class _SchemaChange:
    """The change of a schema by one transaction."""

    def __init__(self, schema: Schema, after: Mapping[int, Properties], facts: Sequence[Fact], rows_of: RowsOf) -> None:
        self._schema = schema
        self._after = after
        self._facts = facts
        self._rows_of = rows_of
        self._named = {properties[at.IDENT]: e for e, properties in after.items() if at.IDENT in properties}

    def of(self, e: int, changed: list[Fact]) -> Iterator[Violation]:
        """Yield the violations in the facts of one entity."""
        if e < FIRST_FREE_ID:
            yield from self._guarded(e, changed)
            return
        yield from self._recorded(e, changed)
        yield from self._predicates(e, changed)
        known, after = self._schema.find(e), self._after[e]
        yield from self._names(e, changed)
        if at.CAS_ONLY in after.get(at.ATTR_PREDS, ()) and after.get(at.CARDINALITY) == _MANY:
            text = f"{at.CAS_ONLY} is for attributes of cardinality one, which :db/cas can compare"
            yield _bad(e, at.ATTR_PREDS, f"{text}; {after.get(at.IDENT)} has many")
        if known is not None:
            yield from self._altered(known, after)
        elif _DEFINING & after.keys():
            yield from self._installed(e, after)
        if at.STAMP in after:
            yield from self._stamp(e, after)

    def _guarded(self, e: int, changed: list[Fact]) -> Iterator[Violation]:
        for _, a, v, _, added in changed:
            if a != at.DOC:
                name, verb = self._schema.ident(e), "assert" if added else "retract"
                yield Violation(
                    ":db.error/datom-cannot-be-altered",
                    f"{name} belongs to every store; expected only :db/doc or attributes of your own, "
                    f"got a form to {verb} {SCHEMA.attribute(a).ident} {quoted(v)}",
                    e,
                    a,
                    {},
                )

    def _recorded(self, e: int, changed: list[Fact]) -> Iterator[Violation]:
        for _, a, _, _, _ in changed:
            if a in (at.EXCISE, at.EXCISE_BEFORE):
                name = SCHEMA.attribute(a).ident
                message = f"{name} only records an excision; to excise facts, call `Connection.excise`"
                yield Violation(":db.error/unsupported", message, e, a, {})

    def _predicates(self, e: int, changed: list[Fact]) -> Iterator[Violation]:
        for _, a, name, _, added in changed:
            if a in (at.ATTR_PREDS, at.ENTITY_PREDS) and added and "/" not in name.strip("/"):
                text = f"{SCHEMA.attribute(a).ident} takes names of registered functions, which have a namespace"
                yield _bad(e, a, f"{text}, got {name}", got=name)

    def _names(self, e: int, changed: list[Fact]) -> Iterator[Violation]:
        for _, a, name, _, added in changed:
            if a == at.IDENT and added and (name.namespace == "db" or (name.namespace or "").startswith("db.")):
                yield Violation(
                    ":db.error/reserved-ident",
                    f"the namespaces :db and :db.* are reserved, got {name}",
                    e,
                    a,
                    {"got": name},
                )

    # -- installing

    def _installed(self, e: int, after: Properties) -> Iterator[Violation]:
        missing = [name for a, name in _NEEDED.items() if a not in after]
        name = after.get(at.IDENT, "an attribute without a name")
        if missing:
            yield _bad(
                e,
                None,
                f"{name} lacks {' and '.join(missing)}; an attribute has all of {', '.join(_NEEDED.values())}",
                missing=missing,
            )
            return
        if name.name.startswith("_"):
            yield _bad(e, at.IDENT, f"{name} looks like a reverse name; expected a name without the leading underscore")
        if after.get(at.IS_COMPONENT) and after[at.VALUE_TYPE] != ENUM_IDS[":db.type/ref"]:
            yield _bad(e, at.IS_COMPONENT, f"a component is a reference, {name} is a {_type_name(after)}")
        yield from self._shape(e, name, after)

    def _shape(self, e: int, name: Keyword, after: Properties) -> Iterator[Violation]:
        shapes = [a for a in _TUPLE_SHAPES if a in after]
        is_tuple = after[at.VALUE_TYPE] == ENUM_IDS[TUPLE.ident]
        if is_tuple and len(shapes) != 1:
            yield _bad(
                e,
                at.VALUE_TYPE,
                f"a tuple has one of :db/tupleAttrs, :db/tupleTypes and :db/tupleType, {name} has {len(shapes)}",
            )
        elif not is_tuple and shapes:
            yield _bad(
                e, shapes[0], f"{SCHEMA.attribute(shapes[0]).ident} is for tuples, {name} is a {_type_name(after)}"
            )
        elif shapes == [at.TUPLE_ATTRS]:
            yield from self._composite(e, name, after)
        elif shapes:
            types = after.get(at.TUPLE_TYPES) or (after[at.TUPLE_TYPE],)
            for slot in types:
                if slot not in VALUE_TYPES or slot == TUPLE.ident:
                    text = f"{name} takes value types other than tuples in its slots, got {slot}"
                    yield _bad(e, shapes[0], text, got=slot)

    def _stamp(self, e: int, after: Properties) -> Iterator[Violation]:
        name, of_instants = after.get(at.IDENT), after.get(at.VALUE_TYPE) == ENUM_IDS[":db.type/instant"]
        if not of_instants or after.get(at.CARDINALITY) == _MANY or at.UNIQUE in after or self._schema.composites_of(e):
            text = ":db/stamp is for an attribute of one instant, neither unique nor a member of a composite tuple"
            yield _bad(e, at.STAMP, f"{text}; {name} is another")

    def _composite(self, e: int, name: Keyword, after: Properties) -> Iterator[Violation]:
        if after[at.CARDINALITY] == _MANY:
            yield _bad_composite(e, at.CARDINALITY, f"{name} is a composite tuple, which has cardinality one")
        for member in after[at.TUPLE_ATTRS]:
            member_is = self._properties_of(member)
            if member is None or at.VALUE_TYPE not in member_is:
                yield _bad_composite(
                    e, at.TUPLE_ATTRS, f"{name} takes attributes as members, got {member}, which is none", got=member
                )
            elif member_is.get(at.CARDINALITY) == _MANY:
                yield _bad_composite(
                    e, at.TUPLE_ATTRS, f"{name} takes members of cardinality one, {member} has many", got=member
                )
            elif member_is[at.VALUE_TYPE] == ENUM_IDS[TUPLE.ident]:
                yield _bad_composite(
                    e, at.TUPLE_ATTRS, f"{name} takes members that are no tuples, {member} is one", got=member
                )
            elif at.STAMP in member_is:
                yield _bad_composite(
                    e, at.TUPLE_ATTRS, f"{name} takes members that have no :db/stamp, {member} has", got=member
                )

    def _properties_of(self, name: str | None) -> Properties:
        if name is None:
            return {}
        e = self._named.get(name, self._schema.entid(name))
        return {} if e is None else self._after.get(e, self._schema.properties(e))

    # -- altering

    def _altered(self, known: Attribute, after: Properties) -> Iterator[Violation]:
        before = self._schema.properties(known.id)
        for a in _FIXED:
            if before.get(a) != after.get(a) and not (a == at.TUPLE_ATTRS and self._same_members(known, after)):
                yield self._unsupported(known, a, before.get(a), after.get(a))
        for a in (at.IDENT, at.CARDINALITY):
            if a not in after:
                yield self._unsupported(known, a, before[a], None)
        if after.get(at.IS_COMPONENT) and not known.is_ref:
            yield _bad(
                known.id, at.IS_COMPONENT, f"a component is a reference, {known.ident} is a {known.value_type.name}"
            )
        if at.CARDINALITY in after:
            yield from self._cardinality(known, after[at.CARDINALITY] == _MANY)
        if known.unique is None and at.UNIQUE in after:
            yield from self._unique(known)

    def _same_members(self, known: Attribute, after: Properties) -> bool:
        """Return whether other names of the members of a composite are new names of the same attributes."""
        names = after.get(at.TUPLE_ATTRS, ())
        return known.members == tuple(self._named.get(name, self._schema.entid(name)) for name in names)

    def _unsupported(self, known: Attribute, a: int, was: Any, now: Any) -> Violation:
        name = SCHEMA.attribute(a).ident
        was, now = (
            self._schema.ident(x) if a in (at.VALUE_TYPE, at.CARDINALITY) and x is not None else x for x in (was, now)
        )
        change = f"from {was} to {now}" if now is not None else f"by retracting {was}"
        return Violation(
            ":db.error/unsupported-alter-schema",
            f"{known.ident} cannot be altered {change} in {name}: its facts depend on it; declare a new attribute and "
            "move them",
            known.id,
            a,
            {"expected": was, "got": now},
        )

    def _cardinality(self, known: Attribute, many: bool) -> Iterator[Violation]:
        if many and not known.many:
            composites = [*self._schema.composites_of(known.id), *([known] if known.tuple_attrs else [])]
            for composite in composites:
                yield Violation(
                    ":db.error/invalid-alter-attribute",
                    f"{known.ident} must keep cardinality one: {composite.ident} is a composite tuple",
                    known.id,
                    at.CARDINALITY,
                    {},
                )
        if known.many and not many:
            values: dict[int, list[Stored]] = {}
            for e, v in self._facts_after(known):
                values.setdefault(e, []).append(v)
            offending = [
                (e, known.ident, known.load(v)) for e, several in values.items() if len(several) > 1 for v in several
            ]
            if offending:
                yield Violation(
                    ":db.error/invalid-alter-attribute",
                    f"{known.ident} cannot become of cardinality one while entities have several values: "
                    f"{_some(offending)}",
                    known.id,
                    at.CARDINALITY,
                    {"cause": ":db.error/cardinality-violation", "datoms": tuple(offending)},
                )

    def _unique(self, known: Attribute) -> Iterator[Violation]:
        holders: dict[Stored, list[int]] = {}
        for e, v in self._facts_after(known):
            holders.setdefault(v, []).append(e)
        offending = [
            (e, known.ident, known.load(v)) for v, several in holders.items() if len(several) > 1 for e in several
        ]
        if offending:
            yield Violation(
                ":db.error/unique-violation",
                f"{known.ident} cannot become unique while entities share values: {_some(offending)}",
                known.id,
                at.UNIQUE,
                {"datoms": tuple(offending)},
            )

    def _facts_after(self, known: Attribute) -> set[tuple[int, Stored]]:
        rows = set(self._rows_of(known.id))
        for e, a, v, _, added in self._facts:
            if a == known.id:
                rows.add((e, v)) if added else rows.discard((e, v))
        return rows


def _bad(e: int, a: int | None, message: str, **data: Any) -> Violation:
    return Violation(":db.error/invalid-install-attribute", message, e, a, data)


def _bad_composite(e: int, a: int, message: str, **data: Any) -> Violation:
    return Violation(":db.error/invalid-tuple-attrs", message, e, a, data)


def _type_name(properties: Properties) -> str:
    name = SCHEMA.ident(properties[at.VALUE_TYPE])
    return "?" if name is None else name.name


def _some(datoms: Sequence[tuple[Any, ...]]) -> str:
    more = f" and {len(datoms) - _SHOWN} more" if len(datoms) > _SHOWN else ""
    return ", ".join(map(repr, datoms[:_SHOWN])) + more
