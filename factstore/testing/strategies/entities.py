"""Entity maps over the attributes of a schema."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from factstore.db.database import Database
from factstore.schema.attribute import Attribute
from factstore.testing.strategies.schemas import Schema, database_of, writable
from factstore.testing.strategies.values import of_attribute

Values: TypeAlias = Mapping[str, SearchStrategy[Any]]  # strategies for the values of some attributes


def entities(
    schema: Schema,
    *,
    attributes: Collection[str] | None = None,
    required: Collection[str] = (),
    values: Values | None = None,
) -> SearchStrategy[dict[str, Any]]:
    """Return a strategy for entity maps; each attribute is there or not.

    Args:
        schema: tx-data or a database.
        attributes: idents of the attributes; None: all of the schema. References need a strategy in `values`.
        required: idents of attributes that are always there.
        values: ident → the strategy for single values of an attribute.
    Raises: DatabaseError for an undeclared attribute; FactStoreError(:db.error/invalid-strategy).
    """
    db, given = database_of(schema), values or {}
    chosen = chosen_of(db, attributes, required, given)
    fields = {str(a.ident): field_of(a, given.get(a.ident) or of_attribute(a)) for a in chosen}
    wanted = {str(db.attribute(a).ident) for a in required}
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in wanted},
        optional={name: field for name, field in fields.items() if name not in wanted},
    )


def chosen_of(
    db: Database, attributes: Collection[str] | None, required: Collection[str], values: Values
) -> list[Attribute]:
    """Return the attributes for an entity map: the given ones, or all that have a strategy; with the required ones."""
    if attributes is None:
        every: Sequence[Attribute] = [a for a in writable(db) if not a.is_ref or a.ident in values]
    else:
        every = [db.attribute(a) for a in attributes]
    return list({a.id: a for a in (*every, *map(db.attribute, required))}.values())


def field_of(attribute: Attribute, value: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Return the strategy for what an entity map has of an attribute: a value, or a list of values."""
    return st.lists(value, min_size=1, max_size=3) if attribute.many else value
