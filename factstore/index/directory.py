"""The index: for each attribute and order a directory of blocks, and a root that names the directories.

    root      msgpack [format, t, next-n, instant µs, attribute sets, [[a, rows, past rows, EV, VE, past EV, past VE] …], excised t,
              crc32 of all that stands before it, as 4 bytes, little-endian]
    directory a block with a row for each of its blocks: first entity, first value, id, rows
    EV, VE    live rows (e, v, t) in either order        past    retracted ones (e, v, t, t1)

An attribute of its own, `ATTRIBUTES_OF`, holds for each entity the number of a set of attributes: all it ever had one of.
The index answers as of its own t; what came later is novelty's. The excised t is that of the newest excision of the log that the
index was built from, 0 where there was none: it tells an index of the log as it is from one of the log before it was rewritten.
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
_UNCHECKED: Final = (b"\x96\x01", b"\x97\x01")  # roots without one: an array of six or seven, and the format
ATTRIBUTES_OF: Final = -1
UNKNOWN: Final = -1  # an excised t that is less than any
NOTHING: Final = b""  # the id of a directory that holds no blocks


class Entry(NamedTuple):
    """What the root says of an attribute."""

    rows: int = 0
    past_rows: int = 0
    ev: bytes = NOTHING
    ve: bytes = NOTHING
    past_ev: bytes = NOTHING
    past_ve: bytes = NOTHING


class Directory(NamedTuple):
    """The blocks of one family, in order, by what each begins with."""

    first: FactArrays  # first entity and value of each block; t is not used
    ids: Array  # bytes objects
    sizes: Ints
    fences: tuple[list[int], list[Any]]  # first entities and first values once more, for reading a single one
    names: list[bytes]  # and the ids

    @property
    def length(self) -> int:
        """How many blocks there are."""
        return len(self.ids)


class Blocks:
    """Reads blocks and directories of a storage through a cache."""

    def __init__(self, storage: Storage, cache: Cache) -> None:
        self.storage = storage
        self.cache = cache

    def read(self, ids: Sequence[bytes], *, keep: bool = True) -> list[tuple[Array, ...]]:
        """Return the columns of these blocks; `keep` them in the cache unless a whole column is on its way there."""
        found = {name: self.cache.use(name) for name in ids}
        missing = [name for name, columns in found.items() if columns is None]
        if missing:
            for name, body in self.storage.get_blocks(missing).items():
                columns = found[name] = block.decode(body, name)
                if keep:
                    self.cache.put(name, columns, sum(x.nbytes * (8 if x.dtype == object else 1) for x in columns))
        return [found[name] for name in ids]

    def directory(self, name: bytes) -> Directory:
        """Return a directory by its id."""
        key = (name, "directory")
        found: Directory | None = self.cache.use(key)
        if found is None:
            if name == NOTHING:
                e, v, ids, sizes = column.ints(()), np.empty(0, object), np.empty(0, object), column.ints(())
            else:
                e, v, ids, sizes = self.read([name], keep=False)[0]
            found = Directory(FactArrays(e, v, sizes), ids, sizes, (e.tolist(), v.tolist()), ids.tolist())
            self.cache.put(key, found, 200 * len(ids) + 200)
        return found

    def block(self, name: bytes) -> tuple[Array, ...]:
        """Return the columns of one block."""
        found: tuple[Array, ...] | None = self.cache.use(name)
        return self.read([name])[0] if found is None else found


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Index:
    """A root and the way to its blocks; immutable."""

    blocks: Blocks
    version: int = 0  # of the root
    basis_t: int = -1  # -1: nothing is in it, not even what every store begins with
    excised_t: int = 0
    next_n: int = 0
    instant: int = 0
    sets: tuple[tuple[int, ...], ...] = ()
    entries: dict[int, Entry] = field(default_factory=dict)

    # -- counts

    def count(self, a: int) -> int:
        """Return how many live rows an attribute has."""
        return self.entries[a].rows if a in self.entries else 0

    def count_past(self, a: int) -> int:
        """Return how many retracted rows an attribute has."""
        return self.entries[a].past_rows if a in self.entries else 0

    def count_with(self, a: int, v: Any, kind: Kind) -> int:
        """Return about how many live rows have a value; exact within one block."""
        if a not in self.entries:
            return 0
        directory = self.blocks.directory(self.entries[a].ve)
        low, high = _touched(directory, Range(v, v), kind)
        if high - low <= 2:
            found = self.live(a, column.Values([v]), kind)
            return found.size
        return int(directory.sizes[low:high].sum())

    def attributes(self) -> list[int]:
        """Return the ids of all attributes that have rows, live or past."""
        return [a for a in self.entries if a != ATTRIBUTES_OF]

    def may_hold(self, e: int, a: int) -> bool:
        """Tell cheaply whether there can be rows of an entity: not of one that was made later."""
        if a not in self.entries:
            return False
        partition = partition_of(e)
        if partition == USER_PARTITION:
            return e & N_MASK < self.next_n
        return partition != TX_PARTITION or e & N_MASK <= self.basis_t

    def attributes_of(self, e: int) -> tuple[int, ...]:
        """Return the ids of the attributes that an entity ever had one of."""
        if not self.may_hold(e, ATTRIBUTES_OF):
            return ()
        found = self.values_of(ATTRIBUTES_OF, e)
        return self.sets[found[0][0]] if found else ()

    # -- one entity, one value

    def values_of(self, a: int, e: int) -> list[tuple[Any, int]]:
        """Return the live values of an entity, each with its t."""
        entry = self.entries.get(a)
        if entry is None or not entry.rows:
            return []
        directory = self.blocks.directory(entry.ev)
        return self._one(directory, directory.fences[0], 0, e, None)

    def holds(self, a: int, e: int, v: Any, kind: Kind) -> bool:
        """Tell whether an entity has a value, after a look at one block, however many values it has."""
        entry = self.entries.get(a)
        if entry is None or not entry.rows:
            return False
        directory = self.blocks.directory(entry.ev)
        es, vs = directory.fences
        order_key = kind.order_key
        wanted = v if order_key is None else order_key(v)
        # The block before the first one that begins with the entity may end with it.
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
        """Return the entities that have a value, each with its t."""
        entry = self.entries.get(a)
        if entry is None or not entry.rows:
            return []
        directory = self.blocks.directory(entry.ve)
        return self._one(directory, directory.fences[1], 1, v, kind.order_key)

    def past_values_of(self, a: int, e: int, alive_at: int | None = None) -> list[tuple[Any, int, int]]:
        """Return the values that an entity had, each with the t that asserted and the t that retracted it; at a t, if one is given."""
        entry = self.entries.get(a)
        if entry is None or not entry.past_rows:
            return []
        directory = self.blocks.directory(entry.past_ev)
        return self._one(directory, directory.fences[0], 0, e, None, alive_at)

    def past_holders_of(self, a: int, v: Any, kind: Kind) -> list[tuple[int, int, int]]:
        """Return the entities that had a value, each with the t that asserted and the t that retracted it."""
        entry = self.entries.get(a)
        if entry is None or not entry.past_rows:
            return []
        directory = self.blocks.directory(entry.past_ve)
        return self._one(directory, directory.fences[1], 1, v, kind.order_key)

    def _one(
        self,
        directory: Directory,
        fences: list[Any],
        place: int,
        key: Any,
        order_key: OrderKey,
        alive_at: int | None = None,
    ) -> list[Any]:
        """Return (the other column, t, of past rows t1) of the rows with one key; without numpy's price for whole regions.

        Args:
            alive_at: only past rows that had begun and not ended by this t; there may be many others.
        """
        wanted = key if order_key is None else order_key(key)
        found: list[Any] = []
        # The block before the first one that begins with the key may end with it.
        for i in range(
            max(bisect_left(fences, wanted, key=order_key) - 1, 0), bisect_right(fences, wanted, key=order_key)
        ):
            columns = self.blocks.block(directory.names[i])
            keys = columns[place]
            if keys.dtype == object:
                low, high = bisect_left(keys, wanted, key=order_key), bisect_right(keys, wanted, key=order_key)
            else:
                low = int(keys.searchsorted(key))
                if low == len(keys) or keys.item(low) != key:
                    continue
                high = (
                    low + 1
                    if low + 1 == len(keys) or keys.item(low + 1) != key
                    else int(keys.searchsorted(key, "right"))
                )
            if low + 1 == high:
                found.append(tuple([part.item(low) for part in (columns[1 - place], *columns[2:])]))
            elif low < high:
                which: slice | Array = slice(low, high)
                if alive_at is not None:
                    began, ended = columns[2][which], columns[3][which]
                    which = low + ((began <= alive_at) & (ended > alive_at)).nonzero()[0]
                found += zip(*[part[which].tolist() for part in (columns[1 - place], *columns[2:])], strict=True)
        return found

    # -- rows

    def live(self, a: int, region: Region, kind: Kind) -> FactArrays:
        """Return the live rows of an attribute in a region, sorted in its order."""
        entry = self.entries.get(a)
        if entry is None or not entry.rows:
            return column.empty(kind)
        parts = self._read(entry.ev if region.order == BY_ENTITY else entry.ve, region, kind)
        rows = column.concat([FactArrays(*part) for part in parts], kind)
        return rows.take(column.select(rows, region, kind))

    def near(self, a: int, region: column.Values, kind: Kind) -> Iterator[Any]:
        """Yield the values in the blocks that may hold any of these; to tell which are there, without searching for each."""
        for part in self._read(self.entries[a].ve, region, kind):
            yield from part[1].tolist()

    def past(self, a: int, region: Region, kind: Kind) -> Spans:
        """Return the retracted rows of an attribute in a region, sorted in its order."""
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
        """Return the root's bytes."""
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
        """Return the index that a root's bytes describe. Raises: NotAStore, for a newer format; Corrupt."""
        found, basis_t, next_n, instant, sets, entries, *excised = _fields(body, self.blocks.storage.description)
        if found != FORMAT:
            raise NotAStore(
                ":db.error/not-a-store", f"the index has format {found}, this version reads {FORMAT}", format=found
            )
        return replace(
            self,
            version=version,
            basis_t=basis_t,
            excised_t=excised[0] if excised else UNKNOWN,  # roots made by earlier versions do not tell
            next_n=next_n,
            instant=instant,
            sets=sets,
            entries={a: Entry(*entry) for a, *entry in entries},
        )

    @property
    def rank(self) -> tuple[int, int]:
        """What never decreases from a root to the next one: the excisions it knows of, then how much of the log is in it."""
        return self.excised_t, self.basis_t

    def reachable(self) -> Iterable[bytes]:
        """Yield the ids of all directories and blocks that this index needs."""
        for entry in self.entries.values():
            for name in (entry.ev, entry.ve, entry.past_ev, entry.past_ve):
                if name != NOTHING:
                    yield name
                    yield from self.blocks.directory(name).ids.tolist()


def _fields(body: bytes, uri: str) -> Any:
    """Return the fields of a root. Those made by earlier versions have no checksum, until the next index replaces them."""
    is_whole = crc32(body[:-_CHECKSUM]) == int.from_bytes(body[-_CHECKSUM:], "little")
    try:
        if is_whole or body.startswith(_UNCHECKED):
            return unpack(body)
    except (ValueError, TypeError, KeyError, ArithmeticError, msgpack.UnpackException) as error:
        cause: BaseException | None = error
    else:
        cause = None
    message = f"{uri} is damaged: the checksum of its index's root does not match; `factstore reindex` builds the index again from the log"
    raise Corrupt(":db.error/storage-corrupt", message, uri=uri) from cause


def _touched(directory: Directory, region: Region, kind: Kind) -> tuple[int, int]:
    """Return the first and one past the last block that can hold rows of a range."""
    if not isinstance(region, Range):
        return 0, directory.length
    low, high = 0, directory.length
    if region.low is not None:
        # The block before the first one that begins with the value may end with it.
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


def locate(directory: Directory, rows: FactArrays, order: str, kind: Kind) -> Ints:
    """Return for each row, sorted in this order, the block that holds it or would: the last that begins at or before it."""
    both = column.concat([directory.first, rows], kind)
    is_row = np.arange(both.size) >= directory.length
    rank = column.ranks(both.v, kind.order_key)
    keys = (is_row, rank, both.e) if order == BY_ENTITY else (is_row, both.e, rank)
    positions = np.lexsort(keys)
    begun = np.cumsum(~is_row[positions]) - 1
    found = np.empty(both.size, np.int64)
    found[positions] = np.maximum(begun, 0)
    return found[directory.length :]
