"""Objects of a class in a database: one by its identity, or all with certain values.

Law: `find` returns the objects for which Python finds the fields equal to the given values, in order of entity id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from factstore.db.database import Database, check_database
from factstore.errors import QueryError
from factstore.query import q
from factstore.query.language.dialect import nearest
from factstore.reads.objects import identified
from factstore.reads.pull import pull, pull_many
from factstore.schema.class_fields import Slot, is_instance, is_shape, slots_of
from factstore.schema.class_kinds import KINDS
from factstore.schema.reverse import forward_of
from factstore.values.quoting import did_you_mean, quoted
from factstore.values.types import Keyword

T = TypeVar("T")
_DB_ID: Final = ":db/id"
_SEVERAL: Final = (list, tuple, set, frozenset)


def get(db: Database, shape: type[T], eid: Any = None, /, **identity: Any) -> T | None:
    """Return the object of an entity, or None if there is no such entity.

    Args:
        shape: a class, as for `pull`.
        eid: an entity id, ident or lookup ref; or None, and one field with a unique attribute instead of it.
    Raises: DatabaseError(:db.error/lookup-ref-attr-not-unique) for a field that is not unique;
        QueryError(:db.error/unknown-field); PullError as `pull` does.
    """
    check_database("get", db)
    slots = _named(shape, identity)
    if (eid is None) is not (len(slots) == 1):
        text = f"get takes an entity or one unique field of {shape.__name__}, got {quoted(eid)} and {sorted(identity)}"
        raise QueryError(":db.error/invalid-inputs", text, shape=shape.__name__, fields=sorted(identity))
    for name, slot in slots.items():
        value = slot.stored(identity[name])
        eid = value if slot.attribute == _DB_ID else [slot.attribute, value]
    return pull(db, shape, eid)


def find(db: Database, shape: type[T], /, **fields: Any) -> list[T]:
    """Return the objects of a class whose fields have these values, in order of entity id.

    Args:
        shape: a class, as for `pull`. An entity is an object of it if it has a value for each field that requires one;
            if no field does, for any field.
        fields: the values of fields. None: the entity has no value. For a field with several values, one value that is
            among them, or several that all are. For a reference, an entity id, ident, lookup ref or object.
    Raises: QueryError(:db.error/unknown-field); DatabaseError; PullError as `pull` does.

    >>> from dataclasses import dataclass
    >>> import factstore
    >>> @dataclass
    ... class City:
    ...     name: str
    ...     country: str | None = None
    >>> conn = factstore.connect("memory:")
    >>> _ = conn.transact(factstore.schema_of(City)), conn.transact([City("Rome", "it"), City("Bonn", "de")])
    >>> conn.db().find(City, country="de")
    [City(name='Bonn', country='de')]
    """
    check_database("find", db)
    named = _named(shape, fields)
    where, inputs = _members(shape), list[tuple[str, Any]]()
    for name, slot in named.items():
        if fields[name] is None:
            where.append([("missing?", "$", "?e", Keyword(slot.attribute))])
            continue
        for value in _several(slot, fields[name]):
            stored = _input(db, slot, value)
            if stored is None:
                return []
            variable = "?e" if slot.attribute == _DB_ID else f"?v{len(inputs)}"
            inputs.append((variable, stored))
            where += [_clause(slot.attribute, variable)] if variable != "?e" else []
    query = {":find": [["?e", "..."]], ":in": ["$", *(name for name, _ in inputs)], ":where": where}
    eids: list[int] = q(query, db, *(value for _, value in inputs))
    return [each for each in pull_many(db, shape, sorted(eids)) if each is not None]


def _named(shape: type, fields: Mapping[str, Any]) -> dict[str, Slot]:
    if not is_shape(shape):
        text = f"expected {KINDS}, got {quoted(shape)}"
        raise QueryError(":db.error/invalid-inputs", text, got=shape)
    slots = {slot.name: slot for slot in slots_of(shape)}
    for name in fields:
        if name not in slots:
            near = did_you_mean(nearest(name, slots))
            text = f"{shape.__name__} has no field {name}{near}; it has {', '.join(slots)}"
            raise QueryError(":db.error/unknown-field", text, shape=shape.__name__, field=name, fields=tuple(slots))
    return {name: slots[name] for name in fields}


def _members(shape: type) -> list[Any]:
    """Return the clauses that an entity meets if it is an object of a class."""
    slots = [slot for slot in slots_of(shape) if slot.attribute != _DB_ID]
    required = [slot for slot in slots if not (slot.optional or slot.has_default or slot.collection is not None)]
    clauses = [_clause(slot.attribute, "_") for slot in required or slots]
    return clauses if required or len(clauses) < 2 else [("or", *clauses)]


def _clause(attribute: str, value: str) -> list[Any]:
    forward = forward_of(attribute)
    return ["?e", Keyword(attribute), value] if forward is None else [value, forward, "?e"]


def _several(slot: Slot, value: Any) -> list[Any]:
    is_reference = slot.shape is not None and isinstance(value, list | tuple) and _is_lookup(value)
    return list(value) if slot.collection is not None and isinstance(value, _SEVERAL) and not is_reference else [value]


def _is_lookup(value: list[Any] | tuple[Any, ...]) -> bool:
    return len(value) == 2 and isinstance(value[0], str) and value[0].startswith(":")


def _input(db: Database, slot: Slot, value: Any) -> Any:
    """Return a value as an input of the query; None if no entity can have it."""
    if slot.attribute == _DB_ID:
        return db.entid(value)
    forward = forward_of(slot.attribute)
    if forward is None and not db.attribute(slot.attribute).is_ref:
        return slot.one_stored(value)
    return identified(db, value) if is_instance(value) else db.entid(slot.one_stored(value))
