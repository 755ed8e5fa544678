"""The PostgreSQL engine: log, blocks, root and a head row with epoch and writer lock, in tables of one schema.

    append ──► one statement that compares head, epoch and writer lock, on the writing connection
    reads  ──► any connection
    waits  ──► notices.py;   writer lock, holds ──► leases.py

If the outcome of a write is unknown, `resolve` raises the epoch, and only then looks for the txid: a write that is
still on its way then finds a newer epoch and is rejected.
Law: it passes the same contract suite as LMDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice, pairwise
from time import monotonic
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
from psycopg import errors as postgres

from factstore.concurrency.forks import FORKED, watch
from factstore.concurrency.locks import Owner
from factstore.errors import Conflict, Corrupt, Fenced, Forked, Unavailable, UnknownOutcome
from factstore.storage.held import Held
from factstore.storage.patience import FAILOVER_SECONDS
from factstore.storage.postgres import layout
from factstore.storage.postgres import statements as sql
from factstore.storage.postgres.address import Address
from factstore.storage.postgres.blocks import Blocks
from factstore.storage.postgres.connections import Connections, Started
from factstore.storage.postgres.leading import PostgresLeadership
from factstore.storage.postgres.leases import Leases, Turn
from factstore.storage.postgres.notices import UNKNOWN, Head, notices
from factstore.storage.postgres.servers import is_standby
from factstore.storage.protocol import MOST_RECORDS, Record, Root, Sync
from factstore.storage.refusals import (
    check_found,
    check_head,
    check_same,
    check_txids,
    check_version,
    closed,
    read_only,
)

_BATCH_DELETED: Final = 500
_NEWEST_RECORDS: Final = 100  # the primary is read for these, because a replica rarely has them yet
_ALL: Final = 1 << 62


class PostgresStorage:
    """A handle on a store in PostgreSQL. Raises: Unavailable, NotAStore, ReadOnly, StorageError for a bad address."""

    def __init__(
        self,
        rest: str,
        *,
        create: bool = True,
        read_only: bool = False,
        sync: Sync = "full",
        map_size: int | None = None,
        busy_timeout: float | None = None,
    ) -> None:
        del map_size  # of LMDB only
        address = Address.parse(rest)
        self.read_only = read_only
        self.description = address.description
        self._append_statement = sql.APPEND if sync == "full" else sql.RELAXED_APPEND
        self._busy_timeout = busy_timeout
        self._gone: str | None = None  # why the handle cannot be used
        self._connections = Connections(address, read_only=read_only)
        me = uuid4()
        try:
            store = self._connections.read(lambda connection: self._opened(connection, address, create, sync))
            self._names: dict[str, Any] = {"store": store, "me": me}
            self._blocks = Blocks(self._connections, self._names, host_bytes=address.host_cache, folder=address.blocks)
            if not read_only:
                self._blocks.check_folder()
        except BaseException:
            self._connections.close()
            raise
        self._connections.patience = FAILOVER_SECONDS if busy_timeout is None else min(busy_timeout, FAILOVER_SECONDS)
        self._epoch = -1
        self._excisions = -1  # their number, which the first read of the root tells
        self._newest: Head | None = None  # that this handle has seen
        self._leases = Leases(self._connections, store, me, read_only=read_only)
        self._notices = notices(self._connections, store, can_listen=not address.is_pooled)
        self.leadership = PostgresLeadership(self._connections, self._names, self._acknowledged)
        self._turn = Turn(self._leases, self._wait_for_notice, self._took_turn)
        watch(self)

    def _opened(self, connection: psycopg.Connection, address: Address, create: bool, sync: Sync) -> UUID:
        layout.check_server(connection, address, "none" if self.read_only else sync)
        return layout.store_id(connection, address, create=create and not self.read_only)

    def _acknowledged(self, t: int) -> None:
        self._notices.heard(Head(t, UNKNOWN))

    def _took_turn(self, epoch: int, t: int, txid: bytes) -> None:
        self._epoch = epoch
        self._notices.heard(Head(t, txid))

    def _wait_for_notice(self, seconds: float) -> None:
        self._notices.wait(self._notices.seen(), seconds)

    def _after_fork(self) -> None:
        self._gone = FORKED

    def _check_open(self) -> None:
        if self._gone is not None:
            raise closed(self.description, self._gone)

    def _check_writable(self) -> None:
        if self.read_only:
            raise read_only(self.description)
        self._check_open()

    def _rows(self, statement: str, **parameters: Any) -> list[Any]:
        return self._answer(statement, **parameters)[0]

    def _answer(self, statement: str, **parameters: Any) -> tuple[list[Any], bool]:
        """Return the rows of the primary, or of a standby if a reader reaches no primary, and whether it was one."""
        self._check_open()
        values = {**self._names, **parameters}
        return self._connections.read(
            lambda connection: (connection.execute(statement, values, binary=True).fetchall(), is_standby(connection))
        )

    def _written(self, statement: str, **parameters: Any) -> Any:
        """Return the first row of a write, or None."""
        values = {**self._names, **parameters}
        return self._connections.write(lambda connection: connection.execute(statement, values).fetchone())

    # the log

    def head(self, *, near: bool = False) -> int:
        newest = self._newest  # before the read: another thread can append after it
        if near:
            self._check_open()
            known = self._notices.known()
            if known is not None and (newest is None or known.is_at_least(newest)):
                return known.t
        began = monotonic()
        (row,), of_standby = self._answer(sql.HEAD)
        head, self.leadership.term = Head(*row[:2]), row[2]
        if newest is not None and head.t < newest.t and of_standby:
            return newest.t  # this standby is behind one that was asked before
        if newest is not None and (head.t < newest.t or (head.t == newest.t and head != newest)):
            raise self._forked(newest.t)
        self._notices.heard(head, began)
        return head.t

    def append(
        self, records: Sequence[tuple[bytes, bytes]], *, expected_t: int, topics: Sequence[int] | None = None
    ) -> int:
        if not records:
            self._check_writable()
            check_head(self.head(), expected_t)
            return expected_t
        return self.start_append(records, expected_t=expected_t, topics=topics).result()

    def start_append(
        self, records: Sequence[tuple[bytes, bytes]], *, expected_t: int, topics: Sequence[int] | None = None
    ) -> Started:
        self._check_writable()
        check_txids(records)
        return Started(self._sent(records, expected_t), partial(self._appended, records, expected_t, monotonic()))

    def _sent(self, records: Sequence[tuple[bytes, bytes]], expected_t: int) -> Future[Any]:
        """Send an append; the future gets the answer of the server."""
        txids = [txid for txid, _ in records]
        values = {
            **self._names,
            **self._held(),
            "txids": txids,
            "previous": [None, *txids[:-1]],
            "bodies": [body for _, body in records],
            "last": txids[-1],
            "expected": expected_t,
            "seen": self._seen_at(expected_t),
            "epoch": self._epoch,
            "channel": self._notices.channel,
        }
        return self._connections.begin(lambda connection: connection.execute(self._append_statement, values).fetchone())

    def _appended(
        self, records: Sequence[tuple[bytes, bytes]], expected_t: int, began: float, answer: Future[Any]
    ) -> int:
        """Return the new head if an append was applied that was sent; otherwise send it again, if that can help."""
        txids = [txid for txid, _ in records]
        try:
            t = self._t_of_answer(answer, txids)
            if t is not None:
                self._newest = Head(t, txids[-1])
                self._notices.heard(self._newest, began)
                return t
            if self._may_retry(expected_t):
                return self.append(records, expected_t=expected_t)
            with self._turn.held(may_pass=True, doing="a transaction", timeout=self._busy_timeout):
                return self.append(records, expected_t=expected_t)
        except UnknownOutcome as error:
            raise UnknownOutcome(error.code, error.message, **{**error.data, "txids": txids}) from error

    def _t_of_answer(self, answer: Future[Any], txids: list[bytes]) -> int | None:
        try:
            row = answer.result()
        except Unavailable as error:
            if isinstance(error.__cause__, postgres.UniqueViolation):
                raise self._sent_twice(txids) from error
            raise
        if row is None:
            return None
        self.leadership.term = row[1]
        return int(row[0])

    def _seen_at(self, t: int) -> bytes | None:
        """Return the txid of the record that this handle has seen as the newest one, if that was at t."""
        newest = self._newest
        return newest.txid if newest is not None and newest.t == t else None

    def _held(self) -> dict[str, bool]:
        return {"held": self._turn.is_mine, "passing": self._turn.is_passing, "leads": self.leadership.leads}

    def _may_retry(self, expected_t: int) -> bool:
        """Return whether a rejected append can be tried again at once; False: another handle has the writer lock.

        Raises: Conflict(head=…); Fenced, if this handle had the writer lock or led, and lost that.
        """
        t, txid, epoch, _, is_elsewhere, is_owner, is_leader = self._rows(sql.STATE)[0]
        self._notices.heard(Head(t, txid))
        if self.leadership.leads and not is_leader:
            raise self._deposed()
        check_head(t, expected_t)
        if self._seen_at(t) not in (None, txid):
            # Reading the log shows the same, so a caller that catches up starts over.
            text = f"t={t} is another transaction than the one that this process read"
            raise Conflict(":db.error/storage-conflict", text, head=t)
        is_stale, self._epoch = epoch != self._epoch, epoch
        if self._turn.is_mine and not is_owner:
            raise self._fenced()
        return is_stale or not is_elsewhere or self._turn.is_mine

    def _fenced(self) -> Fenced:
        message = (
            f"this process did not renew the writer lock of {self.description} in time, and another one took"
            " it over; nothing was written"
        )
        return Fenced(":db.error/storage-fenced", message, uri=self.description)

    def _deposed(self) -> Fenced:
        message = f"this process led {self.description}, and another one took over; nothing was written"
        return Fenced(":db.error/storage-fenced", message, uri=self.description)

    def _sent_twice(self, txids: list[bytes]) -> Conflict:
        ts = {txid.hex(): t for txid in txids if (t := self._t_of(txid)) is not None}
        message = f"the log of {self.description} already has {ts}"
        return Conflict(":db.error/storage-conflict", message, head=self.head(), committed=ts)

    def resolve(self, txid: bytes) -> int | None:
        self._check_open()
        if self.read_only:
            return self._t_of(txid)

        def decide(connection: psycopg.Connection) -> tuple[int, int | None]:
            raised = connection.execute(sql.RAISE_EPOCH, self._names).fetchone()
            row = connection.execute(sql.T_OF, {**self._names, "txid": txid}).fetchone()
            assert raised is not None
            return raised[0], None if row is None else row[0]

        self._epoch, t = self._connections.repeat(decide)
        if t is not None:
            self._notices.heard(Head(t, txid))
        return t

    def _t_of(self, txid: bytes) -> int | None:
        rows = self._rows(sql.T_OF, txid=txid)
        return rows[0][0] if rows else None

    def read_log(self, after_t: int, upto_t: int | None = None, *, max_bytes: int = 8 << 20) -> list[Record]:
        upto = _ALL if upto_t is None else upto_t
        seen = self._seen_at(after_t) if after_t <= upto else None  # before the read, as in `head`
        wanted = {"after": after_t, "upto": upto, "rows": MOST_RECORDS + 1, "bytes": max_bytes}
        rows = self._log_of_replica(wanted, seen)
        if not rows:
            rows, of_standby = self._answer(sql.READ_LOG, **wanted)
            if not rows and of_standby:
                return []  # it is behind one that was asked before
            if seen is not None and not (rows and rows[0][:2] == (after_t, seen)):
                raise self._forked(after_t)
        self._check_chain(rows)
        return [Record(t, txid, body) for t, txid, _, body in rows if t > after_t]

    def _log_of_replica(self, wanted: dict[str, int], seen: bytes | None) -> list[Any]:
        """Return rows of the log, up to the known head at least; none if the replica lacks some of them."""
        after, head = wanted["after"], self._notices.head.t
        if head - after <= _NEWEST_RECORDS:
            return []
        values = {**self._names, **wanted, "excisions": self._excisions}
        rows = self._connections.read_near(
            lambda connection: connection.execute(sql.READ_LOG_OF_REPLICA, values, binary=True).fetchall()
        )
        if not rows or (seen is not None and rows[0][:2] != (after, seen)):
            return []
        is_full = len(rows) >= wanted["rows"] or sum([len(row[3]) for row in rows]) >= wanted["bytes"]
        return rows if is_full or rows[-1][0] >= min(wanted["upto"], head) else []

    def _check_chain(self, rows: Sequence[tuple[int, bytes, bytes, bytes]]) -> None:
        """Check that each record follows the one before it. Raises: Corrupt."""
        for (t, txid, _, _), (next_t, _, previous, _) in pairwise(rows):
            if next_t != t + 1 or previous != txid:
                text = f"the log of {self.description} has no record of t={t + 1} that follows t={t}"
                raise Corrupt(":db.error/storage-corrupt", text, t=t + 1)
        newest = self._newest
        if rows and (newest is None or rows[-1][0] > newest.t):
            self._newest = Head(*rows[-1][:2])
            self._notices.heard(self._newest)

    def _forked(self, t: int) -> Forked:
        self._newest = None
        self._notices.forget()
        message = f"{self.description} no longer has the transaction t={t} that this process read before a failover"
        return Forked(":db.error/storage-forked", message, t=t, uri=self.description)

    def rewrite(
        self,
        records: Sequence[Record],
        *,
        appended: Sequence[tuple[bytes, bytes]],
        expected_t: int,
        root: bytes,
        expected_version: int,
    ) -> Root:
        self._check_writable()
        check_txids(appended)
        txids = [txid for txid, _ in appended]

        def work(connection: psycopg.Connection) -> bool:
            values = {
                **self._names,
                **held,
                "txids": txids,
                "previous": [None, *txids[:-1]][: len(txids)],
                "bodies": [body for _, body in appended],
                "last": txids[-1] if txids else None,
                "expected": expected_t,
                "version": expected_version,
                "epoch": self._epoch,
                "root": root,
                "channel": self._notices.channel,
            }
            with connection.transaction():
                return _rewrite(connection, values, records)

        with self._turn.held(doing="an excision", timeout=self._busy_timeout):
            held = self._held()  # of this thread, not of the one that writes
            try:
                while not self._connections.write(work):
                    self._check_root(expected_version)
                    self._may_retry(expected_t)
            except UnknownOutcome as error:
                raise UnknownOutcome(error.code, error.message, **{**error.data, "txids": txids}) from error
        return Root(expected_version + 1, root)

    def wait(self, after_t: int, timeout: float) -> int:
        deadline, attempt = monotonic() + timeout, 0
        while True:
            seen = self._notices.seen()
            head, left = self.head(near=True), deadline - monotonic()
            if head > after_t or left <= 0:
                return head
            self._notices.wait(seen, left, attempt)
            attempt += 1

    def turn(
        self, *, owner: Owner | None = None, may_pass: bool = False, doing: str = ""
    ) -> AbstractContextManager[None]:
        self._check_writable()
        return self._turn.held(owner=owner, may_pass=may_pass, doing=doing, timeout=self._busy_timeout)

    def release_turn(self) -> None:
        if self._gone is None:
            self._turn.release_left_over()

    # blocks

    def put_blocks(self, blocks: Iterable[tuple[bytes, bytes]]) -> None:
        self._check_writable()
        self._blocks.put(blocks)

    def get_blocks(self, ids: Sequence[bytes], *, near: bool = False) -> dict[bytes, bytes]:
        self._check_open()
        blocks = self._blocks.get(ids, near=near)
        if len(blocks) < len(set(ids)) and self._leases.versions - self.held():
            message = (
                f"this process did not renew its hold on an older state of {self.description} in time, and the blocks"
                " of that state were deleted; read the newest database"
            )
            raise Unavailable(":db.error/hold-expired", message, uri=self.description)
        check_found(ids, blocks, self.description)
        return blocks

    def delete_blocks(self, ids: Iterable[bytes]) -> int:
        self._check_writable()
        remaining, deleted = iter(ids), 0
        while batch := list(islice(remaining, _BATCH_DELETED)):
            is_allowed, count = self._written(sql.DELETE_BLOCKS, ids=batch, **self._held())
            if not is_allowed:
                raise self._fenced()
            deleted += count
        self._blocks.delete_loose()
        return deleted

    def block_ids(self) -> Iterator[bytes]:
        self._check_open()
        return self._blocks.ids()

    # the root

    def read_root(self, version: int | None = None) -> Root | None:
        rows = self._rows(sql.READ_ROOT, version=version)
        if not rows:
            return None
        found_version, body, self._excisions, *head = rows[0]
        self._notices.heard(Head(*head))
        self._blocks.excised(self._excisions)
        return Root(found_version, body)

    def swap_root(self, body: bytes, *, expected_version: int) -> Root:
        self._check_writable()
        swapped = Root(expected_version + 1, bytes(body))
        try:
            row = self._written(sql.SWAP_ROOT, body=body, version=expected_version, **self._held())
        except UnknownOutcome:
            if self.read_root() != swapped:
                raise
            return swapped
        if row is None:
            self._check_root(expected_version)
            raise self._fenced()
        return swapped

    def _check_root(self, expected: int) -> None:
        check_version(self._rows(sql.STATE)[0][3], expected)

    def hold(self, version: int) -> Held:
        self._check_open()
        return self._leases.hold(version, lambda: int(self._rows(sql.STATE)[0][3]))

    def held(self) -> set[int]:
        self._check_open()
        self._leases.end_released()
        return {row[0] for row in self._rows(sql.HELD)}

    # housekeeping

    def usage(self) -> dict[str, Any]:
        records, blocks, size, readers = self._rows(sql.USAGE)[0]
        return {"bytes": int(size), "map_size": int(size), "records": records, "blocks": blocks, "readers": readers}

    def problems(self) -> list[str]:
        return [row[0] for row in self._rows(sql.PROBLEMS)]

    def sync(self) -> None:
        self._check_open()
        if not self.read_only:
            self._connections.repeat(lambda connection: connection.execute(sql.BARRIER, self._names))

    def close(self) -> None:
        if self._gone is None:
            self._gone = "was closed"
            self._notices.leave()
            self._leases.end()
            self._connections.close()
            self._blocks.close()


def _rewrite(connection: psycopg.Connection, values: dict[str, Any], records: Sequence[Record]) -> bool:
    """Rewrite and append records and swap the root, in a transaction; return False if head or root has changed."""
    row = connection.execute(sql.REWRITE_HEAD, values).fetchone()
    if row is None:
        return False
    rewritten = {
        "store": values["store"],
        "ts": [record.t for record in records],
        "txids": [record.txid for record in records],
        "bodies": [record.body for record in records],
    }
    ts = {row[0] for row in connection.execute(sql.REWRITE_RECORDS, rewritten)}
    for record in records:
        check_same(record, record.txid if record.t in ts else None)
    connection.execute(sql.ADD_RECORDS, {**values, "before": row[0]})
    connection.execute(sql.ADD_ROOT, values)
    connection.execute(sql.REMOVE_ROOTS, values)
    connection.execute(sql.NOTIFY, values)
    return True
