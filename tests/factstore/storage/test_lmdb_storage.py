"""What LMDB asks of us: maps that grow, processes that share, forks, full disks, files that are not ours."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any, cast

import lmdb
import pytest

from factstore.errors import Closed, Corrupt, NotAStore, ReadOnly, StorageError, StoreFull, Unavailable, UnknownOutcome
from factstore.storage import Hold, Storage, open_storage
from factstore.storage.lmdb import environment
from factstore.storage.lmdb.engine import LmdbStorage
from factstore.storage.lmdb.opening import filesystem_of
from factstore.storage.lmdb.processes import names
from factstore.storage.lmdb.processes.wakeup import MEMORY, Futex, Polling, Wakeup
from factstore.testing.storage_model import append_somehow, records, together, txid
from tests.forks import Forks

ROOT = Path(__file__).parents[3]
MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.facts"


@contextlib.contextmanager
def opened(path: Path, **options: Any) -> Iterator[LmdbStorage]:
    with contextlib.closing(open_storage(path, **({"sync": "none"} | options))) as storage:
        assert isinstance(storage, LmdbStorage)
        yield storage


class Child:
    """A process that runs one of the functions at the end of this file, spoken to line by line."""

    def __init__(self, job: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, job, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start_it(job: str, *arguments: object) -> Child:
        children.append(Child(job, *arguments))
        return children[-1]

    yield start_it
    for child in children:
        child.process.kill()
        child.process.communicate()


# the map


def test_the_map_grows_by_itself(path: Path) -> None:
    with opened(path, map_size=MIB) as storage:
        for t in range(8):
            storage.append([(txid(t), bytes([t]) * MIB)], expected_t=t)
        assert [record.body[0] for record in storage.read_log(0, max_bytes=100 * MIB)] == list(range(8))
        assert storage.usage()["map_size"] > 8 * MIB


def test_one_record_larger_than_the_whole_map_fits(path: Path) -> None:
    with opened(path, map_size=MIB) as storage:
        storage.append([(txid(1), bytes(20 * MIB))], expected_t=0)
        assert len(storage.read_log(0)[0].body) == 20 * MIB


def test_the_map_grows_while_threads_read_and_write(path: Path) -> None:
    over = Event()

    def read() -> None:
        while not over.is_set():
            head = storage.head()
            assert [record.t for record in storage.read_log(0)] >= list(range(1, head + 1))

    def write(base: int) -> None:
        for n in range(base, base + 60):
            append_somehow(storage, txid(n))
            storage.put_blocks([(txid(n), os.urandom(100_000))])

    def write_all() -> None:
        try:
            together(lambda: write(0), lambda: write(1000))
        finally:
            over.set()

    with opened(path, map_size=MIB) as storage:
        together(read, read, write_all)
        assert storage.head() == 120
        assert len(list(storage.block_ids())) == 120
        assert storage.usage()["map_size"] >= 12 * MIB


def test_a_file_that_grows_while_two_threads_check_its_length_is_not_taken_for_damaged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = names.length_of
    with opened(path) as storage:

        def interrupted(file: Path, key: tuple[int, int]) -> int | None:
            length = measured(file, key)
            monkeypatch.setattr(names, "length_of", measured)
            storage.put_blocks([(txid(1), os.urandom(1_000_000))])
            storage._file.check_name()  # as another thread would
            return length

        monkeypatch.setattr(names, "length_of", interrupted)
        storage._file._looked = 0.0
        storage._file.check_name()
        assert storage._file._length == measured(path, storage._file.key)


def test_a_map_that_may_not_grow_is_full_and_the_store_goes_on(path: Path) -> None:
    with opened(path, map_size=MIB, max_map_size=2 * MIB) as storage:
        storage.append(records(1), expected_t=0)
        with pytest.raises(StoreFull) as refused:
            storage.append([(txid(2), bytes(3 * MIB))], expected_t=1)
        assert refused.value.code == ":db.error/storage-full"
        assert f"{2 * MIB:,}" in refused.value.message
        assert storage.append(records(2), expected_t=1) == 2
    with opened(path, create=False) as storage:
        assert [record.body for record in storage.read_log(0)] == [b"body 1", b"body 2"]


def test_a_process_follows_a_file_that_another_one_let_grow(path: Path, start: Callable[..., Child]) -> None:
    with opened(path, map_size=MIB) as storage:
        storage.append(records(0), expected_t=0)
        child = start("append_large", path, 8)
        assert child.hear() == "9"
        assert storage.head() == 9
        assert storage.append(records(9), expected_t=9) == 10
        assert len(storage.read_log(0, max_bytes=100 * MIB)) == 10


def test_two_processes_let_the_map_grow_together_and_lose_nothing(path: Path, start: Callable[..., Child]) -> None:
    with opened(path, map_size=MIB) as storage:
        children = [start("append_and_put", path, base) for base in (0, 1000)]
        assert [child.hear() for child in children] == ["done", "done"]
        found = sorted(int.from_bytes(record.txid) for record in storage.read_log(0, max_bytes=100 * MIB))
        assert found == [*range(60), *range(1000, 1060)]
        assert len(storage.get_blocks([txid(n) for n in found])) == 120


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not limit the address space")
def test_no_address_space_for_a_larger_map_is_an_error_and_not_a_crash(path: Path, start: Callable[..., Child]) -> None:
    child = start("outgrow_address_space", path)
    assert child.hear() == ":db.error/storage-full"
    assert child.hear() == "3"
    assert child.process.wait(30) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not limit the address space")
@pytest.mark.parametrize("exists", [False, True])
def test_a_limit_of_the_address_space_below_the_map_is_named(path: Path, start: Callable[..., Child], exists: bool) -> None:
    if exists:
        open_storage(path).close()
    child = start("open_in_little_address_space", path)
    said = child.hear()
    assert said.startswith(":db.error/storage-full 16 True the address space of this process is too small for lmdb:")
    assert "whose map takes 17,179,869,184 bytes of it, and its limit is " in said
    assert child.process.wait() == 0


def test_a_full_disk_is_an_error_and_the_store_still_opens(path: Path, start: Callable[..., Child]) -> None:
    child = start("fill_disk", path)
    assert child.hear() == ":db.error/storage-full"
    assert child.process.wait(30) == 0
    with opened(path, create=False) as storage:
        assert storage.read_log(0) == storage.read_log(0, storage.head())
        assert storage.head() >= 10
        assert storage.append(records(1), expected_t=storage.head()) == storage.head()


# errors of the disk


class Broken:
    """An environment whose next commit fails like a disk, after which LMDB gives up until it is opened again."""

    def __init__(self, env: lmdb.Environment) -> None:
        self.env = env
        self.failed = False

    def begin(self, write: bool = False) -> Any:
        if self.failed:
            raise lmdb.PanicError("mdb_txn_begin")
        return self if write else self.env.begin()

    def commit(self) -> None:
        self.failed = True
        raise lmdb.Error("mdb_txn_commit: Input/output error")

    def cursor(self) -> Any:
        return self

    def last(self) -> bool:
        return False

    def get(self, _: bytes, default: bytes | None = None) -> bytes | None:
        return default

    def put(self, *_: Any, **__: Any) -> bool:
        return True

    def close(self) -> None:
        self.env.close()


def test_a_commit_that_broke_the_environment_has_an_unknown_outcome_which_resolve_settles(path: Path) -> None:
    with opened(path) as storage:
        storage._file.env = Broken(storage._file.env)
        with pytest.raises(UnknownOutcome) as unknown:
            storage.append(records(1), expected_t=0)
        assert unknown.value.txids == [txid(1)]
        assert storage.resolve(txid(1)) is None
        assert storage.append(records(1), expected_t=0) == 1


def test_a_broken_environment_is_opened_again_and_the_next_one_is_told(path: Path) -> None:
    with opened(path) as storage:
        storage.append(records(1), expected_t=0)
        broken = storage._file.env = Broken(storage._file.env)
        broken.failed = True
        with pytest.raises(Unavailable):
            storage.head()
        assert storage.head() == 1


def test_when_all_reader_slots_are_taken_those_of_the_dead_are_cleared(
    path: Path, start: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "MAX_READERS", 3)
    with opened(path) as storage, storage._file.env.begin():
        child = start("take_reader_slots", path, 2)
        assert child.hear() == "taken"
        with pytest.raises(Unavailable, match="reader slots"):
            storage.head()
        child.process.kill()
        child.process.wait()
        assert storage.head() == 0


def test_a_hole_in_the_log_is_reported_with_its_t_and_never_skipped(path: Path) -> None:
    with opened(path) as storage:
        storage.append(records(*range(1, 11)), expected_t=0)
        storage._file.write(lambda txn: txn.delete((1 << 63 | 4).to_bytes(8, "big")))
        for limits in ({}, {"upto_t": 9}, {"upto_t": 4}, {"max_bytes": 100}):
            with pytest.raises(Corrupt) as damaged:
                storage.read_log(0, **limits)
            assert damaged.value.t == 4
        assert [record.t for record in storage.read_log(0, 3)] == [1, 2, 3]
        assert [record.t for record in storage.read_log(4)] == [5, 6, 7, 8, 9, 10]


# durability


@pytest.mark.parametrize(("sync", "flags"), [("full", (True, True)), ("none", (False, False))])
def test_sync_is_what_lmdb_is_told(path: Path, sync: str, flags: tuple[bool, bool]) -> None:
    with opened(path, sync=sync) as storage:
        found = storage._file.env.flags()
        assert flags == (found["sync"], found["metasync"])


def test_the_strictest_of_the_writing_handles_decides_on_sync(path: Path) -> None:
    def syncs(storage: LmdbStorage) -> bool:
        return cast("bool", storage._file.env.flags()["sync"])

    with opened(path, sync="none") as bulk:
        bulk.append(records(1), expected_t=0)
        with opened(path, read_only=True) as reader:
            assert not syncs(reader)
        with opened(path, sync="full") as careful:
            assert syncs(bulk)
            assert careful.append(records(2), expected_t=1) == 2
        assert not syncs(bulk)
        assert bulk.append(records(3), expected_t=2) == 3


# other processes


@pytest.mark.parametrize("read_only", [False, True])
def test_an_append_of_another_process_ends_wait(path: Path, start: Callable[..., Child], read_only: bool) -> None:
    with opened(path):
        pass
    with opened(path, read_only=read_only) as storage:
        child = start("append_when_told", path)
        assert child.hear() == "open"
        answers: list[int] = []
        asleep = Event()
        wakeup = storage._file.wakeup
        storage._file.wakeup = Told(wakeup, asleep)
        waiter = Thread(target=lambda: answers.append(storage.wait(0, 600)), daemon=True)
        waiter.start()
        assert asleep.wait(60)
        child.say("go")
        waiter.join(60)
        assert answers == [1]


class Told:
    """A wake-up that tells when somebody is about to sleep."""

    def __init__(self, wakeup: Wakeup, asleep: Event) -> None:
        self.seen, self.tell, self._wakeup, self._asleep = wakeup.seen, wakeup.tell, wakeup, asleep

    def wait(self, seen: int, timeout: float) -> None:
        self._asleep.set()
        self._wakeup.wait(seen, timeout)


@pytest.mark.parametrize("make", [lambda: Polling(), lambda: Futex(mmap.mmap(-1, MEMORY))], ids=["polling", "futex"])
def test_who_waits_is_woken_by_what_is_told_after_it_looked(make: Callable[[], Wakeup], monkeypatch: pytest.MonkeyPatch) -> None:
    """With every look minutes away, only being told can end a wait; and what was told before it began is not slept through."""
    monkeypatch.setattr("factstore.storage.lmdb.processes.wakeup._POLL", 600)
    monkeypatch.setattr("factstore.storage.lmdb.processes.wakeup._LONGEST", 600)
    wakeup = make()
    for told_first in [True, False] * 20:
        seen = wakeup.seen()
        waiter = Thread(target=wakeup.wait, args=(seen, 600), daemon=True)
        if told_first:
            wakeup.tell()
        waiter.start()
        while waiter.is_alive() and not told_first:
            wakeup.tell()
        waiter.join(60)
        assert not waiter.is_alive()


def test_a_wait_ends_by_itself_when_its_time_is_over(path: Path) -> None:
    with opened(path) as storage:
        assert storage.wait(0, 0.25) == 0


def test_while_one_process_has_the_turn_no_other_appends(path: Path, start: Callable[..., Child]) -> None:
    with opened(path) as storage:
        child = start("append_when_told", path)
        assert child.hear() == "open"
        with storage.turn():
            child.say("go")
            assert child.hear() == "trying"
            for t in range(5000):
                assert storage.append(records(t), expected_t=t) == t + 1
        assert child.hear() == "5001"


def test_a_process_killed_with_the_turn_blocks_nobody(path: Path, start: Callable[..., Child]) -> None:
    with opened(path) as storage:
        child = start("die_with_the_turn", path)
        assert child.hear() == "mine"
        child.process.kill()
        child.process.wait()
        assert storage.append(records(2), expected_t=1) == 2
        with storage.turn():
            assert storage.append(records(3), expected_t=2) == 3
        assert storage._file.turn.flag[0] == 0


def test_a_process_killed_inside_a_write_transaction_blocks_nobody_and_leaves_nothing(path: Path, start: Callable[..., Child]) -> None:
    with opened(path) as storage:
        child = start("die_in_a_transaction", path)
        assert child.hear() == "in"
        child.process.kill()
        child.process.wait()
        assert storage.append(records(1), expected_t=0) == 1


def test_versions_held_by_other_processes_are_seen_until_they_die(path: Path, start: Callable[..., Child]) -> None:
    with opened(path) as storage:
        storage.swap_root(b"1", expected_version=0)
        first = start("hold_newest", path)
        assert first.hear() == "1"
        storage.swap_root(b"2", expected_version=1)
        second = start("hold_newest", path)
        assert second.hear() == "2"
        for version in (2, 3, 4):
            storage.swap_root(b"", expected_version=version)
        with storage.hold(5):
            assert storage.held() == {1, 2, 5}
        assert storage.read_root(1) is not None
        first.process.kill()
        first.process.wait()
        assert storage.held() == {2}
        second.say("release")
        assert second.hear() == "released"
        assert storage.held() == set()
        storage.swap_root(b"", expected_version=5)
        assert [storage.read_root(version) for version in (1, 2, 3, 4)] == [None] * 4


# one process


def test_a_file_is_opened_once_in_a_process_by_whatever_path(path: Path) -> None:
    with opened(path) as storage:
        os.link(path, path.with_name("alias.facts"))
        with opened(path.with_name("alias.facts")) as alias:
            assert alias._file is storage._file
        storage.append(records(1), expected_t=0)


def test_a_store_is_opened_again_after_its_last_handle_was_closed(path: Path) -> None:
    for t in range(3):
        with opened(path) as storage:
            assert storage.append(records(t), expected_t=t) == t + 1


def test_waiting_on_a_store_that_is_closed_meanwhile_ends(path: Path) -> None:
    errors: list[Closed] = []
    storage = open_storage(path, sync="none")

    def wait() -> None:
        try:
            storage.wait(0, 30)
        except Closed as error:
            errors.append(error)

    waiter = Thread(target=wait)
    waiter.start()
    storage.close()
    waiter.join(10)
    assert [error.code for error in errors] == [":db.error/storage-closed"]


def test_a_forked_child_is_told_to_open_the_store_itself(path: Path, start: Callable[..., Child]) -> None:
    child = start("fork", path)
    lines = [child.hear() for _ in range(12)]
    assert lines[:10] == [":db.error/storage-closed forked"] * 10
    assert lines[10:] == ["child 2", "parent 3"]
    assert child.process.wait(30) == 0


def test_a_process_of_another_container_with_the_same_id_is_named(path: Path) -> None:
    """LMDB marks a living process by a lock on the byte of its id; another process has that one here."""
    with opened(path):
        pass
    code = (
        "import fcntl, struct, sys; file = open(sys.argv[1], 'r+b');"
        "fcntl.fcntl(file, fcntl.F_SETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, int(sys.argv[2]), 1, 0));"
        "print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, f"{path}-lock", str(os.getpid())]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Unavailable, match="as happens in two containers") as refused:
            open_storage(path)
        assert refused.value.pid == os.getpid()
        other.communicate("")
    with opened(path) as storage:
        assert storage.append(records(1), expected_t=0) == 1


# what is not ours


@pytest.mark.parametrize("content", [b"no store at all\n", b"x", bytes(8192), b"SQLite format 3\0" * 300])
def test_a_file_that_is_no_store_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(NotAStore) as refused:
        open_storage(path)
    assert refused.value.code == ":db.error/not-a-store"
    assert str(path) in refused.value.message
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_an_lmdb_file_of_another_program_is_refused(path: Path) -> None:
    with lmdb.open(str(path), subdir=False, lib_version=0) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    with pytest.raises(NotAStore, match="not a fact store"):
        open_storage(path)


def test_a_file_of_lmdbs_other_format_is_refused(path: Path) -> None:
    with lmdb.open(str(path), subdir=False, lib_version=1) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    with pytest.raises(NotAStore, match="data version 1"):
        open_storage(path)


def test_a_newer_format_is_refused_naming_both(path: Path) -> None:
    with opened(path):
        pass
    with lmdb.open(str(path), subdir=False, lib_version=0) as env, env.begin(write=True) as txn:
        txn.put(b"stamp", b'{"format": 99}')
    with pytest.raises(NotAStore) as refused:
        open_storage(path)
    assert refused.value.found == 99
    assert refused.value.supported == 2
    assert "99" in refused.value.message


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with opened(path) as storage:
        assert storage.append(records(1), expected_t=0) == 1


def open_at_once(folder: str) -> None:
    """Let eight processes open each of 40 new stores at the same moment."""
    for n in range(40):
        path, (wait, go) = Path(folder, f"{n}.facts"), os.pipe()
        children = []
        for _ in range(8):
            children.append(child := os.fork())
            if not child:
                os.close(go)
                os.read(wait, 1)
                open_storage(path).close()
                os._exit(0)
        os.close(wait)
        os.close(go)
        assert {0} == {os.waitpid(child, 0)[1] for child in children}


def test_processes_may_create_a_store_at_the_same_moment(tmp_path: Path) -> None:
    with Forks() as forks:
        assert 0 == forks.run(open_at_once, str(tmp_path))


def test_a_missing_directory_is_named(path: Path) -> None:
    with pytest.raises(NotAStore, match=f"no directory {path}"):
        open_storage(path / "deeper")


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="is a directory"):
        open_storage(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_opens_for_reading_only(path: Path) -> None:
    with opened(path) as storage:
        storage.append(records(1), expected_t=0)
    path.chmod(0o444)
    with opened(path, read_only=True) as storage:
        assert storage.head() == 1
        with pytest.raises(ReadOnly, match="read_only=True"):
            open_storage(path)


def test_a_network_filesystem_is_refused_unless_allowed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factstore.storage.lmdb.opening.filesystem_of", lambda path: "nfs4")
    with pytest.raises(StorageError, match="nfs4") as refused:
        open_storage(path)
    assert refused.value.code == ":db.error/network-filesystem"
    assert not path.exists()
    with opened(path, allow_network_fs=True) as storage:
        assert storage.head() == 0


def test_the_filesystem_of_a_path_is_that_of_the_longest_mount_point_above_it(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda / ext4 rw 0 0\nhost:/x /srv/a nfs4 rw 0 0\ntmpfs /srv/a/b\\040c tmpfs rw 0 0\nnone /srv/a xfs rw 0 0\n")
    found = [filesystem_of(path, mounts) for path in ("/srv/abc", "/srv/a/x", "/srv/a/b c/x", "/")]
    assert found == ["ext4", "xfs", "tmpfs", "ext4"]
    assert filesystem_of("/x", tmp_path / "nowhere") == ""


@pytest.mark.parametrize("uri", ["mysql://host/db", "s3:bucket", "nosuch:thing"])
def test_an_unknown_scheme_is_refused_naming_the_known_ones(uri: str) -> None:
    with pytest.raises(StorageError, match="lmdb:, memory:") as refused:
        open_storage(uri)
    assert refused.value.code == ":db.error/unknown-scheme"


def test_an_unknown_sync_is_refused(path: Path) -> None:
    with pytest.raises(StorageError, match='"full" or "none"'):
        open_storage(path, sync=cast("Any", "fast"))


# the jobs of children


def report(line: object) -> None:
    print(line, flush=True)


def append_large(path: str, count: str) -> None:
    with opened(Path(path), map_size=MIB) as storage:
        for n in range(1, int(count) + 1):
            storage.append([(txid(n), bytes(MIB))], expected_t=n)
        report(storage.head())


def append_and_put(path: str, base: str) -> None:
    with opened(Path(path), map_size=MIB) as storage:
        for n in range(int(base), int(base) + 60):
            append_somehow(storage, txid(n))
            storage.put_blocks([(txid(n), os.urandom(100_000))])
    report("done")


def outgrow_address_space(path: str) -> None:
    with opened(Path(path), map_size=MIB) as storage:
        storage.append(records(1, 2), expected_t=0)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 130 * MIB, resource.RLIM_INFINITY))
        try:
            storage.append([(txid(3), bytes(40 * MIB))], expected_t=2)
        except StoreFull as error:
            report(error.code)
            assert f"its limit is {used + 130 * MIB:,} bytes: raise the limit (ulimit -v" in error.message
        storage.append(records(3), expected_t=2)
        report(storage.head())


def open_in_little_address_space(path: str) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 130 * MIB, resource.RLIM_INFINITY))
    try:
        open_storage(path)
    except StoreFull as error:
        report(f"{error.code} {error.bytes >> 30} {error.limit == used + 130 * MIB} {error.message}")


def fill_disk(path: str) -> None:
    with opened(Path(path), sync="full") as storage:
        for t in range(10):
            storage.append(records(t), expected_t=t)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, resource.RLIM_INFINITY))
        try:
            for t in range(10, 1000):
                storage.append([(txid(t), bytes(50_000))], expected_t=t)
        except StoreFull as error:
            report(error.code)


def take_reader_slots(path: str, count: str) -> None:
    with lmdb.open(path, subdir=False, lib_version=0) as env:
        snapshots = [env.begin() for _ in range(int(count))]
        report("taken")
        sys.stdin.read()
        assert snapshots


def append_when_told(path: str) -> None:
    with opened(Path(path)) as storage:
        report("open")
        sys.stdin.readline()
        report("trying")
        report(append_somehow(storage, txid(9999)))


def die_with_the_turn(path: str) -> None:
    with opened(Path(path)) as storage, storage.turn():
        storage.append(records(1), expected_t=0)
        report("mine")
        sys.stdin.read()


def die_in_a_transaction(path: str) -> None:
    def work(txn: Any) -> None:
        txn.put((1 << 63 | 1).to_bytes(8, "big"), b"half")
        report("in")
        sys.stdin.read()

    with opened(Path(path)) as storage:
        storage._file.write(work)


def hold_newest(path: str) -> None:
    with opened(Path(path)) as storage:
        root = storage.read_root()
        assert root
        with storage.hold(root.version):
            report(root.version)
            sys.stdin.readline()
        report("released")
        sys.stdin.read()


def fork(path: str) -> None:
    storage = open_storage(path, sync="none")
    storage.swap_root(b"1", expected_version=0)
    hold = storage.hold(1)
    with storage.turn():
        storage.append(records(1), expected_t=0)
        in_child(lambda: in_forked_child(storage, hold))
    in_child(lambda: report(f"child {open_storage(path, sync='none').append(records(2), expected_t=1)}"))
    assert storage.held() == {1}
    report(f"parent {storage.append(records(3), expected_t=2)}")


def in_child(job: Callable[[], object]) -> None:
    child = os.fork()
    if not child:
        try:
            job()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def in_forked_child(storage: Storage, hold: Hold) -> None:
    verbs: list[Callable[[], object]] = [
        storage.head,
        lambda: storage.append(records(2), expected_t=1),
        lambda: storage.read_log(0),
        lambda: storage.wait(0, 1),
        lambda: storage.get_blocks([b"a"]),
        lambda: storage.put_blocks([(b"a", b"")]),
        lambda: storage.hold(1),
        storage.held,
        storage.sync,
    ]
    for verb in verbs:
        expect_closed(verb)

    def take_turn() -> None:
        with storage.turn():
            raise AssertionError("a forked child had the turn")

    expect_closed(take_turn)
    hold.release()
    storage.close()


def expect_closed(verb: Callable[[], object]) -> None:
    try:
        verb()
    except Closed as error:
        report(f"{error.code} {'forked' if 'forked' in error.message else error.message}")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_store_does_not_get_the_number_of_a_standard_stream_that_is_closed(path: Path, number: int) -> None:
    """Otherwise, an error message of a library or of a child process would be written into it."""
    program = f"""
import os
from factstore.storage import open_storage
os.close({number})
storage = open_storage({str(path)!r})
held = os.readlink("/proc/self/fd/{number}")
with open({str(path) + ".held"!r}, "w") as file:
    file.write(held)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert os.devnull == Path(f"{path}.held").read_text()
