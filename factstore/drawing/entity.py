"""The values that an entity had, one row for each attribute, as bars from the assertion to the end of the value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from factstore.drawing.rows import Row, Span, spans

if TYPE_CHECKING:
    from factstore.db.database import Database


def entity_rows(db: Database, entity: Any, *, until: datetime) -> list[Row]:
    """Return the rows of an entity's timeline; attributes in order of their names.

    Args:
        until: the end of the values that still hold.
    """
    eid = db.entid(entity)
    held: dict[int, dict[Any, float]] = {}
    rows: dict[int, list[Span]] = {}
    history = () if eid is None else sorted(db.history().datoms("eavt", eid), key=lambda d: (d.tx, d.added))
    for datom in history:
        instant = db.instant_of(db.t_at(datom.tx))
        at = until.timestamp() if instant is None else instant.timestamp()
        open_ = held.setdefault(datom.a, {})
        if datom.added:
            open_[datom.v] = at
        elif datom.v in open_:
            rows.setdefault(datom.a, []).append(_value(open_.pop(datom.v), at, datom.v))
    for attribute, values in held.items():
        for value, since in values.items():
            rows.setdefault(attribute, []).append(_value(since, max(since, until.timestamp()), value))
    named = {db.schema.attribute(attribute).ident: spans_ for attribute, spans_ in rows.items()}
    return [row for name in sorted(named) for row in _lanes(name, named[name])]


def _lanes(name: str, values: list[Span]) -> list[Row]:
    """Return the rows of one attribute: values that hold at the same time are in different rows."""
    lanes: list[list[Span]] = []
    for span in sorted(values):
        lane = next((lane for lane in lanes if lane[-1].end <= span.start), None)
        if lane is None:
            lanes.append([span])
        else:
            lane.append(span)
    return [Row(name if n == 0 else "", lane) for n, lane in enumerate(lanes)]


def _value(start: float, end: float, value: Any) -> Span:
    text = str(value)
    return Span(start, end, "value", text[:80], text[:500])


def timeline(db: Database, entity: Any, *, until: datetime, style: str = "") -> str:
    """Return the picture of the values that an entity had."""
    rows: Sequence[Row] = entity_rows(db, entity, until=until)
    return spans("timeline", f"History of {entity}", rows, style=style)
