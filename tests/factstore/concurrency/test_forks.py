"""Forks: the parent never notices them; in the child an inherited connection is closed, and the store can be opened anew.

Each case is a function of this module that runs as a process of its own; in it `in_child` forks.
"""

from __future__ import annotations

import concurrent.futures
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import getweakrefs

import pytest

import factstore
from factstore import maintain
from factstore.concurrency.forks import watch
from factstore.errors import Closed

SCHEMA = [{":db/ident": ":k/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]
CASES: dict[str, Callable[[str], object]] = {}


def case(function: Callable[[str], object]) -> Callable[[str], object]:
    CASES[function.__name__] = function
    return function


def opened(path: str) -> factstore.Connection:
    conn = factstore.connect(path, sync="none")
    conn.transact(SCHEMA)
    conn.db()
    return conn


def in_child(job: Callable[[], object], leave: Callable[[], object] = lambda: os._exit(0)) -> None:
    """Fork; in the child do a job and leave. The child must end well."""
    child = os.fork()
    if not child:
        try:
            job()
        except BaseException as error:
            traceback.print_exception(error)
            os._exit(1)
        leave()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def goes_on(conn: factstore.Connection) -> None:
    """The parent reads, commits, and can be opened again; nothing was lost."""
    before = conn.db().basis_t
    for n in range(3):
        conn.transact([{":k/n": n}])
    assert conn.db().basis_t == before + 3
    conn.transact_async([{":k/n": 7}]).result()
    check = maintain.check(conn)
    assert check.ok, check.problems
    assert check.transactions == before + 4


def is_closed(conn: factstore.Connection) -> None:
    """Every verb of an inherited connection raises at once that it was opened before the fork."""
    verbs: list[Callable[[], object]] = [
        conn.db,
        lambda: conn.transact([{":k/n": 1}]),
        lambda: conn.transact_async([{":k/n": 1}]),
        lambda: conn.transaction().__enter__(),
        lambda: conn.wait(10**6, 5),
        lambda: conn.sync(10**6, timeout=5),
        conn.log,
        conn.tx_reports,
        lambda: conn.listen(print),
        lambda: conn.load([{"n": 1}], {"n": ":k/n"}),
        lambda: conn.excise(":k/n"),
        lambda: maintain.check(conn),
        lambda: maintain.reindex(conn),
        lambda: maintain.collect(conn),
    ]
    for verb in verbs:
        raises_closed(verb)
    conn.close()


def raises_closed(verb: Callable[[], object]) -> None:
    try:
        verb()
    except Closed as error:
        assert error.code == ":db.error/storage-closed"
        assert "forked" in error.message, error.message
    else:
        raise AssertionError(f"{verb} did not raise")


def opens_its_own(path: str, n: int = 100) -> None:
    with factstore.connect(path, sync="none") as conn:
        conn.transact([{":k/n": n}])
        assert factstore.q("[:find (count ?e) . :in $ ?n :where [?e :k/n ?n]]", conn.db(), n) == 1


# ways to end


@case
def a_child_that_exits_at_once(path: str) -> None:
    conn = opened(path)
    in_child(lambda: None)
    goes_on(conn)


@case
def a_child_that_uses_what_it_inherited(path: str) -> None:
    conn = opened(path)
    in_child(lambda: is_closed(conn))
    goes_on(conn)


@case
def a_child_that_opens_its_own(path: str) -> None:
    conn = opened(path)
    in_child(lambda: opens_its_own(path))
    assert factstore.q("[:find ?e . :where [?e :k/n 100]]", conn.db()) is not None
    goes_on(conn)


@case
def children_that_live_while_the_parent_works(path: str) -> None:
    conn = opened(path)
    children = []
    for n in range(3):
        child = os.fork()
        if not child:
            for i in range(20):
                opens_its_own(path, 1000 * (n + 1) + i)
            os._exit(0)
        children.append(child)
    for n in range(50):
        conn.transact([{":k/n": n}])
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert conn.db().basis_t == 1 + 50 + 60
    goes_on(conn)


@case
def a_child_that_ends_with_its_interpreter(path: str) -> None:
    conn = opened(path)
    child = os.fork()
    if not child:
        sys.exit(0)  # finalizes modules and objects, unlike os._exit
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    goes_on(conn)


@case
def a_child_that_ends_with_an_exception(path: str) -> None:
    conn = opened(path)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        raise RuntimeError("the child's own")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    goes_on(conn)


@case
def a_child_that_collects_garbage(path: str) -> None:
    holder = [opened(path)]
    db = holder[0].db()

    def drop() -> None:
        nonlocal db
        holder.clear()
        db = None  # type: ignore[assignment]
        gc.collect()

    keep = holder[0]
    in_child(drop)
    goes_on(keep)


@case
def grandchildren(path: str) -> None:
    conn = opened(path)

    def child() -> None:
        with factstore.connect(path, sync="none") as own:
            in_child(lambda: (is_closed(own), is_closed(conn), opens_its_own(path, 5000)))
            own.transact([{":k/n": 1}])
            assert maintain.check(own).ok

    in_child(child)
    goes_on(conn)


@case
def a_daemon_that_outlives_its_parent(path: str) -> None:
    conn = opened(path)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        grandchild = os.fork()
        if grandchild:
            os._exit(0)
        is_closed(conn)
        opens_its_own(path)
        os.write(write, b"done")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 4) == b"done"
    goes_on(conn)


# ways to fork


@case
def a_program_started_with_preexec_fn(path: str) -> None:
    conn = opened(path)
    subprocess.run(["true"], check=True, preexec_fn=lambda: None)
    goes_on(conn)


@case
def processes_of_multiprocessing(path: str) -> None:
    conn = opened(path)
    context = multiprocessing.get_context("fork")
    for target, args in ((is_closed, (conn,)), (opens_its_own, (path,)), (len, ("",))):
        process = context.Process(target=target, args=args)
        process.start()
        process.join()
        assert process.exitcode == 0
    goes_on(conn)


@case
def a_pool_of_processes_while_threads_use_the_store(path: str) -> None:
    conn = opened(path)
    over, errors = threading.Event(), []

    def use(verb: Callable[[], object]) -> None:
        while not over.is_set():
            try:
                verb()
            except BaseException as error:
                errors.append(error)

    verbs = (lambda: conn.transact([{":k/n": 1}]), conn.db, lambda: list(conn.log().tx_range(1, 5)))
    threads = [threading.Thread(target=use, args=(verb,), daemon=True) for verb in verbs]
    for thread in threads:
        thread.start()
    for _ in range(5):
        with concurrent.futures.ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("fork")) as pool:
            assert list(pool.map(abs, range(-8, 0))) == [8, 7, 6, 5, 4, 3, 2, 1]
    over.set()
    for thread in threads:
        thread.join()
    assert errors == []
    goes_on(conn)


# moments


@case
def a_fork_while_another_thread_has_a_transaction_open(path: str) -> None:
    conn = opened(path)
    inside, over = threading.Event(), threading.Event()

    def hold() -> None:
        with conn.transaction() as tx:
            tx.transact([{":k/n": 1}])
            inside.set()
            over.wait()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    inside.wait()
    in_child(lambda: is_closed(conn), leave=lambda: sys.exit(0))
    assert not is_turn_free(path)
    over.set()
    thread.join()
    assert conn.db().basis_t == 2
    goes_on(conn)


def is_turn_free(path: str) -> bool:
    """Whether another process could commit now."""
    code = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    return subprocess.run([sys.executable, "-c", code, path], stderr=subprocess.DEVNULL, check=False).returncode == 0


@case
def a_fork_within_a_transaction(path: str) -> None:
    conn = opened(path)
    with (block := conn.transaction()) as tx:
        tx.transact([{":k/n": 1}])
        child = os.fork()
        if not child:
            try:
                with_closed_end(conn, block, tx)
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not is_turn_free(path)
    assert conn.db().basis_t == 2
    goes_on(conn)


def with_closed_end(conn: factstore.Connection, block: Any, tx: Any) -> None:
    tx.transact([{":k/n": 2}])
    raises_closed(lambda: block.__exit__(None, None, None))
    is_closed(conn)


@case
def a_child_that_leaves_a_transaction_by_an_exception(path: str) -> None:
    conn = opened(path)
    try:
        with conn.transaction() as tx:
            tx.transact([{":k/n": 1}])
            child = os.fork()
            if not child:
                raise ZeroDivisionError
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert not is_turn_free(path)
    except ZeroDivisionError:
        sys.exit(0)
    assert conn.db().basis_t == 2
    goes_on(conn)


@case
def a_fork_by_a_signal_handler_anywhere_in_a_commit_or_a_read(path: str) -> None:
    conn = opened(path)
    parent, forks = os.getpid(), 0

    def handle(_number: int, _frame: object) -> None:
        nonlocal forks
        forks += 1
        child = os.fork()
        if not child:
            raise KeyboardInterrupt
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        signal.setitimer(signal.ITIMER_REAL, 0.0021)

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.003)
    n = 0
    try:
        while forks < 60:
            conn.transact([{":k/n": n}])
            n += 1
            assert conn.db().basis_t == 1 + n
            list(conn.log().tx_range(max(1, n - 3)))
    except (KeyboardInterrupt, Closed):
        if os.getpid() != parent:
            is_closed(conn)
            sys.exit(0)
        raise
    signal.setitimer(signal.ITIMER_REAL, 0)
    goes_on(conn)


@case
def a_fork_within_a_read_or_a_write_of_the_storage(path: str) -> None:
    """A finalizer or a signal handler may fork in the middle of a transaction of LMDB, which the child must not end."""
    conn = opened(path)
    file, parent = conn._storage._file, os.getpid()  # type: ignore[attr-defined]

    def forking(txn: Any, fails: bool) -> int:
        child = os.fork()
        if fails and not child:
            raise ZeroDivisionError
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            txn.get(b"stamp")
        return child

    for run in (file.read, file.write):
        for fails in (False, True):
            try:
                assert run(forking, fails)
            except (Closed, ZeroDivisionError) as error:
                if os.getpid() == parent:
                    raise
                assert (run == file.write and fails) == isinstance(error, ZeroDivisionError)
                is_closed(conn)
                sys.exit(0)
            assert os.getpid() == parent
            conn.db()
    goes_on(conn)


@case
def futures_and_reports_that_the_parent_was_waiting_for(path: str) -> None:
    conn = opened(path)
    reports, called = conn.tx_reports(), []
    inside, over = threading.Event(), threading.Event()

    def listener(_report: object) -> None:
        inside.set()
        over.wait()

    conn._committer.listeners.append(listener)
    futures = [conn.transact_async([{":k/n": n}]) for n in range(5)]
    inside.wait()
    for future in futures:
        future.add_done_callback(called.append)

    def child() -> None:
        for future in futures:
            raises_closed(lambda future=future: future.result(timeout=60))  # type: ignore[misc]
        assert not concurrent.futures.wait(futures).not_done
        assert called == []
        while reports.get_nowait() is not None:
            pass  # what had come before the fork
        raises_closed(lambda: reports.get(timeout=60))
        raises_closed(lambda: next(iter(reports)))

    in_child(child)
    over.set()
    assert [future.result().t for future in futures] == [2, 3, 4, 5, 6]
    assert len(called) == 5
    goes_on(conn)


@case
def what_another_thread_had_locked(path: str) -> None:
    """A lock that a thread of the parent held is free in the child."""
    from factstore.query.answer.cache import AnswerCache
    from factstore.reads import fulltext
    from factstore.storage import memory

    conn, answers = opened(path), AnswerCache()
    named = factstore.connect("memory:shared")
    inside, over = threading.Event(), threading.Event()

    def hold() -> None:
        cache = conn.db().view.cache
        with memory._naming, named._storage._shelf.turn, fulltext._knowing, cache.lock, answers._answers.lock, conn._committer._turn:
            inside.set()
            over.wait()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    inside.wait()
    db = conn._committer.newest.database

    def child() -> None:
        is_closed(conn)
        is_closed(named)
        named.close()
        with factstore.connect("memory:shared") as own:
            assert own.db().basis_t == 0
        assert factstore.q("[:find (count ?i) . :where [_ :db/ident ?i]]", db, cache=answers) > 10
        opens_its_own(path)

    in_child(child, leave=lambda: sys.exit(0))
    over.set()
    thread.join()
    goes_on(conn)


@case
def a_hold_and_the_turn_of_the_parent_outlive_the_child(path: str) -> None:
    conn = opened(path)
    conn._committer.index()
    version = conn.db().view.index.version
    assert conn._storage.held() == {version}

    def child() -> None:
        conn._committer = None  # type: ignore[assignment]
        gc.collect()

    in_child(child, leave=lambda: sys.exit(0))
    code = "import sys, factstore; from factstore.storage import open_storage; print(open_storage(sys.argv[1], read_only=True).held())"
    seen = subprocess.run([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert seen.strip() == f"{{{version}}}"
    goes_on(conn)


@case
def a_turn_ends_with_the_parent_though_a_child_lives_on(path: str) -> None:
    read, write = os.pipe()
    stay_read, stay_write = os.pipe()
    parent = os.fork()
    if not parent:
        conn = opened(path)
        with conn._storage.turn():
            if not os.fork():
                os.close(stay_write)
                os.write(write, b"x")
                os.read(stay_read, 1)
                os._exit(0)
            os._exit(0)  # dies holding the turn
    os.waitpid(parent, 0)
    os.read(read, 1)
    assert is_turn_free(path)
    with factstore.connect(path, sync="none") as conn:
        conn.transact([{":k/n": 1}])
    os.close(stay_write)


@pytest.mark.parametrize("name", CASES)
def test_the_parent_never_notices_a_fork_and_the_child_is_told(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, name, str(tmp_path / "forked.facts")], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{name} is over\n"), done.stderr


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, from Python 3.12 on
    started = os.getpid()
    CASES[sys.argv[1]](sys.argv[2])
    if os.getpid() == started:
        print(sys.argv[1], "is over", flush=True)


def test_freeing_a_watched_object_runs_no_code_in_which_an_interrupt_would_be_lost() -> None:
    """Python ignores an exception in the callback of a weak reference, also the KeyboardInterrupt of Ctrl-C."""

    class Watched:
        def _after_fork(self) -> None:
            """Drop nothing."""

    thing = Watched()
    watch(thing)
    references = getweakrefs(thing)
    assert [None] == [reference.__callback__ for reference in references]
    del thing
    watch(Watched())
    assert [None] == [reference() for reference in references]
