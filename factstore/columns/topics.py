"""Topics: numbers of facts, with which a storage notes what was committed last.

Facts of any entity have the same topic if they have the same attribute, the same direction, and the same keyword or any
values that are no keywords. A storage that gets the topics of each append can answer whether a fact was committed,
without reading the log. Law: two facts with different topics are different; the reverse need not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from zlib import crc32

from factstore.columns.packing import pack
from factstore.datom import Fact
from factstore.values.types import Keyword

_MOST: Final = 4096  # topics in memory
_known: dict[tuple[int, Keyword | None, bool], int] = {}


def topics_of(facts: Iterable[Fact]) -> Sequence[int]:
    """Return the topics of facts."""
    return [topic(*key) for key in {(a, v if v.__class__ is Keyword else None, added) for _, a, v, _, added in facts}]


def topic(a: int, v: Keyword | None, added: bool) -> int:
    """Return the topic of a fact; None is any value that is no keyword."""
    key = a, v, bool(added)  # 1 is equal to True, and has other bytes
    number = _known.get(key)
    if number is None:
        if len(_known) >= _MOST:
            _known.clear()
        number = _known[key] = crc32(pack(key))
    return number
