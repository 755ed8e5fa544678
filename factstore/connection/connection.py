"""The connection to a store. It is the only object with state that a user holds; its methods return values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import finalize

from factstore import log
from factstore.commit.background import PendingReport
from factstore.commit.clock import in_micros, machine_clock
from factstore.commit.commit import Committer
from factstore.commit.conditions import Conditional
from factstore.concurrency.forks import FORKED, watch
from factstore.connection.annotate import annotating, annotations_of, in_force, named
from factstore.connection.infer import inferred
from factstore.connection.progress import chosen, index_line
from factstore.connection.reports import Listener, TxReports
from factstore.connection.steps import Transaction, TransactionBlock
from factstore.connection.tx_range import Log, first_t
from factstore.db.database import Database, Point
from factstore.errors import Closed, DatabaseError, TransactError
from factstore.rendering import html_record
from factstore.storage import Led, Storage, Sync, check_option, open_storage
from factstore.transact import Nones, TxReport
from factstore.transact.forms import read_forms
from factstore.transactor.routing import RoutingCommitter
from factstore.values.moments import Duration, seconds_of, timeout_of
from factstore.values.process_bound import ProcessBound
from factstore.values.quoting import described, quoted
from factstore.values.types import instant_to_micros, micros_to_instant

if TYPE_CHECKING:
    from factstore.connection.excise import Excision
    from factstore.connection.load import Into, LoadReport

DEFAULT_CACHE_BYTES = 256 << 20
DEFAULT_BUSY_TIMEOUT = 60.0
_LONG: Final = 3600.0  # seconds of one wait in the storage, for waits without a limit


def connect(
    uri: str,
    *,
    create: bool = True,
    read_only: bool = False,
    sync: Sync = "full",
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    busy_timeout: Duration | None = DEFAULT_BUSY_TIMEOUT,
    infer_schema: bool = False,
    clock: Callable[[], datetime] | None = None,
) -> Connection:
    """Return a connection to a store, which is created if it does not exist.

    Args:
        uri: a path or `lmdb:path`; `memory:` for a private store, `memory:name` for one shared in this process.
        create: create the store if it does not exist.
        read_only: reject transactions.
        sync: "full": a returned transaction is durable; "none": it survives a crash of the process, not of the machine.
        cache_bytes: the maximum size of blocks and columns in memory; rows of entities take an eighth more at most.
        busy_timeout: how long a write waits for the writer lock before it raises `StoreBusy`: seconds, a timedelta or a
            text; None: no limit. Then it passes a block of `conn.transaction()`, which commits nothing if others did.
            In PostgreSQL also how long any call waits for a server that cannot be reached; at most a minute.
        infer_schema: let `transact` declare undeclared attributes by the types of their values.
        clock: a function that returns the time of transactions as an aware datetime; None: the clock of the machine.
    Raises: NotAStore; StorageError, also for an invalid option; DatabaseError(:db.error/invalid-clock).

    >>> with connect("memory:") as conn:
    ...     conn.db().basis_t
    0
    """
    check_option("cache_bytes", cache_bytes, "a number of bytes from 0", type(cache_bytes) is int and cache_bytes >= 0)
    check_option("infer_schema", infer_schema, "True or False", isinstance(infer_schema, bool))
    limit: float | None = seconds_of(busy_timeout)
    storage = open_storage(uri, create=create, read_only=read_only, sync=sync, busy_timeout=limit)
    try:
        kind = Inferring if infer_schema else Connection
        return kind(storage, cache_bytes=cache_bytes, busy_timeout=limit, clock=clock)
    except BaseException:
        storage.close()
        raise


class Connection(ProcessBound):
    """An open store: it returns databases and commits transactions. Threads may share it; `with` closes it."""

    def __init__(
        self,
        storage: Storage,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        busy_timeout: float | None = DEFAULT_BUSY_TIMEOUT,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.clock = clock  # as it was given; None: the clock of the machine
        self._storage = storage
        micros = machine_clock if clock is None else in_micros(clock)
        kind = RoutingCommitter if isinstance(storage, Led) and not storage.read_only else Committer
        self._committer = kind(storage, cache_bytes=cache_bytes, clock=micros, busy_timeout=busy_timeout)
        self._closed = False
        self._forked = False
        self._listeners: dict[object, Listener] = {}
        finalize(self, self._committer.retire).atexit = False
        watch(self)

    def _after_fork(self) -> None:
        """Close the connection in a forked child; unfinished operations continue in the parent only."""
        self._closed = self._forked = True
        self._listeners.clear()
        self._committer.after_fork()

    def __repr__(self) -> str:
        return f"<Connection {self._storage.description}{' closed' if self._closed else ''}>"

    def _repr_html_(self) -> str:
        return html_record(repr(self), {}) if self._closed else html_record(repr(self), {}) + self.db()._repr_html_()

    @property
    def uri(self) -> str:
        """The uri of the store: it opens the same store in this process, and a file also in others of this machine."""
        return self._storage.description

    def now(self) -> datetime:
        """Return the time by the connection's clock.

        It is the instant of a transaction committed now, unless that of the newest transaction is later. Compare times
        with this, not with the newest instant, which does not advance while it is ahead of the clock.
        """
        return micros_to_instant(self._committer.clock())

    def db(self) -> Database:
        """Return the newest database, including commits of other processes.

        In a store on a server, commits of other processes follow within milliseconds, after a second at most. `sync`
        includes all commits before the call.
        """
        self._check_open()
        return self._committer.caught_up(near=True)

    def transact(
        self, tx_data: Any, *, none: Nones = "reject", if_unchanged_since: Point | None = None, key: str | None = None
    ) -> TxReport:
        """Commit a transaction.

        Args:
            tx_data: EDN text or Python data: list forms, entity maps, dataclasses, calls of transaction functions. The
                order of forms has no meaning.
            none: "retract": None in a map form, or in a field of a dataclass, retracts the values of the attribute;
                "reject": None in a map is an error, and in a field it is ignored.
            if_unchanged_since: a point; reject the transaction with `:db.error/changed-since` if an entity about which
                it asserts or retracts facts was changed after the point. Entities that it only refers to may have
                changed.
            key: idempotency key. If any process has committed a transaction with this key, nothing is committed and the
                report of
                that transaction is returned: its databases are `as_of` views, its tempids are available if new entities
                get the same numbers. Different forms are rejected with `:db.error/key-reused`.
        Returns: a report: db_before, db_after, tx_data, tempids. With sync="full" the transaction is durable then.
        Raises: TransactError, and nothing was written; StorageError.
        Source: Datomic API, transact.
        """
        if self._closed:
            self._check_open()
        if key is None and if_unchanged_since is None and none == "reject" and not in_force(None):
            return self._committer.transact(tx_data)
        return Conditional(tx_data, none, if_unchanged_since, key, annotations_of(self)).commit(self._committer)

    def transact_async(
        self, tx_data: Any, *, none: Nones = "reject", if_unchanged_since: Point | None = None, key: str | None = None
    ) -> PendingReport:
        """Commit a transaction in the background, several in one write; the future gives the report or the error.

        The future is one of `concurrent.futures`, and a coroutine can await it: `await conn.transact_async(…)`.
        """
        if self._closed:
            self._check_open()
        if key is None and if_unchanged_since is None and none == "reject" and not in_force(None):
            return self._committer.transact_async(tx_data)
        return Conditional(tx_data, none, if_unchanged_since, key, annotations_of(self)).commit_async(self._committer)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Commit one transaction in steps that read the changes of earlier steps: `with conn.transaction() as tx`.

        `tx.transact(…)` adds a step, `tx.db` is the database with all steps, `tx.rollback()` discards them. At the end
        of the block the difference is committed as one transaction with the report `tx.report`. A block that raises, or
        has no steps, commits nothing.

        No other thread or process commits while a block is open, so keep it short. Other writers wait up to their
        `busy_timeout`. Then they pass the block, and it raises `Conflict` at its end if they have committed. Within a
        block, `transact` of the connection and waiting for a future of `transact_async` are rejected
        (`:db.error/transaction-open`). The cost of a step grows with the changes so far. An attribute that a step
        declares can be used from the next transaction on.

        >>> with connect("memory:") as conn:
        ...     with conn.transaction() as tx:
        ...         red = tx.transact([{":db/id": "red", ":db/ident": ":color/red"}]).tempids["red"]
        ...         _ = tx.transact([{":db/id": red, ":db/doc": "like a rose"}])
        ...     [tx.report.t, tx.db.ident(red)]
        [1, :color/red]
        """
        self._check_open()
        annotations = annotations_of(self)
        return TransactionBlock(self._committer, [{":db/id": "datomic.tx", **annotations}] if annotations else [])

    def annotate(self, mapping: Mapping[str, Any] | None = None, /, **words: Any) -> AbstractContextManager[None]:
        """Add facts about each transaction that this connection commits in a block, such as its author or reason.

        Args:
            mapping: attribute → value, by the idents of the attributes: `{":audit/user": "ann"}`.
            words: attributes in the namespace `tx`: `user="ann"` is `:tx/user`.
        Blocks nest; an inner block overrides the attributes of an outer one. Other threads and `load` are not affected.
        Raises: TransactError when the block begins, for an undeclared attribute or an invalid value.

        >>> with connect("memory:") as conn, conn.annotate({":db/doc": "the first one"}):
        ...     [datom.v for datom in conn.transact([]).datoms_of(":db/doc")]
        ['the first one']
        """
        return annotating(self, self.db(), named(mapping, words))

    def load(
        self,
        source: Any,
        mapping: Mapping[str, str | Into],
        *,
        batch_rows: int = 50_000,
        missing: Sequence[str] = ("", "NA"),
        progress: Callable[[int, float], None] | bool | None = None,
    ) -> LoadReport:
        """Load a table in bulk: each row becomes an entity, each batch of rows a transaction.

        Args:
            source: a path of a CSV file with a header, rows (mappings), a mapping of columns, an array of records, or
                an Arrow, pandas or polars table.
            mapping: column → attribute, or `Into(attribute, lookup=…, convert=…)`; other columns are ignored.
            batch_rows: rows in one transaction.
            missing: texts that mean no value, in CSV; None, NaN, NaT and pandas.NA always do.
            progress: called with the number of rows loaded and the seconds so far; True: print a line to stderr; None:
                print it if stderr is a terminal.
        If the identity of a row exists already, its values are added to that entity.
        Returns: the numbers of rows, datoms and transactions; the number of missing values per column; the ignored
            columns.
        Raises: TransactError, with the `column` and the `row` (from 1) of the table, and in a file the `line`;
            Unavailable for a file that cannot be read. Batches before the rejected one stay committed.
        """
        from factstore.connection.load import load

        self._check_open()
        return load(self._committer, source, mapping, batch_rows=batch_rows, missing=missing, progress=progress)

    def excise(self, target: Any, *, before: Point | None = None, dry_run: bool = False) -> Excision:
        """Erase facts permanently from the log, the index, and all later results about any time.

        Args:
            target: an entity (id, ident, lookup ref): all facts about it and its components, at any time, and all
                references to it; or an attribute: all its values, and the composite tuples that repeat them.
            before: erase only facts asserted before this point (t, a transaction's id, an aware datetime).
            dry_run: erase nothing, and return what would be erased.
        Returns: the t of the transaction that records the excision, the number of erased datoms, and of their
            transactions.
        Raises: DatabaseError(:db.error/invalid-excision) for a target that belongs to the schema.
        Not erased: the schema, instants and keys of transactions, records of migrations and of earlier excisions.
            Existing database values keep the facts as long as they are referenced; a backup loses them at its next
            update.
        Source: Datomic documentation, excision; here the erasure is complete when the call returns.
        """
        from factstore.connection.excise import excise, would_excise

        self._check_open()
        before_t = None if before is None else first_t(self.db(), before)
        return (would_excise if dry_run else excise)(self._committer, target, before_t)

    def sync(self, t: int | None = None, *, timeout: Duration | None = None) -> Database:
        """Return a database that contains transaction t, waiting for it; without t, all commits before the call.

        Args:
            timeout: as for `wait`; if it is over, the database does not contain t.
        Raises: DatabaseError(:db.error/invalid-duration).
        """
        self._check_open()
        limit = timeout_of(timeout)
        db = self._committer.caught_up()
        wanted = 0 if t is None else db.t_at(t)
        return db if wanted <= db.basis_t else self.wait(wanted - 1, limit)

    def wait(self, point: Point, timeout: Duration | None = None) -> Database:
        """Wait for a commit after a point, or until the timeout is over, and return the newest database.

        Args:
            point: t, a transaction's entity id, or an aware datetime.
            timeout: seconds, a timedelta or a text such as "30s"; None waits without a limit.
        Raises: DatabaseError(:db.error/invalid-duration).
        """
        self._check_open()
        self._committer.check_outside()
        limit = timeout_of(timeout)
        deadline = None if limit is None else monotonic() + limit
        db = self._committer.caught_up(near=True)
        point = db.exactly(point)
        while (reached := _reached(db, point)) is not None:
            left = _LONG if deadline is None else deadline - monotonic()
            if left <= 0:
                break
            head = self._storage.wait(reached, left)
            db = self._committer.caught_up(near=True)
            if deadline is not None and head <= reached:
                break
        return db

    def peek(
        self,
        *facts: tuple[Any, Any, bool],
        after: int | None = None,
        timeout: Duration | None = 0.0,
        rough: bool = False,
    ) -> tuple[int, list[int]]:
        """Count facts in the transactions that this connection does not know yet, without bringing it up to date.

        `db`, `wait` and a commit read and decode all transactions of other processes. A process that only waits for
        certain facts peeks instead, which takes a fiftieth of the time, and leaves the transactions for later.

        Args:
            facts: attribute, value, and whether it was added; of any entity. If `rough`, the value None stands for all
                values that are no keywords.
            after: the t after which facts are counted; None is the newest t that this connection knows.
            timeout: how long to wait for a commit after that, as for `wait`; None waits without a limit.
            rough: a count of a fact with a keyword, or without a value, may also be 1 if the fact was committed more
                often, and rarely if it was not. A file answers that without reading the log. Other storages always
                answer 1 if a fact has no value.
        Returns: the t of the newest transaction, and the count of each fact. A count can be too high, because values
            that contain the bytes of the fact are counted, too; it is never too low.

        >>> with connect("memory:shared") as conn, connect("memory:shared") as other:
        ...     t = other.transact([{":db/doc": "news"}]).t
        ...     conn.peek((":db/doc", "news", True), (":db/doc", "other", True)) == (t, [1, 0])
        True
        """
        self._check_open()
        self._committer.check_outside()
        db = self._committer.newest.database
        wanted = [_stored_fact(db, fact, rough=rough) for fact in facts]
        first = db.basis_t if after is None else first_t(db, after)
        limit = timeout_of(timeout)
        head = self._storage.wait(first, _LONG if limit is None else limit)
        while limit is None and head <= first:
            head = self._storage.wait(first, _LONG)
        if not wanted or head <= first:
            return head, [0] * len(facts)
        return log.count(self._storage, first, wanted, rough=rough)

    def log(self) -> Log:
        """Return the log up to now."""
        return Log(self._storage, self.db())

    def tx_reports(self, *, from_t: Point | None = None) -> TxReports:
        """Return a queue of the reports of all commits, including those of other processes.

        Args:
            from_t: the first transaction: t, a transaction's entity id, or an aware datetime. Reports of past
                transactions come from the log and have no tempids. None: from now on.
        """
        self._check_open()
        db = self._committer.caught_up()
        return TxReports(self._committer, self.wait, None if from_t is None else first_t(db, from_t))

    def listen(self, listener: Callable[[TxReport], Any], *, key: object = None, from_t: Point | None = None) -> object:
        """Call a function with each report, in order, on its own thread; return the key for `unlisten`.

        An exception in a listener is logged, and affects neither the commit nor other listeners. Closing the connection
        delivers the reports of all commits before it, and waits for that.

        Args:
            key: a name for `unlisten`; an existing listener of that name is stopped.
            from_t: the first transaction, as in `tx_reports`; None: from now on.
        Raises: DatabaseError(:db.error/invalid-listener, :db.error/invalid-range).
        """
        if not callable(listener):
            raise DatabaseError(
                ":db.error/invalid-listener", f"expected a function of a report, got {described(listener)}"
            )
        key = listener if key is None else key
        self.unlisten(key)
        self._listeners[key] = Listener(listener, self.tx_reports(from_t=from_t))
        return key

    def unlisten(self, key: object) -> None:
        """Stop calling a listener; reports that are not delivered yet are dropped."""
        listener = self._listeners.pop(key, None)
        if listener is not None:
            listener.stop()

    def close(self, *, wait: bool = True, progress: Callable[[int, int], Any] | bool | None = None) -> None:
        """Commit waiting transactions, notify the listeners, and close the store; closing again does nothing.

        Args:
            wait: index what is not indexed yet, if it is much, so that the store opens quickly; after a load that can
                take seconds. False: leave that to the next process that opens the store, which reads these
                transactions from the log, and indexes them when it commits or closes.
            progress: called with the number of datoms indexed so far and the number of all; True: print a line to
                stderr; None: print it if stderr is a terminal and indexing takes longer than a second.
        """
        check_option("wait", wait, "True or False", isinstance(wait, bool))
        if not self._closed:
            self._committer.check_outside()
            self._closed = True
            try:
                self._committer.close(wait=wait, progress=chosen(progress, index_line()))
                for listener in tuple(self._listeners.values()):
                    listener.deliver()
            finally:
                self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            why = FORKED if self._forked else "was closed"
            raise Closed(
                ":db.error/storage-closed", f"{self._storage.description} {why}", store=self._storage.description
            )


class Inferring(Connection):
    """A connection whose `transact` declares missing attributes: `connect(…, infer_schema=True)`."""

    def transact(
        self, tx_data: Any, *, none: Nones = "reject", if_unchanged_since: Point | None = None, key: str | None = None
    ) -> TxReport:
        """Commit a transaction, and before it, if necessary, one that declares the attributes that it lacks.

        Raises: the errors of `Connection.transact`, and SchemaError(:db.error/cannot-infer); nothing is declared then.
        """
        forms = read_forms(tx_data)
        try:
            return super().transact(forms, none=none, if_unchanged_since=if_unchanged_since, key=key)
        except TransactError as error:
            declarations = inferred(self.db(), forms, error, none=none)
        super().transact(declarations)
        return super().transact(forms, none=none, if_unchanged_since=if_unchanged_since, key=key)


def _reached(db: Database, point: Point) -> int | None:
    """Return a t after which a commit is one after the point; None if there is such a commit already."""
    t = db.t_at(point)
    if isinstance(point, datetime):
        return db.basis_t if db.last_instant <= instant_to_micros(point) else None
    return t if db.basis_t <= t else None


def _stored_fact(db: Database, fact: Any, *, rough: bool) -> tuple[int, Any, bool]:
    """Return the attribute's id, the stored value, and whether it was added, of a fact to look for.

    Args:
        rough: whether the value can be None.
    """
    if not (isinstance(fact, tuple | list) and len(fact) == 3 and isinstance(fact[2], bool)):
        why = f"a fact to look for is (attribute, value, whether it was added), got {quoted(fact)}"
        raise DatabaseError(":db.error/invalid-argument", why, fact=fact)
    a, v, added = fact
    attribute = db.attribute(a)
    if v is None and not rough:
        why = f"a fact to look for without a value can only be counted roughly, got {quoted(fact)}"
        raise DatabaseError(":db.error/invalid-argument", why, fact=fact)
    return attribute.id, None if v is None else db.stored(attribute, v), added
