"""Translates errors of LMDB to errors of factstore."""

from __future__ import annotations

import errno
import os
from typing import Final

import lmdb

from factstore.concurrency.limits import explained
from factstore.errors import StorageError, StoreFull, Unavailable
from factstore.storage.refusals import damaged

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM})
_DAMAGED: Final = (
    *(lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.CursorFullError, lmdb.PageFullError),
    *(lmdb.InvalidError, lmdb.BadTxnError, lmdb.IncompatibleError),
)


def translated(error: lmdb.Error, uri: str, map_size: int) -> StorageError:
    """Return the error of factstore for an error of LMDB.

    Args:
        map_size: the bytes of address space that LMDB has, or requested.
    """
    code = getattr(error, "code", 0)
    if code == errno.ENOMEM or isinstance(error, lmdb.MemoryError):
        return no_memory(uri, map_size)
    if code in NO_SPACE or isinstance(error, lmdb.MapFullError | lmdb.DiskError):
        return StoreFull(":db.error/storage-full", f"no room for {uri}: {error}", uri=uri)
    if code == errno.EACCES:
        message = (
            f"{uri} and the -lock and -turn beside it must be writable by this user,"
            f" the lock even for reading only: {error}"
        )
        return Unavailable(":db.error/storage-unavailable", message, uri=uri)
    if code == errno.EAGAIN:
        message = (
            f"another process that has {uri} open has the process id of this one, {os.getpid()},"
            " as happens in two containers. LMDB tells its readers apart by process id: let the containers share"
            " one process namespace, or start this program again with another id"
        )
        return Unavailable(":db.error/storage-unavailable", message, uri=uri, pid=os.getpid())
    if code == errno.EIO:
        return StoreFull(
            ":db.error/storage-full",
            f"the disk of {uri} is full, or fails: what LMDB wrote was cut short ({error})",
            uri=uri,
        )
    if isinstance(error, _DAMAGED):
        return damaged(uri, str(error))
    return Unavailable(":db.error/storage-unavailable", f"{uri} could not be used: {explained(str(error))}", uri=uri)


def no_memory(uri: str, map_size: int) -> StoreFull:
    """Return the error for a map of the file that the system refuses; no disk is full."""
    limit = _limit()
    limited = "" if limit is None else f", and its limit is {limit:,} bytes"
    message = (
        f"the address space of this process is too small for {uri}, whose map takes {map_size:,} bytes of it{limited}: "
        "raise the limit (ulimit -v, or that of the container or service), or let the process use more memory"
    )
    return StoreFull(":db.error/storage-full", message, uri=uri, bytes=map_size, limit=limit)


def _limit() -> int | None:
    """Return the limit of the address space of this process; None if there is none."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft
