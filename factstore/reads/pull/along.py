"""Pull along an index: entities in order of an attribute's values, or the entities that it refers to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from sys import maxsize
from typing import TYPE_CHECKING, Any, Final

from factstore.db.database import check_database
from factstore.errors import PullError
from factstore.reads.pull import PatternForm, compiled_for, pull_compiled
from factstore.values.quoting import as_name, described, quoted

if TYPE_CHECKING:
    from factstore.datom import Datom
    from factstore.db.database import Database
    from factstore.schema.attribute import Attribute

_CHUNK: Final = 100  # entities pulled at once: enough to read by column, few enough for a caller that stops early


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
    """Yield the facts that a pattern selects of each entity along an index; they are read when needed.

    Args:
        index: "avet": the entities that have the attribute, in order of value; "aevt": the entities that an
            attribute with many references refers to, in order of the referring entity.
        selector: a pull pattern.
        start: the attribute, and optionally further components: the first position to read.
        reverse: read backwards from there.
        offset, limit: the number of entities to skip and the maximum number to yield.
    Raises: PullError; DatabaseError for a read that the index does not support.
    Source: Datomic API, index-pull.
    """
    check_database("index_pull", db)
    name = as_name(index).removeprefix(":")
    attribute = _checked(db, index, name, start, {"offset": offset, "limit": limit})
    pattern = compiled_for(db, selector)
    datoms = (db.rseek_datoms if reverse else db.seek_datoms)(name, *start)
    eids = _entities(datoms, attribute.id, name)
    page = islice(eids, min(offset, maxsize), None if limit is None else min(offset + limit, maxsize))
    return (each for chunk in _chunks(page) for each in pull_compiled(db, pattern, chunk))


def _checked(db: Database, index: str, name: str, start: Any, page: Mapping[str, Any]) -> Attribute:
    """Return the attribute to read. Raises: PullError for arguments that describe no page of an index."""
    if name not in ("avet", "aevt") or not isinstance(start, list | tuple) or not start:
        raise PullError(
            ":db.error/invalid-index-pull",
            f"expected index avet or aevt and a start, got {quoted(index)} and {quoted(start)}",
            index=index,
        )
    for option, value in page.items():
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
    return attribute


def _entities(datoms: Iterator[Datom], a: int, index: str) -> Iterator[int]:
    for datom in datoms:
        if datom.a != a:
            return
        yield datom.e if index == "avet" else datom.v


def _chunks(eids: Iterator[int]) -> Iterator[list[int]]:
    while chunk := list(islice(eids, _CHUNK)):
        yield chunk
