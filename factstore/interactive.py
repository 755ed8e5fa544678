"""Interactive transactions: several steps that read what was said so far, committed as one transaction or not at all.

While a block is open nobody else commits, in no process: what it read is still so when it ends.
Law: what is committed is the difference between the databases before and after the block; a block that raises leaves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

from factstore.commit import Change, Committer
from factstore.datom import Fact
from factstore.db import Database
from factstore.errors import TransactError
from factstore.schema.attribute import TX_INSTANT
from factstore.transact import Nones, Prepared, TxReport, prepare, report
from factstore.values import Stored

Key: TypeAlias = tuple[int, int, Stored]

_OVER: Final = "this transaction is over; nothing more can be said in it"


class Transaction:
    """A transaction in the making: what `Connection.transaction` gives to its block."""

    __slots__ = ("_before", "_chosen", "_instant", "_is_open", "_net", "_now", "_said", "db", "report", "tempids")

    def __init__(self, before: Database, said: Sequence[Any], now: int) -> None:
        self._before = before
        self._now = now  # by the clock
        self._chosen = self._instant = max(now, before.last_instant)
        self._net: dict[Key, bool] = {}
        self._said = said  # of the transaction itself, by the blocks around
        self._is_open = True
        self.db = before  # with what was said so far
        self.tempids: dict[str | int, int] = {}
        self.report: TxReport | None = None  # once it is committed

    def transact(self, tx_data: Any, *, none: Nones = "reject") -> TxReport:
        """Say something more, which reads what was said before; checked as a transaction of its own, and committed with the block.

        Its tempids are its own: a name that an earlier step gave means another entity here; that one is found by its id.
        Returns: what this step does to `db`.
        Raises: TransactError, and the step did nothing; go on, or let it end the block.
        """
        if not self._is_open:
            raise TransactError(":db.error/transaction-over", _OVER)
        before, start = self.db, self._before
        prepared = prepare(replace(before, basis_t=start.basis_t, last_instant=start.last_instant), tx_data, now=self._now, none=none)
        self._check_declared(prepared.facts)
        if prepared.instant != self._instant:
            self._chosen = prepared.instant
        self._fold(prepared.facts)
        self.db = start.plus(self._facts(), instant=self._chosen, next_n=prepared.next_n)
        self.tempids.update(prepared.tempids)
        return report(before, self.db, prepared.facts, prepared.tempids)

    def rollback(self) -> None:
        """Forget all that was said; the block may go on reading, and commits nothing."""
        self._is_open, self.db, self._net, self.tempids = False, self._before, {}, {}

    def _check_declared(self, facts: Sequence[Fact]) -> None:
        for e, a, _, _, _ in facts:
            if self._before.schema.find(a) is None:
                name = self.db.schema.ident(a)
                text = f"{name} is declared by this very transaction, so it can be used from the next one on"
                raise TransactError(":db.error/not-an-entity", text, what="attribute", got=name, entity=e)

    def _fold(self, facts: Sequence[Fact]) -> None:
        """Add the facts of a step to the difference: what it takes back is none any more."""
        net, find, tx = self._net, self._before.schema.attribute, facts[0][0]
        for e, a, v, _, added in facts[1:]:
            key = (e, a, v)
            if net.get(key) is (not added):
                del net[key]
                continue
            if e == tx and added and not find(a).many:
                # Steps do not read what earlier ones said of the transaction itself.
                for other in [known for known in net if known[:2] == (e, a)]:
                    del net[other]
            net[key] = added

    def _facts(self) -> list[Fact]:
        t, tx = self._before.next_t, self._before.next_tx
        facts = [(e, a, v, t, added) for (e, a, v), added in self._net.items()]
        facts.sort(key=_retractions_first)
        return [(tx, TX_INSTANT, self._chosen, t, True), *facts]

    def _change(self) -> Change:
        if self._said:
            self.transact(self._said)
        return Change(*Prepared(self._facts(), self.tempids, self.db.next_n, self._chosen))


def _retractions_first(fact: Fact) -> bool:
    return fact[4]


@contextmanager
def transacting(committer: Committer, said: Sequence[Any]) -> Iterator[Transaction]:
    """Open a block that commits what is said in it; see `Connection.transaction`."""
    with committer.alone() as before:
        made = Transaction(before, said, committer.clock())
        try:
            yield made
            if made._is_open and made.db is not before:
                change = made._change()
                made.report = committer.commit_alone(lambda _before, _now: change)
        finally:
            made._is_open = False
