"""The messages of a client and of a transactor, as the bodies of frames.

    request = u8 flags | 16 bytes txid | f64 seconds that it may wait, or infinity | codec [tx-data, …options]
    answers = codec [answer, …]
    answer  = [16 bytes txid, 0, t, tempids, whether it was committed before] or [16 bytes txid, 1, codec error]

The options are left out if they are the defaults: `none`, `since`, `key`, annotations. One frame has the answers of all
transactions of a connection that were committed together.
Law: each transaction has an answer that its client accepts. An error repeats values, up to eight times, so its data can
be larger than a frame, although the transaction was not.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

from factstore import errors
from factstore.commit.conditions import Conditional
from factstore.errors import FactStoreError, StorageError, UnknownOutcome
from factstore.storage.protocol import TXID_BYTES
from factstore.transact import Cancelled
from factstore.transactor.codec import pack, pack_or_show, unpack
from factstore.transactor.frames import framed
from factstore.values.quoting import quoted, text_of

NO_TXID: Final = b"\0" * TXID_BYTES  # of an answer that is about the connection
_HEADER: Final = Struct(f">B{TXID_BYTES}sd")
_AGAIN: Final = 1  # the flag of a transaction that was sent before
_COMMITTED: Final = 0
_REJECTED: Final = 1
_OPTIONS: Final = 5
_MOST_TOGETHER: Final = 200  # answers in a frame
_SMALL: Final = 16 << 10  # bytes; an answer that may be larger is the last one of its frame
_MOST_BYTES: Final = 16 << 20  # of the data of an error, or of tempids: with the others of its frame below the limit
_MOST_ITEMS: Final = 1000  # characters or items of a value in data that is shortened

Answer: TypeAlias = list[Any]


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


def packed_forms(tx_data: Any) -> bytes:
    """Return a transaction without options as bytes. Raises: TypeError, if it contains anything but data."""
    return pack([tx_data])


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
    fields = unpack(body[_HEADER.size :])
    if type(fields) is not list or len(fields) not in (1, _OPTIONS) or flags > _AGAIN or not patience >= 0:
        raise _invalid("its fields are not those of a transaction")
    if len(fields) == 1:
        return Request(txid, flags == _AGAIN, patience, fields[0])
    if type(fields[-1]) is not dict:
        raise _invalid("its annotations are no map")
    return Request(txid, flags == _AGAIN, patience, fields[0], tuple(fields[1:]))


class Committed(NamedTuple):
    """The answer for a transaction that was committed."""

    t: int
    tempids: Mapping[str | int, int]
    is_repeat: bool  # whether another transaction with its key had been committed before


def committed(txid: bytes, t: int, tempids: Mapping[str | int, int], *, is_repeat: bool = False) -> Answer:
    """Return the answer for a committed transaction."""
    return [txid, _COMMITTED, t, tempids if type(tempids) is dict else dict(tempids), is_repeat]


def rejected(txid: bytes, error: BaseException) -> Answer:
    """Return the answer for a transaction that raised an error."""
    if not isinstance(error, FactStoreError):
        text = f"the transactor failed: {type(error).__name__}: {text_of(error)}"
        error = FactStoreError(":db.error/transactor-failed", text)
    kind = next(kind.__name__ for kind in type(error).__mro__ if _KINDS.get(kind.__name__) is kind)
    data, message = pack_or_show(dict(error.data)), error.message
    if len(data) > _MOST_BYTES:
        data = pack_or_show(_shortened(dict(error.data)))
        message = f"{message[:_MOST_ITEMS]}; the data of this error is shortened, because it is too large for a message"
    if len(data) > _MOST_BYTES:
        data = pack_or_show({name: quoted(value, _MOST_ITEMS) for name, value in error.data.items()})
    return [txid, _REJECTED, pack([kind, error.code, message, data])]


def _shortened(value: Any) -> Any:
    """Return data with the first items of long collections, and the first characters of long texts."""
    if isinstance(value, str | bytes | bytearray):
        return value if len(value) <= _MOST_ITEMS else quoted(value, _MOST_ITEMS)
    if type(value) is dict:
        return {_shortened(key): _shortened(item) for key, item in islice(value.items(), _MOST_ITEMS)}
    if type(value) in (list, tuple):
        return type(value)(map(_shortened, value[:_MOST_ITEMS]))
    return value


def answers(*these: Answer) -> bytes:
    """Return the body of a frame with answers."""
    return pack(list(these))


class Answers:
    """The answers that are sent together to one connection, as frames of a bounded size."""

    __slots__ = ("_frames", "_open")

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._open: list[Answer] = []  # of the next frame

    def add(self, answer: Answer) -> None:
        """Add an answer."""
        is_large = _size(answer) > _SMALL
        self._open.append(_sendable(answer) if is_large else answer)
        if is_large or len(self._open) == _MOST_TOGETHER:
            self._end_frame()

    def _end_frame(self) -> None:
        self._frames.append(framed(pack(self._open)))
        self._open = []

    def stream(self) -> bytes:
        """Return the frames."""
        if self._open:
            self._end_frame()
        return b"".join(self._frames)


def _size(answer: Answer) -> int:
    """Return the number of bytes of an error, or about that of tempids."""
    if answer[1] == _REJECTED:
        return len(answer[2])
    tempids: Mapping[str | int, int] = answer[3]
    # A function can return any number of tempids, so the size of the request says nothing about them.
    return sum([len(name) if isinstance(name, str) else 9 for name in tempids], 14 * len(tempids)) if tempids else 0


def _sendable(answer: Answer) -> Answer:
    """Return an answer, or `UnknownOutcome` instead of tempids that are too large for a frame."""
    txid, kind, t = answer[:3]
    if kind == _REJECTED or len(pack(answer[3])) <= _MOST_BYTES:
        return answer
    text = f"the transaction was committed as t={t}, but its tempids are too large for a message"
    return rejected(txid, UnknownOutcome(":db.error/storage-unknown-outcome", text, t=t, txids=[txid]))


def read_answers(body: bytes) -> list[tuple[bytes, Committed | FactStoreError]]:
    """Return answers, each with its txid. Raises: StorageError(:db.error/invalid-frame)."""
    try:
        return [_read_answer(*fields) for fields in _list(unpack(body))]
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(f"these are no answers ({error!r})") from error


def _read_answer(txid: Any, kind: Any, *fields: Any) -> tuple[bytes, Committed | FactStoreError]:
    if type(txid) is not bytes:
        raise TypeError("a txid is no bytes")
    if kind == _COMMITTED:
        return txid, Committed(*fields)
    (error,) = fields
    name, code, message, data = unpack(error)
    values = unpack(data)
    return txid, _KINDS[name](code, message, **(values if type(values) is dict else {"data": values}))


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError("expected a list")
    return value


def _invalid(why: str) -> StorageError:
    return StorageError(":db.error/invalid-frame", f"a message cannot be read: {why}")


# The classes of errors that a message can name.
_KINDS: Final[Mapping[str, type[FactStoreError]]] = {
    kind.__name__: kind
    for kind in (*vars(errors).values(), Cancelled)
    if isinstance(kind, type) and issubclass(kind, FactStoreError)
}
