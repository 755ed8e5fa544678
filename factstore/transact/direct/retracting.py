"""The facts that the retractions of a transaction remove, on the direct way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from factstore.columns.kind import INTEGERS
from factstore.datom import Fact
from factstore.transact.direct.compiled import Leave, Row
from factstore.transact.direct.writing import Writing
from factstore.transact.stages import ALL, Key
from factstore.values.types import Stored


def with_retractions(writing: Writing) -> list[Fact]:
    """Return the facts of a transaction with retractions, which come before its assertions. Raises: Leave."""
    rare, facts = writing.rare, writing.facts
    gone: dict[Key, Fact] = {}
    named = [_remove(writing, claim, gone) for claim in rare.retracted] if rare.retracted else []
    for e in rare.doomed:
        _remove_entity(writing, e, gone)
    if not writing.said and len(facts) == 1:
        facts += gone.values()
        return facts
    instant, *others = facts
    _check_unsaid(writing.said or {}, [*named, *gone])
    return [instant, *gone.values(), *(fact for fact in others if fact[4] or fact[:3] not in gone)]


def _remove(writing: Writing, claim: tuple[int, Row, Stored], gone: dict[Key, Fact]) -> Key:
    """Remove one fact, or all of an attribute, and return what the form names."""
    (e, row, v), t = claim, writing.t
    a, special = row[0], row[4]
    if v is ALL:
        for value in _values(writing, e, a, many=special is not None and special.many):
            gone[e, a, value] = (e, a, value, t, False)
    elif special is not None and special.many:
        if writing.has(e, a, v, special.order):
            gone[e, a, v] = (e, a, v, t, False)
    elif writing.value_of(e, a) == v:
        gone[e, a, v] = (e, a, v, t, False)
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


def _remove_entity(writing: Writing, e: int, gone: dict[Key, Fact]) -> None:
    """Remove the facts of an entity and its components, and the facts that refer to any of them."""
    retractable, value_of, t = writing.compiled.retractable, writing.value_of, writing.t
    seen, waiting = {e}, [e]
    while waiting:
        one = waiting.pop()
        for a in writing.attributes_of(one):
            attribute = retractable[a]
            if attribute is None:
                v = value_of(one, a)
                if v is not None:
                    gone[one, a, v] = (one, a, v, t, False)
                continue
            for v in _values(writing, one, a, many=attribute.many):
                gone[one, a, v] = (one, a, v, t, False)
                if attribute.is_component and v not in seen:
                    seen.add(v)
                    waiting.append(v)
        if writing.compiled.references:
            _remove_references(writing, one, gone)


def _remove_references(writing: Writing, e: int, gone: dict[Key, Fact]) -> None:
    """Remove the facts that refer to an entity."""
    index, entries = writing.index, writing.index.entries
    for a in writing.compiled.references:
        may_refer = a in entries and bool(index.holders_of(a, e, INTEGERS))
        for novelty, _ in writing.layers:
            strand = novelty.strands.get(a)
            if strand is not None and (strand.loaded or strand.newest_with(e) is not None):
                may_refer = True
        if may_refer:
            if writing.schema.composites_of(a):
                raise Leave
            for holder in writing.view.holders_of(a, e):
                gone[holder, a, e] = (holder, a, e, writing.t, False)
