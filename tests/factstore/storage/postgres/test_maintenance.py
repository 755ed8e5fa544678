"""Maintenance of stores in PostgreSQL, and copies between them and files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import factstore
from factstore.errors import StorageError
from factstore.storage import new_store, open_storage, shown
from tests.postgres import Server, whole_log

SCHEMA = [
    {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one", ":db/index": True},
    {":db/ident": ":name", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"},
]


def run(*arguments: object, code: int = 0) -> str:
    """Run the command line, and return its output."""
    command = [sys.executable, "-m", "factstore", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert code == result.returncode, result.stdout + result.stderr
    return result.stdout + result.stderr


def log_of(uri: str) -> list[tuple[int, bytes]]:
    storage = open_storage(uri, create=False, read_only=True)
    try:
        return [(record.t, record.body) for record in whole_log(storage)]
    finally:
        storage.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store in a file, with transactions before and after its index."""
    path = tmp_path / "shop.facts"
    with factstore.connect(str(path)) as conn:
        conn.transact(SCHEMA)
        for n in range(20):
            conn.transact([{":n": n, ":name": f"name {n}"}])
        factstore.maintain.reindex(conn)
        conn.transact([{":n": 20}])
    return path


def test_a_store_moves_from_a_file_to_a_server_and_back(server: Server, file: Path, tmp_path: Path) -> None:
    uri = server.uri()
    assert "holds 22 transactions" in run("backup", "-s", file, uri)
    assert log_of(uri) == log_of(str(file))
    with factstore.connect(uri) as conn:
        conn.transact([{":n": 21}])
    assert "holds 23 transactions" in run("restore", "-s", tmp_path / "back.facts", uri)
    assert log_of(uri) == log_of(str(tmp_path / "back.facts"))


def test_a_backup_on_a_server_is_incremental(server: Server, file: Path) -> None:
    uri = server.uri()
    run("backup", "-s", file, uri)
    with factstore.connect(str(file)) as conn:
        conn.transact([{":n": 99}])
    assert "holds 23 transactions" in run("backup", "-s", file, uri)
    assert log_of(uri) == log_of(str(file))


def test_a_restore_to_a_server_ends_at_a_moment(server: Server, file: Path) -> None:
    uri = server.uri()
    assert "holds 5 transactions" in run("restore", "-s", uri, file, "--to", 5)
    assert log_of(uri) == log_of(str(file))[:5]


def test_a_dump_becomes_a_store_on_a_server(server: Server, file: Path, tmp_path: Path) -> None:
    uri = server.uri()
    run("dump", "-s", file, tmp_path / "shop.edn")
    assert "holds 22 transactions" in run("undump", "-s", uri, tmp_path / "shop.edn")
    assert log_of(uri) == log_of(str(file))


def test_a_store_that_exists_is_not_replaced(server: Server, file: Path) -> None:
    uri = server.uri()
    factstore.connect(uri).close()
    assert "exists already" in run("restore", "-s", uri, file, code=3)
    assert log_of(uri) == []


def test_a_store_that_cannot_be_completed_is_not_left(server: Server, tmp_path: Path) -> None:
    (tmp_path / "broken.edn").write_text("{:factstore/dump 1 :attributes {}}\n")
    before = server.sql("SELECT count(*) FROM factstore.store")
    run("undump", "-s", server.uri(), tmp_path / "broken.edn", code=4)
    assert before == server.sql("SELECT count(*) FROM factstore.store")


def test_of_two_new_stores_with_one_name_the_second_is_rejected(server: Server) -> None:
    uri = server.uri()
    making = new_store(uri)
    assert making is not None
    with pytest.raises(StorageError) as raised, making as unfinished:
        open_storage(unfinished).close()
        open_storage(uri).close()
    assert raised.value.code == ":db.error/already-exists"
    assert server.sql("SELECT count(*) FROM factstore.store WHERE name LIKE '%unfinished%'").strip() == "0"


def test_check_reindex_gc_stats_and_log_work_on_a_server(server: Server, file: Path) -> None:
    uri = server.uri()
    run("backup", "-s", file, uri)
    assert "all is well" in run("check", "-s", uri)
    assert "indexed up to t=22" in run("reindex", "-s", uri)
    assert "deleted" in run("gc", "-s", uri)
    assert "22 transactions" in run("stats", "-s", uri)
    assert "t=22" in run("log", "-s", uri, "--from", 22)
    assert "all is well" in run("check", "-s", uri)


def test_check_reports_a_record_that_is_missing(server: Server, file: Path) -> None:
    uri = server.uri("with-a-gap")
    run("backup", "-s", file, uri)
    store = "store = (SELECT id FROM factstore.store WHERE name = 'with-a-gap')"
    server.sql(f"DELETE FROM factstore.record WHERE {store} AND t = 22")
    assert ":db.error/storage-" in run("check", "-s", uri, code=4)


def test_excised_facts_are_gone_from_the_server(server: Server, file: Path) -> None:
    uri = server.uri()
    run("backup", "-s", file, uri)
    with factstore.connect(uri) as conn:
        e = factstore.q('[:find ?e . :where [?e :name "name 7"]]', conn.db())
        conn.excise(e)
        assert factstore.q('[:find ?e . :where [?e :name "name 7"]]', conn.db().history()) is None
    assert not any(b"name 7" in body for _, body in log_of(uri))
    assert "all is well" in run("check", "-s", uri)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("postgresql://ann:secret@db/facts", "postgresql://ann:…@db/facts"),
        ("postgresql://db/facts?name=x&password=secret&user=ann", "postgresql://db/facts?name=x&password=…&user=ann"),
        ("postgresql://db/facts", "postgresql://db/facts"),
        ("lmdb:/var/data/a:b@c", "lmdb:/var/data/a:b@c"),
    ],
)
def test_a_uri_is_shown_without_its_password(uri: str, expected: str) -> None:
    assert expected == shown(uri)


def test_a_misspelt_scheme_is_rejected_without_the_password() -> None:
    with pytest.raises(StorageError) as raised:
        factstore.connect("postgress://ann:secret@db/facts")
    assert raised.value.code == ":db.error/unknown-scheme"
    assert "secret" not in str(raised.value.to_dict())
