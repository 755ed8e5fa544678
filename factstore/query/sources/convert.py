"""Conversion between values of queries and stored values, for constants, inputs and columns.

An ident or a lookup ref is resolved to its entity where an entity is required; elsewhere it is a value like any
other. A value that does not have the attribute's type matches nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from factstore.datom import tx_of
from factstore.db.names import entity_or_none, stored_or_none
from factstore.query.relations.relation import PLAIN, Array, Column
from factstore.values.types import FLOAT, Keyword, Symbol, Uri

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.schema.attribute import Attribute

_KINDS: Final[Mapping[str, type]] = {
    "ref": int,
    "long": int,
    "bigint": object,
    "double": float,
    "float": float,
    "bigdec": Decimal,
    "boolean": bool,
    "instant": datetime,
    "string": str,
    "keyword": Keyword,
    "symbol": Symbol,
    "uri": Uri,
    "uuid": uuid.UUID,
    "bytes": bytes,
    "tuple": object,
}


def kind_of(attribute: Attribute) -> type:
    """Return the kind of a column with values of an attribute."""
    return _KINDS[attribute.value_type.name]


def loaded(attribute: Attribute, data: list[Any] | Array) -> Column:
    """Return stored values of an attribute as a column."""
    kind = kind_of(attribute)
    if attribute.is_tuple:
        loads = [value_type.load for value_type in attribute.tuple_slot_types]
        if any(loads):
            values = data if isinstance(data, list) else data.tolist()
            data = [_load_slots(value, loads) for value in values]
    return Column(kind, data)


def _load_slots(value: tuple[Any, ...], loads: list[Any]) -> tuple[Any, ...]:
    slots = zip(value, (loads[i % len(loads)] for i in range(len(value))), strict=True)
    return tuple(slot if slot is None or load is None else load(slot) for slot, load in slots)


def transaction(db: Database, value: Any) -> int | None:
    """Return the entity id of the transaction that a value in a transaction's place stands for."""
    eid = entity_or_none(db, value)
    return eid if eid is None else tx_of(eid)


def as_entities(db: Database, column: Column) -> tuple[Column, list[bool] | None]:
    """Return a column as entity ids, and the mask of the values that name an entity; None if all do."""
    if column.kind is int:
        return column, None
    entity_of: dict[Any, int | None] = {}
    entities: list[int | None] = []
    for key, value in zip(column.keys(), column.values(), strict=True):
        if key not in entity_of:
            entity_of[key] = entity_or_none(db, value)
        entities.append(entity_of[key])
    return _masked(int, entities)


def as_values(db: Database, attribute: Attribute, column: Column) -> tuple[Column, list[bool] | None]:
    """Return a column as stored values of an attribute, and the mask of the possible ones; None if all are possible."""
    if attribute.is_ref:
        return as_entities(db, column)
    kind = kind_of(attribute)
    if column.kind is kind and kind in PLAIN and not (column.is_input and attribute.value_type is FLOAT):
        return column, None
    if (
        column.kind is not kind
        and column.kind in PLAIN
        and kind in PLAIN
        and not (column.kind is str and kind is Keyword)
    ):
        return Column(kind, []), [False] * column.size
    return _masked(kind, [stored_or_none(db, attribute, value) for value in column.values()])


def _masked(kind: type, values: list[Any]) -> tuple[Column, list[bool] | None]:
    if None not in values:
        return Column(kind, values), None
    return Column(kind, [value for value in values if value is not None]), [value is not None for value in values]


def transactions(t: Array) -> Array:
    """Return the entity ids of transactions."""
    return t | np.int64(tx_of(0))
