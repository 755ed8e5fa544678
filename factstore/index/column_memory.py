"""The whole columns that a view keeps in memory, and when it pays to read a whole column.

    columns   all rows of an attribute in one order, read by this view or found in the cache that all views share
    lookups   the same by entity, for reading one entity at a time
    reads     the number of rows that were read one by one so far; beyond a share of the column, the column is read

Law: the memory of a view changes the time that a read takes, never its result.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeAlias

from factstore.columns.column import BY_ENTITY, FactArrays
from factstore.index.cache import Cache
from factstore.index.positions import EntityLookup

# Reading a sixteenth of a column row by row takes about as long as reading the whole column.
WHOLE_COLUMN_PAYS: Final = 16
_LOOK_UPS: Final = 256  # of single entities, between two checks whether to read the whole column

ColumnName: TypeAlias = tuple[int, str]  # an attribute, and BY_ENTITY or BY_VALUE


class ColumnSource(Protocol):
    """What the memory needs from its view."""

    @property
    def cache(self) -> Cache:
        """The cache that views of one store share."""

    @property
    def is_history(self) -> bool:
        """Whether the columns contain all events."""

    def has_one_each(self, a: int) -> bool:
        """Tell whether it is known that no entity has two values of an attribute."""

    def count(self, a: int) -> int:
        """Return the number of rows of an attribute, or a close upper bound."""

    def read_column(self, a: int, order: str) -> FactArrays:
        """Return all rows of an attribute, from the index and novelty."""

    def shared_key(self, a: int, order: str) -> tuple[Any, ...] | None:
        """Return the key of the column in the cache; None if other views see other rows."""


class ColumnMemory:
    """The columns of one view; its methods get the view, which must always be the same one."""

    __slots__ = ("_columns", "_reads", "lookups")

    def __init__(self) -> None:
        self.lookups: dict[int, EntityLookup] = {}  # by attribute; none in a history view
        self._columns: dict[ColumnName, FactArrays] = {}
        self._reads: dict[ColumnName, int] = {}

    def size(self, a: int) -> int | None:
        """Return the number of rows of an attribute if its column by entity is in memory."""
        rows = self._columns.get((a, BY_ENTITY))
        return None if rows is None else rows.size

    def find(self, view: ColumnSource, a: int, order: str) -> FactArrays | None:
        """Return a column if the view or the shared cache has it."""
        rows = self._columns.get((a, order))
        if rows is None:
            key = view.shared_key(a, order)
            rows = None if key is None else view.cache.use(key)
            if rows is not None:
                self._keep(view, a, order, rows)
        return rows

    def column(self, view: ColumnSource, a: int, order: str) -> FactArrays:
        """Return a column; it is read if it is not in memory."""
        rows = self.find(view, a, order)
        if rows is None:
            key = view.shared_key(a, order)
            rows = view.read_column(a, order)
            self._keep(view, a, order, rows)
            if key is not None:
                view.cache.put(key, rows, rows.nbytes)
        return rows

    def column_if_it_pays(self, view: ColumnSource, a: int, order: str, wanted: int) -> FactArrays | None:
        """Return a column if it is in memory, or if reading it pays for all rows wanted so far."""
        rows = self.find(view, a, order)
        if rows is None and self.note_reads(a, order, wanted) * WHOLE_COLUMN_PAYS > view.count(a):
            return self.column(view, a, order)
        return rows

    def note_reads(self, a: int, order: str, rows: int) -> int:
        """Count rows that were read without the column, and return the number so far."""
        reads = self._reads[a, order] = self._reads.get((a, order), 0) + rows
        return reads

    def note_look_up(self, view: ColumnSource, a: int) -> None:
        """Count one look-up of an entity; reads the column once that pays."""
        look_ups = self._reads[a, BY_ENTITY] = self._reads.get((a, BY_ENTITY), 0) + 1
        if look_ups % _LOOK_UPS == 0 and look_ups * WHOLE_COLUMN_PAYS > view.count(a):
            self.column(view, a, BY_ENTITY)

    def _keep(self, view: ColumnSource, a: int, order: str, rows: FactArrays) -> None:
        self._columns[a, order] = rows
        if order == BY_ENTITY and not view.is_history:
            self.lookups[a] = EntityLookup(rows, is_one_each=view.has_one_each(a))
