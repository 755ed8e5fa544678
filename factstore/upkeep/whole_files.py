"""Files that appear when they are whole: each is written under a name of its own, and gets its real name at the end.

Law: nothing but a plain file is ever replaced, and no file of a store. What was made meanwhile under the name of a new store stays.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from factstore.storage.lmdb.opening import belongs_to_store, kind_of

_WITHOUT_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write a file to, which takes the place of another file when the block ends, and is removed when the block fails.

    A symbolic link stays a link: the file that it leads to is replaced.
    Raises: OSError, for what must not be replaced: a directory, a device, a named pipe, a socket, a file of a store.
    """
    target = Path(os.path.realpath(path))
    _check_replaceable(target)
    with _beside(target) as unfinished:
        yield unfinished
        _check_replaceable(target)
        unfinished.replace(target)


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """Give a path to make a file at, which gets its name when the block ends, and is removed when the block fails.

    Raises: FileExistsError, when something of that name was made meanwhile, which stays as it is.
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
    with TemporaryDirectory(prefix=f".{target.name[:50]}-", dir=target.parent) as folder:
        yield Path(folder) / target.name


def _check_replaceable(path: Path) -> None:
    if kind := kind_of(path):
        raise OSError(errno.EISDIR if kind == "a directory" else errno.EINVAL, f"it is {kind}")
    if belongs_to_store(path):
        raise OSError(errno.EEXIST, "it is a store, or a file of one, and is not replaced")
