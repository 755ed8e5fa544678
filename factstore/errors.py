"""One family of errors, each a code, a sentence and the data.

    FactStoreError
    ├── ReadError            text that is not EDN            (line, column)
    ├── TransactError        a transaction that was rejected, whole
    │   ├── SchemaError      an attribute that cannot be installed or altered in this way
    │   ├── CasFailed        :db/cas found another value     (expected, found)
    │   └── UniqueConflict   a unique value that another entity holds
    ├── QueryError           an invalid query, or inputs that do not fit it
    │   └── QueryStopped     a query that exceeded a limit, or that was cancelled
    ├── PullError            an invalid pull pattern
    ├── DatabaseError        a read that this database value does not support
    └── StorageError         bytes that could not be stored or read
        ├── Conflict         certainly not applied: another writer was first
        ├── Fenced           certainly not applied: a newer writer took over
        ├── Forked           the log lacks a transaction that was read before: a server lost it
        ├── Unavailable      certainly not applied: not sent, or rejected
        │   └── StoreBusy    certainly not applied: another writer holds the writer lock
        ├── UnknownOutcome   may or may not have been applied; with `t`, it was applied
        │   └── Interrupted  Ctrl-C came after the commit; also a KeyboardInterrupt
        ├── Corrupt          a checksum that does not match
        ├── NotAStore        a file that is not a fact store, or has a newer format
        ├── StoreFull        no space on the disk or in the map
        ├── ReadOnly         a write to a store opened for reading
        └── Closed           a store that was closed, or inherited by a fork

Law: a call that raises one of these errors has changed nothing, except for `UnknownOutcome`.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

# Cognitect's anomaly categories: what a caller can do about an error of this code. All other codes are "incorrect":
# the caller must correct the call.
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
    ":db.error/storage-forked": "interrupted",
    ":db.error/hold-expired": "unavailable",
    ":db.error/old-server": "unavailable",
    ":db.error/not-durable": "unavailable",
    ":db.error/file-unavailable": "unavailable",
    ":db.error/storage-unavailable": "unavailable",
    ":db.error/no-transactor": "unavailable",
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
    """The base class of all errors of this package.

    Args:
        code: Datomic-style, `":db.error/cas-failed"`; stable, part of the API.
        message: a sentence with the expected and the actual value, and the place.
        data: all values in the sentence, also available as attributes of the error.
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
        """The anomaly category of Cognitect: incorrect, conflict, not-found, unavailable, interrupted, …"""
        return CATEGORIES.get(self.code, "incorrect")

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}") from None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> tuple[Any, ...]:
        data = {name: _portable(value) for name, value in self.data.items()}
        return _rebuild, (type(self), self.code, self.message, data)

    def to_dict(self) -> dict[str, Any]:
        """Return code, category, message and data as one plain dict."""
        return {"code": self.code, "category": self.category, "message": self.message, **self.data}


def is_unregistered(error: FactStoreError) -> bool:
    """Tell whether an error is about a function that is neither built in nor registered by an imported module."""
    is_unknown = error.code in (":db.error/unknown-function", ":db.error/unknown-tx-function")
    return is_unknown or "is not registered" in error.message


def _rebuild(kind: type[FactStoreError], code: str, message: str, data: dict[str, Any]) -> FactStoreError:
    return kind(code, message, **data)


def _portable(value: object) -> object:
    """Return a value, or its description if it cannot leave this process: the error itself must arrive."""
    import pickle  # not above: few errors leave their process

    try:
        pickle.dumps(value)
    except Exception:  # of any object that a user gave
        return reprlib.repr(value)
    return value


class ReadError(FactStoreError):
    """Text that is not EDN; `line` and `column` start at 1."""


class TransactError(FactStoreError):
    """A transaction that was rejected; none of it was written."""


class SchemaError(TransactError):
    """An attribute that cannot be installed or altered in the requested way."""


class CasFailed(TransactError):
    """The value that `:db/cas` compares is not the expected one."""


class UniqueConflict(TransactError):
    """A unique value that another entity already holds."""


class QueryError(FactStoreError):
    """An invalid query, or inputs that do not fit it."""


class QueryStopped(QueryError):
    """A query that exceeded its limit of time or rows, or that was cancelled; the query itself may be valid."""


class PullError(FactStoreError):
    """An invalid pull pattern."""


class DatabaseError(FactStoreError):
    """A read that this database value does not support."""


class StorageError(FactStoreError):
    """Bytes that could not be stored or read."""


class Conflict(StorageError):
    """Certainly not applied: the head or the root had changed."""


class Fenced(StorageError):
    """Certainly not applied: a newer writer has taken over."""


class Forked(StorageError):
    """The log no longer has a transaction that this process has read, because a failover of a server lost it."""


class Unavailable(StorageError):
    """Certainly not applied: the request was not sent, or was rejected.

    `temporary`, of a store on servers: no server can be reached now, but one may be soon, as in a failover.
    """


class StoreBusy(Unavailable):
    """Certainly not applied: another writer (`pid`, `host`, `doing`) held the lock longer than `busy_timeout`."""


class UnknownOutcome(StorageError):
    """May or may not have been applied: look for `txids` in the log. With `t`, it was applied as that t."""


class Interrupted(UnknownOutcome, KeyboardInterrupt):
    """Ctrl-C arrived after the transaction was committed as `t`, before its report was returned."""


class Corrupt(StorageError):
    """Bytes whose checksum does not match."""


class NotAStore(StorageError):
    """A file that is not a fact store, or that has a newer format."""


class StoreFull(StorageError):
    """No space left, on the disk or in the memory map."""


class ReadOnly(StorageError):
    """A write to a store that was opened for reading."""


class Closed(StorageError):
    """A store that was closed, or that was opened before this process was forked."""
