"""Objects that belong to the process that opened their store: they hold its file, its locks and its cached blocks.

`copy.deepcopy` of what contains an immutable one keeps it. Another process opens the store and gets the same value by
its t.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from factstore.errors import DatabaseError


class ProcessBound:
    """An object that is neither copied nor pickled."""

    __slots__ = ()
    _instead: ClassVar[str] = (
        "send the address of the store, its t and entity ids, and open the store there, as in "
        "connect(address).db().as_of(t)"
    )  # what to do in the other process
    _kind: ClassVar[str | None] = None  # the public name of a class that has none of its own

    def __reduce__(self) -> tuple[Any, ...]:
        kind = self._kind or type(self).__name__
        text = f"an object of the class {kind} belongs to its process, and cannot be copied or pickled: {self._instead}"
        raise DatabaseError(":db.error/process-bound", text, kind=kind)


class SharedValue(ProcessBound):
    """An immutable one, which is its own copy."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
