"""A storage that fails when told to: refuses, leaves in doubt, or dies with its process, before or after a write of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from factstore.errors import StorageError, Unavailable, UnknownOutcome

# What may befall an append. The first three leave the process alive, and of these the latter two must go unnoticed.
FAULTS = ("refused", "in doubt, not applied", "in doubt, applied", "dies before", "dies after", "dies in doubt")


class Died(StorageError):
    """The process is gone; whatever it still tries comes to nothing."""


class Faulty:
    """A handle on a storage, of one process."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._fault: str | None = None
        self._before: Callable[[], None] | None = None
        self._after_writes = 0
        self.dead = False

    def arm(self, fault: str | None, *, after_writes: int = 0, before: Callable[[], None] | None = None) -> None:
        """Let so many appends pass, then call `before` or fail."""
        self._fault, self._after_writes, self._before = fault, after_writes, before

    def __getattr__(self, name: str) -> Any:
        if self.dead:
            raise Died(":db.error/storage-unavailable", "this process is dead")
        return getattr(self._inner, name)

    def append(self, records: Any, *, expected_t: int) -> int:
        if self.dead:
            raise Died(":db.error/storage-unavailable", "this process is dead")
        if self._after_writes > 0:
            self._after_writes -= 1
            return self._inner.append(records, expected_t=expected_t)
        before, self._before = self._before, None
        if before is not None:
            before()
        fault, self._fault = self._fault, None
        return self._fail(fault, records, expected_t) if fault else self._inner.append(records, expected_t=expected_t)

    def _fail(self, fault: str, records: Any, expected_t: int) -> int:
        if fault == "refused":
            raise Unavailable(":db.error/storage-unavailable", "no answer")
        if fault in ("in doubt, applied", "dies after", "dies in doubt"):
            self._inner.append(records, expected_t=expected_t)
        self.dead = fault.startswith("dies")
        if "in doubt" in fault:
            raise UnknownOutcome(":db.error/unknown-outcome", "the answer was lost", txids=[txid for txid, _ in records])
        raise Died(":db.error/storage-unavailable", "this process is dead")

    def close(self) -> None:
        self._inner.close()
