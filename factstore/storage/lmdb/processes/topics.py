"""When facts of each topic were last appended, in memory that the processes of a file share.

    noted    u64: the t up to which appends have noted their topics
    all      u64: the t of the last append that may have had any topic
    cells    u64 each: the t of the last append with a topic that falls into the cell

An append notes its topics before the head is raised, as the holder of LMDB's write transaction; one that does not note
them forgets what is noted. If the append before it did that, or was noted and not carried out, the append counts as one
with any topic.
Law: if an answer is no, no append after that t, up to the head of the answer, had the topic.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from struct import Struct
from typing import Final

from factstore.storage.lmdb.processes.wakeup import MEMORY, TOPICS_AT

_T: Final = Struct("@Q")  # native: one load or store, so that no reader sees one half of it
_NOTED_AT: Final = TOPICS_AT
_ALL_AT: Final = TOPICS_AT + 8
_CELLS_AT: Final = TOPICS_AT + 16
_CELLS: Final = (MEMORY - _CELLS_AT) // 8


def note(memory: mmap.mmap, topics: Sequence[int] | None, t: int, head: int) -> None:
    """Note the topics of an append that continues the log from t to a new head; None: they are not known."""
    if topics is None or _T.unpack_from(memory, _NOTED_AT)[0] != t:
        _T.pack_into(memory, _ALL_AT, head)
    else:
        for topic in topics:
            _T.pack_into(memory, _CELLS_AT + 8 * (topic % _CELLS), head)
    _T.pack_into(memory, _NOTED_AT, head)


def forget(memory: mmap.mmap) -> None:
    """Trust no cell until the next append, which then counts as one with any topic."""
    _T.pack_into(memory, _NOTED_AT, 0)


def noted(memory: mmap.mmap, topics: Sequence[int], after_t: int, head: int) -> list[bool]:
    """Return for each topic whether an append after a t, up to a head that was read before, may have had it."""
    if _T.unpack_from(memory, _NOTED_AT)[0] < head or _T.unpack_from(memory, _ALL_AT)[0] > after_t:
        return [True] * len(topics)
    return [_T.unpack_from(memory, _CELLS_AT + 8 * (topic % _CELLS))[0] > after_t for topic in topics]
