"""Runs statements. The commands are one table: a name, its arguments, what it does, and its function.

To add a command, write its function and add a row to `COMMANDS`.
"""

from __future__ import annotations

import difflib
import time
from dataclasses import replace
from typing import Any, Final, NamedTuple

from factstore import edn
from factstore.concurrency.pipes import until_unread
from factstore.editing.saved import save, saved
from factstore.errors import DatabaseError, QueryError
from factstore.query import explain
from factstore.reads.diff import diff
from factstore.reads.entity_history import entity_history
from factstore.shell.session import Action, Leave, Session, value_in
from factstore.shell.statements import DotCommand, Transaction, WrittenQuery, is_query, read
from factstore.shell.view import View, point_of
from factstore.transact import with_
from factstore.values.quoting import did_you_mean, quoted


class Command(NamedTuple):
    """A command."""

    name: str
    arguments: str
    about: str
    run: Action


def _as_of(session: Session, rest: str) -> None:
    session.view = replace(session.view, as_of=_point(session, rest))
    _tell(session)


def _since(session: Session, rest: str) -> None:
    session.view = replace(session.view, since=_point(session, rest))
    _tell(session)


def _history(session: Session, rest: str) -> None:
    session.view = replace(session.view, history=_switched(rest, session.view.history))
    _tell(session)


def _now(session: Session, rest: str) -> None:
    _no_argument(".now", rest)
    session.view = View()
    _tell(session)


def _point(session: Session, rest: str) -> Any:
    return point_of(session.conn.db(), rest) if rest else None


def _tell(session: Session) -> None:
    session.out.note(str(session.view) or f"the newest database, t {session.conn.db().basis_t}")


def _switched(rest: str, now: bool) -> bool:
    if rest not in ("", "on", "off"):
        raise DatabaseError(":db.error/invalid-command", f"expected on or off, got {quoted(rest)}", got=rest)
    return rest == "on" if rest else not now


def _no_argument(name: str, rest: str) -> None:
    if rest:
        raise DatabaseError(":db.error/invalid-command", f"{name} takes no argument, got {quoted(rest)}", got=rest)


def _diff(session: Session, rest: str) -> None:
    points = rest.split()
    if len(points) not in (1, 2):
        message = f"expected one or two points in time, .diff -1h or .diff 17 42, got {quoted(rest)}"
        raise DatabaseError(":db.error/invalid-command", message, got=rest)
    newest = session.conn.db()
    before = newest.as_of(point_of(newest, points[0]))
    after = newest.as_of(point_of(newest, points[1])) if len(points) == 2 else View(session.view.as_of).of(newest)
    session.datoms(newest, diff(before, after))


def _try(session: Session, rest: str) -> None:
    report = with_(View(session.view.as_of).of(session.conn.db()), _form(".try", rest))
    session.datoms(report.db_after, report.tx_data)
    session.out.note("nothing was committed")


def _form(name: str, rest: str) -> Any:
    forms = edn.read_all(rest)
    if len(forms) != 1:
        message = f"{name} takes one form, got {len(forms)}"
        raise DatabaseError(":db.error/invalid-command", message, got=rest)
    return forms[0]


def _follow(session: Session, rest: str) -> None:
    _no_argument(".follow", rest)
    with session.conn.tx_reports() as reports, until_unread(session.conn.close):
        session.out.note("following; Ctrl-C ends it")
        for report in reports:
            session.out.note(f"t {report.t}  {report.db_after.instant_of(report.t)}")
            session.datoms(report.db_after, report.tx_data)


def _schema(session: Session, rest: str) -> None:
    attributes = [each for each in session.db.schema.attributes if rest in each.ident]
    own = [each for each in attributes if rest or not each.ident.startswith((":db/", ":db.", ":fressian/"))]
    found = [
        (each.ident, each.value_type.name, "many" if each.many else "one", each.unique or "", each.doc or "")
        for each in sorted(own, key=lambda each: each.ident)
    ]
    session.table(("attribute", "type", "cardinality", "unique", "doc"), found, len(found), "attribute")


def _entity(session: Session, rest: str) -> None:
    eid = _form(".entity", rest)
    if session.view.history:
        events = entity_history(session.db, eid)
        found: list[Any] = [("+" if e.added else "-", e.t, e.when, e.attribute, e.value) for e in events]
        session.table(("", "t", "when", "attribute", "value"), found, len(found), "event")
        return
    entity = session.db.entity(eid)
    facts = [] if entity is None else sorted(session.db.datoms("eavt", session.db.entid(eid)), key=lambda d: d.a)
    found = [(session.db.ident(d.a), value_in(session.db, d), d.tx) for d in facts]
    session.table(("attribute", "value", "tx"), found, len(found), "datom")


def _explain(session: Session, rest: str) -> None:
    text = rest or session.query
    statement = read(text) if text else None
    if not isinstance(statement, WrittenQuery):
        raise QueryError(":db.error/invalid-query", "expected a query, .explain [:find …], or one that ran before")
    session.out.line(str(explain(statement.form, session.db, *statement.inputs)))


def _save(session: Session, rest: str) -> None:
    name, _, text = rest.partition(" ")
    text = text.strip() or session.query or ""
    if not text or not is_query(edn.read_all(text)[0]):
        raise QueryError(":db.error/invalid-query", "expected a query, .save people [:find …], or one that ran before")
    save(session.conn, name, text)
    session.out.note(f"saved as {name}")


def _run(session: Session, rest: str) -> None:
    known = saved(session.conn.db())
    name, _, inputs = rest.partition(" ")
    if not name:
        session.table(("name", "query"), list(known.items()), len(known), "saved query")
        return
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = did_you_mean(near)
        message = f"no query was saved under the name {quoted(name)}{hint}"
        raise QueryError(":db.error/unknown-query", message, name=name, nearest=near)
    session.query = f"{known[name]} {inputs}".strip()
    run(session, session.query)


def _timing(session: Session, rest: str) -> None:
    session.timing = _switched(rest, session.timing)
    session.out.note(f"timing is {'on' if session.timing else 'off'}")


def _help(session: Session, rest: str) -> None:
    _no_argument(".help", rest)
    session.out.line(_HELP)
    session.out.table(("command", "", ""), [(each.name, each.arguments, each.about) for each in COMMANDS])


def _quit(_session: Session, rest: str) -> None:
    _no_argument(".quit", rest)
    raise Leave


_HELP: Final = (
    "A query shows its answer, [:find ?e :where [?e :person/name]]; the values of its :in come after it.\n"
    'A transaction is committed, [{:person/name "Ann"}]. A statement ends when its brackets are closed.'
)
COMMANDS: Final = (
    Command(".as-of", "[POINT]", "read the database as of a t or a moment (-5m); without POINT, the newest", _as_of),
    Command(".since", "[POINT]", "read only what was asserted after a point; without POINT, everything", _since),
    Command(".history", "[on|off]", "read all values that there ever were", _history),
    Command(".now", "", "read the newest database, without any limit", _now),
    Command(".diff", "POINT [POINT]", "show what changed between two points, or since one", _diff),
    Command(".try", "FORMS", "show what a transaction would change; commit nothing", _try),
    Command(".follow", "", "show each transaction when it is committed, until Ctrl-C", _follow),
    Command(".schema", "[PART]", "list attributes, those whose name contains PART", _schema),
    Command(".entity", "ID", "show an entity: an id, an ident, or a lookup ref; with .history, its past", _entity),
    Command(".explain", "[QUERY]", "show the steps of a query, or of the last one", _explain),
    Command(".save", "NAME [QUERY]", "save a query, or the last one, as facts of the store", _save),
    Command(".run", "[NAME INPUT…]", "run a saved query; without a name, list them", _run),
    Command(".timing", "[on|off]", "show how long statements take", _timing),
    Command(".help", "", "show this list", _help),
    Command(".quit", "", "leave, as Ctrl-D does", _quit),
)
_BY_NAME: Final = {command.name: command for command in COMMANDS}


def find(name: str) -> Command:
    """Return a command by its name. Raises: DatabaseError(:db.error/invalid-command), with the nearest names."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    near = difflib.get_close_matches(name, _BY_NAME, n=2)
    hint = did_you_mean(near, "; .help lists them")
    raise DatabaseError(":db.error/invalid-command", f"there is no command {quoted(name)}{hint}", name=name)


def run(session: Session, text: str) -> None:
    """Run the text of a statement.

    Raises: FactStoreError; Leave.
    """
    started = time.perf_counter()
    statement = read(text)
    match statement:
        case DotCommand(name, rest):
            find(name).run(session, rest)
        case WrittenQuery(form, inputs):
            session.query = text.strip()
            session.ask(form, inputs)
        case Transaction(forms):
            report = session.conn.transact(forms)
            session.datoms(report.db_after, report.tx_data)
            session.out.note(f"committed as t {report.t}")
    if session.timing and not isinstance(statement, DotCommand):
        session.out.note(f"{(time.perf_counter() - started) * 1000:,.1f} ms")
