"""The functions of a database as its methods: `db.q(query, …)` is `factstore.q(query, db, …)`.

The functions are in layers above this one. A method calls the public function of its name in the package `factstore`,
which loads it when it is first used, so no module of a lower layer imports one of a higher layer.
Law: a method returns and raises what the public function of its name returns and raises for the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

import factstore
from factstore.values.moments import Duration

if TYPE_CHECKING:
    from factstore import AnswerCache, Database, Difference, Entity, Rows, TxReport

T = TypeVar("T")


class Methods:
    """The part of a database that calls the functions of the package; each function has the whole documentation."""

    __slots__ = ()

    @overload
    def q(
        self,
        query: factstore.builder.Built[T],
        /,
        *inputs: Any,
        timeout: Duration | None = None,
        max_rows: int | None = None,
        cancel: Any = None,
        cache: AnswerCache | None = None,
    ) -> T: ...
    @overload
    def q(
        self,
        query: str | Sequence[Any] | Mapping[Any, Any],
        /,
        *inputs: Any,
        timeout: Duration | None = None,
        max_rows: int | None = None,
        cancel: Any = None,
        cache: AnswerCache | None = None,
    ) -> Any: ...
    def q(self, query: Any, /, *inputs: Any, **options: Any) -> Any:
        """Return the answer of a query whose first input is this database; see `factstore.q`."""
        return factstore.q(query, self, *inputs, **options)

    @overload
    def rows(
        self,
        query: Any,
        /,
        *inputs: Any,
        into: type[T],
        timeout: Duration | None = None,
        max_rows: int | None = None,
        cancel: Any = None,
        stats: bool = False,
    ) -> list[T]: ...
    @overload
    def rows(
        self,
        query: Any,
        /,
        *inputs: Any,
        into: None = None,
        timeout: Duration | None = None,
        max_rows: int | None = None,
        cancel: Any = None,
        stats: bool = False,
    ) -> Rows: ...
    def rows(self, query: Any, /, *inputs: Any, **options: Any) -> Any:
        """Return the answer of a query as columns, or as objects of the class `into`; see `factstore.rows`."""
        return factstore.rows(query, self, *inputs, **options)

    @overload
    def pull(self, pattern: type[T], eid: Any) -> T | None: ...
    @overload
    def pull(self, pattern: str | Sequence[Any], eid: Any) -> dict[Any, Any] | None: ...
    def pull(self, pattern: Any, eid: Any) -> Any:
        """Return the facts of an entity that a pattern selects; see `factstore.pull`."""
        return factstore.pull(cast("Database", self), pattern, eid)

    @overload
    def pull_many(self, pattern: type[T], eids: Iterable[Any]) -> list[T | None]: ...
    @overload
    def pull_many(self, pattern: str | Sequence[Any], eids: Iterable[Any]) -> list[dict[Any, Any] | None]: ...
    def pull_many(self, pattern: Any, eids: Iterable[Any]) -> Any:
        """Return the facts that a pattern selects of each entity; see `factstore.pull_many`."""
        return factstore.pull_many(cast("Database", self), pattern, eids)

    def entity(self, eid: Any) -> Entity | None:
        """Return an entity as a lazy mapping from attributes to values; see `factstore.entity`."""
        return factstore.entity(cast("Database", self), eid)

    def get(self, shape: type[T], eid: Any = None, /, **identity: Any) -> T | None:
        """Return the object of an entity, given by its id or by a unique field; see `factstore.get`."""
        return factstore.get(cast("Database", self), shape, eid, **identity)

    def find(self, shape: type[T], /, **fields: Any) -> list[T]:
        """Return the objects of a class whose fields have these values; see `factstore.find`."""
        return factstore.find(cast("Database", self), shape, **fields)

    def with_(
        self, tx_data: Any, *, none: Literal["reject", "retract"] = "reject", now: datetime | None = None
    ) -> TxReport:
        """Return the report of a transaction on top of this database, without committing it; see `factstore.with_`."""
        return factstore.with_(cast("Database", self), tx_data, none=none, now=now)

    def diff(self, other: Database) -> Difference:
        """Return the retractions and assertions that lead from this database to another; see `factstore.diff`."""
        return factstore.diff(cast("Database", self), other)
