"""Indexing: the process that first has enough novelty merges it into the index, in the background, in a pause.

    reader      holds the root that it reads
    builder     sets its mark, builds, and publishes if the root that was the newest when it began still is
    collector   holds the writer lock; it deletes nothing while a mark is set, otherwise all blocks that no newest or
    held root reaches

Law: the rank of a root (`Index.rank`) is never lower than that of the root before it, and all its blocks exist.
`docs/architecture.md` explains why that is sufficient.
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
from factstore.commit.clock import machine_clock
from factstore.commit.indexed_schema import schema_of
from factstore.concurrency.limits import started
from factstore.concurrency.locks import CallLock, ring, silent_bell
from factstore.db.snapshot import Snapshot
from factstore.errors import Closed, Conflict, Corrupt, FactStoreError
from factstore.index.build import Built, Watch, build
from factstore.index.cache import Cache
from factstore.index.directory import Blocks, Index
from factstore.index.novelty import Novelty
from factstore.schema import bootstrap
from factstore.schema.attribute import FIRST_FREE_ID, Schema
from factstore.storage import Storage

logger = logging.getLogger("factstore")

LEAST_ROWS: Final = 250_000
MOST_ROWS: Final = 1_000_000
# At closing, fewer rows are indexed too: the next process that opens the store reads the log from the end of the index.
LEAST_ROWS_AT_CLOSE: Final = 25_000
# Novelty grows in proportion to the index: a merge rewrites most blocks of a scattered attribute even if little is new,
# so the work per fact is bounded only if a merge adds a fixed share of the index.
SHARE: Final = 8

PATIENCE: Final = 2 * MOST_ROWS  # rows of novelty after which this process no longer waits for another builder

# Indexing takes the interpreter and a processor from commits. So it begins when less than this number of transactions
# was committed in this time, at the latest with twice as much novelty.
PAUSE_SECONDS: Final = 0.1
PAUSE_TRANSACTIONS: Final = 10

_LOOK_SECONDS: Final = 0.2  # between two reports of the thread's progress
UNDER_WAY: Final = (
    0  # the builder's mark, a version that no root has: its holder writes blocks that no root refers to yet
)


class Epoch:
    """An identity that the databases of one connection share, between two excisions, with the connection's clock."""

    __slots__ = ("__weakref__", "clock")

    def __init__(self, clock: Callable[[], int] = machine_clock) -> None:
        self.clock = clock  # microseconds since 1970


# -- reading


def newest(storage: Storage, cache: Cache, clock: Callable[[], int] = machine_clock) -> Snapshot:
    """Return the newest database, read from the index and the log, with no excision between the two reads."""
    while True:
        snapshot = _read(storage, cache, clock)
        if is_same_log(storage, snapshot.index):
            return snapshot


def _read(storage: Storage, cache: Cache, clock: Callable[[], int]) -> Snapshot:
    index = newest_index(storage, Index(Blocks(storage, cache)))
    if index.basis_t < 0:
        novelty, schema, t, next_n, instant = Novelty(bootstrap.FACTS), bootstrap.SCHEMA, 0, FIRST_FREE_ID, 0
    else:
        novelty, schema, t, next_n, instant = Novelty(), schema_of(index), index.basis_t, index.next_n, index.instant
    for transaction in log.read(storage, t):
        t, instant, next_n = transaction.t, transaction.instant, transaction.next_n
        novelty.append(t, transaction.facts, transaction.columns)
        schema = schema.plus(transaction.facts)
    return Snapshot(index, novelty, schema, cache, t, next_n, instant, Epoch(clock))


def newest_index(storage: Storage, index: Index) -> Index:
    """Return the index of the newest root, or the given one if it is the newest.

    Garbage collection keeps the blocks of the index as long as the object is referenced.
    """
    while (root := storage.read_root()) is not None and root.version != index.version:
        try:
            newest = _held(storage, index.decode(root.body, root.version))
        except Conflict:
            continue  # a newer root was published before this one was held
        _check_basis(storage, newest)
        return newest
    return index


def _check_basis(storage: Storage, index: Index) -> None:
    """Raise `Corrupt` if the index contains transactions that the log does not."""
    if index.basis_t > (head := storage.head()):
        message = (
            f"{storage.description} is damaged: its log ends at t={head}, but its index contains transactions up to"
            f" t={index.basis_t}; restore a backup, or continue with the shorter log after `factstore reindex`"
        )
        raise Corrupt(":db.error/storage-corrupt", message, head=head, index_t=index.basis_t)


def is_same_log(storage: Storage, index: Index) -> bool:
    """Return whether no facts were excised since an index was the newest; then all reads of the log since agree."""
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
    """Set the builder's mark for a `with` block: no process collects blocks, and other processes do not build.

    The mark is set while holding the writer lock, so no collector is running at that moment.
    """
    with storage.turn():
        sign = storage.hold(UNDER_WAY)
    with sign:
        yield


def publish(storage: Storage, built: Built, *, over: Index) -> Index | None:
    """Make a built index the newest, if `over` is still the newest and its rank is not higher.

    Args:
        over: the newest index that the caller knows. If facts were excised since the caller began to read, its rank is
            higher.
    Returns: the index as published; None if another one was published first, or a damaged block was deleted.
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
    """Make an index that was built from the log alone the newest, including transactions committed since.

    Args:
        schema: the schema as of the index.
    Returns: the index as published; None if facts were excised since, or a damaged block was deleted.
    """
    built, schema = _brought_up(storage, built, schema)  # before the writer lock is acquired, because it may take long
    with storage.turn():
        newest = newest_root(storage)
        if newest.basis_t > built.root.basis_t:
            built, _ = _brought_up(storage, built, schema)
        return publish(storage, built, over=newest)


def _brought_up(storage: Storage, built: Built, schema: Schema) -> tuple[Built, Schema]:
    """Return an index that also contains the rest of the log, and its schema."""
    novelty, last = Novelty(), None
    for last in log.read(storage, built.root.basis_t):
        novelty.append(last.t, last.facts, last.columns)
        schema = schema.plus(last.facts)
    if last is None:
        return built, schema
    more = build(built.root, novelty, schema, upto_t=last.t, next_n=last.next_n, instant=last.instant)
    return Built(more.root, frozenset(more.root.reachable()) & (built.written | more.written)), schema


def newest_root(storage: Storage) -> Index:
    """Return the newest index, not held; an empty one of its version if the root is damaged or ahead of the log."""
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
    """Delete the blocks that neither the newest index nor one held by a process refers to; return their number.

    No block is deleted while a builder's mark is set: only the builder knows which new blocks its root will refer to.
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


def enough(index: Index) -> int:
    """Return how much novelty there must be, in rows, before it is merged into an index."""
    rows = sum(entry.rows + entry.past_rows for entry in index.entries.values())
    return min(max(LEAST_ROWS, rows // SHARE), MOST_ROWS)


class Indexing:
    """Decides when to index, and indexes on its own thread."""

    def __init__(self, storage: Storage, newest: Callable[[], Snapshot], adopt: Callable[[Index], None]) -> None:
        """Index one store for one connection.

        Args:
            newest: returns the newest database that the connection knows.
            adopt: makes the connection continue from a newer index.
        """
        self._storage = storage
        self._newest = newest
        self._adopt = adopt
        self._busy = CallLock()
        self._thread: Thread | None = None
        self._not_before = 0  # rows of novelty up to which another check is not worthwhile
        self._merged = (0, 0)  # datoms merged by the thread, of all that it merges
        self._abandoned = False  # the connection closes without waiting for the thread
        self._bell = silent_bell()  # wakes the thread while it waits for a pause
        self._is_closing = False
        self.pauses = 1  # the length of a pause in PAUSE_SECONDS; the process with the shortest one builds first

    def consider(self, now: Snapshot) -> None:
        """Start indexing if there is enough novelty, or adopt the index of a process that was faster."""
        count = now.novelty.weight
        if count < max(LEAST_ROWS, self._not_before) or self._busy.is_taken:
            return
        if self._is_running:
            self._not_before = count + LEAST_ROWS // 8
            ring(self._bell)
            return
        least = enough(now.index)
        if count >= least:
            self._not_before = count + LEAST_ROWS // 8
            # First assigned: if an exception ends this call in between, `close` still finds the thread.
            self._thread = Thread(target=self._run_in_pause, args=(least,), name="factstore-index", daemon=True)
            started(self._thread)

    @property
    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def keep_pace(self) -> None:
        """Wait for the thread if novelty is large, so that it cannot grow without limit while batches are committed."""
        thread = self._thread
        if thread is not None and thread.is_alive() and self._newest().novelty.weight >= PATIENCE:
            thread.join()

    def _run_in_pause(self, least: int) -> None:
        """Index when there is a pause between commits, or novelty has grown too large to wait.

        Args:
            least: rows of novelty; if there are less, there is a new index already.
        """
        most = min(2 * least, MOST_ROWS)
        while least <= (now := self._newest()).novelty.weight < most and not self._is_closing:
            if self._bell.acquire(timeout=self.pauses * PAUSE_SECONDS):
                self._run(builds=False)
            elif self._newest().t - now.t < PAUSE_TRANSACTIONS:
                break
        if self._newest().novelty.weight >= least and not self._abandoned:
            self._run()

    def _run(self, watch: Watch | None = None, *, builds: bool = True) -> None:
        if not self._busy.enter_at_once():
            return  # another thread was faster
        try:
            self._bring_up(wait=False, watch=watch, builds=builds)
        except FactStoreError:
            # Nothing is lost, because the log has all facts; the next commit above the threshold tries again.
            if not self._abandoned:
                logger.exception("indexing %s failed", self._storage.description)
        finally:
            self._busy.leave()

    def _note(self, merged: int, of_all: int) -> None:
        """Remember the progress of a build. Raises: Closed, if no caller waits for the build any more."""
        self._merged = merged, of_all
        if self._abandoned:
            raise Closed(":db.error/storage-closed", f"{self._storage.description} was closed")

    def index_now(self) -> None:
        """Bring the index up to the newest database."""
        upto = self._newest().t
        with self._busy:
            # If another index was published in the meantime, build again, based on that one.
            while not self._storage.read_only and self._bring_up(wait=True).basis_t < upto:
                continue

    def _bring_up(self, *, wait: bool, watch: Watch | None = None, builds: bool = True) -> Index:
        """Build an index of the newest database, or adopt a newer one; return the newest known index."""
        now = self._newest()
        index = newest_index(self._storage, now.index)
        is_behind = index.version == now.index.version and now.t > index.basis_t
        if builds and is_behind and self._may_build(now, wait):
            index = self._published(now, watch or self._note)
        if index.version > now.index.version:
            self._adopt(index)
            self._not_before = 0
            ring(self._bell)  # there may be nothing more to wait for
            if not self._storage.read_only:
                collect(self._storage)
        return self._newest().index

    def _may_build(self, now: Snapshot, wait: bool) -> bool:
        """Return whether to build.

        While another process builds, this one does not, unless a caller waits for it or novelty has grown too large.
        """
        storage = self._storage
        return not storage.read_only and (wait or now.novelty.weight >= PATIENCE or UNDER_WAY not in storage.held())

    def _published(self, now: Snapshot, watch: Watch) -> Index:
        old, storage = now.index, self._storage
        with under_way(storage):
            built = build(
                old, now.novelty, now.schema, upto_t=now.t, next_n=now.next_n, instant=now.instant, watch=watch
            )
            published = publish(storage, built, over=old)
        return published or newest_index(storage, old)

    def close(self, *, wait: bool = True, progress: Watch | None = None) -> None:
        """End the indexing thread.

        Args:
            wait: let the thread finish, and index the rest if it is large, so that the store opens quickly; otherwise
                abandon the index that is being built.
            progress: called with the numbers of datoms that are merged, and of all.
        """
        self._abandoned = not wait
        self._is_closing = True
        ring(self._bell)
        thread = self._thread
        try:
            while thread is not None and thread.is_alive():
                thread.join(_LOOK_SECONDS if progress else None)
                if progress and thread.is_alive():
                    progress(*self._merged)
        except BaseException:
            self._abandoned = True  # the thread must not go on when the storage is closed
            if thread is not None and thread.is_alive():
                thread.join()
            raise
        if wait and self._newest().novelty.weight >= LEAST_ROWS_AT_CLOSE and not self._storage.read_only:
            self._run(progress)
