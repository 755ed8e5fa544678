"""Futures of threads that coroutines wait for: many that end together wake the event loop once.

    thread that ends futures   future ──► arrived ──► one call of the loop, if none is scheduled
    thread of the loop                       ╰──► a future of the loop gets the outcome ──► the coroutine continues

Law: each coroutine gets the outcome of its future, and those of one loop continue in the order in which these ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future
from contextlib import suppress
from threading import local
from typing import Any, Final, TypeVar
from weakref import ref

T = TypeVar("T")


class Arrivals:
    """The futures that have ended, and that coroutines of one loop wait for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self._arrived: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._will_run = False

    def belongs_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether coroutines of this loop wait here."""
        return self._loop() is loop

    def add(self, waiting: asyncio.Future[T], ended: Future[T]) -> None:
        """Give a future of the loop the outcome of one that has ended, soon. Called in any thread."""
        self._arrived.append((waiting, ended))
        if not self._will_run:
            self._will_run = True
            loop = self._loop()
            with suppress(RuntimeError):  # the loop was closed, and no coroutine waits
                if loop is not None:
                    # In the next round of the loop: the wake-up interrupts the thread that ends perhaps many futures.
                    loop.call_soon_threadsafe(loop.call_soon, self._run)

    def _run(self) -> None:
        self._will_run = False  # first: what arrives from now on schedules another call
        while self._arrived:
            waiting, ended = self._arrived.popleft()
            if waiting.done():
                continue  # its task was cancelled
            try:
                waiting.set_result(ended.result())
            except BaseException as error:
                if ended.cancelled():
                    waiting.cancel()
                else:
                    waiting.set_exception(_raised(error))


class Arrival:
    """A callback of a future that a coroutine waits for. It takes no time, so any thread may call it."""

    __slots__ = ("_arrivals", "_waiting")
    is_quick: Final = True

    def __init__(self, arrivals: Arrivals, waiting: asyncio.Future[Any]) -> None:
        self._arrivals = arrivals
        self._waiting = waiting

    def __call__(self, ended: Future[Any]) -> None:
        """Give the coroutine the outcome, soon."""
        self._arrivals.add(self._waiting, ended)


def _raised(error: BaseException) -> BaseException:
    if not isinstance(error, StopIteration):
        return error
    instead = RuntimeError(f"the future raised {error!r}")
    instead.__cause__ = error
    return instead


class _Current(local):
    """The arrivals of the loop that runs in a thread."""

    arrivals: Arrivals | None = None


_current: Final = _Current()


def awaited(future: Future[T]) -> Generator[Any, None, T]:
    """Wait for a future in a coroutine; if its task is cancelled, cancel the future.

    Raises: the error of the future; RuntimeError instead of a StopIteration, which would end the coroutine.
    """
    loop = asyncio.get_running_loop()
    arrivals = _current.arrivals
    if arrivals is None or not arrivals.belongs_to(loop):
        arrivals = _current.arrivals = Arrivals(loop)
    waiting: asyncio.Future[T] = loop.create_future()
    future.add_done_callback(Arrival(arrivals, waiting))
    try:
        return (yield from waiting)
    except asyncio.CancelledError:
        future.cancel()
        raise
