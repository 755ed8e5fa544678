"""The names of a file: one file is one store, whichever path leads to it.

    symbolic link, `..`, /proc/self/fd   the path is resolved, so that the lock file is beside the file itself
    hard link, a file mounted alone      cannot be resolved: each process locks one byte of the file that stands for its
                                         lock file, so that others see which lock file it uses

Law: two processes never have one file open with two lock files: neither would see the transactions of the other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from factstore.concurrency.limits import is_limit
from factstore.errors import Unavailable
from factstore.storage.lmdb.processes import ranges

# Greater than the versions of the root, which are locked in the same file.
_FIRST: Final = 1 << 62
_LAST: Final = (1 << 63) - 1


def resolved(path: Path) -> Path:
    """Return the path of the file that a path leads to."""
    return Path(os.path.realpath(path))


def claim(fd: int, path: Path) -> None:
    """Mark which lock file this process uses for a file, as long as `fd` is open.

    Raises: Unavailable, while another process uses the file with another lock file.
    """
    lock = path.with_name(f"{path.name}-lock")
    try:
        opened = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if is_limit(error):
            raise  # LMDB could open the file a moment later
        return  # LMDB will raise the error
    mine = _FIRST + os.fstat(opened).st_ino % (_LAST - _FIRST)
    os.close(opened)
    try:
        ranges.share(fd, mine)
        others = {byte for locked in ranges.of_others(fd, _FIRST, _LAST) for byte in locked}
    except OSError:
        return  # a filesystem without such locks
    if others - {mine}:
        message = (
            f"{path} is open in another process that uses another lock file than {lock}:"
            " its path is a hard link or a mount of the file alone, or the lock file was deleted meanwhile;"
            " open it by the same path everywhere"
        )
        raise Unavailable(":db.error/storage-unavailable", message, path=str(path), lock=str(lock))


def is_shared(fd: int) -> bool:
    """Return whether another process has the file open; True on a filesystem without such locks."""
    try:
        return any(ranges.of_others(fd, _FIRST, _LAST))
    except OSError:
        return True


def length_of(path: Path, key: tuple[int, int]) -> int | None:
    """Return the length in bytes of the file of a path; -1 if it is not the file with this device and inode.

    None if the system does not tell.
    """
    try:
        stat = path.stat()
    except FileNotFoundError:
        return -1
    except OSError:
        return None
    return stat.st_size if (stat.st_dev, stat.st_ino) == key else -1
