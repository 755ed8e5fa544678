"""Reads a selection of many entities at once, by column; imported only then, because it needs numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from factstore.index.positions import LastPositions
from factstore.reads.pull.parse import Selection
from factstore.schema.attribute import IDENT
from factstore.values.types import Stored

if TYPE_CHECKING:
    from factstore.db.database import Database


class Ids:
    """The entities of a frame as an array of ids."""

    __slots__ = ("_es", "_last")

    def __init__(self, eids: list[int]) -> None:
        self._es = np.array(eids, np.int64)
        self._last = LastPositions()

    def fill(self, db: Database, selection: Selection, outs: list[dict[Any, Any]]) -> None:
        """Put the one value of a bare selection into the map of each entity."""
        assert selection.attribute is not None
        column, positions = db.view.values_of_entities(selection.attribute.id, self._es, self._last)
        key, values = selection.key, column.tolist()
        if selection.load is not None:
            values = list(map(selection.load, values))
        if len(positions) == len(outs) and np.array_equal(positions, np.arange(len(outs))):
            for out, value in zip(outs, values, strict=True):
                out[key] = value
        else:
            # Backwards, so that the first value remains if the past allowed several.
            for i, value in zip(reversed(positions.tolist()), reversed(values), strict=True):
                outs[i][key] = value

    def gather(self, db: Database, selection: Selection) -> list[Sequence[Stored]]:
        """Return the values of a selection for each entity, in order."""
        assert selection.attribute is not None
        if selection.reverse:
            rows, positions = db.view.with_values(selection.attribute.id, self._es)
            values = rows.e.tolist()
        else:
            rows, positions = db.view.of_entities(selection.attribute.id, self._es, self._last)
            values = rows.v.tolist()
        by_entity: list[Any] = [()] * len(self._es)
        for i, value in zip(positions.tolist(), values, strict=True):
            earlier = by_entity[i]
            if earlier:
                earlier.append(value)
            else:
                by_entity[i] = [value]
        return by_entity

    def idents(self, db: Database, refs: list[Sequence[int]]) -> Callable[[int], Sequence[Stored]]:
        """Return a function from a referenced entity to its ident; the idents of all of them are read at once."""
        distinct = {ref for some in refs for ref in some}
        rows, _ = db.view.of_entities(IDENT, np.fromiter(distinct, np.int64, len(distinct)))
        idents = {e: (ident,) for e, ident in zip(rows.e.tolist(), rows.v.tolist(), strict=True)}
        return lambda e: idents.get(e, ())
