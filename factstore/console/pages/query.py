"""The page of queries: Datalog with its errors in place, its steps as bars, a chart, and queries saved as facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from factstore import edn
from factstore.console.facts import declared
from factstore.console.page import Answer, PageRequest, Redirect, Table
from factstore.console.pages.charted import charted
from factstore.console.writing import commit
from factstore.editing.mistakes import mistake_in
from factstore.editing.saved import facts_of, saved
from factstore.errors import FactStoreError

if TYPE_CHECKING:
    from factstore.query import Explanation

_SHOWN: Final = 1_000  # rows on the page; exports have all


def query(request: PageRequest) -> Answer | Redirect:
    """Run the query of the address, or save the one of the form."""
    if request.form is not None:
        return _save(request, request.form)
    text, inputs = (request.parameters.get(name, "") for name in ("q", "inputs"))
    values: dict[str, Any] = {
        "text": text,
        "inputs": inputs,
        "name": request.parameters.get("name", ""),
        "saved": list(saved(request.db).items()),
        "mistake": None,
        "explanation": None,
        "bars": [],
        "count": None,
        "chart": None,
    }
    if not text.strip():
        return Answer("query.html", values)
    try:
        found = request.rows(text, request.db, *edn.read_all(inputs), stats=True)
    except FactStoreError as error:
        return Answer("query.html", {**values, "mistake": mistake_in(text, error)}, status=400)
    values["explanation"], values["count"] = found.explanation, len(found)
    values["bars"] = bars(found.explanation) if found.explanation else []
    columns = tuple(map(str, found.columns))
    rows = list(found)
    chart = charted(columns, rows)
    values["chart"] = chart and (Markup(chart.picture), chart.omitted)
    return Answer("query.html", {**values, "most": _SHOWN}, {"rows": Table(columns, rows)})


def names(request: PageRequest) -> Answer:
    """Return the idents that complete a query, as the rows of an export."""
    rows = [(attribute.ident, attribute.value_type.name, attribute.doc or "") for attribute in declared(request)]
    return Answer("names.html", {}, {"names": Table(("name", "type", "doc"), rows)})


def bars(explanation: Explanation) -> list[tuple[Any, float]]:
    """Return the steps of a run, each with its share of the longest one in per cent."""
    longest = max([1e-9, *(step.milliseconds for step in explanation.data)])
    return [(step, round(100 * step.milliseconds / longest, 1)) for step in explanation.data]


def _save(request: PageRequest, form: Any) -> Redirect:
    request.check_writable()
    text, facts = form.get("q", ""), facts_of(form.get("name", ""), form.get("q", ""))
    commit(request, facts)
    return Redirect("/query", {"q": text, "inputs": form.get("inputs", ""), "name": form["name"].strip()})
