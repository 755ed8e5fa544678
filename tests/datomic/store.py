"""The same cases as peer.clj, run on this store: one answer per step, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import factstore
from factstore import Database, FactStoreError, Keyword, TxReport, edn
from factstore.values.exact import ExactSet

IDENTS = (":color/red", ":color/blue")  # the first transaction of a case makes these
UNCOMPARED = (":db/txInstant", ":db.install/attribute", ":db.alter/attribute")


class World:
    """A new store, and the names of the entities and transactions that a case has made."""

    def __init__(self) -> None:
        self.conn = factstore.connect("memory:")
        self.known: list[int] = []
        self.names: dict[int, Keyword] = {}
        self.txs: list[int] = []

    def answers(self, steps: list[Mapping[str, Any]]) -> list[list[Any]]:
        """Run the steps of a case and return their answers."""
        with self.conn:
            return [self._answer(step) for step in steps]

    def _answer(self, step: Mapping[str, Any]) -> list[Any]:
        try:
            return [Keyword(":ok"), self._run(self._filled(step))]
        except FactStoreError as error:
            return [Keyword(":error"), f"{error.code} {error}"]

    def _run(self, step: Mapping[str, Any]) -> Any:
        if ":tx" in step:
            report = self.conn.transact(edn.write(step[":tx"]))
            self._learn(report)
            return self._facts(report)
        db = self._view(step.get(":view") or {})
        if ":query" in step:
            return self._named(factstore.q(edn.write(step[":query"]), db, *step.get(":args", ())))
        return self._named(factstore.pull(db, edn.write(step[":pull"]), step[":eid"]))

    def _filled(self, form: Any) -> Any:
        if isinstance(form, Mapping):
            if list(form) == [":old"]:
                return self.known[form[":old"] % len(self.known)] if self.known else Keyword(":color/red")
            return {key: self._filled(value) for key, value in form.items()}
        if isinstance(form, list | tuple):
            return type(form)(map(self._filled, form))
        return form

    def _learn(self, report: TxReport) -> None:
        self.txs.append(report.tx_data[0].tx)
        number = len(self.txs)
        if number == 1:
            self.names |= {report.db_after.entid(ident): Keyword(ident) for ident in IDENTS}
        self.names[self.txs[-1]] = Keyword(f":e/tx{number}")
        for tempid, entity in sorted(each for each in report.tempids.items() if isinstance(each[0], str)):
            if entity not in self.names:
                self.names[entity] = Keyword(f":e/{tempid}{number}")
                self.known.append(entity)

    def _view(self, view: Mapping[str, Any]) -> Database:
        db = self.conn.db()
        if ":as-of" in view:
            return db.as_of(self._point(view[":as-of"]))
        if ":since" in view:
            return db.since(self._point(view[":since"]))
        return db.history() if view.get(":history") else db

    def _point(self, number: int) -> int:
        return factstore.tx_to_t(self.txs[number % len(self.txs)]) if self.txs else 0

    def _facts(self, report: TxReport) -> list[list[Any]]:
        db = report.db_after
        found = []
        for datom in report.tx_data:
            attribute = db.attribute(datom.a)
            if attribute.ident not in UNCOMPARED:
                value = self._entity(db, datom.v) if attribute.is_ref else self._named(datom.v)
                found.append([self._entity(db, datom.e), attribute.ident, value, datom.added])
        return found

    def _entity(self, db: Database, entity: int) -> Any:
        return self.names.get(entity) or db.ident(entity) or entity

    def _named(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {self._named(key): self._named(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._named(part) for part in value]
        if isinstance(value, set | frozenset):
            return ExactSet(_hashable(self._named(part)) for part in value)
        if type(value) is int and 1 << 42 < value < 1 << 63:
            return self.names.get(value) or self.conn.db().ident(value) or value
        return value


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
