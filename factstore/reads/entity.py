"""An entity of a database value as a lazy, read-only mapping. References can be followed in both directions.

An entity reads single attributes from the view and keeps their values. It does not use queries or transactions.
Law: an entity never changes, because its database does not; two are equal if their ids and databases are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from factstore.db.database import Database, check_database
from factstore.errors import DatabaseError
from factstore.index.entity_rows import NOT_KEPT, KeptRow, Values
from factstore.rendering import html_table, text_table
from factstore.schema.attribute import Attribute
from factstore.schema.reverse import forward_of
from factstore.values.process_bound import SharedValue
from factstore.values.quoting import text_of
from factstore.values.types import LONG_MAX, LONG_MIN, Keyword, order_key

DB_ID: Final = ":db/id"
_new_entity: Final = object.__new__
_HEADER: Final = ("attribute", "value")


def entity(db: Database, eid: Any) -> Entity | None:
    """Return an entity of a database as a lazy mapping from attributes to values.

    Args:
        eid: an entity id, ident or lookup ref.
    Returns: the entity, which is empty if no fact has this id; None if no entity has this ident or lookup ref.
    Raises: DatabaseError(:db.error/history-not-supported).
    Source: Datomic API, entity.
    """
    if type(db) is not Database:
        check_database("entity", db)
    view = db.view
    if view.is_history:
        raise DatabaseError(
            ":db.error/history-not-supported",
            "an entity shows the state at one time, and a history database contains all times; use as_of",
        )
    entity_id = eid if type(eid) is int and LONG_MIN <= eid <= LONG_MAX else db.entid(eid)
    if entity_id is None:
        return None
    made = _new_entity(Entity)  # a class with `__init__` takes a third longer
    made.db = db
    made.eid = entity_id
    made._row = view.row_of(entity_id)
    made._loaded = made._idents = None
    return made


class Entity(SharedValue, Mapping[str, Any]):
    """An entity of a database value.

    `e[":person/name"]` is a value, or a frozenset of values if the attribute has cardinality many. A reference is
    returned as the entity's ident, or as an Entity if it has none. `e[":person/_boss"]` follows references backwards:
    it is a frozenset, or one entity for a component. If the entity lacks the attribute, `e[...]` raises KeyError and
    `get` returns None. The keys are the entity's attributes; `:db/id` can be read but is not one of the keys.
    """

    __slots__ = ("_idents", "_loaded", "_row", "db", "eid")

    # `entity` sets them.
    db: Database
    eid: int
    _row: dict[int, Values]  # stored values by attribute, as far as they were read
    _loaded: dict[str, Any] | None  # values by key where users get other ones than the stored ones
    _idents: tuple[Keyword, ...] | None

    def __getitem__(self, key: str) -> Any:
        attribute = self.db.schema.find(key) if isinstance(key, str) else None
        if attribute is not None and attribute.is_single:
            stored = self._row.get(attribute.id)
            if stored is not None and len(stored) == 1:
                return stored[0]  # most reads end here, without another call
        value = self._value(key)
        if value is None:
            raise KeyError(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of an attribute, or `default` if the entity has none."""
        value = self._value(key)
        return default if value is None else value

    def _value(self, key: str) -> Any:
        """Return the value of a key; None if there is none."""
        attribute = self.db.schema.find(key) if isinstance(key, str) else None
        if attribute is None or not attribute.is_single:
            return self._loaded_value(key, attribute)
        a = attribute.id
        stored = self._row.get(a)
        if stored is None:
            stored = self._read(a)
        if len(stored) == 1:
            return stored[0]
        return min(stored, key=order_key) if stored else None

    def _loaded_value(self, key: str, attribute: Attribute | None) -> Any:
        """Return the value of a key that stands for other values than the stored ones; None if there is none."""
        loaded = self._loaded
        if loaded is None:
            loaded = self._loaded = {}
        if key in loaded:
            return loaded[key]
        value = self._other_value(key) if attribute is None else self._value_of(attribute)
        if value is not None:
            loaded[key] = value
        return value

    def _read(self, a: int) -> Values:
        """Read the stored values of an attribute, and keep them."""
        row, view = self._row, self.db.view
        if isinstance(row, KeptRow):
            return row.read(view, self.eid, a)
        values = view.values_of(self.eid, a)
        if row is NOT_KEPT:
            self._row = {a: values}
        else:
            row[a] = values
        return values

    def __iter__(self) -> Iterator[Keyword]:
        if self._idents is None:
            schema = self.db.schema
            ids = dict.fromkeys(fact[1] for fact in self.db.view.facts_about(self.eid))
            self._idents = tuple(schema.attribute(a).ident for a in ids)
        return iter(self._idents)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True  # also an entity without facts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entity) and self.eid == other.eid and _same(self.db, other.db)

    def __hash__(self) -> int:
        return hash((self.eid, self.db.basis_t))

    def __repr__(self) -> str:
        ident = self.db.schema.ident(self.eid)
        return f"<Entity {self.eid}{f' {ident}' if ident else ''} t={self.db.basis_t}>"

    def __str__(self) -> str:
        return f"{self!r}\n{text_table(_HEADER, [(key, _shown(self[key])) for key in self])}"

    def _repr_html_(self) -> str:
        return html_table(repr(self), _HEADER, [(key, _shown(self[key])) for key in self])

    def touch(self) -> Entity:
        """Read all attributes, also those of all components, and return the entity. Source: Datomic API, touch."""
        touched: set[int] = set()
        pending = [self]
        while pending:
            current = pending.pop()
            if current.eid not in touched:
                touched.add(current.eid)
                pending += current._touch()
        return self

    def _touch(self) -> list[Entity]:
        """Read all attributes; return the components."""
        components: list[Entity] = []
        for ident in self:
            value = self[ident]
            if self.db.schema.attribute(ident).is_component:
                components += [
                    part for part in (value if isinstance(value, frozenset) else (value,)) if isinstance(part, Entity)
                ]
        return components

    def _other_value(self, key: object) -> Any:
        """Return the value of a key that is no attribute: the id, or the entities that refer to this one; or None."""
        if key == DB_ID:
            return self.eid
        forward = forward_of(key) if isinstance(key, str) and key.startswith(":") else None
        attribute = None if forward is None else self.db.schema.find(forward)
        if attribute is None or not attribute.is_ref:
            return None
        holders = self.db.view.holders_of(attribute.id, self.eid)
        if attribute.is_component:
            return self._referred(min(holders)) if holders else None
        return frozenset(map(self._referred, holders)) or None

    def _value_of(self, attribute: Attribute) -> Any:
        """Return what users get for the stored values of an attribute."""
        values = self._row.get(attribute.id)
        if values is None:
            values = self._read(attribute.id)
        if not values:
            return None
        load = self._referred if attribute.is_ref else attribute.load
        if attribute.many:
            return frozenset(map(load, values))
        return load(values[0] if len(values) == 1 else min(values, key=order_key))

    def _referred(self, eid: int) -> Any:
        """Return the current ident of a referenced entity, or the entity if it has none."""
        return self.db.schema.ident(eid) or entity(self.db, eid)


def _shown(value: Any) -> object:
    return "\n".join(sorted(map(_named, value))) if isinstance(value, frozenset) else _named(value)


def _named(value: Any) -> str:
    return repr(value) if isinstance(value, Entity) else text_of(value)


def _same(left: Database, right: Database) -> bool:
    """Tell whether two database values are the same: their store, t, limits, filters and speculations are equal."""
    return left is right or (
        (left.store, left.basis_t, left.as_of_t, left.since_t)
        == (right.store, right.basis_t, right.as_of_t, right.since_t)
        and left.predicates == right.predicates
        and left.view.layers[1:] == right.view.layers[1:]
    )
