"""Excision: facts that must not be kept are taken out of the log and the index, and a record stays that it was done.

    records without the facts ──┐
    index without the facts   ──┼──► one write of the storage, in the writer's turn
    record of the excision    ──┘

A process that dies before this write leaves the store as it was, but for blocks that no root names; afterwards all is
done. Every other process finds the record before it appends anything, and goes on from the pruned index: what it still
remembers never comes back. An index that was built of the old log is not published any more, for the root has moved on.
Law: log and index are those of a store that was never told these facts; t, instants, transaction keys and schema stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from factstore import log
from factstore.commit import indexing
from factstore.datom import Fact, partition_of
from factstore.errors import DatabaseError, UnknownOutcome
from factstore.index.build import build
from factstore.index.cache import Cache
from factstore.index.directory import Blocks, Index
from factstore.index.novelty import Novelty
from factstore.index.prune import Doomed, prune
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

_SCAN_PAYS = 8  # where one record in so many is touched, reading all of them costs no more than finding those


class Excision(NamedTuple):
    """What an excision did."""

    t: int  # of the transaction that records it
    datoms: int  # assertions and retractions taken out of the log
    transactions: int  # in which they were


def excise(committer: Committer, target: Any, before_t: int | None) -> Excision:
    """Take an entity or the values of an attribute out of a store; see `Connection.excise`."""
    sent: Sent = []
    try:
        done = _excise(committer, target, before_t, sent)
        committer.caught_up()
        indexing.collect(committer.storage)
        return done
    except BaseException as error:
        committer.ended(error, sent)
        raise


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
        except UnknownOutcome:
            if storage.resolve(record[0]) is None:
                raise
        return Excision(db.next_t, erased, len(rewritten))


def _record(db: Database, eid: int, before_t: int | None, instant: int) -> tuple[bytes, bytes]:
    """Return the name and the body of the record that says what was excised."""
    t, tx = db.next_t, db.next_tx
    facts: list[Fact] = [(tx, TX_INSTANT, instant, t, True), (tx, EXCISE, eid, t, True)]
    if before_t is not None:
        facts.append((tx, EXCISE_BEFORE, before_t, t, True))
    return os.urandom(TXID_BYTES), log.Encoder().encode(t, instant, db.next_n, facts)


def _target(db: Database, target: Any) -> int:
    eid = db.entid(target)
    if eid is None or not db.was_minted(eid):
        raise DatabaseError(
            ":db.error/invalid-excision",
            f"expected an entity or an attribute to excise, got {quoted(target)}",
            target=target,
        )
    attribute = db.schema.find(eid)
    if partition_of(eid) == 0 and (attribute is None or attribute.id < FIRST_FREE_ID):
        raise DatabaseError(
            ":db.error/invalid-excision", f"{db.ident(eid) or eid} belongs to the schema, which stays", target=target
        )
    return eid


# -- what must go


def _doomed(db: Database, eid: int, before: int) -> Doomed:
    if partition_of(eid) == 0:
        composites = db.schema.composites_of(eid)  # they repeat the values
        return Doomed(frozenset(), frozenset({eid, *(attribute.id for attribute in composites)}), before)
    return Doomed(frozenset(_with_components(db, eid)), frozenset(), before)


def _with_components(db: Database, eid: int) -> set[int]:
    """Return an entity and all that ever was a part of it, but for what is a part of something else by now."""
    view, history = db.view, db.view.cut(is_history=True)
    components = [attribute.id for attribute in db.schema.attributes if attribute.is_component]
    found, waiting = {eid}, [eid]
    while waiting:
        whole = waiting.pop()
        for part in {fact[2] for a in components for fact in history.facts_of(whole, a)} - found:
            if partition_of(part) and _wholes(view, components, part) <= found:
                found.add(part)
                waiting.append(part)
    return found


def _wholes(view: View, components: list[int], part: int) -> set[int]:
    return {whole for a in components for whole in view.holders_of(a, part)}


# -- the log


def _rest_of_log(storage: Storage, db: Database, doomed: Doomed) -> tuple[list[Record], int]:
    """Return the records that have such facts without them, and how many facts those were."""
    encode = log.Encoder().encode
    eraser = _Eraser(doomed, db.schema)
    rewritten, erased = [], 0
    for record in _records(storage, db, doomed):
        was = log.decode(record)
        facts, columns = eraser.rest_of(was)
        gone = len(was.all_facts()) - len(was._replace(facts=facts, columns=columns).all_facts())
        if gone:
            rewritten.append(Record(record.t, record.txid, encode(was.t, was.instant, was.next_n, facts, columns)))
            erased += gone
    return rewritten, erased


def _records(storage: Storage, db: Database, doomed: Doomed) -> Iterator[Record]:
    """Yield the records that may have such facts, oldest first."""
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
    """Return the t of all events of such facts; None when the index may not know them all."""
    history = db.view.cut(is_history=True)
    concerned = doomed.attributes or [
        attribute.id for attribute in db.schema.attributes if attribute.id >= FIRST_FREE_ID
    ]
    if any(history.facts_of(a, NO_HISTORY) for a in concerned):
        return None
    ts = {fact[3] for e in doomed.entities for fact in (*history.facts_about(e), *history.facts_referring(e))}
    return ts.union(*(history.by_entity(a).t.tolist() for a in doomed.attributes)) - {0}


class _Eraser:
    """Goes through the log from its beginning and says what is left of each transaction.

    A retraction goes with the assertion that it ends, whenever it came: it has the value too.
    """

    def __init__(self, doomed: Doomed, schema: Schema) -> None:
        self._doomed = doomed
        self._schema = schema
        self._gone: set[tuple[int, int, Any]] = set()  # what was asserted, went, and is not retracted yet

    def rest_of(self, was: log.TxRecord) -> tuple[list[Fact], dict[int, Any] | None]:
        facts = [fact for fact in was.facts if not self._goes(fact)]
        columns = {
            a: rest
            for a, rows in (was.columns or {}).items()
            if (rest := self._rest(self._schema.attribute(a), rows)).size
        }
        return facts, columns or None

    def _goes(self, fact: Fact) -> bool:
        e, a, v, t, added = fact
        if not added:
            known = (e, a, v) in self._gone
            self._gone.discard((e, a, v))
            return known
        if t >= self._doomed.before or not self._doomed.concerns(self._schema.attribute(a), e, v):
            return False
        self._gone.add((e, a, v))
        return True

    def _rest(self, attribute: Attribute, rows: Any) -> Any:
        gone = self._doomed.mask(attribute, rows)
        went = rows.take(gone)
        self._gone.update((e, attribute.id, v) for e, v in zip(went.e.tolist(), went.v.tolist(), strict=True))
        return rows.take(~gone) if went.size else rows


# -- the index


def _pruned(index: Index, rewritten: Sequence[Record], db: Database, doomed: Doomed) -> Index:
    """Return the index of what the log will hold, as far as the log goes; its blocks are written, its root is not."""
    changed = {record.t: record for record in rewritten if record.t > index.basis_t}
    novelty = Novelty(() if index.basis_t >= 0 else bootstrap.FACTS)
    for transaction in log.read(index.blocks.storage, max(index.basis_t, 0), db.basis_t):
        kept = log.decode(changed[transaction.t]) if transaction.t in changed else transaction
        novelty.append(kept.t, kept.facts, kept.columns)
    pruned = prune(index, doomed, db.schema).root
    return build(pruned, novelty, db.schema, upto_t=db.basis_t, next_n=db.next_n, instant=db.last_instant).root
