"""The primary of a PostgreSQL cluster is killed while clients write, and its standby takes over.

With a synchronous standby no acknowledged append is lost. With an asynchronous one some are: that control shows that the
test can see a loss.
"""

from __future__ import annotations

import os
import signal
from contextlib import closing
from threading import Event, Thread
from time import sleep
from uuid import uuid4

import pytest

import factstore
from factstore.errors import Conflict, Forked, StorageError, Unavailable, UnknownOutcome
from factstore.storage import Storage, open_storage
from tests.postgres import Server, cluster, until, whole_log

CLIENTS = 4
SECONDS = 1.5  # of writing before and after the failover
LIMIT = 60.0
ROUNDS = int(os.environ.get("FAILOVER_ROUNDS", "2"))


def uri_of(primary: Server, standby: Server, durability: str) -> str:
    hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
    return f"postgresql://postgres@{hosts}/postgres?name=shop&durability={durability}&connect_timeout=2"


class Client:
    """Appends until it is told to stop, and remembers what was acknowledged, rejected and unknown."""

    def __init__(self, uri: str) -> None:
        self.storage: Storage = open_storage(uri)
        self.acknowledged: dict[int, bytes] = {}
        self.resolved: dict[bytes, int | None] = {}
        self.stop = Event()
        self.thread = Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        name, head = uuid4().bytes, 0
        while not self.stop.is_set():
            try:
                head = self.storage.append([(name, b"x")], expected_t=head)
                self.acknowledged[head] = name
            except Conflict as conflict:
                head = conflict.head
                continue
            except UnknownOutcome as error:
                assert error.txids == [name]
                self.resolved[name] = self.storage.resolve(name)
            except (Unavailable, Forked):
                self.stop.wait(0.05)
                head = self.head(head)
                continue
            name = uuid4().bytes

    def head(self, otherwise: int) -> int:
        try:
            return self.storage.head()
        except StorageError:
            return otherwise


def fail_over(primary: Server, standby: Server, clients: list[Client], *, stall: bool) -> None:
    """Write, kill the primary, promote the standby, and write on."""
    sleep(SECONDS)
    if stall:  # the standby no longer gets what the primary writes
        (receiver,) = standby.sql("SELECT pid FROM pg_stat_wal_receiver").split()
        os.kill(int(receiver), signal.SIGSTOP)
        sleep(0.5)
    primary.kill()
    if stall:
        os.kill(int(receiver), signal.SIGKILL)
    standby.promote()
    sleep(SECONDS)
    before = {id(client): len(client.acknowledged) for client in clients}
    until(lambda: all(len(client.acknowledged) > before[id(client)] for client in clients))
    stop(clients)


def stop(clients: list[Client]) -> None:
    """Let the clients end."""
    for client in clients:
        client.stop.set()
    for client in clients:
        client.thread.join(LIMIT)
        assert not client.thread.is_alive()


def checked_log(uri: str, clients: list[Client]) -> dict[int, bytes]:
    """Check what the clients know against the log, close them, and return the log."""
    with closing(open_storage(uri, sync="none")) as storage:
        log = {record.t: record.txid for record in whole_log(storage)}
        assert storage.problems() == []
    assert sorted(log) == list(range(1, len(log) + 1))
    assert len(set(log.values())) == len(log)
    for client in clients:
        assert client.acknowledged.items() <= log.items()
        for name, t in client.resolved.items():
            assert (log.get(t) if t else None) == (name if t else None)
            assert t is not None or name not in log.values()
        client.storage.close()
    return log


@pytest.mark.slow
def test_no_acknowledged_append_is_lost_when_a_synchronous_standby_takes_over() -> None:
    with cluster(synchronous=True) as (primary, standby):
        uri = uri_of(primary, standby, "replicated")
        clients = [Client(uri) for _ in range(CLIENTS)]
        fail_over(primary, standby, clients, stall=False)
        assert checked_log(uri, clients)


@pytest.mark.slow
def test_none_is_lost_when_two_servers_take_over_from_each_other_again_and_again() -> None:
    settings = ("synchronous_commit=on", "wal_retrieve_retry_interval=200ms", "synchronous_standby_names=standby")
    with cluster(synchronous=True) as (primary, standby):
        # No server acknowledges alone: the promoted one waits until the other follows it.
        standby.stop("fast")
        standby.start(*settings)
        uri = uri_of(primary, standby, "replicated")
        clients = [Client(uri) for _ in range(CLIENTS)]
        for _ in range(ROUNDS):
            sleep(SECONDS)
            primary.kill()
            standby.promote()
            primary.follow(standby)
            primary.start(*settings)
            before = [len(client.acknowledged) for client in clients]
            until(lambda before=before: all(len(client.acknowledged) > n for client, n in zip(clients, before, strict=True)))  # type: ignore[misc]
            primary, standby = standby, primary
        stop(clients)
        log = checked_log(uri, clients)
        assert len(log) >= sum(len(client.acknowledged) for client in clients)


@pytest.mark.slow
def test_an_asynchronous_standby_loses_appends_and_readers_notice() -> None:
    with cluster(synchronous=False) as (primary, standby):
        uri = uri_of(primary, standby, "local")
        with factstore.connect(uri) as conn:
            declare = {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}
            conn.transact([declare])
            until(lambda: standby.sql("SELECT to_regclass('factstore.store')").strip())  # the standby may be later than the commit
            until(lambda: standby.sql("SELECT t FROM factstore.store").strip() == "1")
            (receiver,) = standby.sql("SELECT pid FROM pg_stat_wal_receiver").split()
            os.kill(int(receiver), signal.SIGSTOP)
            acknowledged = [conn.transact([{":n": n}]).t for n in range(50)]
            primary.kill()
            os.kill(int(receiver), signal.SIGKILL)
            standby.promote()
            lost = len(acknowledged) + 1 - conn.db().basis_t
            assert lost > 0
            assert factstore.q("[:find (count ?e) . :where [?e :n]]", conn.db()) in (None, len(acknowledged) - lost)
            assert conn.transact([{":n": 99}]).t == conn.db().basis_t
