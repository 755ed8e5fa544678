"""The verbs of a storage: what the layers above may ask of a place that keeps bytes.

    log      records numbered t = 1, 2, 3, …; appended to on condition of the head, and rewritten only together with the root
    blocks   immutable bytes under an id of the caller's choice, usually their hash
    root     the one mutable cell; every change is a new version, moved by compare-and-swap

A storage knows nothing of datoms, indexes or schemas. It is written to be kept by a server on a network: each verb is one
round trip, batches are arguments, an append can end in an unknown outcome that `resolve` settles by `txid`.

Law: what `append` or `swap_root` has returned is seen by every handle in every process from then on, and survives the
death of any process (and, with sync="full", of the machine). What raised `Conflict` was certainly not applied.
Every storage passes `factstore.testing.storage_contract`. All verbs may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from factstore.concurrency.locks import Owner

Sync: TypeAlias = Literal["full", "none"]

TXID_BYTES = 16


class Record(NamedTuple):
    """A record of the log."""

    t: int
    txid: bytes  # 16 bytes, chosen by the client
    body: bytes


class Root(NamedTuple):
    """The mutable cell at one of its versions, which count from 1."""

    version: int
    body: bytes


class Hold(AbstractContextManager["Hold"], Protocol):
    """A promise to still read what a version of the root reaches; ends with the `with` block, `release` or the process."""

    version: int

    def release(self) -> None:
        """End the hold; a second call does nothing. May be called from a finalizer, in any thread."""


@runtime_checkable
class Storage(Protocol):
    """One store, opened. `Closed` is raised by every verb after `close`, and in a forked child."""

    @property
    def read_only(self) -> bool:
        """Whether every write raises `ReadOnly`."""

    @property
    def description(self) -> str:
        """The uri for messages: "lmdb:/var/data/shop.facts"."""

    def head(self) -> int:
        """Return the newest t, 0 when the log is empty. Other processes' appends are seen at once."""

    def append(self, records: Sequence[tuple[bytes, bytes]], *, expected_t: int) -> int:
        """Make these (txid, body) the records t+1 … t+n, all or none, if the head is `expected_t`; return the new head.

        Raises: Conflict(head=…), StoreFull, ReadOnly: certainly not applied. UnknownOutcome(txids=…): ask `resolve`.
        """

    def resolve(self, txid: bytes) -> int | None:
        """Return the t under which this txid was committed, or None: it was not and never will be. May scan the log."""

    def read_log(self, after_t: int, upto_t: int | None = None, *, max_bytes: int = 8 << 20) -> list[Record]:
        """Return the records from after_t + 1 on, in order and without a hole, none beyond `upto_t`.

        May return fewer, once `max_bytes` are reached, but at least one if there is one.
        Raises: Corrupt for a hole.
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
        """Replace records by these of the same t and txid, append others, and make this the newest root: all of it or nothing.

        For data that must not be kept any longer. The three change together, so a reader that finds the same newest root before
        and after it reads the log has read one and the same log.

        Returns: the new root.
        Raises: Conflict, with `t`, `head` or `version`, StoreFull, ReadOnly: nothing was changed. UnknownOutcome(txids=…): ask `resolve`.
        """

    def wait(self, after_t: int, timeout: float) -> int:
        """Return the head as soon as it is beyond `after_t`, or what it is when `timeout` seconds have passed."""

    def turn(
        self, *, owner: Owner | None = None, may_pass: bool = False, doing: str = ""
    ) -> AbstractContextManager[None]:
        """Return the writer's turn, to be held by `with`: meanwhile no other thread or process appends.

        The thread that holds it appends as usual and may take it again inside. It ends with its process, however that dies.

        Args:
            owner: who holds the turn, a call or a user's `with` block; None: the call that enters.
            may_pass: for who only appends, and so finds out by `Conflict` if it was not alone: after waiting for as long as the
                handle waits, go on without the turn if a user's block has it, whose process may have been stopped.
            doing: what the turn is for, as `StoreBusy` tells others.
        Raises: StoreBusy(pid=…, host=…, since=…, doing=…), on entering.
        """

    def release_turn(self) -> None:
        """Give back a turn that a call of this process has left taken when it was interrupted; do nothing while the call runs."""

    def put_blocks(self, blocks: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep these (id, bytes); an id that is known already keeps its bytes. Repeat freely.

        They are durable no later than the next root that is swapped in. An error may leave some of them written.
        """

    def get_blocks(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the bytes of all these blocks. Raises: Corrupt(ids=…) naming those that are not there."""

    def delete_blocks(self, ids: Iterable[bytes]) -> int:
        """Forget these blocks; return how many of them there were."""

    def block_ids(self) -> Iterator[bytes]:
        """Yield the ids of all blocks; those put or deleted meanwhile may or may not be among them."""

    def read_root(self, version: int | None = None) -> Root | None:
        """Return the newest root, or an older version that is held; None when there is none."""

    def swap_root(self, body: bytes, *, expected_version: int) -> Root:
        """Make this the newest root if the newest is `expected_version` (0: none yet); return it. Raises: Conflict(version=…)."""

    def hold(self, version: int) -> Hold:
        """Hold the newest version of the root, or one this process holds already, for as long as somebody reads by it.

        0 is no version and always granted: a sign to the others that somebody is at work on the next one.

        Collection of garbage reads the root first and `held` second: what neither reaches, nobody reads.
        Raises: Conflict(version=…) when a newer root was swapped in just now; read the root again.
        """

    def held(self) -> set[int]:
        """Return the versions of the root that any living process holds, this one included."""

    def usage(self) -> dict[str, Any]:
        """Return `bytes` on disk, `map_size`, `records` and `blocks` (numbers of), `readers`."""

    def problems(self) -> list[str]:
        """Look at all that is kept, and say what is wrong with how it is kept, a sentence each; what the bytes mean is the caller's."""

    def sync(self) -> None:
        """Make everything durable that was written until now, whatever the mode."""

    def close(self) -> None:
        """Let go of the store; a second call does nothing."""
