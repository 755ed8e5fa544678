"""Python data as bytes: what tx-data, tempids and the data of errors consist of.

The values of the store are encoded as in the log (`columns/packing.py`); tuples, sets and instants are extensions, too,
so that a form and an error have the same types on both sides. Decoding makes data only, never calls code, and fails on
anything else.
Law: `unpack(pack(x)) == x`, with the same types, for data of these types.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from factstore.columns import packing
from factstore.errors import StorageError
from factstore.values.quoting import quoted
from factstore.values.types import INSTANT, micros_to_instant, plain

# Extension codes after those of stored values; both sides of a connection have them.
_TUPLE: Final = 32
_SET: Final = 33
_FROZENSET: Final = 34
_INSTANT: Final = 35

_ENCODABLE: Final = (OverflowError, RecursionError, TypeError, ValueError)


class _Packers(threading.local):
    """A packer for each thread; making one costs more than a small message."""

    def __init__(self) -> None:
        self.data = _packer(_extend)
        self.shown = _packer(_extend_or_show)


def _packer(extend: Callable[[Any], Any]) -> Any:
    # strict_types: a Keyword is a str, and must not be packed as one.
    return msgpack.Packer(default=extend, strict_types=True, buf_size=4096)


def pack(value: Any) -> bytes:
    """Return data as bytes. Raises: TypeError for any other object."""
    packer = _packers.data
    try:
        packed: bytes = packer.pack(value)
    except _ENCODABLE as error:
        packer.reset()
        raise TypeError(str(error)) from error
    return packed


def pack_or_show(value: Any) -> bytes:
    """Return data as bytes, with the text of any other object instead of it."""
    packer = _packers.shown
    try:
        packed: bytes = packer.pack(value)
    except _ENCODABLE:  # too deep, or with itself inside
        packer.reset()
        packed = packer.pack(quoted(value))
    return packed


def unpack(body: bytes | memoryview) -> Any:
    """Return the packed data. Raises: StorageError(:db.error/invalid-frame)."""
    try:
        return _unpack(body)
    except Exception as error:  # whatever the bytes are, reading them is no fault of this process
        text = f"a message cannot be read: {type(error).__name__}: {error}"
        raise StorageError(":db.error/invalid-frame", text) from error


def _unpack(body: bytes | memoryview) -> Any:
    return msgpack.unpackb(body, use_list=True, ext_hook=_recall, strict_map_key=False)


def _extend(value: Any) -> Any:
    """Return a value that msgpack lacks as an extension, or as a simpler value."""
    kind = type(value)
    if kind is tuple:
        return msgpack.ExtType(_TUPLE, _packer(_extend).pack(list(value)))
    if kind is datetime:
        return msgpack.ExtType(_INSTANT, value.isoformat().encode())
    if kind is set or kind is frozenset:
        return msgpack.ExtType(_SET if kind is set else _FROZENSET, _packer(_extend).pack(list(value)))
    simple = plain(value)
    if simple is not value:
        return simple
    if isinstance(value, Mapping) and not hasattr(value, "eid"):  # an entity is no map
        return dict(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, tuple):
        return tuple(value)
    if isinstance(value, datetime):
        return micros_to_instant(INSTANT.store(value))
    return packing.extend(value)


def _extend_or_show(value: Any) -> Any:
    if type(value) in (tuple, set, frozenset):
        code = _TUPLE if type(value) is tuple else _SET if type(value) is set else _FROZENSET
        return msgpack.ExtType(code, _packer(_extend_or_show).pack(list(value)))
    try:
        return _extend(value)
    except Exception:  # of an object of any class
        return quoted(value)


def _recall(code: int, data: bytes) -> Any:
    return _READERS[code](data)


_READERS: Final[Mapping[int, Callable[[bytes], Any]]] = {
    **packing.READERS,
    _TUPLE: lambda data: tuple(_list(data)),
    _SET: lambda data: set(_list(data)),
    _FROZENSET: lambda data: frozenset(_list(data)),
    _INSTANT: lambda data: datetime.fromisoformat(data.decode()),
}


def _list(data: bytes) -> list[Any]:
    items = _unpack(data)
    if type(items) is not list:
        raise ValueError("expected an array")
    return items


_packers: Final = _Packers()
