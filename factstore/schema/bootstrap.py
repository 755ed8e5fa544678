"""The facts of t = 0 in every store: the system attributes and their enumerations. They are not in the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from factstore.datom import Fact
from factstore.schema import attribute as at
from factstore.values.types import Keyword

_TYPES: Final = (
    *("ref", "long", "bigint", "double", "float", "bigdec", "boolean", "instant"),
    *("string", "keyword", "symbol", "uri", "uuid", "bytes", "tuple"),
)
# Entity ids of the enumerations. Like those of the system attributes, they never change.
ENUM_IDS: Final = {
    **{f":db.type/{name}": 40 + n for n, name in enumerate(_TYPES)},
    ":db.cardinality/one": 60,
    ":db.cardinality/many": 61,
    ":db.unique/value": 62,
    ":db.unique/identity": 63,
    ":db.part/db": 64,
    ":db.part/tx": 65,
    ":db.part/user": 66,
    ":db.stamp/created": 67,
    ":db.stamp/updated": 68,
}

# id, ident, type, many, unique, doc
_ATTRIBUTES: Final = (
    (at.IDENT, ":db/ident", "keyword", False, ":db.unique/identity", "The name of an entity, unique in the database."),
    (at.VALUE_TYPE, ":db/valueType", "ref", False, None, "The type of an attribute's values."),
    (at.CARDINALITY, ":db/cardinality", "ref", False, None, "Whether an attribute has one value or a set of them."),
    (at.UNIQUE, ":db/unique", "ref", False, None, "Whether a value belongs to one entity, and whether it names it."),
    (at.INDEX, ":db/index", "boolean", False, None, "Whether datoms of the attribute can be read in order of value."),
    (at.IS_COMPONENT, ":db/isComponent", "boolean", False, None, "Whether a reference means: is a part of."),
    (at.NO_HISTORY, ":db/noHistory", "boolean", False, None, "Whether past values may be forgotten."),
    (at.DOC, ":db/doc", "string", False, None, "What an entity is, in words."),
    (at.TX_INSTANT, ":db/txInstant", "instant", False, None, "When a transaction was made."),
    (at.FULLTEXT, ":db/fulltext", "boolean", False, None, "Whether the attribute's words can be searched for."),
    (at.TUPLE_ATTRS, ":db/tupleAttrs", "tuple", False, None, "The attributes a composite tuple is made of."),
    (at.TUPLE_TYPES, ":db/tupleTypes", "tuple", False, None, "The types of a tuple's slots, in order."),
    (at.TUPLE_TYPE, ":db/tupleType", "keyword", False, None, "The type of all of a tuple's slots."),
    (at.ATTR_PREDS, ":db.attr/preds", "symbol", True, None, "Predicates that a value must satisfy."),
    (at.ENTITY_ATTRS, ":db.entity/attrs", "keyword", True, None, "Attributes that an entity of this spec must have."),
    (at.ENTITY_PREDS, ":db.entity/preds", "symbol", True, None, "Predicates that an entity of this spec must satisfy."),
    (at.ENSURE, ":db/ensure", "ref", True, None, "Asks that an entity be checked against a spec; leaves no datom."),
    (
        at.INSTALL_ATTRIBUTE,
        ":db.install/attribute",
        "ref",
        True,
        None,
        "Accepted for old schemas; declaring is enough.",
    ),
    (at.TX_KEY, ":db.tx/key", "string", False, ":db.unique/value", "The key by which a repeated transaction is known."),
    (at.EXCISE, ":db/excise", "ref", False, None, "What was excised: an entity, or the values of an attribute."),
    (at.EXCISE_BEFORE, ":db.excise/beforeT", "long", False, None, "The t before which an excision took facts out."),
    (
        at.MIGRATION_NAME,
        ":db.migration/name",
        "string",
        False,
        ":db.unique/value",
        "The migration that a transaction is.",
    ),
    (
        at.STAMP,
        ":db/stamp",
        "ref",
        False,
        None,
        "Whether the attribute tells when an entity was made, or last changed; kept by the store.",
    ),
    (
        at.MIGRATION_CHECKSUM,
        ":db.migration/checksum",
        "string",
        False,
        None,
        "A digest of what a migration said when it was applied.",
    ),
)


def _facts() -> Iterator[Fact]:
    for ident, eid in ENUM_IDS.items():
        yield eid, at.IDENT, Keyword(ident), 0, True
    for eid, ident, type_name, many, unique, doc in _ATTRIBUTES:
        yield eid, at.IDENT, Keyword(ident), 0, True
        yield eid, at.VALUE_TYPE, ENUM_IDS[f":db.type/{type_name}"], 0, True
        yield eid, at.CARDINALITY, ENUM_IDS[":db.cardinality/many" if many else ":db.cardinality/one"], 0, True
        yield eid, at.DOC, doc, 0, True
        if unique is not None:
            yield eid, at.UNIQUE, ENUM_IDS[unique], 0, True
    for tuple_of_keywords in (at.TUPLE_ATTRS, at.TUPLE_TYPES):
        yield tuple_of_keywords, at.TUPLE_TYPE, Keyword(":db.type/keyword"), 0, True


FACTS: Final[tuple[Fact, ...]] = tuple(_facts())
SCHEMA: Final = at.EMPTY.plus(FACTS)
