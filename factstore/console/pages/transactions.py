"""The pages of transactions: all of them by day, newest first, and one with its datoms."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from itertools import groupby, islice
from typing import Any, Final

from factstore.console.facts import Transaction, change, newest_first, newest_sizes, transaction
from factstore.console.page import Answer, PageRequest, Table
from factstore.errors import DatabaseError

_SHOWN: Final = 50  # transactions of a page
_READ: Final = 5_000  # transactions that a filter reads
_DATOMS: Final = 2_000  # of one transaction


def transactions(request: PageRequest) -> Answer:
    """Return the transactions up to a moment, by day; those with an attribute or an author if one is given."""
    upto = _number(request.parameters.get("upto", ""), request.moment.upto)
    attribute, by = (request.parameters.get(name, "").strip() for name in ("attribute", "by"))
    found = list(islice(_matching(request, min(upto, request.moment.upto), attribute, by), _SHOWN + 1))
    shown = found[:_SHOWN]
    days = [(day, list(rows)) for day, rows in groupby(shown, _day)]
    rows = [(each.t, each.when, each.size, dict(each.why)) for each in shown]
    values = {
        "days": days,
        "attribute": attribute,
        "by": by,
        "older": found[_SHOWN].t if len(found) > _SHOWN else None,
        "read": _READ,
    }
    return Answer("transactions.html", values, {"transactions": Table(("t", "when", "datoms", "why"), rows)})


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else default


def _day(each: Transaction) -> str:
    return "" if each.when is None else each.when.astimezone(UTC).strftime("%A, %d %B %Y")


def _matching(request: PageRequest, upto: int, attribute: str, by: str) -> Iterator[Transaction]:
    if not (attribute or by):
        yield from newest_sizes(request, upto, request.moment.after, _SHOWN + 1)
        return
    found = newest_first(request, upto, request.moment.after)
    a = request.db.attribute(attribute).id if attribute else None
    for each in islice(found, _READ):
        has_attribute = a is None or any(datom.a == a for datom in each.datoms)
        if has_attribute and (not by or any(by.casefold() in _text(value) for _, value in each.why)):
            yield each


def _text(value: Any) -> str:
    return str(value).casefold()


def one(request: PageRequest) -> Answer:
    """Return the page of one transaction. Raises: DatabaseError(:db.error/not-an-entity), "not found"."""
    t, db = request.parts["t"], request.db
    found = next(request.transactions(t, t + 1), None) if t >= 1 else None
    if found is None:
        raise DatabaseError(":db.error/not-an-entity", f"there is no transaction {t} at this moment", t=t)
    each = transaction(db, *found)
    as_of = db.as_of(t)
    rows = [change(as_of, datom) for datom in each.datoms[:_DATOMS]]
    more = f"the first {_DATOMS:,} of {len(each.datoms):,} are shown" if len(each.datoms) > _DATOMS else ""
    values = {"each": each, "last": request.moment.upto}
    return Answer("transaction.html", values, {"datoms": Table(("", "entity", "attribute", "value"), rows, more)})
