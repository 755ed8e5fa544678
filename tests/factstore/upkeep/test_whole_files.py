"""Files that appear when they are whole: what they replace, and what they never replace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import factstore
from factstore import Connection, dumps, maintain
from factstore.cli import EXIT_REFUSED, main
from factstore.errors import Unavailable
from factstore.upkeep import whole_files


@pytest.fixture
def conn(tmp_path: Path) -> Connection:
    conn = factstore.connect(str(tmp_path / "s.facts"), sync="none")
    conn.transact("[{:db/ident :u/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]")
    return conn


def link(made: Callable[[Path, Path], None]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        made(folder / "s.facts", folder / "link")
        return folder / "link"

    return make


def named_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def socket(folder: Path) -> Path:
    os.mknod(folder / "socket", 0o140644)
    return folder / "socket"


def other_store(folder: Path) -> Path:
    factstore.connect(str(folder / "other.facts"), sync="none").close()
    return folder / "other.facts"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (lambda folder: folder / "s.facts", "it is a store, or a file of one"),
        (lambda folder: folder / "s.facts-lock", "it is a store, or a file of one"),
        (lambda folder: folder / "s.facts-turn", "it is a store, or a file of one"),
        (link(lambda store, name: name.symlink_to(store)), "it is a store, or a file of one"),
        (link(lambda store, name: name.hardlink_to(store)), "it is a store, or a file of one"),
        (other_store, "it is a store, or a file of one"),
        (named_pipe, "it is a named pipe"),
        (socket, "it is a socket"),
        (lambda folder: folder, "it is a directory"),
    ],
)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_dump_replaces_no_store_and_nothing_but_plain_files(
    conn: Connection, tmp_path: Path, target: Callable[[Path], Path], why: str, is_open: bool
) -> None:
    path = target(tmp_path)
    before = sorted((path.name, path.lstat().st_ino) for path in tmp_path.iterdir())
    if not is_open:
        conn.close()
        conn = factstore.connect(f"memory:{tmp_path}")
    with pytest.raises(Unavailable, match=why) as raised:
        dumps.dump(conn, path)
    assert ":db.error/file-unavailable" == raised.value.code
    assert before == sorted((path.name, path.lstat().st_ino) for path in tmp_path.iterdir())
    with factstore.connect(str(tmp_path / "s.facts"), create=False) as again:
        assert maintain.check(again).ok
        assert 1 == again.db().basis_t


def test_a_store_that_is_made_while_a_dump_is_written_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="it is a store"), whole_files.replacing(tmp_path / "d.edn") as unfinished:
        unfinished.write_text("a dump")
        factstore.connect(str(tmp_path / "d.edn"), sync="none").close()
    with factstore.connect(str(tmp_path / "d.edn"), create=False) as made:
        assert 0 == made.db().basis_t


def test_a_dump_replaces_a_plain_file_through_a_link_that_stays(conn: Connection, tmp_path: Path) -> None:
    (tmp_path / "old.edn").write_text("old")
    (tmp_path / "latest.edn").symlink_to("old.edn")
    dumps.dump(conn, tmp_path / "latest.edn")
    assert (tmp_path / "latest.edn").is_symlink()
    assert (tmp_path / "old.edn").read_text().startswith("{:factstore/dump 1")


def test_two_dumps_to_one_path_do_not_share_an_unfinished_file(tmp_path: Path) -> None:
    target = tmp_path / "d.edn"
    with whole_files.replacing(target) as first:
        first.write_text("first")
        with whole_files.replacing(target) as second:
            second.write_text("second")
        assert "first" == first.read_text()
        assert "second" == target.read_text()
    assert "first" == target.read_text()
    assert [target] == list(tmp_path.iterdir())


def test_a_file_that_was_there_keeps_its_name_beside_an_unfinished_one(conn: Connection, tmp_path: Path) -> None:
    (tmp_path / "d.edn.part").write_text("of somebody else")
    dumps.dump(conn, tmp_path / "d.edn")
    assert "of somebody else" == (tmp_path / "d.edn.part").read_text()


@pytest.mark.parametrize("command", ["undump -s {new} {dump}", "restore -s {new} {store}"])
def test_a_store_that_is_made_while_a_new_one_is_written_stays(
    conn: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    new, dump = tmp_path / "new.facts", tmp_path / "d.edn"
    dumps.dump(conn, dump)
    conn.close()
    name, real = Path.hardlink_to, factstore.connect

    def late(path: Path, unfinished: Path) -> None:
        with real(str(new), sync="none") as other:
            other.transact([{":db/doc": "acknowledged"}])
        name(path, unfinished)

    monkeypatch.setattr(Path, "hardlink_to", late)
    done = CliRunner().invoke(main, command.format(new=new, dump=dump, store=tmp_path / "s.facts").split())
    assert EXIT_REFUSED == done.exit_code, done.output
    assert "was created in the meantime" in done.output
    with real(str(new), create=False) as kept:
        assert {("acknowledged",)} == factstore.q('[:find ?d :where [?e :db/doc ?d] [(= ?d "acknowledged")]]', kept.db())


@pytest.mark.parametrize("is_there", [True, False])
def test_where_files_have_no_hard_links_a_new_one_replaces_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    def without_links(path: Path, unfinished: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", without_links)
    target = tmp_path / "n"
    if is_there:
        target.write_text("old")
        with pytest.raises(FileExistsError), whole_files.making(target) as unfinished:
            unfinished.write_text("new")
    else:
        with whole_files.making(target) as unfinished:
            unfinished.write_text("new")
    assert ("old" if is_there else "new") == target.read_text()
