"""What the tests of transactions share: a small world, and the two questions asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import factstore
from factstore import Connection, Database, Symbol, TransactError, TxReport, edn

PEOPLE = """
[{:db/ident :u/login :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :u/mail :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/value}
 {:db/ident :u/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
 {:db/ident :u/age :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :u/ok :db/valueType :db.type/boolean :db/cardinality :db.cardinality/one}
 {:db/ident :u/nick :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
 {:db/ident :u/boss :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
 {:db/ident :u/pals :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
 {:db/ident :u/home :db/valueType :db.type/ref :db/cardinality :db.cardinality/one :db/isComponent true}
 {:db/ident :u/bags :db/valueType :db.type/ref :db/cardinality :db.cardinality/many :db/isComponent true}
 {:db/ident :bag/kind :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one}
 {:db/ident :acct/owner :db/valueType :db.type/ref :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :acct/sum :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]
"""

ANN_AND_BEN = """
[{:db/id "ann" :u/login "ann" :u/name "Ann" :u/age 30 :u/nick ["a1" "a2"]}
 {:db/id "ben" :u/login "ben" :u/age 17 :u/boss "ann" :u/mail "ben@x"}]
"""

ANN, BEN = [":u/login", "ann"], [":u/login", "ben"]


def world(*transactions: Any, schema: str = PEOPLE) -> Connection:
    """Return a store in memory with a schema, and these transactions made."""
    conn = factstore.connect("memory:")
    for tx_data in (schema, *transactions):
        conn.transact(tx_data)
    return conn


def people() -> Connection:
    """Return a store that knows Ann and Ben."""
    return world(ANN_AND_BEN)


def value(db: Database, eid: Any, attribute: str) -> Any:
    """Return the one value of an entity's attribute, or None."""
    found = values(db, eid, attribute)
    assert len(found) <= 1
    return next(iter(found), None)


def values(db: Database, eid: Any, attribute: str) -> set[Any]:
    """Return the values of an entity's attribute."""
    found = db.attribute(attribute)
    e = db.entid(eid)
    assert e is not None
    return {found.load(v) for v in db.view.values_of(e, found.id)}


def changes(report: TxReport) -> set[tuple[int, str, Any, bool]]:
    """Return what a transaction added and retracted, without its own instant."""
    name = report.db_after.ident
    told = [(e, str(name(a)), v, added) for e, a, v, _, added in report.tx_data[1:]]
    assert len(told) == len(set(told))
    return set(told)


def assert_datoms(report: TxReport, expected: str) -> None:
    """Check what a transaction added and retracted; its own instant is left out.

    Args:
        expected: EDN, a vector `[e attribute value tx added]` for each datom, in any order. `?ann` is a hole: it fits any value, but
            the same one wherever it stands, and never the value of another hole. `_` fits anything.
    """
    name = report.db_after.ident
    datoms = [(e, str(name(a)), v, tx, added) for e, a, v, tx, added in report.tx_data[1:]]
    patterns = [tuple(pattern) for pattern in edn.read(expected)]
    assert len(patterns) == len(datoms), datoms
    assert _fit(patterns, datoms, {}), f"{datoms} do not fit {expected}"


def _fit(patterns: Sequence[tuple[Any, ...]], datoms: Sequence[tuple[Any, ...]], holes: dict[str, Any]) -> bool:
    """Tell whether each pattern fits a datom of its own."""
    if not patterns:
        return True
    for position, datom in enumerate(datoms):
        filled = _filled(patterns[0], datom, holes)
        if filled is not None and _fit(patterns[1:], [*datoms[:position], *datoms[position + 1 :]], filled):
            return True
    return False


def _filled(pattern: tuple[Any, ...], datom: tuple[Any, ...], holes: dict[str, Any]) -> dict[str, Any] | None:
    """Return the holes with what a datom puts into them; None if the pattern does not fit."""
    holes = dict(holes)
    for wanted, actual in zip(pattern, datom, strict=True):
        if isinstance(wanted, Symbol) and wanted.startswith("?"):
            if holes.setdefault(wanted, actual) != actual or len(set(holes.values())) < len(holes):
                return None
        elif wanted != "_" and (type(wanted) is bool, wanted) != (type(actual) is bool, actual):
            return None
    return holes


def refused(conn: Connection, tx_data: Any, code: str) -> TransactError:
    """Return the error of a transaction that must be rejected, having seen that it left nothing and says the same again."""
    before = conn.db()
    facts, messages = set(before.datoms(":eavt")), []
    for _ in range(2):
        with pytest.raises(TransactError) as caught:
            conn.transact(tx_data)
        messages.append(str(caught.value))
    after = conn.db()
    assert messages[0] == messages[1]
    assert before.basis_t == after.basis_t
    assert before.next_n == after.next_n
    assert facts == set(after.datoms(":eavt"))
    assert code == caught.value.code, messages[0]
    return caught.value
