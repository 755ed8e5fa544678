"""Care of a store: check it against its log, build its index anew, collect garbage, back it up and bring it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from factstore import indexing, log
from factstore.conn import Connection
from factstore.errors import FactStoreError, StorageError
from factstore.index import column
from factstore.index.block import block_id
from factstore.index.build import build
from factstore.index.cache import Cache
from factstore.index.column import BY_ENTITY, BY_VALUE, Everything, Rows
from factstore.index.directory import Blocks, Entry, Index
from factstore.index.novelty import Novelty, Strand
from factstore.indexing import publish
from factstore.schema import bootstrap
from factstore.schema.attribute import FIRST_FREE_ID, NO_HISTORY, Attribute, Schema
from factstore.storage import Storage

_FACTS_AT_ONCE: Final = 500_000


@dataclass(slots=True)
class Check:
    """What a check of a store found."""

    transactions: int = 0
    datoms: int = 0
    blocks: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems


def check(conn: Connection) -> Check:
    """Compare the index with the log, row by row, and read every block: checksums, order, counts, directories."""
    found = Check()
    storage = conn._storage
    index = conn.db().view.index
    try:
        novelty, schema = _replayed(storage, found)
    except FactStoreError as error:
        found.problems.append(str(error))
        return found
    for name in set(index.reachable()):
        try:
            Blocks(storage, Cache(0)).read([name])
            found.blocks += 1
        except FactStoreError as error:
            found.problems.append(str(error))
    if found.ok:
        forgetful = {fact[0] for fact in novelty.strands.get(NO_HISTORY, Strand()).facts}  # now, or before they were altered
        for attribute in schema.attributes:
            strand = novelty.strands.get(attribute.id, Strand())
            found.problems += _compare(index, attribute, strand, with_past=attribute.id not in forgetful)
    return found


def _replayed(storage: Storage, found: Check) -> tuple[Novelty, Schema]:
    novelty, schema = Novelty(bootstrap.FACTS), bootstrap.SCHEMA
    for transaction in log.read(storage, 0):
        novelty.append(transaction.t, transaction.facts, transaction.columns)
        schema = schema.plus(transaction.facts)
        found.transactions += 1
    found.datoms = novelty.count
    return novelty, schema


def _compare(index: Index, attribute: Attribute, strand: Strand, *, with_past: bool) -> Iterator[str]:
    """Say where the index differs from what the log's events up to its basis come to."""
    dtype, key = attribute.value_type.dtype, attribute.order_key
    events = column.concat([run.by_entity for run in strand.runs(dtype, key)], dtype)
    if events.added is None:
        events = events._replace(added=np.ones(events.size, bool))
    events = column.sort(events.take(events.t <= index.basis_t), BY_ENTITY, key)
    _, live, spans = column.spans_of(events) if events.size else (events, events, None)
    entry = index.entries.get(attribute.id, Entry())
    if entry.rows != live.size:
        yield f"{attribute.ident}: the index counts {entry.rows} live rows, the log has {live.size}"
    for order in (BY_ENTITY, BY_VALUE):
        rows = index.live(attribute.id, Everything(order), dtype, key)
        if not _same(rows, column.sort(live, order, key)):
            yield f"{attribute.ident}: live rows by {'entity' if order == BY_ENTITY else 'value'} are not those of the log"
        past = index.past(attribute.id, Everything(order), dtype, key)
        if not with_past or spans is None:
            continue
        expected = spans.take(column.sort_positions(spans.rows, order, key))
        if not _same(past.rows, expected.rows) or not np.array_equal(past.t1, expected.t1):
            yield f"{attribute.ident}: past rows by {'entity' if order == BY_ENTITY else 'value'} are not those of the log"


def _same(one: Rows, other: Rows) -> bool:
    return (
        one.size == other.size
        and np.array_equal(one.e, other.e)
        and np.array_equal(one.t, other.t)
        and bool(column.equal(one.v, other.v).all())
    )


def reindex(conn: Connection) -> int:
    """Build the whole index anew from the log alone; return its basis t."""
    t = rebuild(conn._storage)
    conn.db()
    return t


def rebuild(storage: Storage) -> int:
    """Build the whole index anew, whatever state the old one is in: none that can be read is needed; return its basis t."""
    _delete_damaged(storage)
    index = Index(Blocks(storage, Cache(64 << 20)))
    novelty, schema = Novelty(bootstrap.FACTS), bootstrap.SCHEMA
    written: set[bytes] = set()
    head, t, next_n, instant = storage.head(), 0, FIRST_FREE_ID, 0
    for transaction in log.read(storage, 0, head):
        t, next_n, instant = transaction.t, transaction.next_n, transaction.instant
        novelty.append(t, transaction.facts, transaction.columns)
        schema = schema.plus(transaction.facts)
        if novelty.count >= _FACTS_AT_ONCE or t == head:
            built = build(index, novelty, schema, upto_t=t, next_n=next_n, instant=instant)
            index, novelty = built.root, Novelty()
            written |= built.written
    built = built._replace(written=frozenset(set(index.reachable()) & written)) if head else None  # type: ignore[assignment]
    root = storage.read_root()
    if head and publish(storage, built, expected_version=root.version if root else 0) is None:
        raise StorageError(":db.error/storage-conflict", "the index was moved on while it was built anew; try again")
    return t


def _delete_damaged(storage: Storage) -> None:
    """Delete the blocks that are not what their ids say: a block that is there already would not be written again."""
    with storage.turn():
        storage.delete_blocks([name for name in storage.block_ids() if block_id(storage.get_blocks([name])[name]) != name])


def collect(conn: Connection) -> int:
    """Delete the blocks that neither the newest index needs nor one that any living process still reads; return how many."""
    return indexing.collect(conn._storage)


def copy(source: Storage, target: Storage, progress: Callable[[int, int], None] | None = None) -> int:
    """Bring a target store up to a source: only log records and blocks that it does not have travel. Return its new head.

    The index is copied first, the log next and the root last, so that a copy cut short is a shorter store, not a broken one.
    What was excised from the source since the last copy is taken out of the target too.
    Raises: StorageError(:db.error/backup-mismatch), when the target's log is not a beginning of the source's.
    """
    _check_same_log(source, target)
    excised = _excise_copy(source, target)
    root = source.read_root()
    hold = source.hold(root.version) if root else None
    try:
        if root:
            _copy_blocks(source, target, Index(Blocks(source, Cache(64 << 20))).decode(root.body, root.version))
        head = _copy_log(source, target, source.head(), progress)
        if root:
            known = target.read_root()
            if known is None or known.body != root.body:
                target.swap_root(root.body, expected_version=known.version if known else 0)
        if excised:
            indexing.collect(target)
        target.sync()
    finally:
        if hold:
            hold.release()
    return head


def restore_to(source: Storage, target: Storage, t: int) -> int:
    """Make an empty store what another was after transaction t, or is if it has fewer; return its head."""
    if target.head():
        raise StorageError(":db.error/not-empty", f"{target.description} holds transactions already; restoring makes a new store")
    head = _copy_log(source, target, min(t, source.head()), None)
    rebuild(target)
    return head


def _copy_log(source: Storage, target: Storage, upto: int, progress: Callable[[int, int], None] | None) -> int:
    head = target.head()
    while head < upto:
        records = source.read_log(head, upto)
        head = target.append([(record.txid, record.body) for record in records], expected_t=head)
        if progress:
            progress(head, upto)
    return head


def _excise_copy(source: Storage, target: Storage) -> bool:
    """Rewrite the target's records as the source's were, if facts were excised since; tell whether they were."""
    head = target.head()
    excised = head > 0 and any(transaction.is_excision for transaction in log.read(source, head))
    t = 0
    while excised and t < head:
        records = source.read_log(t, head)
        known = target.read_log(t, records[-1].t, max_bytes=1 << 62)
        target.rewrite([new for new, old in zip(records, known, strict=True) if new.body != old.body])
        t = records[-1].t
    return excised


def _check_same_log(source: Storage, target: Storage) -> None:
    head = target.head()
    theirs = source.read_log(head - 1, head) if head else []
    if head and (not theirs or theirs[0].txid != target.read_log(head - 1, head)[0].txid):
        raise StorageError(
            ":db.error/backup-mismatch",
            f"{target.description} holds transactions up to {head} that {source.description} does not; it is another store's copy",
            head=head,
        )


def _copy_blocks(source: Storage, target: Storage, index: Index) -> None:
    known = set(target.block_ids())
    missing = [name for name in dict.fromkeys(index.reachable()) if name not in known]
    for at in range(0, len(missing), 100):
        target.put_blocks(source.get_blocks(missing[at : at + 100]).items())


def stats(conn: Connection) -> dict[str, Any]:
    """Return the numbers of a store: transactions, datoms by attribute, what is indexed and what is novelty, bytes."""
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
