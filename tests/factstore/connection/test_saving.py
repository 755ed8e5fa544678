"""Objects in the steps of a transaction: add, save, retract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Attr, TransactError, connect, schema_of


@dataclass(frozen=True)
class City:
    name: Annotated[str, Attr(unique="identity")]
    country: str | None = None


@dataclass(frozen=True)
class Line:
    text: str
    count: int | None = None
    more: Annotated[frozenset[Line], Attr(component=True)] = frozenset()


@dataclass(frozen=True)
class Order:
    key: Annotated[str, Attr(unique="identity")]
    note: str | None = None
    tags: frozenset[str] = frozenset()
    city: City | None = None
    lines: Annotated[frozenset[Line], Attr(component=True)] = frozenset()
    main: Annotated[Line | None, Attr(component=True)] = None


leaves = st.builds(Line, st.sampled_from("ab"), st.none() | st.integers(0, 2))
lines = st.builds(Line, st.sampled_from("ab"), st.none() | st.integers(0, 2), st.frozensets(leaves, max_size=2))
orders = st.builds(
    Order,
    st.just("k"),
    st.none() | st.sampled_from("xy"),
    st.frozensets(st.sampled_from("xyz")),
    st.none() | st.builds(City, st.sampled_from(["Rome", "Bonn"]), st.just("eu")),
    st.frozensets(lines, max_size=3),
    st.none() | lines,
)


def saved(conn: Any, thing: object) -> int:
    with conn.transaction() as tx:
        return tx.save(thing)


@settings(max_examples=60)
@given(st.lists(orders, min_size=1, max_size=4))
def test_the_stored_entity_is_exactly_the_object_that_was_saved_last(history: list[Order]) -> None:
    with connect("memory:") as conn:
        conn.transact(schema_of(City, Line, Order))
        eids = set()
        for order in history:
            eids.add(saved(conn, order))
            assert order == conn.db().get(Order, key="k")
            with conn.transaction() as tx:
                tx.save(order)
            assert [":db/txInstant"] == [str(conn.db().ident(datom.a)) for datom in tx.report.tx_data]  # nothing was left to change
        assert 1 == len(eids)
        last = history[-1]
        parts = [*last.lines, *([last.main] if last.main else [])]
        expected = sum(1 + len(part.more) for part in parts)
        assert expected == len({datom.e for datom in conn.db().datoms("aevt", ":line/text")})  # no part is left over


@pytest.fixture
def conn() -> Any:
    with connect("memory:") as conn:
        conn.transact(schema_of(City, Line, Order))
        yield conn


def test_saving_retracts_nothing_about_objects_that_are_only_referenced(conn: Any) -> None:
    saved(conn, City("Rome", "it"))
    saved(conn, Order("k", city=City("Rome")))
    assert City("Rome", "it") == conn.db().get(Order, key="k").city
    saved(conn, City("Rome"))
    assert City("Rome") == conn.db().get(City, name="Rome")


def test_adding_asserts_and_retracts_nothing(conn: Any) -> None:
    with conn.transaction() as tx:
        eid = tx.add(Order("k", "x", frozenset("a"), City("Rome"), main=Line("m")))
        assert eid == tx.add(Order("k", tags=frozenset("b")))
        assert Order("k", "x", frozenset("ab"), City("Rome"), main=Line("m")) == tx.db.get(Order, key="k")
    assert 1 == len(list(conn.db().datoms("aevt", ":order/key")))


def test_retracting_an_object_retracts_its_parts(conn: Any) -> None:
    saved(conn, Order("k", city=City("Rome"), lines=frozenset({Line("a")})))
    with conn.transaction() as tx:
        tx.retract(Order("k"))
    db = conn.db()
    assert db.find(Order) == db.find(Line) == [] and [City("Rome")] == db.find(City)
    with pytest.raises(TransactError, match="no entity has the identity of") as caught, conn.transaction() as tx:
        tx.retract(Order("k"))
    assert ":db.error/not-an-entity" == caught.value.code


@dataclass
class Note:
    text: str | None
    eid: Annotated[int | None, ":db/id"] = None


def test_an_entity_id_is_an_identity(conn: Any) -> None:
    conn.transact(schema_of(Note))
    first = saved(conn, Note("a"))
    assert first == saved(conn, Note("b", first)) and first != saved(conn, Note("a"))
    assert Note("b", first) == conn.db().get(Note, first)


@pytest.mark.parametrize("verb", ["add", "save", "retract"])
@pytest.mark.parametrize("wrong", [None, 7, {":order/key": "k"}, Order, [Order("k")]])
def test_only_objects_can_be_added(conn: Any, verb: str, wrong: object) -> None:
    with pytest.raises(TransactError, match="expected an object of a dataclass") as caught, conn.transaction() as tx:
        getattr(tx, verb)(wrong)
    assert ":db.error/invalid-tx-form" == caught.value.code


@dataclass
class Chain:
    next: Annotated[Chain | None, Attr(component=True)] = field(default=None)


def test_parts_in_a_circle_are_rejected(conn: Any) -> None:
    conn.transact(schema_of(Chain))
    chain = Chain()
    chain.next = chain
    before = conn.db().basis_t
    with pytest.raises(factstore.FactStoreError, match="nested less deeply"):
        saved(conn, chain)
    assert before == conn.db().basis_t
