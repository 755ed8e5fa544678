"""Excision: facts are erased from the log and the index, and a record of the excision is added.

    records without the facts ──┐
    index without the facts   ──┼──► one write of the storage, holding the writer lock
    record of the excision    ──┘

If the process dies before this write, the store is unchanged except for blocks that no root refers to; after it, the
excision is complete. Every other process finds the record before it appends, and continues with the pruned index, so
erased facts in its memory do not return. An index built from the old log is not published: the root has changed.
Law: log and index are those of a store that never contained the facts; t, instants, keys and schema are unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from factstore import log
from factstore.commit import indexing, outcome
from factstore.datom import Fact, partition_of
from factstore.errors import DatabaseError, StorageError, UnknownOutcome
from factstore.index.build import build
from factstore.index.cache import Cache
from factstore.index.directory import Blocks, Index
from factstore.index.novelty import Novelty
from factstore.index.prune import Doomed, prune
from factstore.rendering import shown_as_record
from factstore.schema import bootstrap
from factstore.schema.attribute import EXCISE, EXCISE_BEFORE, FIRST_FREE_ID, NO_HISTORY, TX_INSTANT, Attribute, Schema
from factstore.storage import Record, Storage
from factstore.storage.protocol import TXID_BYTES
from factstore.values.quoting import quoted

if TYPE_CHECKING:
    from factstore.commit.commit import Committer
    from factstore.commit.outcome import Sent
    from factstore.db.database import Database
    from factstore.index.view import View

_SCAN_PAYS = 8  # if at least one record in 8 is affected, reading all records costs no more than finding those


@shown_as_record
class Excision(NamedTuple):
    """The result of an excision."""

    t: int  # of the transaction that records the excision
    datoms: int  # how many assertions and retractions were erased from the log
    transactions: int  # how many transactions contained them


def excise(committer: Committer, target: Any, before_t: int | None) -> Excision:
    """Erase an entity or the values of an attribute from a store; see `Connection.excise`."""
    sent: Sent = []
    try:
        excision = _excise(committer, target, before_t, sent)
        committer.caught_up()
        indexing.collect(committer.storage)
        return excision
    except BaseException as error:
        committer.ended(error, sent)
        raise


def would_excise(committer: Committer, target: Any, before_t: int | None) -> Excision:
    """Return what an excision would erase; see `Connection.excise`."""
    db = committer.caught_up()
    doomed = _doomed(db, _target(db, target), db.basis_t + 1 if before_t is None else before_t)
    rewritten, erased = _rest_of_log(committer.storage, db, doomed)
    return Excision(db.next_t, erased, len(rewritten))


def _excise(committer: Committer, target: Any, before_t: int | None, sent: Sent) -> Excision:
    storage = committer.storage
    with committer.alone("an excision") as db:
        eid = _target(db, target)
        doomed = _doomed(db, eid, db.basis_t + 1 if before_t is None else before_t)
        rewritten, erased = _rest_of_log(storage, db, doomed)
        index = indexing.newest_index(storage, Index(Blocks(storage, Cache(64 << 20))))
        pruned = replace(_pruned(index, rewritten, db, doomed), excised_t=db.next_t)
        record = _record(db, eid, before_t, max(committer.clock(), db.last_instant))
        sent.append((record[0], db.basis_t))
        try:
            storage.rewrite(
                rewritten,
                appended=[record],
                expected_t=db.basis_t,
                root=pruned.encode(),
                expected_version=index.version,
            )
        except UnknownOutcome as error:
            if not outcome.is_applied(storage, error, sent):
                sent.clear()
                raise outcome.not_applied(error) from error
        except StorageError:
            sent.clear()  # certainly not applied
            raise
        return Excision(db.next_t, erased, len(rewritten))


def _record(db: Database, eid: int, before_t: int | None, instant: int) -> tuple[bytes, bytes]:
    """Return the txid and the body of the record of the excision."""
    t, tx = db.next_t, db.next_tx
    facts: list[Fact] = [(tx, TX_INSTANT, instant, t, True), (tx, EXCISE, eid, t, True)]
    if before_t is not None:
        facts.append((tx, EXCISE_BEFORE, before_t, t, True))
    return os.urandom(TXID_BYTES), log.Encoder().encode(t, instant, db.next_n, facts)


def _target(db: Database, target: Any) -> int:
    eid = db.entid(target)
    if eid is None or not db.was_minted(eid):
        why = "no entity has this value" if isinstance(target, tuple | list) else "there is no such entity"
        raise DatabaseError(
            ":db.error/invalid-excision",
            f"expected an entity or an attribute to excise, got {quoted(target)}: {why}",
            target=target,
        )
    attribute = db.schema.find(eid)
    if partition_of(eid) == 0 and (attribute is None or attribute.id < FIRST_FREE_ID):
        raise DatabaseError(
            ":db.error/invalid-excision",
            f"{db.ident(eid) or eid} belongs to the schema, which cannot be excised",
            target=target,
        )
    return eid


# -- the facts to erase


def _doomed(db: Database, eid: int, before: int) -> Doomed:
    if partition_of(eid) == 0:
        composites = db.schema.composites_of(eid)  # they repeat the values
        return Doomed(frozenset(), frozenset({eid, *(attribute.id for attribute in composites)}), before)
    return Doomed(frozenset(_with_components(db, eid)), frozenset(), before)


def _with_components(db: Database, eid: int) -> set[int]:
    """Return an entity and all its components of any time, except those that are components of other entities now."""
    view, history = db.view, db.view.cut(is_history=True)
    components = [attribute.id for attribute in db.schema.attributes if attribute.is_component]
    entities, waiting = {eid}, [eid]
    while waiting:
        whole = waiting.pop()
        for part in {fact[2] for a in components for fact in history.facts_of(whole, a)} - entities:
            if partition_of(part) and _wholes(view, components, part) <= entities:
                entities.add(part)
                waiting.append(part)
    return entities


def _wholes(view: View, components: list[int], part: int) -> set[int]:
    return {whole for a in components for whole in view.holders_of(a, part)}


# -- the log


def _rest_of_log(storage: Storage, db: Database, doomed: Doomed) -> tuple[list[Record], int]:
    """Return the records that contain doomed facts, without these, and the number of these facts."""
    encode = log.Encoder().encode
    eraser = _Eraser(doomed, db.schema)
    rewritten, erased = [], 0
    for record in _records(storage, db, doomed):
        old = log.decode(record)
        facts, columns = eraser.rest_of(old)
        erased_here = len(old.all_facts()) - len(old._replace(facts=facts, columns=columns).all_facts())
        if erased_here:
            rewritten.append(Record(record.t, record.txid, encode(old.t, old.instant, old.next_n, facts, columns)))
            erased += erased_here
    return rewritten, erased


def _records(storage: Storage, db: Database, doomed: Doomed) -> Iterator[Record]:
    """Yield the records that may contain doomed facts, oldest first."""
    ts = _touched(db, doomed)
    if ts is None or len(ts) * _SCAN_PAYS > db.basis_t:
        t = 0
        while t < db.basis_t:
            for record in storage.read_log(t, db.basis_t):
                yield record
                t = record.t
        return
    for t in sorted(ts):
        yield from storage.read_log(t - 1, t)


def _touched(db: Database, doomed: Doomed) -> set[int] | None:
    """Return the t of all assertions and retractions of doomed facts; None if the index may lack some of them."""
    history = db.view.cut(is_history=True)
    attributes = doomed.attributes or [
        attribute.id for attribute in db.schema.attributes if attribute.id >= FIRST_FREE_ID
    ]
    if any(history.facts_of(a, NO_HISTORY) for a in attributes):
        return None
    ts = {fact[3] for e in doomed.entities for fact in (*history.facts_about(e), *history.facts_referring(e))}
    return ts.union(*(history.by_entity(a).t.tolist() for a in doomed.attributes)) - {0}


class _Eraser:
    """Erases doomed facts from transactions, which it must get in the order of the log.

    A retraction is erased with the assertion that it ends, at any time later, because it contains the value too.
    """

    def __init__(self, doomed: Doomed, schema: Schema) -> None:
        self._doomed = doomed
        self._schema = schema
        self._gone: set[tuple[int, int, Any]] = set()  # facts whose assertion was erased and not retracted yet

    def rest_of(self, record: log.TxRecord) -> tuple[list[Fact], dict[int, Any] | None]:
        """Return the facts and the columns of a transaction that remain."""
        facts = [fact for fact in record.facts if not self._is_erased(fact)]
        columns = {
            a: rest
            for a, rows in (record.columns or {}).items()
            if (rest := self._rest(self._schema.attribute(a), rows)).size
        }
        return facts, columns or None

    def _is_erased(self, fact: Fact) -> bool:
        e, a, v, t, added = fact
        if not added:
            is_gone = (e, a, v) in self._gone
            self._gone.discard((e, a, v))
            return is_gone
        if t >= self._doomed.before or not self._doomed.concerns(self._schema.attribute(a), e, v):
            return False
        self._gone.add((e, a, v))
        return True

    def _rest(self, attribute: Attribute, rows: Any) -> Any:
        mask = self._doomed.mask(attribute, rows)
        erased = rows.take(mask)
        self._gone.update((e, attribute.id, v) for e, v in zip(erased.e.tolist(), erased.v.tolist(), strict=True))
        return rows.take(~mask) if erased.size else rows


# -- the index


def _pruned(index: Index, rewritten: Sequence[Record], db: Database, doomed: Doomed) -> Index:
    """Return the index of the log as it will be, up to its end; its blocks are written, its root is not."""
    changed = {record.t: record for record in rewritten if record.t > index.basis_t}
    novelty = Novelty(() if index.basis_t >= 0 else bootstrap.FACTS)
    for transaction in log.read(index.blocks.storage, max(index.basis_t, 0), db.basis_t):
        kept = log.decode(changed[transaction.t]) if transaction.t in changed else transaction
        novelty.append(kept.t, kept.facts, kept.columns)
    pruned = prune(index, doomed, db.schema).root
    return build(pruned, novelty, db.schema, upto_t=db.basis_t, next_n=db.next_n, instant=db.last_instant).root
