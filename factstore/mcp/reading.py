"""The tools that read a store; none of them writes, also `suppose` does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from factstore.datom import t_of
from factstore.errors import QueryError
from factstore.mcp.session import Session, read
from factstore.mcp.tools import Answer
from factstore.reads.diff import diff as difference
from factstore.reads.entity_history import entity_history
from factstore.reads.pull import pull as pulled
from factstore.schema.attribute import FIRST_FREE_ID, Attribute
from factstore.transact import with_

if TYPE_CHECKING:
    from factstore.datom import Datom
    from factstore.db.database import Database

_IDENTS: Final = "[:find ?ident :where [?e :db/ident ?ident] (not [?e :db/valueType]) :order-by ?ident]"


def schema(session: Session, namespace: str | None = None, at: str | int | None = None) -> Answer:
    """Return the attributes of the store, and the idents that are no attributes, such as the values of enumerations.

    Call this first: queries can use only these attributes.

    Args:
        namespace: only the attributes in this namespace, such as person.
        at: the time: a t, an instant such as 2026-01-31T12:00Z, or a duration ago such as -5m; the default is now.
    """
    db = session.db(at)
    wanted = None if namespace is None else namespace.strip(":/")
    own = [attribute for attribute in db.schema.attributes if attribute.id >= FIRST_FREE_ID]
    attributes = [each for each in own if wanted is None or each.ident.lstrip(":").partition("/")[0] == wanted]
    idents = () if wanted is not None else (ident for (ident,) in session.rows(_IDENTS, db) if not _is_system(ident))
    return {"t": db.basis_t, "attributes": (_described(db, each) for each in attributes), "idents": iter(idents)}


def _is_system(ident: str) -> bool:
    return ident.lstrip(":").partition("/")[0].partition(".")[0] in ("db", "fressian")


def _described(db: Database, attribute: Attribute) -> dict[str, Any]:
    declared: dict[str, Any] = pulled(db, "[*]", attribute.id) or {}
    facts = {name.removeprefix(":db/"): value for name, value in declared.items() if name != ":db/id"}
    return {name: value[":db/ident"] if _is_named(value) else value for name, value in facts.items()}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and ":db/ident" in value


def query(
    session: Session, query: str, args: str | None = None, at: str | int | None = None, history: bool | None = None
) -> Answer:
    """Return the answer of a Datalog query in the language of Datomic.

    Example: [:find ?name ?age :in $ ?least :where [?p :person/name ?name] [?p :person/age ?age] [(>= ?age ?least)]]
    with args [18]. Also :order-by, :limit, aggregates such as (count ?p), (pull ?p [*]), rules, not, or.

    Args:
        query: the query in EDN. Its first input is the database.
        args: the further inputs, a vector in EDN, such as ["Ann" #inst "2026-01-31T12:00:00Z"].
        at: the time: a t, an instant such as 2026-01-31T12:00Z, or a duration ago such as -5m; the default is now.
        history: true: query all facts that ever held; a clause [?e ?a ?v ?tx ?added] then has when and whether.
    """
    db = session.db(at)
    return {"t": db.basis_t, **_answer(session, query, db.history() if history else db, args)}


def _answer(session: Session, query: str, db: Database, args: str | None) -> Answer:
    found = session.rows(query, db, args)
    return {"count": len(found), "columns": list(found.columns), "rows": iter(found)}


def pull(session: Session, entity: str | int, pattern: str | None = None, at: str | int | None = None) -> Answer:
    """Return the facts of one entity as a map.

    Args:
        entity: an entity id, an ident such as :color/red, or a lookup ref such as [:person/email "ann@x"].
        pattern: a pull pattern in EDN, such as [:person/name {:person/boss [*]} :order/_person]; the default is [*].
        at: the time: a t, an instant such as 2026-01-31T12:00Z, or a duration ago such as -5m; the default is now.
    """
    db = session.db(at)
    return {"t": db.basis_t, "entity": pulled(db, "[*]" if pattern is None else pattern, _entity(entity))}


def history(session: Session, entity: str | int, at: str | int | None = None) -> Answer:
    """Return all that was ever asserted and retracted about one entity, oldest first, with when, and who and why.

    Args:
        entity: an entity id, an ident such as :color/red, or a lookup ref such as [:person/email "ann@x"].
        at: only until then: a t, an instant such as 2026-01-31T12:00Z, or a duration ago such as -5m.
    """
    db = session.db(at)
    events = entity_history(db, _entity(entity))
    return {"t": db.basis_t, "eid": events.eid, "count": len(events), "events": (each._asdict() for each in events)}


def _entity(text: str | int) -> Any:
    return read(text, "entity") if isinstance(text, str) else text


def diff(session: Session, start: str | int, end: str | int | None = None) -> Answer:
    """Return the net change of the whole store between two times, as assertions and retractions.

    Args:
        start: the earlier time: a t, an instant such as 2026-01-31T12:00Z, or a duration ago such as -5m.
        end: the later time; the default is now.
    """
    before, after = session.db(start), session.db(end)
    changes = difference(before, after)
    return {"count": len(changes), "changes": _datoms(after, changes)}


def suppose(session: Session, tx_data: str, query: str | None = None, args: str | None = None) -> Answer:
    """Return what would be true after a transaction: its datoms, and the answer of a query. Nothing is written.

    A transaction that the store would reject is an error with the reason, so plans can be tried here safely.

    Args:
        tx_data: the transaction, a vector in EDN: [{:person/name "Ann"} [:db/retract 17 :person/age 7]].
        query: a query on the database as it would be.
        args: the inputs of the query after the database, a vector in EDN.
    """
    report = with_(session.db(), session.vector(tx_data, "tx_data"))
    if query is None and args is not None:
        raise QueryError(":db.error/invalid-inputs", "args are the inputs of a query, and there is no query")
    after = report.db_after
    answer = {} if query is None else _answer(session, query, after, args)
    return {"tempids": named(report.tempids), "datoms": _datoms(after, report.tx_data), **answer}


def named(tempids: Any) -> dict[str, int]:
    """Return the tempids that the caller chose, with their entities."""
    return {tempid: eid for tempid, eid in tempids.items() if isinstance(tempid, str)}


def _datoms(db: Database, datoms: Iterable[Datom]) -> Iterator[dict[str, Any]]:
    for datom in datoms:
        what = {"entity": datom.e, "attribute": db.ident(datom.a), "value": datom.v}
        yield {"added": datom.added, **what, "t": t_of(datom.tx)}


READS: Final = (schema, query, pull, history, diff, suppose)
