"""The page of the difference between the two handles of the slider, by entity."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from factstore.console.facts import change, ref
from factstore.console.page import Answer, PageRequest, Table
from factstore.datom import TX_PARTITION, partition_of, t_of
from factstore.reads.diff import diff

_MOST: Final = 2_000  # datoms that are shown


def difference(request: PageRequest) -> Answer:
    """Return the net change from the left handle to the right one, without the facts about the transactions."""
    before, after = request.before, request.db
    datoms = [datom for datom in diff(before, after) if partition_of(datom.e) != TX_PARTITION]
    shown = datoms[:_MOST]
    entities = [
        (ref(after, eid), [(*change(after if d.added else before, d), t_of(d.tx)) for d in group])
        for eid, group in groupby(shown, key=lambda datom: datom.e)
    ]
    rows = [row for _, changes in entities for row in changes]
    more = f"the first {_MOST:,} of {len(datoms):,} are shown" if len(datoms) > _MOST else ""
    table = Table(("", "entity", "attribute", "value", "t"), rows, more)
    values = {
        "entities": entities,
        "asserted": sum(datom.added for datom in datoms),
        "retracted": sum(not datom.added for datom in datoms),
        "whens": (before.instant_of(request.moment.after), after.instant_of(request.moment.upto)),
    }
    return Answer("difference.html", values, {"changes": table})
