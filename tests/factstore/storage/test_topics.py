"""Topics of appends in shared memory: no append is missed, whoever makes it and wherever it ends."""

from __future__ import annotations

import mmap
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from factstore.storage.lmdb import journal
from factstore.storage.lmdb.engine import LmdbStorage
from factstore.storage.lmdb.processes.topics import forget, note, noted
from factstore.storage.lmdb.processes.wakeup import MEMORY, TOPICS_AT

TOPICS = [1, 2, 3, 1 << 31]
# What an append does: its topics, how many records it has, and whether it notes, and is carried out.
APPENDS = st.tuples(st.one_of(st.none(), st.lists(st.sampled_from(TOPICS), max_size=3)), st.integers(1, 3), st.booleans(), st.booleans())

APPEND_UNSYNCED = """
import sys
from factstore.storage.lmdb.engine import LmdbStorage

storage = LmdbStorage(sys.argv[1], sync="none")
assert not storage.notes
storage.append([(bytes(16), b"")], expected_t=20)
"""


@given(st.lists(APPENDS, max_size=12))
def test_every_append_with_a_topic_is_seen(appends):
    """Also after one that was noted and not carried out, or one that notes nothing."""
    memory, head = mmap.mmap(-1, MEMORY), 0
    had: list[tuple[int, set[int]]] = []
    for topics, count, notes, is_carried_out in appends:
        if notes:
            note(memory, topics, head, head + count)
        else:
            forget(memory)
        if is_carried_out:
            head += count
            had.append((head, set(TOPICS if topics is None else topics)))
        for after in range(head + 1):
            expected = {topic for t, of_append in had if t > after for topic in of_append}
            answers = noted(memory, TOPICS, after, head)
            assert expected <= {topic for topic, answer in zip(TOPICS, answers, strict=True) if answer}


def test_what_was_not_appended_is_not_seen():
    memory = mmap.mmap(-1, MEMORY)
    note(memory, [1], 0, 1)
    note(memory, [2], 1, 2)
    note(memory, [1], 2, 3)
    assert [True, True, False] == noted(memory, [1, 2, 3], 1, 3)
    assert [True, False, False] == noted(memory, [1, 2, 3], 2, 3)
    assert [False, False, False] == noted(memory, [1, 2, 3], 3, 3)


def test_appends_to_a_file_are_noted_once_it_has_a_journal(tmp_path):
    with_topics, without = LmdbStorage(tmp_path / "s.facts"), LmdbStorage(tmp_path / "s.facts")
    for t in range(20):
        with_topics.append([(t.to_bytes(16), b"")], expected_t=t, topics=[t])
    assert (20, [True, False]) == without.noted([19, 21], 10)
    assert (20, [False, False]) == without.noted([9, 21], 10)
    without.append([(bytes(15) + b"x", b"")], expected_t=20)
    assert (21, [True, True]) == with_topics.noted([9, 21], 20)
    with_topics.close()
    without.close()


def test_an_append_that_notes_nothing_is_seen_also_where_one_was_noted_and_not_carried_out(tmp_path):
    """The process that noted it was killed; the next append is one of a handle that does not sync."""
    storage = LmdbStorage(tmp_path / "s.facts")
    for t in range(20):
        storage.append([(t.to_bytes(16), b"")], expected_t=t, topics=[t])
    note(storage._file.turn.flag, [20], 20, 21)
    subprocess.run([sys.executable, "-c", APPEND_UNSYNCED, tmp_path / "s.facts"], check=True)
    assert (21, [True]) == storage.noted([7], 20)
    storage.append([(bytes(15) + b"y", b"")], expected_t=21, topics=[21])
    assert (22, [True]) == storage.noted([7], 20)
    storage.close()


def test_what_an_earlier_boot_of_the_machine_has_noted_is_not_trusted(tmp_path, monkeypatch):
    """Not all of it may have come to the disk."""
    storage = LmdbStorage(tmp_path / "s.facts")
    for t in range(20):
        storage.append([(t.to_bytes(16), b"")], expected_t=t, topics=[t])
    storage.close()
    turn = tmp_path / "s.facts-turn"
    content = turn.read_bytes()
    turn.write_bytes(content[: TOPICS_AT + 16] + bytes(len(content) - TOPICS_AT - 16))
    monkeypatch.setattr(journal, "_boot", lambda: b"the boot after it"[:16])
    storage = LmdbStorage(tmp_path / "s.facts")
    assert storage.noted([19], 10) in (None, (20, [True]))
    for t in range(20, 40):
        storage.append([(t.to_bytes(16), b"")], expected_t=t, topics=[t])
    assert (40, [True, True]) == storage.noted([19, 39], 10)
    assert (40, [False, True]) == storage.noted([19, 39], 30)
    storage.close()
