"""One LMDB environment per file in a process, shared by all handles on the file.

    shared         returns the environment of a file with one more handle; opens it for the first handle
    drop_handle    removes a handle that was not closed, from a finalizer

Law: LMDB never opens a file twice in one process. The last handle closes the environment.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any, Final

from lmdb import _envid

from factstore.storage.lmdb.environment import Environment, Layout
from factstore.storage.lmdb.gone import Gone
from factstore.storage.protocol import Sync

DEFAULT_MAP_SIZE: Final = 16 << 30  # of address space; the file grows only as it is written


class SharedEnvironment(Environment):
    """An environment that counts its handles, and syncs as its strictest handle requires."""

    def __init__(
        self, path: Path, layout: Layout, *, read_only: bool, sync: Sync, map_size: int, max_map_size: int | None
    ) -> None:
        self._handles: Counter[str] = Counter()
        super().__init__(path, layout, read_only=read_only, sync=sync, map_size=map_size, max_map_size=max_map_size)

    def attach(self, mode: Sync | None) -> None:
        """Add a handle, which writes in this mode (None: only reads). The caller must hold `_registering`."""
        self._handles["all"] += 1
        if mode is not None:
            self._handles[mode] += 1
            self._settle()

    def detach(self, mode: Sync | None) -> None:
        """Remove a handle; the last one closes the environment."""
        with _registering:
            self._handles["all"] -= 1
            if mode is not None:
                self._handles[mode] -= 1
            if not self._handles["all"]:
                self._end()
            else:
                self._settle()
        close_dropped()

    def drop(self, mode: Sync | None) -> None:
        """Remove a handle that was not closed. A finalizer can call it, so it never waits for readers."""
        self._handles["all"] -= 1
        if mode is not None:
            self._handles[mode] -= 1
        if not self._handles["all"] and not isinstance(self.env, Gone):
            self._end()

    def _end(self) -> None:
        _open.pop(self.key, None)
        self._close()

    def _settle(self) -> None:
        """Sync as the strictest handle requires."""
        wanted: Sync = "full" if self._handles["full"] else "none"
        if wanted != self._sync and (self._handles["full"] or self._handles["none"]):
            with self._writing, self.gate.shut():
                self.flush()
                self._sync = wanted
                self._reopen()


# The environments of this process, by the identity of their file. LMDB must not open a file twice in one process.
_open: dict[tuple[int, int], SharedEnvironment] = {}
_registering = RLock()  # reentrant: a finalizer can close one store while its thread opens another
_keys_of_files: Callable[[str, bool], tuple[Any, ...]] = _envid.env_keys


def shared(
    path: Path, layout: Layout, *, mode: Sync | None, map_size: int | None, max_map_size: int | None
) -> SharedEnvironment:
    """Return the environment of this file with one more handle on it, opened now if it is not open yet."""
    close_dropped()
    with _registering:
        environment = _open.get(_identity(path))
        if environment is None:
            environment = SharedEnvironment(
                path,
                layout,
                read_only=path.exists() and not os.access(path, os.W_OK),
                sync=mode or "full",
                map_size=map_size or DEFAULT_MAP_SIZE,
                max_map_size=max_map_size,
            )
            _open[environment.key] = environment
        environment.attach(mode)
    close_dropped()
    return environment


# Handles that were dropped without being closed.
_dropped: deque[tuple[SharedEnvironment, Sync | None]] = deque()


def drop_handle(environment: SharedEnvironment, mode: Sync | None) -> None:
    """Remove a handle, now or as soon as no store is being opened or closed; for finalizers, which run at any time."""
    _dropped.append((environment, mode))
    close_dropped()


def close_dropped() -> None:
    """Remove the dropped handles, unless a store is being opened or closed, which calls this at its end."""
    if not _dropped or _registering._is_owned():  # type: ignore[attr-defined]
        return
    if not _registering.acquire(blocking=False):
        return
    try:
        while _dropped:
            environment, mode = _dropped.popleft()
            environment.drop(mode)
    finally:
        _registering.release()


def _identity(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return (0, 0)
    return (stat.st_dev, stat.st_ino)


def _after_fork() -> None:
    _open.clear()
    _dropped.clear()
    _registering.release()
    _envid.env_keys = _keys_of_this_process


def _keys_of_this_process(path: str, subdir: bool) -> tuple[Any, ...]:
    """Return the keys by which lmdb rejects a second opening; those of inherited environments stay in its set."""
    return tuple((os.getpid(), key) for key in _keys_of_files(path, subdir))


os.register_at_fork(before=_registering.acquire, after_in_parent=_registering.release, after_in_child=_after_fork)
