"""The direct way of a transaction: its facts in one pass over the forms, if they are valid and nothing else is needed.

    compiled    attributes and shapes of maps, compiled once per schema
    reads       the database before: novelty first, then blocks
    writing     forms → facts
    alike       the same for many maps with the same keys, column by column
    retracting  the facts that retractions remove
    unchanged   the condition `if_unchanged_since`

Almost all transactions take it. What it leaves to the stages: every error, the schema and other attributes of the
system, composite tuples, stamps, attribute predicates, entity specs, reverse attributes, dataclasses, and tempids that
are united by their identities.
Law: if the direct way returns a result, it is the result of the stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from factstore.db.database import Database, Point
from factstore.db.snapshot import Snapshot
from factstore.registry import lookup
from factstore.transact.direct import alike
from factstore.transact.direct.compiled import Leave
from factstore.transact.direct.reads import Newest
from factstore.transact.direct.retracting import with_retractions
from factstore.transact.direct.unchanged import is_unchanged
from factstore.transact.direct.writing import NOT_RARE, Writing
from factstore.transact.registered_functions import Functions
from factstore.transact.stages import Prepared

__all__ = ["Newest", "prepare_directly"]

_NOTHING: Final[Mapping[str | int, int]] = {}


def prepare_directly(
    forms: Sequence[Any],
    source: Snapshot | Database,
    now: int,
    functions: Functions = lookup,
    if_unchanged_since: Point | None = None,
) -> Prepared | None:
    """Return the prepared transaction; None if it must go through the stages.

    Raises: DatabaseError for an invalid point.
    """
    may_repeat = len(forms) > 1 or if_unchanged_since is not None
    read = Writing.read if len(forms) < alike.FEWEST else alike.read
    try:
        writing = Writing(source, now, functions, _NOTHING, {} if may_repeat else None)
        read(writing, forms)
        rare = writing.rare
        if rare is not NOT_RARE:
            if rare.late:
                writing = Writing(source, now, functions, rare.late, {} if may_repeat else None)
                read(writing, forms)
                rare = writing.rare
            if rare.unsaid or rare.late:
                return None
            if rare.retracted or rare.doomed:
                writing.facts = with_retractions(writing)
        if if_unchanged_since is not None and not is_unchanged(writing, if_unchanged_since):
            return None
    except (Leave, ValueError):
        return None
    return writing
