"""Storage: bytes kept by an engine, behind one protocol.

    open_storage("lmdb:shop.facts") ──► engine of the scheme ──► Storage (protocol.py)

Owns the schemes and nothing else; an engine, and the library it stands on, is imported when its scheme is first opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from factstore.errors import StorageError
from factstore.quoting import quoted
from factstore.storage.protocol import Hold, Record, Root, Storage, Sync

__all__ = ["Hold", "Record", "Root", "Storage", "Sync", "open_storage"]


def _open_lmdb(path: str, **options: Any) -> Storage:
    from factstore.storage.lmdb import LmdbStorage

    return LmdbStorage(path, **options)


def _open_memory(name: str, **options: Any) -> Storage:
    from factstore.storage.memory import MemoryStorage

    return MemoryStorage(name, create=options["create"], read_only=options["read_only"], busy_timeout=options.get("busy_timeout"))


ENGINES: Final[Mapping[str, Callable[..., Storage]]] = {"lmdb": _open_lmdb, "memory": _open_memory}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)  # two letters at least: C:\facts is a path


def open_storage(
    uri: str | os.PathLike[str],
    *,
    create: bool = True,
    read_only: bool = False,
    sync: Sync = "full",
    map_size: int | None = None,
    busy_timeout: float | None = None,
    **options: Any,
) -> Storage:
    """Open the store that a uri names.

    Args:
        uri: "lmdb:PATH" or a bare path (one file); "memory:" (private) or "memory:NAME" (shared inside this process, gone with
            its last handle).
        create: make the store when there is none; a store opened `read_only` is never made.
        sync: "full" makes each append durable before it returns; "none" survives the death of the process but not of the machine.
        busy_timeout: seconds that a write waits while another writer has the turn; None: as long as it takes.
        map_size: bytes of address space to begin with (LMDB); grows by itself.
        options: of the engine; LMDB has `allow_network_fs` and `max_map_size`.
    Raises: NotAStore, Unavailable; StorageError(:db.error/unknown-scheme); StorageError(:db.error/invalid-option).
    """
    text = os.fspath(uri)
    match = _SCHEME.fullmatch(text)
    scheme, rest = match.groups() if match else ("lmdb", text)
    if sync not in ("full", "none"):
        raise StorageError(":db.error/invalid-option", f'sync is "full" or "none", got {quoted(sync)}', option="sync", value=sync)
    if busy_timeout is not None and not (isinstance(busy_timeout, int | float) and busy_timeout >= 0):
        message = f"busy_timeout is a number of seconds from 0 on, or None, got {quoted(busy_timeout)}"
        raise StorageError(":db.error/invalid-option", message, option="busy_timeout", value=busy_timeout)
    if scheme not in ENGINES:
        known = ", ".join(f"{name}:" for name in sorted(ENGINES))
        raise StorageError(
            ":db.error/unknown-scheme",
            f"no storage engine is called {quoted(scheme)} in {quoted(text)}; known are {known} and a bare path"
            f" (with a colon in it: lmdb:{text})",
            scheme=scheme,
            known=sorted(ENGINES),
        )
    return ENGINES[scheme](rest, create=create, read_only=read_only, sync=sync, map_size=map_size, busy_timeout=busy_timeout, **options)
