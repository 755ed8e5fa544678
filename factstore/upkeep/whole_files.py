"""Files that appear when they are complete: each is written under a temporary name, and renamed at the end.

Law: only a plain file is ever replaced, and never a file of a store. A file that is created in the meantime under the
name of a new store stays.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from factstore.storage.lmdb.opening import belongs_to_store, files_of, kind_of

_WITHOUT_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path; the file there replaces `path` when the block ends, and is deleted if the block fails.

    A symbolic link stays a link: the file that it leads to is replaced.
    Raises: OSError, for a target that must not be replaced: a directory, a device, a named pipe, a socket, a file of a
        store.
    """
    target = Path(os.path.realpath(path))
    _check_replaceable(target)
    with _beside(target) as unfinished:
        yield unfinished
        _check_replaceable(target)
        unfinished.replace(target)


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """Give a temporary path; the file there gets its name when the block ends, and is deleted if the block fails.

    Raises: FileExistsError, if a file of that name was created in the meantime; it stays unchanged.
    """
    with _beside(target) as unfinished:
        yield unfinished
        try:
            target.hardlink_to(unfinished)
        except OSError as error:
            if error.errno not in _WITHOUT_LINKS:
                raise
            if target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            unfinished.rename(target)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    prefix = f".{target.name[:50]}-"
    with TemporaryDirectory(prefix=prefix, dir=target.parent, ignore_cleanup_errors=True) as folder:
        unfinished = Path(folder) / target.name
        try:
            yield unfinished
        finally:
            # By name: the standard library opens the folder, and there may be no file descriptor left.
            for path in files_of(unfinished):
                path.unlink(missing_ok=True)
            with suppress(OSError):
                Path(folder).rmdir()


def _check_replaceable(path: Path) -> None:
    if kind := kind_of(path):
        raise OSError(errno.EISDIR if kind == "a directory" else errno.EINVAL, f"it is {kind}")
    if belongs_to_store(path):
        raise OSError(errno.EEXIST, "it is a store, or a file of one, and is not replaced")
