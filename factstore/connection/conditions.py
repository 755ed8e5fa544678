"""Conditions: what a caller asks of a transaction besides its forms. They are part of its preparation, so whoever else commits
meanwhile, they hold when it is committed.

    key     the transaction is made once: the key is a fact of it, unique, and whoever comes second finds it, unless with other forms
    since   what the transaction is about is as it was then
    none    what None in a map form means
    said    facts about the transaction itself
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from factstore import log
from factstore.commit.commit import Committer
from factstore.connection.repeats import is_same, may_differ_by_now
from factstore.datom import t_of, tx_of
from factstore.db.database import Database, Point
from factstore.errors import FactStoreError, TransactError
from factstore.schema.attribute import FIRST_FREE_ID, TX_KEY
from factstore.transact import Nones, Prepared, TxReport, check_nones, prepare, report
from factstore.transact.forms import read_forms
from factstore.values.quoting import quoted
from factstore.values.types import ANOTHER_TYPE, STRING

if TYPE_CHECKING:
    from factstore.db.snapshot import Snapshot

_TRANSACTION = "datomic.tx"


class _Repeated(Exception):
    """A transaction of this key was made before, at t."""

    def __init__(self, t: int) -> None:
        super().__init__(t)
        self.t = t


def _key(key: object) -> str:
    """Return a key as it is kept. Raises: TransactError(:db.error/invalid-option)."""
    try:
        kept: str = STRING.store(key)
    except ValueError as error:
        why = "" if str(error) == ANOTHER_TYPE else f": {error}"
    else:
        if kept:
            return kept
        why = ""
    raise TransactError(
        ":db.error/invalid-option",
        f"a key is a string that is not empty, got {quoted(key)}{why}",
        option="key",
        value=key,
    )


@dataclass(frozen=True, slots=True)
class Conditional:
    """A transaction with conditions."""

    tx_data: Any
    none: Nones
    since: Point | None
    key: str | None
    said: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_nones(self.none)
        if isinstance(self.tx_data, Iterator):
            # It gives its forms once, and a lost race makes another attempt.
            object.__setattr__(self, "tx_data", list(self.tx_data))
        if self.key is not None:
            object.__setattr__(self, "key", _key(self.key))

    def commit(self, committer: Committer) -> TxReport:
        """Commit it, or return the report of the transaction that has its key."""
        try:
            return committer.apply(self._change)
        except _Repeated as repeated:
            return self._first_report(committer, repeated.t)

    def commit_async(self, committer: Committer) -> Future[TxReport]:
        """Commit it some time soon."""
        done = committer.future()

        def hand_on(made: Future[TxReport]) -> None:
            error = made.exception()
            try:
                if isinstance(error, _Repeated):
                    done.set_result(self._first_report(committer, error.t))
                elif error is not None:
                    done.set_exception(error)
                else:
                    done.set_result(made.result())
            except Exception as unreadable:
                done.set_exception(unreadable)

        done.set_running_or_notify_cancel()
        committer.apply_async(self._change).add_done_callback(hand_on)
        return done

    def _change(self, before: Snapshot, now: int) -> Prepared:
        if self.key is not None:
            made = before.database.view.holders_of(TX_KEY, self.key)
            if made:
                raise _Repeated(t_of(made[0]))
        return self._prepared(before.database, now, self.since)

    def _prepared(self, db: Database, now: int, since: Point | None) -> Prepared:
        forms = list(read_forms(self.tx_data))
        if self.said:
            forms.append({":db/id": _TRANSACTION, **self.said})
        if self.key is not None:
            forms.append({":db/id": _TRANSACTION, ":db.tx/key": self.key})
        return prepare(db, forms, now=now, none=self.none, if_unchanged_since=since)

    def _first_report(self, committer: Committer, t: int) -> TxReport:
        """Return the report of the transaction that was made with the key: its databases as of then, its tempids as they were.

        Raises: TransactError(:db.error/key-reused) when that one was made of other forms.
        """
        newest = committer.newest.database
        made = next(log.read(committer.storage, t - 1, t))
        next_n, instant = FIRST_FREE_ID, 0
        for earlier in log.read(committer.storage, max(t - 2, 0), t - 1):
            next_n, instant = earlier.next_n, earlier.instant
        before, after = newest.as_of(t - 1), newest.as_of(t)
        tempids = self._tempids(replace(before, basis_t=t - 1, next_n=next_n, last_instant=instant), made, newest)
        return report(before, after, made.all_facts(), tempids)

    def _tempids(self, then: Database, made: log.TxRecord, newest: Database) -> Mapping[str | int, int]:
        """Return the tempids of these forms, if they say what was said then; the log does not keep what things were called."""
        try:
            prepared = self._prepared(then, made.instant, None)
        except FactStoreError as error:
            if may_differ_by_now(newest, made.t, None):
                return {}
            raise self._reused(made, newest, f"; these are rejected: {error.message}") from error
        # What is said of the transaction itself, such as a reason, makes no difference.
        own, theirs = (
            {fact for fact in facts if fact[0] != tx_of(made.t)} for facts in (prepared.facts, made.all_facts())
        )
        if own == theirs:
            return prepared.tempids
        if is_same(then, own, theirs) or may_differ_by_now(newest, made.t, {fact[1] for fact in own ^ theirs}):
            return {}
        raise self._reused(made, newest, "")

    def _reused(self, made: log.TxRecord, newest: Database, why: str) -> TransactError:
        since = newest.instant_of(made.t)
        message = (
            f"the key {quoted(self.key)} belongs to transaction t={made.t} since {since}, made of other forms{why}"
        )
        return TransactError(":db.error/key-reused", message, key=self.key, t=made.t)
