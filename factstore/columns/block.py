"""Blocks: a few thousand rows as bytes, column by column; immutable. The id of a block is a digest of its content.

    block   = u32 crc32 of the rest | u8 format | u8 columns | u32 rows | column headers | column bodies
    header  = u8 kind | u8 width | i64 least | u32 bytes of the body          (little-endian throughout)
    kind 0  integers, each as its distance from the least in `width` unsigned bytes; width 0: all equal the least
    kind 1  floats of 64 bits        kind 2  booleans, one byte each        kind 3  msgpack array of values
    kind 4  msgpack array of distinct values, then for each row the number of its value in `width` unsigned bytes

With distances, a sorted column of entity ids takes two bytes per row, and a column of transactions often none.
Law: decoding returns equal arrays, and a read detects any flipped bit.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final
from zlib import crc32

import numpy as np

from factstore.columns.column import Array, array_of
from factstore.columns.packing import pack, unpack
from factstore.errors import Corrupt

FORMAT: Final = 1
# With half as many, directories are twice as large; with twice as many, a read of one row of an uncached block takes
# twice as long.
ROWS: Final = 4096
_FEW_DISTINCT: Final = 2  # a dictionary pays if each value occurs this often on average

_SAMPLE: Final = 256

_HEAD = struct.Struct("<BBI")
_COLUMN = struct.Struct("<BBqI")
_INTS, _FLOATS, _BOOLS, _VALUES, _DICTIONARY = range(5)
_UNSIGNED: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}


def block_id(body: bytes) -> bytes:
    """Return the id of a block: 16 bytes, the same for the same content."""
    return blake2b(body, digest_size=16).digest()


def encode(columns: Sequence[Array]) -> bytes:
    """Return columns of equal length as a block."""
    encoded = [_encode_column(column) for column in columns]
    rest = b"".join(
        (
            _HEAD.pack(FORMAT, len(columns), len(columns[0])),
            *(_COLUMN.pack(kind, width, least, len(body)) for kind, width, least, body in encoded),
            *(body for *_, body in encoded),
        )
    )
    return crc32(rest).to_bytes(4, "little") + rest


def decode(body: bytes, name: bytes = b"") -> tuple[Array, ...]:
    """Return the columns of a block. Raises: Corrupt(:db.error/storage-corrupt)."""
    rest = memoryview(body)[4:]
    if crc32(rest) != int.from_bytes(body[:4], "little") or not rest:  # the checksum of no bytes would match
        raise Corrupt(
            ":db.error/storage-corrupt", f"block {name.hex()} is damaged: its checksum does not match", block=name.hex()
        )
    version, count, rows = _HEAD.unpack_from(rest)
    if version != FORMAT:
        raise Corrupt(":db.error/storage-corrupt", f"block {name.hex()} claims format {version}", block=name.hex())
    at = _HEAD.size + count * _COLUMN.size
    columns = []
    for i in range(count):
        kind, width, least, size = _COLUMN.unpack_from(rest, _HEAD.size + i * _COLUMN.size)
        columns.append(_decode_column(kind, width, least, rest[at : at + size], rows))
        at += size
    return tuple(columns)


def _encode_column(column: Array) -> tuple[int, int, int, bytes]:
    if column.dtype == np.int64:
        return (_INTS, *_narrow(column))
    if column.dtype == np.float64:
        return _FLOATS, 8, 0, column.astype("<f8").tobytes()
    if column.dtype == np.bool_:
        return _BOOLS, 1, 0, column.astype("u1").tobytes()
    values = column.tolist()
    distinct = [] if _look_distinct(values) else list(dict.fromkeys(values))
    if not distinct or len(distinct) * _FEW_DISTINCT > len(values) or not _are_the_same_when_equal(distinct):
        return _VALUES, 0, 0, pack(values)
    number_of = dict(zip(distinct, range(len(distinct)), strict=True))
    width, _, codes = _narrow(np.fromiter(map(number_of.__getitem__, values), np.int64, len(values)))
    dictionary = pack(distinct)
    return _DICTIONARY, width, len(dictionary), dictionary + codes


def _look_distinct(values: list[Any]) -> bool:
    """Tell whether a sample has hardly any repeated value; if values occur twice on average, it has several."""
    return len(values) > 4 * _SAMPLE and len(set(values[:_SAMPLE])) > _SAMPLE - 4


def _are_the_same_when_equal(values: list[Any]) -> bool:
    """Tell whether equal values are the same: 1.0 and 1.00 are not, nor are 0.0 and -0.0 in a tuple."""
    kind = type(values[0])
    return kind is not Decimal and (
        kind is not tuple or not any(type(slot) in (Decimal, float) for value in values for slot in value)
    )


def _decode_column(kind: int, width: int, least: int, body: memoryview, rows: int) -> Array:
    if kind == _INTS:
        return _widen(width, least, body, rows)
    if kind == _FLOATS:
        return np.frombuffer(body, "<f8").astype(np.float64)
    if kind == _BOOLS:
        return np.frombuffer(body, "u1").astype(bool)
    if kind == _VALUES:
        return array_of(unpack(body), "O")
    distinct = array_of(unpack(body[:least]), "O")
    codes: Array = distinct[_widen(width, 0, body[least:], rows)]
    return codes


def _narrow(numbers: Array) -> tuple[int, int, bytes]:
    if not len(numbers):
        return 0, 0, b""
    least, most = int(numbers.min()), int(numbers.max())
    spread = most - least
    if spread == 0:
        return 0, least, b""
    width = next(width for width in (1, 2, 4, 8) if spread < 1 << (8 * width))
    # Unsigned arithmetic wraps, so the result is right for any two numbers of 64 bits.
    distances = numbers.astype(np.uint64) - np.uint64(least & 0xFFFF_FFFF_FFFF_FFFF)
    return width, least, distances.astype(_UNSIGNED[width]).tobytes()


def _widen(width: int, least: int, body: memoryview, rows: int) -> Array:
    if width == 0:
        return np.full(rows, least, np.int64)
    numbers: Array = np.frombuffer(body, _UNSIGNED[width]).astype(np.int64)
    if least:
        numbers += least
    return numbers


def pieces(rows: int, most: int = ROWS) -> list[slice]:
    """Return slices that divide rows into full blocks; the last two are of equal size if the last would be small."""
    starts = list(range(0, rows, most))
    if len(starts) > 1 and rows - starts[-1] < most // 4:
        starts[-1] = (starts[-2] + rows) // 2
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], rows], strict=True)]


def split(columns: Sequence[Array], most: int = ROWS) -> list[tuple[Array, ...]]:
    """Return columns divided into pieces of at most `most` rows."""
    cuts = pieces(len(columns[0]), most)
    return [tuple(column[cut] for column in columns) for cut in cuts]
