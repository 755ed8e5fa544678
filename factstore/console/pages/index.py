"""The browser of the indexes: datoms in the order of EAVT, AEVT, AVET or VAET, from any start."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from factstore import edn
from factstore.console.facts import cell, ref
from factstore.console.page import Answer, PageRequest, Table
from factstore.datom import t_of
from factstore.errors import DatabaseError
from factstore.values.quoting import quoted

_SHOWN: Final = 100
NAMES: Final = {
    "eavt": "by entity",
    "aevt": "by attribute",
    "avet": "by value, of indexed attributes",
    "vaet": "by target, of references",
}


def index(request: PageRequest) -> Answer:
    """Return the datoms of an index from a start: EDN, `:person/name "Ann"`."""
    db = request.db
    name = request.parameters.get("index", "eavt")
    start = request.parameters.get("start", "").strip()
    skip = _number(request.parameters.get("skip", ""))
    parts = _components(start)
    if name in ("avet", "vaet") and not parts:
        datoms = []
    else:
        found = db.seek_datoms(name, *parts)
        datoms = list(islice(found, skip, skip + _SHOWN + 1))
    rows: list[tuple[Any, ...]] = []
    for datom in datoms[:_SHOWN]:
        attribute = db.schema.attribute(datom.a)
        rows.append((ref(db, datom.e), attribute.ident, cell(db, attribute, datom.v), t_of(datom.tx)))
    values = {
        "name": name,
        "names": NAMES,
        "start": start,
        "skip": skip + _SHOWN if len(datoms) > _SHOWN else None,
    }
    return Answer("index.html", values, {"datoms": Table(("entity", "attribute", "value", "t"), rows)})


def _components(text: str) -> list[Any]:
    parts = list(edn.read_all(text))
    if len(parts) > 4:
        message = f'a start has up to four parts, such as :person/name "Ann", got {quoted(text)}'
        raise DatabaseError(":db.error/invalid-components", message, start=text)
    return parts


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0
