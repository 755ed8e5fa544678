"""Storage: an engine that stores bytes, behind one protocol.

    open_storage("lmdb:shop.facts") ──► engine of the scheme ──► Storage (protocol.py)

It defines only the schemes. An engine and its library are imported when a uri with its scheme is first opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any, Final

from factstore.errors import StorageError
from factstore.storage.protocol import (
    Appending,
    Hold,
    Leader,
    Leadership,
    Led,
    Noting,
    Record,
    Root,
    Starting,
    Storage,
    Sync,
)
from factstore.values.quoting import described, quoted

__all__ = [
    "Appending",
    "Hold",
    "Leader",
    "Leadership",
    "Led",
    "Noting",
    "Record",
    "Root",
    "Starting",
    "Storage",
    "Sync",
    "check_option",
    "fill_standard_streams",
    "new_store",
    "open_storage",
    "shown",
]


def _open_lmdb(path: str, **options: Any) -> Storage:
    from factstore.storage.lmdb.engine import LmdbStorage

    fill_standard_streams()
    return LmdbStorage(path, **options)


def _open_memory(name: str, **options: Any) -> Storage:
    from factstore.storage.memory import MemoryStorage

    return MemoryStorage(
        name, create=options["create"], read_only=options["read_only"], busy_timeout=options.get("busy_timeout")
    )


def _open_postgres(address: str, **options: Any) -> Storage:
    _import_postgres()
    from factstore.storage.postgres.engine import PostgresStorage

    fill_standard_streams()
    return PostgresStorage(address, **options)


def _import_postgres() -> None:
    """Import the library of the engine. Raises: StorageError(:db.error/missing-extra)."""
    try:
        import_module("psycopg")
    except ImportError as error:
        text = f"a store in PostgreSQL needs psycopg ({error}): install factstore[postgres]"
        raise StorageError(":db.error/missing-extra", text, extra="postgres") from error


ENGINES: Final[Mapping[str, Callable[..., Storage]]] = {
    "lmdb": _open_lmdb,
    "memory": _open_memory,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
}

_PASSWORD: Final = re.compile(r"(//[^/@:]*:)[^/@]*@")
_PASSWORD_PARAMETER: Final = re.compile(r"([?&]password=)[^&]*")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)  # at least two letters: C:\facts is a path


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
    """Open the store of a uri.

    Args:
        uri: "lmdb:PATH" or a bare path (one file); "memory:" (private) or "memory:NAME" (shared inside this process,
            deleted with its last handle); "postgresql://host/database?name=NAME" (shared by many machines).
        create: create the store if it does not exist; a store opened `read_only` is never created.
        sync: "full" makes each append durable before it returns; with "none", appends survive the death of the process
            but not of the machine.
        busy_timeout: seconds that a write waits for the writer lock (turn) of another writer; None: no limit.
        map_size: the initial address space in bytes (LMDB); it grows automatically.
        options: options of the engine; LMDB has `allow_network_fs` and `max_map_size`.
    Raises: NotAStore, Unavailable; StorageError(:db.error/unknown-scheme, :db.error/invalid-uri,
        :db.error/invalid-option).
    """
    text = _text_of(uri)
    match = _SCHEME.fullmatch(text)
    scheme, rest = match.groups() if match else ("lmdb", text)
    common = {
        "sync": sync,
        "create": create,
        "read_only": read_only,
        "map_size": map_size,
        "busy_timeout": busy_timeout,
    }
    for name, value in common.items():
        wanted, holds = _CONDITIONS[name]
        check_option(name, value, wanted, holds(value))
    if scheme not in ENGINES:
        raise _unknown(scheme, text)
    return ENGINES[scheme](rest, **common, **options)


def fill_standard_streams() -> None:
    """Open the null device for each of stdin, stdout and stderr that is closed, so that no store gets its number.

    A new file gets the lowest free number. If stderr is closed, that is 2, and each library or child process that
    writes an error would write it into the store.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def shown(uri: str) -> str:
    """Return a uri without the password that it may contain."""
    return _PASSWORD.sub(r"\1…@", _PASSWORD_PARAMETER.sub(r"\1…", uri))


def new_store(uri: str) -> AbstractContextManager[str] | None:
    """Return a context manager that makes a new store of a database server, complete or not at all.

    It gives the uri of the unfinished store, which gets its name when the block ends. None for the uri of a file or of
    memory.   Raises, on entering or at the end: StorageError(:db.error/already-exists).
    """
    match = _SCHEME.fullmatch(uri)
    if match is None or match[1] not in ("postgresql", "postgres"):
        return None
    return _new_in_postgres(match[2])


@contextmanager
def _new_in_postgres(rest: str) -> Iterator[str]:
    _import_postgres()
    from factstore.storage.postgres.new_store import making

    with making(rest) as unfinished:
        yield f"postgresql:{unfinished}"


def _unknown(scheme: str, text: str) -> StorageError:
    text = shown(text)
    schemes = ", ".join(f"{name}:" for name in sorted(ENGINES))
    return StorageError(
        ":db.error/unknown-scheme",
        f"no storage engine is called {quoted(scheme)} in {quoted(text)}; known are {schemes} and a bare path"
        f" (with a colon in it: lmdb:{text})",
        scheme=scheme,
        known=sorted(ENGINES),
    )


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_size(value: Any) -> bool:
    return value is None or (type(value) is int and value > 0)


def _is_time(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0)


# For each option of all engines: the expected value in words, and as a condition.
_CONDITIONS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "sync": ('"full" or "none"', lambda value: isinstance(value, str) and value in ("full", "none")),
    "create": ("True or False", _is_bool),
    "read_only": ("True or False", _is_bool),
    "map_size": ("a number of bytes above 0, or None", _is_size),
    "busy_timeout": ("a number of seconds from 0 on, or None", _is_time),
}


def _text_of(uri: Any) -> str:
    text = os.fspath(uri) if isinstance(uri, str | os.PathLike) else None
    if not isinstance(text, str) or not text or not _is_utf8(text) or "\0" in text:
        raise StorageError(
            ":db.error/invalid-uri",
            f"expected the path of a store, or a uri such as memory:, got {described(uri)}",
            uri=uri,
        )
    return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False  # a file name that is not UTF-8; the binding of LMDB takes only text
    return True


def check_option(name: str, value: Any, wanted: str, holds: bool) -> None:
    """Raise StorageError(:db.error/invalid-option) unless the condition on the value of an option holds."""
    if not holds:
        raise StorageError(
            ":db.error/invalid-option", f"{name} is {wanted}, got {described(value)}", option=name, value=value
        )
