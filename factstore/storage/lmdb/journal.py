"""The newest records of the log, in a file beside the store that one sync makes durable.

    store.facts            records 1 … base, and the marker of the journal: identity, salt
    store.facts-journal    identity ┊ frame ┊ frame ┊ … zeros: records base+1 … head; each frame is one append
    shared memory          the head, which readers see; whether an append has begun that the head does not show yet

LMDB syncs twice for each commit. A frame has a checksum and lies in a file that was allocated before, so one sync is
enough. When the file is full, all its records move into LMDB in one transaction, which also replaces the salt; frames
with another salt no longer count. A frame counts if its checksum is right and it continues the log.

Law: the head in shared memory is raised only after the sync. So what a reader has seen survives a crash of the machine.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from factstore.concurrency.limits import explained
from factstore.concurrency.locks import NestingLock
from factstore.errors import Corrupt, StorageError, Unavailable
from factstore.storage.lmdb.opening import sync_directory
from factstore.storage.lmdb.processes import topics
from factstore.storage.protocol import TXID_BYTES, Record
from factstore.storage.refusals import damaged

CAPACITY: Final = 1 << 20  # bytes
LARGEST: Final = 1 << 17  # bytes of the records of one append; larger ones go into LMDB, where two syncs cost little
NO_MARKER: Final = b""  # no journal is in use: LMDB has the whole log

_MAGIC: Final = b"factlog\n"
_IDENTITY_BYTES: Final = 8
_SALT_BYTES: Final = 8
_FIRST: Final = 4096  # offset of the first frame: the page before it is written only once
_DIGEST_BYTES: Final = 8
_FRAME: Final = Struct("<8sQII")  # salt, t of the first record, number of records, bytes of the records
_FRAME_BYTES: Final = _DIGEST_BYTES + _FRAME.size
_ENTRY: Final = Struct(f"<{TXID_BYTES}sI")  # txid, bytes of the body
_BITE: Final = 1 << 14  # bytes that a reader reads at once

# Offsets in the shared memory; processes/ defines the others.
_HEAD: Final = Struct("@Q")  # native: one load or store, so that no reader sees one half of it
_VOID: Final = (1 << 64) - 1
_HEAD_AT: Final = 24
_BOOT_AT: Final = 32
_PENDING_AT: Final = 48
_UNSYNCED_AT: Final = 49
_SUSPECT_AT: Final = 50
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


_record: Callable[[tuple[int, bytes, bytes]], Record] = partial(
    tuple.__new__, Record
)  # without the checks of named tuples


class Tail(NamedTuple):
    """The records of a journal up to a head."""

    marker: bytes
    base: int  # the last t in LMDB
    records: list[Record]  # shared by later tails, which have more of them
    length: int  # how many of them are of this tail
    end: int  # offset of the next frame

    @property
    def head(self) -> int:
        """The t of the last record."""
        return self.base + self.length


class Frame(NamedTuple):
    """The records of one append, and the offset of the next frame."""

    records: list[Record]
    end: int


class Outdated(Exception):
    """A transaction saw a marker whose journal is no longer there as it was. Read again: records have moved into LMDB.

    If the marker is the same then, or in a write transaction, `error` is what is wrong with the journal.
    """

    def __init__(self, marker: bytes, error: StorageError) -> None:
        super().__init__(error.message)
        self.marker = marker
        self.error = error


class Flag:
    """A byte of the shared memory, as an attribute of `SharedHead`; 0 without shared memory."""

    def __init__(self, at: int) -> None:
        self._at = at

    def __get__(self, shared: SharedHead, _: type[SharedHead]) -> int:
        return 0 if shared.memory is None else shared.memory[self._at]

    def __set__(self, shared: SharedHead, value: int) -> None:
        assert shared.memory is not None
        shared.memory[self._at] = value


class SharedHead:
    """The head of the log in memory that the processes of a machine share.

    It is void while no journal is in use, and after the machine was started; the files tell the head then.
    """

    pending = Flag(_PENDING_AT)  # whether an append has begun that the head does not show yet
    unsynced = Flag(_UNSYNCED_AT)  # 1: LMDB has records that were not synced; 2: among them records of a journal
    suspect = Flag(_SUSPECT_AT)  # whether a sync of the journal has failed, so that it is unknown what is on the disk

    def __init__(self, memory: mmap.mmap | None, file: tuple[int, int] = (0, 0)) -> None:
        """Make a head; `file` is the device and the inode of the store, another of which may have had its name."""
        self.memory = memory
        boot = _boot()
        self._boot = boot and blake2b(b"%s %d %d" % (boot, *file), digest_size=16).digest()
        self._is_of_this_boot = False

    def newest(self) -> int | None:
        """Return the head, or None if the files tell it."""
        if not (self._is_of_this_boot or self.is_of_this_boot):
            return None
        head: int = _HEAD.unpack_from(self.memory, _HEAD_AT)[0]  # type: ignore[arg-type]
        return None if head == _VOID else head

    @property
    def is_of_this_boot(self) -> bool:
        """Whether a process of this boot of the machine has set the head of this file."""
        if not self._is_of_this_boot and self.memory is not None and self._boot:
            self._is_of_this_boot = self.memory[_BOOT_AT : _BOOT_AT + 16] == self._boot
        return self._is_of_this_boot

    def shows(self, t: int | None) -> bool:
        """Return whether no append is pending and the head is t; None: void. Requires the write transaction of LMDB."""
        memory = self.memory
        head: int = _HEAD.unpack_from(memory, _HEAD_AT)[0]  # type: ignore[arg-type]
        return head == (_VOID if t is None else t) and not memory[_PENDING_AT]  # type: ignore[index]

    def set(self, t: int | None) -> None:
        """Set the head, or make it void; the append that was pending has ended. Requires LMDB's write transaction."""
        assert self.memory is not None
        _HEAD.pack_into(self.memory, _HEAD_AT, _VOID if t is None else t)
        self.memory[_PENDING_AT] = 0
        if not self._is_of_this_boot:
            self.memory[_BOOT_AT : _BOOT_AT + 16] = self._boot or bytes(16)

    def forget(self) -> None:
        """Trust nothing that is there: no process has the store open, so the file may have been replaced."""
        assert self.memory is not None
        self._is_of_this_boot = False
        self.memory[_BOOT_AT : _BOOT_AT + 16] = bytes(16)

    def clear_flags(self) -> None:
        """Forget what processes of an earlier boot of the machine have noted."""
        assert self.memory is not None
        self.memory[_PENDING_AT : _SUSPECT_AT + 1] = bytes(3)
        topics.forget(self.memory)  # some cells may not have come to the disk before the machine ended

    @property
    def tells_boots(self) -> bool:
        """Whether the machine tells its boots apart; otherwise the head is always read from the files."""
        return bool(self._boot)


def _boot() -> bytes:
    """Return 16 bytes that name this boot of the machine; none if the system does not tell."""
    try:
        return bytes.fromhex(_BOOT.read_text(encoding="ascii").strip().replace("-", ""))
    except (OSError, ValueError):
        return b""


class Journal:
    """The file of a journal, and this process's copy of its records.

    Args:
        path: of the store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}-journal")
        self.uri = f"lmdb:{path}"
        self.shared = SharedHead(None)
        self.small_appends = 0  # of this process, since it had no journal
        self.has_moved = False  # whether records went into LMDB, and the readers do not see them yet
        self._mode = os.O_RDONLY
        self._fd: int | None = None
        self._identity = b""
        self._tail = Tail(NO_MARKER, 0, [], 0, _FIRST)
        self._lock = NestingLock()
        self._is_synced = True

    def share(self, memory: mmap.mmap | None, file: tuple[int, int], *, may_write: bool) -> None:
        """Use the head in memory that all processes of the store share; None: read it from the files."""
        self.shared = SharedHead(memory, file)
        self._mode = os.O_RDWR if may_write else os.O_RDONLY

    @property
    def is_open(self) -> bool:
        """Whether this process has opened the file."""
        return self._fd is not None

    @property
    def needs_settling(self) -> bool:
        """Whether the head that readers see can be behind the log, or the file is one that no process uses any more."""
        shared = self.shared
        return bool(not shared.is_of_this_boot or shared.pending or shared.suspect)

    def check_name(self) -> None:
        """Use the file no longer if its path leads to another one, or to none: its records move into LMDB."""
        if self._fd is not None and self._mode == os.O_RDWR:
            try:
                is_there = os.path.samestat(self.path.stat(), os.fstat(self._fd))
            except OSError:
                is_there = False
            if not is_there and self._tail.marker:
                self.shared.suspect = 1

    def bytes_on_disk(self) -> int:
        """Return the bytes that the file takes on the disk."""
        try:
            return self.path.stat().st_blocks * 512
        except FileNotFoundError:
            return 0

    # reading

    def tail(self, marker: bytes, base: int, upto: int | None) -> Tail:
        """Return the records of the journal with this marker up to a head, or up to the last frame that counts.

        Raises: Outdated, if the file is missing or another one, or ends before `upto`.
        """
        with self._lock:
            tail = self._tail
            if tail.marker != marker:
                self._open(marker)
                tail = self._tail = Tail(marker, base, [], 0, _FIRST)
            if tail.head != upto:
                tail = self._tail = self._read(tail, upto)
        return self._checked(tail, upto)

    def known(self, marker: bytes) -> Tail | None:
        """Return the tail of a marker as this process knows it, if it knows it."""
        tail = self._tail
        return tail if marker and tail.marker == marker else None

    def check(self, marker: bytes, base: int, upto: int | None) -> None:
        """Read the file from its start. Raises: Outdated, if it is missing or another one, or ends before `upto`."""
        with self._lock:
            self._open(marker)
            self._checked(self._read(Tail(marker, base, [], 0, _FIRST), upto), upto)

    def _checked(self, tail: Tail, upto: int | None) -> Tail:
        if upto is not None and tail.head < upto:
            text = f"its journal has no sound record of t={tail.head + 1}, although it had one"
            raise Outdated(tail.marker, damaged(self.uri, text, t=tail.head + 1))
        return tail

    def _read(self, tail: Tail, upto: int | None) -> Tail:
        """Return a tail with the frames that follow in the file."""
        salt, start, end = tail.marker[_IDENTITY_BYTES:], tail.head + 1, tail.end
        news: list[Record] = []
        while upto is None or start + len(news) <= upto:
            frame = _frame(self._bytes, end, salt, start + len(news))
            if frame is None:
                break
            news += frame.records
            end = frame.end
        return _longer(tail, news, end)

    def _bytes(self, at: int, size: int) -> bytes:
        assert self._fd is not None
        return os.pread(self._fd, size, at)

    def lost(self, tail: Tail) -> int | None:
        """Return the t of a frame behind the end of a tail, from which a damaged frame separates it; None without one.

        A crash can only damage the last frame, which was not acknowledged.
        """
        salt = tail.marker[_IDENTITY_BYTES:]
        content = self._bytes(0, CAPACITY)
        at = tail.end
        while (at := content.find(salt, at + 1)) >= 0:
            start = at - _DIGEST_BYTES
            if start % 8 == 0 and len(content) - start >= _FRAME_BYTES:
                t = _FRAME.unpack_from(content, at)[1]
                if _frame(lambda a, n: content[a : a + n], start, salt, t) is not None and t > tail.head:
                    return int(t)
        return None

    # writing: all of it requires the write transaction of LMDB

    def takes(self, tail: Tail, records: Sequence[tuple[bytes, bytes]]) -> bool:
        """Return whether the records are few enough for the journal, and the file has room for them."""
        size = _size(records)
        return size <= LARGEST and tail.end + size <= CAPACITY and not self.shared.suspect

    def append(self, tail: Tail, records: Sequence[tuple[bytes, bytes]], *, sync: bool) -> int:
        """Append the records as one frame, sync it, and show it to the readers; return the new head.

        Raises: OSError: the frame may or may not be on the disk; the journal is suspect from then on.
        """
        assert self._fd is not None
        first = tail.head + 1
        frame = _packed(tail.marker[_IDENTITY_BYTES:], first, records)
        shared = self.shared
        shared.pending = 1
        try:
            _write(self._fd, frame, tail.end)
            if sync:
                os.fdatasync(self._fd)
            else:
                self._is_synced = False
        except OSError:
            shared.suspect = 1
            with suppress(OSError):
                os.pwrite(self._fd, bytes(_FRAME_BYTES), tail.end)
            raise
        head = tail.head + len(records)
        news = [_record((first + i, txid, body)) for i, (txid, body) in enumerate(records)]
        # Without the lock: a thread that reads at the same time puts the same records at the same places.
        self._tail = _longer(tail, news, tail.end + len(frame))
        shared.set(head)
        return head

    def sync(self) -> None:
        """Make all frames durable."""
        if self._fd is not None and not self._is_synced:
            os.fdatasync(self._fd)
            self._is_synced = True

    def confirm(self) -> None:
        """Make durable the frames of a process that ended before its sync."""
        if self._fd is not None:
            os.fdatasync(self._fd)

    def start(self, mode: int) -> bytes:
        """Make the file, and return the marker that puts it in use once LMDB has it.

        Args:
            mode: the permissions of the store, which its journal needs, too.
        Raises: OSError, if the file cannot be made, or a file of something else has its name.
        """
        self._close()
        identity = os.urandom(_IDENTITY_BYTES)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode & 0o666)
        with self._lock:
            self._fd, self._identity = fd, identity
        if not _is_journal(fd):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self.path))
        with suppress(OSError):
            os.fchmod(fd, mode & 0o666)
        os.ftruncate(fd, 0)
        # Written, not only allocated: a sync would otherwise also write which blocks are no longer unwritten.
        _write(fd, (_MAGIC + identity).ljust(CAPACITY, b"\0"), 0)
        os.fsync(fd)
        sync_directory(self.path.parent)
        return identity + os.urandom(_SALT_BYTES)

    def remove(self) -> None:
        """Delete the file, which no marker names, or at least what is in it."""
        self._close()
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # there is none, or it is not of this store
        try:
            if _is_journal(fd):
                os.ftruncate(fd, 0)
                self.path.unlink()
        except OSError:
            return  # a folder that this user may not change; the file is empty
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the file."""
        self._close()
        self.shared = SharedHead(None)

    def _open(self, marker: bytes) -> None:
        """Open the file that a marker names. Raises: Outdated, if it is missing or another one."""
        identity = marker[:_IDENTITY_BYTES]
        if self._identity == identity:
            return
        try:
            fd = os.open(self.path, self._mode | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Outdated(marker, self._missing("is missing")) from None
        except OSError as error:
            why = explained(str(error.strerror))
            text = f"{self.path}, which has the newest transactions of this store, cannot be opened: {why}"
            refused = Unavailable(":db.error/storage-unavailable", text, uri=self.uri, journal=str(self.path))
            raise Outdated(marker, refused) from error
        if os.pread(fd, len(_MAGIC) + _IDENTITY_BYTES, 0) not in (_MAGIC + identity, b""):
            os.close(fd)
            raise Outdated(marker, self._missing("belongs to another store, or to another time of it"))
        self._close()
        self._fd, self._identity = fd, identity

    def _missing(self, what: str) -> Corrupt:
        text = (
            f"{self.path}, which has the newest transactions of this store, {what}; put the right file there,"
            " or, to give these transactions up, an empty one"
        )
        return Corrupt(":db.error/storage-corrupt", text, uri=self.uri, journal=str(self.path))

    def _close(self) -> None:
        with self._lock:
            fd, self._fd, self._identity = self._fd, None, b""
            if fd is not None:
                os.close(fd)


def _is_journal(fd: int) -> bool:
    """Return whether a file is a journal, or an empty file."""
    return stat.S_ISREG(os.fstat(fd).st_mode) and os.pread(fd, len(_MAGIC), 0) in (b"", _MAGIC)


def renewed(marker: bytes) -> bytes:
    """Return a marker of the same file with another salt: no frame of the file counts any more."""
    return marker and marker[:_IDENTITY_BYTES] + os.urandom(_SALT_BYTES)


def is_small(records: Sequence[tuple[bytes, bytes]]) -> bool:
    """Return whether the journal takes records of this size, if it has room."""
    return bool(records) and _size(records) <= LARGEST


def _size(records: Sequence[tuple[bytes, bytes]]) -> int:
    """Return the bytes of a frame, a multiple of 8."""
    return (_FRAME_BYTES + _ENTRY.size * len(records) + sum([len(body) for _, body in records]) + 7) & -8


def _longer(tail: Tail, news: list[Record], end: int) -> Tail:
    """Return a tail with more records. The list is shared; behind `length` it can have those of an interrupted call."""
    records, length = tail.records, tail.length + len(news)
    records[tail.length : length] = news
    return Tail(tail.marker, tail.base, records, length, end)


def _packed(salt: bytes, t: int, records: Sequence[tuple[bytes, bytes]]) -> bytes:
    entries = [_ENTRY.pack(txid, len(body)) for txid, body in records]
    content = b"".join((*entries, *(body for _, body in records)))
    signed = _FRAME.pack(salt, t, len(records), len(content)) + content
    frame = blake2b(signed, digest_size=_DIGEST_BYTES).digest() + signed
    return frame + bytes(-len(frame) % 8)


def _frame(read: Callable[[int, int], bytes], at: int, salt: bytes, t: int) -> Frame | None:
    """Return the frame at an offset; None if no frame with this salt and first t is complete there."""
    content = read(at, _BITE)
    if len(content) < _FRAME_BYTES or content[_DIGEST_BYTES : _DIGEST_BYTES + _SALT_BYTES] != salt:
        return None
    _, first, count, size = _FRAME.unpack_from(content, _DIGEST_BYTES)
    whole = _FRAME_BYTES + size
    if first != t or at + whole > CAPACITY:
        return None
    if whole > len(content):
        content += read(at + len(content), whole - len(content))
    signed = content[_DIGEST_BYTES:whole]
    if blake2b(signed, digest_size=_DIGEST_BYTES).digest() != content[:_DIGEST_BYTES]:
        return None
    records = []
    start = _FRAME_BYTES + _ENTRY.size * count
    for i in range(count):
        txid, length = _ENTRY.unpack_from(content, _FRAME_BYTES + _ENTRY.size * i)
        records.append(_record((t + i, txid, content[start : start + length])))
        start += length
    return Frame(records, at + (whole + 7 & -8))


def _write(fd: int, content: bytes, at: int) -> None:
    """Write all the bytes; a signal, or a disk that fills up, can end a call of the system early."""
    view = memoryview(content)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written
