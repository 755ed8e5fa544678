"""Blocks on the disk of this host: a file of LMDB that the processes of one user share, bounded in bytes.

    two halves: new blocks go to the newer half; when it is full, the older half is emptied and becomes the newer one;
    a block that is read from the older half moves to the newer one

Each block has a checksum, and a copy that does not match is no copy. The file is never synced, so it belongs to one
boot of the machine: its name has the id of the boot, and that of the last excision, whose blocks must not be kept.
Law: the cache returns what was put, or nothing; no failure of the cache is one of the store.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final
from weakref import WeakValueDictionary
from zlib import crc32

import lmdb

from factstore.concurrency.forks import keep_for_ever, watch

logger = logging.getLogger("factstore")

DEFAULT_BYTES: Final = 1 << 30
LEAST_BYTES: Final = 1 << 20
_NEWER: Final = b"newer"  # the key of the number of the newer half
_CHECKSUM: Final = 4  # bytes before each block
_MOST_READERS: Final = 1024
_TRIES: Final = 4  # after them both halves were emptied; then readers of this host still use their pages
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")

_open: WeakValueDictionary[Path, HostCache] = WeakValueDictionary()  # a process must not open a file of LMDB twice
_opening = Lock()
_forks = 0  # between the first process and this one: a child must not open a file of LMDB that its parent has open


def _after_fork() -> None:
    """Replace the lock, which another thread of the parent may hold; the caches of the parent are not the child's."""
    global _forks, _opening
    _opening = Lock()
    _forks += 1
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)


def folder() -> Path:
    """Return the folder of this user's caches: `$FACTSTORE_CACHE`, or `factstore` in the user's folder for caches."""
    given = os.environ.get("FACTSTORE_CACHE")
    general = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else (Path(general) if general else Path.home() / ".cache") / "factstore"


def host_cache(store: str, excisions: int, *, max_bytes: int) -> HostCache | None:
    """Return the cache of a store on this host; None if there is none, because it is turned off or cannot be opened.

    Args:
        store: the id of the store.
        excisions: their number; older caches of the store are deleted.
        max_bytes: the size of the file; 0 turns the cache off.
    """
    if not max_bytes:
        return None
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return None  # without the id of the boot, a file could be damaged by a crash of the machine
    place = folder()
    prefix = f"{store}-{excisions}-{boot}."
    path = place / f"{prefix}{_forks}.blocks"
    try:
        with _opening:
            cache = _open.get(path)
            if cache is None:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                _delete_others(place, store, prefix)
                cache = _open[path] = HostCache(path, max_bytes=max_bytes)
        return cache
    except (OSError, RuntimeError, lmdb.Error) as error:
        logger.warning("blocks are not cached on this host, because %s cannot be used: %s", path, error)
        return None


def _delete_others(place: Path, store: str, prefix: str) -> None:
    """Delete the store's caches of earlier boots and of before the last excision."""
    for other in place.glob(f"{store}-*.blocks*"):
        if not other.name.startswith(prefix):
            with suppress(FileNotFoundError):
                other.unlink()


class HostCache:
    """The cache of one store."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Open the file, which is created if it does not exist. Raises: lmdb.Error, OSError."""
        self._half = max(max_bytes, LEAST_BYTES) * 3 // 10  # LMDB needs room for freed pages and for long values
        self._env: lmdb.Environment | None = lmdb.open(
            str(path),
            subdir=False,
            map_size=max(max_bytes, LEAST_BYTES),
            max_dbs=2,
            max_readers=_MOST_READERS,
            mode=0o600,
            sync=False,
            metasync=False,
        )
        self._halves = [self._env.open_db(name) for name in (b"0", b"1")]
        watch(self)

    def _after_fork(self) -> None:
        # Closing it would change the table of readers, which the parent uses.
        keep_for_ever(self._env)
        self._env = None

    def get(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the blocks that the cache has."""
        env = self._env
        if env is None:
            return {}
        blocks: dict[bytes, bytes] = {}
        old: dict[bytes, bytes] = {}
        try:
            with env.begin(buffers=True) as txn:
                newer = _newer(txn)
                for name in ids:
                    kept = txn.get(name, db=self._halves[newer])
                    is_new = kept is not None
                    if kept is None:
                        kept = txn.get(name, db=self._halves[1 - newer])
                    if kept is not None and crc32(kept[_CHECKSUM:]) == int.from_bytes(kept[:_CHECKSUM]):
                        block = blocks[name] = bytes(kept[_CHECKSUM:])
                        if not is_new:
                            old[name] = block
        except lmdb.Error as error:
            self._give_up(error)
        if old:
            self.put(old)
        return blocks

    def put(self, blocks: Mapping[bytes, bytes]) -> None:
        """Add blocks; older ones are removed if there is no room."""
        env = self._env
        if env is None or not blocks:
            return None
        kept = [(name, crc32(block).to_bytes(_CHECKSUM) + block) for name, block in blocks.items()]
        if sum(len(block) for _, block in kept) > self._half:
            return None
        try:
            for _ in range(_TRIES):
                try:
                    return self._add(env, kept)
                except lmdb.MapFullError:
                    self._turn_over(env)  # LMDB can use the freed pages two commits later
        except lmdb.Error as error:
            self._give_up(error)

    def _add(self, env: lmdb.Environment, kept: Iterable[tuple[bytes, bytes]]) -> None:
        with env.begin(write=True) as txn:
            newer = self._halves[_newer(txn)]
            with txn.cursor(newer) as cursor:
                cursor.putmulti(kept)
            is_full = _size(txn, newer) > self._half
        if is_full:
            self._turn_over(env)

    def _turn_over(self, env: lmdb.Environment) -> None:
        """Empty the older half, and make it the newer one."""
        with env.begin(write=True) as txn:
            older = 1 - _newer(txn)
            txn.drop(self._halves[older], delete=False)
            txn.put(_NEWER, bytes([older]))

    @property
    def bytes(self) -> int:
        """The size of the blocks, with their keys and pages."""
        env = self._env
        if env is None:
            return 0
        with env.begin() as txn:
            return sum(_size(txn, half) for half in self._halves)

    def _give_up(self, error: lmdb.Error) -> None:
        """Stop using the file; the store itself has all blocks."""
        logger.warning("blocks are no longer cached on this host: %s", error)
        self._env = None


def _newer(txn: lmdb.Transaction) -> int:
    return int((txn.get(_NEWER) or b"\0")[0])


def _size(txn: lmdb.Transaction, half: lmdb._Database) -> int:
    """Return the bytes of the pages of a half."""
    stat = txn.stat(half)
    return int(stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]))
