"""Pulling along an index: the entities of an attribute in order of value, or those that an attribute refers to, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from sys import maxsize
from typing import TYPE_CHECKING, Any, Final

from factstore.errors import PullError
from factstore.reads.pull import PatternForm, compiled_for, pull_compiled
from factstore.values.quoting import as_name, described, quoted

if TYPE_CHECKING:
    from factstore.datom import Datom
    from factstore.db.database import Database

_CHUNK: Final = 100  # entities pulled at once: enough for columns, few enough for a reader who stops early


def index_pull(
    db: Database,
    *,
    index: str,
    selector: PatternForm,
    start: Sequence[Any],
    reverse: bool = False,
    offset: int = 0,
    limit: int | None = None,
) -> Iterator[dict[Any, Any] | None]:
    """Yield what a pattern finds of each entity along an index, lazily.

    Args:
        index: "avet": the entities that have the attribute, in order of value; "aevt": what a reference with many values
            refers to, in order of the entity that does.
        selector: a pull pattern.
        start: the attribute, then as many further components as wanted: where to begin.
        reverse: go backwards from there.
        offset, limit: how many to skip, how many to yield.
    Raises: PullError; DatabaseError for a read that the index does not offer.
    Source: Datomic API, index-pull.
    """
    name = as_name(index).removeprefix(":")
    if name not in ("avet", "aevt") or not isinstance(start, list | tuple) or not start:
        raise PullError(
            ":db.error/invalid-index-pull",
            f"expected index avet or aevt and a start, got {quoted(index)} and {quoted(start)}",
            index=index,
        )
    for option, value in (("offset", offset), ("limit", limit)):
        if (type(value) is not int or value < 0) and not (option == "limit" and value is None):
            raise PullError(
                ":db.error/invalid-index-pull",
                f"{option} is a whole number from 0, got {described(value)}",
                index=index,
            )
    attribute = db.attribute(start[0])
    if name == "aevt" and not (attribute.is_ref and attribute.many):
        raise PullError(
            ":db.error/invalid-index-pull",
            f"an index-pull along aevt follows references with many values; {attribute.ident} has none",
            attribute=attribute.ident,
        )
    pattern = compiled_for(db, selector)
    datoms = (db.rseek_datoms if reverse else db.seek_datoms)(name, *start)
    eids = _entities(datoms, attribute.id, name)
    page = islice(eids, min(offset, maxsize), None if limit is None else min(offset + limit, maxsize))
    return (found for chunk in _chunks(page) for found in pull_compiled(db, pattern, chunk))


def _entities(datoms: Iterator[Datom], a: int, index: str) -> Iterator[int]:
    for datom in datoms:
        if datom.a != a:
            return
        yield datom.e if index == "avet" else datom.v


def _chunks(eids: Iterator[int]) -> Iterator[list[int]]:
    while chunk := list(islice(eids, _CHUNK)):
        yield chunk
