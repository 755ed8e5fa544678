"""The names of a file: one store stays one store, by whatever path it is reached.

    symbolic link, `..`, /proc/self/fd   the path is resolved, so the lock file lies beside the file itself
    hard link, a file mounted alone      cannot be resolved: each process says by which lock file it uses the store, in a lock on the file

Law: two processes never have one file open with two lock files, for then neither would know of the other's transactions.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from factstore.errors import Unavailable
from factstore.storage.lmdb import ranges

# Above the versions of the root, which are locked in the same file.
_FIRST: Final = 1 << 62
_LAST: Final = (1 << 63) - 1


def resolved(path: Path) -> Path:
    """Return the path of the file that a path leads to."""
    return Path(os.path.realpath(path))


def claim(fd: int, path: Path) -> None:
    """Say by which lock file this process uses a file, for as long as `fd` is open.

    Raises: Unavailable, while another process uses the file with another lock file.
    """
    lock = path.with_name(f"{path.name}-lock")
    try:
        opened = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return  # LMDB will say what it cannot do here
    mine = _FIRST + os.fstat(opened).st_ino % (_LAST - _FIRST)
    os.close(opened)
    try:
        ranges.share(fd, mine)
        others = {byte for locked in ranges.of_others(fd, _FIRST, _LAST) for byte in locked}
    except OSError:
        return  # a filesystem without such locks
    if others - {mine}:
        message = (
            f"{path} is open in another process that uses another lock file than {lock}: it reaches the file by another name, a hard link"
            " or a mount of the file alone, or the lock file was deleted meanwhile; open it by the same path everywhere"
        )
        raise Unavailable(":db.error/storage-unavailable", message, path=str(path), lock=str(lock))


def length_of(path: Path, key: tuple[int, int]) -> int | None:
    """Return the length in bytes of the file that a path leads to; -1 where it is not the file of this device and inode.

    None where that cannot be known.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return -1
    except OSError:
        return None
    return found.st_size if (found.st_dev, found.st_ino) == key else -1
