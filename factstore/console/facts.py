"""Reads that several pages share: names of entities, transactions with who and why, and sizes of attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from factstore.console.page import PageRequest, Ref
from factstore.datom import TX_PARTITION, Datom, partition_of, t_of, tx_of
from factstore.schema.attribute import FIRST_FREE_ID, TX_INSTANT, Attribute

if TYPE_CHECKING:
    from factstore.db.database import Database

_COUNTED: Final = 100_000  # datoms up to which an attribute is counted exactly
_NAMES: Final = ("name", "title", "label", "key")  # attributes that name an entity, if none is unique
_READ_FOR_NAME: Final = 40  # datoms of an entity


class Transaction(NamedTuple):
    """A transaction as a row: its own facts are who made it and why, and are not among its datoms."""

    t: int
    when: datetime | None
    why: tuple[tuple[str, Any], ...]
    size: int  # the number of its datoms
    datoms: list[Datom]  # empty in a list that only shows the number


def name_of(db: Database, eid: int) -> str:
    """Return a short name of an entity: its ident, a unique value, a name, or its id."""
    if partition_of(eid) == TX_PARTITION:
        return f"t {t_of(eid)}"
    ident = db.ident(eid)
    if ident is not None:
        return str(ident)
    found: dict[int, str] = {}
    for datom in islice(db.datoms("eavt", eid), _READ_FOR_NAME):
        attribute = db.schema.attribute(datom.a)
        if attribute.is_identity and not attribute.is_tuple:
            found.setdefault(0, str(datom.v))
        elif attribute.ident.rpartition("/")[2] in _NAMES and not attribute.is_ref:
            found.setdefault(1, str(datom.v))
    return found[min(found)][:60] if found else str(eid)


def ref(db: Database, eid: int) -> Ref:
    """Return a cell that links to an entity."""
    return Ref(eid, name_of(db, eid))


def cell(db: Database, attribute: Attribute, value: Any) -> Any:
    """Return a value of an attribute as a cell."""
    return ref(db, value) if attribute.is_ref and type(value) is int else value


def change(db: Database, datom: Datom) -> tuple[Any, ...]:
    """Return a datom as a row: sign, entity, attribute, value."""
    attribute = db.schema.attribute(datom.a)
    return "+" if datom.added else "−", ref(db, datom.e), attribute.ident, cell(db, attribute, datom.v)


def transaction(db: Database, t: int, data: Iterable[Datom]) -> Transaction:
    """Return the datoms of a transaction, and apart from them the facts about it that the database has."""
    tx = tx_of(t)
    datoms = [datom for datom in data if datom.e != tx]
    return Transaction(t, db.instant_of(t), _why(db, tx), len(datoms), datoms)


def _why(db: Database, tx: int) -> tuple[tuple[str, Any], ...]:
    pairs = ((db.schema.attribute(datom.a), datom.v) for datom in db.datoms("eavt", tx))
    return tuple((str(each.ident), cell(db, each, v)) for each, v in pairs if each.id != TX_INSTANT)


def newest_first(request: PageRequest, upto: int, after: int, step: int = 64) -> Iterator[Transaction]:
    """Yield the transactions from `upto` back to `after`, which is not included."""
    db = request.db
    while upto > after:
        first = max(after + 1, upto - step + 1)
        for t, data in reversed(list(request.transactions(first, upto + 1))):
            yield transaction(db, t, data)
        upto = first - 1


def newest_sizes(request: PageRequest, upto: int, after: int, step: int = 64) -> Iterator[Transaction]:
    """Yield the transactions from `upto` back to `after` without their datoms: one may have loaded a whole table."""
    if request.hidden:  # their facts do not count
        yield from newest_first(request, upto, after, step)
        return
    db, log = request.db, request.conn.log()
    while upto > after:
        first = max(after + 1, upto - step + 1)
        for t, size in reversed(list(log.sizes(first, upto + 1))):
            tx = tx_of(t)
            own = sum(1 for datom in db.datoms("eavt", tx) if datom.tx == tx)
            yield Transaction(t, db.instant_of(t), _why(db, tx), size - own, [])
        upto = first - 1


def declared(request: PageRequest) -> list[Attribute]:
    """Return the attributes that the application has declared, without the hidden ones."""
    db = request.db
    visible = request.hidden.visible(db)
    own = (attribute for attribute in db.schema.attributes if attribute.id >= FIRST_FREE_ID)
    return [attribute for attribute in own if visible(attribute.id)]


def size_of(db: Database, attribute: Attribute) -> tuple[int, bool]:
    """Return the number of datoms of an attribute, and whether it is exact; an upper bound if counting reads much."""
    bound = db.view.count(attribute.id)
    return (bound, False) if bound > _COUNTED else (int(db.view.by_entity(attribute.id).size), True)
