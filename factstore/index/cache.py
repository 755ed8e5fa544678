"""The cache of decoded blocks and whole columns, bounded by bytes."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from factstore.concurrency.bounded_cache import BoundedCache


class Cache(BoundedCache[Hashable, Any]):
    """Decoded blocks and columns by name; a value larger than half of the cache is not kept."""

    __slots__ = ()

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes=max_bytes)

    def put(self, key: Hashable, value: Any, size_bytes: int = 0) -> Any:
        """Add a value, unless it is larger than half of the cache; return it."""
        return value if size_bytes * 2 > self.max_bytes else super().put(key, value, size_bytes)
