"""Dumps of which a line says something else than a transaction can: all of it is a store again, or none, and the error names the line."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import edn, maintain
from factstore.dumps import dump, replay, undump
from factstore.errors import Corrupt, FactStoreError, StorageError
from factstore.storage import open_storage
from tests.laws.test_edn_laws import VALUES

K = factstore.Keyword
SCHEMA = """[{:db/ident :n/id :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
             {:db/ident :n/to :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}
             {:db/ident :n/at :db/valueType :db.type/instant :db/cardinality :db.cardinality/one}
             {:db/ident :n/pair :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one :db/tupleTypes [:db.type/ref :db.type/long]}]"""


def dumped(path: Path) -> list[Any]:
    """Dump a small store and return the lines as values."""
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        a = conn.transact([{":db/id": "a", ":n/id": 1}, {":n/id": 2, ":n/to": ["a"]}]).tempids["a"]
        conn.transact(
            [{":db/id": a, ":n/pair": [a, 7]}, [":db/add", [":n/id", 2], ":n/id", 3], {":db/id": ":n/to", ":db/ident": ":n/next"}]
        )
        dump(conn, path)
    return [edn.read(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, lines: list[Any]) -> None:
    """Write lines as a dump whose last line counts and digests what there is."""
    *body, _ = lines
    texts = [edn.write(line) + "\n" for line in body]
    digest = hashlib.sha256("".join(texts).encode()).hexdigest()
    counts = {K(":transactions"): len(body) - 1, K(":datoms"): 0, K(":sha256"): digest}
    path.write_text("".join(texts) + edn.write({K(":factstore/end"): counts}) + "\n", encoding="utf-8")


ODD = st.one_of(
    VALUES,
    st.integers(-3, 120),
    st.sampled_from([1 << 62, 1 << 63, -(1 << 63), (2 << 42) | 5, (2 << 42) | 99999, (1 << 42) | 1, (1 << 42) | 9, 3 << 42, 10**30]),
)


@st.composite
def changes(draw: st.DrawFn) -> tuple[list[Any], Any]:
    """Return the way to a part of a dump's lines, and what to put there."""
    way: list[Any] = [draw(st.integers(1, 3))]
    way.append(draw(st.sampled_from([K(":t"), K(":instant"), K(":next-n"), K(":data")])))
    if way[-1] == ":data" and draw(st.booleans()):
        way += draw(st.sampled_from([[0], [-1], [0, 0], [0, 1], [0, 2], [0, 3], [-1, 0], [-1, 1], [-1, 2], [-1, 3]]))
    return way, draw(ODD)


def changed(lines: list[Any], way: list[Any], value: Any) -> None:
    at: Any = lines
    for step in way[:-1]:
        at = at[step]
    at[way[-1]] = value


@given(changes())
def test_a_dump_with_an_odd_part_becomes_a_sound_store_or_nothing(change: Any) -> None:
    with TemporaryDirectory() as folder:
        path, uri = Path(folder) / "x.edn", f"memory:{os.urandom(8).hex()}"
        lines = dumped(path)
        changed(lines, *change)
        write(path, lines)
        with closing(open_storage(uri)) as storage:
            try:
                undump(path, storage)
            except Corrupt as error:
                assert 0 == storage.head()
                assert ":db.error/dump-damaged" == error.code
                assert 1 <= error.data.get("line", 1) <= len(lines)
            else:
                with factstore.connect(uri) as conn:
                    conn._committer.index()
                    assert [] == maintain.check(conn).problems
                    assert len(lines) - 2 == sum(1 for _ in conn.log().tx_range())


@given(changes())
def test_a_replay_of_a_dump_with_an_odd_part_is_whole_or_leaves_the_store_as_it_was(change: Any) -> None:
    with TemporaryDirectory() as folder, factstore.connect("memory:") as conn:
        path = Path(folder) / "x.edn"
        lines = dumped(path)
        changed(lines, *change)
        write(path, lines)
        conn.transact([])
        try:
            replay(conn, path)
        except FactStoreError:
            assert 1 == conn.db().basis_t
        else:
            conn._committer.index()
            assert [] == maintain.check(conn).problems


@given(st.binary(max_size=200), st.integers(0, 3000), st.booleans())
def test_a_file_of_other_bytes_is_no_dump(junk: bytes, at: int, compressed: bool) -> None:
    with TemporaryDirectory() as folder, factstore.connect("memory:") as conn:
        path = Path(folder) / "x.edn"
        dumped(path)
        body = path.read_bytes()
        path = path.with_suffix(".edn.gz") if compressed else path
        path.write_bytes(body[:at] + junk + body[at + len(junk) :])
        if path.read_bytes() == body:
            return
        with closing(open_storage("memory:")) as storage, pytest.raises((Corrupt, StorageError)):
            undump(path, storage)
        try:
            replay(conn, path)
        except FactStoreError:
            assert 0 == conn.db().basis_t
