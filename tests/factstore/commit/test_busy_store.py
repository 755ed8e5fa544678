"""Writers that wait for another writer's turn: how long, what they are told, and when a block is passed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import factstore
from factstore import Connection, TransactError
from factstore.errors import Conflict, StorageError, StoreBusy

NUMBER = [{":db/ident": ":a/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]
LONG = 60.0

HOLDER = """
import sys, factstore
conn = factstore.connect(sys.argv[1])
with conn.transaction() as tx:
    tx.transact([[":db/add", "datomic.tx", ":db/doc", "of the holder"]])
    print("holds", flush=True)
    sys.stdin.read()
"""
WRITER = """
import sys, factstore
conn = factstore.connect(sys.argv[1])
with conn._committer.alone("an excision"):
    print("holds", flush=True)
    sys.stdin.read()
"""


@contextmanager
def process(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the turn until its input ends."""
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None and holder.stdout.readline() == "holds\n"
            yield holder
        finally:
            holder.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.facts"
    with factstore.connect(str(path)) as conn:
        conn.transact(NUMBER)
    return path


def test_a_write_that_waits_for_too_long_says_who_has_the_turn(path: Path) -> None:
    with factstore.connect(str(path), busy_timeout=0.05) as conn, process(WRITER, path) as holder:
        with pytest.raises(StoreBusy) as caught:
            conn.transact([{":a/n": 1}])
        assert holder.pid == caught.value.pid
        assert os.uname().nodename == caught.value.host
        assert "an excision" == caught.value.doing
        assert caught.value.since.tzinfo is not None
        assert caught.value.category == "busy"
        assert 1 == conn.db().basis_t
    with factstore.connect(str(path)) as conn:
        assert 2 == conn.transact([{":a/n": 1}]).t


@pytest.mark.parametrize("commit", ["transact", "transact_async", "block", "load"])
def test_every_way_to_write_ends_when_the_turn_is_not_given_back(path: Path, commit: str) -> None:
    with factstore.connect(str(path), busy_timeout=0.05) as conn, process(WRITER, path):
        with pytest.raises(StoreBusy):
            write(conn, commit)
        assert 1 == conn.db().basis_t


def write(conn: Connection, commit: str) -> None:
    if commit == "transact":
        conn.transact([{":a/n": 1}])
    elif commit == "transact_async":
        conn.transact_async([{":a/n": 1}]).result(LONG)
    elif commit == "load":
        conn.load([{"n": 1}], {"n": ":a/n"}, progress=False)
    else:
        with conn.transaction() as tx:
            tx.transact([{":a/n": 1}])


def test_a_block_whose_process_was_stopped_is_passed_and_commits_nothing(path: Path) -> None:
    with factstore.connect(str(path), busy_timeout=0.1) as conn, process(HOLDER, path) as holder:
        holder.send_signal(signal.SIGSTOP)
        assert [2, 3] == [conn.transact([{":a/n": n}]).t for n in range(2)]
        holder.send_signal(signal.SIGCONT)
        _, error = holder.communicate()
        assert "others have committed while this block was open" in error
        assert 3 == conn.db().basis_t


def test_maintenance_does_not_pass_a_block(path: Path) -> None:
    with factstore.connect(str(path), busy_timeout=0.1) as conn, process(HOLDER, path):
        made = conn.transact([{":db/id": "e", ":a/n": 1}])
        with pytest.raises(StoreBusy):
            conn.excise(made.tempids["e"])


@pytest.mark.parametrize("uri", ["memory:busy", "file"])
def test_a_block_of_another_thread_is_passed_too(uri: str, path: Path) -> None:
    with ExitStack() as stack:
        conn = stack.enter_context(factstore.connect(str(path) if uri == "file" else uri, busy_timeout=0.1))
        if uri != "file":
            conn.transact(NUMBER)
        elsewhere = stack.enter_context(ThreadPoolExecutor(1))
        with pytest.raises(Conflict, match="others have committed while this block was open"), conn.transaction() as tx:
            tx.transact([{":a/n": 1}])
            assert 2 == elsewhere.submit(conn.transact, [{":a/n": 2}]).result(LONG).t
        assert 3 == conn.transact([{":a/n": 3}]).t


def test_a_block_that_nobody_overtook_commits(path: Path) -> None:
    with factstore.connect(str(path), busy_timeout=0.0) as conn, conn.transaction() as tx:
        tx.transact([{":a/n": 1}])
    assert tx.report is not None and 2 == tx.report.t


@pytest.mark.parametrize("timeout", [-1, "5", float("nan")])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(path: Path, timeout: object) -> None:
    with pytest.raises(StorageError) as caught:
        factstore.connect(str(path), busy_timeout=timeout)  # type: ignore[arg-type]
    assert ":db.error/invalid-option" == caught.value.code


def in_a_block(conn: Connection, call: object) -> None:
    with conn.transaction() as tx:
        tx.transact([{":a/n": 1}])
        call(conn)  # type: ignore[operator]


def in_lazy_tx_data(conn: Connection, call: object) -> None:
    def forms() -> Iterator[object]:
        yield {":a/n": 1}
        call(conn)  # type: ignore[operator]

    conn.transact(forms())


def register(conn: Connection, call: object) -> None:
    def function(db: factstore.Database) -> list[object]:
        call(conn)  # type: ignore[operator]
        return []

    factstore.register("busy/call", function)


def in_a_function(conn: Connection, call: object) -> None:
    register(conn, call)
    conn.transact([["busy/call"]])


def in_a_function_of_the_background(conn: Connection, call: object) -> None:
    register(conn, call)
    conn.transact_async([["busy/call"]]).result(LONG)


def in_a_requirement(conn: Connection, call: object) -> None:
    factstore.register("busy/holds", lambda db: call(conn) is None)  # type: ignore[operator]
    conn.transact([{":a/n": 1}, [":db/require", "busy/holds"]])


CALLS = {
    "transact": lambda conn: conn.transact([{":a/n": 2}]),
    "wait for a future": lambda conn: conn.transact_async([]).result(LONG),
    "a block": lambda conn: conn.transaction().__enter__(),
    "a load": lambda conn: conn.load([{"n": 1}], {"n": ":a/n"}, progress=False),
    "an excision": lambda conn: conn.excise(":a/n"),
    "a key": lambda conn: conn.transact([{":a/n": 2}], key="k"),
    "waiting": lambda conn: conn.wait(1, LONG),
    "closing": lambda conn: conn.close(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", [in_a_block, in_lazy_tx_data, in_a_function, in_a_function_of_the_background, in_a_requirement])
def test_what_would_wait_for_its_own_transaction_is_refused(place: object, call: str) -> None:
    with factstore.connect("memory:", busy_timeout=LONG) as conn:
        conn.transact(NUMBER)
        with pytest.raises(TransactError) as caught:
            place(conn, CALLS[call])  # type: ignore[operator]
        assert ":db.error/transaction-open" in str(caught.value)
        assert not list(conn.db().datoms("aevt", ":a/n"))
        conn.transact([{":a/n": 3}])


def test_a_database_read_within_a_transaction_is_the_one_it_builds_on() -> None:
    with factstore.connect("memory:reads-within") as conn, factstore.connect("memory:reads-within") as other:
        conn.transact(NUMBER)

        def look(db: factstore.Database) -> list[object]:
            if db.basis_t == 1:
                other.transact([{":a/n": 2}])
            return [{":a/n": conn.db().basis_t}]

        factstore.register("busy/look", look)
        assert 3 == conn.transact([["busy/look"]]).t
        assert {1, 2} >= {datom.v for datom in conn.db().datoms("aevt", ":a/n")}
