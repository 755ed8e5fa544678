"""Reads of the database before a transaction: newest novelty first, and blocks only if novelty does not know.

The newest event of an entity, or with a unique value, tells most of what an assertion must know. All that it does not
tell is read from the view. Law: the results are those of the view.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from factstore.columns.kind import Kind
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.schema.attribute import Schema
from factstore.transact.direct.compiled import Leave
from factstore.values.types import Stored

if TYPE_CHECKING:
    from factstore.index.directory import Index
    from factstore.index.novelty import Novelty
    from factstore.index.view import View

MOST_READS: Final = 1_000  # reads of single rows in one transaction; for more, the stages read whole columns


class Before:
    """The database before a transaction: the newest one of a committer, or any database without filters and limits.

    A part of `Writing` and `Newest`, which have the slots.
    """

    __slots__ = ()

    index: Index
    layers: tuple[tuple[Novelty, int], ...]  # newest first, each with the t up to which it counts
    reads: int  # of blocks, so far
    source: Snapshot | Database

    @property
    def schema(self) -> Schema:
        """The schema of the database."""
        return self.source.schema

    @property
    def database(self) -> Database:
        """The database itself."""
        source = self.source
        return source.database if type(source) is Snapshot else source  # type: ignore[return-value]

    @property
    def view(self) -> View:
        """The view of the database."""
        return self.database.view

    def value_of(self, e: int, a: int) -> Stored | None:
        """Return the value of an attribute of cardinality one; None if there is none."""
        for novelty, upto in self.layers:
            strand = novelty.strands.get(a)
            if strand is not None:
                fact = strand.newest(e)
                if fact is not None:
                    # The newest assertion is the only value.
                    return fact[2] if fact[4] and fact[3] <= upto else self._value_in_view(e, a)
                if strand.loaded:
                    return self._value_in_view(e, a)
        if not self.index.may_hold(e, a):
            return None
        self._note_read()
        rows = self.index.values_of(a, e)
        return rows[0][0] if rows else None

    def _value_in_view(self, e: int, a: int) -> Stored | None:
        self._note_read()
        values = self.view.values_of(e, a)
        return values[0] if values else None

    def attributes_of(self, e: int) -> list[int]:
        """Return the ids of the attributes that an entity has or had, in order."""
        found: Collection[int] = self.index.attributes_of(e)
        for novelty, _ in self.layers:
            more = novelty.attributes_of(e)
            found = {*found, *more} if found else more
        return sorted(found)

    def may_hold(self, a: int) -> bool:
        """Return whether there can be facts of an attribute."""
        return a in self.index.entries or any(a in novelty.strands for novelty, _ in self.layers)

    def holder_of(self, a: int, v: Stored, kind: Kind) -> int | None:
        """Return the entity that has a unique value; None if there is none."""
        for novelty, upto in self.layers:
            strand = novelty.strands.get(a)
            if strand is not None:
                fact = strand.newest_with(v)
                if fact is not None or strand.loaded:
                    if fact is not None and fact[4] and fact[3] <= upto:
                        return fact[0]
                    self._note_read()
                    holders = self.view.holders_of(a, v)
                    return holders[0] if holders else None
        if a not in self.index.entries:
            return None
        self._note_read()
        rows = self.index.holders_of(a, v, kind)
        return rows[0][0] if rows else None

    def are_new(self, a: int, vs: Sequence[Stored], kind: Kind) -> bool:
        """Return whether no entity has any of these values of a unique attribute."""
        strands = [strand for novelty, _ in self.layers if (strand := novelty.strands.get(a)) is not None]
        if any(strand.loaded for strand in strands) or not self.index.ends_before(a, min(vs, key=kind.order_key), kind):
            return all(self.holder_of(a, v, kind) is None for v in vs)
        known = [strand.newest_with for strand in strands]
        return all(newest_with(v) is None or self.holder_of(a, v, kind) is None for newest_with in known for v in vs)

    def has(self, e: int, a: int, v: Stored, kind: Kind) -> bool:
        """Tell whether an entity has a value of an attribute of cardinality many."""
        for novelty, upto in self.layers:
            strand = novelty.strands.get(a)
            if strand is not None:
                event = strand.newest_of(e, v, upto)
                if event is not None:
                    return event[4]
                if strand.loaded and any(run.holds(e, v, upto) for run in strand.loaded_runs()):
                    return True
        # The stages do the same for each value, so this is no read that columns would make faster.
        if not self.index.may_hold(e, a):
            return False
        return self.index.holds(a, e, v, kind)

    def _note_read(self) -> None:
        self.reads += 1  # type: ignore[misc]  # a slot of `Writing`
        if self.reads > MOST_READS:
            raise Leave  # then the stages read whole columns


class Newest(Before):
    """The newest database of a committer, to look up a single value."""

    __slots__ = ("index", "layers", "reads", "source")

    def __init__(self, source: Snapshot) -> None:
        self.source = source
        self.index = source.index
        self.layers = ((source.novelty, source.t),)
        self.reads = 0


def check_whole(view: View) -> None:
    """Raise Leave if a view is limited or filtered, or has a past of its own."""
    if view.is_history or view.is_branch or view.after >= 0 or view.keep is not None:
        raise Leave
    if view.upto < view.layers[-1].upto or view.upto < view.index.basis_t:
        raise Leave
