"""The log: one record with a checksum per transaction, in order of t. The log is the only source of truth.

    record = u32 crc32 of the rest, little-endian
           | msgpack [format, t, instant µs, next-n, {attribute: block of (e, v)}, e, a, v, added, e, a, v, added, …]

The transaction's own `:db/txInstant` is not stored as a datom, but as the record's instant. The map of blocks contains
the facts that were loaded in bulk, all asserted, in order of (e, v); it is nil in an ordinary transaction.
Law: decoding an encoded transaction gives the same facts, and a flipped bit is always reported with its t.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, overload
from zlib import crc32

from factstore.columns import block, column
from factstore.columns.column import FactArrays
from factstore.columns.packing import packer, unpack
from factstore.columns.topics import topic
from factstore.datom import Fact, tx_of
from factstore.errors import Corrupt
from factstore.schema.attribute import EXCISE, TX_INSTANT
from factstore.storage import Record, Storage
from factstore.storage.protocol import MOST_RECORDS
from factstore.values.types import Keyword

FORMAT: Final = 1
READ_BYTES: Final = 8 << 20  # bytes of the log that are read in one call
_HEADER_FIELDS: Final = 5


class TxRecord(NamedTuple):
    """A decoded record of the log; `facts` begin with the transaction's own instant."""

    t: int
    instant: int  # microseconds since 1970
    next_n: int
    facts: Sequence[Fact]
    columns: Mapping[int, FactArrays] | None = None  # loaded in bulk, by attribute

    @property
    def is_excision(self) -> bool:
        """Whether this is the record of an excision."""
        return len(self.facts) > 1 and self.facts[1][1] == EXCISE

    def all_facts(self) -> Sequence[Fact]:
        """Return all facts; those that were loaded in bulk come last, and are built only when they are read."""
        return AllFacts(self.facts, self.columns) if self.columns else self.facts


class AllFacts(Sequence[Fact]):
    """The facts of a bulk transaction, built from its columns when they are read."""

    __slots__ = ("_columns", "_facts")

    def __init__(self, facts: Sequence[Fact], columns: Mapping[int, FactArrays]) -> None:
        self._facts = facts
        self._columns = columns

    def __len__(self) -> int:
        return len(self._facts) + sum(rows.size for rows in self._columns.values())

    def __iter__(self) -> Iterator[Fact]:
        yield from self._facts
        for a, rows in self._columns.items():
            for e, v, t in zip(rows.e.tolist(), rows.v.tolist(), rows.t.tolist(), strict=True):
                yield e, a, v, t, True

    def of(self, attributes: Container[int]) -> Iterator[Fact]:
        """Yield the facts that may have these attributes; columns of other attributes are skipped."""
        yield from self._facts
        kept = {a: rows for a, rows in self._columns.items() if a in attributes}
        yield from AllFacts((), kept)

    @overload
    def __getitem__(self, at: int) -> Fact: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Fact]: ...
    def __getitem__(self, at: int | slice) -> Fact | Sequence[Fact]:
        return list(self)[at]


class Encoder:
    """Encodes transactions as records; only one thread may use it at a time."""

    __slots__ = ("_pack",)

    def __init__(self) -> None:
        self._pack = packer().pack

    def encode(
        self, t: int, instant: int, next_n: int, facts: Sequence[Fact], columns: Mapping[int, FactArrays] | None = None
    ) -> bytes:
        """Return the record of a transaction whose first fact is its own instant."""
        blocks = {a: block.encode((rows.e, rows.v)) for a, rows in columns.items()} if columns else None
        flat: list[Any] = [FORMAT, t, instant, next_n, blocks]
        for e, a, v, _, added in facts[1:]:
            flat += (e, a, v, added)
        body: bytes = self._pack(flat)
        return crc32(body).to_bytes(4, "little") + body


def decode(record: Record, only: Container[int] | None = None) -> TxRecord:
    """Return the transaction of a record. Raises: Corrupt(:db.error/storage-corrupt).

    Args:
        only: attributes; other columns that were loaded in bulk are left out.
    """
    body = memoryview(record.body)[4:]
    if crc32(body) != int.from_bytes(record.body[:4], "little") or not body:  # an empty body has a valid checksum
        raise _damaged(record.t, "its checksum does not match")
    flat = unpack(body)
    version, t, instant, next_n, blocks = flat[:_HEADER_FIELDS]
    if version != FORMAT or t != record.t:
        raise _damaged(record.t, f"it claims format {version} and t {t}")
    step = iter(flat[_HEADER_FIELDS:])
    facts = [(e, a, v, t, added) for e, a, v, added in zip(step, step, step, step, strict=True)]
    columns = blocks and {a: _rows(body, t) for a, body in blocks.items() if only is None or a in only}
    return TxRecord(t, instant, next_n, [(tx_of(t), TX_INSTANT, instant, t, True), *facts], columns)


def _rows(body: bytes, t: int) -> FactArrays:
    e, v = block.decode(body)
    return FactArrays(e, v, column.constant(t, len(e)))


def batch(storage: Storage, after_t: int) -> tuple[list[TxRecord], bool]:
    """Return the transactions after a t, from one read of the log, and whether these are all at that moment.

    Raises: Corrupt, as `read` does.
    """
    records, is_all = _next_records(storage, after_t)
    if records and records[0].t != after_t + 1:
        raise _damaged(after_t + 1, f"it is missing; the next is {records[0].t}")
    return [decode(record) for record in records], is_all


def _next_records(storage: Storage, after_t: int) -> tuple[list[Record], bool]:
    """Return the records after a t, and whether these are all."""
    records = storage.read_log(after_t, max_bytes=READ_BYTES)
    # A storage stops after `MOST_RECORDS`, or after `max_bytes`, for which it may count more than the bodies.
    is_all = len(records) < MOST_RECORDS and 2 * sum([len(record.body) for record in records]) < READ_BYTES
    return records, is_all


def count(
    storage: Storage, after_t: int, facts: Sequence[tuple[int, Any, bool]], *, rough: bool = False
) -> tuple[int, list[int]]:
    """Return the head of the log, and how often facts occur after a t, by searching the bytes of the records.

    That takes a fiftieth of the time of decoding them. A value that contains the bytes of a fact is counted, too. The
    log is not read if the storage has noted that it contains none of the facts.

    Args:
        facts: attribute, stored value, and whether it was added; of any entity. If `rough`, None is any value that is
            no keyword.
        rough: 1 is a sufficient count of a fact that the log may contain.
    """
    known = _noted(storage, after_t, facts)
    if known is not None and (rough or not any(known[1])):
        return known[0], [int(each) for each in known[1]]
    if rough and any(v is None for _, v, _ in facts):
        return storage.head(), [1] * len(facts)
    pack = packer().pack
    patterns = [b"".join(map(pack, fact)) for fact in facts]
    counts = [0] * len(facts)
    is_all = False
    while not is_all:
        records, is_all = _next_records(storage, after_t)
        for record in records:
            body = record.body
            if _has_columns(body):
                loaded = [(a, v, added) for _, a, v, _, added in decode(record).all_facts()]
                counts = [n + loaded.count(fact) for n, fact in zip(counts, facts, strict=True)]
            else:
                counts = [n + body.count(pattern) for n, pattern in zip(counts, patterns, strict=True)]
            after_t = record.t
    return after_t, counts


def _noted(storage: Storage, after_t: int, facts: Sequence[tuple[int, Any, bool]]) -> tuple[int, list[bool]] | None:
    """Return what the storage has noted of facts after a t; None if it does not note all of them."""
    ask = getattr(storage, "noted", None)  # `isinstance` takes 30 µs
    if ask is None or any(v is not None and v.__class__ is not Keyword for _, v, _ in facts):
        return None
    return ask([topic(*fact) for fact in facts], after_t)  # type: ignore[no-any-return]


# The bytes of a number or the beginning of an array, by its first byte; those that are not here have one.
_LENGTH: Final = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xDC: 3, 0xDD: 5}
_NIL: Final = 0xC0


def _has_columns(body: bytes) -> bool:
    at = 4
    for _ in range(_HEADER_FIELDS):  # the beginning of the array, and the fields before the columns
        at += _LENGTH.get(body[at], 1)
    return body[at] != _NIL


def read(
    storage: Storage, after_t: int, upto_t: int | None = None, *, only: Container[int] | None = None
) -> Iterator[TxRecord]:
    """Yield the transactions after one t, up to another or the head.

    Args:
        only: attributes; other columns that were loaded in bulk are left out.
    Raises: Corrupt, for a record that is damaged or missing.
    """
    upto = storage.head() if upto_t is None else upto_t
    while after_t < upto:
        records = storage.read_log(after_t, upto, max_bytes=READ_BYTES)
        if not records:
            raise _damaged(after_t + 1, "it is missing")
        for record in records:
            if record.t != after_t + 1:
                raise _damaged(after_t + 1, f"it is missing; the next is {record.t}")
            yield decode(record, only)
            after_t = record.t


def _damaged(t: int, why: str) -> Corrupt:
    return Corrupt(":db.error/storage-corrupt", f"the log record of t={t} is damaged: {why}", t=t)
