"""The difference between the two handles of the slider, or between a backup and the store, by entity."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from factstore.console.facts import change, ref
from factstore.console.page import Answer, PageRequest, Ref, Table
from factstore.datom import TX_PARTITION, Datom, partition_of, t_of
from factstore.errors import DatabaseError
from factstore.reads.diff import diff
from factstore.values.quoting import quoted

if TYPE_CHECKING:
    from factstore.db.database import Database

_MOST: Final = 2_000  # datoms that are shown


class Changes(NamedTuple):
    """A net change: its first datoms by entity and as a table, and the numbers of all of them."""

    entities: list[tuple[Ref, list[tuple[Any, ...]]]]
    table: Table
    asserted: int
    retracted: int


def changes(before: Database, after: Database, net: Iterable[Datom]) -> Changes:
    """Return a difference of two databases by entity, without the facts about the transactions."""
    datoms = [datom for datom in net if partition_of(datom.e) != TX_PARTITION]
    shown = datoms[:_MOST]
    entities = [
        (_named(before, after, eid), [(*change(after if d.added else before, d), t_of(d.tx)) for d in group])
        for eid, group in groupby(shown, key=lambda datom: datom.e)
    ]
    rows = [row for _, own in entities for row in own]
    more = f"the first {_MOST:,} of {len(datoms):,} are shown" if len(datoms) > _MOST else ""
    table = Table(("", "entity", "attribute", "value", "t"), rows, more)
    asserted = sum(datom.added for datom in datoms)
    return Changes(entities, table, asserted, len(datoms) - asserted)


def difference(request: PageRequest) -> Answer:
    """Return the net change from the left handle to the right one."""
    return _answer(request, request.before, request.db, request.moment.after, "")


def from_backup(request: PageRequest) -> Answer:
    """Return the net change from the newest database of a backup, or of another store, to the moment of the page.

    Raises: DatabaseError(:db.error/not-an-entity) for a name that this console was not given.
    """
    name = request.parameters.get("name", "")
    if name not in request.backups:
        raise DatabaseError(":db.error/not-an-entity", f"this console has no backup {quoted(name)}", what=name)
    stored, own = request.backups[name].db(), request.conn.db()
    before = request.hidden.removed_from(stored, own)
    after = request.hidden.removed_from(own, stored).as_of(request.moment.upto)
    return _answer(request, before, after, stored.basis_t, name)


def _answer(request: PageRequest, before: Database, after: Database, start: int, backup: str) -> Answer:
    found = changes(before, after, diff(before, after))
    values = {
        "entities": found.entities,
        "asserted": found.asserted,
        "retracted": found.retracted,
        "start": start,
        "whens": (before.instant_of(start), after.instant_of(request.moment.upto)),
        "backup": backup,
    }
    return Answer("difference.html", values, {"changes": found.table})


def _named(before: Database, after: Database, eid: int) -> Ref:
    """Return a cell with the name of an entity afterwards; if it has none any more, with that before."""
    now = ref(after, eid)
    return now if now.label != str(eid) else ref(before, eid)
