"""Topics: numbers of facts whose value is a keyword, with which a storage notes what was committed last.

A fact of any entity with the same attribute, keyword and direction has the same topic. A storage that gets the
topics of each append can answer whether a fact was committed, without reading the log. Law: two facts with different
topics are different; the reverse need not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from zlib import crc32

from factstore.columns.packing import pack
from factstore.datom import Fact
from factstore.values.types import Keyword

_MOST: Final = 4096  # topics in memory
_known: dict[tuple[int, Keyword, bool], int] = {}


def topics_of(facts: Iterable[Fact]) -> Sequence[int]:
    """Return the topics of the facts that have one."""
    keys = {(a, v, added) for _, a, v, _, added in facts if v.__class__ is Keyword}
    return [topic(*key) for key in keys] if keys else ()


def topic(a: int, v: Keyword, added: bool) -> int:
    """Return the topic of a fact."""
    key = a, v, bool(added)  # 1 is equal to True, and has other bytes
    number = _known.get(key)
    if number is None:
        if len(_known) >= _MOST:
            _known.clear()
        number = _known[key] = crc32(pack(key))
    return number
