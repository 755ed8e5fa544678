"""The disk of a PostgreSQL server is full: one clear error, nothing is half-written, and with more room writing continues.

The disks are real file systems of a few megabytes, so the tests need the right to mount them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import factstore
from factstore import maintain
from factstore.errors import StoreFull, Unavailable, UnknownOutcome
from factstore.storage import Storage, open_storage
from factstore.testing.storage_model import txid
from tests.disks import enlarge, small_disk
from tests.postgres import Server, give_to_user, running, until, whole_log

DECLARE = [{":db/ident": ":text", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}]
TEXTS = "[:find [?v ...] :where [_ :text ?v]]"
HALF = "x" * 500_000


@contextmanager
def server_on_small_tablespace(disk: Path) -> Iterator[Server]:
    with running("fsync=off", "full_page_writes=off") as server:
        give_to_user(disk)
        server.sql(f"CREATE TABLESPACE small LOCATION '{disk}'")
        server.sql("ALTER SYSTEM SET default_tablespace = 'small'")
        server.sql("SELECT pg_reload_conf()")
        until(lambda: server.sql("SHOW default_tablespace").strip() == "small")
        yield server


@pytest.mark.slow
def test_a_transaction_that_finds_no_room_is_not_committed_and_later_ones_are() -> None:
    with small_disk(4) as disk, server_on_small_tablespace(disk) as server, factstore.connect(server.uri("shop")) as conn:
        conn.transact(DECLARE)
        committed = []
        with pytest.raises(StoreFull) as raised:
            for n in range(20):
                conn.transact([{":text": f"{n}{HALF}"}])
                committed.append(f"{n}{HALF}")
        assert raised.value.code == ":db.error/storage-full"
        assert "the disk of" in raised.value.message
        assert sorted(committed) == sorted(factstore.q(TEXTS, conn.sync()))
        assert conn.db().basis_t == len(committed) + 1
        with pytest.raises(StoreFull):
            conn._storage.put_blocks([(b"%d" % n, HALF.encode()) for n in range(20)])
        enlarge(disk, 64)
        conn.transact([{":text": "afterwards"}])
        maintain.reindex(conn)
        assert sorted([*committed, "afterwards"]) == sorted(factstore.q(TEXTS, conn.db()))
        assert maintain.check(conn).ok


@pytest.mark.slow
def test_a_server_that_ends_because_its_log_finds_no_room_loses_nothing() -> None:
    with small_disk(70) as disk, running("fsync=off") as server:
        server.stop("fast")
        subprocess.run(["mv", server.data / "pg_wal", disk / "pg_wal"], check=True)  # keeps the owner
        (server.data / "pg_wal").symlink_to(disk / "pg_wal")
        server.start("max_wal_size=4GB", "synchronous_commit=on")
        uri = server.uri("shop")
        acknowledged: dict[int, bytes] = {}
        with closing(open_storage(uri)) as storage:
            unknown = _append_until_it_fails(storage, acknowledged)
            enlarge(disk, 400)
            if server.is_running():
                server.stop()
            server.start()
            for name in unknown:
                if (t := storage.resolve(name)) is not None:
                    acknowledged[t] = name
            log = {record.t: record.txid for record in whole_log(storage)}
            assert acknowledged == log
            assert storage.problems() == []
            assert storage.append([(txid(1 << 40), b"")], expected_t=len(log)) == len(log) + 1


def _append_until_it_fails(storage: Storage, acknowledged: dict[int, bytes]) -> list[bytes]:
    head = 0
    for n in range(1, 1_000):
        try:
            head = storage.append([(txid(n), HALF.encode())], expected_t=head)
        except UnknownOutcome as error:
            return list(error.txids)
        except (StoreFull, Unavailable):
            return []
        acknowledged[head] = txid(n)
    raise AssertionError("the disk was never full")
