"""The facts that the retractions of a transaction remove, on the direct way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factstore.columns.kind import INTEGERS
from factstore.datom import Fact
from factstore.schema.attribute import FIRST_FREE_ID
from factstore.transact.direct.compiled import Leave, Row
from factstore.transact.direct.writing import Writing
from factstore.transact.stages import ALL, Key
from factstore.values.types import Stored


def with_retractions(writing: Writing) -> list[Fact]:
    """Return the facts of a transaction with retractions, which come before its assertions. Raises: Leave."""
    t, rare = writing.t, writing.rare
    gone: dict[Key, None] = {}
    named = [_remove(writing, claim, gone) for claim in rare.retracted]
    for e in rare.doomed:
        _remove_entity(writing, e, gone)
    retractions = [(e, a, v, t, False) for e, a, v in gone]
    instant, *others = writing.facts
    if not (writing.said or others):
        return [instant, *retractions]
    _check_unsaid(writing.said or {}, [*named, *gone])
    return [instant, *retractions, *(fact for fact in others if fact[4] or fact[:3] not in gone)]


def _remove(writing: Writing, claim: tuple[int, Row, Stored], gone: dict[Key, None]) -> Key:
    """Remove one fact, or all of an attribute, and return what the form names."""
    e, row, v = claim
    a, special = row[0], row[4]
    if v is ALL:
        for value in _values(writing, e, a, many=special is not None and special.many):
            gone[e, a, value] = None
    elif special is not None and special.many:
        if writing.has(e, a, v, special.order):
            gone[e, a, v] = None
    elif writing.value_of(e, a) == v:
        gone[e, a, v] = None
    return e, a, v


def _check_unsaid(said: dict[tuple[Any, ...], Fact], keys: Sequence[Key]) -> None:
    """Leave a fact that is asserted and retracted."""
    for key in keys:
        first = said.get(key[:2])
        if key in said or (first is not None and first[2] == key[2]):
            raise Leave


def _values(writing: Writing, e: int, a: int, *, many: bool) -> tuple[Stored, ...]:
    if many:
        return writing.view.values_of(e, a)
    value = writing.value_of(e, a)
    return () if value is None else (value,)


def _remove_entity(writing: Writing, e: int, gone: dict[Key, None]) -> None:
    """Remove the facts of an entity and its components, and the facts that refer to any of them."""
    schema, index = writing.schema, writing.index
    find, composites_of = schema.attribute, schema.composites_of if schema.has_composites else None
    seen, waiting = {e}, [e]
    while waiting:
        one = waiting.pop()
        attributes = set(index.attributes_of(one))
        for novelty, _ in writing.layers:
            attributes.update(novelty.attributes_of(one))
        for a in sorted(attributes):
            attribute = find(a)
            if a < FIRST_FREE_ID or attribute.tuple_attrs or (composites_of is not None and composites_of(a)):
                raise Leave
            if not (attribute.many or attribute.is_component):
                v = writing.value_of(one, a)
                if v is not None:
                    gone[one, a, v] = None
                continue
            for v in _values(writing, one, a, many=attribute.many):
                gone[one, a, v] = None
                if attribute.is_component and v not in seen:
                    seen.add(v)
                    waiting.append(v)
        _remove_references(writing, one, gone)


def _remove_references(writing: Writing, e: int, gone: dict[Key, None]) -> None:
    """Remove the facts that refer to an entity."""
    schema, index, entries = writing.schema, writing.index, writing.index.entries
    for a in schema.references:
        if a < FIRST_FREE_ID:
            continue  # an entity without facts of the schema is no value of these
        may_refer = a in entries and bool(index.holders_of(a, e, INTEGERS))
        for novelty, _ in writing.layers:
            strand = novelty.strands.get(a)
            if strand is not None and (strand.loaded or strand.newest_with(e) is not None):
                may_refer = True
        if may_refer:
            if schema.composites_of(a):
                raise Leave
            for holder in writing.view.holders_of(a, e):
                gone[holder, a, e] = None
