"""Choices: the bytes of an input as the decisions of a target.

    bytes ──► Choices, a `random.Random` ──► which text, which change, where, and by what

A fuzzer changes bytes, and so decisions; where the input ends, all further decisions are the first of their alternatives. `randbytes` returns the bytes
of the input itself, so text that a target takes from there is that of the fuzzer.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final

_FRACTION_BYTES: Final = 2


class Choices(Random):
    """A `Random` whose numbers are the bytes of an input."""

    def __new__(cls, data: bytes) -> Choices:
        return super().__new__(cls)

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        super().__init__(0)

    def seed(self, *_: Any) -> None:
        """Keep the decisions: the input determines them."""

    def getrandbits(self, k: int) -> int:
        """Return the number in the next bytes."""
        return int.from_bytes(self._next((k + 7) // 8), "little") & ((1 << k) - 1)

    def random(self) -> float:
        """Return the next two bytes as a fraction."""
        return int.from_bytes(self._next(_FRACTION_BYTES), "little") / (1 << 8 * _FRACTION_BYTES)

    def sample(self, population: Sequence[Any], k: int, *, counts: Any = None) -> list[Any]:
        """Return different elements; unlike that of `Random`, it needs no different numbers for them."""
        rest = list(population)
        return [rest.pop(self.randrange(len(rest))) for _ in range(k)]

    def _next(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += len(taken)
        return taken.ljust(size, b"\0")
