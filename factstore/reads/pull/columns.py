"""Reading a step for many entities at once, by columns. Only frames of many get here: it needs numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from factstore.index.positions import LastPositions
from factstore.reads.pull.parse import Step
from factstore.schema.attribute import IDENT
from factstore.values.types import Stored

if TYPE_CHECKING:
    from factstore.db.database import Database


class Ids:
    """The entities of a frame as a column of ids."""

    __slots__ = ("_es", "_last")

    def __init__(self, eids: list[int]) -> None:
        self._es = np.array(eids, np.int64)
        self._last = LastPositions()

    def fill(self, db: Database, step: Step, outs: list[dict[Any, Any]]) -> None:
        """Put the one value that each entity has of a bare step's attribute straight into its map."""
        assert step.attribute is not None
        found, positions = db.view.values_of_entities(step.attribute.id, self._es, self._last)
        key, values = step.key, found.tolist()
        if step.load is not None:
            values = list(map(step.load, values))
        if len(positions) == len(outs) and np.array_equal(positions, np.arange(len(outs))):
            for out, value in zip(outs, values, strict=True):
                out[key] = value
        else:
            # Backwards, so that the first counts where the past allowed several.
            for i, value in zip(reversed(positions.tolist()), reversed(values), strict=True):
                outs[i][key] = value

    def gather(self, db: Database, step: Step) -> list[Sequence[Stored]]:
        """Return the values of a step for each entity, in order."""
        assert step.attribute is not None
        if step.reverse:
            rows, positions = db.view.with_values(step.attribute.id, self._es)
            values = rows.e.tolist()
        else:
            rows, positions = db.view.of_entities(step.attribute.id, self._es, self._last)
            values = rows.v.tolist()
        found: list[Any] = [()] * len(self._es)
        for i, value in zip(positions.tolist(), values, strict=True):
            known = found[i]
            if known:
                known.append(value)
            else:
                found[i] = [value]
        return found

    def idents(self, db: Database, refs: list[Sequence[int]]) -> Callable[[int], Sequence[Stored]]:
        """Return what tells the ident of each entity referred to, read for all of them at once."""
        distinct = {ref for some in refs for ref in some}
        rows, _ = db.view.of_entities(IDENT, np.fromiter(distinct, np.int64, len(distinct)))
        known = {e: (ident,) for e, ident in zip(rows.e.tolist(), rows.v.tolist(), strict=True)}
        return lambda e: known.get(e, ())
