"""One family of errors, each a code, a sentence and the data.

    FactStoreError
    ├── ReadError            text that is not EDN            (line, column)
    ├── TransactError        a transaction that was rejected, whole
    │   ├── SchemaError      an attribute that cannot be installed or altered so
    │   ├── CasFailed        :db/cas found another value     (expected, found)
    │   └── UniqueConflict   a unique value that another entity holds
    ├── QueryError           a query that cannot mean anything
    │   └── QueryStopped     a query that passed a limit, or that somebody stopped
    ├── PullError            a pull pattern that cannot mean anything
    ├── DatabaseError        a read that this database value does not offer
    └── StorageError         bytes that could not be kept or found
        ├── Conflict         certainly not applied: somebody else was first
        ├── Fenced           certainly not applied: a newer writer took over
        ├── Unavailable      certainly not applied: not sent, or refused
        │   └── StoreBusy    certainly not applied: another writer has held the turn for too long
        ├── UnknownOutcome   may or may not have been applied: ask by `txid`; with `t` it was
        │   └── Interrupted  Ctrl-C came after the commit; also a KeyboardInterrupt
        ├── Corrupt          a checksum that does not match
        ├── NotAStore        a file that is none of ours, or of a newer format
        ├── StoreFull        no room on the disk or in the map
        ├── ReadOnly         a write to a store opened for reading
        └── Closed           a store that was closed, or came through a fork

Law: bad input never loses or half-writes anything; what raised one of these changed nothing, `UnknownOutcome` excepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

# Cognitect's anomaly categories: what a caller can do about an error of this code. Whatever is not listed is the
# caller's to correct ("incorrect").
CATEGORIES: Final[Mapping[str, str]] = {
    ":db.error/cas-failed": "conflict",
    ":db.error/key-reused": "conflict",
    ":db.error/already-inserted": "conflict",
    ":db.error/changed-since": "conflict",
    ":db.error/requirement-failed": "conflict",
    ":db.error/unique-conflict": "conflict",
    ":db.error/upsert-conflict": "conflict",
    ":db.error/not-an-entity": "not-found",
    ":db.error/storage-conflict": "conflict",
    ":db.error/storage-fenced": "conflict",
    ":db.error/file-unavailable": "unavailable",
    ":db.error/storage-unavailable": "unavailable",
    ":db.error/store-busy": "busy",
    ":db.error/storage-unknown-outcome": "interrupted",
    ":db.error/storage-corrupt": "fault",
    ":db.error/storage-full": "unavailable",
    ":db.error/read-only": "forbidden",
    ":db.error/query-timeout": "interrupted",
    ":db.error/query-cancelled": "interrupted",
    ":db.error/query-too-large": "interrupted",
    ":db.error/unsupported": "unsupported",
}


LONGEST_MESSAGE: Final = 4000  # characters


class FactStoreError(Exception):
    """What every error of this package is.

    Args:
        code: Datomic-style, `":db.error/cas-failed"`; stable, part of the API.
        message: a sentence: what was expected, what came, and where.
        data: everything named in the sentence, also readable as attributes of the error.
    """

    def __init__(self, code: str, message: str, /, **data: Any) -> None:
        message = (
            message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"
        )  # it may quote a long name
        super().__init__(message)
        self.code = code
        self.message = message
        self.data: Mapping[str, Any] = MappingProxyType(data)

    @property
    def category(self) -> str:
        """The anomaly category of Cognitect's error model: incorrect, conflict, not-found, unavailable, interrupted, …"""
        return CATEGORIES.get(self.code, "incorrect")

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}") from None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.code, self.message, dict(self.data))

    def to_dict(self) -> dict[str, Any]:
        """Return code, category, message and data as one plain dict, for logs and for answers over a wire."""
        return {"code": self.code, "category": self.category, "message": self.message, **self.data}


def _rebuild(kind: type[FactStoreError], code: str, message: str, data: dict[str, Any]) -> FactStoreError:
    return kind(code, message, **data)


class ReadError(FactStoreError):
    """Text that is not EDN; `line` and `column` count from 1."""


class TransactError(FactStoreError):
    """A transaction that was rejected; nothing of it was written."""


class SchemaError(TransactError):
    """An attribute that cannot be installed, or altered, in the way that was asked."""


class CasFailed(TransactError):
    """`:db/cas` found another value than the one it was told to expect."""


class UniqueConflict(TransactError):
    """A unique value that another entity already holds."""


class QueryError(FactStoreError):
    """A query that cannot mean anything, or whose inputs do not fit it."""


class QueryStopped(QueryError):
    """A query that took longer or held more rows than it may, or that somebody cancelled; it may well mean something."""


class PullError(FactStoreError):
    """A pull pattern that cannot mean anything."""


class DatabaseError(FactStoreError):
    """A read that this database value does not offer."""


class StorageError(FactStoreError):
    """Bytes that could not be kept, or found again."""


class Conflict(StorageError):
    """Certainly not applied: the head or the root had moved."""


class Fenced(StorageError):
    """Certainly not applied: a newer writer has taken over."""


class Unavailable(StorageError):
    """Certainly not applied: the request was not sent, or was refused."""


class StoreBusy(Unavailable):
    """Certainly not applied: another writer has held the turn for longer than `busy_timeout`; `pid`, `host`, `doing` tell who."""


class UnknownOutcome(StorageError):
    """May or may not have been applied; `txids` tell which once the storage answers again. With `t` it was applied as that t."""


class Interrupted(UnknownOutcome, KeyboardInterrupt):
    """Ctrl-C arrived after the transaction was committed as `t`, and before its report could be returned."""


class Corrupt(StorageError):
    """Bytes whose checksum does not match."""


class NotAStore(StorageError):
    """A file that is not a fact store, or one of a newer format."""


class StoreFull(StorageError):
    """No room left, on the disk or in the memory map."""


class ReadOnly(StorageError):
    """A write to a store that was opened for reading."""


class Closed(StorageError):
    """A store that was closed, or that was opened before this process was forked."""
