"""Groups that are prepared ahead, while a server appends the group before: what happens to them when that append fails.

A transaction that locks the row of the store keeps an append waiting, so that a test decides when and how it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

import factstore
from factstore.commit import groups
from factstore.commit.background import PendingReport
from factstore.commit.commit import Committer
from factstore.datom import t_of
from factstore.errors import Fenced, UniqueConflict
from factstore.storage.postgres.engine import PostgresStorage
from tests.postgres import Server, until

SCHEMA = [
    {":db/ident": ":basis", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":unique", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one", ":db/unique": ":db.unique/value"},
]
CALLED = "groups-test/called"
AHEAD = groups.LEAST_AHEAD + 3
LONG = 60.0


class Calls:
    """A transaction function that states on top of which database it was called."""

    def __init__(self) -> None:
        self.bases: list[int] = []

    def __call__(self, db: factstore.Database, *_: int) -> list[Any]:
        self.bases.append(db.basis_t)
        return [{":basis": db.basis_t}]


class Waiting:
    """A connection whose next append waits for a lock, and transactions that are prepared ahead meanwhile."""

    def __init__(self, server: Server, uri: str, conn: factstore.Connection) -> None:
        self.uri = uri
        self.conn = conn
        self.storage = conn._storage
        assert isinstance(self.storage, PostgresStorage)
        self.store = self.storage._names["store"]
        self.server = psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres", autocommit=True)
        self.calls = factstore.register(CALLED, Calls())
        self.first: PendingReport
        self.ahead: list[PendingReport] = []
        self.also: PendingReport

    def execute(self, statement: str, *values: Any) -> None:
        self.server.execute(statement, values)

    def change(self, change: str) -> None:
        """Change the row of the store, in the transaction that has the lock if there is one."""
        self.execute(f"UPDATE factstore.store SET {change} WHERE id = %s", self.store)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the row of the store, so that appends wait in their order."""
        self.execute("BEGIN")
        self.execute("SELECT FROM factstore.store WHERE id = %s FOR UPDATE", self.store)
        yield
        self.execute("COMMIT")

    def submit(self, tx_data: list[Any]) -> PendingReport:
        """Commit in the background, also as the leader."""
        return Committer.transact_async(self.conn._committer, tx_data)

    def begin(self, *, before: Callable[[], object] | None = None, also: list[Any] | None = None) -> None:
        """Let an append wait, and others be prepared ahead.

        Args:
            before: starts the append of another process, which waits, too, and comes first.
            also: another transaction that is prepared ahead, after the others.
        """
        self.execute("BEGIN")
        self.execute("SELECT FROM factstore.store WHERE id = %s FOR UPDATE", self.store)
        if before is not None:
            before()
            until(lambda: self.waits(1))
        self.first = self.submit([{":unique": 0}, [CALLED]])
        until(lambda: self.waits(2 if before else 1))
        self.ahead = [self.submit([{":unique": n}, [CALLED]]) for n in range(1, AHEAD + 1)]
        if also is not None:
            self.also = self.submit(also)
        until(lambda: len(self.calls.bases) == 1 + AHEAD)
        assert not any(each.done() for each in (self.first, *self.ahead))
        assert 1 == self.conn._committer.newest.t

    def waits(self, count: int) -> bool:
        """Return whether this number of appends wait for the lock."""
        found = self.server.execute("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted").fetchone()
        return found is not None and found[0] == count

    def check(self, *, own: int = 0) -> None:
        """Check that all were committed once, in order, each on top of the one before it.

        Args:
            own: the number of transactions that others committed first.
        """
        reports = [each.result(LONG) for each in (self.first, *self.ahead)]
        assert [report.t for report in reports] == list(range(2 + own, 3 + own + AHEAD))
        db = self.conn.sync()
        found = db.q("[:find ?basis ?n ?tx :where [_ :basis ?basis ?tx] [_ :unique ?n ?tx]]")
        assert sorted((basis + 1, n) for basis, n, _ in found) == [(report.t, n) for n, report in enumerate(reports)]
        assert sorted(t_of(tx) for *_, tx in found) == [report.t for report in reports]


@pytest.fixture
def waiting(server: Server) -> Iterator[Waiting]:
    uri = server.uri()
    with factstore.connect(uri) as conn:
        conn.transact(SCHEMA)
        made = Waiting(server, uri, conn)
        with made.server:
            yield made


@contextmanager
def reports_of(conn: factstore.Connection) -> Iterator[list[int]]:
    """Give the t of each report that a listener gets."""
    got: list[int] = []
    conn._committer.listen(lambda report: got.append(report.t))
    yield got


def test_the_next_group_is_prepared_once_while_the_one_before_is_appended(waiting: Waiting) -> None:
    with reports_of(waiting.conn) as got:
        waiting.begin()
        waiting.execute("COMMIT")
        waiting.check()
    assert waiting.calls.bases == list(range(1, AHEAD + 2))
    assert got == list(range(2, AHEAD + 3))


def test_a_group_is_prepared_again_when_another_process_was_first(waiting: Waiting) -> None:
    with factstore.connect(waiting.uri) as other, reports_of(waiting.conn) as got:
        waiting.begin(before=lambda: other.transact_async([]))
        waiting.execute("COMMIT")
        waiting.check(own=1)
        assert got == list(range(2, AHEAD + 4))
    assert waiting.calls.bases[-1 - AHEAD :] == list(range(2, AHEAD + 3))


def test_a_group_is_prepared_again_when_the_append_before_it_was_cut_off(waiting: Waiting) -> None:
    waiting.begin()
    waiting.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
    waiting.execute("COMMIT")
    waiting.check()
    assert waiting.calls.bases == [1, *range(2, AHEAD + 2), *range(2, AHEAD + 2)]


def test_a_group_stays_prepared_when_the_append_before_it_is_sent_again(waiting: Waiting) -> None:
    waiting.begin()
    waiting.change("epoch = epoch + 1")
    waiting.execute("COMMIT")
    waiting.check()
    assert waiting.calls.bases == list(range(1, AHEAD + 2))


def test_nothing_of_a_deposed_leader_has_an_outcome_but_fenced(waiting: Waiting) -> None:
    assert isinstance(waiting.storage, PostgresStorage)
    assert waiting.storage.leadership.lead("127.0.0.1:1", b"secret", b"fingerprint")
    assert waiting.storage.resolve(b"n" * 16) is None  # it learns the epoch, so that its append waits for the lock
    waiting.begin()
    waiting.change("leader = gen_random_uuid()")
    waiting.execute("COMMIT")
    for each in (waiting.first, *waiting.ahead):
        with pytest.raises(Fenced):
            each.result(LONG)
    assert 1 == waiting.storage.head() == waiting.conn._committer.newest.t
    assert [] == waiting.conn.db().q("[:find [?n ...] :where [_ :unique ?n]]")


def test_a_rejection_that_was_prepared_ahead_waits_for_the_append_before_it(waiting: Waiting) -> None:
    waiting.begin(also=[{":unique": 0}])
    assert not waiting.also.cancel()
    waiting.execute("COMMIT")
    waiting.check()
    with pytest.raises(UniqueConflict):
        waiting.also.result(LONG)


def test_a_repeat_that_was_prepared_ahead_is_that_of_what_was_committed(waiting: Waiting) -> None:
    """Prepared ahead, it finds its key at a t that is taken by another process in the end."""
    conn = waiting.conn
    with factstore.connect(waiting.uri) as other, waiting.locked():
        others = other.transact_async([])
        until(lambda: waiting.waits(1))
        first = conn.transact_async([[CALLED]], key="once")
        until(lambda: waiting.waits(2))
        again = [conn.transact_async([[CALLED]], key="once") for _ in range(AHEAD)]
        until(lambda: conn._committer.waiting > AHEAD and conn._committer._background._wanted)
        assert not any(each.done() for each in (first, *again))
    assert 2 == others.result(LONG).t
    assert {3} == {each.result(LONG).t for each in (first, *again)}
    assert 3 == conn.sync().basis_t


class Stop(BaseException):
    pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_interrupt_while_a_group_is_prepared_ahead_leaves_the_append_before_it_alone(waiting: Waiting) -> None:
    interrupted = threading.Event()

    @factstore.register("groups-test/stop")
    def stop(_: factstore.Database) -> list[Any]:
        interrupted.set()
        raise Stop

    waiting.begin(also=[["groups-test/stop"]])
    assert interrupted.wait(LONG)
    waiting.execute("COMMIT")
    assert 2 == waiting.first.result(LONG).t
    outcomes = [each.exception(LONG) for each in (*waiting.ahead, waiting.also)]
    assert all(isinstance(error, Stop) for error in outcomes)
    assert 3 == waiting.conn.transact([]).t
    assert [0] == waiting.conn.db().q("[:find [?n ...] :where [_ :unique ?n]]")


def test_connections_that_are_cut_at_any_moment_lose_no_transaction_and_repeat_none(waiting: Waiting) -> None:
    conn, ends, cuts = waiting.conn, threading.Event(), 0

    def cut() -> None:
        nonlocal cuts
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid()"
        while not ends.wait(0.01):
            cuts += waiting.server.execute(statement, ["%UPDATE factstore.store%SET t = t +%"]).rowcount

    cutting = threading.Thread(target=cut)
    cutting.start()
    reports = []
    for first in range(0, 2000, 100):
        futures = [conn.transact_async([{":unique": n}, [CALLED]]) for n in range(first, first + 100)]
        reports += [future.result(LONG) for future in futures]
    ends.set()
    cutting.join(LONG)
    assert cuts
    found = conn.sync().q("[:find ?basis ?n ?tx :where [_ :basis ?basis ?tx] [_ :unique ?n ?tx]]")
    assert sorted((n, basis + 1) for basis, n, _ in found) == [(n, report.t) for n, report in enumerate(reports)]
    assert [report.t for report in reports] == list(range(2, 2002))
