"""Reads a selection of many entities at once, by column; imported only then, because it needs numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from factstore.index.positions import LastPositions
from factstore.reads.pull.parse import Leaf, Selection
from factstore.schema.attribute import IDENT
from factstore.values.types import Stored

if TYPE_CHECKING:
    from factstore.db.database import Database


class Ids:
    """The entities of a frame as an array of ids."""

    __slots__ = ("_db", "_es", "_last")

    def __init__(self, db: Database, eids: list[int]) -> None:
        self._db = db
        self._es = np.array(eids, np.int64)
        self._last = LastPositions()

    def fill(self, leaves: Sequence[Leaf], outs: list[dict[Any, Any]]) -> None:
        """Put the values of bare selections into the map of each entity."""
        for key, a, load, _ in leaves:
            column, positions = self._db.view.values_of_entities(a, self._es, self._last)
            values = column.tolist()
            if load is not None:
                values = list(map(load, values))
            if len(positions) == len(outs) and np.array_equal(positions, np.arange(len(outs))):
                for out, value in zip(outs, values, strict=True):
                    out[key] = value
            else:
                # Backwards, so that the first value remains if the past allowed several.
                for i, value in zip(reversed(positions.tolist()), reversed(values), strict=True):
                    outs[i][key] = value

    def gather(self, selection: Selection) -> list[Sequence[Stored]]:
        """Return the values of a selection for each entity, in order."""
        assert selection.attribute is not None
        if selection.reverse:
            rows, positions = self._db.view.with_values(selection.attribute.id, self._es)
            values = rows.e.tolist()
        else:
            rows, positions = self._db.view.of_entities(selection.attribute.id, self._es, self._last)
            values = rows.v.tolist()
        by_entity: list[Any] = [()] * len(self._es)
        for i, value in zip(positions.tolist(), values, strict=True):
            earlier = by_entity[i]
            if earlier:
                earlier.append(value)
            else:
                by_entity[i] = [value]
        return by_entity

    def attributes(self) -> tuple[int, ...]:
        """Return the ids of the attributes that the entities can have."""
        return tuple(self._db.view.attributes())

    def idents(self, refs: list[Sequence[int]]) -> Callable[[int], Sequence[Stored]]:
        """Return a function from a referenced entity to its ident; the idents of all of them are read at once."""
        distinct = {ref for some in refs for ref in some}
        rows, _ = self._db.view.of_entities(IDENT, np.fromiter(distinct, np.int64, len(distinct)))
        idents = {e: (ident,) for e, ident in zip(rows.e.tolist(), rows.v.tolist(), strict=True)}
        return lambda e: idents.get(e, ())
