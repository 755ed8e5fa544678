"""The facts that the retractions of a transaction remove, on the direct way."""

from __future__ import annotations

from collections.abc import Iterator

from factstore.columns.kind import INTEGERS
from factstore.datom import Fact
from factstore.schema.attribute import FIRST_FREE_ID
from factstore.transact.direct.compiled import Leave
from factstore.transact.direct.writing import Writing
from factstore.transact.stages import ALL, Key
from factstore.values.types import Stored


def with_retractions(writing: Writing) -> list[Fact]:
    """Return the facts of a transaction with retractions, which come before its assertions. Raises: Leave."""
    t, said, rare = writing.t, writing.said or {}, writing.rare
    gone: dict[Key, None] = {}
    for e, row, v in rare.retracted:
        a, special = row[0], row[4]
        many = special is not None and special.many
        if v is ALL:
            gone.update(((e, a, value), None) for value in _values(writing, e, a, many=many))
            continue
        _check_unsaid(said, (e, a, v))
        if writing.has(e, a, v, special.order) if many else writing.value_of(e, a) == v:  # type: ignore[union-attr]
            gone[e, a, v] = None
    for e in rare.doomed:
        gone.update((key, None) for key in _belongings(writing, e))
    for key in gone:
        _check_unsaid(said, key)
    instant, *others = writing.facts
    kept = [fact for fact in others if fact[4] or fact[:3] not in gone]
    return [instant, *((e, a, v, t, False) for e, a, v in gone), *kept]


def _check_unsaid(said: dict[tuple[object, ...], Fact], key: Key) -> None:
    """Leave a fact that is asserted and retracted."""
    first = said.get(key[:2])
    if key in said or (first is not None and first[2] == key[2]):
        raise Leave


def _values(writing: Writing, e: int, a: int, *, many: bool) -> tuple[Stored, ...]:
    if many:
        return writing.view.values_of(e, a)
    value = writing.value_of(e, a)
    return () if value is None else (value,)


def _belongings(writing: Writing, e: int) -> Iterator[Key]:
    """Yield the facts of an entity and its components, and the facts that refer to any of them."""
    schema = writing.schema
    seen, waiting = {e}, [e]
    while waiting:
        one = waiting.pop()
        attributes = set(writing.index.attributes_of(one))
        for novelty, _ in writing.layers:
            attributes.update(novelty.attributes_of(one))
        for a in sorted(attributes):
            attribute = schema.attribute(a)
            if a < FIRST_FREE_ID or schema.composites_of(a) or attribute.tuple_attrs:
                raise Leave
            for v in _values(writing, one, a, many=attribute.many):
                yield one, a, v
                if attribute.is_component and v not in seen:
                    seen.add(v)
                    waiting.append(v)
        yield from _referring(writing, one)


def _referring(writing: Writing, e: int) -> Iterator[Key]:
    schema, index = writing.schema, writing.index
    for a in schema.references:
        strands = [strand for novelty, _ in writing.layers if (strand := novelty.strands.get(a)) is not None]
        if any(strand.loaded or strand.with_value(e) is not None for strand in strands) or (
            a in index.entries and index.holders_of(a, e, INTEGERS)
        ):
            if a < FIRST_FREE_ID or schema.composites_of(a):
                raise Leave
            for holder in writing.view.holders_of(a, e):
                yield holder, a, e
