"""The connection: the one stateful thing a user holds. Everything it hands out is a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import datetime
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import finalize

from factstore.commit.clock import in_micros, machine_clock
from factstore.commit.commit import Committer
from factstore.concurrency.forks import FORKED, watch
from factstore.connection.annotate import annotating, annotations_of, in_force, named
from factstore.connection.conditions import Conditional
from factstore.connection.infer import inferred
from factstore.connection.reports import Listener, TxReports
from factstore.connection.steps import Transaction, TransactionBlock
from factstore.connection.tx_range import Log, first_t
from factstore.db.database import Database, Point
from factstore.errors import Closed, DatabaseError, TransactError
from factstore.storage import Storage, Sync, check_option, open_storage
from factstore.transact import Nones, TxReport
from factstore.transact.forms import read_forms
from factstore.values.quoting import described
from factstore.values.types import instant_to_micros, micros_to_instant

if TYPE_CHECKING:
    from factstore.connection.excise import Excision
    from factstore.connection.load import Into, LoadReport

DEFAULT_CACHE_BYTES = 256 << 20
DEFAULT_BUSY_TIMEOUT = 60.0


def connect(
    uri: str,
    *,
    create: bool = True,
    read_only: bool = False,
    sync: Sync = "full",
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    busy_timeout: float | None = DEFAULT_BUSY_TIMEOUT,
    infer_schema: bool = False,
    clock: Callable[[], datetime] | None = None,
) -> Connection:
    """Return a connection to a store, made if it is not there yet.

    Args:
        uri: a path or `lmdb:path` for a file; `memory:` for a store of one's own, `memory:name` for one shared in this process.
        create: make the store when there is none.
        read_only: refuse transactions.
        sync: "full": what `transact` returned from survives the machine; "none": it survives this process only.
        cache_bytes: what blocks and columns in memory may take.
        busy_timeout: seconds that a write waits while another writer has the turn, before it raises `StoreBusy`; None: as long as it
            takes. A block of `conn.transaction()` that has the turn is passed then: it commits nothing when others have committed.
        infer_schema: let `transact` declare attributes that nobody has declared, by the values that come for them.
        clock: tells the time of transactions, as an aware datetime; None is the machine's. Tests bring their own.
    Raises: NotAStore, StorageError, also for an option that cannot mean anything; DatabaseError(:db.error/invalid-clock) for a clock that
        tells anything else.

    >>> with connect("memory:") as conn:
    ...     conn.db().basis_t
    0
    """
    check_option("cache_bytes", cache_bytes, "a number of bytes from 0", type(cache_bytes) is int and cache_bytes >= 0)
    check_option("infer_schema", infer_schema, "True or False", isinstance(infer_schema, bool))
    storage = open_storage(uri, create=create, read_only=read_only, sync=sync, busy_timeout=busy_timeout)
    try:
        kind = Inferring if infer_schema else Connection
        return kind(storage, cache_bytes=cache_bytes, busy_timeout=busy_timeout, clock=clock)
    except BaseException:
        storage.close()
        raise


class Connection:
    """A store that is open: hands out databases, takes transactions. Threads may share it; `with` closes it."""

    def __init__(
        self,
        storage: Storage,
        *,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        busy_timeout: float | None = DEFAULT_BUSY_TIMEOUT,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.clock = clock  # as it was given; None is the machine's
        self._storage = storage
        micros = machine_clock if clock is None else in_micros(clock)
        self._committer = Committer(storage, cache_bytes=cache_bytes, clock=micros, busy_timeout=busy_timeout)
        self._closed = False
        self._forked = False
        self._listeners: dict[object, Listener] = {}
        finalize(self, self._committer.retire).atexit = False
        watch(self)

    def _after_fork(self) -> None:
        """Be closed, in a forked child: everything that is under way goes on in the parent, and only there."""
        self._closed = self._forked = True
        self._listeners.clear()
        self._committer.after_fork()

    def __repr__(self) -> str:
        return f"<Connection {self._storage.description}{' closed' if self._closed else ''}>"

    @property
    def uri(self) -> str:
        """What opens the same store again: in this process, and where it is a file, in others of this machine."""
        return self._storage.description

    def now(self) -> datetime:
        """Return the time by the connection's clock: the instant of a transaction committed now, unless the newest one's is later.

        Decide by this, not by the newest instant, whether a time has come: that one stands still while it is ahead of the clock.
        """
        return micros_to_instant(self._committer.clock())

    def db(self) -> Database:
        """Return the newest database, with what other processes have committed."""
        self._check_open()
        return self._committer.caught_up()

    def transact(
        self, tx_data: Any, *, none: Nones = "reject", if_unchanged_since: Point | None = None, key: str | None = None
    ) -> TxReport:
        """Commit a transaction.

        Args:
            tx_data: EDN text or Python data: list forms, entity maps, dataclasses, calls of transaction functions; a set, whatever
                the order.
            none: "retract": None in a map form, or in a field of a dataclass, retracts what the attribute has; otherwise it is
                refused in a map, and says nothing in a field.
            if_unchanged_since: a point; refuse with `:db.error/changed-since` when an entity that the transaction is about was
                changed after it: one it asserts or retracts something of, not one it only refers to.
            key: idempotency key. If any process has committed a transaction with this key, nothing is committed and the report of that
                one is returned: its databases are `as_of` views, its tempids are there if new entities get the same numbers. Other
                forms than those are rejected with `:db.error/key-reused`.
        Returns: a report: db_before, db_after, tx_data, tempids. With sync="full" the transaction is durable by then.
        Raises: TransactError, and nothing was written; StorageError.
        Source: Datomic API, transact.
        """
        self._check_open()
        if key is None and if_unchanged_since is None and none == "reject" and not in_force(None):
            return self._committer.transact(tx_data)
        return Conditional(tx_data, none, if_unchanged_since, key, annotations_of(self)).commit(self._committer)

    def transact_async(
        self, tx_data: Any, *, none: Nones = "reject", if_unchanged_since: Point | None = None, key: str | None = None
    ) -> Future[TxReport]:
        """Commit a transaction in the background; many share one write. The future gives the report or the error."""
        self._check_open()
        if key is None and if_unchanged_since is None and none == "reject" and not in_force(None):
            return self._committer.transact_async(tx_data)
        return Conditional(tx_data, none, if_unchanged_since, key, annotations_of(self)).commit_async(self._committer)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Make one transaction in steps that read what was said so far: `with conn.transaction() as tx`.

        `tx.transact(…)` says something, `tx.db` is the database with all that was said, `tx.rollback()` forgets it. At the end of
        the block its difference is committed as one transaction, `tx.report`; a block that raises, or says nothing, commits nothing.
        Nobody else commits while a block is open, so keep it short. Others wait for it up to their `busy_timeout`; then they go on, and
        the block raises `Conflict` at its end if they have committed. Within a block, `transact` of the connection, and waiting for a
        future of `transact_async`, are refused (`:db.error/transaction-open`). A step costs
        what was said so far. An attribute that a step declares can be used from the next transaction on.

        >>> with connect("memory:") as conn:
        ...     with conn.transaction() as tx:
        ...         red = tx.transact([{":db/id": "red", ":db/ident": ":color/red"}]).tempids["red"]
        ...         _ = tx.transact([{":db/id": red, ":db/doc": "like a rose"}])
        ...     [tx.report.t, tx.db.ident(red)]
        [1, :color/red]
        """
        self._check_open()
        said = annotations_of(self)
        return TransactionBlock(self._committer, [{":db/id": "datomic.tx", **said}] if said else [])

    def annotate(self, mapping: Mapping[str, Any] | None = None, /, **words: Any) -> AbstractContextManager[None]:
        """Say something of every transaction made with this connection in a block, such as who made it and why.

        Args:
            mapping: attribute → value, under the attributes' own names: `{":audit/user": "ann"}`.
            words: the same for attributes in the namespace of transactions: `user="ann"` is `:tx/user`.
        Blocks nest; the inner one has the last word on an attribute. Threads that run beside the block, and `load`, are not in it.
        Raises: TransactError when the block begins, for an attribute that was not declared or a value that it cannot have.

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
            source: a path of a CSV file with a header, rows (mappings), a mapping of columns, an array of records, or an Arrow, pandas
                or polars table.
            mapping: column → attribute, or `Into(attribute, lookup=…, convert=…)`; other columns are left out.
            batch_rows: rows in one transaction.
            missing: text that stands for no value, in CSV; None, NaN, NaT and pandas.NA always do.
            progress: called with rows done and seconds so far; True: a line on stderr, None: the same on a terminal.
        Rows with an identity that is known already are added to that entity.
        Returns: how many rows, datoms and transactions; how many rows lack a value of which column; the columns left out.
        Raises: TransactError, with the `column` and the `row` (from 1) of the table, and in a file the `line`; Unavailable for a file
            that cannot be read. Batches before the one refused stay.
        """
        from factstore.connection.load import load

        self._check_open()
        return load(self._committer, source, mapping, batch_rows=batch_rows, missing=missing, progress=progress)

    def excise(self, target: Any, *, before: Point | None = None) -> Excision:
        """Take facts out of the store for good: out of the log, the index, and every later answer about any time.

        Args:
            target: an entity (id, ident, lookup ref): all that was ever said of it and of its components, and every reference to
                it; or an attribute: all its values, and the composite tuples that repeat them.
            before: only what was asserted before this point (t, a transaction's id, an aware datetime).
        Returns: the t of the transaction that records the excision, how many datoms went, and of how many transactions.
        Raises: DatabaseError(:db.error/invalid-excision) for what belongs to the schema.
        What stays: the schema, instants and keys of transactions, records of migrations and of earlier excisions. Databases
            handed out before still have the facts as long as somebody holds them; a backup loses them when it is next brought up
            to date.
        Source: Datomic documentation, excision; here it is done when the call returns.
        """
        from factstore.connection.excise import excise

        self._check_open()
        return excise(self._committer, target, None if before is None else first_t(self.db(), before))

    def sync(self, t: int | None = None, *, timeout: float | None = None) -> Database:
        """Return a database that holds transaction t, waiting for it; without t everything committed before the call."""
        self._check_open()
        db = self._committer.caught_up()
        wanted = 0 if t is None else db.t_at(t)
        return db if wanted <= db.basis_t else self.wait(wanted - 1, timeout)

    def wait(self, point: Point, timeout: float | None = None) -> Database:
        """Return the newest database once something was committed after a point, or after `timeout` seconds whatever it is.

        Args:
            point: t, a transaction's entity id, or an aware datetime.
        """
        self._check_open()
        self._committer.check_outside()
        deadline = None if timeout is None else monotonic() + timeout
        db = self._committer.caught_up()
        while (reached := _reached(db, point)) is not None:
            left = 3600.0 if deadline is None else max(deadline - monotonic(), 0.0)
            head = self._storage.wait(reached, left)
            db = self._committer.caught_up()
            if deadline is not None and (head <= reached or monotonic() >= deadline):
                break
        return db

    def log(self) -> Log:
        """Return the log up to now."""
        return Log(self._storage, self.db())

    def tx_reports(self, *, from_t: Point | None = None) -> TxReports:
        """Return a queue of the reports of all commits, those of other processes too.

        Args:
            from_t: where to begin: t, a transaction's entity id, or an aware datetime, itself included; what was committed
                since then comes first, from the log, without tempids. None: from now on.
        """
        self._check_open()
        db = self._committer.caught_up()
        return TxReports(self._committer, self.wait, None if from_t is None else first_t(db, from_t))

    def listen(self, listener: Callable[[TxReport], Any], *, key: object = None, from_t: Point | None = None) -> object:
        """Call a function with each report, in order, on a thread of its own; returns the key to `unlisten` with.

        What a listener raises is logged and reaches neither the commit nor other listeners. Closing the connection delivers what
        was committed by then, and waits for that.

        Args:
            key: a name to stop it by; another listener of that name is stopped.
            from_t: where to begin, as in `tx_reports`; None: from now on.
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
        """Stop calling a listener; reports that it was not told of yet are dropped."""
        listener = self._listeners.pop(key, None)
        if listener is not None:
            listener.stop()

    def close(self) -> None:
        """Commit what is still waiting, tell listeners of it, and let go of the store; closing again does nothing."""
        if not self._closed:
            self._committer.check_outside()
            self._closed = True
            try:
                self._committer.close()
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
    """A connection that declares what `transact` needs: `connect(…, infer_schema=True)`."""

    def transact(
        self, tx_data: Any, *, none: Nones = "reject", if_unchanged_since: Point | None = None, key: str | None = None
    ) -> TxReport:
        """Commit a transaction, and before it, if need be, one that declares what it uses and nobody declared.

        Raises: what `transact` of a connection raises, and SchemaError(:db.error/cannot-infer); nothing was declared then.
        """
        forms = read_forms(tx_data)
        try:
            return super().transact(forms, none=none, if_unchanged_since=if_unchanged_since, key=key)
        except TransactError as error:
            declarations = inferred(self.db(), forms, error, none=none)
        super().transact(declarations)
        return super().transact(forms, none=none, if_unchanged_since=if_unchanged_since, key=key)


def _reached(db: Database, point: Point) -> int | None:
    """Return a t that must be passed before anything can have been committed after a point; None when something was."""
    t = db.t_at(point)
    if isinstance(point, datetime):
        return db.basis_t if db.last_instant <= instant_to_micros(point) else None
    return t if db.basis_t <= t else None
