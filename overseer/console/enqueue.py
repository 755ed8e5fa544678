"""The page that inserts a job: a form made from the arguments of its type, tried before it is committed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import FactStoreError, Keyword
from factstore.console import Answer, PageRequest, Redirect, Table, commit
from overseer import job_txn, once, status
from overseer.console.asking import names
from overseer.errors import OverseerError
from overseer.jobs.graph import new_id
from overseer.jobs.states import as_keyword
from overseer.typed.parameters import namespace_of

if TYPE_CHECKING:
    from factstore import Database

_READ: Final = 50  # jobs whose attributes are arguments of their type
_OPTIONS: Final = ("queue", "priority", "run_at")


class Field(NamedTuple):
    """An argument of a type of job, as a field of the form."""

    name: str  # the ident of its attribute
    type: str  # of its values
    doc: str
    many: bool


def enqueue(request: PageRequest) -> Answer | Redirect:
    """Return the form of a type of job; with a filled one, try the job, and commit it if it has been tried."""
    request.check_writable()
    db, form = request.newest, request.form
    type = (form or request.parameters).get("type", "").strip()
    fields = fields_of(db, type) if type else []
    tried: Table | None = None
    id = ""
    if form is not None:
        id = form.get("id", "").strip() or new_id()
        forms = [once(_job(type, id, fields, form))]
        if form.get("do") == "commit":
            commit(request, forms, key=f"enqueue {id}")
            return Redirect("/job", {"id": id, "t": "", "from": ""})
        tried = _tried(request, forms)
    values = {
        "type": type,
        "known": sorted({*names(db, ":job/type"), *_handled(db)}),
        "fields": fields,
        "options": _OPTIONS,
        "given": {**dict.fromkeys([*_OPTIONS, *(field.name for field in fields)], ""), **(form or {})},
        "queues": names(db, ":job/queue"),
        "id": id,
        "tried": tried,
    }
    return Answer("enqueue.html", values, {} if tried is None else {"datoms": tried})


def _handled(db: Database) -> list[Keyword]:
    return [type for worker in status.workers(db) for type in worker.handlers]


def fields_of(db: Database, type: str) -> list[Field]:
    """Return the arguments of a type: the attributes of its newest jobs, and those that a typed job declares."""
    of_type = as_keyword(type)
    names = {datom.a for job in _newest(db, of_type) for datom in db.datoms("eavt", job)}
    space = f":{namespace_of(of_type)}/"
    found = [
        attribute
        for attribute in db.schema.attributes
        if (attribute.id in names or attribute.ident.startswith(space))
        and not attribute.ident.startswith((":job/", ":db/"))
        and not attribute.is_tuple
    ]
    return [Field(str(each.ident), each.value_type.name, _doc(db, each.id), each.many) for each in found]


def _newest(db: Database, type: Keyword) -> list[int]:
    jobs = sorted(factstore.q("[:find [?j ...] :in $ ?type :where [?j :job/type ?type]]", db, type), reverse=True)
    return list(islice(jobs, _READ))


def _doc(db: Database, attribute: int) -> str:
    return next((str(datom.v) for datom in db.datoms("eavt", attribute, ":db/doc")), "")


def _job(type: str, id: str, fields: list[Field], form: Mapping[str, str]) -> dict[str, Any]:
    arguments = {field.name: _value(field, text) for field in fields if (text := form.get(field.name, ""))}
    queue, priority, run_at = (form.get(name, "").strip() for name in _OPTIONS)
    return job_txn(
        type,
        arguments,
        id=id,
        queue=queue or None,
        priority=_value(Field("priority", "long", "", False), priority) if priority else None,
        run_at=_value(Field("run_at", "instant", "", False), run_at) if run_at else None,
    )


def _value(field: Field, text: str) -> Any:
    """Return the value of a field: text as it is, an instant in ISO 8601, any other value as EDN.

    Raises: OverseerError(:job.error/bad-argument).
    """
    try:
        if field.many:
            return factstore.edn.read(text)
        if field.type == "string":
            return text
        if field.type == "instant":
            time = datetime.fromisoformat(text.strip())
            return time if time.tzinfo else time.replace(tzinfo=UTC)
        return factstore.edn.read(text)
    except (FactStoreError, ValueError):
        wants = "a set such as #{1 2}" if field.many else f"a value of the type {field.type}"
        why = f"{field.name} is {wants}, got {factstore.quoted(text)}"
        raise OverseerError(":job.error/bad-argument", why, argument=field.name, got=text) from None


def _tried(request: PageRequest, forms: list[Any]) -> Table:
    report = factstore.with_(request.conn.db(), forms)
    db = report.db_after
    rows = [
        (db.attribute(datom.a).ident, db.ident(datom.v) or datom.v if db.attribute(datom.a).is_ref else datom.v)
        for datom in request.shown(report.tx_data)
        if datom.added and datom.e != report.tx_data[0].e
    ]
    return Table(("attribute", "value"), rows)
