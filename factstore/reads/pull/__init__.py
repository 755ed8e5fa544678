"""Pull: nested maps of what is known about an entity, in the shape that a pattern asks for.

Reads databases through their views; knows neither queries nor writing.
Law: a pull finds nothing that `datoms` would not, and a pattern read from text and one written as data find the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import countOf
from types import FunctionType, NoneType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, overload
from uuid import UUID

from factstore.concurrency.bounded_cache import BoundedCache
from factstore.errors import DatabaseError, PullError
from factstore.reads.pull.parse import MAX_PATH, Pattern, parse
from factstore.reads.pull.run import NOBODY, run_pattern
from factstore.values.quoting import described, quoted
from factstore.values.types import Keyword, Symbol

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.schema.attribute import Schema

__all__ = ["Pattern", "PatternForm", "compile_pattern", "compiled_for", "pull", "pull_compiled", "pull_many"]

T = TypeVar("T")
PatternForm: TypeAlias = str | Sequence[Any]
_CACHE_SIZE: Final = 512  # patterns
_TOLD_BY_TEXT: Final = frozenset({Keyword, Symbol, NoneType, bool, int, float, Decimal, datetime, UUID, bytes})
# By the schema's identity and the pattern's form. The schema is kept with the pattern, so that no other can take its id.
_compiled: BoundedCache[tuple[int, Any], tuple[Schema, Pattern]] = BoundedCache(max_entries=_CACHE_SIZE)


@overload
def pull(db: Database, pattern: type[T], eid: Any) -> T | None: ...
@overload
def pull(db: Database, pattern: PatternForm, eid: Any) -> dict[Any, Any] | None: ...
def pull(db: Database, pattern: Any, eid: Any) -> Any:
    """Return what a pattern finds of one entity, as a plain dict with keywords for keys.

    Args:
        pattern: EDN text or Python data: `"[:person/name {:person/friends ...}]"`, `[":person/name", "*"]`; or a dataclass,
            whose fields are the pattern and of which an instance is returned (`factstore.pulls.shapes`).
        eid: an entity id, ident or lookup ref.
    Returns: a fresh dict, or None when there is nothing of what was asked for. Of an ident or a lookup ref that finds no entity,
        `:db/id` is None, and so it is in a pull of `*`; a default is given, and a dataclass is None. Many values are a list
        in order of value, of which a pattern without `:limit` gets the first 1000. A reference is `{":db/id": n}`, with
        `:db/ident` when it has one.
    Raises: PullError; DatabaseError(:db.error/history-not-supported).
    Source: Datomic API, pull.
    """
    if isinstance(pattern, type):
        return pull_many(db, pattern, (eid,))[0]
    compiled = compiled_for(db, pattern)
    return run_pattern(db, compiled, [eid if type(eid) is int else _resolved(db, eid)])[0] or None


def _resolved(db: Database, name: Any) -> int:
    eid = db.entid(name)
    return NOBODY if eid is None else eid


@overload
def pull_many(db: Database, pattern: type[T], eids: Iterable[Any]) -> list[T | None]: ...
@overload
def pull_many(db: Database, pattern: PatternForm, eids: Iterable[Any]) -> list[dict[Any, Any] | None]: ...
def pull_many(db: Database, pattern: Any, eids: Iterable[Any]) -> Any:
    """Return what a pattern finds of each of these entities, in their order; None keeps the place of one that has nothing.

    Raises: PullError; DatabaseError(:db.error/history-not-supported).
    Cost: one read of a column per attribute, whatever the number of entities.   Source: Datomic API, pull-many.
    """
    if isinstance(pattern, type):
        from factstore.reads.pull import shapes

        names = _listed(eids)
        found = pull_compiled(db, compiled_for(db, shapes.form_of(pattern)), names)
        known = [type(name) is int or db.entid(name) is not None for name in names]
        return [
            shapes.build(pattern, each) if each is not None and is_known else None
            for each, is_known in zip(found, known, strict=True)
        ]
    return pull_compiled(db, compiled_for(db, pattern), eids)


def pull_compiled(db: Database, pattern: Pattern, eids: Iterable[Any]) -> list[dict[Any, Any] | None]:
    """Return what a compiled pattern finds of each of these entities."""
    asked = _listed(eids)
    if countOf(map(type, asked), int) != len(asked):
        asked = [eid if type(eid) is int else _resolved(db, eid) for eid in asked]
    return [out or None for out in run_pattern(db, pattern, asked)]


def _listed(eids: Any) -> list[Any]:
    if isinstance(eids, str | bytes | Mapping) or not isinstance(eids, Iterable):
        raise DatabaseError(
            ":db.error/invalid-lookup-ref", f"expected a list of entities to pull, got {described(eids)}", name=eids
        )
    return list(eids)


def compile_pattern(schema: Schema, form: PatternForm) -> Pattern:
    """Return what a pattern means under a schema; forms seen before are remembered.

    Raises: PullError; ReadError.
    """
    try:
        try:
            key = id(schema), form if type(form) is str else _key(form)
        except _Untold:
            return parse(schema, form)
        known = _compiled.get(key)
        if known is not None and known[0] is schema:
            return known[1]
        pattern = parse(schema, form)
    except RecursionError as error:
        text = f"a pattern is nested less deeply, and does not contain itself; got {quoted(form)}"
        raise PullError(":db.error/invalid-pull", text, pattern=form) from error
    _compiled.put(key, (schema, pattern))
    return pattern


def compiled_for(db: Database, form: PatternForm) -> Pattern:
    """Return what a pattern means in a database; raises where there is nothing to pull from."""
    if db.is_history:
        raise DatabaseError(
            ":db.error/history-not-supported",
            "a pull shows what is true at one time; a history database has every time at once, use as_of",
        )
    return compile_pattern(db.schema, form)


class _Untold(Exception):
    """A form with a part that nothing hashable stands for."""


def _key(form: Any, depth: int = 0) -> Any:
    """Return something hashable that equals only that of the same form, types included: 1, 1.0 and True are three forms."""
    kind = type(form)
    if kind is str:
        return form
    if depth > MAX_PATH:
        raise _Untold  # and more than the parser takes
    if kind is list or kind is tuple:
        return (kind, *(part if type(part) is str else _key(part, depth + 1) for part in form))
    if kind is dict:
        return (kind, *((_key(key, depth + 1), _key(value, depth + 1)) for key, value in form.items()))
    if kind in _TOLD_BY_TEXT:
        return kind, form if kind is int else repr(form)
    if kind is FunctionType:
        return kind, form
    raise _Untold
