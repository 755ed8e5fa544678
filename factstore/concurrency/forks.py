"""Forks: a child inherits all objects of its parent but no threads, and shares the parent's files and locks.

    watch(thing) ──► fork ──► in the child, before any other code runs: thing._after_fork()

In `_after_fork` an object drops everything that belongs to the parent, without closing or unlocking it. It also
replaces locks that a thread of the parent may have held at that moment, because no thread of the child would release
them.
Law: nothing that a child does, and no way in which it ends, affects the parent.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final, Protocol
from weakref import ref

FORKED = "was opened before this process was forked; open it again in this process"


class Forkable(Protocol):
    """An object that must not be used in a forked child as it was used in the parent."""

    def _after_fork(self) -> None:
        """Drop what belongs to the parent. Called in the child, which has one thread; must neither wait nor raise."""


# By id. Not a WeakSet: it runs Python code when an object is freed, and an exception of a signal handler there, such as
# the KeyboardInterrupt of Ctrl-C, would be ignored.
_watched: dict[int, ref[Any]] = {}
_FEW: Final = 64
_most = _FEW  # references after which those of freed objects are dropped


def watch(thing: Forkable) -> None:
    """Call `_after_fork` of an object in each child of this process, as long as the object exists."""
    global _most
    if len(_watched) >= _most:
        for key in [key for key, known in tuple(_watched.items()) if known() is None]:
            _watched.pop(key, None)
        _most = max(_FEW, 2 * len(_watched))  # so each object costs the same, however many there are
    _watched[id(thing)] = ref(thing)


def keep_for_ever(thing: object) -> None:
    """Never deallocate an object, not even when the interpreter ends: its finalizer would affect the parent."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    for known in tuple(_watched.values()):
        thing = known()
        if thing is not None:
            thing._after_fork()


os.register_at_fork(after_in_child=_in_child)
