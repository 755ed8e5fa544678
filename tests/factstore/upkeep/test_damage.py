"""Damage: what is read is checked first; a file that is cut short, of another kind or inconsistent is refused, and says so."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lmdb
import pytest
from click.testing import CliRunner

import factstore
from factstore import log, maintain
from factstore.cli import main
from factstore.columns import block
from factstore.columns.packing import pack
from factstore.errors import Corrupt, NotAStore
from factstore.index.cache import Cache
from factstore.index.directory import Blocks, Index
from factstore.storage import Record, open_storage
from factstore.storage.lmdb import pages

SCHEMA = """
[{:db/ident :k/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :k/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]
"""
PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.facts"
    with factstore.connect(str(path), sync="none") as conn:
        conn.transact(SCHEMA)
        for n in range(120):
            conn.transact([{":k/name": f"person {n} " + "x" * 60, ":k/n": n}])
        conn._committer.index()
        conn.transact([{":k/name": "late", ":k/n": 1}])
    return path


def check(path: Path) -> maintain.Check:
    with factstore.connect(str(path), create=False) as conn:
        return maintain.check(conn)


def header(path: Path) -> pages.Header:
    fd = os.open(path, os.O_RDONLY)
    try:
        return pages.newest_header(fd)
    finally:
        os.close(fd)


# what is no store


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a named pipe"),
        (os.mkdir, "a directory"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
        (lambda path: make_socket(path), "a socket"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_path_to_anything_but_a_file_is_refused(
    make: Callable[[Path], None], kind: str, read_only: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    make(Path("odd"))
    with pytest.raises(NotAStore, match=kind) as refused:
        factstore.connect("odd", read_only=read_only)
    assert refused.value.code == ":db.error/not-a-store"
    assert [entry.name for entry in tmp_path.iterdir()] == ["odd"]
    assert 3 == CliRunner().invoke(main, ["check", "-s", "odd"]).exit_code


@pytest.mark.parametrize("command", [["check"], ["stats"], ["log"], ["reindex"], ["gc"]])
def test_no_command_makes_a_store_at_a_path_that_has_none(command: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [*command, "-s", str(tmp_path / "mistyped.facts")])
    assert 3 == done.exit_code
    assert [] == list(tmp_path.iterdir())


# lengths


@pytest.mark.parametrize("cut", range(16))
def test_a_file_that_was_cut_short_is_refused_unless_only_free_pages_are_missing(path: Path, cut: int) -> None:
    length = path.stat().st_size
    fd, state, used = os.open(path, os.O_RDONLY), header(path), set[int]()
    read = pages.reader(fd, state)
    for name, tree in (pages.trees(read, state) | {"free": state.free}).items():
        list(pages.nodes(read, state, tree, name, used))
    os.close(fd)
    os.truncate(path, cut * length // 16 if cut else 1)
    if path.stat().st_size >= (max(used) + 1) * PAGE:
        assert check(path).ok
        return
    for read_only in (False, True):
        with pytest.raises((Corrupt, NotAStore)) as refused:
            factstore.connect(str(path), read_only=read_only)
        assert str(path) in refused.value.message
    assert CliRunner().invoke(main, ["check", "-s", str(path)]).exit_code in (3, 4)


def test_an_empty_file_beside_the_turn_of_a_store_is_no_new_store(path: Path) -> None:
    os.truncate(path, 0)
    with pytest.raises(Corrupt, match="it is empty"):
        factstore.connect(str(path))
    assert path.stat().st_size == 0


def test_an_empty_file_alone_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "new.facts").touch()
    with factstore.connect(str(tmp_path / "new.facts")) as conn:
        assert conn.transact([]).t == 1


def test_a_file_whose_last_pages_are_free_and_were_never_written_is_whole(path: Path) -> None:
    """The header counts pages that no transaction has written; they are in the list of free pages."""
    with lmdb.open(str(path), subdir=False, lib_version=0, max_dbs=4) as env, env.begin(write=True) as txn:
        txn.put(b"\xff" * 8, bytes(40 * PAGE))
        txn.delete(b"\xff" * 8)
    state = header(path)
    assert path.stat().st_size <= (state.last_page + 1) * PAGE
    assert check(path).ok
    os.truncate(path, (state.last_page + 1 - 30) * PAGE)
    assert check(path).ok


# pages


def pages_of(path: Path) -> dict[str, list[int]]:
    """Return the numbers of the pages of each tree."""
    fd, state, found = os.open(path, os.O_RDONLY), header(path), {}
    read = pages.reader(fd, state)
    for name, tree in (pages.trees(read, state) | {"free": state.free}).items():
        numbers: set[int] = set()
        for _ in pages.nodes(lambda number, into=numbers: (into.add(number), read(number))[1], state, tree, name):  # type: ignore[misc]
            pass
        found[name] = sorted(numbers)
    os.close(fd)
    return found


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize("name", ["the log", "blocks", "roots", "free"])
def test_a_zeroed_page_of_any_tree_is_found_by_check_and_ends_no_process(path: Path, name: str) -> None:
    whole = path.read_bytes()
    for number in pages_of(path)[name]:
        path.write_bytes(whole)
        overwrite(path, number * PAGE, bytes(PAGE))
        try:
            found = check(path)
        except (Corrupt, NotAStore):  # already when it was opened
            continue
        assert f"page {number} of {name}" in " ".join(found.problems)
        with factstore.connect(str(path)) as conn, pytest.raises(Corrupt):
            list(conn.log().tx_range())
            maintain.reindex(conn)


def test_a_header_that_points_to_an_older_state_is_refused(path: Path) -> None:
    """The newer header takes the number of an older transaction: LMDB would lose the newest one without a word."""
    state = header(path)
    overwrite(path, (state.txnid & 1) * PAGE + 144, struct.pack("=Q", state.txnid - 2))
    with pytest.raises(Corrupt, match="do not belong together"):
        factstore.connect(str(path))


def commit_once_more(path: Path) -> None:
    """So that the other header is of the same state, too."""
    with lmdb.open(str(path), subdir=False, lib_version=0, max_dbs=4) as env, env.begin(write=True) as txn:
        txn.put(b"stamp", txn.get(b"stamp"))


def test_a_log_that_has_lost_a_record_in_its_middle_is_refused(path: Path) -> None:
    with lmdb.open(str(path), subdir=False, lib_version=0, max_dbs=4) as env, env.begin(write=True) as txn:
        txn.delete(((1 << 63) + 7).to_bytes(8))
    commit_once_more(path)
    with pytest.raises(Corrupt, match="121 records, and its last one is t=122"):
        factstore.connect(str(path))


def test_a_log_that_is_shorter_than_its_index_is_refused_and_can_be_indexed_again(path: Path) -> None:
    with lmdb.open(str(path), subdir=False, lib_version=0, max_dbs=4) as env, env.begin(write=True) as txn:
        for t in range(100, 123):
            txn.delete(((1 << 63) + t).to_bytes(8))
    commit_once_more(path)
    with pytest.raises(Corrupt, match="its log ends at t=99, but its index contains transactions up to t=121") as refused:
        factstore.connect(str(path))
    assert 99 == refused.value.head
    assert 121 == refused.value.index_t
    assert 4 == CliRunner().invoke(main, ["check", "-s", str(path)]).exit_code
    assert 0 == CliRunner().invoke(main, ["reindex", "-s", str(path)]).exit_code
    with factstore.connect(str(path)) as conn:
        assert 99 == conn.db().basis_t
        assert maintain.check(conn).ok
        assert 100 == conn.transact([{":k/name": "goes on"}]).t


def test_check_finds_a_page_that_is_in_use_and_free_too(path: Path) -> None:
    state, used = header(path), pages_of(path)["the log"]
    content = bytearray(path.read_bytes())
    fd = os.open(path, os.O_RDONLY)
    newest = list(pages.nodes(pages.reader(fd, state), state, state.free, "free"))[-1]
    os.close(fd)
    at = content.index(newest.value, state.free.root * PAGE)
    content[at + 8 : at + 16] = struct.pack("=Q", used[-2])
    path.write_bytes(content)
    assert "in use and in the list of free pages" in " ".join(check(path).problems)


@pytest.mark.parametrize("left", [0, 2, 4])
def test_a_record_a_block_and_a_root_of_which_nothing_is_left_are_damaged(left: int) -> None:
    """The checksum of no bytes is 0, which is what no bytes say."""
    for read in (
        lambda: log.decode(Record(1, bytes(16), bytes(left))),
        lambda: block.decode(bytes(left), b"id"),
        lambda: Index(Blocks(open_storage("memory:"), Cache(0))).decode(bytes(left), 1),
    ):
        with pytest.raises(Corrupt):
            read()


# the root


def root_of(path: Path) -> tuple[Index, bytes]:
    storage = open_storage(path, read_only=True)
    root = storage.read_root()
    storage.close()
    assert root
    return Index(Blocks(storage, Cache(0))).decode(root.body, root.version), root.body


def swap(path: Path, body: bytes) -> None:
    storage = open_storage(path, sync="none")
    root = storage.read_root()
    storage.swap_root(body, expected_version=root.version if root else 0)
    storage.close()


def test_a_flipped_bit_anywhere_in_the_root_is_found_when_the_store_is_opened(path: Path) -> None:
    index, body = root_of(path)
    for at in range(len(body)):
        for bit in (1, 32, 128):
            damaged = body[:at] + bytes([body[at] ^ bit]) + body[at + 1 :]
            with pytest.raises(Corrupt, match="root does not match"):
                index.decode(damaged, 1)
    swap(path, body[:-20] + bytes([body[-20] ^ 1]) + body[-19:])
    with pytest.raises(Corrupt, match="factstore reindex"):
        factstore.connect(str(path))
    assert 4 == CliRunner().invoke(main, ["check", "-s", str(path)]).exit_code
    assert 0 == CliRunner().invoke(main, ["reindex", "-s", str(path)]).exit_code
    assert check(path).ok


@pytest.mark.parametrize("fields", [6, 7])
def test_a_root_of_an_earlier_version_is_read_and_gets_a_checksum_with_the_next_index(path: Path, fields: int) -> None:
    index, _ = root_of(path)
    old = [1, index.basis_t, index.next_n, index.instant, [list(one) for one in index.sets]]
    old += [[[a, *entry] for a, entry in sorted(index.entries.items())], index.excised_t]
    swap(path, pack(old[:fields]))
    assert check(path).ok
    with factstore.connect(str(path)) as conn:
        conn.transact([{":k/name": "more"}])
        conn._committer.index()
    _, body = root_of(path)
    assert body[0] == 0x98
    assert check(path).ok
    for cut in (3, 20, 60):
        with pytest.raises(Corrupt):
            index.decode(pack(old[:fields])[:-cut], 1)


def test_check_compares_the_attributes_of_entities_with_the_log(path: Path) -> None:
    index, _ = root_of(path)
    shorter = tuple(one[:-1] if len(one) > 3 else one for one in index.sets)
    assert shorter != index.sets or len(set(index.sets)) > 1
    swap(path, replace(index, sets=tuple(one[:-1] for one in index.sets)).encode())
    assert "the index has other attributes than the log" in " ".join(check(path).problems)


def test_check_compares_the_counts_of_the_root_with_the_log(path: Path) -> None:
    index, _ = root_of(path)
    entries = {a: entry._replace(rows=entry.rows + 1) for a, entry in index.entries.items()}
    swap(path, replace(index, entries=entries).encode())
    assert "live rows, the log has" in " ".join(check(path).problems)
