"""The search box: an id, an ident, words in full-text attributes, and names of attributes."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from factstore import edn
from factstore.console.facts import declared, name_of, ref
from factstore.console.page import Answer, PageRequest, Table
from factstore.errors import FactStoreError
from factstore.reads import fulltext

if TYPE_CHECKING:
    from factstore.db.database import Database

_SHOWN: Final = 100


def search(request: PageRequest) -> Answer:
    """Return all that a text finds."""
    words = request.parameters.get("for", "").strip()
    rows: list[tuple[Any, ...]] = []
    problems: list[str] = []
    if words:
        rows += _entity(request.db, words)
        rows += _attributes(request, words)
        rows += _texts(request, words, problems)
    table = Table(("entity", "attribute", "value"), rows[:_SHOWN], f"the first {_SHOWN}" if len(rows) > _SHOWN else "")
    indexed = [str(attribute.ident) for attribute in declared(request) if attribute.fulltext]
    return Answer("search.html", {"words": words, "problems": problems, "indexed": indexed}, {"found": table})


def _entity(db: Database, words: str) -> list[tuple[Any, ...]]:
    """Return the entity whose id, ident or lookup ref a text is, if it has facts."""
    try:
        eid = db.entid(edn.read(words))
    except FactStoreError:
        return []
    if eid is None or not next(iter(db.datoms("eavt", eid)), None):
        return []
    return [(ref(db, eid), "", name_of(db, eid))]


def _attributes(request: PageRequest, words: str) -> list[tuple[Any, ...]]:
    found = (attribute for attribute in declared(request) if words.casefold() in attribute.ident.casefold())
    return [
        (ref(request.db, attribute.id), attribute.ident, attribute.doc or "") for attribute in islice(found, _SHOWN)
    ]


def _texts(request: PageRequest, words: str, problems: list[str]) -> list[tuple[Any, ...]]:
    hits: list[tuple[fulltext.Hit, str]] = []
    for attribute in declared(request):
        if attribute.fulltext and attribute.value_type.name == "string":
            try:
                found = fulltext.search(request.db, attribute, words)
            except FactStoreError as error:
                problems.append(error.message)
                break
            hits += [(hit, str(attribute.ident)) for hit in found[: _SHOWN + 1]]
    hits.sort(key=lambda pair: -pair[0].score)
    return [(ref(request.db, hit.e), ident, hit.v) for hit, ident in hits[: _SHOWN + 1]]
