"""Threads that start when they are first needed, and calls in threads of an event loop's executor.

    Single       at most one thread, which the first call that needs it starts
    in_thread    what `asyncio.to_thread` does

Law: a call that cannot start a thread raises `Unavailable`, and leaves nothing that would run later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from threading import Thread, current_thread
from typing import ParamSpec, TypeVar

from factstore.concurrency.calls import end_with
from factstore.concurrency.limits import started, starting_threads
from factstore.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class Single:
    """A thread that the first call of `start` starts.

    An exception, such as that of Ctrl-C, may interrupt this call before or after the thread has started. So the thread
    notes itself. If it has not yet, the next call starts another thread, which ends at once if it is the second one.
    There is no lock: it would keep the frame of an interrupted call, and all objects in it.
    """

    __slots__ = ("_name", "_runs")

    def __init__(self, name: str) -> None:
        self._name = name
        self._runs: dict[None, Thread] = {}  # at most one: `setdefault` tests and sets in one step

    @property
    def thread(self) -> Thread | None:
        """The thread, or None before it has started."""
        return self._runs.get(None)

    def start(self, run: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function in the thread, unless it has started. Raises: Unavailable."""
        if not self._runs:
            call = partial(run, *args, **kwargs)
            thread = started(Thread(target=self.run_here, args=(call,), name=self._name, daemon=True))
            self._runs.setdefault(None, thread)

    def run_here(self, call: Callable[[], object]) -> None:
        """Call a function in the current thread instead, unless the thread has started."""
        if self._runs.setdefault(None, current_thread()) is current_thread():
            call()


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a thread, as `asyncio.to_thread` does.

    If no thread can be started, `to_thread` raises an error, but leaves the call to the next thread that is free: a
    transaction would be committed after its error.
    Raises: Unavailable.
    """
    made: Future[T] = Future()
    call = partial(copy_context().run, function, *args, **kwargs)
    try:
        with starting_threads():
            asyncio.get_running_loop().run_in_executor(None, end_with, made, call)
    except Unavailable:
        if made.cancel():
            raise
        # A thread that was busy has begun the call meanwhile.
    return await asyncio.wrap_future(made)
