"""Connections that are let go of without being closed: their threads end and their files are closed, once nothing reads by them."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import factstore
from factstore.storage.lmdb import handles


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "factstore-commit"]


def is_open(path: Path) -> bool:
    return any(found.path == path for found in handles._open.values())


def files(path: Path) -> list[str]:
    """Return the files of a store that this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))  # noqa: PTH115
        except FileNotFoundError:
            continue  # the one that listed them
    return [name for name in found if name.startswith(str(path))]


def wait_for(ended: Iterable[threading.Thread]) -> None:
    gc.collect()
    for thread in ended:
        thread.join(60)
        assert not thread.is_alive()
    gc.collect()
    gc.collect()  # the environment, which the first one has closed


def test_a_dropped_connection_ends_its_thread_and_closes_its_files(tmp_path: Path) -> None:
    path, before = tmp_path / "dropped.facts", threads()
    started = set[threading.Thread]()
    for _ in range(3):
        conn = factstore.connect(str(path), sync="none")
        conn.transact_async([]).result()
        conn.transact([])
        started.update(thread for thread in threads() if thread not in before)
    assert len(started) == 3
    assert files(path)
    del conn
    wait_for(started)
    assert not is_open(path)
    assert files(path) == []
    with factstore.connect(str(path)) as conn:
        assert conn.db().basis_t == 6


def test_a_database_outlives_its_connection_and_keeps_the_file_open_as_long_as_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "dropped.facts"
    db = factstore.connect(str(path)).db()
    gc.collect()
    assert is_open(path)
    assert len(list(db.datoms("eavt"))) > 0
    del db
    gc.collect()
    assert not is_open(path)


def test_what_a_dropped_connection_was_given_is_committed(tmp_path: Path) -> None:
    path, before = tmp_path / "dropped.facts", threads()
    conn = factstore.connect(str(path), sync="none")
    futures = [conn.transact_async([]) for _ in range(200)]
    del conn
    wait_for([thread for thread in threads() if thread not in before])
    assert [future.result().t for future in futures] == list(range(1, 201))


def test_a_dropped_handle_leaves_the_others_of_its_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "dropped.facts"
    with factstore.connect(str(path), sync="none") as conn:
        factstore.connect(str(path)).transact([])
        gc.collect()
        assert conn.transact([]).t == 2
        assert is_open(path)
    assert not is_open(path)


def test_a_store_that_is_refused_when_it_is_opened_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "damaged.facts"
    with factstore.connect(str(path), sync="none") as conn:
        for _ in range(5):
            conn.transact([])
    content = bytearray(path.read_bytes())
    for at in range(2 * 4096, len(content)):
        content[at] = 0
    path.write_bytes(content)
    for _ in range(3):
        try:
            factstore.connect(str(path))
        except factstore.StorageError:
            continue
        raise AssertionError("it was opened")
    gc.collect()
    assert files(path) == []
