"""Targets: CSV files, and dumps."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

import factstore
from factstore import FactStoreError, maintain
from factstore.dumps import dump, replay, undump
from factstore.storage import open_storage
from tests.fuzz import inputs
from tests.fuzz.targets.store import SCHEMA, store


def csv(rng: Random) -> None:
    corpus = (
        "name,age,at\nann,1,2026-01-01T00:00:00Z\nben,,\n",
        '\ufeffname;age\n"x ""y""";5\n',
        "name,age\r\nx,1\r\n" * 30,
        "age\n1\n2\n",
    )
    fragments = (*inputs.FRAGMENTS, "\r\n", '"', '""', ",,", ";", "NA", "NaN", "1_000", " 1", "1e3", "true", "name", "age", "\0")
    body = inputs.text(rng, corpus, fragments).encode(rng.choice(("utf-8", "utf-16", "latin-1")), "replace")
    with factstore.connect("memory:") as conn, tempfile.TemporaryDirectory() as folder:
        conn.transact(SCHEMA)
        path = Path(folder) / "x.csv"
        path.write_bytes(body)
        columns = {"name": ":p/name", "age": rng.choice((":p/age", ":p/big", ":p/dec", ":p/to")), "at": ":p/at"}
        mapping = {name: columns[name] for name in rng.sample(sorted(columns), rng.randint(1, 3))}
        try:
            conn.load(path, mapping, progress=False, batch_rows=rng.choice((1, 3, 50_000)))
        finally:
            assert [] == maintain.check(conn).problems


@cache
def dumped() -> str:
    with tempfile.TemporaryDirectory() as folder:
        dump(store(), Path(folder) / "x.edn")
        return (Path(folder) / "x.edn").read_text(encoding="utf-8")


def dumps(rng: Random) -> None:
    made = inputs.text(rng, (dumped(),))
    if rng.random() < 0.5:  # with a digest that is right
        *lines, _ = made.encode("utf-8", "replace").splitlines(keepends=True) or [b""]
        end = f'{{:factstore/end {{:transactions {len(lines) - 1}, :datoms 1, :sha256 "{sha256(b"".join(lines)).hexdigest()}"}}}}\n'
        made = b"".join(lines).decode() + end
    with tempfile.TemporaryDirectory() as folder, factstore.connect("memory:") as conn:
        path = Path(folder) / "x.edn"
        path.write_bytes(made.encode("utf-8", "replace"))
        name = f"memory:{os.urandom(8).hex()}"
        with closing(open_storage(name)) as storage:
            try:
                undump(path, storage)
            except FactStoreError:
                assert 0 == storage.head(), "a part of a dump was written"
            else:
                with factstore.connect(name) as again:
                    assert [] == maintain.check(again).problems
        try:
            replay(conn, path)
        except FactStoreError:
            assert 0 == conn.db().basis_t, "a part of a dump was replayed"


TARGETS: Final[dict[str, Callable[[Random], None]]] = {
    "csv": csv,
    "dump": dumps,
}
