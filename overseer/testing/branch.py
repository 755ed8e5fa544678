"""A connection whose commits stay in memory, on top of a database value; the store that it came from does not change.

It commits by `factstore.with_`, so transactions are checked as in a store. A database, once returned, never changes, so
any number of branches can begin at one database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

import factstore
from overseer.errors import OverseerError

if TYPE_CHECKING:
    from factstore import Database, TxReport

URI: Final = "memory:branch"


class Branch:
    """The newest database of a branch, and the reports of its transactions; its connections share it.

    Args:
        with_: makes the report of a transaction.
    """

    def __init__(
        self, db: Database, clock: Callable[[], datetime], *, with_: Callable[..., TxReport] = factstore.with_
    ) -> None:
        self.db = db
        self._with = with_
        self.clock = clock
        self.reports: list[TxReport] = []

    def commit(self, tx_data: Any, none: Any = "reject") -> TxReport:
        """Commit a transaction."""
        report = self._with(self.db, tx_data, none=none, now=self.clock())
        self.db = report.db_after
        self.reports.append(report)
        return report


class BranchReports:
    """The reports of a branch from now on, in order, each once."""

    def __init__(self, branch: Branch) -> None:
        self._branch = branch
        self._next = len(branch.reports)

    def get(self, timeout: float | None = None) -> TxReport | None:
        """Return the next report, or None if there is none yet."""
        if self._next >= len(self._branch.reports):
            return None
        self._next += 1
        return self._branch.reports[self._next - 1]

    get_nowait = get

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> BranchReports:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class BranchTransaction:
    """A block of `transaction()` on a branch: each step is a transaction of its own, and nothing comes in between."""

    def __init__(self, branch: Branch, first: Callable[[Any], TxReport]) -> None:
        self._branch = branch
        self._commit = first
        self.report: TxReport | None = None

    @property
    def db(self) -> Database:
        """The database with all steps."""
        return self._branch.db

    def transact(self, tx_data: Any) -> TxReport:
        """Add a step."""
        self.report = report = self._commit(tx_data)
        self._commit = self._branch.commit
        return report


class BranchConnection(factstore.Connection):
    """A connection to a branch."""

    def __init__(self, branch: Branch) -> None:  # not that of Connection, because there is no storage
        self.branch = branch
        self.clock = branch.clock

    def __repr__(self) -> str:
        return f"<BranchConnection t={self.branch.db.basis_t}>"

    @property
    def uri(self) -> str:
        """The uri of a store in the memory of this process."""
        return URI

    def now(self) -> datetime:
        """Return the time by the branch's clock."""
        return self.branch.clock()

    def db(self) -> Database:
        """Return the newest database."""
        return self.branch.db

    def transact(
        self, tx_data: Any, *, none: Any = "reject", if_unchanged_since: Any = None, key: str | None = None
    ) -> TxReport:
        """Commit a transaction to the branch."""
        if key is not None or if_unchanged_since is not None:
            _unsupported("transact with key or if_unchanged_since")
        return self.commit(tx_data, none)

    def commit(self, tx_data: Any, none: Any = "reject") -> TxReport:
        """Commit a transaction; subclasses make it fail."""
        return self.branch.commit(tx_data, none)

    def transact_async(
        self, tx_data: Any, *, none: Any = "reject", if_unchanged_since: Any = None, key: str | None = None
    ) -> factstore.PendingReport:
        """Commit a transaction at once, and return a future that is done."""
        future = factstore.PendingReport()
        try:
            future.set_result(self.transact(tx_data, none=none, if_unchanged_since=if_unchanged_since, key=key))
        except Exception as error:
            future.set_exception(error)
        return future

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Commit steps, of which each reads the changes of those before."""
        db, count = self.branch.db, len(self.branch.reports)
        try:
            yield BranchTransaction(self.branch, self.commit)
        except BaseException:
            self.branch.db = db
            del self.branch.reports[count:]
            raise

    def sync(self, t: int | None = None, *, timeout: Any = None) -> Database:
        """Return the newest database."""
        return self.branch.db

    def wait(self, point: Any, timeout: Any = None) -> Database:
        """Return the newest database, if it contains a commit after a point; else there never will be one."""
        if self.branch.db.basis_t <= self.branch.db.t_at(point):
            _unsupported("waiting for a commit of another process")
        return self.branch.db

    def tx_reports(self, *, from_t: Any = None) -> Any:
        """Return a queue of the reports from now on."""
        if from_t is not None:
            _unsupported("tx_reports(from_t=…)")
        return BranchReports(self.branch)

    def annotate(self, mapping: Any = None, /, **words: Any) -> Any:
        """Raise an error: a branch has no annotations."""
        _unsupported("annotate")

    def load(self, *args: Any, **options: Any) -> Any:
        """Raise an error: nothing is loaded into a branch."""
        _unsupported("load")

    def excise(self, *args: Any, **options: Any) -> Any:
        """Raise an error: nothing is excised from a branch."""
        _unsupported("excise")

    def peek(self, *args: Any, **options: Any) -> Any:
        """Raise an error: a branch has no log."""
        _unsupported("peek")

    def log(self) -> Any:
        """Raise an error: a branch has no log."""
        _unsupported("log")

    def listen(self, *args: Any, **options: Any) -> Any:
        """Raise an error: a branch has no listeners."""
        _unsupported("listen")

    def unlisten(self, key: object) -> None:
        """Do nothing: a branch has no listeners."""

    def close(self, *, wait: bool = True, progress: Any = None) -> None:
        """Do nothing: the branch ends with its last reference."""


def _unsupported(what: str) -> NoReturn:
    raise OverseerError(
        ":job.error/not-on-a-branch",
        f"a simulation and a replay run in memory, where {what} is not supported",
        what=what,
    )
