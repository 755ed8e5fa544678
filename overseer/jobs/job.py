"""An attempt as its handler sees it: the job's attributes, the database as of the claim, and what may be written under the lease.

An attempt may run in another process than its worker. What travels there is its lease and its attributes; database and
connection are opened again at the other end, the database as of the same transaction.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import factstore
from factstore import CasFailed, Keyword
from overseer.errors import LeaseLost, OverseerError
from overseer.jobs import lookup, txns
from overseer.jobs.states import STARTED, Forms, Lease, as_keyword

if TYPE_CHECKING:
    from factstore import Connection, Database, TxReport


@dataclass(frozen=True, slots=True)
class Result:
    """What a handler returns to leave a value to the jobs that depend on its job.

    Args:
        value: anything EDN can write: numbers, text, times, lists, dicts. It is kept as the fact `:job/result`.
        facts: tx-data that commits with it.
    """

    value: Any
    facts: Sequence[Any] = ()


class Job(Mapping[str, Any]):
    """A job as its handler sees it: its attributes by name, and the database as it was when the job was claimed.

    Args:
        lease: the attempt that runs.
        attributes: everything known of the job at its claim, by attribute.
        conn: the connection of its worker.
        db: the database right after the claim; the inputs of an attempt cannot shift under it.
        uri: opens the store again, where there is no connection.
    """

    __slots__ = ("_conn", "_db", "_lease_ok", "_uri", "asserted", "attributes", "lease")

    def __init__(
        self,
        lease: Lease,
        attributes: Mapping[str, Any],
        *,
        conn: Connection | None = None,
        db: Database | None = None,
        uri: str | None = None,
    ) -> None:
        self.lease = lease
        self.attributes = attributes
        self.asserted: Forms = []
        self._conn = conn
        self._db = db
        self._lease_ok: Callable[[Lease], bool] | None = None  # None: the store is asked
        self._uri = uri if conn is None else None

    def __reduce__(self) -> tuple[Callable[..., Job], tuple[Any, ...]]:
        return _elsewhere, (self.lease, dict(self.attributes), self._uri if self._conn is None else self._conn.uri)

    @property
    def conn(self) -> Connection:
        """A connection to the store, for reading what is new and for writes that no lease shall guard."""
        if self._conn is None:
            self._conn = _connection(self._uri, os.getpid())
        return self._conn

    @property
    def db(self) -> Database:
        """The database right after the claim."""
        if self._db is None:
            self._db = self.conn.sync(self.lease.t).as_of(self.lease.t)
        return self._db

    @property
    def id(self) -> str:
        """The job's `:job/id`."""
        return self.lease.id

    @property
    def eid(self) -> int:
        """The job's entity id, to be referred to from facts."""
        return self.lease.job

    @property
    def type(self) -> Keyword:
        """The job's `:job/type`, which chose the handler."""
        return self.lease.type

    @property
    def attempt(self) -> int:
        """How many times the job was claimed, this one included."""
        return self.lease.attempt

    @property
    def key(self) -> str:
        """An idempotency key for effects outside the store: the same in every attempt of this job."""
        return f"overseer/{self.lease.id}"

    def watched(self, lease_ok: Callable[[Lease], bool]) -> Job:
        """Let somebody here tell whether the attempt still holds the job, and return the job."""
        self._lease_ok = lease_ok
        return self

    def lease_ok(self) -> bool:
        """Tell whether the attempt still holds the job; once it does not, whatever it comes to will be dropped."""
        return self._lease_ok(self.lease) if self._lease_ok is not None else holds(self.conn.db(), self.lease)

    def assert_(self, *forms: Any) -> None:
        """Add tx-data that commits in the transaction that marks the job finished, or not at all."""
        self.asserted.extend(forms)

    def transact(self, tx_data: Sequence[Any]) -> TxReport:
        """Commit tx-data now, if the attempt still holds the job.

        Raises: LeaseLost, and nothing was written; TransactError for what the store refuses.
        """
        try:
            return self.conn.transact([*txns.hold(self.lease), *tx_data])
        except CasFailed:
            db = self.conn.db()
            if holds(db, self.lease):
                raise
            raise lost(self.lease, db) from None

    @property
    def results(self) -> dict[str, Any]:
        """What the jobs that this one depends on left to it: id → value, for those that left anything."""
        return {id: value for id, _, value in self._results()}

    def results_of(self, type: str) -> list[Any]:
        """Return what the parents of a type left, in order of their ids."""
        wanted = as_keyword(type)
        return [value for _, found, value in sorted(self._results(), key=lambda row: row[0]) if found == wanted]

    def result_of(self, type: str) -> Any:
        """Return what the one parent of a type left.

        Raises: OverseerError(:job.error/no-result) when none of that type left anything, or more than one did.
        """
        found = self.results_of(type)
        if len(found) != 1:
            why = f"expected one result among the parents of type {type}, found {len(found)}"
            raise OverseerError(":job.error/no-result", why, job=self.id, type=type, found=len(found))
        return found[0]

    def _results(self) -> Iterator[tuple[str, Keyword, Any]]:
        for parent in lookup.parents(self.db, self.eid):
            text = lookup.value(self.db, parent, ":job/result")
            if text is not None:
                yield (
                    lookup.value(self.db, parent, ":job/id"),
                    lookup.value(self.db, parent, ":job/type"),
                    factstore.edn.read(text),
                )

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    def __iter__(self) -> Iterator[str]:
        return iter(self.attributes)

    def __len__(self) -> int:
        return len(self.attributes)

    # A job is itself and nothing else, whatever its attributes.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<Job {self.lease.type} {self.lease.id} attempt {self.lease.attempt}>"


def _elsewhere(lease: Lease, attributes: Mapping[str, Any], uri: str | None) -> Job:
    return Job(lease, attributes, uri=uri)


@cache
def _connection(uri: str | None, process: int) -> Connection:
    """Return this process's one connection to a store, for attempts whose worker is another process.

    Args:
        process: the id of this process: one that is forked from it has its own.
    """
    if uri is None or uri.startswith("memory:"):
        why = f"{uri or 'the store'} lives in the memory of another process: handlers that run elsewhere need a store in a file"
        raise OverseerError(":job.error/no-connection", why, store=uri)
    return factstore.connect(uri, create=False)


def holds(db: Database, lease: Lease) -> bool:
    """Tell whether an attempt still holds its job."""
    return (
        lookup.status(db, lease.job) == STARTED
        and lookup.value(db, lease.job, ":job/attempt") == lease.attempt
        and lookup.value(db, lease.job, ":job/token") == lease.token
    )


def lost(lease: Lease, db: Database) -> LeaseLost:
    """Return the error that tells an attempt what became of its job."""
    status, attempt = lookup.status(db, lease.job), lookup.value(db, lease.job, ":job/attempt")
    return LeaseLost(
        ":job.error/lease-lost",
        f"attempt {lease.attempt} of {lease.type} {lease.id} no longer holds it: the job is {status} in attempt {attempt}",
        job=lease.id,
        attempt=lease.attempt,
        status=status,
    )
