"""The transact box: try a transaction, see its datoms and what they change, and then commit it."""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Any

from factstore.console.facts import change
from factstore.console.page import Answer, PageRequest, Redirect, Table
from factstore.console.pages.difference import changes
from factstore.console.writing import commit, sentence_of, speculated
from factstore.editing.mistakes import mistake_in
from factstore.errors import FactStoreError, TransactError
from factstore.reads.diff import diff


def transact(request: PageRequest) -> Answer | Redirect:
    """Show the box; try its text, or commit a text that was tried."""
    request.check_writable()
    form = request.form
    if form is None:
        return Answer("transact.html", {**_NOTHING, "text": request.parameters.get("text", "")})
    text, key = form.get("text", ""), form.get("key", "")
    try:
        if form.get("do") == "commit":
            if not key:
                raise TransactError(":db.error/invalid-tx-form", "try a transaction before it is committed")
            report = commit(request, text, key=f"console-{key}")
            return Redirect(f"/transactions/{report.t}", {"t": "", "from": ""})
        return _tried(request, text)
    except FactStoreError as error:
        mistake = mistake_in(text, error)._replace(message=sentence_of(request, error))
        return Answer("transact.html", {**_NOTHING, "text": text, "mistake": mistake}, status=400)


_NOTHING: dict[str, Any] = {"mistake": None, "key": "", "tempids": {}, "count": None, "net": None}


def _tried(request: PageRequest, text: str) -> Answer:
    report = speculated(request, text)
    before, after = map(request.hidden.removed_from, (report.db_before, report.db_after))
    visible = request.hidden.visible(report.db_after)
    net = (datom for datom in diff(report.db_before, report.db_after) if visible(datom.a))
    rows = [change(after, datom) for datom in request.shown(report.tx_data[1:])]
    values = {"text": text, "mistake": None, "key": token_urlsafe(12), "tempids": dict(report.tempids)}
    table = Table(("", "entity", "attribute", "value"), rows)
    return Answer(
        "transact.html", {**values, "count": len(rows), "net": changes(before, after, net)}, {"datoms": table}
    )
