"""When novelty goes into the index: in the background, once there is enough of it, by whichever process gets there.

    reader      holds the root that it reads
    builder     raises the sign, builds, publishes over the root that was the newest when it began
    collector   holds the turn: while the sign is up it deletes nothing, else what no newest or held root reaches

Law: a root ranks no lower than the one before it (`Index.rank`), and its blocks are there. `docs/architecture.md` says why that is enough.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from typing import Final

from factstore import log
from factstore.concurrency.locks import CallLock
from factstore.db.snapshot import Snapshot
from factstore.errors import Conflict, Corrupt, FactStoreError
from factstore.index.build import Built, build
from factstore.index.cache import Cache
from factstore.index.directory import Blocks, Index
from factstore.index.novelty import Novelty
from factstore.index.open import schema_of
from factstore.schema import bootstrap
from factstore.schema.attribute import FIRST_FREE_ID, Schema
from factstore.storage import Storage

logger = logging.getLogger("factstore")

LEAST_ROWS: Final = 250_000
MOST_ROWS: Final = 1_000_000
# On closing less is worth it: whoever opens the store next reads the log from where the index ends.
LEAST_ROWS_AT_CLOSE: Final = 25_000
# Novelty may grow with the index: merging touches most of a scattered attribute however little is new, so the work for
# each fact stays bounded only if what is merged stays in proportion to what is there.
SHARE: Final = 8

PATIENCE: Final = 2 * MOST_ROWS  # rows of novelty after which a builder that does not get done is no longer waited for

UNDER_WAY: Final = 0  # a version that no root has: who holds it writes blocks that no root names yet


class Epoch:
    """What databases of one store have in common that were read by one connection, and between two excisions."""

    __slots__ = ("__weakref__",)


# -- reading


def newest(storage: Storage, cache: Cache) -> Snapshot:
    """Return the newest database by index and log alone; both are read of one log, not of one and of its rewriting."""
    while True:
        found = _read(storage, cache)
        if is_same_log(storage, found.index):
            return found


def _read(storage: Storage, cache: Cache) -> Snapshot:
    index = newest_index(storage, Index(Blocks(storage, cache)))
    if index.basis_t < 0:
        novelty, schema, t, next_n, instant = Novelty(bootstrap.FACTS), bootstrap.SCHEMA, 0, FIRST_FREE_ID, 0
    else:
        novelty, schema, t, next_n, instant = Novelty(), schema_of(index), index.basis_t, index.next_n, index.instant
    for transaction in log.read(storage, t):
        t, instant, next_n = transaction.t, transaction.instant, transaction.next_n
        novelty.append(t, transaction.facts, transaction.columns)
        schema = schema.plus(transaction.facts)
    return Snapshot(index, novelty, schema, cache, t, next_n, instant, Epoch())


def newest_index(storage: Storage, index: Index) -> Index:
    """Return the index of a store's root, which garbage collection then spares while anybody has it; or the one given."""
    while (root := storage.read_root()) is not None and root.version != index.version:
        try:
            newest = _held(storage, index.decode(root.body, root.version))
        except Conflict:
            continue  # a newer root came between reading and holding
        _check_basis(storage, newest)
        return newest
    return index


def _check_basis(storage: Storage, index: Index) -> None:
    """Raise `Corrupt` when an index knows more than the log, which alone is the truth."""
    if index.basis_t > (head := storage.head()):
        message = (
            f"{storage.description} is damaged: its log ends at t={head}, its index has what came up to t={index.basis_t};"
            " restore a backup, or go on from the shorter log with `factstore reindex`"
        )
        raise Corrupt(":db.error/storage-corrupt", message, head=head, index_t=index.basis_t)


def is_same_log(storage: Storage, index: Index) -> bool:
    """Return whether no facts were excised since an index was the newest: all that was read of the log since is of one log."""
    root = storage.read_root()
    return (
        root is None
        or root.version == index.version
        or index.decode(root.body, root.version).excised_t == index.excised_t
    )


def _held(storage: Storage, index: Index) -> Index:
    weakref.finalize(index, storage.hold(index.version).release).atexit = False
    return index


# -- publishing and collecting


@contextmanager
def under_way(storage: Storage) -> Iterator[None]:
    """Raise the sign of a builder for a block: no blocks are collected meanwhile, and others leave the building to this one.

    It is raised in the writer's turn, which collectors hold: none is at work when it goes up.
    """
    with storage.turn():
        sign = storage.hold(UNDER_WAY)
    with sign:
        yield


def publish(storage: Storage, built: Built, *, over: Index) -> Index | None:
    """Make a built index the newest, if the newest is still the one that the caller knows and that ranks no higher.

    Args:
        over: the newest index, of which the caller knows that nothing was excised since he began to read, or that ranks higher if so.
    Returns: the index as published; None when another was published since, or a block was deleted because it was damaged.
    """
    if built.root.rank < over.rank:
        return None
    with storage.turn():
        if not built.written.issubset(storage.block_ids()):
            return None
        try:
            root = storage.swap_root(built.root.encode(), expected_version=over.version)
        except Conflict:
            return None
        return _held(storage, replace(built.root, version=root.version))


def publish_of_log(storage: Storage, built: Built, schema: Schema) -> Index | None:
    """Make an index that was built from the log alone the newest, with what was committed meanwhile.

    Args:
        schema: as of the index.
    Returns: the index as published; None where facts were excised meanwhile, or a block was deleted because it was damaged.
    """
    built, schema = _brought_up(storage, built, schema)  # before the turn, for it may take long
    with storage.turn():
        newest = newest_root(storage)
        if newest.basis_t > built.root.basis_t:
            built, _ = _brought_up(storage, built, schema)
        return publish(storage, built, over=newest)


def _brought_up(storage: Storage, built: Built, schema: Schema) -> tuple[Built, Schema]:
    """Return an index with the rest of the log in it."""
    novelty, last = Novelty(), None
    for last in log.read(storage, built.root.basis_t):
        novelty.append(last.t, last.facts, last.columns)
        schema = schema.plus(last.facts)
    if last is None:
        return built, schema
    more = build(built.root, novelty, schema, upto_t=last.t, next_n=last.next_n, instant=last.instant)
    return Built(more.root, frozenset(more.root.reachable()) & (built.written | more.written)), schema


def newest_root(storage: Storage) -> Index:
    """Return the newest index without a hold on it; of a root that is damaged, or of more than the log has, the version only."""
    root = storage.read_root()
    nothing = Index(Blocks(storage, Cache(64 << 20)))
    if root is None:
        return nothing
    try:
        index = nothing.decode(root.body, root.version)
    except Corrupt:
        return replace(nothing, version=root.version)
    return index if index.basis_t <= storage.head() else replace(nothing, version=root.version)


def collect(storage: Storage) -> int:
    """Delete the blocks that neither the newest index needs nor one that any living process still reads; return how many.

    None are deleted while somebody writes blocks that no root names yet: nobody but the builder knows which.
    """
    with storage.turn():
        held = storage.held()
        if UNDER_WAY in held:
            return 0
        root = storage.read_root()
        reader = Index(Blocks(storage, Cache(64 << 20)))
        needed: set[bytes] = set()
        for version in held | ({root.version} if root else set()):
            if (kept := storage.read_root(version)) is not None:
                needed.update(reader.decode(kept.body, version).reachable())
        return storage.delete_blocks([name for name in storage.block_ids() if name not in needed])


class Indexing:
    """Decides when to index, and does it on a thread of its own."""

    def __init__(self, storage: Storage, newest: Callable[[], Snapshot], adopt: Callable[[Index], None]) -> None:
        """Make it for one store.

        Args:
            newest: returns the newest database that the connection knows.
            adopt: makes the connection continue from a newer index.
        """
        self._storage = storage
        self._newest = newest
        self._adopt = adopt
        self._busy = CallLock()
        self._thread: Thread | None = None
        self._not_before = 0  # rows of novelty before which another look is not worth it

    def consider(self, now: Snapshot) -> None:
        """Start indexing if there is enough novelty, or take up the index of somebody who was quicker."""
        count = now.novelty.weight
        if count < max(LEAST_ROWS, self._not_before) or self._busy.is_taken:
            return
        rows = sum(entry.rows + entry.past_rows for entry in now.index.entries.values())
        if count >= min(max(LEAST_ROWS, rows // SHARE), MOST_ROWS):
            self._not_before = count + LEAST_ROWS // 8
            thread = Thread(target=self._run, name="factstore-index", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        if not self._busy.enter_at_once():
            return  # another thread was quicker
        try:
            self._bring_up(wait=False)
        except FactStoreError:
            # The log has everything; whoever passes the threshold next tries again.
            logger.exception("indexing %s failed", self._storage.description)
        finally:
            self._busy.leave()

    def index_now(self) -> None:
        """Bring the index up to the newest database."""
        upto = self._newest().t
        with self._busy:
            # Where another index was published meanwhile, build once more, on top of that one.
            while not self._storage.read_only and self._bring_up(wait=True).basis_t < upto:
                continue

    def _bring_up(self, *, wait: bool) -> Index:
        """Build an index of the newest database, or take up a newer one; return the newest index that this process knows."""
        now = self._newest()
        index = newest_index(self._storage, now.index)
        if index.version == now.index.version and now.t > index.basis_t and self._may_build(now, wait):
            index = self._published(now)
        if index.version > now.index.version:
            self._adopt(index)
            self._not_before = 0
            if not self._storage.read_only:
                collect(self._storage)
        return self._newest().index

    def _may_build(self, now: Snapshot, wait: bool) -> bool:
        """Whether to build: not when another process is at it, unless somebody waits for this one, or it was waited for too long."""
        storage = self._storage
        return not storage.read_only and (wait or now.novelty.weight >= PATIENCE or UNDER_WAY not in storage.held())

    def _published(self, now: Snapshot) -> Index:
        old, storage = now.index, self._storage
        with under_way(storage):
            built = build(old, now.novelty, now.schema, upto_t=now.t, next_n=now.next_n, instant=now.instant)
            published = publish(storage, built, over=old)
        return published or newest_index(storage, old)

    def close(self) -> None:
        """Wait for indexing that is under way, and leave little for whoever opens the store next."""
        if self._thread is not None:
            self._thread.join()
        if self._newest().novelty.weight >= LEAST_ROWS_AT_CLOSE and not self._storage.read_only:
            self._run()
