"""What a user holds of a store in a `with` block: a version of the root, or the writer lock."""

from __future__ import annotations

from collections.abc import Callable
from sys import _getframe
from typing import Protocol, Self

from factstore.concurrency.locks import Owner


class Held:
    """A hold on a version of the root.

    Args:
        version: the version.
        drop: ends one hold on a version; it is called once.
    """

    def __init__(self, version: int, drop: Callable[[int], None]) -> None:
        self.version = version
        self._drop: Callable[[int], None] | None = drop

    def release(self) -> None:
        """End the hold; a second call does nothing."""
        drop, self._drop = self._drop, None
        if drop is not None:
            drop(self.version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Takeable(Protocol):
    """A writer lock of several processes."""

    def take(self, owner: Owner, *, may_pass: bool, doing: str, timeout: float | None) -> None:
        """Acquire the lock for an owner, unless this thread already holds it. Raises: StoreBusy."""

    def give(self, owner: Owner) -> None:
        """Release the lock if this owner still holds it."""


class HeldTurn:
    """The writer lock in a `with` block; the holder is the call that enters, or a given owner."""

    __slots__ = ("_doing", "_may_pass", "_owner", "_timeout", "_turn")

    def __init__(self, turn: Takeable, owner: Owner | None, may_pass: bool, doing: str, timeout: float | None) -> None:
        self._turn = turn
        self._owner = owner
        self._may_pass = may_pass
        self._doing = doing
        self._timeout = timeout

    def __enter__(self) -> None:
        self._turn.take(self._owner or _getframe(1), may_pass=self._may_pass, doing=self._doing, timeout=self._timeout)

    def __exit__(self, *_: object) -> None:
        self._turn.give(self._owner or _getframe(1))
