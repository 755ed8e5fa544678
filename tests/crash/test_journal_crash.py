"""The journal of a store under kills, power failures, failing disks and damage.

Law: what was acknowledged is there, each append is there as a whole or not at all, and readers saw nothing else.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factstore
from factstore.errors import Conflict, Corrupt, StoreFull, UnknownOutcome
from factstore.storage import Storage, open_storage
from factstore.storage.lmdb import engine, environment, journal, layout, log
from factstore.testing.storage_model import records, txid
from tests.forks import Forks

FRAME = 4096  # offset of the first frame
SMALL = 1 << 16  # bytes of a journal
Work = Callable[[Storage], object]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process use a journal from its first append on, as otherwise only after some; a small one is made fast."""
    monkeypatch.setattr(log, "_BEFORE_A_JOURNAL", 0)
    monkeypatch.setattr(journal, "CAPACITY", SMALL)


@pytest.fixture
def path(tmp_path: Path, at_once: None) -> Path:
    return tmp_path / "shop.facts"


def journal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def opened(path: Path, **options: Any) -> Storage:
    return open_storage(path, **({"sync": "full"} | options))


def append(storage: Storage, *numbers: int) -> int:
    return storage.append(records(*numbers), expected_t=storage.head())


def numbers_of(storage: Storage) -> list[int]:
    return [int.from_bytes(record.txid) for record in storage.read_log(0)]


def after_power_failure(path: Path, folder: Path, journal_bytes: bytes | None = None) -> Path:
    """Copy what is on the disk to a folder, as after a start of the machine: without shared memory."""
    folder.mkdir()
    copy = folder / path.name
    shutil.copy(path, copy)
    content = journal_of(path).read_bytes() if journal_bytes is None else journal_bytes
    journal_of(copy).write_bytes(content)
    return copy


# one file after a clean end


def test_a_closed_store_is_one_file_and_a_copy_of_it_has_everything(path: Path, tmp_path: Path) -> None:
    with closing(opened(path)) as storage:
        for n in range(1, 30):
            append(storage, n)
        assert journal_of(path).exists()
    assert not journal_of(path).exists()
    shutil.copy(path, tmp_path / "copy.facts")
    with closing(opened(tmp_path / "copy.facts", read_only=True)) as storage:
        assert numbers_of(storage) == list(range(1, 30))


def test_a_process_with_few_appends_makes_no_journal_and_keeps_the_format(tmp_path: Path) -> None:
    path = tmp_path / "shop.facts"
    with closing(opened(path)) as storage:
        for n in range(1, 9):
            append(storage, n)
        assert not journal_of(path).exists()
        assert isinstance(storage, engine.LmdbStorage)
        assert storage._file.read(lambda txn: txn.get(layout.STAMP)).startswith(b'{"format": 1,')
        append(storage, 9)
        append(storage, 10)
        assert journal_of(path).exists()
        assert b'"format": 2' in storage._file.read(lambda txn: txn.get(layout.STAMP))
        assert numbers_of(storage) == list(range(1, 11))


def test_a_store_without_syncs_makes_no_journal(path: Path) -> None:
    with closing(opened(path, sync="none")) as storage:
        for n in range(1, 30):
            append(storage, n)
        assert not journal_of(path).exists()


def test_large_appends_go_into_the_store_and_the_order_stays(path: Path) -> None:
    with closing(opened(path)) as storage:
        append(storage, 1)
        append(storage, 2)
        storage.append([(txid(3), bytes(journal.LARGEST + 1))], expected_t=2)
        append(storage, 4)
        assert numbers_of(storage) == [1, 2, 3, 4]
        assert [record.t for record in storage.read_log(1, 3)] == [2, 3]
        assert storage.resolve(txid(2)) == 2
        assert storage.resolve(txid(4)) == 4


# kills


def started(storage: Storage) -> None:
    append(storage, 1)
    append(storage, 2)
    append(storage, 3)


def nothing(storage: Storage) -> None:
    pass


def append_two(storage: Storage) -> None:
    append(storage, *(storage.head() + n for n in (1, 2)))


def append_large(storage: Storage) -> None:
    storage.append([(txid(4), bytes(1 << 18))], expected_t=3)


def swap_root(storage: Storage) -> None:
    storage.swap_root(b"root", expected_version=0)


def close(storage: Storage) -> None:
    storage.close()


def excise(storage: Storage) -> None:
    old = storage.read_log(0)[1]
    storage.rewrite([old._replace(body=b"gone")], appended=records(4), expected_t=3, root=b"r", expected_version=0)


class Killer:
    """Kills this process at a line of the storage's code."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if "/storage/lmdb/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def work_until(line: int, path: Path, before: Work, work: Work) -> None:
    """Do work in a process that is killed at a line of it, or ends."""
    log._BEFORE_A_JOURNAL, journal.CAPACITY = 0, SMALL  # type: ignore[misc]
    storage = opened(path)
    before(storage)
    sys.settrace(Killer(line))
    work(storage)
    sys.settrace(None)
    os._exit(0)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


def killed_at(line: int, path: Path, before: Work, work: Work, *, forks: Forks) -> bool:
    """Do work in a process that is killed at a line; return whether it was, and not done before."""
    code = forks.run(work_until, line, path, before, work)
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize(
    ("before", "work", "acknowledged", "all_of_it"),
    [
        (nothing, append_two, [], [1, 2]),
        (started, append_two, [1, 2, 3], [1, 2, 3, 4, 5]),
        (started, append_large, [1, 2, 3], [1, 2, 3, 4]),
        (started, swap_root, [1, 2, 3], [1, 2, 3]),
        (started, close, [1, 2, 3], [1, 2, 3]),
        (started, excise, [1, 2, 3], [1, 2, 3, 4]),
    ],
    ids=["start", "append", "large append", "new root", "close", "rewrite"],
)
def test_a_process_killed_at_any_line_leaves_whole_appends(
    memory_path: Path, at_once: None, forks: Forks, before: Work, work: Work, acknowledged: list[int], all_of_it: list[int]
) -> None:
    line, was_killed = 0, True
    while was_killed:
        line += 1
        path = memory_path / str(line) / "shop.facts"
        path.parent.mkdir()
        was_killed = killed_at(line, path, before, work, forks=forks)
        if not path.exists() or not path.stat().st_size:
            continue
        with closing(opened(path)) as storage:
            news = [n for n in all_of_it if n not in acknowledged]
            outcomes = {n: storage.resolve(txid(n)) for n in news}
            numbers = numbers_of(storage)
            assert numbers in (acknowledged, all_of_it), line
            assert {n: (numbers.index(n) + 1 if n in numbers else None) for n in news} == outcomes, line
            assert storage.problems() == []
            assert append(storage, 99) == len(numbers) + 1
        assert not journal_of(path).exists(), line
        shutil.rmtree(path.parent)
    assert line > 10


def test_a_killed_process_leaves_a_journal_that_the_next_one_continues(path: Path, forks: Forks) -> None:
    assert killed_at(3, path, started, append_two, forks=forks)
    assert journal_of(path).exists()
    with closing(opened(path)) as storage:
        assert numbers_of(storage) == [1, 2, 3]
        assert append(storage, 5) == 4
    assert not journal_of(path).exists()


# power failures


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400), noise=st.binary(max_size=32))
def test_a_torn_frame_is_as_if_it_had_never_been_written(
    tmp_path_factory: pytest.TempPathFactory, path: Path, cut: int, noise: bytes
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    source = folder / "shop.facts"
    with closing(opened(source)) as storage:
        started(storage)
        before = journal_of(source).read_bytes()
        append(storage, 4, 5, 6)
        after = journal_of(source).read_bytes()
        changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        first, last = changed[0], changed[-1]
        at = min(first + cut, last)  # the last byte of the frame never came
        torn = after[:at] + noise + before[at + len(noise) :]
        copy = after_power_failure(source, folder / "after", torn)
    with closing(opened(copy)) as storage:
        whole = torn[first : last + 1] == after[first : last + 1]
        assert numbers_of(storage) == ([1, 2, 3, 4, 5, 6] if whole else [1, 2, 3])
        assert storage.resolve(txid(5)) == (5 if whole else None)
        assert append(storage, 7) == (7 if whole else 4)
    with closing(opened(copy)) as storage:
        assert numbers_of(storage)[-1] == 7


def test_everything_acknowledged_is_on_the_disk_at_every_sync(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk = b""
    sync = os.fdatasync

    def seen_sync(fd: int) -> None:
        nonlocal on_disk
        sync(fd)
        on_disk = journal_of(path).read_bytes()

    monkeypatch.setattr(os, "fdatasync", seen_sync)
    monkeypatch.setattr(journal, "CAPACITY", FRAME + 300)
    with closing(opened(path)) as storage:
        for n in range(1, 20):
            append(storage, n)
            content = on_disk.ljust(FRAME, b"\0") if on_disk[:8] == b"factlog\n" else None
            copy = after_power_failure(path, tmp_path / str(n), content)
            with closing(opened(copy)) as other:
                assert numbers_of(other) == list(range(1, n + 1))


# disks


def failing(*calls: int) -> Callable[[int], None]:
    """Return an fdatasync that fails at these calls, counted from 1."""
    count = 0
    sync = os.fdatasync

    def fdatasync(fd: int) -> None:
        nonlocal count
        count += 1
        if count in calls:
            raise OSError(errno.EIO, "Input/output error")
        sync(fd)

    return fdatasync


def test_after_a_failed_sync_the_journal_is_given_up_and_nothing_is_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(opened(path)) as storage:
        started(storage)
        old = journal_of(path).stat().st_ino
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(1))
            assert append(storage, 4) == 4
        assert not journal_of(path).exists() or journal_of(path).stat().st_ino != old
        assert append(storage, 5) == 5
        assert numbers_of(storage) == [1, 2, 3, 4, 5]


def test_when_the_store_fails_after_the_journal_the_outcome_is_unknown_until_it_is_resolved(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(opened(path)) as storage:
        started(storage)

        def full(*_: object, **__: object) -> None:
            raise StoreFull(":db.error/storage-full", "no room")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(1))
            patch.setattr(log, "_put", full)
            with pytest.raises(UnknownOutcome) as unknown:
                append(storage, 4)
            assert unknown.value.txids == [txid(4)]
            with pytest.raises(StoreFull):
                storage.resolve(txid(4))
        assert storage.resolve(txid(4)) is None
        assert append(storage, 5) == 4
        assert numbers_of(storage) == [1, 2, 3, 5]


def test_without_room_for_a_journal_the_store_takes_the_records(path: Path) -> None:
    code = """
        import resource, signal, sys
        from factstore.storage import open_storage
        from factstore.storage.lmdb import log
        log._BEFORE_A_JOURNAL = 0
        storage = open_storage(sys.argv[1])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))
        for n in range(5):
            storage.append([(n.to_bytes(16), b"x")], expected_t=n)
        storage.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)], check=True)
    assert not journal_of(path).exists()
    with closing(opened(path)) as storage:
        assert numbers_of(storage) == [0, 1, 2, 3, 4]


# damage


@pytest.fixture
def crashed(path: Path, forks: Forks) -> Iterator[Path]:
    """A store whose process was killed with five records, three of them in the journal."""
    killed_at(3, path, started, append_two, forks=forks)
    assert journal_of(path).exists()
    yield path


def test_a_missing_journal_is_named_and_an_empty_file_gives_it_up(crashed: Path) -> None:
    journal_of(crashed).rename(crashed.with_name("elsewhere"))
    with pytest.raises(Corrupt, match="-journal") as missing, closing(opened(crashed)) as storage:
        numbers_of(storage)
    assert missing.value.journal == str(journal_of(crashed))
    after = crashed.parent / "after"
    after.mkdir()
    shutil.copy(crashed, after / crashed.name)
    journal_of(after / crashed.name).touch()
    with closing(opened(after / crashed.name)) as storage:
        assert numbers_of(storage) == [1]  # the record with which the journal was started
        assert append(storage, 7) == 2


def test_the_journal_of_another_store_is_rejected(crashed: Path, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "other.facts")) as other:
        started(other)
        shutil.copy(journal_of(tmp_path / "other.facts"), journal_of(crashed))
    with pytest.raises(Corrupt, match="belongs to another store"), closing(opened(crashed)) as storage:
        numbers_of(storage)


@pytest.mark.parametrize("count", [0, 2, 30])
def test_another_file_in_place_of_a_killed_store_is_read_as_it_is(crashed: Path, tmp_path: Path, count: int) -> None:
    with closing(opened(tmp_path / "other.facts")) as other:
        for n in range(100, 100 + count):
            append(other, n)
    if count == 2:  # in the same file, with the same inode
        crashed.write_bytes((tmp_path / "other.facts").read_bytes())
    else:
        (tmp_path / "other.facts").replace(crashed)
    with closing(opened(crashed, read_only=True)) as storage:
        assert numbers_of(storage) == list(range(100, 100 + count))
    with closing(opened(crashed)) as storage:
        assert numbers_of(storage) == list(range(100, 100 + count))
        assert append(storage, 7) == count + 1


def test_a_journal_that_is_deleted_while_it_is_open_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_NAME_SECONDS", 0)
    with closing(opened(path)) as storage:
        started(storage)
        journal_of(path).unlink()
        append(storage, 4)
        copy = after_power_failure(path, path.parent / "after", journal_of(path).read_bytes() if journal_of(path).exists() else b"")
        with closing(opened(copy)) as other:
            assert numbers_of(other) == [1, 2, 3, 4]


def test_a_store_with_the_name_of_a_journal_stays(path: Path) -> None:
    with closing(opened(journal_of(path))) as other:
        append(other, 1)
    content = journal_of(path).read_bytes()
    with closing(opened(path)) as storage:
        for n in range(1, 20):
            append(storage, n)
        assert numbers_of(storage) == list(range(1, 20))
    assert journal_of(path).read_bytes() == content


def test_a_journal_has_the_permissions_of_its_store(path: Path) -> None:
    with closing(opened(path)) as storage:
        path.chmod(0o666)
        started(storage)
        assert journal_of(path).stat().st_mode & 0o777 == 0o666


def append_another(storage: Storage) -> None:
    storage.append([(os.urandom(16), b"another")], expected_t=storage.head())


def test_the_holder_of_the_turn_sees_what_a_killed_process_appended(memory_path: Path, at_once: None, forks: Forks) -> None:
    path = memory_path / "shop.facts"
    with closing(opened(path)) as storage:
        started(storage)
        line, was_killed = 0, True
        while was_killed:
            line += 1
            was_killed = killed_at(line, path, nothing, append_another, forks=forks)
            with storage.turn():
                append(storage, line)


@pytest.mark.parametrize("has_restarted", [False, True])
def test_damage_before_the_last_frame_is_an_error_and_not_the_end_of_the_log(crashed: Path, tmp_path: Path, has_restarted: bool) -> None:
    content = bytearray(journal_of(crashed).read_bytes())
    content[FRAME + 40] ^= 1
    journal_of(crashed).write_bytes(content)
    store = after_power_failure(crashed, tmp_path / "after") if has_restarted else crashed
    with pytest.raises(Corrupt, match="journal"), closing(opened(store)) as storage:
        numbers_of(storage)


def test_check_reports_a_damaged_journal(path: Path) -> None:
    with closing(opened(path)) as storage:
        started(storage)
        content = bytearray(journal_of(path).read_bytes())
        content[FRAME + 40] ^= 1
        journal_of(path).write_bytes(content)
        assert [problem for problem in storage.problems() if "journal" in problem]


def test_excised_bytes_do_not_stay_in_the_journal(path: Path) -> None:
    with factstore.connect(str(path)) as conn:
        conn.transact([{":db/ident": ":note", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}])
        secret = "a secret that must go"
        e = conn.transact([{":db/id": "e", ":note": secret}]).tempids["e"]
        for n in range(20):
            conn.transact([[":db/add", e, ":note", f"{n}"]])
        assert secret.encode() in journal_of(path).read_bytes()
        conn.excise(e)
        assert not journal_of(path).exists() or secret.encode() not in journal_of(path).read_bytes()


# several processes


def in_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run code in another process, which uses a journal from its first append on."""
    start = "import sys\nfrom factstore.storage import open_storage\nfrom factstore.storage.lmdb import log\n"
    return subprocess.Popen(
        [sys.executable, "-c", f"{start}log._BEFORE_A_JOURNAL = 0\n{textwrap.dedent(code)}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str], line: str = "") -> None:
    assert process.stdin
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def test_another_process_sees_a_record_only_after_its_sync(path: Path) -> None:
    code = """
        import os
        storage = open_storage(sys.argv[1])
        storage.append([(bytes(16), b"1")], expected_t=0)
        print("ready", flush=True)
        sys.stdin.readline()
        sync = os.fdatasync
        def asking(fd):
            print("written", flush=True)
            sys.stdin.readline()
            sync(fd)
        os.fdatasync = asking
        storage.append([(bytes(15) + b"1", b"2")], expected_t=1)
        print("acknowledged", flush=True)
        sys.stdin.readline()
        storage.close()
    """
    with in_process(code, path) as writer:
        assert hear(writer) == "ready"
        with closing(opened(path, read_only=True)) as reader:
            say(writer)
            assert hear(writer) == "written"
            assert reader.head() == 1
            assert len(reader.read_log(0)) == 1
            say(writer)
            assert hear(writer) == "acknowledged"
            assert reader.head() == 2
            assert [record.body for record in reader.read_log(0)] == [b"1", b"2"]
            say(writer)


@pytest.mark.slow
def test_processes_take_turns_in_one_journal_and_lose_nothing(path: Path) -> None:
    code = """
        from factstore.errors import Conflict
        from factstore.storage.lmdb import journal
        journal.CAPACITY = 4096 + 2000
        me = int(sys.argv[2])
        storage = open_storage(sys.argv[1], sync=sys.argv[3])
        done = 0
        while done < 300:
            t = storage.head()
            assert len(storage.read_log(max(0, t - 5), t)) == min(5, t)
            try:
                storage.append([((me * 1000 + done).to_bytes(16), b"x" * (me * 30))], expected_t=t)
                done += 1
            except Conflict:
                pass
        storage.close()
    """
    modes = ("full", "full", "none")
    writers = [in_process(code, path, me, mode) for me, mode in enumerate(modes, 1)]
    with closing(opened(path)) as storage:
        for writer in writers:
            with writer:
                pass
            assert writer.returncode == 0
        assert sorted(numbers_of(storage)) == sorted(me * 1000 + n for me in (1, 2, 3) for n in range(300))
        with pytest.raises(Conflict):
            storage.append(records(1), expected_t=0)
    assert not journal_of(path).exists()


def test_threads_read_while_the_journal_is_given_up_and_started_again(path: Path) -> None:
    with closing(opened(path)) as storage, ThreadPoolExecutor(3) as pool:
        ends = Event()

        def write() -> None:
            for n in range(1, 400):
                append(storage, n)

        def give_up() -> int:
            count = 0
            while not ends.is_set():
                opened(path).close()
                count += 1
            return count

        def read() -> int:
            t = 0
            while not ends.is_set():
                head = storage.head()
                assert head >= t
                assert [record.t for record in storage.read_log(max(0, head - 20), head)][-1:] == ([head] if head else [])
                t = head
            return t

        others = [pool.submit(give_up), pool.submit(read)]
        pool.submit(write).result()
        ends.set()
        assert all(other.result() for other in others)
        assert numbers_of(storage) == list(range(1, 400))
