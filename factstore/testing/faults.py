"""A storage that fails on request: it refuses, loses answers, is slow, tears what it writes, or dies with its process.

faulty = FaultyStorage("memory:")
conn = faulty.connect()
faulty.arm(Fault("unanswered", "append", after=2))       # the third append is applied, and raises UnknownOutcome
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from factstore.connection.connection import Connection
from factstore.errors import FactStoreError, StorageError, Unavailable, UnknownOutcome
from factstore.storage import Storage, open_storage
from factstore.values.quoting import quoted

READS: Final = ("head", "resolve", "read_log", "get_blocks", "block_ids", "read_root", "hold", "held", "wait")
WRITES: Final = ("append", "rewrite", "put_blocks", "delete_blocks", "swap_root", "turn", "sync")
VERBS: Final = (*READS, *WRITES)
TORN: Final = ("append", "put_blocks", "swap_root")

# In the first four the process stays alive; the last four end it.
KINDS: Final = ("refused", "unanswered", "unsent", "slow", "dies before", "dies after", "dies unanswered", "torn")


class Fault(NamedTuple):
    """A fault at a call of a verb of the storage protocol.

    Attributes:
        kind: "refused": not applied, raises Unavailable; "unanswered": applied, raises UnknownOutcome; "unsent": not
            applied, raises UnknownOutcome; "slow"; "dies before" and "dies after": the process ends; "dies unanswered":
            applied, raises UnknownOutcome, and the process ends; "torn": only the first bytes of the last record, block
            or root are stored, and the process ends.
        verb: such as "append", "rewrite", "put_blocks", "swap_root".
        after: the number of calls of the verb that pass before the fault.
        at: for "torn": the number of bytes that are stored.
        seconds: for "slow".
    """

    kind: str
    verb: str = "append"
    after: int = 0
    at: int = 0
    seconds: float = 1.0


class Died(StorageError):
    """The process is dead; its operations have no effect."""


class FaultyStorage:
    """A storage in front of another one, for one process; its faults are chosen with `arm`.

    Args:
        inner: a storage, or the uri of a store.
        sleep: called with the seconds of a slow verb; pass `FakeClock.advance` to tests that must not wait.
    """

    def __init__(self, inner: Any, *, sleep: Callable[[float], Any] = time.sleep) -> None:
        self.inner: Storage = open_storage(inner) if isinstance(inner, str) else inner
        self.dead = False
        self.calls: list[str] = []  # verbs that were called so far
        self._sleep = sleep
        self._fault: Fault | None = None
        self._acts: dict[str, Callable[[], Any]] = {}  # by verb
        self._holds: list[Any] = []

    def connect(self, **options: Any) -> Connection:
        """Return a connection on this storage, with options of `Connection`."""
        return Connection(cast(Storage, self), **options)

    def arm(self, fault: Fault | None) -> None:
        """Choose the next fault, which happens once; None: no fault.

        Raises: FactStoreError(:db.error/invalid-fault) for a kind or a verb that does not exist.
        """
        if fault is not None and (fault.kind not in KINDS or fault.verb not in VERBS):
            text = f"a fault is one of {', '.join(KINDS)} at one of {', '.join(VERBS)}; got {quoted(tuple(fault))}"
            raise FactStoreError(":db.error/invalid-fault", text, got=tuple(fault))
        self._fault = fault

    def before(self, verb: str, act: Callable[[], Any] | None) -> None:
        """Call a function once, before the next call of a verb: another process acts in between. None: no function."""
        self._acts = {} if act is None else {verb: act}

    def close(self) -> None:
        """Close the storage; also that of a dead process."""
        self.inner.close()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name not in VERBS:
            return value

        def verb(*args: Any, **options: Any) -> Any:
            return self._call(name, value, args, options)

        return verb

    def _call(self, name: str, apply: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if self.dead:
            raise _died()
        self.calls.append(name)
        self._acts.pop(name, lambda: None)()
        fault = self._due(name)
        result = apply(*args, **options) if fault is None else self._fail(fault, apply, args, options)
        if name == "hold":
            self._holds.append(result)
        return result

    def _due(self, name: str) -> Fault | None:
        """Return the fault that happens at this call, if any."""
        fault = self._fault
        if fault is None or fault.verb != name:
            return None
        if fault.after:
            self._fault = fault._replace(after=fault.after - 1)
            return None
        self._fault = None
        return fault

    def _fail(self, fault: Fault, apply: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        kind = fault.kind
        if kind == "refused":
            raise Unavailable(":db.error/storage-unavailable", "no answer")
        if kind == "slow":
            self._sleep(fault.seconds)
            return apply(*args, **options)
        if kind in ("unanswered", "dies after", "dies unanswered"):
            apply(*args, **options)
        if kind == "torn":
            apply(_torn(fault, args[0]), *args[1:], **options)
        if kind.startswith("dies") or kind == "torn":
            self.die()
        if kind in ("unanswered", "unsent", "dies unanswered"):
            raise _unanswered(fault.verb, args, options)
        raise _died()

    def die(self) -> None:
        """End the process: release its holds, as the operating system does; every later verb raises Died."""
        self.dead = True
        for hold in self._holds:
            hold.release()


def _died() -> Died:
    return Died(":db.error/storage-unavailable", "this process is dead")


def _unanswered(verb: str, args: tuple[Any, ...], options: dict[str, Any]) -> UnknownOutcome:
    appended = args[0] if verb == "append" else options.get("appended", ())
    return UnknownOutcome(
        ":db.error/storage-unknown-outcome", "the answer was lost", txids=[txid for txid, _ in appended]
    )


def _torn(fault: Fault, written: Any) -> Any:
    """Return what is written with its last part cut after some bytes."""
    if fault.verb == "swap_root":
        return written[: fault.at]
    *whole, (name, last) = written
    return [*whole, (name, last[: fault.at])]
