"""The messages of a client and of a transactor, as the bodies of frames.

    request = u8 flags | 16 bytes txid | f64 seconds that it may wait, or infinity | codec [tx-data, …options]
    answer  = 16 bytes txid | codec [0, t, tempids, whether it was committed before] or [1, error …]

The options are left out if they are the defaults: `none`, `since`, `key`, annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final, NamedTuple

from factstore import errors
from factstore.commit.conditions import Conditional
from factstore.errors import FactStoreError, StorageError
from factstore.storage.protocol import TXID_BYTES
from factstore.transact import Cancelled
from factstore.transactor.codec import pack, pack_or_show, unpack
from factstore.values.quoting import text_of

NO_TXID: Final = b"\0" * TXID_BYTES  # of an answer that is about the connection
_HEADER: Final = Struct(f">B{TXID_BYTES}sd")
_AGAIN: Final = 1  # the flag of a transaction that was sent before
_COMMITTED: Final = 0
_REJECTED: Final = 1
_OPTIONS: Final = 5


class Request(NamedTuple):
    """A transaction on its way to the transactor."""

    txid: bytes
    is_again: bool
    patience: float  # seconds
    tx_data: Any
    options: tuple[Any, ...] = ()  # none, since, key, annotations

    @property
    def transaction(self) -> Conditional:
        """The transaction with its options. Raises: what an invalid option raises."""
        return Conditional(self.tx_data, *(self.options or ("reject", None, None, {})))


def packed(transaction: Conditional) -> bytes:
    """Return a transaction as bytes. Raises: TypeError, if it contains anything but data."""
    fields = [transaction.tx_data, transaction.none, transaction.since, transaction.key, dict(transaction.annotations)]
    return pack(fields[:1] if fields[1:] == ["reject", None, None, {}] else fields)


def request(txid: bytes, patience: float, payload: bytes, *, is_again: bool) -> bytes:
    """Return the body of a request; the payload is that of `packed`."""
    return _HEADER.pack(_AGAIN if is_again else 0, txid, patience) + payload


def txid_of(body: bytes) -> bytes:
    """Return the txid of a request, even if the rest cannot be read; zeros if it is too short for one."""
    return body[1 : 1 + TXID_BYTES] if len(body) >= _HEADER.size else NO_TXID


def read_request(body: bytes) -> Request:
    """Return a request. Raises: StorageError(:db.error/invalid-frame)."""
    if len(body) < _HEADER.size:
        raise _invalid("it is too short")
    flags, txid, patience = _HEADER.unpack_from(body)
    fields = unpack(memoryview(body)[_HEADER.size :])
    if type(fields) is not list or len(fields) not in (1, _OPTIONS) or flags > _AGAIN or not patience >= 0:
        raise _invalid("its fields are not those of a transaction")
    if len(fields) == _OPTIONS and type(fields[-1]) is not dict:
        raise _invalid("its annotations are no map")
    return Request(txid, bool(flags), patience, fields[0], tuple(fields[1:]))


class Committed(NamedTuple):
    """The answer for a transaction that was committed."""

    t: int
    tempids: Mapping[str | int, int]
    is_repeat: bool  # whether another transaction with its key had been committed before


def committed(txid: bytes, t: int, tempids: Mapping[str | int, int], *, is_repeat: bool = False) -> bytes:
    """Return the body of the answer for a committed transaction."""
    return txid + pack([_COMMITTED, t, dict(tempids), is_repeat])


def rejected(txid: bytes, error: BaseException) -> bytes:
    """Return the body of the answer for a transaction that raised an error."""
    if not isinstance(error, FactStoreError):
        text = f"the transactor failed: {type(error).__name__}: {text_of(error)}"
        error = FactStoreError(":db.error/transactor-failed", text)
    kind = next(kind.__name__ for kind in type(error).__mro__ if _KINDS.get(kind.__name__) is kind)
    data = pack_or_show(dict(error.data))
    return txid + pack([_REJECTED, kind, error.code, error.message, data])


def read_answer(body: bytes) -> tuple[bytes, Committed | FactStoreError]:
    """Return the txid of an answer, and the answer. Raises: StorageError(:db.error/invalid-frame)."""
    txid, fields = body[:TXID_BYTES], unpack(memoryview(body)[TXID_BYTES:])
    try:
        if fields[0] == _COMMITTED:
            _, t, tempids, is_repeat = fields
            return txid, Committed(t, tempids, is_repeat)
        _, kind, code, message, data = fields
        values = unpack(data)
        return txid, _KINDS[kind](code, message, **(values if type(values) is dict else {"data": values}))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise _invalid(f"it is no answer ({error!r})") from error


def _invalid(why: str) -> StorageError:
    return StorageError(":db.error/invalid-frame", f"a message cannot be read: {why}")


# The classes of errors that a message can name.
_KINDS: Final[Mapping[str, type[FactStoreError]]] = {
    kind.__name__: kind
    for kind in (*vars(errors).values(), Cancelled)
    if isinstance(kind, type) and issubclass(kind, FactStoreError)
}
