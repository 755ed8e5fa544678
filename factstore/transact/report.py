"""The report of a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from factstore.datom import Datom, Fact
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.rendering import html_table, text_table
from factstore.values.process_bound import SharedValue

MOST_SHOWN: Final = 200  # datoms
_HEADER: Final = ("", "entity", "attribute", "value")


class TxReport(SharedValue):
    """The result of a transaction: the databases before and after, its datoms and the ids of its tempids. Immutable."""

    __slots__ = ("_after", "_before", "_datoms", "_facts", "_tempids")

    def __init__(
        self,
        before: Database | Snapshot,
        after: Database | Snapshot,
        facts: Sequence[Fact],
        tempids: Mapping[str | int, int],
    ) -> None:
        self._before = before
        self._after = after
        self._facts = facts
        self._tempids = tempids
        self._datoms: tuple[Datom, ...] | None = None

    @property
    def db_before(self) -> Database:
        """The database that the transaction was prepared against."""
        return self._before.database if type(self._before) is Snapshot else self._before  # type: ignore[return-value]

    @property
    def db_after(self) -> Database:
        """The database with the transaction in it."""
        return self._after.database if type(self._after) is Snapshot else self._after  # type: ignore[return-value]

    @property
    def after(self) -> Snapshot:
        """The database after, as the snapshot of a committer; only if it committed the transaction itself."""
        assert type(self._after) is Snapshot
        return self._after

    @property
    def tempids(self) -> Mapping[str | int, int]:
        """The entity ids of the tempids of the transaction."""
        return self._tempids

    @property
    def tx_data(self) -> tuple[Datom, ...]:
        """The datoms that were added and retracted, the `:db/txInstant` of the transaction first."""
        # Created on first use: most callers never read them, and a large transaction has many.
        if self._datoms is None:
            self._datoms = tuple(map(self.db_after.datom, self._facts))
        return self._datoms

    def datoms_of(self, *attributes: object) -> list[Datom]:
        """Return the datoms of these attributes, without creating the others.

        Args:
            attributes: idents or ids.
        """
        db = self.db_after
        find = db.schema.find
        wanted = frozenset(
            [((find(key) if isinstance(key, str | int) else None) or db.attribute(key)).id for key in attributes]
        )
        of = getattr(self._facts, "of", None)  # the facts of a bulk load can skip whole columns
        return [db.datom(fact) for fact in (self._facts if of is None else of(wanted)) if fact[1] in wanted]

    @property
    def size(self) -> int:
        """The number of datoms in `tx_data`, without creating them."""
        return len(self._facts)

    @property
    def t(self) -> int:
        """The t of the transaction."""
        if type(self._after) is Snapshot:  # without creating the database
            return self._after.t
        if self._facts:  # on top of an as_of database, the transaction is later than what db_after shows
            return self._facts[0][3]
        db = self.db_after
        return db.basis_t if db.as_of_t is None else db.as_of_t

    def __repr__(self) -> str:
        return f"<TxReport t={self.t}, {len(self._facts)} datom{'' if len(self._facts) == 1 else 's'}>"

    def __str__(self) -> str:
        rows, left = self._rows()
        return f"{self!r}\n{text_table(_HEADER, rows)}{f'{chr(10)}and {left:,} more' if left else ''}"

    def _repr_html_(self) -> str:
        rows, left = self._rows()
        caption = f"{self!r}{f', the last {left} not shown' if left else ''}"
        return html_table(caption, _HEADER, rows, added=[row[0] == "+" for row in rows])

    def _rows(self) -> tuple[list[tuple[object, ...]], int]:
        """Return the rows of the first datoms, and the number of datoms that are left out."""
        db = self.db_after
        datoms = [db.datom(fact) for fact in islice(self._facts, MOST_SHOWN)]
        rows: list[tuple[object, ...]] = [
            ("+" if added else "-", e, db.ident(a), _named(db, a, v)) for e, a, v, _, added in datoms
        ]
        return rows, len(self._facts) - len(rows)


def _named(db: Database, a: int, v: object) -> object:
    """Return a value; for a reference, the ident of the entity if it has one."""
    return (db.ident(v) or v) if db.attribute(a).is_ref else v


def report(
    before: Database | Snapshot, after: Database | Snapshot, facts: Sequence[Fact], tempids: Mapping[str | int, int]
) -> TxReport:
    """Return the report of a transaction with these facts."""
    return TxReport(before, after, facts, tempids)
