"""The log of an LMDB file: its records up to the base are keys of LMDB, and the newest are in the journal.

    append   few bytes ─► a frame of the journal: one sync; the transaction of LMDB writes nothing and is only a lock
             many, or the journal is full ─► LMDB: all records of the journal, the new ones, and a new salt
    settle   after an append in LMDB, or after a process that ended in one: show the head to the readers

Every function runs in one transaction of LMDB; one that writes can run again, after the map has grown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import lmdb

from factstore.errors import Corrupt
from factstore.storage.lmdb.environment import Environment, Txn
from factstore.storage.lmdb.journal import NO_MARKER, Outdated, Tail, is_small, renewed
from factstore.storage.lmdb.layout import JOURNAL, LOG, base_of, key, raise_format
from factstore.storage.lmdb.processes.topics import forget, note
from factstore.storage.protocol import TXID_BYTES, Record
from factstore.storage.refusals import check_head, check_same, damaged

_record: Callable[[tuple[int, bytes, bytes]], Record] = partial(
    tuple.__new__, Record
)  # without the checks of named tuples
_MOST_AT_ONCE: Final = 32  # records of the log in one search, because each can have megabytes
_BEFORE_A_JOURNAL: Final = 8  # appends of a process that go into LMDB, so that a short process makes no file


# reading


def head(txn: Txn, file: Environment, newest: int | None) -> int:
    """Return the head. Like every function here that reads, it can raise Outdated.

    Args:
        newest: the head that readers saw before the transaction began; None: the files tell it.
    """
    t = _tail(txn, file, newest).head
    return t if newest is None else min(t, newest)


def read(
    txn: Txn, file: Environment, newest: int | None, after_t: int, upto_t: int | None, max_bytes: int
) -> list[Record]:
    """Return records as `Storage.read_log` does."""
    records: list[Record] = []
    cursor = txn.cursor()
    base = base_of(txn)
    last = min(base, upto_t if upto_t is not None else base)
    t, size, count = after_t, 0, 1
    while t < last and size < max_bytes:
        for _, value in _entries(cursor, range(t + 1, min(t + count, last) + 1)):
            t += 1
            records.append(_record((t, value[:TXID_BYTES], value[TXID_BYTES:])))
            size += len(value)
            if size >= max_bytes:
                break
        count = min(_MOST_AT_ONCE, (max_bytes - size) * len(records) // size + 1)
    if size >= max_bytes or (upto_t is not None and upto_t <= base):
        return records
    tail = _tail(txn, file, newest)
    last = min(limit for limit in (upto_t, newest, tail.head) if limit is not None)
    for record in tail.records[max(0, t - base) : max(0, last - base)]:
        records.append(record)
        size += len(record.body) + TXID_BYTES
        if size >= max_bytes:
            break
    return records


def seek_in_journal(txn: Txn, file: Environment, newest: int | None, txid: bytes) -> int | None:
    """Return the t of a txid in the journal, or None."""
    tail = _tail(txn, file, newest)
    return next((record.t for record in tail.records[: tail.length] if record.txid == txid), None)


def seek(txn: Txn, txid: bytes, below: int | None) -> tuple[int | None, int]:
    """Return the t of a txid if it is among the records of LMDB just below t, and the lowest t that was searched."""
    below = base_of(txn) + 1 if below is None else below
    ts = range(max(1, below - _MOST_AT_ONCE), below)
    for t, (_, value) in zip(reversed(ts), reversed(_entries(txn.cursor(), ts)), strict=True):
        if value.startswith(txid):
            return t, t
    return None, max(1, ts.start)


def check(txn: Txn, file: Environment, newest: int | None) -> None:
    """Read the journal from the file again. Raises: Outdated, unless it has all records up to the newest."""
    if marker := txn.get(JOURNAL, NO_MARKER):
        file.journal.check(marker, base_of(txn), newest)


def _tail(txn: Txn, file: Environment, newest: int | None) -> Tail:
    """Return the tail that a transaction sees, up to a head that was known before it began, or up to the last frame."""
    marker = txn.get(JOURNAL, NO_MARKER)
    if not marker:
        return Tail(NO_MARKER, base_of(txn), [], 0, 0)
    known = file.journal.known(marker)
    base = base_of(txn) if known is None else known.base
    tail: Tail = file.journal.tail(marker, base, newest if newest is None or newest > base else base)
    return tail


def _entries(cursor: lmdb.Cursor[bytes], ts: range) -> list[tuple[bytes, bytes]]:
    """Return the entries of the log at these t. Each is searched, as a step to a damaged page would end the process."""
    entries = cursor.getmulti(map(key, range(LOG + ts.start, LOG + ts.stop)))
    if len(entries) != len(ts):
        there = {entry for entry, _ in entries}
        missing = next(t for t in ts if key(LOG + t) not in there)
        raise Corrupt(
            ":db.error/storage-corrupt",
            f"the log has no record of t={missing}, although it has later ones",
            t=missing,
        )
    return entries


# writing


def append(
    txn: Txn, file: Environment, records: Sequence[tuple[bytes, bytes]], t: int, topics: Sequence[int] | None
) -> int:
    """Append records if the head is t; return the new head, or -1 if another process or thread holds the writer lock.

    Args:
        topics: of the records; None: they can have any.
    Raises: Conflict. If `file.journal.has_moved` afterwards, `settle` must follow.
    """
    if file.turn.flag[0] and file.turn.elsewhere():
        return -1
    journal = file.journal
    marker = txn.get(JOURNAL, NO_MARKER)
    if not marker and journal.shared.shows(None):
        cursor = txn.cursor()
        if not cursor.last() or cursor.key() != key(LOG + t):  # an empty log has no key
            check_head(base_of(txn), t)
        if not (file.syncs and _starts_journal(file, records)):
            _note(file, topics, t, t + len(records))
            _put(cursor, t + 1, records)
            return t + len(records)
    tail = journal.known(marker)
    if tail is None or not journal.shared.shows(tail.head):
        tail = settled(txn, file)
    check_head(tail.head, t)
    _note(file, topics, t, t + len(records))
    if tail.marker and records and journal.takes(tail, records):
        try:
            if file.syncs and journal.shared.unsynced:
                file.env.sync(True)  # the marker of this frame must not be lost before the frame
                journal.shared.unsynced = 0
            return journal.append(tail, records, sync=file.syncs)  # type: ignore[no-any-return]
        except OSError:
            pass  # the journal is suspect now: LMDB gets all its records, and this append
    _move(txn, file, tail, records)
    return t + len(records)


def _note(file: Environment, topics: Sequence[int] | None, t: int, head: int) -> None:
    if file.syncs:
        note(file.turn.flag, topics, t, head)
    else:
        forget(file.turn.flag)  # takes a third of the time


def rewrite(
    txn: Txn, file: Environment, records: Sequence[Record], appended: Sequence[tuple[bytes, bytes]], t: int
) -> None:
    """Replace records and append others, all in LMDB. The journal ends, because it can have the old ones."""
    tail = settled(txn, file)
    _move(txn, file, tail, (), ends_journal=True)
    for record in records:
        old = txn.get(key(LOG + record.t))
        check_same(record, None if old is None else old[:TXID_BYTES])
        txn.put(key(LOG + record.t), record.txid + record.body)
    check_head(tail.head, t)
    note(file.turn.flag, None, t, t + len(appended))
    _put(txn.cursor(), t + 1, appended)


def move(txn: Txn, file: Environment) -> None:
    """Move the records of the journal into LMDB, if there are any; `settle` must follow then, as after an append."""
    tail = settled(txn, file)
    if tail.length:
        _move(txn, file, tail, ())


def end_journal(txn: Txn, file: Environment) -> None:
    """Move the records of the journal into LMDB, and use it no longer; `settle` must follow, and deletes it."""
    tail = settled(txn, file)
    if tail.marker:
        _move(txn, file, tail, (), ends_journal=True)


def settle(txn: Txn, file: Environment) -> bool:
    """Show the head to the readers. Return False if it had to move the journal into LMDB: run it again then."""
    tail = settled(txn, file)
    shared = file.journal.shared
    file.journal.has_moved = False
    if not tail.marker:
        if not shared.is_of_this_boot:
            shared.clear_flags()
        _clear_journal(file)
    elif shared.suspect or not shared.tells_boots:
        _move(txn, file, tail, (), ends_journal=True)
        return False
    return True


def settle_pending(txn: Txn, file: Environment) -> None:
    """Show the head to the readers if an append that has ended did not; the holder of the turn asks for the head."""
    if file.journal.shared.pending:
        settled(txn, file)


def settled(txn: Txn, file: Environment) -> Tail:
    """Return the tail of the whole log, which the readers see from now on. Requires a write transaction.

    Raises: Corrupt, if the journal does not have all acknowledged records.
    """
    journal, shared = file.journal, file.journal.shared
    newest = None if shared.pending else shared.newest()
    try:
        tail = _tail(txn, file, newest)
    except Outdated as outdated:
        raise outdated.error from None  # no other process changes the marker now
    if tail.marker and tail.head == newest:
        return tail
    if not tail.marker:
        if newest is not None or shared.pending:
            _clear_journal(file)
        return tail
    newest = shared.newest()
    if not shared.is_of_this_boot:
        shared.clear_flags()
        lost = journal.lost(tail)
    else:
        lost = newest if newest is not None and tail.head < newest else None
    if lost is not None:
        raise damaged(file.uri, f"its journal has no sound record of t={tail.head + 1}, but it has t={lost}", t=lost)
    if tail.length and (newest is None or tail.head > newest):
        journal.confirm()
    if shared.unsynced > 1:
        file.env.sync(True)  # records of a journal that was synced: the next frame may overwrite them
        shared.unsynced = 0
    shared.set(tail.head)
    return tail


def _clear_journal(file: Environment) -> None:
    """Let the readers find the head in LMDB, and delete the file that no marker names."""
    file.journal.shared.set(None)
    file.journal.shared.suspect = 0
    file.journal.remove()


def _starts_journal(file: Environment, records: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return whether to start a journal, because this process has waited for the syncs of enough small appends."""
    journal = file.journal
    if is_small(records):
        journal.small_appends += 1
    return bool(journal.small_appends > _BEFORE_A_JOURNAL and journal.shared.tells_boots)


def _move(
    txn: Txn, file: Environment, tail: Tail, records: Sequence[tuple[bytes, bytes]], *, ends_journal: bool = False
) -> None:
    """Put the records of the journal and new ones into LMDB, and change the marker."""
    shared = file.journal.shared
    shared.pending = 1
    file.journal.has_moved = True
    if not file.syncs:
        shared.unsynced = max(shared.unsynced, 2 if tail.length else 1)
    _put(txn.cursor(), tail.base + 1, [*((r.txid, r.body) for r in tail.records[: tail.length]), *records])
    if tail.marker and (ends_journal or shared.suspect):
        txn.put(JOURNAL, NO_MARKER)  # the key stays: the number of keys never decreases
    elif tail.marker:
        txn.put(JOURNAL, renewed(tail.marker))
    elif not ends_journal and file.journal.small_appends > _BEFORE_A_JOURNAL:
        _start_journal(txn, file)


def _start_journal(txn: Txn, file: Environment) -> None:
    file.journal.small_appends = 0
    try:
        marker = file.journal.start(file.path.stat().st_mode)
    except OSError:
        file.journal.remove()  # what was written of it, whose room LMDB may need
        return  # no room for the file, or no permission; LMDB takes the records as before
    txn.put(JOURNAL, marker)
    raise_format(txn)


def _put(cursor: lmdb.Cursor[bytes], first: int, records: Sequence[tuple[bytes, bytes]]) -> None:
    if len(records) == 1:
        (txid, body) = records[0]
        # append=True; lmdb takes 80 ns to read the name
        added = cursor.put(key(LOG + first), txid + body, True, True, True)
    else:
        # One call for all: each call releases the interpreter lock, which other threads then hold for a while.
        items = [(key(LOG + first + i), txid + body) for i, (txid, body) in enumerate(records)]
        added = cursor.putmulti(items, append=True)[1] == len(items)
    if not added:
        raise Corrupt(":db.error/storage-corrupt", f"the log has keys beyond its head {first - 1}", t=first)
