"""Processes that are killed at random moments: what was acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import cast

import pytest

from factstore.errors import Conflict
from factstore.storage import Record, Storage, Sync, open_storage

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("CRASH_SEED") or random.randrange(1 << 32))


class Writer:
    """A process that writes until it is killed, telling a file of everything that was acknowledged to it."""

    def __init__(self, path: Path, sync: str, seed: int) -> None:
        self.told = path.with_name(f"told-{seed}")
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(path), sync, str(seed), str(self.told)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def wait_until_it_writes(self) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline() == b"writing\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def acknowledged(self) -> Iterator[list[str]]:
        for line in self.told.read_text().splitlines(keepends=True):
            if line.endswith("\n"):  # the last one may have been cut
                yield line.split()


def write_and_die(path: Path, sync: str, count: int, chance: random.Random) -> list[list[str]]:
    """Let processes write and kill them in the middle; return what had been acknowledged to them."""
    writers = [Writer(path, sync, chance.randrange(1 << 40)) for _ in range(count)]
    try:
        for writer in writers:
            writer.wait_until_it_writes()
        with contextlib.suppress(subprocess.TimeoutExpired):
            writers[0].process.wait(chance.expovariate(1 / 0.03))
    finally:
        for writer in writers:
            writer.kill()
    return [line for writer in writers for line in writer.acknowledged()]


@pytest.mark.slow
@pytest.mark.parametrize(("sync", "count", "rounds"), [("none", 1, 20), ("full", 1, 20), ("none", 2, 12), ("full", 2, 12)])
def test_what_was_acknowledged_survives_its_process_and_nothing_is_there_by_half(
    tmp_path: Path, sync: str, count: int, rounds: int
) -> None:
    chance = random.Random(SEED)
    path = tmp_path / "killed.facts"
    acknowledged: dict[int, str] = {}
    newest_root = 0
    for number in range(rounds):
        words = write_and_die(path, sync, count, chance)
        acknowledged |= {int(t): name for kind, t, name in words if kind == "record"}
        newest_root = max([newest_root, *(int(version) for kind, version, _ in words if kind == "root")])
        with contextlib.closing(open_storage(path, create=False, sync="none")) as storage:
            where = f"round {number} of CRASH_SEED={SEED}"
            log = read_all(storage)
            assert [record.t for record in log] == list(range(1, storage.head() + 1)), where
            found = {record.t: record.txid.hex() for record in log}
            assert acknowledged.items() <= found.items(), where
            assert len(set(found.values())) == len(found), where
            check_batches(log, where)
            check_root(storage, newest_root, where)
            assert storage.held() == set(), where
    assert len(acknowledged) >= rounds


def read_all(storage: Storage) -> list[Record]:
    log: list[Record] = []
    while bite := storage.read_log(len(log)):
        log += bite
    return log


def check_batches(log: list[Record], where: str) -> None:
    """Each record says which place it has in its append, and how many there are: all of them or none."""
    places = [record.body.split(b"\0")[0].split() for record in log]
    expected = 0
    for (place, size), record in zip(places, log):
        assert int(place) == expected, f"t={record.t} in {where}"
        expected = (expected + 1) % int(size)
    assert expected == 0, f"the last append is there by half in {where}"


def check_root(storage: Storage, at_least: int, where: str) -> None:
    """The newest root is no older than acknowledged, and all blocks that it names are there unharmed."""
    root = storage.read_root()
    assert (root.version if root else 0) >= at_least, where
    if root:
        ids = [root.body[i : i + 16] for i in range(0, len(root.body), 16)]
        for block_id, block in storage.get_blocks(ids).items():
            assert block_id == id_of(block), where


def id_of(block: bytes) -> bytes:
    return blake2b(block, digest_size=16).digest()


def write_until_killed(path: str, sync: str, seed: str, told: str) -> None:
    """Append batches, sometimes in a turn, and move roots, telling of each once it is done."""
    chance = random.Random(int(seed))
    storage = open_storage(path, sync=cast("Sync", sync), map_size=1 << 20)
    fd = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with storage.turn():
        os.write(fd, append_batch(storage, chance))
    print("writing", flush=True)
    while True:
        with contextlib.suppress(Conflict):  # another process was first; nothing was acknowledged
            with storage.turn() if chance.random() < 0.2 else contextlib.nullcontext():
                os.write(fd, append_batch(storage, chance))
            if chance.random() < 0.2:
                os.write(fd, move_root(storage, chance))


def append_batch(storage: Storage, chance: random.Random) -> bytes:
    size = chance.randint(1, 4)
    batch = [(os.urandom(16), b"%d %d\0" % (i, size) + bytes(chance.choice([1, 100, 5_000]))) for i in range(size)]
    last = storage.append(batch, expected_t=storage.head())
    return b"".join(b"record %d %s\n" % (t, txid.hex().encode()) for t, (txid, _) in enumerate(batch, last - size + 1))


def move_root(storage: Storage, chance: random.Random) -> bytes:
    blocks = [os.urandom(chance.choice([10, 5_000, 20_000])) for _ in range(3)]
    storage.put_blocks((id_of(block), block) for block in blocks)
    root = storage.read_root()
    with storage.hold(root.version if root else 0):
        moved = storage.swap_root(b"".join(map(id_of, blocks)), expected_version=root.version if root else 0)
    return b"root %d -\n" % moved.version


if __name__ == "__main__":
    write_until_killed(*sys.argv[1:])
