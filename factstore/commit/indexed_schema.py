"""Reads the schema from an index, when a store is opened."""

from __future__ import annotations

from itertools import groupby

from factstore.columns.column import BY_ENTITY, Everything
from factstore.datom import Fact
from factstore.index.cache import Cache
from factstore.index.directory import Index
from factstore.index.novelty import Novelty
from factstore.index.scan import facts_of
from factstore.index.view import Layer, View
from factstore.schema import attribute as at
from factstore.schema import bootstrap
from factstore.schema.attribute import EMPTY, Schema


def view_of(index: Index, cache: Cache, schema: Schema, novelty: Novelty) -> View:
    """Return a view of an index and a novelty, as of the index."""
    t = max(index.basis_t, 0)
    return View(index, (Layer(novelty, t),), schema, cache, t)


def schema_of(index: Index) -> Schema:
    """Return the schema as of an index: a fold over its system attributes, including all past idents."""
    view = view_of(index, Cache(1 << 20), bootstrap.SCHEMA, Novelty())
    schema = EMPTY
    for a in index.attributes():
        if a < at.FIRST_FREE_ID and a not in (*at.OF_TRANSACTIONS, at.IDENT, at.DOC):
            schema = schema.plus(list(facts_of(view.by_entity(a), a)))
    doc = [fact for fact in facts_of(view.by_entity(at.DOC), at.DOC) if schema.properties(fact[0])]
    names: list[Fact] = list(facts_of(view.cut(is_history=True)._rows(at.IDENT, Everything(BY_ENTITY)), at.IDENT))
    schema = schema.plus(doc)
    return schema.plus(*(list(facts) for _, facts in groupby(sorted(names, key=_t), key=_t)))


def _t(fact: Fact) -> int:
    return fact[3]
