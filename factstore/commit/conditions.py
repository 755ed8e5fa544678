"""Conditions: options of a transaction besides its forms.

They are part of its preparation, so they hold when it is committed, even if others commit in between.

    key          idempotency key: a unique fact of the transaction; a second transaction with it and the same forms
        finds the first
    since        the entities that the transaction changes are unchanged since then
    none         the meaning of None in a map form
    annotations  facts about the transaction itself
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from factstore import log
from factstore.columns.kind import OBJECTS
from factstore.commit.background import PendingReport
from factstore.commit.commit import Committer
from factstore.commit.repeats import is_same, may_differ_by_now
from factstore.datom import t_of, tx_of
from factstore.db.database import Database, Point
from factstore.errors import FactStoreError, TransactError
from factstore.schema.attribute import FIRST_FREE_ID, TX_KEY
from factstore.transact import Newest, Nones, Prepared, TxReport, check_nones, prepare, report
from factstore.transact.forms import read_forms
from factstore.values.quoting import quoted
from factstore.values.types import ANOTHER_TYPE, STRING

if TYPE_CHECKING:
    from factstore.db.snapshot import Snapshot

_TRANSACTION = "datomic.tx"


class Repeated(Exception):
    """This transaction was committed before, at t."""

    def __init__(self, t: int) -> None:
        super().__init__(t)
        self.t = t


def _key(key: object) -> str:
    """Return a key as it is stored. Raises: TransactError(:db.error/invalid-option)."""
    try:
        stored: str = STRING.store(key)
    except ValueError as error:
        why = "" if str(error) == ANOTHER_TYPE else f": {error}"
    else:
        if stored:
            return stored
        why = ""
    raise TransactError(
        ":db.error/invalid-option",
        f"a key is a string that is not empty, got {quoted(key)}{why}",
        option="key",
        value=key,
    )


@dataclass(frozen=True, slots=True)
class Conditional:
    """A transaction with conditions, as data; called with a database, it is the preparation of the transaction."""

    tx_data: Any
    none: Nones
    since: Point | None
    key: str | None
    annotations: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_nones(self.none)
        if isinstance(self.tx_data, Iterator):
            # An iterator yields its forms once, but a lost race needs them again.
            object.__setattr__(self, "tx_data", list(self.tx_data))
        if self.key is not None:
            object.__setattr__(self, "key", _key(self.key))

    def commit(self, committer: Committer) -> TxReport:
        """Commit the transaction, or return the report of the one that has its key."""
        try:
            return committer.apply(self)
        except Repeated as repeated:
            return self.first_report(committer, repeated.t)

    def commit_async(self, committer: Committer) -> PendingReport:
        """Commit the transaction in the background; the future gives the report."""
        future = committer.future()

        def copy_outcome(commit: Future[TxReport]) -> None:
            error = commit.exception()
            try:
                if isinstance(error, Repeated):
                    future.set_result(self.first_report(committer, error.t))
                elif error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(commit.result())
            except Exception as unreadable:
                future.set_exception(unreadable)

        future.set_running_or_notify_cancel()
        committer.apply_async(self).add_done_callback(copy_outcome)
        return future

    def __call__(self, before: Snapshot, now: int) -> Prepared:
        """Prepare the transaction on top of a database. Raises: Repeated, if one with its key was committed before."""
        if self.key is not None:
            transaction = Newest(before).holder_of(TX_KEY, self.key, OBJECTS)
            if transaction is not None:
                raise Repeated(t_of(transaction))
        return self._prepared(before, now, self.since)

    def _prepared(self, before: Snapshot | Database, now: int, since: Point | None) -> Prepared:
        forms = list(read_forms(self.tx_data))
        if self.annotations:
            forms.append({":db/id": _TRANSACTION, **self.annotations})
        if self.key is not None:
            forms.append({":db/id": _TRANSACTION, ":db.tx/key": self.key})
        return prepare(before, forms, now=now, none=self.none, if_unchanged_since=since)

    def first_report(self, committer: Committer, t: int) -> TxReport:
        """Return the report of the transaction with the key; its databases are `as_of` views.

        Raises: TransactError(:db.error/key-reused) if that one was committed with other forms.
        """
        newest = committer.newest.database
        first = next(log.read(committer.storage, t - 1, t))
        next_n, instant = FIRST_FREE_ID, 0
        for earlier in log.read(committer.storage, max(t - 2, 0), t - 1):
            next_n, instant = earlier.next_n, earlier.instant
        before, after = newest.as_of(t - 1), newest.as_of(t)
        tempids = self._tempids(replace(before, basis_t=t - 1, next_n=next_n, last_instant=instant), first, newest)
        return report(before, after, first.all_facts(), tempids)

    def _tempids(self, then: Database, first: log.TxRecord, newest: Database) -> Mapping[str | int, int]:
        """Return the tempids of these forms if they are the forms of then; the log does not contain tempids."""
        try:
            prepared = self._prepared(then, first.instant, None)
        except FactStoreError as error:
            if may_differ_by_now(newest, first.t, None):
                return {}
            raise self._reused(first, newest, f"; these are rejected: {error.message}") from error
        # Facts about the transaction itself, such as a reason, are not compared.
        own, theirs = (
            {fact for fact in facts if fact[0] != tx_of(first.t)} for facts in (prepared.facts, first.all_facts())
        )
        if own == theirs:
            return prepared.tempids
        if is_same(then, own, theirs) or may_differ_by_now(newest, first.t, {fact[1] for fact in own ^ theirs}):
            return {}
        raise self._reused(first, newest, "")

    def _reused(self, first: log.TxRecord, newest: Database, why: str) -> TransactError:
        since = newest.instant_of(first.t)
        message = (
            f"the key {quoted(self.key)} belongs to transaction t={first.t} since {since}, made of other forms{why}"
        )
        return TransactError(":db.error/key-reused", message, key=self.key, t=first.t)
