"""Checks of a path before LMDB opens it: a file in its format, or no file yet, on a local disk.

Law: a rejected file is not changed, and no file is created beside it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from factstore.concurrency.limits import explained
from factstore.errors import NotAStore, StorageError, StoreFull, Unavailable
from factstore.storage.lmdb import pages
from factstore.storage.lmdb.processes.names import resolved
from factstore.storage.lmdb.translation import NO_SPACE
from factstore.storage.refusals import damaged

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_ENDS: Final = ("-lock", "-turn", "-journal")  # suffixes of the files beside a store


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path; `~` and `~user` are home directories.

    Raises: NotAStore for an unknown user; Unavailable for a relative path without a current directory.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise NotAStore(":db.error/not-a-store", f"{path} cannot be a store: {error}", path=str(path)) from error
    except FileNotFoundError as error:
        message = f"{path} cannot be opened: the current directory was deleted; give an absolute path"
        raise Unavailable(":db.error/storage-unavailable", message, path=str(path)) from error


def check_file(path: Path, create: bool) -> bool:
    """Return whether the file is to be created. Raises: NotAStore; Corrupt for a file that was truncated."""
    if (kind := _kind(path)) in _KINDS:
        raise NotAStore(":db.error/not-a-store", f"{path} is {_KINDS[kind]}; a store is one file", path=str(path))
    if not kind:
        if not path.parent.is_dir():
            raise NotAStore(
                ":db.error/not-a-store", f"there is no directory {path.parent}; make it first", path=str(path)
            )
        if not create:
            raise NotAStore(":db.error/not-a-store", f"there is no store at {path}", path=str(path))
        return True
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _check_content(fd, path, create)
    finally:
        os.close(fd)


def kind_of(path: Path) -> str:
    """Return the kind of a path that is no plain file, such as "a directory"; "" for a plain file or no file."""
    return _KINDS.get(_kind(path), "")


def belongs_to_store(path: Path) -> bool:
    """Return whether a path leads to the file of a store, or to the lock, turn or journal file beside it."""
    for end in _ENDS:
        # Recognized by its name: opening and closing the file would end the locks of this process on it.
        if path.name.endswith(end) and path.name != end and _is_store(path.with_name(path.name.removesuffix(end))):
            return True
    return _is_store(path)


def files_of(path: Path) -> list[Path]:
    """Return the paths of the file of a store, and of the files beside it."""
    return [path, *(path.with_name(path.name + end) for end in _ENDS)]


def _is_store(path: Path) -> bool:
    if _kind(path) != stat.S_IFREG:
        return False
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return pages.is_lmdb(fd)
    finally:
        os.close(fd)


def _kind(path: Path) -> int:
    """Return the file type of a path, as in stat(2); 0 if there is no file."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return 0


def _check_content(fd: int, path: Path, create: bool) -> bool:
    turn = _turn_of(resolved(path))
    was_store = turn.exists()  # read before the length: another process may be creating the store, first the file
    if not os.fstat(fd).st_size:
        if was_store:
            raise damaged(f"lmdb:{path}", f"it is empty, but {turn} is that of a store")
        if create:
            return True
    if not pages.is_lmdb(fd):
        raise NotAStore(
            ":db.error/not-a-store", f"{path} is not a fact store, nor an LMDB file of data version 1", path=str(path)
        )
    try:
        pages.check_length(fd)
    except pages.Broken as error:
        raise damaged(f"lmdb:{path}", str(error)) from error
    return False


def _turn_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-turn")


def refuse_network(path: Path) -> None:
    kind = filesystem_of(str(path.resolve()))
    if kind in _NETWORK | _NETWORK_BY_FUSE:
        raise StorageError(
            ":db.error/network-filesystem",
            f"{path} lies on a network filesystem ({kind}), where LMDB's locks and memory map do not work between"
            " machines; use a local disk, or allow_network_fs=True if one machine alone uses it",
            path=str(path),
            filesystem=kind,
        )


# In the kernel, and by FUSE. Not 9p: with it, containers and virtual machines access the disk of their host.
_NETWORK: Final = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)
_NETWORK_BY_FUSE: Final = frozenset({"fuse.ceph", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"})


def filesystem_of(path: str, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the type of the filesystem of a path, or "" if the system does not tell."""
    try:
        with mounts.open(encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.split(" ")[1:3] for line in file]
    except FileNotFoundError:
        return ""
    points = [(point.replace("\\040", " ").rstrip("/"), kind) for point, kind in lines]
    over = [
        (len(point), i, kind) for i, (point, kind) in enumerate(points) if path == point or path.startswith(point + "/")
    ]
    return max(over)[2] if over else ""


def sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create_whole(path: Path, size: int) -> None:
    """Create a file beside a store with all its blocks, unless it exists, or the system cannot create it in one step.

    Such files are mapped, and to write to a hole of a map on a full disk ends the process (SIGBUS). The file appears
    with all its bytes, because another process may open it as soon as it is there.
    Raises: OSError, if the disk is full. Any other error is left to the caller that opens the file.
    """
    if path.exists() or not hasattr(os, "O_TMPFILE"):
        return
    try:
        fd = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(fd, bytes(size), 0)
            # With a folder for `src_dir_fd`, Python follows the link from /proc to the file, which has no name yet.
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise


def refused(error: OSError, path: Path) -> StorageError:
    """Return the error for an error of the operating system while a store is opened."""
    if error.errno in NO_SPACE:
        return StoreFull(":db.error/storage-full", f"no room for {path} and the files beside it", uri=str(path))
    why = explained(error.strerror or str(error))
    return Unavailable(":db.error/storage-unavailable", f"{path} cannot be opened: {why}", path=str(path))
