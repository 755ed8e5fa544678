"""What a path must be before LMDB may touch it: a file of its own format, or none yet, on a local disk.

Law: a file that is refused here is left as it was, and nothing is created beside it.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

from factstore.errors import NotAStore, StorageError, Unavailable

_META: Final = struct.Struct("=16xII")  # the first page of an LMDB 0.9 file: its header, a magic number, a version
_MAGIC: Final = 0xBEEFC0DE


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path that a path means; `~` and `~user` are home directories. Raises: NotAStore, for a user that there is not."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise NotAStore(":db.error/not-a-store", f"{path} cannot be a store: {error}", path=str(path)) from error


def look_at(path: Path, create: bool) -> bool:
    """Return whether the file is yet to be made; refuse one that is not an LMDB file of ours to open."""
    if path.is_dir():
        raise NotAStore(":db.error/not-a-store", f"{path} is a directory; a store is one file", path=str(path))
    if not path.exists():
        if not path.parent.is_dir():
            raise NotAStore(":db.error/not-a-store", f"there is no directory {path.parent}; make it first", path=str(path))
        if not create:
            raise NotAStore(":db.error/not-a-store", f"there is no store at {path}", path=str(path))
        return True
    with path.open("rb") as file:
        start = file.read(_META.size)
    if not start and create:
        return True
    if len(start) < _META.size or _META.unpack(start) != (_MAGIC, 1):
        raise NotAStore(":db.error/not-a-store", f"{path} is not a fact store, nor an LMDB file of data version 1", path=str(path))
    return False


def refuse_network(path: Path) -> None:
    kind = filesystem_of(str(path.resolve()))
    if kind in _NETWORK | _NETWORK_BY_FUSE:
        raise StorageError(
            ":db.error/network-filesystem",
            f"{path} lies on a network filesystem ({kind}), where LMDB's locks and memory map do not work between machines;"
            " use a local disk, or allow_network_fs=True if one machine alone uses it",
            path=str(path),
            filesystem=kind,
        )


# by kernel, and by way of FUSE
# Not 9p: there it is the host's own disk, as containers and virtual machines see it.
_NETWORK: Final = frozenset({"afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"})
_NETWORK_BY_FUSE: Final = frozenset({"fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"})


def filesystem_of(path: str, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the type of the filesystem that a path lies on, "" where the system does not tell."""
    try:
        with mounts.open(encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(" ")[1:3] for line in file]
    except FileNotFoundError:
        return ""
    points = [(point.replace("\\040", " ").rstrip("/"), kind) for point, kind in lines]
    over = [(len(point), i, kind) for i, (point, kind) in enumerate(points) if path == point or path.startswith(point + "/")]
    return max(over)[2] if over else ""


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def refused(error: OSError, path: Path) -> StorageError:
    """Return the error of our family for one of the operating system, met while opening a store."""
    return Unavailable(":db.error/storage-unavailable", f"{path} cannot be opened: {error.strerror or error}", path=str(path))
