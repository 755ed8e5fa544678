"""Orders of whole numbers: the positions of an array's elements from the least to the greatest.

numpy sorts numbers several times faster than positions. If number and position fit into one word, they are sorted
together. Law: the order is that of a stable `argsort`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_WORD: Final = 62  # bits


def _keyed(numbers: NDArray[Any]) -> tuple[NDArray[np.int64], int] | None:
    """Return sorted words: numbers counted from the least, positions in the lower bits; and the bits of a position."""
    if numbers.dtype.kind != "i" or not len(numbers):
        return None
    bits = len(numbers).bit_length()
    least, most = int(numbers.min()), int(numbers.max())
    if (most - least).bit_length() + bits > _WORD:
        return None
    keys = numbers.astype(np.int64) - least
    keys <<= bits
    keys |= np.arange(len(numbers))
    keys.sort()
    return keys, bits


def order_of(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Return the positions of numbers in ascending order; equal numbers keep their order."""
    keyed = _keyed(numbers)
    if keyed is None:
        return np.argsort(numbers, kind="stable")
    return keyed[0] & ((1 << keyed[1]) - 1)


def firsts_of(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Return the first position of each number, in order of position."""
    keyed = _keyed(numbers)
    if keyed is None:
        return np.sort(np.unique(numbers, return_index=True)[1])
    keys, bits = keyed
    values = keys >> bits
    is_first = np.empty(len(keys), bool)
    is_first[:1] = True
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    return np.sort(keys[is_first] & ((1 << bits) - 1))
