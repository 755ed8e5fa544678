"""When novelty goes into the index: in the background, once there is enough of it, by whichever process gets there."""

from __future__ import annotations

import logging
import weakref
from dataclasses import replace
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final

from factstore.db import Snapshot
from factstore.errors import Conflict, FactStoreError
from factstore.index.build import Built, build
from factstore.index.cache import Cache
from factstore.index.directory import Blocks, Index
from factstore.index.novelty import Novelty
from factstore.index.open import schema_of
from factstore.schema import bootstrap
from factstore.schema.attribute import FIRST_FREE_ID
from factstore.storage import Storage

if TYPE_CHECKING:
    from factstore.commit import Committer

logger = logging.getLogger("factstore")

LEAST_ROWS: Final = 250_000
MOST_ROWS: Final = 1_000_000
# On closing less is worth it: whoever opens the store next reads the log from where the index ends.
LEAST_ROWS_AT_CLOSE: Final = 25_000
# Novelty may grow with the index: merging touches most of a scattered attribute however little is new, so the work for
# each fact stays bounded only if what is merged stays in proportion to what is there.
SHARE: Final = 8

UNDER_WAY: Final = 0  # a version that no root has: who holds it is building an index


class Epoch:
    """What databases of one store have in common that were read by one connection, and between two excisions."""

    __slots__ = ("__weakref__",)


def opened(storage: Storage, cache: Cache) -> Snapshot:
    """Return what there is as of a store's index; what the log says since then is still to come."""
    index = newest_index(storage, Index(Blocks(storage, cache)))
    if index.version == 0:
        return Snapshot(index, Novelty(bootstrap.FACTS), bootstrap.SCHEMA, cache, 0, FIRST_FREE_ID, 0, Epoch())
    return Snapshot(index, Novelty(), schema_of(index), cache, index.basis_t, index.next_n, index.instant, Epoch())


def newest_index(storage: Storage, index: Index) -> Index:
    """Return the index of a store's root, which garbage collection then spares while anybody has it; or the one given."""
    while (root := storage.read_root()) is not None and root.version != index.version:
        try:
            return _held(storage, index.decode(root.body, root.version))
        except Conflict:
            continue  # a newer root came between reading and holding
    return index


def _held(storage: Storage, index: Index) -> Index:
    weakref.finalize(index, storage.hold(index.version).release).atexit = False
    return index


def publish(storage: Storage, built: Built, *, expected_version: int) -> Index | None:
    """Make a built index the newest; None when somebody else's is newer, or its blocks were collected before it was known."""
    with storage.turn():
        if not built.written.issubset(storage.block_ids()):
            return None
        try:
            root = storage.swap_root(built.root.encode(), expected_version=expected_version)
        except Conflict:
            return None
        return _held(storage, replace(built.root, version=root.version))


def collect(storage: Storage) -> int:
    """Delete the blocks that neither the newest index needs nor one that any living process still reads; return how many."""
    with storage.turn():
        versions = {root.version} if (root := storage.read_root()) else set()
        reader = Index(Blocks(storage, Cache(64 << 20)))
        needed: set[bytes] = set()
        for version in versions | storage.held():
            if version != UNDER_WAY and (kept := storage.read_root(version)) is not None:
                needed.update(reader.decode(kept.body, version).reachable())
        return storage.delete_blocks([name for name in storage.block_ids() if name not in needed])


class Indexing:
    """Decides when to index, and does it on a thread of its own."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._busy = Lock()
        self._thread: Thread | None = None
        self._not_before = 0  # rows of novelty before which another look is not worth it

    def consider(self, now: Snapshot) -> None:
        """Start indexing if there is enough novelty, or take up the index of somebody who was quicker."""
        count = now.novelty.weight
        if count < max(LEAST_ROWS, self._not_before) or self._busy.locked():
            return
        rows = sum(entry.rows + entry.past_rows for entry in now.index.entries.values())
        if count >= min(max(LEAST_ROWS, rows // SHARE), MOST_ROWS) and self._busy.acquire(blocking=False):
            self._not_before = count + LEAST_ROWS // 8
            self._thread = Thread(target=self._run, name="factstore-index", daemon=True)
            try:
                self._thread.start()
            except BaseException:
                self._busy.release()
                raise

    def _run(self) -> None:
        try:
            self._bring_up(wait=False)
        except FactStoreError:
            # The log has everything; whoever passes the threshold next tries again.
            logger.exception("indexing %s failed", self._committer.storage.description)
        finally:
            self._busy.release()  # taken for this thread by who started it

    def index_now(self) -> None:
        """Bring the index up to the newest database."""
        with self._busy:
            self._bring_up(wait=True)

    def _bring_up(self, *, wait: bool) -> None:
        now = self._committer.newest
        index = newest_index(self._committer.storage, now.index)
        if index.version == now.index.version and now.t > index.basis_t and self._may_build(wait):
            index = self._published(now)
        if index.version > now.index.version:
            self._committer.adopt(index)
            self._not_before = 0
            self._tidy()

    def _may_build(self, wait: bool) -> bool:
        """Whether to build: not when another process is at it, unless somebody waits for this one."""
        storage = self._committer.storage
        return not storage.read_only and (wait or UNDER_WAY not in storage.held())

    def _tidy(self) -> None:
        """Let go of the blocks of older indexes, unless somebody is writing blocks that no root names yet."""
        storage = self._committer.storage
        if not storage.read_only and UNDER_WAY not in storage.held():
            collect(storage)

    def _published(self, now: Snapshot) -> Index:
        old, storage = now.index, self._committer.storage
        with storage.hold(UNDER_WAY):
            built = build(old, now.novelty, now.schema, upto_t=now.t, next_n=now.next_n, instant=now.instant)
            published = publish(storage, built, expected_version=old.version)
        return published or newest_index(storage, old)

    def close(self) -> None:
        """Wait for indexing that is under way, and leave little for whoever opens the store next."""
        if self._thread is not None:
            self._thread.join()
        if self._committer.newest.novelty.weight >= LEAST_ROWS_AT_CLOSE and not self._committer.storage.read_only:
            self._busy.acquire()
            self._run()
