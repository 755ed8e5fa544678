"""Values at every entrance: whatever a program holds is stored and matched as exactly what it is, or rejected with its place.

One table of values (`odd_values`), one of entrances, and every pair of them for every type of attribute.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from typing import Annotated, Any
from uuid import UUID

import numpy as np
import pytest

import factstore
from factstore import Attr, Connection, Database, FactStoreError, Into, Keyword, Symbol, TransactError, Uri, entity, pull, q, with_
from tests.factstore.odd_values import ODD, TYPES, of_packages

VALUES = (*ODD, *of_packages())
ONE, MANY, UNIQUE = "one", "many", "unique"


def _attribute(name: str, **more: Any) -> dict[str, Any]:
    return {":db/ident": name, ":db/cardinality": ":db.cardinality/one", **{f":db/{key}": value for key, value in more.items()}}


def _schema() -> Iterator[dict[str, Any]]:
    yield _attribute(":part/of", valueType=":db.type/ref", isComponent=True)
    for name in TYPES:
        kind = f":db.type/{name}"
        yield _attribute(f":one/{name}", valueType=kind, index=True)
        yield _attribute(f":many/{name}", valueType=kind) | {":db/cardinality": ":db.cardinality/many"}
        yield _attribute(f":unique/{name}", valueType=kind, unique=":db.unique/identity")
        yield _attribute(f":pair/{name}", valueType=":db.type/tuple", tupleTypes=[kind, kind])


@pytest.fixture
def conn() -> Iterator[Connection]:
    with factstore.connect("memory:") as conn:
        conn.transact(list(_schema()))
        yield conn


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are written alike and of one type; an instant is the same in whatever zone."""
    return type(one) is type(other) and (one == other if hasattr(one, "tzinfo") else repr(one) == repr(other))


def there(db: Database, attribute: str) -> list[Any]:
    return [datom.v for datom in db.datoms("aevt", attribute)]


# -- writing: each returns the database after, in which the value is one of the attribute named

Written = tuple[Database, str]


def list_form(conn: Connection, kind: str, value: Any) -> Written:
    return with_(conn.db(), [[":db/add", "e", f":one/{kind}", value]]).db_after, f":one/{kind}"


def committed(conn: Connection, kind: str, value: Any) -> Written:
    e = conn.transact([{":db/id": "e", ":part/of": {":db/doc": "x"}}]).tempids["e"]
    return conn.transact([[":db/add", e, f":one/{kind}", value]]).db_after, f":one/{kind}"


def committed_map(conn: Connection, kind: str, value: Any) -> Written:
    return conn.transact([{f":one/{kind}": value}]).db_after, f":one/{kind}"


def one_of_many(conn: Connection, kind: str, value: Any) -> Written:
    return with_(conn.db(), [{f":many/{kind}": [value]}]).db_after, f":many/{kind}"


def set_exactly(conn: Connection, kind: str, value: Any) -> Written:
    return with_(conn.db(), [[":db/setExactly", "e", f":many/{kind}", [value]]]).db_after, f":many/{kind}"


def nested_map(conn: Connection, kind: str, value: Any) -> Written:
    return with_(conn.db(), [{":part/of": {f":one/{kind}": value}}]).db_after, f":one/{kind}"


def identity(conn: Connection, kind: str, value: Any) -> Written:
    return with_(conn.db(), [{f":unique/{kind}": value, ":db/doc": "x"}]).db_after, f":unique/{kind}"


def swapped_in(conn: Connection, kind: str, value: Any) -> Written:
    return with_(conn.db(), [[":db/cas", ":part/of", f":one/{kind}", None, value]]).db_after, f":one/{kind}"


def field_of_a_class(conn: Connection, kind: str, value: Any) -> Written:
    shape = dataclasses.make_dataclass("Thing", [("v", Annotated[Any, Attr(f":one/{kind}")])])
    return with_(conn.db(), [shape(value)]).db_after, f":one/{kind}"


def returned_by_a_function(conn: Connection, kind: str, value: Any) -> Written:
    factstore.register("odd/make", lambda _db: [{f":one/{kind}": value}])
    return with_(conn.db(), [["odd/make"]]).db_after, f":one/{kind}"


def slot_of_a_tuple(conn: Connection, kind: str, value: Any) -> Written:
    db = with_(conn.db(), [{f":pair/{kind}": [value, None]}]).db_after
    return with_(db, [{f":one/{kind}": there(db, f":pair/{kind}")[0][0]}]).db_after, f":one/{kind}"


def annotated(conn: Connection, kind: str, value: Any) -> Written:
    with conn.annotate({f":one/{kind}": value}):
        return conn.transact([]).db_after, f":one/{kind}"


WRITERS: tuple[Callable[[Connection, str, Any], Written], ...] = (
    *(list_form, committed, committed_map, one_of_many, set_exactly, nested_map, identity, swapped_in),
    *(field_of_a_class, returned_by_a_function, slot_of_a_tuple, annotated),
)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_a_value_is_stored_exactly_or_rejected_with_its_place(write: Callable[..., Written], conn: Connection) -> None:
    for odd in VALUES:
        for kind in TYPES:
            if kind in odd.kept:
                db, attribute = write(conn, kind, odd.value)
                assert any(same(odd.kept[kind], v) for v in there(db, attribute)), (odd.name, kind, there(db, attribute))
                continue
            t = conn.db().basis_t
            with pytest.raises(TransactError) as caught:
                write(conn, kind, odd.value)
            assert kind in str(caught.value), (odd.name, kind)
            assert "tx-data[" in str(caught.value), (odd.name, kind)
            # `committed` makes the entity first.
            assert conn.db().basis_t == t + (write is committed), (odd.name, kind)


# -- loading


NO_VALUES = frozenset(
    {"nan", "numpy's nan", "decimal nan", "decimal signalling nan", "NaT of numpy", "pandas.NA", "pandas.NaT", "arrow null"}
)  # by which a table means that there is none


def rows(conn: Connection, kind: str, value: Any) -> None:
    conn.load([{"v": value, "n": "x"}], {"v": f":one/{kind}", "n": ":db/doc"})


def columns(conn: Connection, kind: str, value: Any) -> None:
    conn.load({"v": [value]}, {"v": f":one/{kind}"})


def converted(conn: Connection, kind: str, value: Any) -> None:
    conn.load({"v": [0]}, {"v": Into(f":one/{kind}", convert=lambda _: value)})


def known_rows(conn: Connection, kind: str, value: Any) -> None:
    conn.transact([{":unique/string": "known"}])
    conn.load([{"v": value, "n": "known"}], {"v": f":one/{kind}", "n": ":unique/string"})


def masked(conn: Connection, kind: str, value: Any) -> None:
    values = np.ma.array(np.empty(2, object), mask=[False, True])
    values[0] = value
    conn.load({"v": values}, {"v": f":one/{kind}"})


LOADERS = (rows, columns, converted, known_rows, masked)


@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
def test_a_value_is_loaded_exactly_or_rejected_with_row_and_column(load: Callable[..., None], conn: Connection) -> None:
    for odd in VALUES:
        for kind in TYPES:
            before = conn.db()
            if kind in odd.kept:
                load(conn, kind, odd.value)
                assert any(same(odd.kept[kind], v) for v in there(conn.db(), f":one/{kind}")), (odd.name, kind)
                continue
            if odd.name in NO_VALUES:
                load(conn, kind, odd.value)
            else:
                with pytest.raises(TransactError) as caught:
                    load(conn, kind, odd.value)
                assert ("v", 1) == (caught.value.column, caught.value.row), (odd.name, kind)
                assert "column 'v'" in str(caught.value), (odd.name, kind)
            assert there(before, f":one/{kind}") == there(conn.db(), f":one/{kind}"), (odd.name, kind)


# Parquet has no such types: what it holds of them is a text.
NOT_IN_PARQUET = (Keyword, Symbol, Uri)


def of_arrow(file: io.BytesIO) -> Any:
    return pytest.importorskip("pyarrow.parquet").read_table(file)


def of_pandas(file: io.BytesIO) -> Any:
    return pytest.importorskip("pandas").read_parquet(file)


def of_polars(file: io.BytesIO) -> Any:
    return pytest.importorskip("polars").read_parquet(file)


def parquet_of(value: Any) -> io.BytesIO | None:
    """Return a file with one column of one value; None where Parquet holds no such value."""
    arrow, parquet, file = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet"), io.BytesIO()
    kind = arrow.timestamp("ns", "UTC") if getattr(value, "nanosecond", 0) else None  # by itself Arrow takes microseconds
    try:
        parquet.write_table(arrow.table({"v": arrow.array([value], kind)}), file)
    except (arrow.ArrowException, OverflowError, AttributeError, TypeError, ValueError, NotImplementedError):
        return None
    file.seek(0)
    return file


@pytest.mark.parametrize("read", [of_arrow, of_pandas, of_polars], ids=lambda read: read.__name__)
def test_a_value_of_a_parquet_file_is_loaded_exactly_or_rejected_with_row_and_column(read: Callable[..., Any], conn: Connection) -> None:
    loaded = 0
    for odd in VALUES:
        file = None if isinstance(odd.value, NOT_IN_PARQUET) else parquet_of(odd.value)
        if file is None or (
            read is of_polars and (isinstance(odd.value, UUID) or odd.name == "decimal of 40 digits")
        ):  # polars has neither
            continue
        table = read(file)
        for kind in TYPES:
            before = conn.db()
            try:
                report = conn.load(table, {"v": f":one/{kind}"})
            except TransactError as error:
                assert kind not in odd.kept, (odd.name, kind)
                assert "v" == error.column, (odd.name, kind)
                assert 1 == error.data.get("row") or "cannot be read" in error.message, (odd.name, kind)
                assert there(before, f":one/{kind}") == there(conn.db(), f":one/{kind}"), (odd.name, kind)
                continue
            if odd.name in NO_VALUES:
                assert {"v": 1} == report.missing, (odd.name, kind)
                continue
            assert kind in odd.kept, (odd.name, kind)
            assert any(same(odd.kept[kind], v) for v in there(conn.db(), f":one/{kind}")), (odd.name, kind)
            loaded += 1
    assert loaded > len(TYPES)


# -- comparing with what is expected, and retracting


def test_what_a_cas_expects_is_compared_exactly_or_rejected_with_its_place(conn: Connection) -> None:
    for odd in VALUES:
        for kind in TYPES:
            empty = conn.transact([{":db/id": "e", ":db/doc": "x"}]).tempids["e"]
            good = next(other.kept[kind] for other in VALUES if kind in other.kept and not same(other.kept[kind], odd.kept.get(kind)))
            code = ":db.error/cas-failed" if kind in odd.kept else ":db.error/wrong-type-for-attribute"
            for _ in range(2):
                with pytest.raises(TransactError) as caught:
                    conn.transact([[":db/cas", empty, f":one/{kind}", odd.value, good]])
                assert code == caught.value.code, (odd.name, kind)
                assert "tx-data[0]" in str(caught.value)
            assert [] == [d for d in conn.db().datoms("eavt", empty) if d.a != conn.db().entid(":db/doc")]
            if kind in odd.kept:
                conn.transact([[":db/add", empty, f":one/{kind}", odd.kept[kind]]])
                conn.transact([[":db/cas", empty, f":one/{kind}", odd.value, good]])
                assert same(good, pull(conn.db(), [f":one/{kind}"], empty)[f":one/{kind}"]), (odd.name, kind)


def test_what_is_retracted_is_found_exactly_or_rejected_with_its_place(conn: Connection) -> None:
    for odd in VALUES:
        for kind in TYPES:
            e = conn.transact([{":db/id": "e", ":db/doc": "x"}]).tempids["e"]
            retraction = [":db/retract", e, f":many/{kind}", odd.value]
            if kind in odd.kept:
                conn.transact([[":db/add", e, f":many/{kind}", odd.kept[kind]]])
                assert 2 == len(conn.transact([retraction]).tx_data), (odd.name, kind)
            else:
                with pytest.raises(TransactError, match=r"tx-data\[0\]"):
                    conn.transact([retraction])


# -- reading: each returns the entities found

Found = set[Any]
FIND = "[:find ?e :in $ {} :where [?e {} ?v]]"


def constant(db: Database, kind: str, value: Any) -> Found:
    if isinstance(value, Symbol):  # which in the text of a query is a name
        return scalar(db, kind, value)
    return {e for (e,) in q([":find", "?e", ":where", ["?e", f":one/{kind}", value]], db)}


def scalar(db: Database, kind: str, value: Any) -> Found:
    return {e for (e,) in q(FIND.format("?v", f":one/{kind}"), db, value)}


def in_a_tuple(db: Database, kind: str, value: Any) -> Found:
    return {e for (e,) in q(FIND.format("[?v ?x]", f":one/{kind}"), db, [value, 1])}


def in_a_collection(db: Database, kind: str, value: Any) -> Found:
    return {e for (e,) in q(FIND.format("[?v ...]", f":one/{kind}"), db, [value])}


def in_a_large_collection(db: Database, kind: str, value: Any) -> Found:
    return {e for (e,) in q(FIND.format("[?v ...]", f":one/{kind}"), db, [value] * 300)}


def in_a_relation(db: Database, kind: str, value: Any) -> Found:
    return {e for (e,) in q(FIND.format("[[?v ?x]]", f":one/{kind}"), db, [[value, 1]])}


def in_an_array_of_rows(db: Database, kind: str, value: Any) -> Found:
    rows = np.empty((2, 2), object)
    for i in range(2):
        rows[i, 0], rows[i, 1] = value, i
    return {e for (e,) in q(FIND.format("[[?v ?x]]", f":one/{kind}"), db, rows)}


def in_a_typed_array_of_rows(db: Database, kind: str, value: Any) -> Found:
    if type(value) not in (int, float, bool) and not isinstance(value, np.number | np.bool_ | np.datetime64):
        return in_an_array_of_rows(db, kind, value)
    rows = np.array([[value], [value]])
    return {e for (e,) in q(FIND.format("[[?v]]", f":one/{kind}"), db, rows)}


def in_an_array_as_a_source(db: Database, kind: str, value: Any) -> Found:
    rows = np.empty((1, 2), object)
    rows[0, 0], rows[0, 1] = value, 1
    return {e for (e,) in q(f"[:find ?e :in $ $r :where [$r ?v] [?e :one/{kind} ?v]]", db, rows)}


def bound_by_a_function(db: Database, kind: str, value: Any) -> Found:
    factstore.register("odd/give", lambda: value)
    return {e for (e,) in q(f"[:find ?e :where [(odd/give) ?v] [?e :one/{kind} ?v]]", db)}


def bound_by_a_function_for_each_row(db: Database, kind: str, value: Any) -> Found:
    factstore.register("odd/give", lambda _: value)
    return {e for (e,) in q(f"[:find ?e :in $ [?n ...] :where [(odd/give ?n) ?v] [?e :one/{kind} ?v]]", db, range(3))}


def in_a_generator(db: Database, kind: str, value: Any) -> Found:
    return {e for (e,) in q(FIND.format("[?v ...]", f":one/{kind}"), db, (each for each in [value]))}


def through_a_rule(db: Database, kind: str, value: Any) -> Found:
    rule = f"[[(has ?e ?x) [?e :one/{kind} ?x]]]"
    return {e for (e,) in q("[:find ?e :in $ % [?v ...] :where (has ?e ?v)]", db, rule, [value])}


def lookup_ref(db: Database, kind: str, value: Any) -> Found:
    return {db.entid([f":unique/{kind}", value])} - {None}


def lookup_ref_of_a_pull(db: Database, kind: str, value: Any) -> Found:
    found = pull(db, [":db/id"], [f":unique/{kind}", value])
    return {(found or {}).get(":db/id")} - {None}


def lookup_ref_of_an_entity(db: Database, kind: str, value: Any) -> Found:
    found = entity(db, [f":unique/{kind}", value])
    return set() if found is None else {found.eid}


def lookup_ref_as_input(db: Database, kind: str, value: Any) -> Found:
    return {e for (e,) in q(f"[:find ?e :in $ ?r :where [?r :unique/{kind} ?v] [?e :unique/{kind} ?v]]", db, [f":unique/{kind}", value])}


def lookup_ref_of_a_transaction(db: Database, kind: str, value: Any) -> Found:
    added = with_(db, [[":db/add", [f":unique/{kind}", value], ":db/doc", "found"]])
    return {datom.e for datom in added.tx_data if datom.v == "found"}


def components(db: Database, kind: str, value: Any) -> Found:
    return {datom.e for datom in db.datoms("avet", f":one/{kind}", value)}


def sought(db: Database, kind: str, value: Any) -> Found:
    return {datom.e for datom in list(db.seek_datoms("avet", f":one/{kind}", value))[:1]}


def range_from(db: Database, kind: str, value: Any) -> Found:
    return {datom.e for datom in list(db.index_range(f":one/{kind}", value))[:1]}


# What is calculated, or taken from a source, is compared as it is: a float of 32 bits equals only what has no more of them.
COMPARED = (in_an_array_as_a_source, bound_by_a_function, bound_by_a_function_for_each_row)
ROUNDED = ("float that 32 bits round", "float64")
READERS = (
    *(constant, scalar, in_a_tuple, in_a_collection, in_a_large_collection, in_a_relation, in_a_generator, through_a_rule),
    *(in_an_array_of_rows, in_a_typed_array_of_rows),
    *(lookup_ref, lookup_ref_of_a_pull, lookup_ref_of_an_entity, lookup_ref_as_input, lookup_ref_of_a_transaction),
    *(components, sought, range_from),
)


@pytest.fixture(scope="module")
def stocked() -> Iterator[dict[tuple[str, str], Database]]:
    """For each value and type that takes it: a database in which only that value is one of the attributes."""
    with factstore.connect("memory:") as conn:
        conn.transact(list(_schema()))
        db = conn.db()
        others = {kind: next(odd.kept[kind] for odd in VALUES if kind in odd.kept) for kind in TYPES}
        found = {("", kind): with_(db, [{f":one/{kind}": others[kind], f":unique/{kind}": others[kind]}]).db_after for kind in TYPES}
        for odd in VALUES:
            for kind, kept in odd.kept.items():
                found[odd.name, kind] = with_(db, [{f":one/{kind}": kept, f":unique/{kind}": kept}]).db_after
        yield found


@pytest.mark.parametrize("read", (*READERS, *COMPARED), ids=lambda read: read.__name__)
def test_a_value_is_matched_exactly_or_rejected(read: Callable[..., Found], stocked: dict[tuple[str, str], Database]) -> None:
    for odd in VALUES:
        for kind in TYPES:
            if kind in odd.kept and not (read in COMPARED and kind == "float" and odd.name in ROUNDED):
                db = stocked[odd.name, kind]
                assert {datom.e for datom in db.datoms("aevt", f":one/{kind}")} == read(db, kind, odd.value), (odd.name, kind)
            else:
                try:
                    found = read(stocked["", kind], kind, odd.value)
                except FactStoreError as error:
                    assert error.code != ":db.error/function-failed", (odd.name, kind)
                else:
                    assert set() == found, (odd.name, kind)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_a_naive_datetime_is_rejected_wherever_an_instant_is_looked_for(
    read: Callable[..., Found], stocked: dict[tuple[str, str], Database]
) -> None:
    for odd in VALUES:
        if odd.name in ("naive datetime", "datetime without offset", "naive Timestamp"):
            with pytest.raises(FactStoreError, match=r"time zone|naive|takes an aware"):
                read(stocked["", "instant"], "instant", odd.value)
