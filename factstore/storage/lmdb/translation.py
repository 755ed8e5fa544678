"""Translates errors of LMDB to errors of factstore."""

from __future__ import annotations

import errno
import os
from typing import Final

import lmdb

from factstore.errors import StorageError, StoreFull, Unavailable
from factstore.storage.refusals import damaged

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM})
_DAMAGED: Final = (
    *(lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.CursorFullError, lmdb.PageFullError),
    *(lmdb.InvalidError, lmdb.BadTxnError, lmdb.IncompatibleError),
)


def translated(error: lmdb.Error, uri: str) -> StorageError:
    """Return the error of factstore for an error of LMDB."""
    code = getattr(error, "code", 0)
    if code in NO_SPACE or isinstance(error, lmdb.MapFullError | lmdb.DiskError | lmdb.MemoryError):
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
    return Unavailable(":db.error/storage-unavailable", f"{uri} could not be used: {error}", uri=uri)
