"""Where handlers run: on the worker's own thread, on several, on an event loop, in other processes, or wherever an executor takes them.

A pool is a function that runs a handler, or one that submits it to a `concurrent.futures.Executor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from threading import Thread
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from factstore import quoted
from overseer.attempt import Job
from overseer.errors import ConfigError
from overseer.events import Listeners
from overseer.handler import Handler
from overseer.worker.perform import Performed, aperform, perform, perform_elsewhere
from overseer.worker.processes import ProcessExecutor

_GRACE: Final = 5.0  # seconds: how long tasks may take over being cancelled when their loop ends

P = ParamSpec("P")
T = TypeVar("T")


class Pool(NamedTuple):
    """A place for handlers: one where they run at once, or an executor to submit them to."""

    run: Callable[[Handler, Job], Performed] | None = None  # on the thread of the caller, who waits
    submit: Callable[[Handler, Job], Future[Performed]] | None = None
    executor: Executor | None = None  # of the worker's own, which has to shut it down


class AsyncioExecutor(Executor):
    """Runs coroutine functions on an event loop of its own thread; cancelling a future cancels its task.

    Args:
        threads: how many plain functions may run beside the loop at a time.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="overseer-handler")
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(self._threads)
        self._thread = Thread(target=self._loop.run_forever, name="overseer-loop", daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Future[Any]:
        """Start a coroutine function on the loop."""
        return asyncio.run_coroutine_threadsafe(fn(*args, **kwargs), self._loop)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the loop; tasks still on it are cancelled."""
        # All of it on the loop's own thread: the caller's may have a loop that runs, as a notebook's does.
        asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _wind_up(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=_GRACE)  # not for ever: a task may refuse to be cancelled
        self._threads.shutdown(wait=False, cancel_futures=True)  # a function that hangs may not hold up the end


def _inline(slots: int, listeners: Listeners) -> Pool:
    return Pool(run=lambda handler, job: perform(handler, job, listeners))


def _threads(slots: int, listeners: Listeners) -> Pool:
    executor = ThreadPoolExecutor(slots, thread_name_prefix="overseer-handler")
    return Pool(submit=_here(executor, listeners), executor=executor)


def _asyncio(slots: int, listeners: Listeners) -> Pool:
    executor = AsyncioExecutor(slots)
    return Pool(submit=lambda handler, job: executor.submit(aperform, handler, job, listeners), executor=executor)


def _processes(slots: int, listeners: Listeners) -> Pool:
    executor = ProcessExecutor(slots)
    return Pool(submit=_elsewhere(executor), executor=executor)


def _here(executor: Executor, listeners: Listeners) -> Callable[[Handler, Job], Future[Performed]]:
    return lambda handler, job: executor.submit(perform, handler, job, listeners)


def _elsewhere(executor: Executor) -> Callable[[Handler, Job], Future[Performed]]:
    return lambda handler, job: executor.submit(perform_elsewhere, handler, job)


_KINDS: Final[dict[str, Callable[[int, Listeners], Pool]]] = {
    "inline": _inline,
    "threads": _threads,
    "asyncio": _asyncio,
    "processes": _processes,
}
KINDS: Final = tuple(_KINDS)


def pool(kind: str | Executor, slots: int, listeners: Listeners) -> Pool:
    """Return the pool that a worker's settings ask for.

    Args:
        kind: one of KINDS, or an executor of the caller's, which stays the caller's to shut down.
        slots: how many handlers may run at a time.

    Raises: ConfigError for a kind that does not exist, and for more slots than it has.
    """
    if isinstance(kind, ThreadPoolExecutor):
        return Pool(submit=_here(kind, listeners))
    if isinstance(kind, Executor):
        return Pool(submit=_elsewhere(kind))
    if kind not in _KINDS:
        why = f"executor is one of {', '.join(KINDS)}, or a concurrent.futures.Executor; got {quoted(kind)}"
        raise ConfigError(":job.error/bad-config", why, setting="executor")
    if kind == "inline" and slots > 1:
        why = f"handlers run one at a time on the worker's own thread; for concurrency={slots} choose threads, asyncio or processes"
        raise ConfigError(":job.error/bad-config", why, setting="executor")
    return _KINDS[kind](slots, listeners)
