"""One cache bounded by bytes, for decoded blocks and for whole columns; least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from factstore.concurrency.forks import watch
from factstore.concurrency.locks import CallLock


class Cache:
    """A mapping that forgets what was not used for longest once it holds more than `limit_bytes`."""

    __slots__ = ("__weakref__", "_entries", "_lock", "bytes", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = CallLock()
        watch(self)

    def _after_fork(self) -> None:
        """Have a lock that nobody holds."""
        self._lock = CallLock()

    def get(self, key: Hashable) -> Any:
        """Return what is kept under a key; None when nothing is."""
        found = self._entries.get(key)
        if found is None:
            return None
        try:
            self._entries.move_to_end(key)
        except KeyError:
            return found[0]  # another thread's put let go of it a moment ago; the value is as good as ever
        return found[0]

    def put(self, key: Hashable, value: Any, size_bytes: int) -> None:
        """Keep a value; one larger than half the whole cache is not kept."""
        if size_bytes * 2 > self.limit_bytes:
            return
        with self._lock:
            old = self._entries.pop(key, None)
            self.bytes += size_bytes - (old[1] if old else 0)
            self._entries[key] = (value, size_bytes)
            while self.bytes > self.limit_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self.bytes -= freed
