"""Maintenance of a store: check it, rebuild its index from the log, collect garbage, back it up and restore it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from factstore import log
from factstore.columns.block import block_id
from factstore.commit import indexing
from factstore.connection.connection import Connection
from factstore.errors import Corrupt, FactStoreError, StorageError
from factstore.index.build import Built, build
from factstore.index.cache import Cache
from factstore.index.directory import UNKNOWN, Blocks, Entry, Index
from factstore.index.novelty import Novelty
from factstore.schema import bootstrap
from factstore.schema.attribute import Schema
from factstore.storage import Record, Storage
from factstore.upkeep.checking import Check as Check
from factstore.upkeep.checking import bodies
from factstore.upkeep.checking import check as check

__all__ = ["Check", "check", "collect", "copy", "is_building", "rebuild", "reindex", "restore_to", "stats"]

logger = logging.getLogger("factstore")


def collect(conn: Connection) -> int:
    """Delete the blocks that neither the newest index nor one held by a process refers to; return their number.

    While another process builds an index, nothing is deleted; that process collects garbage when it has finished.
    """
    return indexing.collect(conn._storage)


def is_building(conn: Connection) -> bool:
    """Return whether a process is building an index now, so that `collect` deletes nothing."""
    return indexing.UNDER_WAY in conn._storage.held()


# -- rebuilding the index


def reindex(conn: Connection) -> int:
    """Build the whole index from the log alone, and continue with it; return its basis t."""
    t = rebuild(conn._storage)
    conn._committer.adopt(indexing.newest_index(conn._storage, conn._committer.newest.index))
    return t


def rebuild(storage: Storage) -> int:
    """Build the whole index from the log alone, in any state of the old index; return its basis t.

    Other processes may read, commit, index, excise and collect garbage in the meantime. The new index includes all
    transactions that the newest index contains when it is published.

    Args:
        storage: as `factstore.storage.open_storage(uri)` opens it.
    """
    with indexing.under_way(storage):
        _delete_damaged(storage)
        published = None
        while published is None and storage.head():
            excised_t = max(indexing.newest_root(storage).excised_t, 0)
            published = indexing.publish_of_log(storage, *_built_from_log(storage, excised_t))
    _collect_old(storage)
    return published.basis_t if published else 0


def _built_from_log(storage: Storage, excised_t: int) -> tuple[Built, Schema]:
    """Return an index of the log up to its current end, built in parts, and the schema as of its end."""
    index, schema = Index(Blocks(storage, Cache(64 << 20)), excised_t=excised_t), bootstrap.SCHEMA
    novelty, written, head = Novelty(bootstrap.FACTS), set[bytes](), storage.head()
    for transaction in log.read(storage, 0, head):
        novelty.append(transaction.t, transaction.facts, transaction.columns)
        schema = schema.plus(transaction.facts)
        if transaction.is_excision:
            index = replace(index, excised_t=max(index.excised_t, transaction.t))
        if novelty.weight >= indexing.MOST_ROWS or transaction.t == head:
            built = build(
                index, novelty, schema, upto_t=transaction.t, next_n=transaction.next_n, instant=transaction.instant
            )
            index, novelty, written = built.root, Novelty(), written | built.written
    return Built(index, frozenset(index.reachable()) & written), schema


def _delete_damaged(storage: Storage) -> None:
    """Delete the blocks whose content does not match their ids, because an existing block is not written again."""
    damaged = _damaged(storage, storage.block_ids())
    with storage.turn():
        storage.delete_blocks(_damaged(storage, damaged))


def _damaged(storage: Storage, names: Iterable[bytes]) -> list[bytes]:
    damaged = []
    for name, body in bodies(storage, names):
        if isinstance(body, Corrupt):
            continue  # deleted in the meantime
        if isinstance(body, FactStoreError):
            raise body
        if block_id(body) != name:
            damaged.append(name)
    return damaged


def _collect_old(storage: Storage) -> None:
    try:
        indexing.collect(storage)
    except Corrupt:
        logger.warning(
            "%s: a running process still reads the damaged index; collect garbage when it has ended",
            storage.description,
        )


# -- copies


def copy(source: Storage, target: Storage, progress: Callable[[int, int], None] | None = None) -> int:
    """Copy the log records and blocks that a target store lacks from a source; return the target's new head.

    The log is copied first, then the index, and its root last. So an interrupted copy is a valid store that lacks the
    newest transactions or the index. Facts excised from the source, before or during the copy, are erased from the
    target too.

    Args:
        source, target: as `factstore.storage.open_storage(uri)` opens them.
        progress: is called with the t up to which the log is copied, and the t of its end.
    Raises: StorageError(:db.error/backup-mismatch), if the target's log is not a beginning of the source's.
    """
    with target.turn():
        _check_same_log(source, target)
        while not _is_copied(source, target, None, progress):
            continue
    indexing.collect(target)
    target.sync()
    return target.head()


def restore_to(source: Storage, target: Storage, t: int) -> int:
    """Copy a store as of transaction t, or all of it if it has fewer, to an empty store; return its head.

    Args:
        source, target: as `factstore.storage.open_storage(uri)` opens them.
    """
    with target.turn():
        if target.head():
            raise StorageError(
                ":db.error/not-empty", f"{target.description} holds transactions already; restoring makes a new store"
            )
        while not _is_copied(source, target, t, None):
            continue
        rebuild(target)
    return target.head()


def _is_copied(source: Storage, target: Storage, upto: int | None, progress: Callable[[int, int], None] | None) -> bool:
    """Copy missing records, and the index if no t is given; return False if facts were excised in the meantime."""
    index = indexing.newest_index(
        source, Index(Blocks(source, Cache(64 << 20)))
    )  # also holds the blocks that it refers to
    end = source.head() if upto is None else min(upto, source.head())
    if not _excise_copy(source, target, index, end) or not _copy_log(source, target, index, end, progress):
        return False
    if upto is None:
        _copy_index(target, index)
    return indexing.is_same_log(source, index)


def _copy_log(
    source: Storage, target: Storage, index: Index, upto: int, progress: Callable[[int, int], None] | None
) -> bool:
    """Append the records up to a t; return False if facts were excised since the index was read."""
    head = target.head()
    while head < upto:
        records = source.read_log(head, upto)
        if not indexing.is_same_log(source, index):
            return False
        head = target.append([(record.txid, record.body) for record in records], expected_t=head)
        if progress:
            progress(head, upto)
    return True


def _excise_copy(source: Storage, target: Storage, index: Index, upto: int) -> bool:
    """Erase from the target the facts that were excised from the source; return False if more are excised.

    A target that contains the record of an excision has been rewritten already, because both happen in one write.
    """
    head, end = target.head(), min(index.excised_t, upto)
    if not head or (head >= index.excised_t and index.excised_t != UNKNOWN):
        return True
    changed: list[Record] = []
    t = 0
    while t < head:
        records = source.read_log(t, head)
        copied = target.read_log(t, records[-1].t, max_bytes=1 << 62)
        changed += [new for new, old in zip(records, copied, strict=True) if new.body != old.body]
        t = records[-1].t
    more = source.read_log(head, end, max_bytes=1 << 62) if head < end else []
    if not indexing.is_same_log(source, index):
        return False
    if changed or more:
        # The target's own index contains the facts; until the source's index replaces it, readers use the log alone.
        root = target.read_root()
        nothing = Index(index.blocks, excised_t=end)
        appended = [(record.txid, record.body) for record in more]
        target.rewrite(
            changed,
            appended=appended,
            expected_t=head,
            root=nothing.encode(),
            expected_version=root.version if root else 0,
        )
    return True


def _check_same_log(source: Storage, target: Storage) -> None:
    head = target.head()
    theirs = source.read_log(head - 1, head) if head else []
    if head and (not theirs or theirs[0].txid != target.read_log(head - 1, head)[0].txid):
        raise StorageError(
            ":db.error/backup-mismatch",
            f"{target.description} contains transactions up to {head} that {source.description} does not;"
            " the two are different stores, or one store to whose copies different transactions were committed",
            head=head,
        )


def _copy_index(target: Storage, index: Index) -> None:
    """Copy an index to the target, unless the rank of its own index is higher."""
    root = target.read_root()
    existing = Index(index.blocks) if root is None else index.decode(root.body, root.version)
    if index.rank <= existing.rank:
        return
    existing_blocks = set(target.block_ids())
    missing = [name for name in dict.fromkeys(index.reachable()) if name not in existing_blocks]
    for at in range(0, len(missing), 100):
        target.put_blocks(index.blocks.storage.get_blocks(missing[at : at + 100]).items())
    target.swap_root(index.encode(), expected_version=existing.version)


# -- numbers


def stats(conn: Connection) -> dict[str, Any]:
    """Return the numbers of a store: transactions, datoms by attribute, indexed ones and novelty, bytes."""
    db = conn.db()
    view = db.view
    attributes = {}
    for a in view.attributes():
        entry = view.index.entries.get(a, Entry())
        strand = view.layers[0].novelty.strands.get(a)
        attributes[str(db.schema.attribute(a).ident)] = {
            "live": view.count(a) if strand is None else view.by_entity(a).size,
            "past": entry.past_rows,
            "novelty": 0 if strand is None else strand.count,
        }
    return {
        "t": db.basis_t,
        "index_t": view.index.basis_t,
        "datoms": sum(row["live"] for row in attributes.values()),
        "novelty": view.layers[0].novelty.count,
        "attributes": attributes,
        "storage": conn._storage.usage(),
    }
