"""Without file descriptors or threads: one error that says what to do, nothing half-written, and the same object works later.

Each case is a function that runs in a process of its own, which really has no more of them.
"""

from __future__ import annotations

import asyncio
import io
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest

import factstore
from factstore import TxReport
from factstore.cli import main
from factstore.commit import indexing
from factstore.concurrency.pipes import until_unread
from factstore.concurrency.threads import Single, in_thread
from factstore.errors import Unavailable
from tests.forks import Forks
from tests.laws.interrupts import At, at_every_line
from tests.scarcity import files_left, no_threads, refusals

SCHEMA = [{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as running:
        yield running


def made(folder: Path, name: str = "a.facts") -> factstore.Connection:
    conn = factstore.connect(str(folder / name))
    conn.transact(SCHEMA)
    return conn


# -- file descriptors


def opens_a_new_store(folder: Path) -> None:
    names = count()

    def opened() -> None:
        made(folder, f"{next(names)}.facts").close()

    made(folder).close()  # what is imported lazily needs descriptors too
    failed = len(refusals(opened))
    assert failed > 3
    for name in range(failed):  # what a failed call has left is a new store, or none
        with made(folder, f"{name}.facts") as conn:
            assert conn.db().basis_t == 1


def opens_an_old_store(folder: Path) -> None:
    path = str(folder / "a.facts")
    made(folder).close()
    for options in ({}, {"read_only": True}):
        assert len(refusals(lambda options=options: factstore.connect(path, **options).close())) > 3  # type: ignore[misc]
    with factstore.connect(path) as conn:
        assert conn.transact([{":n": 1}]).t == 2


def commits(folder: Path) -> None:
    with made(folder) as conn:
        with files_left(0):
            for n in range(100):  # among them some that begin a journal, which is a file
                conn.transact([{":n": n}])
        assert conn.transact([{":n": 100}]).t == 102
    with factstore.connect(str(folder / "a.facts")) as conn:
        assert conn.db().basis_t == 102
        assert conn._storage.problems() == []


def opens_a_second_handle_that_syncs(folder: Path) -> None:
    path = str(folder / "a.facts")
    with factstore.connect(path, sync="none") as conn:
        conn.transact(SCHEMA)
        refusals(lambda: factstore.connect(path).close())
        assert conn.transact([{":n": 1}]).t == 2


def opens_its_file_again(folder: Path) -> None:
    path = str(folder / "a.facts")
    with factstore.connect(path, sync="none") as conn:
        conn.transact(SCHEMA)
        stricter = factstore.connect(path)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # what the file was open with cannot be opened again
        for call in (stricter.close, conn.db, lambda: conn.transact([{":n": 1}])):
            with pytest.raises(Unavailable, match="ulimit -n"):
                call()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert conn.transact([{":n": 2}]).t == 2


@pytest.mark.parametrize("case", [opens_a_new_store, opens_an_old_store, commits, opens_a_second_handle_that_syncs, opens_its_file_again])
def test_without_descriptors(forks: Forks, case: Callable[[Path], None], tmp_path: Path) -> None:
    assert forks.run(case, tmp_path) == 0


def runs(*arguments: str) -> None:
    """Run a command in this process. Raises: Unavailable, with its last line on stderr."""
    errors = io.StringIO()
    try:
        with redirect_stderr(errors), redirect_stdout(io.StringIO()):
            main(arguments, standalone_mode=False)
    except SystemExit as end:
        assert end.code == 3
        assert errors.getvalue().count("\n") == 1
        raise Unavailable(":db.error/file-unavailable", errors.getvalue()) from end


def runs_without_descriptors(folder: Path, command: list[str]) -> None:
    made(folder).close()
    runs("dump", "--store", str(folder / "a.facts"), str(folder / "old.dump"))
    (folder / "old.csv").write_text("n\n1\n")
    target = folder / "target"
    arguments = [argument.replace("FOLDER", str(folder)) for argument in command]

    def check() -> None:
        assert not any(path.name.startswith(".") for path in folder.iterdir())

    assert refusals(lambda: runs(*arguments), check)
    check()
    assert target.exists() or command[0] in ("check", "import")


@pytest.mark.parametrize(
    "command",
    [
        ["backup", "--store", "FOLDER/a.facts", "FOLDER/target"],
        ["restore", "FOLDER/a.facts", "--store", "FOLDER/target"],
        ["dump", "--store", "FOLDER/a.facts", "FOLDER/target"],
        ["undump", "FOLDER/old.dump", "--store", "FOLDER/target"],
        ["export", "--store", "FOLDER/a.facts", "FOLDER/target"],
        ["import", "FOLDER/old.csv", "--store", "FOLDER/a.facts"],
        ["check", "--store", "FOLDER/a.facts"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_without_descriptors_leaves_no_unfinished_file(forks: Forks, command: list[str], tmp_path: Path) -> None:
    assert forks.run(runs_without_descriptors, tmp_path, command) == 0


# -- threads


def refused(call: Callable[[], object]) -> None:
    """Make a call that cannot start its thread."""
    with no_threads(), pytest.raises(Unavailable) as raised:
        call()
    assert raised.value.code == ":db.error/storage-unavailable"
    assert "ulimit -u" in str(raised.value)


def commits_in_the_background(folder: Path) -> None:
    with made(folder) as conn:
        refused(lambda: conn.transact_async([{":n": 1}]))
        assert conn.db().basis_t == 1
        assert conn.transact_async([{":n": 2}]).result().t == 2
    with made(folder, "b.facts") as conn:
        refused(lambda: conn.transact_async([{":n": 1}]))  # and closes without its thread
    with factstore.connect(str(folder / "b.facts")) as conn:
        assert conn.db().basis_t == 1


def listens(folder: Path) -> None:
    with made(folder) as conn:
        reports: SimpleQueue[TxReport] = SimpleQueue()
        refused(lambda: conn.listen(reports.put))
        conn.transact([{":n": 1}])
        conn.listen(reports.put)
        conn.transact([{":n": 2}])
        assert reports.get().t == 3


def follows_in_a_loop(folder: Path) -> None:
    async def newest(conn: factstore.Connection) -> int:
        with conn.tx_reports(from_t=1) as reports:
            reports.get_nowait()
            reports.get_nowait()
            async for report in reports:
                return report.t
        raise AssertionError

    with made(folder) as conn, factstore.connect(str(folder / "a.facts")) as other:
        refused(lambda: asyncio.run(newest(conn)))
        with ThreadPoolExecutor() as pool:
            following = pool.submit(asyncio.run, newest(conn))
            while not following.done():  # a thread must follow the commits of the other one
                other.transact([{":n": 1}])
            assert following.result() > 1


def serves_a_loop(folder: Path) -> None:
    async def work() -> None:
        async with factstore.aconnect(str(folder / "a.facts")) as conn:
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(4))
            release, calls = Event(), []
            busy = asyncio.create_task(conn.call(release.wait))
            await asyncio.sleep(0)
            with no_threads(), pytest.raises(Unavailable):
                await conn.call(calls.append, "refused")
            release.set()
            await busy
            await conn.call(calls.append, "later")
            assert calls == ["later"]

    made(folder).close()
    asyncio.run(work())


def indexes(folder: Path) -> None:
    with made(folder) as conn:
        with no_threads():
            conn.transact([{":n": n} for n in range(indexing.MOST_ROWS + 1)])
        assert conn.transact([{":n": 0}]).t == 3
    with factstore.connect(str(folder / "a.facts")) as conn:
        assert conn.db().basis_t == 3


def watches_its_reader(_folder: Path) -> None:
    def descriptors() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    def watch() -> None:
        with until_unread(lambda: None):
            pass

    before = descriptors()
    refused(watch)
    assert descriptors() == before


@pytest.mark.parametrize("case", [commits_in_the_background, listens, follows_in_a_loop, serves_a_loop, indexes, watches_its_reader])
def test_without_threads(forks: Forks, case: Callable[[Path], None], tmp_path: Path) -> None:
    assert forks.run(case, tmp_path) == 0


# -- threads that start when they are needed


def test_an_exception_at_any_line_of_the_first_start_leaves_one_thread() -> None:
    def call(at: At) -> None:
        single, ran = Single("test"), SimpleQueue[int]()
        try:
            with at.here():
                single.start(ran.put, 1)
        except BaseException:
            assert at.where
        single.start(ran.put, 2)
        assert single.thread is not None
        single.thread.join()
        single.run_here(lambda: ran.put(3))
        ran.get_nowait()
        assert ran.empty()

    assert sum(1 for _ in at_every_line(call)) > 5


def test_a_function_that_runs_here_is_the_only_one() -> None:
    single, ran = Single("test"), SimpleQueue[int]()
    single.run_here(lambda: ran.put(1))
    single.start(ran.put, 2)
    assert single.thread is not None
    assert ran.get_nowait() == 1
    assert ran.empty()


def test_a_call_in_a_thread_has_its_context_and_its_outcome() -> None:
    async def work() -> Any:
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 / 0)
        return await in_thread(divmod, 7, 2)

    assert asyncio.run(work()) == (3, 1)
