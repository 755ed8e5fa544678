"""The operations of a storage, which the layers above use.

    log      records with numbers t = 1, 2, 3, …; an append is conditional on the head; rewritten only with the root
    blocks   immutable bytes with an id that the caller chooses, usually their hash
    root     the only mutable cell; each change makes a new version, by compare-and-swap

A storage has no datoms, indexes or schemas. The protocol also suits a server on a network: each operation is one round
trip, batches are arguments, and if the outcome of an append is unknown, `resolve` finds it by `txid`.

Law: after `append` or `swap_root` has returned, every handle in every process reads the change, and it survives the
death of any process (and, with sync="full", of the machine). An operation that raised `Conflict` was not applied.
Every storage passes `factstore.testing.storage_contract`. All operations can be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from factstore.concurrency.locks import Owner

Sync: TypeAlias = Literal["full", "none"]

TXID_BYTES = 16
MOST_RECORDS: Final = 20_000  # after which a read of the log may stop early, too


class Record(NamedTuple):
    """A record of the log."""

    t: int
    txid: bytes  # 16 bytes, chosen by the client
    body: bytes


class Root(NamedTuple):
    """One version of the mutable cell; versions start at 1."""

    version: int
    body: bytes


class Hold(AbstractContextManager["Hold"], Protocol):
    """Keeps a version of the root and its blocks readable until the `with` block, `release` or the process ends."""

    version: int

    def release(self) -> None:
        """End the hold; a second call does nothing. It can be called from a finalizer, in any thread."""


@runtime_checkable
class Storage(Protocol):
    """An open store. After `close`, and in a forked child, every operation raises `Closed`."""

    @property
    def read_only(self) -> bool:
        """Whether every write raises `ReadOnly`."""

    @property
    def description(self) -> str:
        """The uri, for messages: "lmdb:/var/data/shop.facts"."""

    def head(self, *, near: bool = False) -> int:
        """Return the newest t, or 0 for an empty log; appends of other processes count immediately.

        Args:
            near: the newest t of which this process was notified is enough, if the storage is notified of appends. It
                includes all appends of this process, and those of others after a second at most.
        """

    def append(
        self, records: Sequence[tuple[bytes, bytes]], *, expected_t: int, topics: Sequence[int] | None = None
    ) -> int:
        """Append these (txid, body) atomically as records t+1 … t+n, if the head is `expected_t`; return the new head.

        Args:
            topics: numbers of what the records contain, for a storage that is `Noting`; None: it can be anything.
        Raises: Conflict(head=…), StoreFull, ReadOnly: not applied. UnknownOutcome(txids=…): use `resolve`.
        """

    def resolve(self, txid: bytes) -> int | None:
        """Return the t of the record with this txid, or None if it was not and will not be committed; can be slow."""

    def read_log(self, after_t: int, upto_t: int | None = None, *, max_bytes: int = 8 << 20) -> list[Record]:
        """Return the records from after_t + 1 to `upto_t`, in order and without a gap.

        Without `upto_t`, the newest returned one is at least the newest that this handle knows, from `head`, a
        conflict or the writer lock.
        After `max_bytes` or `MOST_RECORDS` it may stop early, but returns at least one record if there is one.
        Raises: Corrupt for a gap.
        """

    def rewrite(
        self,
        records: Sequence[Record],
        *,
        appended: Sequence[tuple[bytes, bytes]],
        expected_t: int,
        root: bytes,
        expected_version: int,
    ) -> Root:
        """Replace records by others of the same t and txid, append records, and swap the root, atomically.

        For data that must be deleted. The three change together: if a reader finds the same newest root before and
        after it reads the log, all that it read belongs to one log.

        Returns: the new root.
        Raises: Conflict, with `t`, `head` or `version`, StoreFull, ReadOnly: nothing was changed.
            UnknownOutcome(txids=…): use `resolve`.
        """

    def wait(self, after_t: int, timeout: float) -> int:
        """Return the head as soon as it is greater than `after_t`, or after `timeout` seconds."""

    def turn(
        self, *, owner: Owner | None = None, may_pass: bool = False, doing: str = ""
    ) -> AbstractContextManager[None]:
        """Return the writer lock (turn), for a `with` block: meanwhile no other thread or process appends.

        The thread that holds it appends as usual and can take it again. It is released when its process ends, however
        that happens.

        Args:
            owner: the holder, a call or a `with` block of a user; None: the call that enters.
            may_pass: for a caller that only appends, which gets `Conflict` if it was not alone: after the busy timeout,
                continue without the lock if a user's block holds it, because its process may have been stopped.
            doing: the purpose of the lock, which `StoreBusy` reports to others.
        Raises: StoreBusy(pid=…, host=…, since=…, doing=…), on entering.
        """

    def release_turn(self) -> None:
        """Release the writer lock of an interrupted call of this process; do nothing while the call runs."""

    def put_blocks(self, blocks: Iterable[tuple[bytes, bytes]]) -> None:
        """Add these (id, bytes); an existing id keeps its bytes. The call can be repeated.

        They are durable at the latest with the next swap of the root. After an error, some of them can be written.
        """

    def get_blocks(self, ids: Sequence[bytes], *, near: bool = False) -> dict[bytes, bytes]:
        """Return the bytes of all these blocks.

        Args:
            near: a checked copy on this host is enough, if the storage keeps one.
        Raises: Corrupt(ids=…) with the missing ones.
        """

    def delete_blocks(self, ids: Iterable[bytes]) -> int:
        """Delete these blocks; return the number of deleted ones."""

    def block_ids(self) -> Iterator[bytes]:
        """Yield the ids of all blocks, with or without those that are added or deleted meanwhile."""

    def read_root(self, version: int | None = None) -> Root | None:
        """Return the newest root, or an older version that is held; None if there is none."""

    def swap_root(self, body: bytes, *, expected_version: int) -> Root:
        """Replace the root if it has this version (0: none yet); return the new one. Raises: Conflict(version=…)."""

    def hold(self, version: int) -> Hold:
        """Hold the newest version of the root, or one that this process already holds, while it is read.

        0 is no version and always succeeds: it marks that a process is building the next version.

        A garbage collection reads the root first and `held` second, and deletes blocks that neither reaches.
        Raises: Conflict(version=…) if there is a newer root now; read the root again.
        """

    def held(self) -> set[int]:
        """Return the versions of the root that living processes hold, including this one."""

    def usage(self) -> dict[str, Any]:
        """Return `bytes` on disk, `map_size`, the numbers of `records` and `blocks`, and `readers`."""

    def problems(self) -> list[str]:
        """Check the structure of everything stored, not its content; return a sentence for each problem."""

    def sync(self) -> None:
        """Make all writes so far durable, in any mode."""

    def close(self) -> None:
        """Close the store; a second call does nothing."""


class Leader(NamedTuple):
    """The process that commits for all others, as the store describes it."""

    term: int  # the number of leaders that the store has had; it grows with each
    is_alive: bool  # whether its lease has not expired, by the clock of the server
    address: str  # host:port
    secret: bytes  # proves to the leader that a client may read the store, and to a client that this is the leader
    fingerprint: bytes  # of the leader's certificate


class Leadership(Protocol):
    """Which process leads a store, and the lease of this handle if it does.

    Law: from the moment that another handle leads, nothing that this one appends while it believes that it leads is
    applied; it raises `Fenced`.
    """

    lease_seconds: float
    term: int  # of the newest leader that this handle knows; 0: there has never been one

    def leader(self) -> Leader | None:
        """Return the newest leader; None if there has never been one."""

    def lead(self, address: str, secret: bytes, fingerprint: bytes) -> bool:
        """Become the leader, and return True; return False while another handle leads."""

    def renew(self) -> bool:
        """Renew the lease; return False if another handle leads."""

    def resign(self) -> None:
        """End the lease, so that another handle can lead at once; do nothing if this handle does not lead."""

    def committed(self, txid: bytes) -> int | None:
        """Return the t of the record with this txid. While this handle leads, None means that no earlier leader will
        append it either."""

    def acknowledged(self, t: int, /) -> None:
        """Note that the leader has committed t for this process: from now on, `head(near=True)` is at least t."""

    def retire(self) -> None:
        """End the leadership of any process; as if there had never been a leader."""


class Appending(Protocol):
    """An append that has been started, and that ends whatever happens to the thread that started it."""

    @property
    def is_done(self) -> bool:
        """Whether `result` returns at once, or nearly so."""

    def when_done(self, call: Callable[[], object]) -> None:
        """Call a function when the append is done, in any thread."""

    def result(self) -> int:
        """Return or raise what `append` does. Only for the thread that started it, and once."""


@runtime_checkable
class Starting(Protocol):
    """A storage that appends while the caller continues."""

    def start_append(
        self, records: Sequence[tuple[bytes, bytes]], *, expected_t: int, topics: Sequence[int] | None = None
    ) -> Appending:
        """Start what `append` does. Raises what `append` raises before it writes."""


@runtime_checkable
class Noting(Protocol):
    """A storage that notes the topics of appends."""

    @property
    def notes(self) -> bool:
        """Whether it notes those of appends by this handle; otherwise each of them may have any topic."""

    def noted(self, topics: Sequence[int], after_t: int) -> tuple[int, list[bool]] | None:
        """Return the head, and for each topic whether an append after a t may have had it; None if that is not known.

        The head is one that `head` could have returned during this call.
        """


@runtime_checkable
class Led(Protocol):
    """A storage that one process can lead."""

    leadership: Leadership
