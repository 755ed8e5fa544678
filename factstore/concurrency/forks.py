"""Forks: a child inherits every object of its parent, but none of the parent's threads, and shares the parent's files and locks.

    watch(thing) ──► fork ──► in the child, before anything else runs there: thing._after_fork()

A thing gives up in `_after_fork` whatever belongs to the parent, without closing or unlocking it, and replaces locks that a thread of the
parent may have held at that moment: nobody would release them in the child.
Law: whatever a child does, and however it ends, the parent does not notice.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Protocol
from weakref import WeakSet

FORKED = "was opened before this process was forked; open it again in this process"


class Forkable(Protocol):
    """An object that must not be used in a forked child as it was used in the parent."""

    def _after_fork(self) -> None:
        """Give up what belongs to the parent. Called in the child, which has one thread; must neither wait nor raise."""


_watched: WeakSet[Any] = WeakSet()


def watch(thing: Forkable) -> None:
    """Call `_after_fork` of an object in each child of this process, for as long as the object lives."""
    _watched.add(thing)


def keep_for_ever(thing: object) -> None:
    """Never deallocate an object, not even when the interpreter ends: its finalizer would undo what the parent still needs."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _in_child() -> None:
    for thing in list(_watched):
        thing._after_fork()


os.register_at_fork(after_in_child=_in_child)
