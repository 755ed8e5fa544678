"""Actions on all jobs that filters choose, in one transaction; and the page of such a transaction, with Undo.

the form of the list ──► act: what would change ──► act: commit ──► changes: what has changed, Undo
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import factstore
from factstore.console import Answer, PageRequest, Redirect, Table, signing
from overseer import reverting
from overseer.console.asking import filters
from overseer.errors import OverseerError
from overseer.jobs import lookup
from overseer.jobs.store import bulk
from overseer.jobs.store.bulk import Move
from overseer.status import matching

if TYPE_CHECKING:
    from factstore import Database

_MOST: Final = 20_000  # jobs of one transaction
_LISTED: Final = 200
ACTIONS: Final = {
    "abort": "Abort",
    "retry": "Retry",
    "repeat": "Run again as new jobs",
    "queue": "Move to a queue",
    "priority": "Set the priority",
}


def act(request: PageRequest) -> Answer | Redirect:
    """Show what an action would change; commit it if the form has been tried.

    Raises: OverseerError(:job.error/bad-argument) for an unknown action, too many jobs, or a wrong value.
    """
    form = request.form
    if form is None:
        return Redirect("/jobs")
    who, step = request.who, form.get("step")
    if step == "commit":
        with signing(request):
            move, report = bulk.committed(request.conn, partial(_moved, form=form, who=who))
        if report is not None:
            return Redirect(f"/jobs/changes/{report.t}", {"t": "", "from": ""})
    else:
        move = _moved(request.conn.db(), form=form, who=who)
    kept = {name: text for name, text in form.items() if name != "step"}
    rows = [*((id, "") for id in move.moved), *((id, "because of another one") for id in move.others)]
    values = {
        "title": ACTIONS[form["do"]],
        "form": {**kept, "nonce": form.get("nonce") or uuid4().hex[:8]},
        "move": move,
        "filters": filters(form),
        "is_late": step == "commit",
    }
    more = f"the first {_LISTED} of {len(rows):,} are shown" if len(rows) > _LISTED else ""
    return Answer("act.html", values, {"jobs": Table(("id", "why"), rows[:_LISTED], more)})


def _moved(db: Database, *, form: Mapping[str, str], who: str) -> Move:
    """Return the transaction of an action on a database."""
    jobs, value = _chosen(db, form), form.get("value", "").strip()
    action = form.get("do", "")
    if action == "abort":
        return bulk.abort(db, jobs, form.get("message", "").strip() or "aborted in the console", by=who)
    if action == "retry":
        return bulk.retry(db, jobs, by=who)
    if action == "repeat":
        return bulk.repeat(db, jobs, by=who, ids=lambda old: f"{old}~{form.get('nonce', '')}")
    if action == "queue":
        return bulk.change(db, jobs, queue=value or None, by=who)
    if action == "priority":
        return bulk.change(db, jobs, priority=_whole(value), by=who)
    why = f"expected one of {', '.join(ACTIONS)}, got {factstore.quoted(action)}"
    raise OverseerError(":job.error/bad-argument", why, action=action)


def _whole(text: str) -> int | None:
    digits = text.removeprefix("-")
    if text and not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        why = f"a priority is a whole number, or empty for the default, got {factstore.quoted(text)}"
        raise OverseerError(":job.error/bad-argument", why, priority=text)
    return int(text) if text else None


def _chosen(db: Database, form: Mapping[str, str]) -> list[int]:
    if form.get("id"):
        return [lookup.named(db, form["id"])]
    given: dict[str, Any] = filters(form)
    found = [job for _, job in matching(db, **given)]
    if len(found) > _MOST:
        why = f"an action changes at most {_MOST:,} jobs in one transaction, and {len(found):,} match: add a filter"
        raise OverseerError(":job.error/bad-argument", why, jobs=len(found))
    return found


def changes(request: PageRequest) -> Answer | Redirect:
    """Show what a transaction has changed of jobs; with a form, revert it for the jobs that have not changed since."""
    t, conn = request.parts["t"], request.conn
    if not 1 <= t <= request.moment.upto:
        raise factstore.DatabaseError(":db.error/not-an-entity", f"there is no transaction {t} at this moment", t=t)
    if request.form is not None:
        with signing(request), conn.transaction() as tx:
            forms = reverting.revert(tx.db, t, by=request.who)
            if forms:
                tx.transact(forms)
        return Redirect(f"/jobs/changes/{tx.report.t if forms and tx.report else t}", {"t": "", "from": ""})
    newest = request.newest
    ids = sorted(reverting.changed(newest, t))
    moved_on = reverting.moved_on(newest, t)
    before, after = request.newest.as_of(t - 1), request.newest.as_of(t)
    rows = [(id, _status(before, id), _status(after, id), id in moved_on) for id in ids[:_LISTED]]
    more = f"the first {_LISTED} of {len(ids):,} are shown" if len(ids) > _LISTED else ""
    values = {
        "t": t,
        "at": after.instant_of(t),
        "by": _by(newest, t),
        "reverts": _reverted(newest, t),
        "count": len(ids),
        "moved_on": len(moved_on),
    }
    return Answer("changes.html", values, {"jobs": Table(("id", "before", "after", "changed since"), rows, more)})


def _status(db: Database, id: str) -> Any:
    eid = db.entid([":job/id", id])
    return None if eid is None else lookup.status(db, eid)


def _by(db: Database, t: int) -> str | None:
    name: str | None = lookup.value(db, factstore.t_to_tx(t), ":overseer/by")
    return name


def _reverted(db: Database, t: int) -> int | None:
    """Return the t of the transaction that this one reverts."""
    tx = lookup.value(db, factstore.t_to_tx(t), ":overseer/reverts")
    return None if tx is None else factstore.tx_to_t(tx)
