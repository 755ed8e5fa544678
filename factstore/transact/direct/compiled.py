"""Attributes and shapes of maps, compiled once per schema.

    row    (id, exact type, check, store, special)    what an assertion of an attribute needs
    shape  the rows of the keys of a map              maps with the same keys in the same order share it

A value whose type is exactly that of the row and that passes the check is stored as it is; `store` converts any other
value. `special` is None for most attributes: those of cardinality one whose values need nothing else.
Law: a row exists only for attributes that the direct way can assert; there is none for all others.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

from factstore.columns.kind import KINDS
from factstore.concurrency.bounded_cache import BoundedCache
from factstore.schema.attribute import FIRST_FREE_ID, TX_KEY, Attribute, Schema
from factstore.values.types import LONG_MAX, LONG_MIN, Keyword, Stored, Symbol, Uri

ID: Final = ":db/id"
_SCHEMAS: Final = 8  # the newest schema of a store is needed for each transaction, older ones hardly ever
SHAPE_BYTES: Final = 1 << 20  # of the shapes of one schema


class Leave(Exception):
    """The direct way leaves a transaction to the stages: it is invalid, or has forms that need them."""


class _Another:
    """A type that no value has: values of some attributes are always converted."""


def _always(_value: object) -> bool:
    return True


_is_long: Final = range(LONG_MIN, LONG_MAX + 1).__contains__
_CHECKS: Final[Mapping[str, tuple[type, Callable[[Any], bool]]]] = {
    "long": (int, _is_long),
    "double": (float, isfinite),
    "boolean": (bool, _always),
    "string": (str, str.isascii),
    "keyword": (Keyword, str.isascii),
    "symbol": (Symbol, str.isascii),
    "uri": (Uri, str.isascii),
    "uuid": (uuid.UUID, _always),
    "bytes": (bytes, _always),
}


class Special:
    """What the direct way must know about an attribute beyond the type of its values."""

    __slots__ = (
        "cas_only",
        "insert_only",
        "is_component",
        "is_identity",
        "is_ref",
        "is_simple_if_new",
        "is_unique",
        "many",
        "order",
    )

    def __init__(self, attribute: Attribute) -> None:
        self.many = attribute.many
        self.is_ref = attribute.is_ref
        self.is_component = attribute.is_component
        self.is_unique = attribute.unique is not None
        self.is_identity = attribute.is_identity
        self.insert_only = attribute.insert_only
        self.cas_only = attribute.cas_only
        # Whether a new entity, whose identities are checked, gets a value of it as of any other attribute.
        self.is_simple_if_new = not (self.many or self.is_ref) and self.is_unique == self.is_identity
        self.order = KINDS[attribute.value_type.ident]


Row: TypeAlias = "tuple[int, Any, Callable[[Any], bool], Callable[[Any], Stored], Special | None]"


# The values of a map: plain ones, which need nothing else if the entity is new; others; maps or collections.
PLAIN: Final = "plain"
FLAT: Final = "flat"
NESTED: Final = "nested"


class Shape(NamedTuple):
    """The compiled keys of a map."""

    rows: tuple[Row | None, ...]  # None: the key is :db/id
    has_id: bool
    identities: tuple[tuple[str, Row], ...]  # the keys of unique identities
    has_unique: bool
    values: str  # PLAIN, FLAT or NESTED


def _row(schema: Schema, key: str) -> Row | None:
    """Return the row of an attribute by its present ident; None if the direct way cannot assert it."""
    attribute = schema.find(key)
    if attribute is None or attribute.ident != key or schema.ident(attribute.id) != key or schema.stamps:
        return None
    if attribute.id < FIRST_FREE_ID and attribute.id != TX_KEY:
        return None
    if attribute.preds or attribute.is_tuple or schema.composites_of(attribute.id):
        return None
    is_unique = attribute.unique is not None
    if is_unique and (attribute.many or attribute.is_ref):
        return None
    kind, check = _CHECKS.get(attribute.value_type.name, (_Another, _always))
    is_special = is_unique or attribute.many or attribute.is_ref or attribute.insert_only or attribute.cas_only
    return attribute.id, kind, check, attribute.value_type.store, Special(attribute) if is_special else None


class Retractable(dict[int, "Attribute | None"]):
    """By id, what retracting all values of an attribute needs: None if it has at most one, which is no component."""

    __slots__ = ("_schema",)

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self._schema = schema

    def __missing__(self, a: int) -> Attribute | None:
        """Create the entry of an attribute. Raises: Leave, if the direct way cannot retract it."""
        attribute = self._schema.attribute(a)
        if a < FIRST_FREE_ID or attribute.tuple_attrs or self._schema.composites_of(a):
            raise Leave
        self[a] = entry = attribute if attribute.many or attribute.is_component else None
        return entry


class Compiled(dict[Any, "Row | None"]):
    """The rows of a schema by present ident, created on first use, and the shapes of maps."""

    __slots__ = ("_schema", "references", "retractable", "shape_of", "shapes")

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self._schema = schema
        self.retractable = Retractable(schema)
        # An entity without facts of the schema is no value of the references of the system.
        self.references = tuple(a for a in schema.references if a >= FIRST_FREE_ID)
        self.shapes: BoundedCache[tuple[Any, ...], Shape] = BoundedCache(max_bytes=SHAPE_BYTES)
        self.shape_of = self.shapes.get

    def __missing__(self, key: object) -> Row | None:
        """Create the row of an attribute; None if there is none."""
        if type(key) is not str and type(key) is not Keyword:
            return None
        row = _row(self._schema, key)
        if row is not None:
            self[str(key)] = row
        return row

    def new_shape(self, keys: tuple[Any, ...]) -> Shape:
        """Compile the keys of a map. Raises: Leave, if there are none, or the direct way cannot assert one of them."""
        rows = tuple(None if key == ID else self[key] for key in keys)
        if not keys or rows.count(None) != keys.count(ID):
            raise Leave
        unique = [(key, row) for key, row in zip(keys, rows, strict=True) if row and row[4] and row[4].is_unique]
        identities = tuple((key, row) for key, row in unique if row[4] and row[4].is_identity)
        shape = Shape(rows, ID in keys, identities, bool(unique), _values(rows))
        return self.shapes.put(keys, shape, 200 + 32 * len(keys) + sum(map(len, keys)))


_of_schemas: BoundedCache[Schema, Compiled] = BoundedCache(max_entries=_SCHEMAS)


found: Final = _of_schemas.get  # returns the compiled attributes of a schema that had some already; otherwise None


def compiled(schema: Schema) -> Compiled:
    """Return the compiled attributes of a schema."""
    known = found(schema)
    return _of_schemas.put(schema, Compiled(schema)) if known is None else known


def _values(rows: Sequence[Row | None]) -> str:
    specials = [row[4] for row in rows if row is not None and row[4] is not None]
    if any(special.many or special.is_ref for special in specials):
        return NESTED
    return PLAIN if None not in rows and all(special.is_identity for special in specials) else FLAT
