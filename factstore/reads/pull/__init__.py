"""Pull: the facts of an entity as nested maps, in the shape that a pattern describes.

    compile_pattern    pattern text or data → Pattern, a tree of selections (parse.py)
    run_pattern        Pattern and entities → maps (run.py; columns.py for many entities)

Uses databases through their views, and neither queries nor transactions.
Law: a pull returns only facts that `datoms` also returns; a pattern as text and as data return the same.
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
from factstore.db.database import Database, check_database
from factstore.errors import DatabaseError, PullError
from factstore.reads.pull.parse import MAX_PATH, Pattern, parse
from factstore.reads.pull.run import NO_ENTITY, run_pattern
from factstore.reads.pull.singles import fill_leaves
from factstore.values.quoting import described, quoted
from factstore.values.types import LONG_MAX, LONG_MIN, Keyword, Symbol

if TYPE_CHECKING:
    from factstore.schema.attribute import Schema

__all__ = ["Pattern", "PatternForm", "compile_pattern", "compiled_for", "pull", "pull_compiled", "pull_many"]

T = TypeVar("T")
PatternForm: TypeAlias = str | Sequence[Any]
_CACHE_SIZE: Final = 512  # patterns
_IDENTIFIED_BY_REPR: Final = frozenset({Keyword, Symbol, NoneType, bool, int, float, Decimal, datetime, UUID, bytes})
_NAMES: Final = frozenset({str, Keyword, Symbol})
# By the id of the schema and the form of the pattern. The schema is kept too, so that no other object gets its id.
_compiled: BoundedCache[tuple[int, Any], tuple[Schema, Pattern]] = BoundedCache(max_entries=_CACHE_SIZE)


@overload
def pull(db: Database, pattern: type[T], eid: Any) -> T | None: ...
@overload
def pull(db: Database, pattern: PatternForm, eid: Any) -> dict[Any, Any] | None: ...
def pull(db: Database, pattern: Any, eid: Any) -> Any:
    """Return the facts of an entity that a pattern selects, as a plain dict whose keys are keywords.

    Args:
        pattern: EDN text or Python data, `"[:person/name {:person/friends ...}]"`, `[":person/name", "*"]`; or a
            dataclass, whose fields are the pattern; the result is then an instance of it.
        eid: an entity id, ident or lookup ref.
    Returns: a new dict, or None if the entity has no selected fact. If an ident or lookup ref leads to no entity,
        `:db/id` is None, also in a pull of `*`; defaults are returned, and the result for a dataclass is None. Many
        values are a list in order of value; without `:limit` it contains the first 1000. A reference is
        `{":db/id": n}`, with its `:db/ident` if it has one.
    Raises: PullError; DatabaseError(:db.error/history-not-supported).
    Source: Datomic API, pull.
    """
    if isinstance(pattern, type):
        return pull_many(db, pattern, (eid,))[0]
    if type(db) is not Database:
        check_database("pull", db)
    compiled = compiled_for(db, pattern)
    e = eid if type(eid) is int and LONG_MIN <= eid <= LONG_MAX else _resolved(db, eid)
    if not compiled.leaves:
        return run_pattern(db, compiled, [e])[0] or None
    out: dict[Any, Any] = {}
    fill_leaves(db.view, e, db.view.row_of(e), compiled.leaves, out)
    return out or None


def _resolved(db: Database, name: Any) -> int:
    eid = db.entid(name)
    return NO_ENTITY if eid is None else eid


@overload
def pull_many(db: Database, pattern: type[T], eids: Iterable[Any]) -> list[T | None]: ...
@overload
def pull_many(db: Database, pattern: PatternForm, eids: Iterable[Any]) -> list[dict[Any, Any] | None]: ...
def pull_many(db: Database, pattern: Any, eids: Iterable[Any]) -> Any:
    """Return the facts that a pattern selects of each entity, in the same order; None for an entity that has none.

    Raises: PullError; DatabaseError(:db.error/history-not-supported).
    Cost: one read of a column per attribute, whatever the number of entities.   Source: Datomic API, pull-many.
    """
    check_database("pull_many", db)
    if isinstance(pattern, type):
        from factstore.reads.pull import shapes

        names = _listed(eids)
        maps = pull_compiled(db, compiled_for(db, shapes.form_of(pattern)), names)
        exist = [type(name) is int or db.entid(name) is not None for name in names]
        return [
            shapes.build(pattern, each) if each is not None and exists else None
            for each, exists in zip(maps, exist, strict=True)
        ]
    return pull_compiled(db, compiled_for(db, pattern), eids)


def pull_compiled(db: Database, pattern: Pattern, eids: Iterable[Any]) -> list[dict[Any, Any] | None]:
    """Return the facts that a compiled pattern selects of each entity."""
    names = _listed(eids)
    if countOf(map(type, names), int) != len(names) or (names and not LONG_MIN <= min(names) <= max(names) <= LONG_MAX):
        names = [_resolved(db, name) for name in names]
    return [out or None for out in run_pattern(db, pattern, names)]


def _listed(eids: Any) -> list[Any]:
    if isinstance(eids, str | bytes | Mapping) or not isinstance(eids, Iterable):
        raise DatabaseError(
            ":db.error/invalid-lookup-ref", f"expected a list of entities to pull, got {described(eids)}", name=eids
        )
    return list(eids)


def compile_pattern(schema: Schema, form: PatternForm) -> Pattern:
    """Return the compiled pattern for a schema; compiled patterns are cached.

    Raises: PullError; ReadError.
    """
    try:
        try:
            key = id(schema), _key(form)
        except _NotHashable:
            return parse(schema, form)
        entry = _compiled.get(key)
        if entry is not None and entry[0] is schema:
            return entry[1]
        pattern = parse(schema, form)
    except RecursionError as error:
        text = f"expected a pattern that is nested less deeply and does not contain itself; got {quoted(form)}"
        raise PullError(":db.error/invalid-pull", text, pattern=form) from error
    _compiled.put(key, (schema, pattern))
    return pattern


def compiled_for(db: Database, form: PatternForm) -> Pattern:
    """Return the compiled pattern for a database. Raises: DatabaseError for a history database."""
    if db.view.is_history:
        raise DatabaseError(
            ":db.error/history-not-supported",
            "a pull reads the state at one time, and a history database contains all times; use as_of",
        )
    return compile_pattern(db.schema, form)


class _NotHashable(Exception):
    """The form has a part that no hashable key can represent."""


def _key(form: Any, depth: int = 0) -> Any:
    """Return a hashable key of a pattern; different patterns have different keys, and 1, 1.0 and True are different."""
    kind = type(form)
    if kind is str:
        return form
    if depth > MAX_PATH:
        raise _NotHashable  # the parser rejects it too
    if kind is list or kind is tuple:
        if not depth and _NAMES.issuperset(map(type, form)):  # the names of attributes, of whatever type
            return tuple(form)
        return (kind, *(part if type(part) is str else _key(part, depth + 1) for part in form))
    if kind is dict:
        return (kind, *((_key(key, depth + 1), _key(value, depth + 1)) for key, value in form.items()))
    if kind in _IDENTIFIED_BY_REPR:
        return kind, form if kind is int else repr(form)
    if kind is FunctionType:
        return kind, form
    raise _NotHashable
