"""The names of a store: one file is one store by whatever path, and a path that leads elsewhere meanwhile is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import factstore
from factstore import maintain
from factstore.errors import StorageError, Unavailable

SCHEMA = [{":db/ident": ":k/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]

# Commits as many transactions as it is told, once it has the store open.
WRITE = """
import sys
import factstore
with factstore.connect(sys.argv[1], sync="none") as conn:
    print("open", flush=True)
    sys.stdin.readline()
    for n in range(int(sys.argv[2])):
        conn.transact([{":k/n": n}])
    print("done", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    path = tmp_path / "disk" / "real.facts"
    with factstore.connect(str(path), sync="none") as conn:
        conn.transact(SCHEMA)
    return path


def start(path: str, count: int, cwd: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE, path, str(count)],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def link_to_the_file(path: Path, tmp_path: Path) -> str:
    (tmp_path / "link.facts").symlink_to(path)
    return str(tmp_path / "link.facts")


def link_to_a_link(path: Path, tmp_path: Path) -> str:
    (tmp_path / "one.facts").symlink_to(path)
    (tmp_path / "two.facts").symlink_to("one.facts")
    return str(tmp_path / "two.facts")


def link_to_the_directory(path: Path, tmp_path: Path) -> str:
    (tmp_path / "dir").symlink_to(path.parent)
    return str(tmp_path / "dir" / path.name)


def dots_behind_a_link(path: Path, tmp_path: Path) -> str:
    (path.parent / "below").mkdir()
    (tmp_path / "far").symlink_to(path.parent / "below")
    return f"{tmp_path}/far/../{path.name}"


def relative(path: Path, _tmp_path: Path) -> str:
    return f"disk/.././disk/{path.name}"


def with_the_scheme(path: Path, _tmp_path: Path) -> str:
    return f"lmdb:{path}"


NAMES = [link_to_the_file, link_to_a_link, link_to_the_directory, dots_behind_a_link, relative, with_the_scheme]


@pytest.mark.parametrize("name", NAMES)
def test_two_names_that_lead_to_one_file_are_one_store_in_two_processes(
    name: Callable[[Path, Path], str], path: Path, tmp_path: Path
) -> None:
    processes = [start(str(path), 150), start(name(path, tmp_path), 150, cwd=tmp_path)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "open\n", process.communicate()
    for process in processes:
        out, err = process.communicate("\n")
        assert (0, "done\n") == (process.returncode, out), err
    with factstore.connect(str(path)) as conn:
        assert conn.db().basis_t == 301
        assert maintain.check(conn).ok
    assert sorted(entry.name for entry in path.parent.iterdir() if entry.is_file()) == [
        f"real.facts{end}" for end in ("", "-lock", "-turn")
    ]
    assert not list(tmp_path.glob("*-lock"))


@pytest.mark.parametrize("name", NAMES)
def test_two_names_that_lead_to_one_file_are_one_store_in_one_process(
    name: Callable[[Path, Path], str], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with factstore.connect(str(path)) as one, factstore.connect(name(path, tmp_path)) as other:
        one.transact([{":k/n": 1}])
        assert other.db().basis_t == 2
        assert one._storage._file is other._storage._file  # type: ignore[attr-defined]


def test_a_store_can_be_made_by_a_link_that_leads_nowhere_yet(tmp_path: Path) -> None:
    (tmp_path / "link.facts").symlink_to(tmp_path / "new.facts")
    with factstore.connect(str(tmp_path / "link.facts")) as conn:
        conn.transact(SCHEMA)
    with factstore.connect(str(tmp_path / "new.facts"), create=False) as conn:
        assert conn.db().basis_t == 1


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.facts").symlink_to("b.facts")
    (tmp_path / "b.facts").symlink_to("a.facts")
    with pytest.raises(StorageError):
        factstore.connect(str(tmp_path / "a.facts"))


def test_a_hard_link_is_refused_while_another_process_has_the_store_open_by_its_other_name(path: Path, tmp_path: Path) -> None:
    os.link(path, tmp_path / "hard.facts")
    other = start(str(path), 3)
    assert other.stdout
    assert other.stdout.readline() == "open\n"
    for read_only in (False, True):
        with pytest.raises(Unavailable, match="its path is a hard link") as refused:
            factstore.connect(str(tmp_path / "hard.facts"), read_only=read_only)
        assert refused.value.code == ":db.error/storage-unavailable"
    assert other.communicate("\n")[0] == "done\n"
    with factstore.connect(str(tmp_path / "hard.facts")) as conn:  # nobody else uses it now
        conn.transact([{":k/n": 9}])
    with factstore.connect(str(path)) as conn:
        assert conn.db().basis_t == 5
        assert maintain.check(conn).ok


def test_a_lock_file_that_was_deleted_under_an_open_store_makes_no_second_one(path: Path) -> None:
    other = start(str(path), 3)
    assert other.stdout
    assert other.stdout.readline() == "open\n"
    path.with_name("real.facts-lock").unlink()
    with pytest.raises(Unavailable, match="the lock file was deleted meanwhile"):
        factstore.connect(str(path))
    assert other.communicate("\n")[0] == "done\n"
    with factstore.connect(str(path)) as conn:
        assert conn.db().basis_t == 4


def test_a_copied_file_is_another_store(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "copy.facts")
    with factstore.connect(str(path)) as one, factstore.connect(str(tmp_path / "copy.facts")) as other:
        one.transact([{":k/n": 1}])
        assert 2 == one.db().basis_t
        assert 1 == other.db().basis_t


# a path that leads elsewhere


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, f"{path}-restored")
    os.replace(f"{path}-restored", path)  # noqa: PTH105


def rename_the_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


@pytest.mark.parametrize("change", [delete, replace, rename_the_directory])
def test_a_file_that_is_deleted_or_replaced_under_a_connection_is_noticed(change: Callable[[Path], None], path: Path) -> None:
    conn = factstore.connect(str(path), sync="none")
    conn.transact([{":k/n": 1}])
    reports, raised = conn.tx_reports(), []
    waiting = [lambda: conn.wait(10**6), lambda: conn.sync(10**6), lambda: reports.get(), lambda: next(iter(reports))]
    reports.get_nowait()

    def wait(verb: Callable[[], object]) -> None:
        try:
            verb()
        except Unavailable as error:
            raised.append(error.message)

    threads = [threading.Thread(target=wait, args=(verb,), daemon=True) for verb in waiting]
    for thread in threads:
        thread.start()
    change(path)
    for thread in threads:
        thread.join(60)
    assert len(raised) == len(threads)
    assert "was deleted, or another file took its place" in raised[0]
    with pytest.raises(Unavailable, match="open the store again"):
        while True:  # noticed within a moment
            conn.transact([{":k/n": 2}])
    conn.close()
    if path.exists():
        with factstore.connect(str(path)) as again:
            again.transact([{":k/n": 3}])
