"""Numbers with more digits than Python shows: refused where they would be stored, and harmless where a store has one already."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import factstore
from factstore import FactStoreError, TransactError, log
from factstore.dumps import dump, undump
from factstore.storage import open_storage
from factstore.values import types

ONE = ":db.cardinality/one"
SCHEMA = [
    {":db/ident": ":n/big", ":db/valueType": ":db.type/bigint", ":db/cardinality": ONE, ":db/unique": ":db.unique/value"},
    {
        ":db/ident": ":n/pair",
        ":db/valueType": ":db.type/tuple",
        ":db/cardinality": ONE,
        ":db/tupleTypes": [":db.type/bigint", ":db.type/long"],
    },
    {":db/ident": ":n/long", ":db/valueType": ":db.type/long", ":db/cardinality": ONE},
]
LARGEST = 10**4300 - 1


@pytest.fixture
def conn() -> Any:
    with factstore.connect("memory:") as made:
        made.transact(SCHEMA)
        yield made


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_bigint_is_stored_shown_and_found(conn: factstore.Connection, sign: int) -> None:
    report = conn.transact([{":n/big": sign * LARGEST}])
    assert str(sign * LARGEST)[:40] in str(report)
    assert sign * LARGEST == factstore.q("[:find ?n . :where [_ :n/big ?n]]", conn.db())
    with pytest.raises(TransactError, match="<int of 14,285 bits> would belong") as caught:
        conn.transact([{":n/big": sign * LARGEST}])
    assert ":db.error/unique-conflict" == caught.value.code


@pytest.mark.parametrize(
    "form",
    [
        {":n/big": LARGEST + 1},
        {":n/big": -LARGEST - 1},
        {":n/long": LARGEST + 1},
        {":n/pair": [LARGEST + 1, 1]},
        {":n/pair": [1, LARGEST + 1]},
        [":db/add", LARGEST + 1, ":n/long", 1],
        [":db/add", "e", LARGEST + 1, 1],
        [":db/cas", "e", ":n/big", LARGEST + 1, 1],
        [":db/retract", "e", ":n/big", LARGEST + 1],
        [":db/add", [":n/big", LARGEST + 1], ":n/long", 1],
    ],
    ids=lambda form: factstore.quoted(form, 40),
)
def test_a_larger_number_is_refused_wherever_it_stands(conn: factstore.Connection, form: Any) -> None:
    with pytest.raises(FactStoreError) as caught:
        conn.transact([form])
    assert str(caught.value)
    assert 1 == conn.db().basis_t


def test_a_number_that_a_store_has_already_is_shown_dumped_and_undumped(
    conn: factstore.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types, "_BEYOND", 10**6000)
    report = conn.transact([{":db/id": "e", ":n/big": 10**5000, ":n/pair": [10**5000, 1]}])
    monkeypatch.undo()
    assert "<int of 16,610 bits>" in str(report)
    assert "<int of 16,610 bits>" in str(factstore.entity(conn.db(), report.tempids["e"]))
    assert "<int of 16,610 bits>" in str(factstore.rows("[:find ?n :where [_ :n/big ?n]]", conn.db()))
    dump(conn, tmp_path / "d.edn")
    with closing(open_storage(f"memory:{tmp_path}")) as storage:
        undump(tmp_path / "d.edn", storage)
        facts = [fact[2] for transaction in log.read(storage, 1) for fact in transaction.all_facts()]
    assert [10**5000, (10**5000, 1)] == facts[1:]
