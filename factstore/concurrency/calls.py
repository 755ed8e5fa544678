"""Threads that make the calls of others: one thread, one call after the other, or several at the same time.

The executor of the standard library is not sufficient. An exception that interrupts its `submit` while that starts a
thread, such as Ctrl-C, leaves a thread that the executor does not know: the next call starts another one beside it, so
two calls run at the same time, and Python waits for the unknown thread when the program ends, forever. So here each
thread registers itself, and ends with the program.
Law: never more calls run at the same time than there may be threads; with one, calls run in the order of `submit`. If
`submit` raises an exception, the call may run only if that exception interrupted it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any, TypeAlias, TypeVar
from weakref import finalize

from factstore.concurrency.limits import started
from factstore.errors import Unavailable

T = TypeVar("T")

logger = logging.getLogger("factstore")

_Call: TypeAlias = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]
_Queue: TypeAlias = SimpleQueue[_Call | None]  # None ends a thread, which puts it back for the next one


class Calls:
    """Runs calls in threads of its own, which start with the first calls, and end when the object is dropped."""

    def __init__(self, name: str, threads: int = 1) -> None:
        """Start nothing yet.

        Args:
            name: of the threads.
            threads: how many calls may run at the same time.
        """
        self._name = name
        self._most = threads
        self._threads: dict[Thread, None] = {}  # each adds itself, if `submit` has not
        self._calls: _Queue = SimpleQueue()
        self._is_closed = False
        finalize(self, self._calls.put, None).atexit = False

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in a thread. Raises: RuntimeError after `close`; Unavailable, if no thread can be started."""
        if not self._is_closed and len(self._threads) < self._most:
            self._start()  # before the next lines: if there can be no thread, there is no call either
        future: Future[T] = Future()
        self._calls.put((future, call, arguments))
        # After the call: it may have come after the None of `close`, where no thread makes it.
        if self._is_closed and future.cancel():
            raise RuntimeError(f"no calls are made by {self._name} after it was closed")
        return future

    def _start(self) -> None:
        needs = (self._calls, self._threads, self._most)
        try:
            thread = started(Thread(target=_run, args=needs, name=self._name, daemon=True))
            self._threads.setdefault(thread)  # for a `close` that comes before the thread runs
        except Unavailable:
            if not self._threads:
                raise

    def close(self) -> None:
        """Wait for the calls that run, and end the threads after those that were submitted."""
        self._is_closed = True  # before the next line, see `submit`
        self._calls.put(None)
        for thread in tuple(self._threads)[: self._most]:
            if thread is not current_thread():
                thread.join()


def _run(calls: _Queue, threads: dict[Thread, None], most: int) -> None:
    """Make calls until there is a None. It has no reference to its `Calls`, so that those can be dropped."""
    threads.setdefault(current_thread())
    if current_thread() not in tuple(threads)[:most]:
        return  # an exception or another thread came between the start of a thread and its registration
    while (call := calls.get()) is not None:
        try:
            end_with(*call)
        except BaseException:  # of a callback of the future: later calls are made anyway
            logger.exception("a callback of a call failed")
        del call  # its objects may be large, and the next call may come much later
    calls.put(None)


def end_with(future: Future[Any], call: Callable[..., Any], arguments: tuple[Any, ...] = ()) -> None:
    """Make a call, unless its future was cancelled, and end the future with the outcome."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = call(*arguments)
    except BaseException as error:  # of the function: it belongs to the caller
        future.set_exception(error)
    else:
        future.set_result(value)
