"""A loop that calls functions which may stop in the middle; it continues meanwhile, on another thread.

A handler is any function, so only a thread of its own can stop it wherever it commits. But two changes of threads take
longer than a commit. So the loop and the functions share a thread until a function stops:

    thread 1    loop ─► function … stops ············ resumed … returns ─► loop …
    thread 2                           └─► loop … ────┘

Law: one thread runs at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from types import TracebackType
from typing import Self, TypeAlias

Place: TypeAlias = Lock  # where a function has stopped; it is resumed by a release


def taken() -> Place:
    """Return a new place, at which no function has stopped yet."""
    lock = Lock()
    lock.acquire()
    return lock


class Relay:
    """Runs a loop, on one thread after the other.

    Args:
        loop: returns the place of a function that must be resumed, or None when all functions have returned.
        interrupted: is called with the exception of a signal that interrupts a thread that waits; it lets all functions
            end soon.
    """

    def __init__(
        self, threads: Threads, loop: Callable[[], Place | None], interrupted: Callable[[BaseException], None]
    ) -> None:
        self._threads = threads
        self._loop = loop
        self._interrupted = interrupted
        self._ended = taken()

    def run(self) -> None:
        """Run the loop to its end, which may come on another thread."""
        place = self._loop()
        if place is not None:
            place.release()
            self._wait(self._ended)

    def stop(self, place: Place) -> None:
        """Stop the function that runs now, until the loop returns its place."""
        self._threads.start(lambda: self._loop() or self._ended)
        self._wait(place)

    def _wait(self, place: Place) -> None:
        try:
            place.acquire()
        except BaseException as error:
            self._interrupted(error)
            place.acquire()
            raise


class _Thread:
    """A thread that makes one call after the other; each returns the place that is resumed after it."""

    def __init__(self, idle: list[_Thread]) -> None:
        self._idle = idle
        self._go = taken()
        self._call: Callable[[], Place] | None = None
        self._thread = Thread(target=self._run, name="overseer-simulation", daemon=True)
        self._thread.start()

    def start(self, call: Callable[[], Place] | None) -> None:
        """Make a call; None ends the thread."""
        self._call = call
        self._go.release()

    def end(self) -> None:
        """End the thread, and wait for its end."""
        self.start(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._go.acquire()
            call, self._call = self._call, None
            if call is None:
                return
            place = call()
            del call
            self._idle.append(self)  # before another thread continues, which may end all idle ones
            place.release()


class Threads:
    """The threads of a simulation, each used for one run after the other; they end with the block."""

    def __init__(self) -> None:
        self._idle: list[_Thread] = []

    def start(self, call: Callable[[], Place]) -> None:
        """Make a call on a thread of its own, and resume the place that it returns."""
        (self._idle.pop() if self._idle else _Thread(self._idle)).start(call)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            self._idle.pop().end()
