"""The law of commits: after an exception at any line, the transaction is committed once or not at all, the caller can tell which,
memory agrees with the log, the writer's turn is free, and every listener is told of every transaction once."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import factstore
from factstore import Connection, maintain
from factstore.errors import DatabaseError, Interrupted, UnknownOutcome
from tests.laws.interrupts import RAISED, At, at_every_line

SCHEMA = """
[{:db/ident :k/id :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :k/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :k/s :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
 {:db/ident :k/part :db/valueType :db.type/ref :db/cardinality :db.cardinality/many :db/isComponent true}]
"""
LONG = 20.0  # seconds; a limit for what happens at once, so that a lock left taken fails the test instead of stopping it

Kind = Callable[[Connection, int, int], Any]  # given an entity whose `:k/id` is -n, and n


def steps(conn: Connection, e: int, n: int) -> None:
    with conn.transaction() as tx:
        tx.transact([{":k/id": n}])
        tx.transact([[":db/add", e, ":k/n", n]])


def bump(db: factstore.Database, e: int, n: int) -> list[Any]:
    return [{":db/id": e, ":k/n": n}, [":db/add", e, ":k/s", str(n)]]


factstore.register("interrupts/bump", bump)

KINDS: dict[str, Kind] = {
    "one add": lambda conn, e, n: conn.transact([[":db/add", e, ":k/n", n]]),
    "several adds": lambda conn, e, n: conn.transact([[":db/add", e, ":k/n", n], [":db/add", e, ":k/s", str(n)]]),
    "a new entity": lambda conn, e, n: conn.transact([{":db/id": "new", ":k/n": n, ":k/part": [{":k/n": 0}]}]),
    "an upsert": lambda conn, e, n: conn.transact([{":k/id": -n, ":k/n": n}]),
    "a lookup ref": lambda conn, e, n: conn.transact([[":db/add", [":k/id", -n], ":k/n", n]]),
    "a swap": lambda conn, e, n: conn.transact([[":db/cas", e, ":k/n", factstore.entity(conn.db(), e)[":k/n"], n]]),
    "a function": lambda conn, e, n: conn.transact([["interrupts/bump", e, n]]),
    "a retraction": lambda conn, e, n: conn.transact([[":db/retract", e, ":k/s"], [":db/add", e, ":k/n", n]]),
    "text": lambda conn, e, n: conn.transact(f"[[:db/add {e} :k/n {n}]]"),
    "a declaration": lambda conn, e, n: conn.transact([{":db/ident": f":k/x{n}"}, [":db/add", e, ":k/n", n]]),
    "a key": lambda conn, e, n: conn.transact([[":db/add", e, ":k/n", n]], key=f"key {n}"),
    "a block": steps,
    "a future": lambda conn, e, n: conn.transact_async([[":db/add", e, ":k/n", n]]).result(LONG),
    "a load": lambda conn, e, n: conn.load([{"id": n, "n": n}], {"id": ":k/id", "n": ":k/n"}, progress=False),
}


TELLS_LATER = ("a future", "a load")  # the future tells whoever asks it again; the batches of a load before the one that failed stay
AT_ONCE = 25  # calls on one store: what is made again after an exception grows with what memory keeps

Opening = Callable[[], Connection]


@pytest.fixture(params=["memory", "disk"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    """Open a store that is new, in the place of the one that was opened last."""
    conns: list[Connection] = []

    def another() -> Connection:
        for conn in conns:
            conn.close()
        path = tmp_path / f"{len(conns)}.facts"
        conns.append(factstore.connect(f"memory:{path}" if request.param == "memory" else str(path), sync="none", busy_timeout=LONG))
        conns[-1].transact(SCHEMA)
        return conns[-1]

    yield another
    for conn in conns:
        conn.close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    """Another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


# Raised in a finalizer that runs at that moment, of a connection of an earlier test for instance, the exception reaches nobody.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_at_any_line_leaves_a_transaction_committed_once_or_not_at_all(
    opened: Opening, kind: str, elsewhere: ThreadPoolExecutor
) -> None:
    conn, since, outcome = opened(), 0, None

    def call(at: At) -> None:
        nonlocal conn, since, outcome
        if not at.n % AT_ONCE:
            check_all(conn)
            conn = opened()
        since, e = elsewhere.submit(another_entity, conn, at.n).result(LONG)
        assert is_free(conn)
        outcome = None
        try:
            with at.here():
                KINDS[kind](conn, e, at.n)
        except BaseException as error:
            outcome = error  # kept, with its traceback: nothing may depend on its end

    for at in at_every_line(call, start=1):
        if kind == "a future":
            conn._committer._background.drain()  # the request may be committed only now
        check(conn, since, at.n, outcome, at.where, tells=kind not in TELLS_LATER)
        assert is_free(conn) or kind == "a block", at.where  # in the first step of its end: then the next write gives it back
    check_all(conn)


# Raised outside of everything that catches it, the exception ends the thread; another one takes its place.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_exception_at_any_line_of_the_background_thread_ends_every_future(opened: Opening) -> None:
    conn = opened()
    told: list[tuple[int, BaseException | None]] = []

    def call(at: At) -> None:
        nonlocal conn
        if at.n % AT_ONCE == AT_ONCE - 1:
            conn = opened()
        since, e = another_entity(conn, at.n + 1)
        numbers = [10_000 + at.n * 3 + i for i in range(3)]
        with factstore.connect(conn.uri, sync="none") as other, at.in_new_threads():
            with other._committer._turn:
                futures = [other.transact_async([[":db/add", e, ":k/n", n]]) for n in numbers]
            told[:] = [(n, future.exception(LONG)) for n, future in zip(numbers, futures, strict=True)]
            for n, error in told:
                check(other, since, n, error, at.where)

    for at in at_every_line(call):
        assert len(told) == 3, at.where


def test_an_exception_at_any_line_of_the_first_future_leaves_one_thread() -> None:
    def call(at: At) -> None:
        before = set(threading.enumerate())
        with factstore.connect("memory:") as conn:
            with at.here(), suppress(*RAISED):
                conn.transact_async([]).result()
            assert conn.transact_async([]).result().t <= 2
            new = [thread for thread in threading.enumerate() if thread not in before and thread.name == "factstore-commit"]
            assert len(new) == 1, at.where
        new[0].join()

    assert 20 < sum(1 for _ in at_every_line(call))


def check_all(conn: Connection) -> None:
    """Check all of the log against all of memory and the index."""
    logged = sorted((datom for made in conn.log().tx_range() for datom in made.data), key=in_order)
    assert logged == sorted((d for d in conn.db().history().datoms("eavt") if d.tx & 0xFFFFFFFF), key=in_order)
    assert maintain.check(conn).ok


def another_entity(conn: Connection, n: int) -> tuple[int, int]:
    """Make an entity, and return the t and its id. Done by another thread, which must find the turn free.

    Each call has an entity of its own, and finds what memory keeps of it in order: or its work would grow with the calls before it.
    """
    made = conn.transact([{":db/id": "e", ":k/id": -n, ":k/n": 0, ":k/s": ["a", "b"]}])
    e = made.tempids["e"]
    factstore.pull(made.db_after, ["*"], e)
    return made.t, e


def check(conn: Connection, since: int, n: int, error: BaseException | None, where: str, *, tells: bool = True) -> None:
    """Check what was logged after a t against memory, and both against what the caller was told of the transaction of a number."""
    with pytest.raises(DatabaseError, match="no transaction is being prepared"):
        factstore.tx_instant()
    db, made = conn.db(), list(conn.log().tx_range(since + 1))
    assert [transaction.t for transaction in made] == list(range(since + 1, db.basis_t + 1)), where
    logged = [datom for transaction in made for datom in transaction.data]
    history = db.history()
    for e, a in {(datom.e, datom.a) for datom in logged}:
        known = [datom for datom in history.datoms("eavt", e, a) if factstore.tx_to_t(datom.tx) > since]
        assert sorted(known, key=in_order) == sorted((datom for datom in logged if (datom.e, datom.a) == (e, a)), key=in_order), where
    a = db.attribute(":k/n").id
    times = [factstore.tx_to_t(datom.tx) for datom in logged if datom.a == a and datom.v == n and datom.added]
    if error is None:
        assert len(times) == 1, where
    elif isinstance(error, UnknownOutcome):
        assert times == [error.t], where
        assert isinstance(error.__cause__, KeyboardInterrupt) == isinstance(error, Interrupted), where
    else:
        assert len(times) <= (not tells), (where, error)


def in_order(datom: factstore.Datom) -> tuple[int, int, int, bool, str]:
    return datom.tx, datom.e, datom.a, datom.added, repr(datom.v)


def is_free(conn: Connection) -> bool:
    """Return whether another process could take the writer's turn."""
    if not conn.uri.startswith("lmdb:"):
        return True
    fd = os.open(conn.uri.removeprefix("lmdb:"), os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
