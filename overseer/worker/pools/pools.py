"""Pools run handlers: on the worker's own thread, on threads, on an event loop, in processes, or in another executor.

A pool accepts a handler for each free slot. It reports when the handler begins, because its timeout starts then.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswer
from typing import Any, Final

from factstore import Keyword, quoted
from overseer.errors import ConfigError, HandlerError
from overseer.events import Elsewhere, Listeners
from overseer.handler import Handler, class_of, message_of, stages_of
from overseer.jobs.job import Job
from overseer.worker.pools.announced import Announcements, is_reached, perform_announced
from overseer.worker.pools.loop import AsyncioExecutor
from overseer.worker.pools.perform import Performed, aperform, perform, perform_elsewhere
from overseer.worker.pools.processes import ProcessDied, ProcessExecutor
from overseer.worker.pools.threads import DaemonThreads

Began = Callable[[], None]

_MAX_KILLED: Final = 3  # processes that a signal killed while they loaded the handlers, until the worker ends
_START: Final = 120.0  # seconds: how long the first process may take to start
_PATIENCE: Final = (
    10.0  # seconds: how long to wait before the first claim for an executor of the caller, which may be busy
)


class Pool:
    """Runs handlers.

    Args:
        slots: the number of handlers that may run at a time.
        listeners: each handler runs in their contexts.
    """

    is_inline = False  # whether handlers run on the thread of the caller, which settles them too
    isolates = False  # whether each handler has a process of its own, so that a crash ends no other handler

    def __init__(self, slots: int, listeners: Listeners) -> None:
        self.slots = slots
        self._listeners = listeners

    def prepare(self, handlers: Mapping[Keyword, Handler]) -> None:
        """Check, before any job is claimed, that the handlers can run here.

        Raises: HandlerError, ConfigError.
        """

    def surround(self, job: Job) -> Elsewhere | None:
        """Enter the contexts of the listeners in this process, if the handler runs in another one."""
        return None

    def run(self, handler: Handler, job: Job) -> Performed:
        """Run a handler on this thread; only an inline pool can."""
        raise NotImplementedError

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Run a handler in the background.

        Args:
            began: is called when the handler begins, on any thread.
            surround: the result of `surround` for the job.
            exactly: whether `began` must be called at the exact time.
        """
        raise NotImplementedError

    def look(self) -> bool:
        """Detect handlers that have begun, if the executor does not report it; True while some have not."""
        return False

    def withdraw(self, job: Job) -> bool:
        """Prevent a submitted handler from beginning; False if it has begun, or if that is unknown."""
        return False

    def leave(self, job: Job) -> None:
        """Remove the data of a handler that has ended."""

    def silent_for(self) -> float:
        """Return for how many seconds a handler has blocked the whole pool."""
        return 0.0

    @property
    def error(self) -> BaseException | None:
        """The exception that ended the pool."""
        return None

    def shutdown(self) -> None:
        """End the pool, and its handlers as far as possible."""


class Inline(Pool):
    """Runs handlers on the worker's own thread, and those with a timeout on a second thread, which can be abandoned."""

    is_inline = True

    def __init__(self, slots: int, listeners: Listeners) -> None:
        super().__init__(slots, listeners)
        self._apart = DaemonThreads(slots, "overseer-handler")

    def run(self, handler: Handler, job: Job) -> Performed:
        """Run a handler on this thread."""
        return perform(handler, job, self._listeners)

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Run a handler on the second thread."""
        return self._apart.submit(_begun, began, handler, job, self._listeners)

    def shutdown(self) -> None:
        """End the second thread."""
        self._apart.shutdown(cancel_futures=True)


class Threads(Pool):
    """Runs handlers on threads: of the worker, or of an executor that the caller shuts down."""

    def __init__(self, slots: int, listeners: Listeners, executor: ThreadPoolExecutor | None = None) -> None:
        super().__init__(slots if executor is None else _most(executor, slots), listeners)
        self._own = executor is None
        self.executor = DaemonThreads(slots, "overseer-handler") if executor is None else executor

    def prepare(self, handlers: Mapping[Keyword, Handler]) -> None:
        """Check that the caller's executor accepts calls."""
        if not self._own:
            _submitted(self.executor, int).cancel()

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Run a handler on a thread."""
        return self.executor.submit(_begun, began, handler, job, self._listeners)

    def shutdown(self) -> None:
        """End the threads, if they are the worker's."""
        if self._own:
            self.executor.shutdown(wait=False, cancel_futures=True)


class Loop(Pool):
    """Runs handlers on an event loop, and plain functions on threads beside it."""

    def __init__(self, slots: int, listeners: Listeners) -> None:
        super().__init__(slots, listeners)
        self.executor = AsyncioExecutor(slots)

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Run a handler as a task."""
        return self.executor.submit(_abegun, began, handler, job, self._listeners, self.executor.on_thread)

    def silent_for(self) -> float:
        """Return for how many seconds a handler has blocked the loop."""
        return self.executor.silent_for()

    @property
    def error(self) -> BaseException | None:
        """The exception that ended the loop."""
        return self.executor.error

    def shutdown(self) -> None:
        """Cancel the tasks and end the loop."""
        self.executor.shutdown()


class _Remote(Pool):
    """Runs handlers in other processes, which receive the stages as bytes."""

    def prepare(self, handlers: Mapping[Keyword, Handler]) -> None:
        """Check that the handlers can be sent, and that a process can be started that loads them."""
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            why = (
                "this process is being started by multiprocessing, which imports the program's main module first: "
                'put the code that starts a worker under `if __name__ == "__main__":`'
            )
            raise ConfigError(":job.error/bad-config", why, setting="executor")
        wrong = {key: fault for key, handler in handlers.items() if (fault := self._fault_of(stages_of(handler)))}
        if wrong:
            list_ = "; ".join(f"{key}: {fault}" for key, fault in wrong.items())
            why = f"handlers for other processes are functions that can be imported there; not these: {list_}"
            raise HandlerError(":job.error/bad-handler", why, handlers=wrong)
        try:
            self._rehearse([stages_of(handler) for handler in handlers.values()])
        except ConfigError:
            raise
        except (ProcessDied, BrokenExecutor, OSError) as error:
            why = (
                f"no process for handlers can be started: {error}. Its standard error contains the reason; "
                'the code that starts a worker must be under `if __name__ == "__main__":`'
            )
            raise ConfigError(":job.error/bad-config", why, setting="executor") from error
        except Exception as error:
            why = f"the handlers cannot be loaded in another process: {class_of(error)}: {message_of(error)}"
            raise HandlerError(":job.error/bad-handler", why) from error

    def _fault_of(self, stages: Handler) -> str | None:
        try:
            self._dumps(stages)
        except Exception as error:
            return message_of(error)
        return None

    def _dumps(self, stages: Handler) -> bytes:
        return pickle.dumps(stages)

    def _rehearse(self, handlers: list[Handler]) -> None:
        raise NotImplementedError

    def surround(self, job: Job) -> Elsewhere | None:
        """Enter the contexts of the listeners in this process."""
        return self._listeners.elsewhere(job)


class Processes(_Remote):
    """Runs handlers in processes of the worker, which can be ended one by one."""

    isolates = True

    def __init__(self, slots: int, listeners: Listeners, start_method: str = "spawn") -> None:
        super().__init__(slots, listeners)
        self.executor = ProcessExecutor(slots, start_method=start_method)

    def _rehearse(self, handlers: list[Handler]) -> None:
        for _ in range(_MAX_KILLED - 1):
            try:
                return self._load(handlers)
            except ProcessDied as died:
                if died.exitcode is None or died.exitcode >= 0:
                    raise
                # A signal killed it, for instance because memory was short. The handlers may be correct.
        return self._load(handlers)

    def _load(self, handlers: list[Handler]) -> None:
        try:
            self.executor.submit(len, handlers).result(_START)
        except NoAnswer:
            raise ProcessDied(f"it did not start within {_START:.0f} seconds") from None

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Run a handler in a process."""
        around = [] if surround is None else surround.around
        return self.executor.start(began, exactly, perform_elsewhere, stages_of(handler), job, around)

    def shutdown(self) -> None:
        """End the processes."""
        self.executor.shutdown(cancel_futures=True)


class Foreign(_Remote):
    """Runs handlers in an executor that the caller shuts down, such as a cluster's."""

    def __init__(self, slots: int, listeners: Listeners, executor: Executor) -> None:
        super().__init__(_most(executor, slots), listeners)
        self.executor = executor
        self._announced = Announcements()

    def _dumps(self, stages: Handler) -> bytes:
        if isinstance(self.executor, ProcessPoolExecutor):
            return pickle.dumps(stages)
        return b""  # it may pickle functions in its own way, as Dask does, or not at all

    def _rehearse(self, handlers: list[Handler]) -> None:
        # As bytes: if a process of the standard library's pool cannot load its call, it ends and breaks the pool.
        sent = pickle.dumps(handlers) if isinstance(self.executor, ProcessPoolExecutor) else handlers
        rehearsed = _submitted(self.executor, is_reached, self._announced.folder, sent)
        try:
            self._announced.reached = rehearsed.result(_PATIENCE)
        except NoAnswer:
            rehearsed.cancel()

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Run a handler in the executor."""
        around = [] if surround is None else surround.around
        announced = self._announced
        path = None
        if announced.reached:
            path = announced.path(job)
            announced.expect(job, began)
        else:
            began()
        return self.executor.submit(perform_announced, path, stages_of(handler), job, around)

    def look(self) -> bool:
        """Detect the attempts that were announced."""
        self._announced.look()
        return bool(self._announced)

    def withdraw(self, job: Job) -> bool:
        """Prevent a submitted handler from beginning."""
        return self._announced.reached and self._announced.withdraw(job)

    def leave(self, job: Job) -> None:
        """Expect no announcement of an attempt that has ended."""
        self._announced.forget(job)

    def shutdown(self) -> None:
        """Prevent all submitted handlers from beginning."""
        self._announced.close()


def _begun(began: Began, handler: Handler, job: Job, listeners: Listeners) -> Performed:
    began()
    return perform(handler, job, listeners)


async def _abegun(began: Began, handler: Handler, job: Job, listeners: Listeners, on_thread: Any) -> Performed:
    began()
    return await aperform(handler, job, listeners, on_thread)


def _most(executor: Executor, slots: int) -> int:
    """Return how many handlers an executor can run at a time, if it reports that: other jobs should not be claimed."""
    workers = getattr(executor, "_max_workers", None)
    return min(slots, workers) if isinstance(workers, int) and workers > 0 else slots


def _submitted(executor: Executor, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    try:
        return executor.submit(function, *arguments)
    except Exception as error:
        why = f"the executor {executor!r} takes no calls: {message_of(error)}"
        raise ConfigError(":job.error/bad-config", why, setting="executor") from error


_KINDS: Final[dict[str, Callable[..., Pool]]] = {
    "inline": Inline,
    "threads": Threads,
    "asyncio": Loop,
    "processes": Processes,
}
KINDS: Final = tuple(_KINDS)


def pool(kind: str | Executor, slots: int, listeners: Listeners, *, start_method: str = "spawn") -> Pool:
    """Return the pool of a worker's settings.

    Args:
        kind: one of KINDS, or an executor that the caller shuts down.
        slots: the number of handlers that may run at a time.
        start_method: how the worker's processes are started.

    Raises: ConfigError for an unknown kind, and for more slots than the kind has.
    """
    if isinstance(kind, ThreadPoolExecutor):
        return Threads(slots, listeners, kind)
    if isinstance(kind, Executor):
        return Foreign(slots, listeners, kind)
    if kind not in _KINDS:
        why = f"executor is one of {', '.join(KINDS)}, or a concurrent.futures.Executor; got {quoted(kind)}"
        raise ConfigError(":job.error/bad-config", why, setting="executor")
    if kind == "inline" and slots > 1:
        why = (
            "handlers run one at a time on the worker's own thread; "
            f"for concurrency={slots} choose threads, asyncio or processes"
        )
        raise ConfigError(":job.error/bad-config", why, setting="executor")
    if kind == "processes":
        return Processes(slots, listeners, start_method)
    return _KINDS[kind](slots, listeners)
