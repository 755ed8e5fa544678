"""Files that were cut short, or have a bit flipped, a page zeroed or replaced: the right answer or `StorageError`, never anything else.

`DAMAGES=300` makes as many trials of each kind, `DAMAGE_SEED` chooses them. Every trial is a process of its own.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import factstore
from factstore import maintain
from factstore.errors import StorageError

TRIALS = int(os.environ.get("DAMAGES") or 12)
SEED = int(os.environ.get("DAMAGE_SEED") or random.randrange(1 << 32))
PAGE = 4096
SECONDS = 120  # after which a trial counts as hanging
SCHEMA = """
[{:db/ident :p/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :p/age :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :p/tags :db/valueType :db.type/string :db/cardinality :db.cardinality/many}]
"""


def fill(path: str) -> None:
    """Make a store with all kinds of pages: single records and loads, several indexes, free pages, and a log beyond the index."""
    with factstore.connect(path, sync="none") as conn:
        conn.transact(SCHEMA)
        for n in range(150):
            conn.transact([{":p/name": name(n), ":p/age": n, ":p/tags": [f"t{n % 7}", "y" * (n % 90)]}])
        conn.load([{"n": f"bulk {n}", "a": n} for n in range(3000)], {"n": ":p/name", "a": ":p/age"}, progress=False)
        conn._committer.index()
        for n in range(100):
            conn.transact([{":p/name": name(n), ":p/age": n + 1000}])
        conn._committer.index()
        maintain.collect(conn)
        for n in range(150):
            conn.transact([{":p/name": f"late {name(n)}", ":p/age": n}])


def name(n: int) -> str:
    return f"person {n} " + "x" * 40


def answers(path: str) -> str:
    """Read everything in every way, write, and return a digest of all answers."""
    told: list[object] = []
    with factstore.connect(path, sync="none") as conn:
        db = conn.db()
        told += [db.basis_t, sorted(factstore.q("[:find ?n ?a :where [?e :p/name ?n] [?e :p/age ?a]]", db))]
        for n in (0, 7, 149):
            pulled = factstore.pull(db, ["*"], [":p/name", name(n)])
            told.append(sorted((str(key), sorted(map(str, value)) if isinstance(value, list) else value) for key, value in pulled.items()))
        told += [len(list(db.datoms("eavt"))), len(list(db.history().datoms("aevt", ":p/age")))]
        told.append(sum(len(transaction.data) for transaction in conn.log().tx_range()))
        told.append(conn.transact([{":p/name": "new", ":p/age": 5}]).t)
        conn._committer.index()
        maintain.collect(conn)
        told.append(sorted(factstore.q("[:find ?n :where [?e :p/name ?n]]", conn.db())))
    return hashlib.sha256(repr(told).encode()).hexdigest()


def verdict(path: str) -> str:
    with factstore.connect(path, sync="none") as conn:
        return "well" if maintain.check(conn).ok else "damaged"


def in_process(work: Callable[[str], str], path: Path) -> str:
    """Return what work says in a process of its own: its answer, "refused", a raw error, or the signal that ended the process."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        try:
            said = work(str(path))
        except StorageError:
            said = "refused"
        except BaseException as error:
            said = f"raw {error!r}"
        os.write(write, said.encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said if code == 0 else f"ended by signal {-code}"


def cut(content: bytearray, chance: random.Random) -> None:
    """Leave at least one page: an empty file that no store has a turn file for is a new store."""
    del content[chance.randrange(1, len(content) // PAGE) * PAGE :]


def flip(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_near_the_start_of_a_page(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content) // PAGE) * PAGE + chance.randrange(64)] ^= 1 << chance.randrange(8)


def flip_in_a_header(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(2) * PAGE + chance.randrange(152)] ^= 1 << chance.randrange(8)


def zero_a_page(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) // PAGE) * PAGE
    content[at : at + PAGE] = bytes(PAGE)


def fill_a_page_with_chance(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) // PAGE) * PAGE
    content[at : at + PAGE] = chance.randbytes(PAGE)


def put_a_page_in_the_place_of_another(content: bytearray, chance: random.Random) -> None:
    one, other = (chance.randrange(len(content) // PAGE) * PAGE for _ in range(2))
    content[one : one + PAGE] = content[other : other + PAGE]


DAMAGES = [
    cut,
    flip,
    flip_near_the_start_of_a_page,
    flip_in_a_header,
    zero_a_page,
    fill_a_page_with_chance,
    put_a_page_in_the_place_of_another,
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "good.facts"
    fill(str(path))
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_gives_the_right_answer_or_is_refused(
    damage: Callable[[bytearray, random.Random], None], good: bytes, tmp_path: Path
) -> None:
    (tmp_path / "whole.facts").write_bytes(good)
    expected = in_process(answers, tmp_path / "whole.facts")
    assert len(expected) == 64
    for number in range(TRIALS):
        content = bytearray(good)
        damage(content, random.Random(f"{SEED} {damage.__name__} {number}"))
        path = tmp_path / f"{number}.facts"
        path.write_bytes(content)
        said = in_process(verdict, path), in_process(answers, path)
        assert said[0] in ("well", "damaged", "refused"), f"trial {number} of DAMAGE_SEED={SEED}"
        assert said[1] in (expected, "refused"), f"trial {number} of DAMAGE_SEED={SEED}"
        assert said != ("well", "refused"), f"check found nothing in trial {number} of DAMAGE_SEED={SEED}"
        for leftover in tmp_path.glob(f"{number}.facts*"):
            leftover.unlink()


CUT = """
import os, sys, factstore
from factstore.storage.lmdb import environment
environment._NAME_SECONDS = -1.0  # looks every time
path, length = sys.argv[1], int(sys.argv[2])
conn = factstore.connect(path)
conn.transact([{":p/name": "one more"}])
os.truncate(path, length)
for _ in range(2):
    try:
        conn.transact([{":p/name": "after"}])
    except factstore.errors.StorageError as error:
        print(error)
conn.close()
"""


@pytest.mark.parametrize("pages", [0, 2, 20])
def test_a_commit_finds_that_the_file_was_cut_while_it_was_open(tmp_path: Path, pages: int) -> None:
    path = str(tmp_path / "s.facts")
    fill(path)
    done = subprocess.run(
        [sys.executable, "-c", CUT, path, str(pages * PAGE)], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert 0 == done.returncode
    assert "" == done.stderr
    lines = done.stdout.splitlines()
    assert 2 == len(lines)
    assert all(f"to {pages * PAGE:,} bytes while it was open" in line for line in lines)
    assert pages * PAGE == Path(path).stat().st_size
