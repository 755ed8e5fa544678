"""A job in a store, with the type of its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import factstore
from factstore import Keyword
from overseer import status as questions
from overseer.errors import JobFailed, NotEnded
from overseer.jobs import lookup
from overseer.jobs.states import ENDED, FAILED, FINISHED, Status
from overseer.jobs.store import JobStore
from overseer.sources import ConnectionBound, check_connection
from overseer.times import Timeout, timeout_of

if TYPE_CHECKING:
    from factstore import Connection, Database

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class JobRef(ConnectionBound, Generic[R]):
    """A job in a store. It keeps no state: each question reads the store.

    Args:
        conn: the connection by which the store is read.
        id: the job's `:job/id`.
        decode: returns the result for the text of `:job/result`.
    """

    _instead: ClassVar[str] = "send its id, and make a reference there, as in JobRef(connect(address), id, decode)"
    conn: Connection
    id: str
    decode: Callable[[str | None], R]

    def __copy__(self) -> Self:
        return self  # it is immutable

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __post_init__(self) -> None:
        check_connection(JobRef, self.conn)

    @property
    def status(self) -> Status:
        """The job's status now."""
        return self._now()[2]

    def result(self, timeout: Timeout | None = None) -> R:
        """Wait until the job has ended, and return its result.

        Args:
            timeout: how long to wait, in seconds, as a timedelta or a text; None waits without a limit.
        Raises: JobFailed if it failed or was aborted; NotEnded if it has not ended in time.
        """
        limit = timeout_of(timeout)
        deadline = None if limit is None else monotonic() + limit
        while True:
            db, job, status = self._now()
            if status in ENDED:
                return self._ended(db, job, status)
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                why = f"the job {self.id} is {status.name} after {limit:g} s"
                raise NotEnded(":job.error/not-ended", why, job=self.id, status=status)
            self.conn.wait(db.basis_t, left)

    def _repr_html_(self) -> str:
        db, _, status = self._now()
        why = questions.explain(db, self.id, at=self.conn.now()).why
        return factstore.rendering.html_record(f"Job {self.id}", {"status": status.name, "why": why})

    def explain(self) -> questions.Explanation:
        """Return why the job is not running, since when it runs, or how it ended."""
        return questions.explain(self.conn.db(), self.id, at=self.conn.now())

    def cancel(self, message: str = "cancelled") -> bool:
        """Abort the job and the jobs that depend on it; False if it had ended already."""
        return JobStore(self.conn, worker="cancel").abort(self.id, message)

    def _now(self) -> tuple[Database, int, Status]:
        db = self.conn.db()
        job = lookup.named(db, self.id)
        return db, job, lookup.status(db, job) or Keyword(":job.status/unknown")

    def _ended(self, db: Database, job: int, status: Status) -> R:
        if status == FINISHED:
            return self.decode(lookup.value(db, job, ":job/result"))
        failure = _failure(lookup.value(db, job, ":job/failure"))
        ended = "failed" if status == FAILED else "was aborted"
        why = f"the job {self.id} {ended}: {questions.explain(db, job).why}"
        raise JobFailed(":job.error/job-failed", why, job=self.id, status=status, failure=failure)


def _failure(text: str | None) -> Any:
    return None if text is None else factstore.edn.read(text)
