"""Reading from a streaming standby: it serves blocks and the log, and what it lacks comes from the primary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import maintain
from factstore.errors import Corrupt, ReadOnly
from factstore.storage import open_storage
from factstore.storage.postgres import connections
from factstore.storage.postgres.engine import PostgresStorage
from factstore.testing.storage_contract import FreshUri, StorageContract
from factstore.testing.storage_model import LONG, records, txid
from tests.postgres import Server, cluster, until

SCHEMA = [
    {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":name", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"},
]
MANY = 300  # records, so that most of them are not among the newest ones, which always come from the primary


class Pair:
    """A primary and its standby, which can be kept from following."""

    def __init__(self, primary: Server, standby: Server) -> None:
        self.primary = primary
        self.standby = standby
        self._of_standby = self.session(standby)

    def session(self, server: Server) -> psycopg.Connection[Any]:
        return psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", dbname="postgres", autocommit=True)

    def uri(self, name: str | None = None, more: str = "&host_cache=0") -> str:
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        target = "durability=managed&target_session_attrs=prefer-standby"
        return f"postgresql://postgres@{hosts}/postgres?name={name or uuid4().hex}&{target}{more}"

    def follow(self) -> None:
        """Wait until the standby has everything."""
        with self.session(self.primary) as session:
            row = session.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            assert row is not None
        until(lambda: self._of_standby.execute("SELECT pg_last_wal_replay_lsn() >= %s", row).fetchone() == (True,))

    @contextmanager
    def lagging(self) -> Iterator[None]:
        """Keep the standby as it is."""
        self.follow()
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def pause(self) -> None:
        self._of_standby.execute("SELECT pg_wal_replay_pause()")
        until(lambda: self._of_standby.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",))

    def resume(self) -> None:
        self._of_standby.execute("SELECT pg_wal_replay_resume()")


@pytest.fixture(scope="module")
def replicated() -> Iterator[Pair]:
    with cluster("fsync=off", "full_page_writes=off", "max_connections=200", synchronous=False) as (primary, standby):
        made = Pair(primary, standby)
        yield made
        made._of_standby.close()


@pytest.fixture
def uri(replicated: Pair) -> str:
    return replicated.uri()


@pytest.fixture
def store(uri: str) -> Iterator[PostgresStorage]:
    with closing(opened(uri)) as storage:
        yield storage


def opened(uri: str, **options: Any) -> PostgresStorage:
    storage = open_storage(uri, **options)
    assert isinstance(storage, PostgresStorage)
    return storage


def filled(store: PostgresStorage, count: int = MANY) -> None:
    store.append(records(*range(1, count + 1)), expected_t=0)


class TestPostgresWithReplica(StorageContract):
    @pytest.fixture
    def fresh_uri(self, replicated: Pair) -> FreshUri:
        return lambda: replicated.uri()


def test_blocks_and_log_come_from_the_replica(replicated: Pair, store: PostgresStorage) -> None:
    filled(store)
    store.put_blocks([(b"a", b"1")])
    before = store.read_log(0, 50)
    with replicated.lagging():
        mine = f"store = '{store._names['store']}'"
        with replicated.session(replicated.primary) as session:
            session.execute(f"DELETE FROM factstore.block WHERE {mine}")
            session.execute(f"UPDATE factstore.record SET body = 'other' WHERE {mine} AND t = 7")
        assert store.get_blocks([b"a"], near=True) == {b"a": b"1"}
        assert store.read_log(0, 50) == before
        with pytest.raises(Corrupt):
            store.get_blocks([b"a"])


def test_a_replica_that_lags_hides_nothing(replicated: Pair, uri: str, store: PostgresStorage) -> None:
    with replicated.lagging():
        filled(store)
        store.put_blocks([(b"new", b"1")])
        assert len(store.read_log(0)) == MANY
        assert store.get_blocks([b"new"], near=True) == {b"new": b"1"}
        with closing(opened(uri)) as other:
            assert len(other.read_log(0, other.head())) == MANY
            with other.turn():
                assert len(other.read_log(0)) == MANY


def test_a_replica_that_lags_brings_no_excised_fact_back(replicated: Pair, uri: str) -> None:
    with factstore.connect(uri) as conn:
        conn.transact(SCHEMA)
        for n in range(MANY):
            conn.transact([{":n": n, ":name": f"name {n}"}])
        e = factstore.q('[:find ?e . :where [?e :name "name 7"]]', conn.db())
        with replicated.lagging():
            conn.excise(e)
            with factstore.connect(uri) as other:
                assert factstore.q('[:find ?e . :where [?e :name "name 7"]]', other.db().history()) is None
                assert factstore.q("[:find (count ?e) . :where [?e :n]]", other.db()) == MANY - 1
        assert factstore.q('[:find ?e . :where [?e :name "name 7"]]', conn.db().history()) is None


def test_check_reads_the_primary(replicated: Pair, uri: str) -> None:
    with factstore.connect(uri) as conn:
        conn.transact(SCHEMA)
        conn.transact([{":n": n} for n in range(5_000)])
        maintain.reindex(conn)
        with replicated.lagging(), replicated.session(replicated.primary) as session:
            store = conn._storage._names["store"]  # type: ignore[attr-defined]
            session.execute("UPDATE factstore.block SET body = '\\x00' || body WHERE store = %s", (store,))
            assert not maintain.check(conn).ok


def test_without_a_replica_that_can_be_reached_the_primary_is_read(
    replicated: Pair, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(opened(replicated.primary.uri(more="&host_cache=0&target_session_attrs=standby"))) as store:
        filled(store)
        store.put_blocks([(b"a", b"1")])
        assert store.get_blocks([b"a"], near=True) == {b"a": b"1"}
        assert "the primary is read instead of a replica" in caplog.text
        replica = store._connections._replica
        assert replica is not None
        monkeypatch.setattr(replica, "read", lambda work: pytest.fail("the replica was asked again"))
        assert len(store.read_log(0)) == MANY


def test_a_reader_that_reaches_only_a_standby_reads_and_follows(replicated: Pair) -> None:
    name = uuid4().hex
    with factstore.connect(replicated.primary.uri(name)) as writer:
        t = writer.transact(SCHEMA).t
        replicated.follow()
        with factstore.connect(replicated.standby.uri(name), read_only=True) as reader:
            assert reader.db().basis_t == t
            t = writer.transact([{":n": 1}]).t
            assert reader.wait(t - 1, LONG).basis_t == t
            assert reader._storage._notices.known() is None  # type: ignore[attr-defined]
            with pytest.raises(ReadOnly):
                reader.transact([{":n": 1}])


def test_a_reader_that_was_ahead_of_a_standby_has_lost_nothing(replicated: Pair) -> None:
    name = uuid4().hex
    with closing(opened(replicated.primary.uri(name))) as writer:
        filled(writer, 2)
        replicated.follow()
        with closing(opened(replicated.standby.uri(name), read_only=True)) as reader, replicated.lagging():
            assert reader.head() == 2
            reader._check_chain([(3, txid(3), txid(2), b"")])  # as from another standby, which was faster
            assert reader.head() == 3
            assert reader.read_log(3) == []


def test_a_writer_finds_the_primary_behind_a_standby_in_its_address(replicated: Pair) -> None:
    hosts = f"127.0.0.1:{replicated.standby.port},127.0.0.1:{replicated.primary.port}"
    for target in ("", "&target_session_attrs=any", "&target_session_attrs=standby", "&target_session_attrs=read-only"):
        uri = f"postgresql://postgres@{hosts}/postgres?name={uuid4().hex}&durability=managed{target}"
        with closing(opened(uri)) as storage:
            assert storage.append(records(1), expected_t=0) == 1
            assert storage.head() == 1
        with closing(opened(uri, read_only=True)) as storage:
            assert storage.head() == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from([1, 30, 130])),
        st.tuples(st.just("put"), st.integers(0, 20)),
        st.tuples(st.just("read"), st.sampled_from([0, 1, 60, 200])),
        st.sampled_from([("pause", 0), ("resume", 0), ("follow", 0)]),
    ),
    min_size=5,
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=20)
def test_reads_are_those_of_the_primary_however_far_the_replica_is(replicated: Pair, steps: list[tuple[str, int]]) -> None:
    uri, is_paused = replicated.uri(), False
    log: list[bytes] = []
    blocks: dict[bytes, bytes] = {}
    with closing(opened(replicated.primary.uri(uri.split("name=")[1].split("&")[0]))) as writer, closing(opened(uri)) as reader:
        try:
            for step, n in [*steps, ("read", 0)]:
                if step == "append":
                    new = records(*range(len(log) + 1, len(log) + 1 + n))
                    writer.append(new, expected_t=len(log))
                    log += [name for name, _ in new]
                elif step == "put":
                    blocks[b"%d" % n] = b"x" * n
                    writer.put_blocks([(b"%d" % n, b"x" * n)])
                elif step == "read":
                    assert reader.head() == len(log)
                    after = min(n, len(log))
                    assert [record.txid for record in reader.read_log(after)] == log[after:]
                    assert reader.get_blocks(list(blocks), near=True) == blocks
                elif step == "follow" and not is_paused:
                    replicated.follow()
                elif step == "pause":
                    replicated.pause()
                    is_paused = True
                elif step == "resume":
                    replicated.resume()
                    is_paused = False
        finally:
            replicated.resume()


def test_a_replica_that_failed_is_tried_again_later(store: PostgresStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "monotonic", lambda: 100.0)
    store._connections._avoided_until = 100.0
    assert store._connections.read_near(lambda connection: 1) == 1
    store._connections._avoided_until = 100.1
    assert store._connections.read_near(lambda connection: 1) is None
