"""Threads for handlers. Neither the worker nor the program waits for them when it ends.

When the interpreter ends, it waits for the threads of the standard library's executor, even if a function hangs. A
worker releases or fails the job of a handler that hangs, so waiting for its thread is pointless.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, ParamSpec, TypeVar

from factstore.concurrency.limits import started

P = ParamSpec("P")
T = TypeVar("T")

_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class DaemonThreads(ThreadPoolExecutor):
    """Runs calls on daemon threads. It is a ThreadPoolExecutor because an event loop accepts no other executor.

    Args:
        threads: the number of calls that may run at a time; a thread starts when a call needs it.
        name: the prefix of the names of the threads.
    """

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads)  # starts no thread
        self._name = name
        self._most = threads
        self._begun = 0
        self._idle = 0
        self._growing = Lock()  # guards the two counts
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._is_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function on a thread. Raises: Unavailable, if no thread can be started for it."""
        if self._is_down:
            raise RuntimeError("the executor has been shut down")
        future: Future[T] = Future()
        with self._growing:
            if not self._idle and self._begun < self._most:
                started(Thread(target=self._work, name=f"{self._name}-{self._begun + 1}", daemon=True))
                self._begun += 1
            elif self._idle:
                self._idle -= 1
            self._queue.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end after their calls, without waiting for them.

        Args:
            wait: without effect.
        """
        self._is_down = True
        if cancel_futures:
            with suppress(Empty):
                while True:
                    call = self._queue.get_nowait()
                    if call is not None:
                        call[0].cancel()
        for _ in range(self._begun):
            self._queue.put(None)

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            future, function, arguments, words = call
            if future.set_running_or_notify_cancel():
                try:
                    value = function(*arguments, **words)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(value)
            # Their objects may be large, and the next call may come much later.
            del call, future, function, arguments, words
            with self._growing:
                self._idle += 1
