"""The index: for each attribute and order a directory of blocks, and a root that refers to the directories.

    root      msgpack [format, t, next-n, instant µs, attribute sets,
                       [[a, rows, past rows, EV, VE, past EV, past VE] …], excised t,
                       crc32 of all bytes before it, as 4 bytes, little-endian]
    directory a block with a row for each of its blocks: first entity, first value, id, number of rows
    EV, VE    live rows (e, v, t) in either order        past    retracted rows (e, v, t, t1)

The internal attribute `ATTRIBUTES_OF` has for each entity the number of a set: all attributes that the entity ever had.
The index contains the transactions up to its own t; later ones are in novelty. The excised t is that of the newest
excision in the log from which the index was built, or 0. It distinguishes an index of the present log from an index of
the log before it was rewritten.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgpack  # type: ignore[import-untyped]
import numpy as np

from factstore.columns import block, column
from factstore.columns.column import BY_ENTITY, Array, Entities, Everything, FactArrays, Ints, Range, Region, Spans
from factstore.columns.kind import Kind, OrderKey
from factstore.columns.packing import pack, unpack
from factstore.datom import N_MASK, TX_PARTITION, USER_PARTITION, partition_of
from factstore.errors import Corrupt, NotAStore
from factstore.index.cache import Cache
from factstore.storage import Storage

FORMAT: Final = 1
_CHECKSUM: Final = 4  # bytes, at the end of a root
_UNCHECKED: Final = (b"\x96\x01", b"\x97\x01")  # roots without checksum start so: an array of six or seven, the format
ATTRIBUTES_OF: Final = -1
UNKNOWN: Final = -1  # an excised t that is less than all others
NOTHING: Final = b""  # the id of a directory without blocks


class Entry(NamedTuple):
    """The part of the root for one attribute."""

    rows: int = 0
    past_rows: int = 0
    ev: bytes = NOTHING
    ve: bytes = NOTHING
    past_ev: bytes = NOTHING
    past_ve: bytes = NOTHING


class Directory(NamedTuple):
    """The blocks of one family, in order, with the first row of each."""

    first: FactArrays  # first entity and value of each block; t is not used
    ids: Array  # bytes objects
    sizes: Ints
    fences: tuple[list[int], list[Any]]  # first entities and first values again, for reads of a single one
    names: list[bytes]  # the ids again
    last: list[Any]  # the greatest entity, and the order of the greatest value; None until the last block is read

    @property
    def length(self) -> int:
        """The number of blocks."""
        return len(self.ids)


class Blocks:
    """Reads blocks and directories from a storage and caches them."""

    def __init__(self, storage: Storage, cache: Cache) -> None:
        self.storage = storage
        self.cache = cache

    def read(self, ids: Sequence[bytes], *, keep: bool = True) -> list[tuple[Array, ...]]:
        """Return the columns of these blocks; `keep` is False if the cache will contain the whole column."""
        blocks = {name: self.cache.use(name) for name in ids}
        missing = [name for name, columns in blocks.items() if columns is None]
        if missing:
            for name, body in self.storage.get_blocks(missing, near=True).items():
                columns = blocks[name] = block.decode(body, name)
                if keep:
                    self.cache.put(name, columns, sum(x.nbytes * (8 if x.dtype == object else 1) for x in columns))
        return [blocks[name] for name in ids]

    def directory(self, name: bytes) -> Directory:
        """Return a directory by its id."""
        key = (name, "directory")
        directory: Directory | None = self.cache.use(key)
        if directory is None:
            if name == NOTHING:
                e, v, ids, sizes = column.ints(()), np.empty(0, object), np.empty(0, object), column.ints(())
            else:
                e, v, ids, sizes = self.read([name], keep=False)[0]
            directory = Directory(
                FactArrays(e, v, sizes), ids, sizes, (e.tolist(), v.tolist()), ids.tolist(), [None, None]
            )
            self.cache.put(key, directory, 200 * len(ids) + 200)
        return directory

    def block(self, name: bytes) -> tuple[Array, ...]:
        """Return the columns of one block."""
        columns: tuple[Array, ...] | None = self.cache.use(name)
        return self.read([name])[0] if columns is None else columns


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Index:
    """A root, and the reads of its blocks; immutable."""

    blocks: Blocks
    version: int = 0  # of the root
    basis_t: int = -1  # -1: it is empty and lacks even the facts that every store begins with
    excised_t: int = 0
    next_n: int = 0
    instant: int = 0
    sets: tuple[tuple[int, ...], ...] = ()
    entries: dict[int, Entry] = field(default_factory=dict)

    # -- counts

    def count(self, a: int) -> int:
        """Return the number of live rows of an attribute."""
        return self.entries[a].rows if a in self.entries else 0

    def count_past(self, a: int) -> int:
        """Return the number of retracted rows of an attribute."""
        return self.entries[a].past_rows if a in self.entries else 0

    def count_with(self, a: int, v: Any, kind: Kind) -> int:
        """Return the number of live rows with a value; a close upper bound if they are in several blocks."""
        if a not in self.entries:
            return 0
        directory = self.blocks.directory(self.entries[a].ve)
        low, high = _touched(directory, Range(v, v), kind)
        if high - low <= 2:
            return self.live(a, column.Values([v]), kind).size
        return int(directory.sizes[low:high].sum())

    def attributes(self) -> list[int]:
        """Return the ids of all attributes that have rows, live or past."""
        return [a for a in self.entries if a != ATTRIBUTES_OF]

    def may_hold(self, e: int, a: int) -> bool:
        """Tell quickly whether there can be rows of an entity; False if it was created later than the index."""
        if a not in self.entries:
            return False
        partition = partition_of(e)
        if partition == USER_PARTITION:
            return e & N_MASK < self.next_n
        return partition != TX_PARTITION or e & N_MASK <= self.basis_t

    def attributes_of(self, e: int) -> tuple[int, ...]:
        """Return the ids of the attributes that an entity ever had."""
        if ATTRIBUTES_OF not in self.entries or not self.may_hold(e, ATTRIBUTES_OF):
            return ()
        numbers = self.values_of(ATTRIBUTES_OF, e)
        return self.sets[numbers[0][0]] if numbers else ()

    # -- one entity, one value

    def values_of(self, a: int, e: int) -> list[tuple[Any, int]]:
        """Return the live values of an entity, each with the t of the fact."""
        entry = self.entries.get(a)
        if entry is None or not entry.rows:
            return []
        directory = self.blocks.directory(entry.ev)
        return self._with_key(directory, 0, e, None)

    def holds(self, a: int, e: int, v: Any, kind: Kind) -> bool:
        """Tell whether an entity has a value; this reads one block, however many values the entity has."""
        entry = self.entries.get(a)
        if entry is None or not entry.rows:
            return False
        directory = self.blocks.directory(entry.ev)
        es, vs = directory.fences
        order_key = kind.order_key
        wanted = v if order_key is None else order_key(v)
        # The block before the first one that begins with the entity can end with it.
        low, high = bisect_left(es, e), bisect_right(es, e)
        at = bisect_right(vs, wanted, low, high, key=order_key) - 1
        if at < 0:
            return False
        keys, values = self.blocks.block(directory.names[at])[:2]
        low, high = int(keys.searchsorted(e)), int(keys.searchsorted(e, "right"))
        if values.dtype == object:
            at = bisect_left(values, wanted, low, high, key=order_key)
        else:
            at = low + int(values[low:high].searchsorted(v))
        return at < high and bool(values.item(at) == v)

    def holders_of(self, a: int, v: Any, kind: Kind) -> list[tuple[int, int]]:
        """Return the entities that have a value, each with the t of the fact."""
        entry = self.entries.get(a)
        if entry is None or not entry.rows:
            return []
        directory = self.blocks.directory(entry.ve)
        return self._with_key(directory, 1, v, kind.order_key)

    def ends_before(self, a: int, v: Any, kind: Kind) -> bool:
        """Return whether every live value of an attribute is known to be less than a value."""
        entry = self.entries.get(a)
        if entry is None or not entry.rows:
            return True
        last = self.blocks.directory(entry.ve).last[1]
        return last is not None and bool((v if kind.order_key is None else kind.order_key(v)) > last)

    def past_values_of(self, a: int, e: int, alive_at: int | None = None) -> list[tuple[Any, int, int]]:
        """Return the values that an entity had, each with the t of assertion and retraction; or those at `alive_at`."""
        entry = self.entries.get(a)
        if entry is None or not entry.past_rows:
            return []
        directory = self.blocks.directory(entry.past_ev)
        return self._with_key(directory, 0, e, None, alive_at)

    def past_holders_of(self, a: int, v: Any, kind: Kind, alive_at: int | None = None) -> list[tuple[int, int, int]]:
        """Return the entities that had a value, each with the t of assertion and retraction; or those at `alive_at`."""
        entry = self.entries.get(a)
        if entry is None or not entry.past_rows:
            return []
        directory = self.blocks.directory(entry.past_ve)
        return self._with_key(directory, 1, v, kind.order_key, alive_at)

    def _with_key(
        self, directory: Directory, key_column: int, key: Any, order_key: OrderKey, alive_at: int | None = None
    ) -> list[Any]:
        """Return (the other column, t, and t1 of past rows) of the rows with one key, faster than a region is read.

        Args:
            key_column: 0 if the key is an entity, 1 if it is a value.
            alive_at: only the past rows that were live at this t; there can be many others.
        """
        fences, last = directory.fences[key_column], directory.last[key_column]
        wanted = key if order_key is None else order_key(key)
        rows: list[Any] = []
        if last is not None and wanted > last:
            return rows  # identities that grow with time are new
        # The block before the first one that begins with the key can end with it.
        first = max(bisect_left(fences, wanted, key=order_key) - 1, 0)
        for i in range(first, bisect_right(fences, wanted, key=order_key)):
            columns = self.blocks.block(directory.names[i])
            keys = columns[key_column]
            if last is None and i + 1 == len(fences):
                greatest = keys.item(-1)
                directory.last[key_column] = greatest if order_key is None else order_key(greatest)
            if keys.dtype == object:
                low, high = bisect_left(keys, wanted, key=order_key), bisect_right(keys, wanted, key=order_key)
            else:
                low = int(keys.searchsorted(key))
                if low == len(keys) or keys.item(low) != key:
                    continue
                is_last = low + 1 == len(keys) or keys.item(low + 1) != key
                high = low + 1 if is_last else int(keys.searchsorted(key, "right"))
            if low + 1 == high:
                rows.append(tuple([part.item(low) for part in (columns[1 - key_column], *columns[2:])]))
            elif low < high:
                rows += _rows_between(columns, 1 - key_column, low, high, alive_at)
        return rows

    # -- rows

    def live(self, a: int, region: Region, kind: Kind) -> FactArrays:
        """Return the live rows of an attribute in a region, in the order of the region."""
        entry = self.entries.get(a)
        if entry is None or not entry.rows:
            return column.empty(kind)
        parts = self._read(entry.ev if region.order == BY_ENTITY else entry.ve, region, kind)
        rows = column.concat([FactArrays(*part) for part in parts], kind)
        return rows.take(column.select(rows, region, kind))

    def near(self, a: int, region: column.Values, kind: Kind) -> Iterator[Any]:
        """Yield all values of the blocks that can contain one of these values, without a search for each."""
        for part in self._read(self.entries[a].ve, region, kind):
            yield from part[1].tolist()

    def value_arrays(self, a: int) -> Iterator[Array]:
        """Yield the live values of an attribute, one block after the other, without keeping them in the cache."""
        if a in self.entries:
            for name in self.blocks.directory(self.entries[a].ev).names:
                yield self.blocks.read([name], keep=False)[0][1]

    def past(self, a: int, region: Region, kind: Kind) -> Spans:
        """Return the retracted rows of an attribute in a region, in the order of the region."""
        entry = self.entries.get(a)
        if entry is None or not entry.past_rows:
            return Spans(column.empty(kind), column.ints(()))
        parts = self._read(entry.past_ev if region.order == BY_ENTITY else entry.past_ve, region, kind)
        if not parts:
            return Spans(column.empty(kind), column.ints(()))
        spans = Spans(
            column.concat([FactArrays(*part[:3]) for part in parts], kind), np.concatenate([part[3] for part in parts])
        )
        return spans.take(column.select(spans.rows, region, kind))

    def _read(self, name: bytes, region: Region, kind: Kind) -> list[tuple[Array, ...]]:
        directory = self.blocks.directory(name)
        if isinstance(region, Entities | column.Values):
            ids = directory.ids[_touched_by_keys(directory, region, kind)]
        else:
            low, high = _touched(directory, region, kind)
            ids = directory.ids[low:high]
        return self.blocks.read(ids.tolist(), keep=not isinstance(region, Everything))

    # -- the root

    def encode(self) -> bytes:
        """Return the bytes of the root."""
        body = pack(
            [
                *(FORMAT, self.basis_t, self.next_n, self.instant),
                [list(one) for one in self.sets],
                [[a, *entry] for a, entry in sorted(self.entries.items())],
                self.excised_t,
                bytes(_CHECKSUM),
            ]
        )
        return body[:-_CHECKSUM] + crc32(body[:-_CHECKSUM]).to_bytes(_CHECKSUM, "little")

    def decode(self, body: bytes, version: int) -> Index:
        """Return the index of a root, given as bytes. Raises: NotAStore for a newer format; Corrupt."""
        version_of_format, basis_t, next_n, instant, sets, entries, *excised = _fields(
            body, self.blocks.storage.description
        )
        if version_of_format != FORMAT:
            message = f"the index has format {version_of_format}, this version reads {FORMAT}"
            raise NotAStore(":db.error/not-a-store", message, format=version_of_format)
        return replace(
            self,
            version=version,
            basis_t=basis_t,
            excised_t=excised[0] if excised else UNKNOWN,  # roots of earlier versions do not have it
            next_n=next_n,
            instant=instant,
            sets=sets,
            entries={a: Entry(*entry) for a, *entry in entries},
        )

    @property
    def rank(self) -> tuple[int, int]:
        """Never decreases from a root to the next: the excisions that it includes, then the last t in it."""
        return self.excised_t, self.basis_t

    def reachable(self) -> Iterable[bytes]:
        """Yield the ids of all directories and blocks of this index."""
        for entry in self.entries.values():
            for name in (entry.ev, entry.ve, entry.past_ev, entry.past_ve):
                if name != NOTHING:
                    yield name
                    yield from self.blocks.directory(name).ids.tolist()


def _fields(body: bytes, uri: str) -> Any:
    """Return the fields of a root; roots of earlier versions have no checksum."""
    is_whole = crc32(body[:-_CHECKSUM]) == int.from_bytes(body[-_CHECKSUM:], "little")
    try:
        if is_whole or body.startswith(_UNCHECKED):
            return unpack(body)
    except (ValueError, TypeError, KeyError, ArithmeticError, msgpack.UnpackException) as error:
        cause: BaseException | None = error
    else:
        cause = None
    message = (
        f"{uri} is damaged: the checksum of its index's root does not match; "
        "`factstore reindex` builds the index again from the log"
    )
    raise Corrupt(":db.error/storage-corrupt", message, uri=uri) from cause


def _rows_between(columns: tuple[Array, ...], other: int, low: int, high: int, alive_at: int | None) -> Iterable[Any]:
    """Return (the other column, t, and t1 of past rows) of a range of rows; of the past rows only those live at a t."""
    which: slice | Array = slice(low, high)
    if alive_at is not None:
        began, ended = columns[2][which], columns[3][which]
        which = low + ((began <= alive_at) & (ended > alive_at)).nonzero()[0]
    return zip(*[part[which].tolist() for part in (columns[other], *columns[2:])], strict=True)


def _touched(directory: Directory, region: Region, kind: Kind) -> tuple[int, int]:
    """Return the range [first, end) of the blocks that can contain rows of a region."""
    if not isinstance(region, Range):
        return 0, directory.length
    low, high = 0, directory.length
    if region.low is not None:
        # The block before the first one that begins with the value can end with it.
        low = max(column.search(directory.first.v, region.low, "left", kind.order_key) - 1, 0)
    if region.high is not None:
        high = column.search(directory.first.v, region.high, "right", kind.order_key)
    return low, max(low, high)


def _touched_by_keys(directory: Directory, region: Entities | column.Values, kind: Kind) -> Ints:
    if isinstance(region, Entities):
        low, high = column.bounds(directory.first.e, region.es)
    else:
        low, high = column.bounds(directory.first.v, region.vs, kind.order_key)
    if len(low) == 1:
        return np.arange(max(int(low[0]) - 1, 0), int(high[0]))
    starts = np.maximum(low - 1, 0)
    touched: Ints = np.unique(column.positions_in(starts, high - starts)[0])
    return touched


def divide(directory: Directory, rows: FactArrays, order: str, kind: Kind) -> Ints:
    """Return where the rows of each block begin in sorted rows, and the number of rows.

    A row belongs to the last block that begins at or before it, or to the first block.
    """
    starts = column.insertion(rows, directory.first, order, kind, "left")
    starts[:1] = 0
    return np.append(starts, rows.size)
