"""Taking facts out of a store for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

import factstore
from factstore import DatabaseError, TransactError, maintain, q
from factstore.columns.block import decode
from factstore.errors import UnknownOutcome
from factstore.storage import open_storage
from tests.factstore.tx import ANN, BEN, PEOPLE, world

SECRET = "the secret of Ann"
MORE = """
[{:db/ident :x/note :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/fulltext true}
 {:db/ident :x/beat :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/noHistory true}
 {:db/ident :x/sum :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :x/both :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one :db/tupleAttrs [:x/note :x/sum]}]
"""
STORY = [
    [
        {":db/id": "ann", ":u/login": "ann", ":u/name": SECRET, ":u/home": {":u/name": f"{SECRET}, home"}},
        {":db/id": "ben", ":u/login": "ben", ":u/boss": "ann", ":u/pals": ["ann"]},
    ],
    [[":db/add", ANN, ":u/name", f"{SECRET}, again"], [":db/add", ANN, ":x/beat", SECRET]],
    [[":db/add", ANN, ":u/name", "Ann"], [":db/add", ANN, ":x/beat", "later"], [":db/add", ANN, ":x/note", SECRET]],
]


@pytest.fixture(params=["memory", "lmdb"])
def uri(request: Any, tmp_path: Any) -> str:
    return f"memory:{tmp_path.name}" if request.param == "memory" else str(tmp_path / "x.facts")


@pytest.fixture
def conn(uri: str) -> Iterator[factstore.Connection]:
    with factstore.connect(uri) as conn:
        for tx_data in (PEOPLE, MORE, *STORY):
            conn.transact(tx_data)
        yield conn


def holds_secret(storage: Any) -> bool:
    """Whether any record of the log or any block has the secret, looked at byte by byte or, where packed, value by value."""
    bodies = [record.body for record in storage.read_log(0)]
    blocks = [decode(body, name) for name, body in storage.get_blocks(list(storage.block_ids())).items()]
    return any(SECRET.encode() in body for body in bodies) or any(
        SECRET in str(v) for columns in blocks for part in columns for v in part.tolist()
    )


@pytest.mark.parametrize("indexed", [False, True])
def test_no_byte_of_an_excised_entity_is_left_in_log_or_index(conn: factstore.Connection, indexed: bool) -> None:
    if indexed:
        conn._committer.index()
    assert holds_secret(conn._storage)
    done = conn.excise(ANN)
    assert not holds_secret(conn._storage)
    assert 3 == done.transactions
    assert (done.datoms >= 12) is True
    assert conn.db().entid(ANN) is None
    assert set() == q("[:find ?a :where [_ :u/boss ?a]]", conn.db().history())
    assert ["ben"] == q("[:find [?n ...] :where [_ :u/login ?n]]", conn.db())
    assert [] == maintain.check(conn).problems


def test_a_record_stays_that_says_what_was_excised(conn: factstore.Connection) -> None:
    ann = conn.db().entid(ANN)
    done = conn.excise(ANN, before=4)
    assert {(ann, 4)} == q("[:find ?e ?t :where [?tx :db/excise ?e] [?tx :db.excise/beforeT ?t]]", conn.db())
    assert done.t == conn.db().basis_t
    conn.excise(ann)
    assert 2 == len(set(q("[:find ?tx :where [?tx :db/excise]]", conn.db())))


def test_before_a_point_leaves_what_was_said_from_then_on_but_not_the_ends_of_what_went(conn: factstore.Connection) -> None:
    conn.excise(ANN, before=5)
    names = [(d.v, d.added) for d in conn.db().history().datoms("aevt", ":u/name")]
    assert [("Ann", True)] == names
    assert [] == maintain.check(conn).problems


def test_excising_an_attribute_takes_its_values_and_the_tuples_that_repeat_them(conn: factstore.Connection) -> None:
    conn.excise(":x/note")
    db = conn.db().history()
    assert [] == [*db.datoms("aevt", ":x/note"), *db.datoms("aevt", ":x/both")]
    assert "Ann" == q('[:find ?n . :where [?e :u/login "ann"] [?e :u/name ?n]]', conn.db())
    conn.transact([[":db/add", ANN, ":x/note", "new"]])
    assert ("new", None) == q("[:find ?b . :where [_ :x/both ?b]]", conn.db())
    assert [] == maintain.check(conn).problems


def test_a_part_that_belongs_to_something_else_by_now_stays(conn: factstore.Connection) -> None:
    home = q("[:find ?h . :where [_ :u/home ?h]]", conn.db())
    conn.transact([[":db/retract", ANN, ":u/home", home], [":db/add", BEN, ":u/home", home]])
    conn.excise(ANN)
    assert f"{SECRET}, home" == q('[:find ?n . :where [?e :u/login "ben"] [?e :u/home ?h] [?h :u/name ?n]]', conn.db())


def test_another_connection_never_brings_back_what_it_remembers(conn: factstore.Connection, uri: str) -> None:
    with factstore.connect(uri) as other:
        ann = other.db().entid(ANN)
        assert list(other.db().datoms("eavt", ann))
        conn.excise(ANN)
        # It has not looked since: what it takes for the old value must not be retracted, nor what it takes for known be left out.
        other.transact([[":db/add", ann, ":u/name", "Ann"]])
        assert ["Ann"] == [d.v for d in other.db().history().datoms("eavt", ann, ":u/name")]
        other._committer.index()
        conn.db()
        assert not holds_secret(conn._storage)
        assert [] == maintain.check(other).problems


def test_words_of_what_was_excised_are_not_found_any_more(conn: factstore.Connection) -> None:
    query = '[:find [?v ...] :where [(fulltext $ :x/note "secret") [[_ ?v]]]]'
    assert [SECRET] == q(query, conn.db())
    conn.excise(ANN)
    assert [] == (q(query, conn.db().history()) or [])


def test_listeners_hear_of_an_excision_once(conn: factstore.Connection, uri: str) -> None:
    with factstore.connect(uri) as other, other.tx_reports() as reports:
        done = conn.excise(ANN)
        assert done.t == reports.get(5).t
        assert reports.get(0) is None


@pytest.mark.parametrize("target", [":db/ident", ":db.type/string", 10, [":u/login", "nobody"], ":no/thing"])
def test_the_schema_and_what_is_not_there_cannot_be_excised(conn: factstore.Connection, target: Any) -> None:
    before = conn.db().basis_t
    with pytest.raises(DatabaseError) as caught:
        conn.excise(target)
    assert ":db.error/invalid-excision" == caught.value.code
    assert before == conn.db().basis_t


def test_a_transaction_keeps_its_instant_when_what_it_said_of_itself_is_excised(conn: factstore.Connection) -> None:
    tx = (1 << 42) + conn.transact([[":db/add", "datomic.tx", ":u/name", SECRET], [":db/add", BEN, ":u/age", 1]]).t
    conn.excise(tx)
    assert [":db/txInstant"] == [str(conn.db().ident(d.a)) for d in conn.db().datoms("eavt", tx)]


def test_saying_excise_in_a_transaction_is_refused_rather_than_ignored(conn: factstore.Connection) -> None:
    with pytest.raises(TransactError) as caught:
        conn.transact([[":db/add", "datomic.tx", ":db/excise", ANN]])
    assert ":db.error/unsupported" == caught.value.code


def test_a_database_held_since_before_is_another_value_than_one_read_after(conn: factstore.Connection) -> None:
    conn._committer.index()
    held = conn.db()
    ann = held.entid(ANN)
    conn.excise(ANN)
    assert "Ann" in [d.v for d in held.datoms("eavt", ann)]
    gone = {d.v for d in factstore.diff(held, conn.db()) if d.e == ann and not d.added}
    assert {"ann", "Ann", SECRET} <= gone


def test_what_was_excised_leaves_a_backup_at_its_next_run(conn: factstore.Connection, tmp_path: Any) -> None:
    conn._committer.index()
    with factstore.connect(str(tmp_path / "backup.facts")) as backup:
        maintain.copy(conn._storage, backup._storage)
    with factstore.connect(str(tmp_path / "backup.facts")) as backup:
        assert holds_secret(backup._storage)
        conn.excise(ANN)
        conn.transact([{":u/login": "carl"}])
        maintain.copy(conn._storage, backup._storage)
        backup.db()
        maintain.collect(backup)
        assert not holds_secret(backup._storage)
        assert [] == maintain.check(backup).problems
        assert set(conn.db().history().datoms("eavt")) == set(backup.db().history().datoms("eavt"))


def backed_up(conn: factstore.Connection, path: Any) -> bytes:
    with closing(open_storage(str(path))) as target:
        maintain.copy(conn._storage, target)
    return path.read_bytes()  # type: ignore[no-any-return]


def test_a_new_backup_of_a_file_has_no_byte_of_what_was_excised_and_all_the_rest(tmp_path: Any) -> None:
    path, copy = tmp_path / "x.facts", tmp_path / "after.facts"
    with factstore.connect(str(path)) as conn:
        for tx_data in (PEOPLE, MORE, *STORY):
            conn.transact(tx_data)
        conn.load({"n": [f"{SECRET} {n}" for n in range(20_000)]}, {"n": ":x/beat"}, progress=False)
        conn._committer.index()
        assert SECRET.encode() in backed_up(conn, tmp_path / "before.facts")
        conn.excise(ANN)
        conn.excise(":x/beat")
        assert SECRET.encode() not in backed_up(conn, copy)
        history = list(conn.db().history().datoms("eavt"))
    assert copy.stat().st_blocks < path.stat().st_blocks
    with factstore.connect(str(copy)) as copied:
        assert maintain.check(copied).ok
        assert history == list(copied.db().history().datoms("eavt"))


def test_a_store_whose_index_is_built_anew_has_forgotten() -> None:
    with world(*STORY[:1]) as conn:
        conn.excise(":u/name")
        assert conn.db().basis_t == maintain.reindex(conn)
        assert [] == list(conn.db().history().datoms("aevt", ":u/name"))


@pytest.mark.parametrize("verb", ["put_blocks", "rewrite"])
def test_an_excision_cut_short_before_its_one_write_has_done_nothing(conn: factstore.Connection, monkeypatch: Any, verb: str) -> None:
    conn._committer.index()
    before = (conn._storage.read_log(0), conn._storage.read_root())

    def died(*_args: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(conn._storage), verb, died)
        conn.excise(ANN)
    assert before == (conn._storage.read_log(0), conn._storage.read_root())
    assert [] == maintain.check(conn).problems
    assert conn.db().entid(ANN) is not None
    conn.excise(ANN)
    assert not holds_secret(conn._storage)
    assert [] == maintain.check(conn).problems


def test_an_excision_whose_answer_is_lost_is_done_if_its_record_is_there(conn: factstore.Connection, monkeypatch: Any) -> None:
    rewrite = type(conn._storage).rewrite

    def lost(*args: Any, **options: Any) -> None:
        rewrite(*args, **options)
        raise UnknownOutcome(":db.error/storage-unknown-outcome", "the answer was lost", txids=[])

    with monkeypatch.context() as patch:
        patch.setattr(type(conn._storage), "rewrite", lost)
        assert conn.excise(ANN).t == conn.db().basis_t
    assert not holds_secret(conn._storage)


def test_an_entity_that_was_excised_and_told_of_again_can_be_retracted(conn: factstore.Connection) -> None:
    ann = conn.db().entid(ANN)
    conn.excise(ann)
    conn.transact([[":db/add", ann, ":u/name", "Ann again"]])
    conn.transact([[":db/retractEntity", ann]])
    assert [] == list(conn.db().datoms("eavt", ann))
    assert [ann] == q("[:find [?e ...] :where [_ :db/excise ?e]]", conn.db())
