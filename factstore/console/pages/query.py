"""The page of queries: Datalog with its errors in place, the steps of a run as bars, and queries saved as facts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from factstore import edn
from factstore.console.facts import declared
from factstore.console.page import Answer, PageRequest, Redirect, Table
from factstore.console.writing import commit
from factstore.errors import FactStoreError, QueryError

if TYPE_CHECKING:
    from factstore.query import Explanation

_SHOWN: Final = 1_000  # rows on the page; exports have all
NAME, TEXT = ":console.query/name", ":console.query/text"


class Mistake(NamedTuple):
    """An error in a text: the lines before it, the marked part, the lines after it, and the sentence."""

    before: str
    marked: str
    after: str
    code: str
    message: str


def query(request: PageRequest) -> Answer | Redirect:
    """Run the query of the address, or save the one of the form."""
    if request.form is not None:
        return _save(request, request.form)
    text, inputs = (request.parameters.get(name, "") for name in ("q", "inputs"))
    values: dict[str, Any] = {
        "text": text,
        "inputs": inputs,
        "name": request.parameters.get("name", ""),
        "saved": _saved(request),
        "mistake": None,
        "explanation": None,
        "bars": [],
        "count": None,
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
    return Answer("query.html", {**values, "most": _SHOWN}, {"rows": Table(columns, rows)})


def names(request: PageRequest) -> Answer:
    """Return the idents that complete a query, as the rows of an export."""
    rows = [(attribute.ident, attribute.value_type.name, attribute.doc or "") for attribute in declared(request)]
    return Answer("names.html", {}, {"names": Table(("name", "type", "doc"), rows)})


def mistake_in(text: str, error: FactStoreError) -> Mistake:
    """Return an error with the part of the text that it is about, if it has a place."""
    start, end = _span(text, error)
    return Mistake(text[:start], text[start:end], text[end:], error.code, error.message)


def _span(text: str, error: FactStoreError) -> tuple[int, int]:
    """Return where the part of a text is that an error is about: its place, else the first word that it names."""
    if "line" in error.data and "column" in error.data:
        lines = text.splitlines(keepends=True)
        start = min(sum(map(len, lines[: error.line - 1])) + error.column - 1, max(len(text) - 1, 0))
        return start, next((i for i in range(start + 1, len(text)) if text[i] in " \n)]}"), len(text))
    for word in _words(error):
        if word != text and word in text:
            return text.index(word), text.index(word) + len(word)
    return len(text), len(text)


def _words(error: FactStoreError) -> Iterator[str]:
    for value in error.data.values():
        yield from (str(each) for each in (value if isinstance(value, list | tuple) else [value]) if each)


def bars(explanation: Explanation) -> list[tuple[Any, float]]:
    """Return the steps of a run, each with its share of the longest one in per cent."""
    longest = max([1e-9, *(step.milliseconds for step in explanation.data)])
    return [(step, round(100 * step.milliseconds / longest, 1)) for step in explanation.data]


def _saved(request: PageRequest) -> list[tuple[str, str]]:
    db = request.db
    if db.schema.find(NAME) is None:
        return []
    return sorted(request.rows(f"[:find ?name ?text :where [?q {NAME} ?name] [?q {TEXT} ?text]]", db))


def _save(request: PageRequest, form: Any) -> Redirect:
    request.check_writable()
    name, text = form.get("name", "").strip(), form.get("q", "")
    if not name:
        raise QueryError(":db.error/invalid-query", "a query is saved under a name, and none was given")
    commit(request, [{NAME: name, TEXT: text}])
    return Redirect("/query", {"q": text, "inputs": form.get("inputs", ""), "name": name})
