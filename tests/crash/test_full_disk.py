"""The disk of a file is full: one clear error, the process continues, and with more room so does the store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import factstore
from factstore import maintain
from tests.disks import fill, small_disk

DECLARE = [{":db/ident": ":text", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}]
OPEN = "import sys, factstore; factstore.connect(sys.argv[1], read_only=len(sys.argv) > 2).close()"


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(4) as place:
        yield place


def opened_by_a_process(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", OPEN, path, *options], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [(), ("read_only",)], ids=["to write", "to read"])
@pytest.mark.parametrize("exists", [True, False], ids=["a copy of one file", "a new store"])
def test_a_store_that_finds_no_room_is_not_opened_and_the_process_continues(disk: Path, exists: bool, options: tuple[str, ...]) -> None:
    path = disk / "shop.facts"
    with factstore.connect(path) as conn:
        conn.transact(DECLARE)
    for other in disk.glob("shop.facts?*" if exists else "shop.facts*"):
        other.unlink()
    filler = fill(disk)
    ended = opened_by_a_process(path, *options)
    if not exists and options:
        assert ":db.error/not-a-store" in ended.stderr
        return
    assert 1 == ended.returncode
    assert ":db.error/storage-full" in ended.stderr
    filler.unlink()
    with factstore.connect(path) as conn:
        assert conn.db().ident(":text") == ":text" if exists else conn.transact(DECLARE)
        assert maintain.check(conn).ok


def test_a_transaction_that_finds_no_room_is_not_committed(disk: Path) -> None:
    with factstore.connect(disk / "shop.facts") as conn:
        conn.transact(DECLARE)
        filler = fill(disk)
        with pytest.raises(factstore.errors.StoreFull):
            for n in range(100):
                conn.transact([{":text": f"{n}" + "x" * 100_000}])
        acknowledged = conn.db().basis_t
        assert acknowledged == conn.sync().basis_t
        filler.unlink()
        assert acknowledged + 1 == conn.transact([{":text": "afterwards"}]).t
        assert maintain.check(conn).ok


def test_a_journal_for_which_there_is_no_room_leaves_it_to_the_transaction(disk: Path) -> None:
    """A journal takes a megabyte; what was written of it before the disk was full is given back."""
    with factstore.connect(disk / "shop.facts") as conn:
        conn.transact(DECLARE)
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - 600_000)
        for n in range(40):
            conn.transact([{":text": f"{n}" + "x" * 500}])
        assert 40 == len(list(conn.db().datoms("aevt", ":text")))
