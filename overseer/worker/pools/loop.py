"""Coroutines on an event loop of a thread of its own. Whatever a handler does to the loop, others go on, or the worker is told.

A task may be cancelled. A plain function on a thread cannot be: its call ends when the function has ended, so that its slot stays taken.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import CancelledError
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import Any, Final, ParamSpec, TypeVar, cast

from overseer.worker.pools.threads import DaemonThreads

log = logging.getLogger("overseer")

P = ParamSpec("P")
T = TypeVar("T")

_GRACE: Final = 5.0  # seconds: how long tasks may take over being cancelled when their loop ends
_OTHERS: Final = 32  # threads for what handlers run by `asyncio.to_thread` themselves


class TaskFuture(Future[T]):
    """The future of a task on the loop; its `cancel` cancels the task, and it is done when the task has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self.task: asyncio.Task[T] | None = None
        self.unwanted = False

    def cancel(self) -> bool:
        """Cancel the task; False, for it takes its time to end."""
        self.unwanted = True
        if self.task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.task.cancel)
        return False


class AsyncioExecutor(Executor):
    """Runs coroutine functions on an event loop of its own thread; cancelling a future cancels its task.

    Args:
        threads: how many plain functions may run beside the loop at a time.
    """

    def __init__(self, threads: int) -> None:
        self._threads = DaemonThreads(threads, "overseer-handler")
        self._others = DaemonThreads(_OTHERS, "overseer-to-thread")
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(self._others)
        self._closing = False
        self._asked: float | None = (
            None  # when the loop was asked for a sign of life that has not come, on the monotonic clock
        )
        self.error: BaseException | None = None  # what ended the thread, if not `shutdown`
        self._thread = Thread(target=self._run, name="overseer-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                # A task that a handler started raised it. The handler gets it too when it awaits the task; the loop goes on.
                log.debug("a task raised %r", error)
            except BaseException as error:
                log.exception("the event loop failed; the worker will stop")
                self.error = error
                return

    def submit(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Future[Any]:
        """Start a coroutine function on the loop."""
        future: TaskFuture[Any] = TaskFuture(self._loop)
        future.set_running_or_notify_cancel()
        self._loop.call_soon_threadsafe(self._begin, future, partial(fn, *args, **kwargs))
        return future

    def _begin(self, future: TaskFuture[Any], make: Callable[[], Any]) -> None:
        future.task = self._loop.create_task(make())
        future.task.add_done_callback(partial(_ended, future))
        if future.unwanted:
            future.task.cancel()

    async def on_thread(self, call: Callable[[], T]) -> T:
        """Run a plain function beside the loop. Cancelled, it waits for the function all the same: its thread is not free before."""
        done = self._threads.submit(copy_context().run, _outcome_of, call)
        try:
            value, error = await asyncio.wrap_future(done)
        except CancelledError:
            while not done.done() and not self._closing:
                with suppress(CancelledError):
                    await asyncio.wait([asyncio.wrap_future(done)])
            raise
        if error is not None:
            raise error
        return cast(T, value)

    def silent_for(self) -> float:
        """Return for how many seconds the loop has given no sign of life; ask it for one."""
        now = time.monotonic()
        if self._asked is None and not self._loop.is_closed():
            self._asked = now
            self._loop.call_soon_threadsafe(self._answer)
        return 0.0 if self._asked is None else now - self._asked

    def _answer(self) -> None:
        self._asked = None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the loop; tasks still on it are cancelled. One that a handler blocks is left behind with its thread."""
        self._closing = True
        for threads in (self._threads, self._others):
            threads.shutdown(cancel_futures=True)  # a function that hangs may not hold up the end
        if self._thread.is_alive():
            # All of it on the loop's own thread: the caller's may have a loop that runs, as a notebook's does.
            self._loop.call_soon_threadsafe(self._wind_up)
            self._thread.join(2 * _GRACE)
        if self._thread.is_alive():
            log.warning("the event loop is blocked by a handler; it is left behind")
        elif not self._loop.is_closed():
            self._loop.close()

    def _wind_up(self) -> None:
        self._loop.create_task(self._end_tasks())

    async def _end_tasks(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_GRACE)  # not for ever: a task may refuse to be cancelled
        self._loop.stop()


def _outcome_of(call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Return what a function returns or raises: not every exception can be carried by the loop's own futures."""
    try:
        return call(), None
    except BaseException as error:
        return None, error


def _ended(future: Future[Any], task: asyncio.Task[Any]) -> None:
    if task.cancelled():
        future.set_exception(CancelledError())
    elif (error := task.exception()) is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())
