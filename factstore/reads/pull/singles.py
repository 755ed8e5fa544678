"""Reads a selection of a few entities one by one, from the rows of entities that their view keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from factstore.index.entity_rows import Row
from factstore.reads.pull.parse import Leaf, Selection
from factstore.schema.attribute import IDENT
from factstore.values.types import Stored

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.index.view import View


class Singles:
    """The entities of a frame as a list of rows."""

    __slots__ = ("_db", "_entities", "_view")

    def __init__(self, db: Database, eids: list[int]) -> None:
        self._db = db
        self._view = view = db.view
        self._entities = [(e, view.row_of(e)) for e in eids]

    def fill(self, leaves: Sequence[Leaf], outs: list[dict[Any, Any]]) -> None:
        """Put the values of bare selections into the map of each entity."""
        view = self._view
        for (e, row), out in zip(self._entities, outs):
            fill_leaves(view, e, row, leaves, out)

    def gather(self, selection: Selection) -> list[Sequence[Stored]]:
        """Return the values of a selection for each entity, in order."""
        assert selection.attribute is not None
        a, view = selection.attribute.id, self._view
        if selection.reverse:
            return [view.holders_of(a, e) for e, _ in self._entities]
        values: list[Sequence[Stored]] = []
        for e, row in self._entities:
            known = row.get(a)
            values.append(row.read(view, e, a) if known is None else known)
        return values

    def attributes(self) -> tuple[int, ...]:
        """Return the ids of the attributes that the entities have."""
        known = [(e, row.read_everything(self._view, e)) for e, row in self._entities]
        attributes = tuple(dict.fromkeys(a for _, values in known for a in values))
        none: dict[int, tuple[Stored, ...]] = dict.fromkeys(attributes, ())
        self._entities = [
            (e, values if len(values) == len(attributes) else Row({**none, **values})) for e, values in known
        ]
        return attributes

    def idents(self, refs: list[Sequence[int]]) -> Callable[[int], Sequence[Stored]]:
        """Return a function from a referenced entity to its ident."""
        db = self._db
        return lambda e: () if db.schema.ident(e) is None else db.view.values_of(e, IDENT)


def fill_leaves(view: View, e: int, row: Row, leaves: Sequence[Leaf], out: dict[Any, Any]) -> None:
    """Put the values of bare selections into the map of an entity."""
    for key, a, load, order_key in leaves:
        values = row.get(a)
        if values is None:
            values = row.read(view, e, a)
        if values:
            # The past of a single attribute may have several values; the map contains the first of them.
            value = values[0] if len(values) == 1 else min(values, key=order_key)
            out[key] = value if load is None else load(value)
