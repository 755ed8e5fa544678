"""Every function of the package, given odd arguments: it returns, or raises an error of the family, whose text can be made.

What Python's own protocols say stays: `TypeError` for an index of a sequence that is no whole number, or a key that has no hash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest

import factstore
from factstore import FactStoreError, edn
from factstore.errors import LONGEST_MESSAGE

ONE = ":db.cardinality/one"
SCHEMA = [
    {":db/ident": ":p/name", ":db/valueType": ":db.type/string", ":db/cardinality": ONE, ":db/unique": ":db.unique/identity"},
    {":db/ident": ":p/age", ":db/valueType": ":db.type/long", ":db/cardinality": ONE, ":db/index": True},
    {":db/ident": ":p/to", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"},
    {":db/ident": ":p/like", ":db/valueType": ":db.type/ref", ":db/cardinality": ONE, ":db/unique": ":db.unique/value"},
    {":db/ident": ":p/at", ":db/valueType": ":db.type/instant", ":db/cardinality": ":db.cardinality/many", ":db/index": True},
    {":db/ident": ":p/t", ":db/valueType": ":db.type/tuple", ":db/cardinality": ONE, ":db/tupleTypes": [":db.type/ref", ":db.type/long"]},
]


class Unshowable:
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def nested(kind: type[Any], levels: int = 5000) -> Any:
    value = kind()
    for _ in range(levels):
        value = kind([value])
    return value


def circles() -> list[Any]:
    in_list: list[Any] = []
    in_list += [in_list, in_list]
    in_map: dict[str, Any] = {":p/name": "x"}
    in_map[":p/to"] = [in_map, in_map]
    lookup: list[Any] = [":p/like"]
    lookup.append(lookup)
    return [in_list, in_map, lookup]


def odd(entity: Any) -> list[Any]:
    return [
        *(None, 0, 5, -1, 1 << 42, (2 << 42) + 10**9, (1 << 63) - 1, 1 << 63, -(1 << 63), 1 << 70, 10**5000, True),
        *(1.5, math.nan, math.inf, Decimal("NaN"), Decimal("1e999999"), timedelta(1), b"x", object(), Unshowable(), int),
        *(datetime(2020, 1, 1), datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)),
        *("x", "", "\ud800", "a\0b", ":p/age", ":", "::", ":p/nope", "p/age", "[:find", "[[", "x" * 100_000, ":" + "y" * 100_000),
        *([], [[]], {}, {"a": 1}, (), set(), {(1, 2)}, nested(list), nested(tuple), *circles()),
        *([":p/name", "ann"], [":p/name", []], [":p/age", 3], [":p/nope", 1], [":p/like", [":p/like", 5]], ["p/name", "ann"]),
        *(lambda *_: 1, entity, range(3)),
    ]


@pytest.fixture(scope="module")
def conn() -> Iterator[factstore.Connection]:
    with factstore.connect("memory:") as made:
        made.transact(SCHEMA)
        made.transact([{":db/id": "e", ":p/name": "ann", ":p/age": 3, ":p/to": ["e"], ":p/at": [datetime(2020, 1, 1, tzinfo=UTC)]}])
        made._committer.index()
        made.transact([{":p/name": "ben"}])
        yield made


def some(values: Iterable[Any]) -> list[Any]:
    return list(islice(values, 50))


Use = Callable[[factstore.Connection, int, Any], object]
QUERY = "[:find ?e :where [?e :p/age]]"
WHERE = [["?e", ":p/age", "?v"]]


def asked(part: str, value: Any, *inputs: Any) -> Callable[[factstore.Database], Any]:
    return lambda db: factstore.q({":find": ["?e"], ":where": WHERE, part: value}, db, *inputs)


READS: dict[str, Use] = {
    "as_of": lambda c, e, x: c.db().as_of(x),
    "since": lambda c, e, x: c.db().since(x),
    "branch": lambda c, e, x: c.db().branch(x),
    "t_at": lambda c, e, x: c.db().t_at(x),
    "instant_of": lambda c, e, x: c.db().instant_of(x),
    "entid": lambda c, e, x: c.db().entid(x),
    "ident": lambda c, e, x: c.db().ident(x),
    "attribute": lambda c, e, x: c.db().attribute(x),
    "filter": lambda c, e, x: callable(x) or c.db().filter(x),
    "datoms, index": lambda c, e, x: some(c.db().datoms(x)),
    "datoms, e": lambda c, e, x: some(c.db().datoms("eavt", x)),
    "datoms, a": lambda c, e, x: some(c.db().datoms("aevt", x)),
    "datoms, a e": lambda c, e, x: some(c.db().datoms("aevt", ":p/name", x)),
    "datoms, long": lambda c, e, x: some(c.db().datoms("avet", ":p/age", x)),
    "datoms, string": lambda c, e, x: some(c.db().datoms("avet", ":p/name", x)),
    "datoms, instant": lambda c, e, x: some(c.db().datoms("avet", ":p/at", x)),
    "datoms, tuple": lambda c, e, x: some(c.db().datoms("eavt", e, ":p/t", [x, x])),
    "datoms, ref": lambda c, e, x: some(c.db().datoms("vaet", x)),
    "datoms, tx": lambda c, e, x: some(c.db().datoms("eavt", e, ":p/name", "ann", x)),
    "seek": lambda c, e, x: some(c.db().seek_datoms("avet", ":p/age", x)),
    "rseek": lambda c, e, x: some(c.db().rseek_datoms("eavt", x)),
    "index_range, attribute": lambda c, e, x: some(c.db().index_range(x)),
    "index_range": lambda c, e, x: some(c.db().index_range(":p/age", x)),
    "index_range, end": lambda c, e, x: some(c.db().index_range(":p/at", None, x)),
    "pull, entity": lambda c, e, x: factstore.pull(c.db(), ["*"], x),
    "pull, pattern": lambda c, e, x: factstore.pull(c.db(), x, e),
    "pull, spec": lambda c, e, x: factstore.pull(c.db(), [x], e),
    "pull, sub-pattern": lambda c, e, x: factstore.pull(c.db(), [{":p/to": x}], e),
    "pull, :as": lambda c, e, x: factstore.pull(c.db(), [[":p/age", ":as", x]], e),
    "pull, :limit": lambda c, e, x: factstore.pull(c.db(), [[":p/to", ":limit", x]], e),
    "pull, :default": lambda c, e, x: factstore.pull(c.db(), [[":p/at", ":default", x]], e),
    "pull, :xform": lambda c, e, x: factstore.pull(c.db(), [[":p/to", ":xform", x]], e),
    "pull, option": lambda c, e, x: factstore.pull(c.db(), [[":p/to", x, 1]], e),
    "pull_many, entities": lambda c, e, x: factstore.pull_many(c.db(), ["*"], x),
    "pull_many, entity": lambda c, e, x: factstore.pull_many(c.db(), ["*"], [x]),
    "index_pull, start": lambda c, e, x: some(factstore.index_pull(c.db(), index="avet", selector=["*"], start=x)),
    "index_pull, value": lambda c, e, x: some(factstore.index_pull(c.db(), index="avet", selector=["*"], start=[":p/age", x])),
    "index_pull, index": lambda c, e, x: some(factstore.index_pull(c.db(), index=x, selector=["*"], start=[":p/age"])),
    "index_pull, selector": lambda c, e, x: some(factstore.index_pull(c.db(), index="avet", selector=x, start=[":p/age"])),
    "index_pull, offset": lambda c, e, x: some(factstore.index_pull(c.db(), index="avet", selector=["*"], start=[":p/age"], offset=x)),
    "index_pull, limit": lambda c, e, x: some(factstore.index_pull(c.db(), index="avet", selector=["*"], start=[":p/age"], limit=x)),
    "entity": lambda c, e, x: factstore.entity(c.db(), x),
    "entity_history": lambda c, e, x: factstore.entity_history(c.db(), x),
    "entity, database": lambda c, e, x: factstore.entity(x, e),
    "entity_history, database": lambda c, e, x: factstore.entity_history(x, e),
    "pull, database": lambda c, e, x: factstore.pull(x, ["*"], e),
    "pull_many, database": lambda c, e, x: factstore.pull_many(x, ["*"], [e]),
    "index_pull, database": lambda c, e, x: some(factstore.index_pull(x, index="avet", selector=["*"], start=[":p/age"])),
    "with_, database": lambda c, e, x: factstore.with_(x, []),
    "resolve_tempid": lambda c, e, x: factstore.resolve_tempid(x, "t"),
    "set_exactly": lambda c, e, x: factstore.set_exactly(e, ":p/age", x),
    "transact_file, path": lambda c, e, x: factstore.transact_file(c, x),
    "transact_file, connection": lambda c, e, x: factstore.transact_file(x, "none.edn"),
    "diff": lambda c, e, x: factstore.diff(c.db(), x),
    "diff, first": lambda c, e, x: factstore.diff(x, c.db()),
    "sync": lambda c, e, x: c.sync(x, timeout=0),
    "wait": lambda c, e, x: c.wait(x, timeout=0),
    "tx_range": lambda c, e, x: some(c.log().tx_range(x)),
    "tx_range, end": lambda c, e, x: some(c.log().tx_range(1, x)),
    "tx_reports": lambda c, e, x: c.tx_reports(from_t=x).close(),
    "listen": lambda c, e, x: callable(x) or c.listen(x),
    "t_to_tx": lambda c, e, x: factstore.t_to_tx(x),
    "tx_to_t": lambda c, e, x: factstore.tx_to_t(x),
    "part": lambda c, e, x: factstore.part(x),
}
QUERIES: dict[str, Use] = {
    "query": lambda c, e, x: factstore.q(x, c.db()),
    "qseq": lambda c, e, x: some(factstore.qseq(x, c.db())),
    "rows": lambda c, e, x: factstore.rows(x, c.db()),
    "explain": lambda c, e, x: factstore.explain(x, c.db()),
    "source": lambda c, e, x: factstore.q(QUERY, x),
    "input, entity": lambda c, e, x: factstore.q("[:find ?n :in $ ?e :where [?e :p/name ?n]]", c.db(), x),
    "input, value": lambda c, e, x: factstore.q("[:find ?e :in $ ?v :where [?e :p/age ?v]]", c.db(), x),
    "input, collection": lambda c, e, x: factstore.q("[:find ?e :in $ [?v ...] :where [?e :p/age ?v]]", c.db(), x),
    "input, element": lambda c, e, x: factstore.q("[:find ?e :in $ [?v ...] :where [?e :p/age ?v]]", c.db(), [x]),
    "input, relation": lambda c, e, x: factstore.q("[:find ?e :in $ [[?v ?w]] :where [?e :p/age ?v]]", c.db(), x),
    "input, tuple": lambda c, e, x: factstore.q("[:find ?e :in $ [?v ?w] :where [?e :p/age ?v]]", c.db(), x),
    "input, found": lambda c, e, x: factstore.q("[:find ?v :in ?v]", x),
    "input, found in a collection": lambda c, e, x: factstore.q("[:find ?v :in [?v ...]]", [x]),
    "rules": lambda c, e, x: factstore.q("[:find ?e :in $ % :where (r ?e)]", c.db(), x),
    "rule": lambda c, e, x: factstore.q("[:find ?e :in $ % :where (r ?e)]", c.db(), [x]),
    "rule, head": lambda c, e, x: factstore.q("[:find ?e :in $ % :where (r ?e)]", c.db(), [[x, ["?e", ":p/age"]]]),
    "rule, body": lambda c, e, x: factstore.q("[:find ?e :in $ % :where (r ?e)]", c.db(), [[["r", "?e"], x]]),
    ":find": lambda c, e, x: asked(":find", x)(c.db()),
    ":find, element": lambda c, e, x: asked(":find", [x])(c.db()),
    ":find, pull": lambda c, e, x: asked(":find", [["pull", "?e", x]])(c.db()),
    ":find, aggregate": lambda c, e, x: asked(":find", [[x, x, "?e"]])(c.db()),
    ":where": lambda c, e, x: asked(":where", x)(c.db()),
    ":where, clause": lambda c, e, x: asked(":where", [x])(c.db()),
    ":where, attribute": lambda c, e, x: asked(":where", [["?e", x]])(c.db()),
    ":where, entity": lambda c, e, x: asked(":where", [[x, ":p/age", "?e"]])(c.db()),
    ":where, value": lambda c, e, x: asked(":where", [["?e", ":p/age", x]])(c.db()),
    ":where, argument": lambda c, e, x: asked(":where", [*WHERE, [["<", "?v", x]]])(c.db()),
    ":where, function": lambda c, e, x: asked(":where", [*WHERE, [[x, "?v", x], x]])(c.db()),
    ":where, not": lambda c, e, x: asked(":where", [*WHERE, ["not", x]])(c.db()),
    ":where, or": lambda c, e, x: asked(":where", [["or", x, ["?e", ":p/age"]]])(c.db()),
    ":where, or-join": lambda c, e, x: asked(":where", [["or-join", x, ["?e", ":p/age"]]])(c.db()),
    ":having": lambda c, e, x: asked(":having", [x])(c.db()),
    ":order-by": lambda c, e, x: asked(":order-by", [x])(c.db()),
    ":limit": lambda c, e, x: asked(":limit", x)(c.db()),
    ":offset": lambda c, e, x: asked(":offset", x)(c.db()),
    ":timeout": lambda c, e, x: asked(":timeout", x)(c.db()),
    ":keys": lambda c, e, x: asked(":keys", [x])(c.db()),
    ":in": lambda c, e, x: asked(":in", ["$", x], 1)(c.db()),
    ":with": lambda c, e, x: asked(":with", [x])(c.db()),
    "timeout": lambda c, e, x: factstore.q(QUERY, c.db(), timeout=x),
    "max_rows": lambda c, e, x: factstore.q(QUERY, c.db(), max_rows=x),
    "cancel": lambda c, e, x: factstore.q(QUERY, c.db(), cancel=x),
    "cache": lambda c, e, x: factstore.q(QUERY, c.db(), cache=x),
    "block": lambda c, e, x: some(factstore.qseq(QUERY, c.db(), block=x)),
    "AnswerCache": lambda c, e, x: factstore.AnswerCache(max_bytes=x),
}
TRANSACTIONS: dict[str, Use] = {
    "tx-data": lambda c, e, x: factstore.with_(c.db(), x),
    "form": lambda c, e, x: factstore.with_(c.db(), [x]),
    "operation": lambda c, e, x: factstore.with_(c.db(), [[x, e, ":p/age", 1]]),
    "entity": lambda c, e, x: factstore.with_(c.db(), [[":db/add", x, ":p/age", 1]]),
    "attribute": lambda c, e, x: factstore.with_(c.db(), [[":db/add", e, x, 1]]),
    "long": lambda c, e, x: factstore.with_(c.db(), [[":db/add", e, ":p/age", x]]),
    "reference": lambda c, e, x: factstore.with_(c.db(), [[":db/add", e, ":p/to", x]]),
    "string": lambda c, e, x: factstore.with_(c.db(), [[":db/add", e, ":p/name", x]]),
    "instant": lambda c, e, x: factstore.with_(c.db(), [[":db/add", e, ":p/at", x]]),
    "tuple": lambda c, e, x: factstore.with_(c.db(), [[":db/add", e, ":p/t", x]]),
    "slot": lambda c, e, x: factstore.with_(c.db(), [[":db/add", e, ":p/t", [x, x]]]),
    "retracted": lambda c, e, x: factstore.with_(c.db(), [[":db/retract", e, ":p/to", x]]),
    "retracted entity": lambda c, e, x: factstore.with_(c.db(), [[":db/retractEntity", x]]),
    "compared": lambda c, e, x: factstore.with_(c.db(), [[":db/cas", e, ":p/age", x, x]]),
    "set exactly": lambda c, e, x: factstore.with_(c.db(), [[":db/setExactly", e, ":p/to", x]]),
    "required": lambda c, e, x: factstore.with_(c.db(), [[":db/require", x]]),
    "value in a map": lambda c, e, x: factstore.with_(c.db(), [{":p/to": x}]),
    "values in a map": lambda c, e, x: factstore.with_(c.db(), [{":p/to": [x]}]),
    ":db/id": lambda c, e, x: factstore.with_(c.db(), [{":db/id": x, ":p/age": 1}]),
    "reverse": lambda c, e, x: factstore.with_(c.db(), [{":p/age": 1, ":p/_to": x}]),
    ":db/ensure": lambda c, e, x: factstore.with_(c.db(), [{":p/age": 1, ":db/ensure": x}]),
    ":db/txInstant": lambda c, e, x: factstore.with_(c.db(), [[":db/add", "datomic.tx", ":db/txInstant", x]]),
    "none": lambda c, e, x: factstore.with_(c.db(), [{":p/age": 1}], none=x),
    "transact, none": lambda c, e, x: c.transact([], none=x),
    "key": lambda c, e, x: c.transact([], key=x),
    "if_unchanged_since": lambda c, e, x: c.transact([], if_unchanged_since=x),
    "in the background": lambda c, e, x: c.transact_async([["x/unknown", x]]).result(60),
    "annotation": lambda c, e, x: c.annotate(x).__enter__(),
    "annotated": lambda c, e, x: c.annotate({":db/doc": x, ":p/to": x}).__enter__(),
    "excised": lambda c, e, x: c.excise(x, before=1),
    "excised before": lambda c, e, x: c.excise(":p/t", before=x),
    "migrations": lambda c, e, x: factstore.migrate(c, x, dry_run=True),
    "migration": lambda c, e, x: factstore.migrate(c, [x], dry_run=True),
    "migration's name": lambda c, e, x: factstore.migrate(c, [factstore.Migration(x, [])], dry_run=True),
    "migration's forms": lambda c, e, x: factstore.migrate(c, [factstore.Migration("m", x)], dry_run=True),
    "migrations_in": lambda c, e, x: factstore.migrations_in(x),
    "schema_of": lambda c, e, x: factstore.schema_of(x),
}
SCHEMAS: dict[str, Use] = {
    f"declared {name}": lambda c, e, x, name=name: factstore.with_(  # type: ignore[misc]
        c.db(), [{":db/ident": ":new/a", ":db/valueType": ":db.type/string", ":db/cardinality": ONE, name: x}]
    )
    for name in (
        *(":db/ident", ":db/valueType", ":db/cardinality", ":db/unique", ":db/index", ":db/isComponent", ":db/noHistory", ":db/doc"),
        *(":db/fulltext", ":db/tupleAttrs", ":db/tupleTypes", ":db/tupleType", ":db.attr/preds", ":db.entity/attrs", ":db.entity/preds"),
        *(":db/stamp", ":db.install/_attribute", ":db/_valueType", ":db/excise", ":db.excise/beforeT", ":db.tx/key", ":db.migration/name"),
    )
}
OTHERS: dict[str, Use] = {
    "read": lambda c, e, x: edn.read(x),
    "read_all": lambda c, e, x: edn.read_all(x),
    "write": lambda c, e, x: edn.write(x),
    "register": lambda c, e, x: factstore.register(x, lambda db: []),
    "registered": lambda c, e, x: callable(x) or factstore.register("odd/f", x) if x is not None else None,
    "connect": lambda c, e, x: factstore.connect(x, create=False).close(),
    "connect, create": lambda c, e, x: factstore.connect("memory:", create=x).close(),
    "connect, read_only": lambda c, e, x: factstore.connect("memory:", read_only=x).close(),
    "connect, sync": lambda c, e, x: factstore.connect("memory:", sync=x).close(),
    "connect, clock": lambda c, e, x: factstore.connect("memory:", clock=x).close(),
    "connect, cache_bytes": lambda c, e, x: factstore.connect("memory:", cache_bytes=x).close(),
    "connect, infer_schema": lambda c, e, x: factstore.connect("memory:", infer_schema=x).close(),
}
USES: dict[str, Use] = {**READS, **QUERIES, **TRANSACTIONS, **SCHEMAS, **OTHERS}


@pytest.mark.parametrize("name", USES)
@pytest.mark.filterwarnings("ignore")
def test_an_odd_argument_gives_an_answer_or_an_error_of_the_family(conn: factstore.Connection, name: str) -> None:
    e = conn.db().entid([":p/name", "ann"])
    assert e is not None
    raw = []
    for x in odd(factstore.entity(conn.db(), e)):
        try:
            USES[name](conn, e, x)
        except FactStoreError as error:
            assert error.code.startswith(":db.error/")
            assert str(error)
            assert len(error.message) <= LONGEST_MESSAGE
        except Exception as error:
            raw.append(f"{factstore.quoted(x, 60)}: {factstore.quoted(error)}")
    assert [] == raw


def test_an_entity_that_was_never_given_out_is_not_excised(conn: factstore.Connection) -> None:
    for target in (1 << 63, (2 << 42) + 10**9, -5, 10**30, 3 << 42):
        before = conn.db().basis_t
        with pytest.raises(factstore.DatabaseError, match="expected an entity") as caught:
            conn.excise(target)
        assert caught.value.code in (":db.error/invalid-excision", ":db.error/invalid-entity-id")
        assert before == conn.db().basis_t


@pytest.mark.parametrize("use", [name for name in READS if name.endswith(", database")])
def test_a_read_of_a_connection_names_the_database_to_give(conn: factstore.Connection, use: str) -> None:
    with pytest.raises(factstore.DatabaseError, match=r"reads a database, got .*; give conn\.db\(\)") as raised:
        READS[use](conn, 1, conn)
    assert (raised.value.code, raised.value.data["got"]) == (":db.error/not-a-database", conn)


def test_transact_file_without_a_readable_file_is_unavailable(conn: factstore.Connection) -> None:
    with pytest.raises(FactStoreError, match="none-such") as raised:
        factstore.transact_file(conn, "none-such.edn")
    assert raised.value.code == ":db.error/file-unavailable"
