"""Keys: arrays of numbers or bytes that have the order of a column's values, and sorts by several of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from factstore.columns.kind import OrderKey

Array = NDArray[Any]
Ints = NDArray[np.int64]


def ranks(v: Array, order_key: OrderKey = None) -> Array:
    """Return an array with the order of the values that numpy sorts fast: numbers, bytes of short text, or ranks."""
    if v.dtype != object:
        return v
    values = v.tolist()
    if len(values) > _TEXT_PAYS and not _look_repeated(values) and (text := _as_bytes(values)) is not None:
        return text
    distinct = sorted(set(values), key=order_key)
    rank = dict(zip(distinct, range(len(distinct)), strict=True))
    return np.fromiter(map(rank.__getitem__, values), np.int64, len(values))


def _look_repeated(values: list[Any]) -> bool:
    """Tell whether most values of a sample are repeated; it is taken from all of them, as they can be sorted."""
    sample = values[:: len(values) // _SAMPLE + 1]
    return len(set(sample)) * 2 < len(sample)


_SAMPLE: Final = 4096
# With fewer values any sort is fast; text of fixed width that is longer than this is mostly padding.
_TEXT_PAYS: Final = 64
_LONGEST_TEXT: Final = 64


def _as_bytes(values: list[Any]) -> Array | None:
    """Return ASCII text as bytes of fixed width, which have the order of the text; None for other values."""
    if not all(map(isinstance, values, repeat(str))) or max(map(len, values)) > _LONGEST_TEXT:
        return None
    joined = "".join(values)
    # numpy pads with NULs, so NULs at the end would be lost.
    return np.array(values, dtype="S") if joined.isascii() and "\0" not in joined else None


def order_of(keys: Sequence[Array]) -> Ints:
    """Return the positions in ascending order by several keys; the last key is the most significant.

    Keys are combined into as few words as possible. If one word is sufficient, the sort is stable for it and takes time
    proportional to the number of rows if these consist of a few sorted sequences, as do the rows of two sorted columns.
    """
    if len(keys[0]) > _PACKING_PAYS:
        keys = _packed(keys)
    return np.argsort(keys[0], kind="stable") if len(keys) == 1 else np.lexsort(keys)


def order_of_two(keys: Sequence[Array]) -> Ints | None:
    """Return the positions as `order_of` does, of two sorted sequences, one after the other.

    Returns: None if the keys need several words, because their sort does not profit from sorted sequences.
    """
    words = _packed(keys)
    return np.argsort(words[0], kind="stable") if len(words) == 1 and words[0].dtype.kind in "ib" else None


_PACKING_PAYS: Final = 512  # rows from which on words are combined
_WORD: Final = 63  # bits


def _packed(keys: Sequence[Array]) -> list[Array]:
    """Return keys that give the same order, integers as their distance from the least, several of them in one word."""
    words: list[Array] = []
    free = 0  # bits of the last word
    for key in keys:
        if key.dtype.kind not in "ib":
            words.append(key)
            free = 0
            continue
        least = int(key.min())
        bits = (int(key.max()) - least).bit_length()
        if bits > _WORD:
            words.append(key)
            free = 0
        elif bits > free:
            words.append(key.astype(np.int64) - least)
            free = _WORD - bits
        elif bits:
            words[-1] += (key.astype(np.int64) - least) << (_WORD - free)
            free -= bits
    return words or [np.zeros(len(keys[0]), np.int64)]


def stable_positions(values: Array) -> Ints:
    """Return the positions of values in ascending order, equal ones in their present order."""
    if values.dtype == np.int64 and len(values):
        least, bits = int(values.min()), len(values).bit_length()
        if (int(values.max()) - least) >> (64 - bits) == 0:
            # Each value with its position as one number: numpy sorts numbers faster than positions of numbers.
            distances = values.astype(np.uint64) - np.uint64(least & 0xFFFF_FFFF_FFFF_FFFF)  # wraps
            keys = (distances << np.uint64(bits)) | np.arange(len(values), dtype=np.uint64)
            keys.sort()
            return (keys & np.uint64((1 << bits) - 1)).astype(np.int64)
    return np.argsort(values, kind="stable")
