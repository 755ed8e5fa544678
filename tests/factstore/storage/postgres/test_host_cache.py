"""Blocks on the disk of the host: a copy that was put and is whole, or none."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import maintain
from factstore.storage.postgres import host_cache as cache
from tests.postgres import Server

SCHEMA = [
    {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":name", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"},
]
COUNT = "[:find (count ?e) . :where [?e :n]]"
SMALL = 1 << 20


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACTSTORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(store: str = "s", excisions: int = 0, max_bytes: int = SMALL) -> cache.HostCache:
    made = cache.host_cache(store, excisions, max_bytes=max_bytes)
    assert made is not None
    return made


@given(steps=st.lists(st.dictionaries(st.sampled_from([b"%d" % n for n in range(30)]), st.integers(0, 120_000), max_size=4), max_size=25))
@settings(max_examples=25)
def test_a_block_comes_back_as_it_was_put_or_not_at_all(tmp_path_factory: pytest.TempPathFactory, steps: list[dict[bytes, int]]) -> None:
    kept = cache.HostCache(tmp_path_factory.mktemp("law") / "c.blocks", max_bytes=SMALL)
    put: dict[bytes, bytes] = {}
    for step in steps:
        blocks = {name: name * (size // len(name)) for name, size in step.items() if name not in put}
        kept.put(blocks)
        put |= blocks
        assert kept.get(list(put)).items() <= put.items()
        assert kept.bytes <= SMALL


def test_the_newest_blocks_stay_when_older_ones_are_removed() -> None:
    kept = opened()
    for n in range(100):
        kept.put({b"%d" % n: bytes(50_000)})
        assert kept.get([b"%d" % n]) == {b"%d" % n: bytes(50_000)}
    assert kept.bytes <= SMALL
    assert kept.get([b"0"]) == {}


def test_a_block_that_is_read_again_and_again_stays() -> None:
    kept = opened()
    kept.put({b"hot": b"x"})
    for n in range(200):
        kept.put({b"%d" % n: bytes(20_000)})
        assert kept.get([b"hot"]) == {b"hot": b"x"}


def test_a_block_with_another_checksum_is_no_block() -> None:
    kept = opened()
    kept.put({b"a": b"first"})
    assert kept._env is not None
    with kept._env.begin(write=True) as txn:
        txn.put(b"a", b"\0\0\0\0first", db=kept._halves[0])
    assert kept.get([b"a"]) == {}


def test_a_cache_is_of_one_store_one_boot_and_one_excision(folder: Path) -> None:
    first = opened("s", 0)
    first.put({b"a": b"1"})
    assert opened("other", 0).get([b"a"]) == {}
    (folder / "s-0-another-boot.blocks").write_bytes(b"")
    assert opened("s", 1).get([b"a"]) == {}
    assert [path.name.split("-")[:2] for path in folder.glob("s-*.blocks")] == [["s", "1"]]


def test_handles_of_one_process_share_a_cache() -> None:
    assert opened() is opened()


def test_a_folder_that_cannot_be_used_is_no_failure(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.write_text("a file")
    assert cache.host_cache("s", 0, max_bytes=SMALL) is None
    assert "blocks are not cached on this host" in caplog.text


def test_a_file_that_fails_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    kept = opened()
    assert isinstance(kept._env, lmdb.Environment)
    kept._env.close()
    kept.put({b"a": b"1"})
    assert kept.get([b"a"]) == {}
    assert "blocks are no longer cached on this host" in caplog.text


def test_a_forked_child_has_a_cache_of_its_own() -> None:
    kept = opened()
    kept.put({b"a": b"1"})
    child = os.fork()
    if child == 0:
        is_right = False
        try:
            own = opened()
            own.put({b"b": b"2"})
            is_right = (kept.get([b"a"]), own.get([b"a", b"b"])) == ({}, {b"b": b"2"})
        finally:
            os._exit(0 if is_right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert kept.get([b"a"]) == {b"a": b"1"}


# -- on a server


def filled(uri: str) -> None:
    with factstore.connect(uri) as conn:
        conn.transact(SCHEMA)
        conn.transact([{":n": n, ":name": f"name {n}"} for n in range(5_000)])
        maintain.reindex(conn)


def test_a_second_connection_of_the_host_reads_no_block_from_the_server(server: Server) -> None:
    uri = server.uri()
    filled(uri)
    with factstore.connect(uri) as conn:
        assert factstore.q(COUNT, conn.db()) == 5_000
        store = conn._storage._names["store"]  # type: ignore[attr-defined]
    server.sql(f"DELETE FROM factstore.block WHERE store = '{store}'")
    with factstore.connect(uri) as conn:
        assert factstore.q(COUNT, conn.db()) == 5_000


def test_without_a_host_cache_every_block_comes_from_the_server(server: Server, folder: Path) -> None:
    uri = server.uri(more="&host_cache=0")
    filled(uri)
    with factstore.connect(uri) as conn:
        assert factstore.q(COUNT, conn.db()) == 5_000
    assert not folder.exists()


def test_damage_on_the_server_is_found_behind_a_host_cache(server: Server) -> None:
    uri = server.uri()
    filled(uri)
    with factstore.connect(uri) as conn:
        assert factstore.q(COUNT, conn.db()) == 5_000
        store = conn._storage._names["store"]  # type: ignore[attr-defined]
        server.sql(f"UPDATE factstore.block SET body = '\\x00' || body WHERE store = '{store}'")
        assert not maintain.check(conn).ok


def test_an_excision_leaves_no_block_of_before_on_the_host(server: Server, folder: Path) -> None:
    uri = server.uri()
    filled(uri)
    with factstore.connect(uri) as conn:
        e = factstore.q('[:find ?e . :where [?e :name "name 7"]]', conn.db())
        conn.excise(e)
        assert factstore.q('[:find ?e . :where [?e :name "name 7"]]', conn.db()) is None
    with factstore.connect(uri) as conn:
        assert factstore.q(COUNT, conn.db()) == 4_999
    assert not any(b"name 7\0" in path.read_bytes() or b"name 7name 70" in path.read_bytes() for path in folder.glob("*.blocks"))


def test_a_reader_without_the_right_to_write_reads(server: Server) -> None:
    uri = server.uri("shared-with-readers")
    filled(uri)
    server.sql("CREATE ROLE only_reads LOGIN; GRANT USAGE ON SCHEMA factstore TO only_reads")
    server.sql("GRANT SELECT ON ALL TABLES IN SCHEMA factstore TO only_reads")
    with factstore.connect(server.uri("shared-with-readers", user="only_reads"), read_only=True) as conn:
        assert factstore.q(COUNT, conn.db()) == 5_000


def test_holds_that_a_finalizer_ends_need_no_lock(server: Server) -> None:
    uri = server.uri()
    filled(uri)
    with factstore.connect(uri) as conn:
        leases = conn._storage._leases  # type: ignore[attr-defined]
        version = conn._storage.read_root().version  # type: ignore[union-attr]
        hold = conn._storage.hold(version)
        with leases._counting:  # as when the garbage collector runs in the thread that has the lock
            hold.release()
        assert conn._storage.held() == {version}  # by the newest database
