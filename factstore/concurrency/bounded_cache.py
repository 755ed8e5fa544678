"""A cache bounded by the number of its entries, by the bytes that they take, or by both.

Threads may share a cache. A bound on entries needs no lock; a bound on bytes takes one for each addition.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from factstore.concurrency.forks import watch
from factstore.concurrency.locks import CallLock

K = TypeVar("K")
V = TypeVar("V")
UNBOUNDED: Final = sys.maxsize


class BoundedCache(Generic[K, V]):
    """A mapping that removes its oldest entries once it exceeds a bound.

    `get` is the look-up of a dict. `use` also makes the entry the newest: the least recently used entries are then
    removed first.
    """

    __slots__ = ("__weakref__", "_entries", "_sizes", "bytes", "get", "lock", "max_bytes", "max_entries")

    get: Callable[[K], V | None]

    def __init__(self, *, max_entries: int = UNBOUNDED, max_bytes: int = UNBOUNDED) -> None:
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self.bytes = 0
        self.lock = CallLock()  # held while `bytes` changes
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._sizes: dict[K, int] = {}
        self.get = self._entries.get
        watch(self)

    def _after_fork(self) -> None:
        """Replace the lock, which another thread of the parent may hold."""
        self.lock = CallLock()

    def __len__(self) -> int:
        return len(self._entries)

    def use(self, key: K, default: Any = None) -> V | Any:
        """Return the value of a key and make its entry the newest; `default` if there is none."""
        value = self._entries.get(key, default)
        if value is not default:
            try:
                self._entries.move_to_end(key)
            except KeyError:
                return value  # Another thread has just removed the entry; its value is still valid.
        return value

    def put(self, key: K, value: V, size_bytes: int = 0) -> V:
        """Add an entry as the newest, and return its value; a bound on bytes counts `size_bytes` for it."""
        entries = self._entries
        if self.max_bytes < UNBOUNDED:
            self._put_sized(key, value, size_bytes)
            return value
        entries[key] = value
        try:
            while len(entries) > self.max_entries:
                entries.popitem(last=False)
        except KeyError:
            pass  # Other threads have removed the entries.
        return value

    def _put_sized(self, key: K, value: V, size_bytes: int) -> None:
        entries, sizes = self._entries, self._sizes
        with self.lock:
            entries.pop(key, None)
            self.bytes += size_bytes - sizes.pop(key, 0)
            entries[key], sizes[key] = value, size_bytes
            while self.bytes > self.max_bytes or len(entries) > self.max_entries:
                oldest, _ = entries.popitem(last=False)
                self.bytes -= sizes.pop(oldest)

    def clear(self) -> None:
        """Remove all entries."""
        with self.lock:
            self._entries.clear()
            self._sizes.clear()
            self.bytes = 0
