"""An executor that runs coroutines on an event loop in a thread of its own.

If a handler blocks or ends the loop, the others continue, or the worker ends. A task can be cancelled. A plain function
on a thread cannot: its call ends when the function has ended, so that its slot stays taken.
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

from factstore.concurrency.limits import new_loop, started
from overseer.worker.pools.threads import DaemonThreads

log = logging.getLogger("overseer")

P = ParamSpec("P")
T = TypeVar("T")

_GRACE: Final = 5.0  # seconds: how long cancelled tasks may take to end when their loop ends
_OTHERS: Final = 32  # threads for the handlers' own calls of `asyncio.to_thread`


class TaskFuture(Future[T]):
    """The future of a task on the loop. `cancel` cancels the task, and the future is done when the task has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self.task: asyncio.Task[T] | None = None
        self.unwanted = False

    def cancel(self) -> bool:
        """Cancel the task. Returns False, because the task ends later."""
        self.unwanted = True
        if self.task is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.task.cancel)
        return False


class AsyncioExecutor(Executor):
    """Runs coroutine functions on an event loop in a thread of its own. Cancelling a future cancels its task.

    Args:
        threads: the number of plain functions that may run beside the loop at a time.
    """

    def __init__(self, threads: int) -> None:
        self._threads = DaemonThreads(threads, "overseer-handler")
        self._others = DaemonThreads(_OTHERS, "overseer-to-thread")
        self._loop = new_loop()
        self._loop.set_default_executor(self._others)
        self._closing = False
        self._pinged: float | None = None  # when a ping was sent that the loop has not answered, on the monotonic clock
        self.error: BaseException | None = None  # the exception that ended the thread
        self._thread = Thread(target=self._run, name="overseer-loop", daemon=True)
        try:
            started(self._thread)
        except BaseException:
            self._loop.close()
            raise

    def _run(self) -> None:
        while not self._closing:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit) as error:
                # A task of a handler raised it. The handler receives it when it awaits the task, and the loop
                # continues.
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
        """Run a plain function beside the loop. If cancelled, still wait for the function, which keeps its thread."""
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
        """Return for how many seconds the loop has not answered a ping; send it one."""
        now = time.monotonic()
        if self._pinged is None and not self._loop.is_closed():
            self._pinged = now
            self._loop.call_soon_threadsafe(self._answer)
        return 0.0 if self._pinged is None else now - self._pinged

    def _answer(self) -> None:
        self._pinged = None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel the tasks and end the loop. If a handler blocks it, the loop and its thread are abandoned."""
        self._closing = True
        for threads in (self._threads, self._others):
            threads.shutdown(cancel_futures=True)  # does not wait for functions that hang
        if self._thread.is_alive():
            # On the loop's own thread, because the caller's thread may have a running loop, such as a notebook's.
            self._loop.call_soon_threadsafe(self._wind_up)
            self._thread.join(2 * _GRACE)
        if self._thread.is_alive():
            log.warning("a handler blocks the event loop; the loop is abandoned")
        elif not self._loop.is_closed():
            self._loop.close()

    def _wind_up(self) -> None:
        self._loop.create_task(self._end_tasks())

    async def _end_tasks(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_GRACE)  # a task may suppress its cancellation
        self._loop.stop()


def _outcome_of(call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """Return the value or the exception of a function: futures of the loop cannot contain every exception."""
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
