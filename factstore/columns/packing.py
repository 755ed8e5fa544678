"""Stored values as msgpack, the encoding of log records and of columns of objects.

msgpack has numbers, text, bytes, booleans and arrays; the other value types are extensions of it, so that the type of
each value can be read from the bytes. Law: `unpack(pack(x)) == x`, with the same types.
"""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from factstore.values.quoting import quoted
from factstore.values.types import Keyword, Symbol, Uri

# Extension codes; part of the file format.
KEYWORD: Final = 1
SYMBOL: Final = 2
URI: Final = 3
UUID: Final = 4
BIGDEC: Final = 5
BIGINT: Final = 6


_ext: Final = tuple.__new__  # an ExtType without the checks of its arguments, for the most frequent extension


def extend(value: Any) -> Any:
    """Return a value of a type that msgpack lacks as an extension."""
    kind = type(value)
    if kind is Keyword:
        return _ext(msgpack.ExtType, (KEYWORD, value.encode()))
    if kind is tuple:
        return list(value)
    if kind is uuid.UUID:
        return msgpack.ExtType(UUID, value.bytes)
    if kind is int:
        return msgpack.ExtType(BIGINT, value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True))
    if kind is Decimal:
        return msgpack.ExtType(BIGDEC, str(value).encode())
    if kind is Symbol:
        return msgpack.ExtType(SYMBOL, value.encode())
    if kind is Uri:
        return msgpack.ExtType(URI, value.encode())
    raise TypeError(f"a {kind.__name__} is no stored value: {quoted(value)}")


def _recall(code: int, data: bytes) -> Any:
    return READERS[code](data)


READERS: Final[dict[int, Any]] = {
    KEYWORD: lambda data: Keyword(data.decode()),
    SYMBOL: lambda data: Symbol(data.decode()),
    URI: lambda data: Uri(data.decode()),
    UUID: lambda data: uuid.UUID(bytes=data),
    BIGDEC: lambda data: Decimal(data.decode()),
    BIGINT: lambda data: int.from_bytes(data, "little", signed=True),
}


def packer() -> Any:
    """Return a new packer; it is faster than `pack`, and only one thread at a time may use it."""
    # strict_types: a Keyword is a str, and must not be packed as one.
    return msgpack.Packer(default=extend, strict_types=True)


def pack(value: Any) -> bytes:
    """Return a stored value, or a list of them, as bytes."""
    return packer().pack(value)  # type: ignore[no-any-return]


def unpack(data: bytes | memoryview) -> Any:
    """Return the packed value; arrays become tuples."""
    return msgpack.unpackb(data, use_list=False, ext_hook=_recall, strict_map_key=False)
