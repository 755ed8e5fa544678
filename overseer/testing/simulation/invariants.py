"""Invariants: what must hold at every database value of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import factstore
from factstore import quoted
from overseer.errors import OverseerError

if TYPE_CHECKING:
    from factstore import Database

Invariant: TypeAlias = "Callable[[Database], str | None]"  # returns what is wrong


def invariants_of(given: Iterable[Any]) -> list[Invariant]:
    """Return the invariants that a user gives.

    Args:
        given: queries that find what must not be, and functions of a database that return False, or raise an
            AssertionError, if something is wrong.
    Raises: OverseerError(:job.error/bad-argument).
    """
    if isinstance(given, str) or callable(given) or not isinstance(given, Iterable):
        given = [given]
    return [_invariant(one) for one in given]


def _invariant(given: Any) -> Invariant:
    if isinstance(given, str):
        return NothingFound(given)
    if callable(given):
        return lambda db: _by_function(given, db)
    why = f"an invariant is a query that finds what must not be, or a function of a database, got {quoted(given)}"
    raise OverseerError(":job.error/bad-argument", why, invariant=given)


@dataclass(frozen=True)
class NothingFound:
    """An invariant that depends only on the database: a query that finds what must not be."""

    query: str

    def __call__(self, db: Database) -> str | None:
        found = factstore.q(self.query, db)
        if found is None or found is False or (not isinstance(found, int | float) and not found):
            return None
        return f"the query {self.query} found {quoted(found)}"


def _by_function(function: Callable[[Database], object], db: Database) -> str | None:
    name = getattr(function, "__name__", repr(function))
    try:
        held = function(db)
    except AssertionError as error:
        return f"{name} does not hold: {error}" if str(error) else f"{name} does not hold"
    return f"{name} does not hold" if held is False else None
