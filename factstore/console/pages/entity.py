"""The page of an entity: its facts, the references in both directions, and its whole history with who and why."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from factstore import edn
from factstore.console.facts import cell, name_of, ref
from factstore.console.page import Answer, PageRequest, Table
from factstore.datom import TX_PARTITION, partition_of, t_of
from factstore.errors import DatabaseError, FactStoreError
from factstore.reads.entity_history import EntityEvent, entity_history
from factstore.values.quoting import quoted

if TYPE_CHECKING:
    from factstore.db.database import Database

_MOST: Final = 500  # rows of each table


def entity(request: PageRequest) -> Answer:
    """Return the page of the entity that the path names: an id, an ident, or a lookup ref.

    Raises: DatabaseError(:db.error/not-an-entity), which is the page "not found".
    """
    db = request.db
    eid = entity_named(db, request.parts["name"])
    facts, references = _facts(db, eid), _references(db, eid)
    history = entity_history(db, eid)
    if not (facts.rows or references.rows or len(history)):
        raise _unknown(request.parts["name"])
    events = [_event(db, event) for event in reversed(history.rows[-_MOST:])]
    values = {
        "eid": eid,
        "name": name_of(db, eid),
        "attribute": db.schema.find(eid),
        "transaction": t_of(eid) if partition_of(eid) == TX_PARTITION else None,
        "events": events,
        "older": max(0, len(history) - _MOST),
    }
    exported = Table(
        ("when", "t", "added", "attribute", "value", "why"),
        [(e.when, e.t, e.added, e.attribute, e.value, dict(e.why)) for e in events],
    )
    return Answer("entity.html", values, {"facts": facts, "references": references, "history": exported})


def entity_named(db: Database, name: str) -> int:
    """Return the id of the entity with a name in an address."""
    text = name.strip()
    try:
        eid = db.entid(int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else edn.read(text))
    except FactStoreError as error:
        raise _unknown(name) from error
    if eid is None:
        raise _unknown(name)
    return eid


def _unknown(name: str) -> DatabaseError:
    message = f"there is no entity {quoted(name)} at this moment; expected an id, an ident or a lookup ref"
    return DatabaseError(":db.error/not-an-entity", message, entity=name)


def _facts(db: Database, eid: int) -> Table:
    rows = []
    datoms = db.datoms("eavt", eid)[: _MOST + 1]
    for datom in datoms[:_MOST]:
        attribute, t = db.schema.attribute(datom.a), t_of(datom.tx)
        rows.append((attribute.ident, cell(db, attribute, datom.v), db.instant_of(t), t))
    return Table(("attribute", "value", "since", "t"), rows, _more(len(datoms)))


def _references(db: Database, eid: int) -> Table:
    datoms = list(islice(db.datoms("vaet", eid), _MOST + 1))
    rows = [(ref(db, datom.e), db.schema.attribute(datom.a).ident, t_of(datom.tx)) for datom in datoms[:_MOST]]
    return Table(("entity", "attribute", "t"), rows, _more(len(datoms)))


def _more(found: int) -> str:
    return f"the first {_MOST} are shown" if found > _MOST else ""


def _event(db: Database, event: EntityEvent) -> EntityEvent:
    """Return an event whose values are cells."""
    why: dict[Any, Any] = dict(_cells(db, event))
    return event._replace(why=why, value=cell(db, db.schema.attribute(event.attribute), event.value))


def _cells(db: Database, event: EntityEvent) -> Iterator[tuple[Any, Any]]:
    for ident, value in event.why.items():
        yield ident, cell(db, db.schema.attribute(ident), value)
