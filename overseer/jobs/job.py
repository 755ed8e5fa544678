"""An attempt as its handler sees it: the attributes of the job, its database, and writes under the lease.

An attempt may run in another process than its worker. Its lease and its attributes are sent there; that process opens
the store itself, and reads the database as of the same transaction.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

import factstore
from factstore import CasFailed, Keyword, TransactError
from overseer.errors import EffectRepeated, LeaseLost, OverseerError, WaitExpired
from overseer.jobs import lookup, steps, txns, waits
from overseer.jobs.reports import reported
from overseer.jobs.states import STARTED, Forms, Lease, as_keyword
from overseer.jobs.waits import Waiting, When
from overseer.times import Duration

if TYPE_CHECKING:
    from factstore import Connection, Database, TxReport


T = TypeVar("T")


@factstore.rendering.shown_as_record
@dataclass(frozen=True, slots=True)
class Result:
    """A handler's return value that is stored for the jobs that depend on its job.

    Args:
        value: any value that EDN can write: numbers, text, times, lists, dicts. It is stored as the fact `:job/result`.
        facts: transaction data, committed with it.
    """

    value: Any
    facts: Sequence[Any] = ()


_PAUSE: Final = 5.0  # seconds between two commits of progress by a handler in another process
_HELD: Final = "[:job/status :job/attempt :job/token]"


class Job(Mapping[str, Any]):
    """A job as its handler sees it: its attributes by name, and the database as it was when the job was claimed.

    Args:
        lease: the attempt that runs.
        attributes: the attributes of the job when it was claimed.
        conn: the connection of its worker.
        db: the database right after the claim; so the inputs of an attempt do not change while it runs.
        uri: the store to open if there is no connection.
    """

    __slots__ = (
        *("_conn", "_db", "_lease_ok", "_told", "_uri", "asserted", "attributes", "begin_by", "lease", "logs"),
        "waits",
        "_progress",
    )

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
        self.begin_by = inf  # seconds, on the monotonic clock of its worker, after which it is not begun
        self.waits = False  # whether a wait has ended the attempt
        self.logs: str | None = None  # the lines that the handler has logged, if they are kept
        self._progress: Callable[[Lease, str], None] | None = None  # None: no heartbeat of a worker writes it
        self._told = -inf  # when progress was committed last, on the monotonic clock
        self._conn = conn
        self._db = db
        self._lease_ok: Callable[[Lease], bool] | None = None  # None: read the store
        self._uri = uri if conn is None else None

    def __reduce__(self) -> tuple[Callable[..., Job], tuple[Any, ...]]:
        return _elsewhere, (self.lease, dict(self.attributes), self._uri if self._conn is None else self._conn.uri)

    @property
    def conn(self) -> Connection:
        """A connection to the store, for newer data and for writes that do not depend on the lease."""
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
        """The job's entity id, for references from facts."""
        return self.lease.job

    @property
    def type(self) -> Keyword:
        """The job's `:job/type`, which chose the handler."""
        return self.lease.type

    @property
    def attempt(self) -> int:
        """The number of claims of the job, this one included."""
        return self.lease.attempt

    @property
    def key(self) -> str:
        """An idempotency key for effects outside the store: the same in every attempt of this job."""
        return f"overseer/{self.lease.id}"

    def watched(self, lease_ok: Callable[[Lease], bool], progress: Callable[[Lease, str], None] | None = None) -> Job:
        """Set the functions of the worker for this attempt, and return the job.

        Args:
            lease_ok: tells whether the attempt still holds the job.
            progress: receives progress, which the worker writes with its next heartbeat.
        """
        self._lease_ok = lease_ok
        self._progress = progress
        return self

    def progress(self, done: float, of: float | None = None, text: str = "") -> None:
        """Report how far the attempt is; `status.progress` returns the newest report.

        It may be called as often as you like: the worker writes the newest report with its next heartbeat, in the
        transaction that renews its leases. A handler in another process than its worker commits by itself, at most
        every five seconds. Only the newest report of a job is kept.

        Args:
            done: how much is done: bytes, rows, steps.
            of: how much there is in all, if it is known.
            text: what the attempt does now; at most 200 characters are kept.
        Raises: OverseerError(:job.error/bad-argument) for a value that is not a finite number.
        """
        report = reported(self.lease.attempt, done, of, text)
        if self._progress is not None:
            self._progress(self.lease, report)
        elif monotonic() - self._told >= _PAUSE:
            self._told = monotonic()
            self.transact([txns.progress(self.lease, report)])

    def lease_ok(self) -> bool:
        """Tell whether the attempt still holds the job; if not, its outcome will be discarded."""
        return self._lease_ok(self.lease) if self._lease_ok is not None else holds(self.conn.db(), self.lease)

    def assert_(self, *forms: Any) -> None:
        """Add transaction data to the transaction that finishes the job; it is committed only with it."""
        self.asserted.extend(forms)

    def transact(self, tx_data: Sequence[Any]) -> TxReport:
        """Commit transaction data now, if the attempt still holds the job.

        Raises: LeaseLost if it does not, and nothing was written; TransactError if the transaction is rejected.
        """
        try:
            return self.conn.transact([*txns.hold(self.lease), *tx_data])
        except CasFailed:
            db = self.conn.db()
            if holds(db, self.lease):
                raise
            raise lost(self.lease, db) from None

    def effect(self, key: str) -> None:
        """Declare, before it happens, an effect outside of the store that must happen at most once: a charge, a letter.

        The declaration is committed at once, under the lease, as the facts `:effect/key`, `:effect/job` and
        `:effect/attempt`. It can be made once, by one attempt of one job. So an attempt that lost its job, or that runs
        again after a crash, raises before it repeats the effect; an attempt that finds the effect declared asks the
        outside system whether it happened. An effect that the outside system recognizes by an idempotency key, such as
        `job.key`, needs no declaration.

        Args:
            key: names the effect in the whole store, and is the same in each attempt: `f"charge/{order}"`.
        Raises: EffectRepeated if the effect was declared before; LeaseLost if the attempt no longer holds the job.
        """
        try:
            self.conn.transact(txns.effect(self.lease, key))
        except TransactError as error:
            repeated = error.code == txns.REPEATED
            if not (repeated or isinstance(error, CasFailed)):
                raise
            db = self.conn.db()
            if not holds(db, self.lease):
                raise lost(self.lease, db) from None
            if not repeated:
                raise
            raise EffectRepeated(error.code, error.message, **error.data) from None

    def wait(self, what: When) -> Any:
        """Return the answer of a query as soon as it has a row; until then, the job is unstarted and takes no slot.

        If the query does not hold yet, the attempt ends here, by an exception that the handler must not catch, and the
        next one begins when it holds, or at the deadline. That one runs the handler from its beginning. An answer that
        came before the job waited is seen, too, and each attempt gets the answer of the same database.

        Args:
            what: as made by `overseer.when`.
        Raises: WaitExpired if the query did not hold until the deadline; QueryError; LeaseLost.
        """
        return self._wait(what, {})

    def ask(self, question: str, options: Sequence[str] = (), *, within: Duration, name: str | None = None) -> str:
        """Return a person's answer to a question; until there is one, the job waits as by `wait`.

        It is answered by `overseer answer`, or by the transaction `overseer.questions.answer`.

        Args:
            question: the question, for people.
            options: the possible answers; empty: any text.
            within: how long the job waits at most, as a timedelta or a text such as "7d".
            name: the same in each attempt of the job; None is the question.
        Raises: WaitExpired if there was no answer until the deadline; LeaseLost;
            OverseerError(:job.error/bad-question) unless the question and the options are texts that are not empty.
        """
        waits.check_question(question, options)
        name = waits.name_of(question if name is None else name)
        what, about = waits.question(f"{self.id}/{name}", question, options, within=within, name=name)
        answer: str = self._wait(what, about)
        return answer

    def _wait(self, what: When, about: Mapping[str, Any]) -> Any:
        key = f"{self.id}/{what.name}"
        db = self.conn.db()
        known = waits.find(db, key)
        if known is not None and known.t is not None:
            return what.answer(db.as_of(known.t))
        now = self.conn.now()
        until = known.until if known is not None and known.until is not None else now + what.within
        answer = what.answer(db)
        if waits.holds(answer):
            self.transact(waits.held(self.eid, key, what.text, until, db.basis_t, about))
            return answer
        words = waits.in_words(about.get(":wait/question"), what.text)
        # A job is started in its open wait only at the deadline, as measured by the worker.
        if now >= until or (known is not None and self.attributes.get(":job/wait") == known.eid):
            why = f"{self.type} {self.id} waited in vain until {until.isoformat()} for {words}"
            raise WaitExpired(":job.error/wait-expired", why, job=self.id, name=what.name, until=until)
        begun = waits.begun(self.eid, key, what.text, until, about)
        self.waits = True
        raise Waiting(f"waits until {until.isoformat()} for {words}", until, begun)

    def once(self, name: str, step: Callable[[], T]) -> T:
        """Return the result of a step, which runs only if no earlier attempt has stored its result.

        The result is committed at once, under the lease. If the process dies after the step and before that, the step
        runs again; if it must not, declare it by `effect`, too.

        Args:
            name: distinguishes the steps of one job.
            step: is called without arguments; its result must be a value that EDN can represent, and is returned as EDN
                reads it: a set as a frozenset.
        Raises: LeaseLost if the attempt no longer holds the job; OverseerError(:job.error/bad-result).
        """
        key, stored = self._step(name)
        result: T = steps.value_of(self._store_step(key, step()) if stored is None else stored)
        return result

    async def aonce(self, name: str, step: Callable[[], Awaitable[T]]) -> T:
        """Do the same as `once` for a coroutine function, without blocking the event loop."""
        key, stored = self._step(name)
        if stored is None:
            stored = await asyncio.to_thread(self._store_step, key, await step())
        result: T = steps.value_of(stored)
        return result

    def _step(self, name: str) -> tuple[str, str | None]:
        """Return the key of a step, and its stored result. Raises: LeaseLost."""
        if not self.lease_ok():
            raise lost(self.lease, self.conn.db())
        key = f"{self.id}/{waits.name_of(name)}"
        return key, steps.stored(self.conn.db(), key)

    def _store_step(self, key: str, result: Any) -> str:
        text = steps.text_of(result, key)
        self.transact(steps.kept(self.lease, key, text))
        return text

    @property
    def results(self) -> dict[str, Any]:
        """The results of the jobs that this one depends on, by id; only those that have one."""
        return {id: value for id, _, value in self._results()}

    def results_of(self, type: str) -> list[Any]:
        """Return the results of the parents of a type, in order of their ids."""
        wanted = as_keyword(type)
        return [value for _, of, value in sorted(self._results(), key=lambda row: row[0]) if of == wanted]

    def result_of(self, type: str) -> Any:
        """Return the result of the only parent of a type.

        Raises: OverseerError(:job.error/no-result) unless exactly one parent of that type has a result.
        """
        results = self.results_of(type)
        if len(results) != 1:
            why = f"expected one result among the parents of type {type}, found {len(results)}"
            raise OverseerError(":job.error/no-result", why, job=self.id, type=type, found=len(results))
        return results[0]

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

    # Two jobs are equal only if they are the same object.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<Job {self.lease.type} {self.lease.id} attempt {self.lease.attempt}>"

    def _repr_html_(self) -> str:
        caption = f"Job {self.lease.type} {self.lease.id}, attempt {self.lease.attempt}"
        return factstore.rendering.html_record(caption, self)


def _elsewhere(lease: Lease, attributes: Mapping[str, Any], uri: str | None) -> Job:
    return Job(lease, attributes, uri=uri)


@cache
def _connection(uri: str | None, process: int) -> Connection:
    """Return the connection of this process to a store, for attempts whose worker is another process.

    Args:
        process: the id of this process; a forked process gets its own connection.
    """
    if uri is None or uri.startswith("memory:"):
        where = f"{uri or 'the store'} lives in the memory of another process"
        why = f"{where}: handlers that run elsewhere need a store in a file"
        raise OverseerError(":job.error/no-connection", why, store=uri)
    return factstore.connect(uri, create=False)


def holds(db: Database, lease: Lease) -> bool:
    """Tell whether an attempt still holds its job."""
    about = factstore.pull(db, _HELD, lease.job) or {}
    return (about.get(":job/status"), about.get(":job/attempt"), about.get(":job/token")) == (
        STARTED,
        lease.attempt,
        lease.token,
    )


def lost(lease: Lease, db: Database) -> LeaseLost:
    """Return the error for an attempt that no longer holds its job."""
    status, attempt = lookup.status(db, lease.job), lookup.value(db, lease.job, ":job/attempt")
    now = f"the job is {status} in attempt {attempt}"
    return LeaseLost(
        ":job.error/lease-lost",
        f"attempt {lease.attempt} of {lease.type} {lease.id} no longer holds it: {now}",
        job=lease.id,
        attempt=lease.attempt,
        status=status,
    )
