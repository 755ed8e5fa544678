"""What one handle holds for a limited time: the writer lock (turn), and versions of the root.

A thread renews both. A process that is stopped for longer than a lease loses what it held: another handle can take the
writer lock, and a garbage collection can delete the blocks of an older root. The server judges by its own clock, so the
clocks of the hosts do not matter.
Law: a write under the writer lock is applied only if the handle still holds the lock at that moment.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from socket import gethostname
from threading import Event
from time import monotonic
from types import FrameType
from typing import Any, Final
from uuid import UUID
from weakref import ref

from factstore.concurrency.locks import CallLock, Owner
from factstore.concurrency.threads import Single
from factstore.errors import StorageError, StoreBusy
from factstore.storage.held import Held, HeldTurn
from factstore.storage.postgres import statements as sql
from factstore.storage.postgres.connections import Connections
from factstore.storage.refusals import check_version

LEASE_SECONDS: Final = 10.0  # of the writer lock
HOLD_SECONDS: Final = 60.0  # of a version of the root
_RENEW_SECONDS: Final = LEASE_SECONDS / 3
_LOOK_SECONDS: Final = 0.02  # how often a waiting handle asks for the writer lock, if no notice comes


class Leases:
    """The leases of one handle."""

    def __init__(self, connections: Connections, store: UUID, me: UUID, *, read_only: bool) -> None:
        self._read_only = read_only
        self.names: Mapping[str, Any] = {
            "store": store,
            "me": me,
            "lease": LEASE_SECONDS,
            "hold": HOLD_SECONDS,
        }
        self.connections = connections
        self.has_turn = False  # whether the handle holds the writer lock
        self._versions: Counter[int] = Counter()
        self._released: deque[int] = deque()  # versions, one for each hold that has ended
        self._counting = CallLock()
        self._ended = Event()
        self._renewing = Single("factstore-leases")

    # -- versions of the root

    def hold(self, version: int, newest: Callable[[], int]) -> Held:
        """Hold a version. Raises: Conflict(version=…) if it is not the newest, and this handle does not hold it."""
        self.end_released()
        with self._counting:
            self._versions[version] += 1
            is_first = self._versions[version] == 1
            row = self._start(sql.HOLD, repeated=True, version=version) if is_first else None
        held = HeldRow(self, version)
        try:
            if row is not None:
                self._ended_well(row)
            self._renew_from_now_on()
            if row is not None and version:
                # After the row is there: a collector that reads the root later also reads the row.
                check_version(newest(), version)
        except BaseException:
            held.release()
            raise
        return held

    def release(self, version: int) -> None:
        """End one hold of a version, at the next renewal or question about holds.

        A finalizer calls this, in any thread and between any two steps, so it must not wait for a lock.
        """
        self._released.append(version)

    def end_released(self) -> None:
        """Delete the rows of the holds that have ended."""
        with self._counting:
            ended = []
            while self._released:
                version = self._released.popleft()
                self._versions[version] -= 1
                if not self._versions[version]:
                    del self._versions[version]
                    ended.append(version)
            row = self._start(sql.RELEASE, versions=ended) if ended else None
        if row is not None:
            self._ended_well(row)

    def _ended_well(self, row: Future[Any]) -> None:
        """Wait for a write. A reader that may not write holds nothing: its blocks may be deleted while it reads."""
        with suppress(*((StorageError,) if self._read_only else ())):
            row.result()

    @property
    def versions(self) -> frozenset[int]:
        """The versions that this handle holds."""
        return frozenset(self._versions)

    def _start(self, statement: str, *, repeated: bool = False, **parameters: Any) -> Future[Any]:
        values = {**self.names, **parameters}
        start = self.connections.start_repeated if repeated else self.connections.start
        return start(lambda connection: connection.execute(statement, values))

    # -- renewal

    def _renew_from_now_on(self) -> None:
        self._renewing.start(_renew, ref(self), self._ended)

    def take_turn(self, *, is_block: bool, about: str) -> tuple[int, int, bytes] | None:
        """Take the writer lock if it is free; return the new epoch, and t and txid of the head, or None."""
        self._renew_from_now_on()  # first: a lock whose lease nothing renews must not be taken
        values = {**self.names, "is_block": is_block, "about": about}
        row = self.connections.repeat(lambda connection: connection.execute(sql.TAKE_TURN, values).fetchone())
        if row is None:
            return None
        self.has_turn = True
        return row[0], row[1], row[2]

    def give_turn(self) -> Future[Any]:
        """Release the writer lock, soon."""
        self.has_turn = False
        return self._start(sql.GIVE_TURN)

    def renew(self) -> None:
        """Renew all leases of the handle."""
        self.end_released()
        if self.has_turn or self._versions:
            self._start(sql.RENEW, held=self.has_turn).result()

    def end(self) -> None:
        """End all leases of the handle."""
        self._ended.set()
        if self._renewing.thread is not None:
            with suppress(StorageError, RuntimeError):  # the rows expire
                if self.has_turn:
                    self.give_turn().result()
                self._start(sql.LEAVE).result()


def _renew(leases: ref[Leases], ended: Event) -> None:
    """Renew the leases of a handle until it is closed, or no longer referenced."""
    while not ended.wait(_RENEW_SECONDS):
        these = leases()
        if these is None:
            return
        with suppress(StorageError, RuntimeError):  # the next round tries again, and an expired lease is noticed
            these.renew()
        del these


class HeldRow(Held):
    """A hold whose row is deleted at the end of its `with` block; after `release` alone, with the next renewal."""

    def __init__(self, leases: Leases, version: int) -> None:
        super().__init__(version, leases.release)
        self._leases = leases

    def __exit__(self, *_: object) -> None:
        self.release()
        with suppress(StorageError, RuntimeError):  # the row expires
            self._leases.end_released()


class Turn:
    """The writer lock of a store; reentrant for the thread that holds it."""

    def __init__(self, leases: Leases, wait: Callable[[float], None], took: Callable[[int, int, bytes], None]) -> None:
        """Make the lock of one handle.

        Args:
            wait: waits for a notice of the store, up to some seconds.
            took: notes the epoch of the lock, and the head when it was taken.
        """
        self._leases = leases
        self._wait = wait
        self._took = took
        self._lock = CallLock()
        self._is_passing = False  # whether the holder continues beside a block of another process
        self._about = f"{os.getpid()}\n{gethostname()}\n"

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds the lock."""
        return self._lock.is_mine and not self._is_passing

    @property
    def is_passing(self) -> bool:
        """Whether this thread appends beside a block of another process that held the lock for too long."""
        return self._is_passing and self._lock.is_mine

    def held(
        self, *, owner: Owner | None = None, may_pass: bool = False, doing: str = "", timeout: float | None = None
    ) -> HeldTurn:
        """Return the lock as a context manager; see `Storage.turn`."""
        return HeldTurn(self, owner, may_pass, doing, timeout)

    def take(self, owner: Owner, *, may_pass: bool, doing: str, timeout: float | None) -> None:
        """Acquire the lock for an owner, unless this thread already holds it. Raises: StoreBusy."""
        deadline = None if timeout is None else monotonic() + timeout
        try:
            if not self._lock.take(owner, timeout=timeout):
                return
        except TimeoutError:
            raise self._busy(timeout) from None
        try:
            self._is_passing = False
            self._take_from_others(isinstance(owner, FrameType), may_pass, doing, deadline, timeout)
        except BaseException:
            self.give(owner)
            raise

    def _take_from_others(
        self, is_call: bool, may_pass: bool, doing: str, deadline: float | None, timeout: float | None
    ) -> None:
        about = self._about + doing
        while (taken := self._leases.take_turn(is_block=not is_call, about=about)) is None:
            left = _LOOK_SECONDS if deadline is None else deadline - monotonic()
            if left <= 0:
                if may_pass and self._holder()[2]:
                    self._is_passing = True
                    return
                raise self._busy(timeout)
            self._wait(min(left, _LOOK_SECONDS))
        self._took(*taken)

    def give(self, owner: Owner) -> None:
        """Release the lock if this owner still holds it."""
        if not self._lock.is_held_by(owner):
            return
        try:
            if not self._is_passing:
                with suppress(StorageError, RuntimeError):  # the lease expires
                    self._leases.give_turn().result()
        finally:
            self._lock.give(owner)

    def release_left_over(self) -> None:
        """Release the lock of an interrupted call; do nothing while the call runs."""
        if self._lock.has_left_over:
            with suppress(StorageError, RuntimeError):
                self._leases.give_turn().result()
            self._lock.give_left_over()

    def _holder(self) -> tuple[str, datetime | None, bool]:
        values = self._leases.names
        row = self._leases.connections.read(lambda connection: connection.execute(sql.ABOUT_TURN, values).fetchone())
        return ("", None, False) if row is None else row

    def _busy(self, waited: float | None) -> StoreBusy:
        about, since, _ = self._holder()
        pid, host, doing = [*about.split("\n", 2), "", "", ""][:3]
        message = (
            f"process {pid} of {host} has had the writer's turn since {since}, for {doing or 'a write'};"
            f" this writer has waited for {waited} seconds, and nothing was written"
        )
        return StoreBusy(
            ":db.error/store-busy",
            message,
            pid=int(pid) if pid else None,
            host=host,
            since=since,
            doing=doing or "a write",
        )
