"""Care of a store: check finds damage, reindex and gc keep all answers, a backup comes back whole."""

from __future__ import annotations

import lmdb
import pytest
from click.testing import CliRunner

import factstore
from factstore import maintain
from factstore.cli import main
from factstore.commit import indexing
from factstore.errors import Closed, Corrupt, StoreFull

SCHEMA = [
    {
        ":db/ident": ":m/name",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    },
    {":db/ident": ":m/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
]


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "care.facts")
    with factstore.connect(path, sync="none") as conn:
        conn.transact(SCHEMA)
        for n in range(5):
            conn.transact([{":m/name": str(i), ":m/n": n} for i in range(20)])
        conn._committer.index()
        conn.transact([{":m/name": "late", ":m/n": 9}])
    return path


def everything(path):
    with factstore.connect(path, create=False) as conn:
        return set(conn.db().history().datoms("eavt"))


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_check_finds_nothing_wrong_with_a_good_store(path):
    result = run("check", "-s", path)
    assert 0 == result.exit_code
    assert ("all is well" in result.output) is True


def flip(path, database, wanted):
    """Flip a bit in the middle of the first value of a database (None: the log) that is wanted."""
    env = lmdb.open(path, subdir=False, lib_version=0, max_dbs=8)
    named = env.open_db(database, create=False) if database else None
    with env.begin(write=True, db=named) as txn:
        key, value = next((key, value) for key, value in txn.cursor() if wanted(value))
        txn.put(key, value[: len(value) // 2] + bytes([value[len(value) // 2] ^ 1]) + value[len(value) // 2 + 1 :])
    env.close()


def test_a_flipped_bit_in_a_block_is_reported_with_its_id(path):
    flip(path, b"blocks", lambda value: len(value) > 100)
    result = run("check", "-s", path)
    assert 4 == result.exit_code
    assert "its checksum does not match" in result.output


def test_a_flipped_bit_in_a_log_record_is_reported_with_its_t(path):
    flip(path, None, lambda value: len(value) > 300)
    with factstore.connect(path, create=False) as conn, pytest.raises(Corrupt) as caught:
        list(conn.log().tx_range())
    assert ":db.error/storage-corrupt" == caught.value.code
    assert f"t={caught.value.t}" in str(caught.value)
    assert 4 == run("check", "-s", path).exit_code


def test_reindexing_from_the_log_keeps_every_answer(path):
    before = everything(path)
    assert "indexed up to t=7" in run("reindex", "-s", path).output
    assert before == everything(path)
    assert 0 == run("check", "-s", path).exit_code


def test_gc_deletes_what_nobody_needs_and_keeps_every_answer(path):
    before = everything(path)
    run("reindex", "-s", path)
    with factstore.connect(path) as conn:
        conn.transact([{":m/name": "later", ":m/n": 1}])
        conn._committer.index()
    assert not run("gc", "-s", path).output.startswith("deleted 0")
    assert before < everything(path)
    assert 0 == run("check", "-s", path).exit_code


def test_gc_spares_what_an_open_database_still_reads(path):
    with factstore.connect(path) as reader, factstore.connect(path) as writer:
        old = reader.db()
        expected = set(old.history().datoms("eavt"))
        for n in range(3):
            writer.transact([{":m/name": str(i), ":m/n": 100 + n} for i in range(20)])
            writer._committer.index()
            maintain.collect(writer)
        old.view.cache.max_bytes = 0
        old.view.cache.put("x", None, 0)
        assert expected == set(old.as_of(old.basis_t).history().datoms("eavt"))


def test_a_backup_comes_back_whole_and_the_next_one_carries_only_what_is_new(path, tmp_path):
    copy, again = str(tmp_path / "copy.facts"), str(tmp_path / "again.facts")
    assert "checked" in run("backup", "-s", path, copy).output
    with factstore.connect(path) as conn:
        conn.transact([{":m/name": "after", ":m/n": 1}])
    assert "holds 8 transactions" in run("backup", "-s", path, copy).output
    assert "checked" in run("restore", copy, "-s", again).output
    assert everything(path) == everything(again)


def test_another_stores_copy_is_not_written_over(path, tmp_path):
    other = str(tmp_path / "other.facts")
    with factstore.connect(other) as conn:
        conn.transact(SCHEMA)
    result = run("backup", "-s", path, other)
    assert 3 == result.exit_code
    assert ":db.error/backup-mismatch" in result.output
    assert "the two are different stores, or one store to whose copies different transactions were committed" in result.output


def test_a_copy_that_was_written_to_is_not_written_over(path, tmp_path):
    copy = str(tmp_path / "copy.facts")
    run("backup", "-s", path, copy)
    for each in (path, copy):
        with factstore.connect(each) as conn:
            conn.transact([])
    assert ":db.error/backup-mismatch" in run("backup", "-s", path, copy).output


def test_a_backup_comes_back_as_of_an_earlier_transaction(path, tmp_path):
    backup, restored = str(tmp_path / "backup.facts"), str(tmp_path / "restored.facts")
    assert 0 == run("backup", "--store", path, backup).exit_code
    with factstore.connect(path) as conn:
        t = conn.db().basis_t - 1
        expected = list(conn.db().as_of(t).history().datoms("eavt"))
    assert 0 == run("restore", backup, "--store", restored, "--to", str(t)).exit_code
    with factstore.connect(restored) as conn:
        assert t == conn.db().basis_t == conn.db().view.index.basis_t
        assert expected == list(conn.db().history().datoms("eavt"))


def test_restore_does_not_write_into_a_store_that_is_there(path, tmp_path):
    assert "exists already" in run("restore", path, "-s", path).output


def test_stats_counts_what_there_is(path):
    with factstore.connect(path) as conn:
        found = maintain.stats(conn)
    assert 7 == found["t"]
    assert 21 == found["attributes"][":m/n"]["live"]
    assert 80 == found["attributes"][":m/n"]["past"]
    assert ":m/name" in run("stats", "-s", path).output


def test_the_log_is_printed_a_datom_a_line(path):
    output = run("log", "-s", path, "--from", "7").output
    assert '+ ["'.replace('"', "") in output
    assert ':m/name "late"]' in output


def test_a_store_that_is_not_there_is_one_line_and_an_exit_code(tmp_path):
    result = run("stats", "-s", str(tmp_path / "nothing.facts"))
    assert 3 == result.exit_code
    assert 1 == result.output.count("\n")


@pytest.mark.parametrize("how", ["flipped", "gone"])
def test_reindexing_repairs_an_index_of_which_no_block_can_be_read(path, how):
    before = everything(path)
    env = lmdb.open(path, subdir=False, lib_version=0, max_dbs=8)
    blocks = env.open_db(b"blocks", create=False)
    with env.begin(write=True, db=blocks) as txn:
        for key, value in list(txn.cursor()):
            txn.put(key, bytes([value[0] ^ 1]) + value[1:]) if how == "flipped" else txn.delete(key)
    env.close()
    assert 4 == run("check", "-s", path).exit_code
    assert "indexed up to t=7" in run("reindex", "-s", path).output
    assert 0 == run("check", "-s", path).exit_code
    assert before == everything(path)


def test_a_connection_closes_when_there_is_no_room_for_the_index(path, monkeypatch, caplog):
    conn = factstore.connect(path)
    monkeypatch.setattr(indexing, "LEAST_ROWS_AT_CLOSE", 0)
    with monkeypatch.context() as patch:
        patch.setattr(type(conn._storage), "put_blocks", _no_room)
        conn.close()
    assert "indexing" in caplog.text
    with pytest.raises(Closed):
        conn._storage.head()


def _no_room(*_):
    raise StoreFull(":db.error/storage-full", "no room")


def test_the_index_leaves_out_attributes_that_were_declared_since(path):
    with factstore.connect(path) as conn:
        now = conn._committer.newest
        conn.transact([{**SCHEMA[1], ":db/ident": ":m/later"}])
        conn.transact([{":m/later": 1}])
        expected = set(conn.db().datoms("eavt"))
        conn._committer.adopt(conn._committer._indexing._published(now, lambda *_: None))
        assert now.t == conn.db().view.index.basis_t
        assert expected == set(conn.db().datoms("eavt"))


def test_check_finds_nothing_wrong_with_an_attribute_that_has_a_history_again(path):
    with factstore.connect(path) as conn:
        conn.transact([{":db/id": ":m/n", ":db/noHistory": True}])
        conn.transact([{":m/name": "1", ":m/n": 100}])
        conn._committer.index()
        conn.transact([{":db/id": ":m/n", ":db/noHistory": False}])
        conn.transact([{":m/name": "1", ":m/n": 101}])
        conn._committer.index()
        assert [] == maintain.check(conn).problems
