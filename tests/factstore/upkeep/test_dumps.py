"""Dumps: a store as text and back, exactly; or on top of another store."""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import factstore
from factstore import Keyword, Symbol, Uri, edn, maintain
from factstore.cli import main
from factstore.dumps import Manifest, dump, replay, undump, verify
from factstore.errors import Corrupt, StorageError
from factstore.storage import open_storage
from tests.factstore.tx import PEOPLE

TYPES = """
[{:db/ident :v/float :db/valueType :db.type/float :db/cardinality :db.cardinality/many}
 {:db/ident :v/double :db/valueType :db.type/double :db/cardinality :db.cardinality/many}
 {:db/ident :v/bigint :db/valueType :db.type/bigint :db/cardinality :db.cardinality/many}
 {:db/ident :v/bigdec :db/valueType :db.type/bigdec :db/cardinality :db.cardinality/many}
 {:db/ident :v/bool :db/valueType :db.type/boolean :db/cardinality :db.cardinality/many}
 {:db/ident :v/inst :db/valueType :db.type/instant :db/cardinality :db.cardinality/many}
 {:db/ident :v/string :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
 {:db/ident :v/keyword :db/valueType :db.type/keyword :db/cardinality :db.cardinality/many}
 {:db/ident :v/symbol :db/valueType :db.type/symbol :db/cardinality :db.cardinality/many}
 {:db/ident :v/uri :db/valueType :db.type/uri :db/cardinality :db.cardinality/many}
 {:db/ident :v/uuid :db/valueType :db.type/uuid :db/cardinality :db.cardinality/many}
 {:db/ident :v/bytes :db/valueType :db.type/bytes :db/cardinality :db.cardinality/many}
 {:db/ident :v/tuple :db/valueType :db.type/tuple :db/cardinality :db.cardinality/many :db/tupleTypes [:db.type/instant :db.type/ref]}
 {:db/ident :v/both :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one :db/tupleAttrs [:u/login :u/age]}]
"""
VALUES = {
    ":v/float": [0.5, float("inf")],
    ":v/double": [0.1, -0.0, 1e300, float("-inf")],
    ":v/bigint": [1, -(1 << 90)],
    ":v/bigdec": [Decimal("1.10"), Decimal("-1E+5")],
    ":v/bool": [True, False],
    ":v/inst": [datetime(1969, 7, 20, 20, 17, 40, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)],
    ":v/string": ["", 'a "b" \\ \n\t', "\u2028 ☃ 𝄞"],
    ":v/keyword": [Keyword(":a"), Keyword(":a.b/c")],
    ":v/symbol": [Symbol("a/b"), Symbol("true"), Symbol("two words")],
    ":v/uri": [Uri("https://example.org/?a=b#c")],
    ":v/uuid": [uuid.UUID(int=5)],
    ":v/bytes": [b"", b"\x00\xff"],
}


def lived() -> factstore.Connection:
    """Return a store with a bit of everything in its history."""
    conn = factstore.connect("memory:")
    conn.transact(PEOPLE)
    conn.transact(TYPES)
    ids = conn.transact([{":db/id": "ann", ":u/login": "ann", ":u/age": 40, **VALUES}, {":db/id": "ben", ":u/login": "ben"}]).tempids
    conn.transact([[":db/add", ids["ben"], ":u/boss", ids["ann"]], {":db/id": "datomic.tx", ":db/doc": "Ben has a boss"}])
    conn.transact(
        [[":db/add", ids["ann"], ":v/tuple", [datetime(2026, 1, 1, tzinfo=UTC), ids["ben"]]], [":db/add", ids["ann"], ":u/age", 41]]
    )
    conn.load({"name": ["cyd", "dee"], "age": [1, 2]}, {"name": ":u/login", "age": ":u/age"}, progress=False)
    conn.transact([[":db/retractEntity", ids["ben"]], {":db/id": ":u/nick", ":db/ident": ":u/called"}])
    conn.transact([{":u/login": "eve", ":u/called": ["E"]}], key="once")
    conn.transact([])
    return conn


def told(conn: factstore.Connection) -> list[tuple[Any, ...]]:
    return [(made.t, made.data, conn.db().instant_of(made.t)) for made in conn.log().tx_range()]


@pytest.fixture(params=["memory", "lmdb"])
def target(request: Any, tmp_path: Path) -> Iterator[str]:
    """The uri of an empty store that is there as long as the test."""
    uri = f"memory:{tmp_path}" if request.param == "memory" else str(tmp_path / "x.facts")
    with closing(open_storage(uri)):
        yield uri


def undumped(path: Path, uri: str) -> factstore.Connection:
    with closing(open_storage(uri)) as storage:
        undump(path, storage)
        return factstore.connect(uri)


@pytest.mark.parametrize("name", ["x.edn", "x.edn.gz"])
def test_what_was_dumped_comes_back_the_same(tmp_path: Path, name: str, target: str) -> None:
    conn, path = lived(), tmp_path / name
    made = dump(conn, path)
    assert made == verify(path)
    assert conn.db().basis_t == made.transactions
    with undumped(path, target) as again:
        assert told(conn) == told(again)
        assert [list(map(type, data)) for _, data, _ in told(conn)] == [list(map(type, data)) for _, data, _ in told(again)]
        assert conn.db().next_n == again.db().next_n
        again._committer.index()
        assert maintain.check(again).ok
        assert 42 == factstore.pull(again.transact([{":u/login": "ann", ":u/age": 42}]).db_after, [":u/age"], [":u/login", "ann"])[":u/age"]  # type: ignore[index]


def test_a_dump_is_lines_of_edn_that_begin_with_names_and_end_with_counts(tmp_path: Path) -> None:
    conn, path = lived(), tmp_path / "x.edn"
    made = dump(conn, path)
    lines = [edn.read(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    assert 1 == lines[0][":factstore/dump"]
    assert ":u/called" in lines[0][":attributes"]
    assert list(range(1, made.transactions + 1)) == [line[":t"] for line in lines[1:-1]]
    assert made == Manifest(*(lines[-1][":factstore/end"][f":{name}"] for name in Manifest._fields))
    assert made.datoms == sum(len(line[":data"]) for line in lines[1:-1])
    rows = [row for line in lines[1:-1] for row in line[":data"]]
    assert [":db/valueType", Keyword(":db.type/string"), True] == next(row[1:] for row in rows if row[1] == ":db/valueType")
    assert {int} == {type(row[2]) for row in rows if row[1] == ":u/boss"}


def test_attributes_can_be_left_out_and_what_repeats_them_goes_too(tmp_path: Path, target: str) -> None:
    conn, path = lived(), tmp_path / "x.edn"
    dump(conn, path, without=[":u/age"])
    assert " :u/age 4" not in path.read_text(encoding="utf-8")
    with undumped(path, target) as again:
        db = again.db()
        assert [0, 0, 6] == [db.history().datoms("aevt", name).count() for name in (":u/age", ":v/both", ":u/login")]
        assert ":u/age" == db.ident(":u/age")


def test_just_some_attributes_up_to_some_t(tmp_path: Path, target: str) -> None:
    conn, path = lived(), tmp_path / "x.edn"
    assert 4 == dump(conn, path, only=[":u/login"], upto=4).transactions
    with undumped(path, target) as again:
        assert ["ann", "ben"] == [d.v for d in again.db().datoms("avet", ":u/login")]
        assert 0 == again.db().datoms("aevt", ":v/string").count()
        assert conn.db().instant_of(4) == again.db().instant_of(4)


@pytest.mark.parametrize(
    "harm",
    [
        lambda body: body[: len(body) // 2],
        lambda body: body[: body.rindex(b"{")],
        lambda body: body.replace(b'"ann"', b'"amn"', 1),
        lambda body: body.replace(b"{:t 2,", b"{:t 3,", 1),
        lambda body: b"\n".join(body.split(b"\n")[:3] + body.split(b"\n")[4:]),
        lambda body: b"",
        lambda body: b"\xff\xfe",
    ],
)
def test_nothing_is_written_of_a_dump_that_was_cut_short_or_changed(tmp_path: Path, target: str, harm: Any) -> None:
    path = tmp_path / "x.edn"
    dump(lived(), path)
    path.write_bytes(harm(path.read_bytes()))
    with closing(open_storage(target)) as storage:
        with pytest.raises(Corrupt, match="is no whole dump"):
            undump(path, storage)
        assert 0 == storage.head()


def test_a_compressed_dump_that_was_cut_short_is_found_out(tmp_path: Path) -> None:
    path = tmp_path / "x.edn.gz"
    dump(lived(), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Corrupt):
        verify(path)


def test_a_dump_does_not_become_part_of_a_store_that_holds_something(tmp_path: Path, target: str) -> None:
    path = tmp_path / "x.edn"
    dump(lived(), path)
    with factstore.connect(target) as conn:
        conn.transact([])
    with closing(open_storage(target)) as storage, pytest.raises(StorageError, match="holds transactions already"):
        undump(path, storage)


def test_a_dump_that_fails_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "x.edn"
    conn = lived()
    dump(conn, path)
    before = path.read_bytes()
    with pytest.raises(factstore.DatabaseError):
        dump(conn, path, only=[":no/such"])
    assert before == path.read_bytes()


# -- on top of another store


def others() -> factstore.Connection:
    """Return a store in which the ids are other ones."""
    conn = factstore.connect("memory:")
    conn.transact("[{:db/ident :other/thing :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]")
    conn.transact([{":other/thing": n} for n in range(5)])
    return conn


def facts_by_name(db: factstore.Database) -> set[tuple[Any, ...]]:
    """Return what is known of those who have a login, with references by login."""
    logins = {d.e: d.v for d in db.datoms("aevt", ":u/login")}
    facts = [datom for e in logins for datom in db.datoms("eavt", e)]
    return {
        (logins[d.e], db.ident(d.a), logins.get(d.v, d.v) if db.attribute(d.a).is_ref else d.v)
        for d in facts
        if db.ident(d.a) != ":v/tuple"
    }


def test_a_replay_says_the_same_of_entities_with_other_ids(tmp_path: Path) -> None:
    conn, target, path = lived(), others(), tmp_path / "x.edn"
    dump(conn, path)
    start = target.db().basis_t
    done = replay(target, path)
    assert conn.db().basis_t == done.transactions == target.db().basis_t - start
    assert facts_by_name(conn.db()) == facts_by_name(target.db())
    for t in range(3, conn.db().basis_t):
        assert facts_by_name(conn.db().as_of(t)) == facts_by_name(target.db().as_of(start + t))
    assert "Ben has a boss" == factstore.pull(target.db(), [":db/doc"], factstore.t_to_tx(start + 4))[":db/doc"]  # type: ignore[index]
    assert [0, 1, 2, 3, 4] == [d.v for d in target.db().datoms("aevt", ":other/thing")]


def test_a_replay_keeps_references_in_tuples_and_in_swaps(tmp_path: Path) -> None:
    conn, target, path = factstore.connect("memory:"), others(), tmp_path / "x.edn"
    conn.transact(
        """[{:db/ident :k :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
            {:db/ident :at :db/valueType :db.type/ref :db/cardinality :db.cardinality/one :db.attr/preds db/cas-only}
            {:db/ident :pair :db/valueType :db.type/tuple :db/tupleTypes [:db.type/ref :db.type/long] :db/cardinality :db.cardinality/many}]"""
    )
    ids = conn.transact([{":db/id": name, ":k": name} for name in "abc"]).tempids
    conn.transact([{":db/id": ids["a"], ":at": ids["b"], ":pair": [[ids["c"], 7], [None, 8]]}])
    conn.transact([[":db/cas", ids["a"], ":at", ids["b"], ids["c"]], [":db/add", ids["b"], ":pair", [ids["b"], ids["c"]]]])
    dump(conn, path)
    assert 0 == replay(target, path).left_out
    a, b, c = (target.db().entid([":k", name]) for name in "abc")
    assert {(a, c)} == target.db().q("[:find ?e ?v :where [?e :at ?v]]")
    assert {(a, (c, 7)), (a, (None, 8)), (b, (b, ids["c"]))} == target.db().q("[:find ?e ?v :where [?e :pair ?v]]")


@pytest.mark.parametrize("known", [False, True])
def test_a_replay_keeps_references_to_an_entity_that_has_no_fact_yet(tmp_path: Path, known: bool) -> None:
    conn, target, path = factstore.connect("memory:"), others(), tmp_path / "x.edn"
    schema = """[{:db/ident :k :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
                 {:db/ident :r :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}]"""
    conn.transact(schema)
    b = conn.transact([{":db/id": "b", ":k": "old"}]).tempids["b"]
    conn.excise(":k")
    conn.transact([{":k": "a", ":r": b}])
    conn.transact([{":db/id": b, ":k": "b"}])
    dump(conn, path)
    if known:
        target.transact(schema)
        target.transact([{":k": "b"}])
    holder = target.db().entid([":k", "b"]) if known else None
    assert 0 == replay(target, path).left_out
    assert [["a", "b"]] == [*map(list, target.db().q("[:find ?a ?b :where [?e :k ?a] [?e :r ?r] [?r :k ?b]]"))]
    assert holder in (None, target.db().entid([":k", "b"]))
    assert 1 == replay(others(), path, upto=conn.db().basis_t - 1).left_out  # b has no fact in this part


def test_a_replay_of_what_is_known_by_identity_adds_to_it(tmp_path: Path) -> None:
    conn, path = lived(), tmp_path / "x.edn"
    dump(conn, path)
    before = facts_by_name(conn.db())
    replay(conn, path, start=3)
    assert {"ann", "cyd", "dee", "eve"} == {login for login, _, _ in facts_by_name(conn.db())}
    assert before == facts_by_name(conn.db())
    assert 4 == conn.db().datoms("aevt", ":u/login").count()


def test_the_log_of_another_store_is_replayed_by_names(tmp_path: Path) -> None:
    path = tmp_path / "log.edn"
    path.write_text(
        """{:t 1000 :data [[13194139534312 :db/txInstant #inst "2020-01-01T00:00:00.000-00:00" 13194139534312 true]
 [63 :db/ident :book/title 13194139534312 true] [63 :db/valueType :db.type/string 13194139534312 true]
 [63 :db/cardinality :db.cardinality/one 13194139534312 true] [0 :db.install/attribute 63 13194139534312 true]
 [64 :db/ident :book/sequel 13194139534312 true] [64 :db/valueType :db.type/ref 13194139534312 true]
 [64 :db/cardinality :db.cardinality/one 13194139534312 true]]}
{:t 1001 :data [[13194139534313 :db/txInstant #inst "2020-01-02T00:00:00.000-00:00" 13194139534313 true]
 [17592186045418 :book/title "Dune" 13194139534313 true] [17592186045419 :book/title "Dune 2" 13194139534313 true]
 [17592186045418 :book/sequel 17592186045419 13194139534313 true]]}
{:t 1003 :data [[13194139534315 :db/txInstant #inst "2020-01-03T00:00:00.000-00:00" 13194139534315 true]
 [17592186045419 :book/title "Dune 2" 13194139534315 false] [17592186045419 :book/title "Dune Messiah" 13194139534315 true]]}
""".replace("\n ", " ")
    )
    conn = factstore.connect("memory:")
    assert 0 == replay(conn, path).left_out
    db = conn.db()
    found = factstore.q('[:find (pull ?e [:book/title {:book/sequel [:book/title]}]) . :where [?e :book/title "Dune"]]', db)
    assert {":book/title": "Dune", ":book/sequel": {":book/title": "Dune Messiah"}} == found
    assert datetime(2020, 1, 3, tzinfo=UTC) == db.instant_of(db.basis_t)
    assert "Dune 2" in {d.v for d in db.history().datoms("aevt", ":book/title")}


# -- from the command line


def test_dump_undump_and_replay_from_the_command_line(tmp_path: Path) -> None:
    first, second, file = (str(tmp_path / name) for name in ("a.facts", "b.facts", "x.edn.gz"))
    with factstore.connect(first) as conn:
        conn.transact(PEOPLE)
        conn.transact([{":u/login": "ann", ":u/age": 40}])
        whole = told(conn)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, list(arguments))
        assert 0 == done.exit_code, done.output
        return done.output

    assert "2 transactions" in run("dump", file, "--store", first)
    assert b":factstore/end" in gzip.decompress(Path(file).read_bytes())
    assert "2 transactions" in run("undump", file, "--store", second)
    with factstore.connect(second) as conn:
        assert whole == told(conn)
        assert 2 == conn.db().view.index.basis_t
    assert "1 transactions" in run("replay", file, "--store", first, "--from", "2")
    assert 1 == CliRunner().invoke(main, ["undump", file, "--store", second]).exit_code
    Path(file).write_bytes(Path(file).read_bytes()[:-9])
    assert 4 == CliRunner().invoke(main, ["undump", file, "--store", str(tmp_path / "c.facts")]).exit_code
    assert not (tmp_path / "c.facts").exists()


def test_a_dump_goes_to_standard_output_and_comes_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with factstore.connect("a.facts") as conn:
        conn.transact(PEOPLE)
        conn.transact([{":u/login": "ann", ":u/age": 40}])
        whole = told(conn)
    runner = CliRunner()
    dumped = runner.invoke(main, ["dump", "-", "--store", "a.facts"])
    assert 0 == dumped.exit_code
    assert b":factstore/end" in dumped.stdout_bytes.splitlines()[-1]
    assert "- holds 2 transactions" in dumped.stderr
    done = runner.invoke(main, ["undump", "-", "--store", "b.facts"], input=dumped.stdout_bytes)
    assert 0 == done.exit_code, done.output
    with factstore.connect("b.facts") as conn:
        assert whole == told(conn)
    assert 0 == runner.invoke(main, ["replay", "-", "--store", "b.facts"], input=dumped.stdout_bytes).exit_code
    packed = runner.invoke(main, ["undump", "-", "--store", "d.facts"], input=gzip.compress(dumped.stdout_bytes))
    assert 0 == packed.exit_code, packed.output
    again = runner.invoke(main, ["undump", "-", "--store", "d.facts"], input="not read, because the target exists")
    assert (1, True) == (again.exit_code, "d.facts" in again.stderr)
    cut = runner.invoke(main, ["undump", "-", "--store", "c.facts"], input=dumped.stdout_bytes[:-9])
    assert (4, False) == (cut.exit_code, Path("c.facts").exists())
    assert "standard-input is no whole dump" in cut.stderr
    assert not Path("-").exists()


# -- changes of the schema


def renamed() -> factstore.Connection:
    """Return a store in whose history an attribute was renamed, and its name given to another."""
    conn = factstore.connect("memory:")
    one = {":db/cardinality": ":db.cardinality/one"}
    conn.transact([{":db/ident": ":item/tag", ":db/valueType": ":db.type/string", **one}])
    conn.transact([{":db/id": "i", ":item/tag": "blue"}])
    conn.transact([{":db/id": ":item/tag", ":db/ident": ":item/label"}])
    conn.transact([{":db/ident": ":item/tag", ":db/valueType": ":db.type/long", **one}])
    conn.transact([{":item/tag": 5, ":item/label": "red"}])
    conn.transact([{":db/id": ":item/label", ":db/cardinality": ":db.cardinality/many"}, {":db/id": ":item/tag", ":db/index": True}])
    conn.transact([{":item/label": ["green", "grey"]}])
    return conn


def labels(db: factstore.Database) -> list[Any]:
    return [sorted((d.v for d in db.datoms("aevt", name)), key=str) for name in (":item/label", ":item/tag")]


def test_a_history_with_changes_of_the_schema_is_undumped_and_replayed(tmp_path: Path, target: str) -> None:
    conn, path = renamed(), tmp_path / "x.edn"
    dump(conn, path)
    with undumped(path, target) as again, others() as other:
        start = other.db().basis_t
        done = replay(other, path)
        assert conn.db().basis_t == done.transactions
        assert 0 == done.left_out
        for db in (conn.db(), again.db(), other.db()):
            assert [["blue", "green", "grey", "red"], [5]] == labels(db)
        assert [["blue"], []] == labels(other.db().as_of(start + 3))


def test_the_log_of_another_store_is_replayed_under_the_names_of_its_end(tmp_path: Path) -> None:
    conn, path = renamed(), tmp_path / "log.edn"
    lines = [
        {Keyword(":t"): made.t, Keyword(":data"): [[d.e, conn.db().ident(d.a), named(conn.db(), d), d.tx, d.added] for d in made.data]}
        for made in conn.log().tx_range()
    ]
    path.write_text("".join(edn.write(line) + "\n" for line in lines))
    with others() as other:
        replay(other, path)
        assert labels(conn.db()) == labels(other.db())


def named(db: factstore.Database, datom: factstore.Datom) -> Any:
    """Return a datom's value, a reference to a part of the schema as an ident."""
    return db.ident(datom.v) or datom.v if db.attribute(datom.a).is_ref else datom.v


def test_a_replay_that_is_rejected_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.edn"
    dump(renamed(), path)
    with others() as other:
        other.transact([{":db/ident": ":item/tag", ":db/valueType": ":db.type/double", ":db/cardinality": ":db.cardinality/one"}])
        before = told(other)
        with pytest.raises(factstore.SchemaError, match=r"x\.edn, line 2: ") as caught:
            replay(other, path)
        assert ":db.error/unsupported-alter-schema" == caught.value.code
        assert 2 == caught.value.line
        assert before == told(other)


# -- files and arguments


@pytest.mark.parametrize("path", [None, 5, b"x", "", "a\0b", ["x"]])
def test_what_is_no_path_is_refused(tmp_path: Path, path: Any) -> None:
    conn = lived()
    for action in (lambda: dump(conn, path), lambda: verify(path), lambda: replay(conn, path)):
        with pytest.raises(StorageError, match="expected the path of a file") as caught:
            action()
        assert ":db.error/file-unavailable" == caught.value.code


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    conn, before = lived(), lived().db().basis_t
    missing, folder, below = tmp_path / "missing.edn", tmp_path, tmp_path / "no" / "x.edn"
    for action, part in [
        (lambda: dump(conn, below), "No such file"),
        (lambda: dump(conn, folder), "directory"),
        (lambda: verify(missing), "No such file"),
        (lambda: replay(conn, missing), "No such file"),
        (lambda: replay(conn, folder), "directory"),
    ]:
        with pytest.raises(StorageError, match=part) as caught:
            action()
        assert ":db.error/file-unavailable" == caught.value.code
        assert "unavailable" == caught.value.category
    assert before == conn.db().basis_t
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [{"only": ":u/age"}, {"only": [5000]}, {"without": [None]}, {"without": 5}, {"upto": "two"}, {"upto": -1}, {"upto": 1 << 70}],
)
def test_an_odd_option_of_a_dump_is_refused_and_no_file_is_left(tmp_path: Path, options: Any) -> None:
    with pytest.raises(factstore.DatabaseError):
        dump(lived(), tmp_path / "x.edn", **options)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"start": "2"}, {"start": -1}, {"upto": 1.5}])
def test_an_odd_option_of_a_replay_is_refused(tmp_path: Path, options: Any) -> None:
    dump(lived(), tmp_path / "x.edn")
    with others() as other, pytest.raises(factstore.DatabaseError) as caught:
        replay(other, tmp_path / "x.edn", **options)
    assert ":db.error/invalid-range" == caught.value.code
