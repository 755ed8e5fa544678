"""Stored values as msgpack: what log records and columns of objects are made of.

msgpack knows numbers, text, bytes, booleans and arrays; the other types of the value table are extensions, so that bytes
say by themselves what they hold. Law: `unpack(pack(x)) == x`, types included.
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


def _extend(value: Any) -> Any:
    """Turn what msgpack does not know into what it does."""
    kind = type(value)
    if kind is Keyword:
        return msgpack.ExtType(KEYWORD, value.encode())
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
    raise TypeError(f"no stored value is a {kind.__name__}: {quoted(value)}")


def _recall(code: int, data: bytes) -> Any:
    return _READERS[code](data)


_READERS: Final[dict[int, Any]] = {
    KEYWORD: lambda data: Keyword(data.decode()),
    SYMBOL: lambda data: Symbol(data.decode()),
    URI: lambda data: Uri(data.decode()),
    UUID: lambda data: uuid.UUID(bytes=data),
    BIGDEC: lambda data: Decimal(data.decode()),
    BIGINT: lambda data: int.from_bytes(data, "little", signed=True),
}


def packer() -> Any:
    """Return a packer of one's own; it is quicker than `pack` and belongs to one thread at a time."""
    # strict_types: a Keyword is a str, and must not be taken for one.
    return msgpack.Packer(default=_extend, strict_types=True)


def pack(value: Any) -> bytes:
    """Return stored values, and lists of them, as bytes."""
    return packer().pack(value)  # type: ignore[no-any-return]


def unpack(data: bytes | memoryview) -> Any:
    """Return what was packed; arrays come back as tuples."""
    return msgpack.unpackb(data, use_list=False, ext_hook=_recall, strict_map_key=False)
