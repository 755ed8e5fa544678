"""The values of entities that are read repeatedly, shared by all databases of one novelty.

    Row          values of an entity by attribute, as far as they were read
    Holder       the entity that has a value of a unique attribute
    EntityRows   the rows, in two generations: when the young one is full, it becomes the old one, which is dropped

A row states from which t its values hold, and up to which t they are known to hold: until a transaction changes the
entity. So a commit costs nothing here: the next reader notes which entities it changed. A database of an earlier t has
a row of its own.

Laws: a value in a row is the one that the view returns without it. The rows take at most `max_bytes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sys import getsizeof
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from factstore.concurrency.locks import CallLock
from factstore.datom import Datom, Fact
from factstore.values.types import Stored

Values: TypeAlias = tuple[Stored, ...]
_ROW: Final = 600  # bytes of an empty row and of its entry
_ENTRY: Final = 100  # bytes of an attribute's entry in a row
_DATOM: Final = 200  # bytes of a datom without its value
_CHANGED: Final = 120  # bytes of an entry for an entity that has changed
_HOLDER: Final = 300  # bytes of a holder and of its entry, without the value
_SHARE: Final = 16  # values that take more than this part of the bound are not kept
_SEEN: Final = 100  # bytes of a key that was read once
_MOST_SEEN: Final = 16_384  # keys among which one is recognized when it is read again

_follow_lock = CallLock()


class Changes(Protocol):
    """What rows need from their novelty."""

    @property
    def newest_t(self) -> int:
        """The t of the newest transaction; -1 if there is none."""

    def between(self, after: int, upto: int, /) -> Iterable[tuple[int, Sequence[Fact], Any]]:
        """Return the transactions after one t and up to another: t, facts and columns that were loaded in bulk."""


class EntitySource(Protocol):
    """What a row needs from its view, which is no history view."""

    def values_of(self, e: int, a: int, /) -> Values:
        """Return the values that an entity has of an attribute."""

    def attributes_of(self, e: int, /) -> Iterable[int]:
        """Return the ids of the attributes that an entity ever had, in order."""


class Row(dict[int, Values]):
    """The values of an entity by attribute, as far as they are known; this one does not keep others.

    The row of a history view has datoms, but no values.
    """

    __slots__ = ()

    def datoms(self, a: int, *, is_history: bool) -> tuple[Datom, ...] | None:
        """Return the datoms of an attribute in order of EAVT; None if they were not read."""
        return None

    def keep_datoms(self, a: int, datoms: tuple[Datom, ...], *, is_history: bool) -> None:
        """Add the datoms of an attribute."""

    def read(self, view: EntitySource, e: int, a: int) -> Values:
        """Read the values of an attribute that the row lacks."""
        return view.values_of(e, a)

    def read_everything(self, view: EntitySource, e: int) -> Row:
        """Return the values of all attributes that the entity has, in order of attribute."""
        return Row({a: values for a in view.attributes_of(e) if (values := view.values_of(e, a))})


NOT_KEPT: Final = Row()


class KeptRow(Row):
    """A row of the databases from one t on, which keeps the values that are read unless they are too large."""

    __slots__ = ("_datoms", "_everything", "_rows", "nbytes", "since", "until")

    def __init__(self, rows: EntityRows, since: int) -> None:
        self.since = since
        self.until = since  # the t up to which the values are known to hold
        self.nbytes = _ROW
        self._rows = rows
        self._everything: Row | None = None
        self._datoms: dict[tuple[int, bool], tuple[Datom, ...]] = {}

    def datoms(self, a: int, *, is_history: bool) -> tuple[Datom, ...] | None:
        """Return the datoms of an attribute in order of EAVT; None if they were not read."""
        return self._datoms.get((a, is_history))

    def keep_datoms(self, a: int, datoms: tuple[Datom, ...], *, is_history: bool) -> None:
        """Add the datoms of an attribute, unless they are too large."""
        if self._rows.take_bytes(self, _ENTRY + _DATOM * len(datoms) + size_of(datom.v for datom in datoms)):
            self._datoms[a, is_history] = datoms

    def read(self, view: EntitySource, e: int, a: int) -> Values:
        """Read the values of an attribute that the row lacks, and add them to it."""
        values = view.values_of(e, a)
        if self._rows.take_bytes(self, _ENTRY + size_of(values)):
            self[a] = values
        return values

    def read_everything(self, view: EntitySource, e: int) -> Row:
        """Return the values of all attributes that the entity has, in order of attribute."""
        everything = self._everything
        if everything is None:
            everything = super().read_everything(view, e)
            if self._rows.take_bytes(self, _ROW + sum(2 * _ENTRY + size_of(each) for each in everything.values())):
                self.update(everything)
                self._everything = everything
        return everything


class Holder(NamedTuple):
    """The entity that has a value of a unique attribute from one t on."""

    e: int
    since: int
    nbytes: int


class EntityRows:
    """The rows of entities that were read more than once, as of the t's that databases of one novelty have."""

    __slots__ = (
        "_basis",
        "_changed",
        "_free",
        "_index_t",
        "_most_seen",
        "_old",
        "_seen",
        "_since",
        "max_bytes",
        "young",
    )

    def __init__(self, index_t: int, novelty: Changes, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._index_t = index_t  # the t of the newest transaction in the index below the novelty
        self._basis = max(index_t, novelty.newest_t)  # the t up to which the changes are known
        self._since = self._basis  # a row from before this t is out of date
        self._changed: dict[int, int] = {}  # the last t at which an entity changed, after `_since`
        self._seen: set[int] = set()  # hashes of keys that were read
        self._most_seen = min(_MOST_SEEN, max_bytes // (8 * _SEEN)) if max_bytes > _ROW * _SHARE else 0
        # Rows by entity, and by entity and t for databases of an earlier t; holders by attribute, value and None.
        self.young: dict[Any, KeptRow | Holder] = {}
        self._old: dict[Any, KeptRow | Holder] = {}
        self._free = self._size_of_generation

    @property
    def _size_of_generation(self) -> int:
        """The bytes of one generation: half of the bound, less what exceeds it, the changes and the keys."""
        return self.max_bytes * 3 // 8 - self.max_bytes // _SHARE

    @property
    def nbytes(self) -> int:
        """The approximate size of all rows, changes and keys that were read."""
        rows = (*self.young.values(), *self._old.values())
        return sum(row.nbytes for row in rows) + _CHANGED * len(self._changed) + _SEEN * len(self._seen)

    def row(self, e: int, committed: tuple[Changes, int], upto: int) -> Row:
        """Return the row of an entity for a database that the young row does not serve.

        Args:
            committed: the committed novelty of the database, and the t of its newest transaction, whether or not the
                database is as of an earlier one.
            upto: the t that the database is as of.
        """
        if e in self.young:
            row: KeptRow | None = self._find((e, upto))
            if row is not None:
                return row
        elif not self._is_seen(e):
            return NOT_KEPT
        return self._row_after_changes(e, *committed, upto)

    def _row_after_changes(self, e: int, novelty: Changes, basis: int, upto: int) -> Row:
        """Return the row of an entity when it is known whether the transactions up to a basis changed it."""
        if self._basis < basis and not self._follow(novelty, basis):
            return NOT_KEPT
        row: KeptRow | None = self._find(e)
        # First the changes, then `_since`: `_follow` replaces them in the other order.
        if row is None or self._changed.get(e, self._since) > row.since:
            row = self._new_row(e, basis)
        else:
            row.until = max(row.until, basis)
        return row if row.since <= upto else self._new_row((e, upto), upto)

    def holder(self, a: int, v: Stored, novelty: Changes, basis: int) -> int | None:
        """Return the only entity that has a value of a unique attribute, if it is kept; not for an earlier t."""
        if self._basis < basis and not self._follow(novelty, basis):
            return None
        holder: Holder | None = self._find((a, v, None))
        if holder is None or holder.since > basis or self._changed.get(holder.e, self._since) > holder.since:
            return None
        return holder.e

    def keep_holder(self, a: int, v: Stored, e: int, basis: int) -> None:
        """Keep the only entity that has a value of a unique attribute, if it was read before; not for an earlier t."""
        key = a, v, None
        if self._is_seen(key):
            size = _HOLDER + size_of((v,))
            if size * _SHARE <= self.max_bytes:
                self._put(key, Holder(e, basis, size))

    def _find(self, key: Any) -> Any:
        """Return an entry of either generation, and make it young; None if there is none."""
        entry = self.young.get(key)
        if entry is None and key in self._old:
            entry = self._old.pop(key, None)
            if entry is not None:
                self._put(key, entry)
        return entry

    def _new_row(self, key: Any, since: int) -> KeptRow:
        row = KeptRow(self, since)
        self._put(key, row)
        return row

    def _put(self, key: Any, entry: KeptRow | Holder) -> None:
        self.young[key] = entry
        self._take(entry.nbytes)

    def _is_seen(self, key: Any) -> bool:
        """Tell whether a key was read before, as far as is known; from now on it was."""
        number = hash(key)
        if number in self._seen:
            return True
        if len(self._seen) >= self._most_seen:
            self._seen = set()
        if self._most_seen:
            self._seen.add(number)
        return False

    def take_bytes(self, row: KeptRow, size: int) -> bool:
        """Reserve space for an extension of a row; return False if it is too large to be kept."""
        if size * _SHARE > self.max_bytes:
            return False
        row.nbytes += size
        self._take(size)
        return True

    def _take(self, size: int) -> None:
        # Threads that do this at once may lose a row's bytes or a generation; each generation starts to count again.
        self._free -= size
        if self._free < 0:
            self._old, self.young, self._free = self.young, {}, self._size_of_generation

    def _follow(self, novelty: Changes, basis: int) -> bool:
        """Note the entities that transactions up to a t changed.

        Return False for a database of a transaction that lost its race. Only code that ran in it can have one.
        """
        with _follow_lock:
            if basis > max(self._index_t, novelty.newest_t):
                return False
            if self._basis >= basis:
                return True
            most = self.max_bytes // (8 * _CHANGED)
            for t, facts, columns in novelty.between(self._basis, basis):
                if columns or len(self._changed) + len(facts) > most:
                    # All rows are out of date, also those of entities without facts that a bulk load has created.
                    self._since = t
                    self._changed = {}
                else:
                    self._changed.update((fact[0], t) for fact in facts)
            self._basis = basis
        return True


def size_of(values: Iterable[Any]) -> int:
    """Return the approximate size of values in bytes."""
    return getsizeof(values) + sum([size_of(value) if type(value) is tuple else getsizeof(value) for value in values])
