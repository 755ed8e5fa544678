"""Functions that can stop in the middle, and are resumed later. One of them, or the caller, runs at any time.

A handler is any function, so only a thread of its own can stop it wherever it commits. A thread is used again by
the next function, because it takes longer to start one than to simulate a job.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from types import TracebackType
from typing import Self


def _taken() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


class _Carrier:
    """A thread that runs one strand after the other."""

    def __init__(self) -> None:
        self.go = _taken()
        self.back = _taken()
        self.strand: Strand | None = None
        self.thread = Thread(target=self._run, name="overseer-simulation", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            self.go.acquire()
            if self.strand is None:
                return
            self.strand.run()
            self.back.release()


class Strand:
    """A function on a thread of its own, which runs only between a call of `resume` and its next `park`."""

    def __init__(self, carriers: Carriers, function: Callable[[], None]) -> None:
        self._carriers = carriers
        self._function = function
        self._carrier: _Carrier | None = None
        self._error: BaseException | None = None
        self.is_done = False

    def resume(self) -> None:
        """Let the function run until it parks or ends; raise its exception, if it ends with one."""
        carrier = self._carrier
        if carrier is None:
            carrier = self._carrier = self._carriers.take()
            carrier.strand = self
        carrier.go.release()
        carrier.back.acquire()
        if self.is_done:
            self._carriers.give_back(carrier)
            if self._error is not None:
                raise self._error

    def park(self) -> None:
        """Stop, on the thread of the function, until `resume` is called again."""
        assert self._carrier is not None
        self._carrier.back.release()
        self._carrier.go.acquire()

    @property
    def is_parked(self) -> bool:
        """Whether the function has begun and not ended."""
        return self._carrier is not None and not self.is_done

    def run(self) -> None:
        """Run the function, on the thread that carries it."""
        try:
            self._function()
        except BaseException as error:
            self._error = error
        finally:
            self.is_done = True


class Carriers:
    """The threads of a simulation; they end with the block."""

    def __init__(self) -> None:
        self._idle: list[_Carrier] = []

    def take(self) -> _Carrier:
        """Return a thread that carries nothing."""
        return self._idle.pop() if self._idle else _Carrier()

    def give_back(self, carrier: _Carrier) -> None:
        """Let another strand use a thread."""
        carrier.strand = None
        self._idle.append(carrier)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for carrier in self._idle:
            carrier.go.release()
            carrier.thread.join()
        self._idle.clear()
