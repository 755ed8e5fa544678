"""Where handlers run: on the worker's own thread, on several, on an event loop, in other processes, or wherever an executor takes them.

A pool has slots, and takes a handler for each that is free. It tells when the handler begins, for only then its time runs.
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

_KILLED: Final = 3  # processes that a signal killed as they loaded the handlers, after which the worker gives up
_START: Final = 120.0  # seconds that a first process may take to start
_PATIENCE: Final = 10.0  # seconds that somebody else's executor is waited for before the first claim; it may be busy


class Pool:
    """A place for handlers.

    Args:
        slots: how many handlers may run at a time.
        listeners: their contexts surround each handler.
    """

    is_inline = False  # whether handlers run on the thread that asks for it, which settles them too
    isolates = False  # whether each handler has a process of its own, so that one that crashes takes no other with it

    def __init__(self, slots: int, listeners: Listeners) -> None:
        self.slots = slots
        self._listeners = listeners

    def prepare(self, handlers: Mapping[Keyword, Handler]) -> None:
        """Find out, before any job is claimed, whether the handlers can run here.

        Raises: HandlerError, ConfigError.
        """

    def surround(self, job: Job) -> Elsewhere | None:
        """Enter the contexts of the listeners in this process, where the handler runs in another one."""
        return None

    def run(self, handler: Handler, job: Job) -> Performed:
        """Run a handler here and now; only inline."""
        raise NotImplementedError

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Let a handler run.

        Args:
            began: called when it begins, on whatever thread.
            surround: what `surround` returned for the job.
            exactly: whether it matters when exactly the handler begins.
        """
        raise NotImplementedError

    def look(self) -> bool:
        """Take note of what has begun, where the pool is not told; True as long as something is expected to."""
        return False

    def withdraw(self, job: Job) -> bool:
        """Let a handler that was submitted not begin any more; False when it has begun, or that cannot be known."""
        return False

    def leave(self, job: Job) -> None:
        """Clear away what there is of a handler that has ended."""

    def silent_for(self) -> float:
        """Return for how many seconds the pool as a whole has been blocked by one of its handlers."""
        return 0.0

    @property
    def error(self) -> BaseException | None:
        """What ended the pool, if it was not told to end."""
        return None

    def shutdown(self) -> None:
        """End the pool, and what runs in it, as far as it can be ended."""


class Inline(Pool):
    """Handlers on the worker's own thread; those that may not take for ever, on a second one, which the worker can turn its back on."""

    is_inline = True

    def __init__(self, slots: int, listeners: Listeners) -> None:
        super().__init__(slots, listeners)
        self._apart = DaemonThreads(slots, "overseer-handler")

    def run(self, handler: Handler, job: Job) -> Performed:
        """Run a handler here and now."""
        return perform(handler, job, self._listeners)

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Run a handler on the second thread."""
        return self._apart.submit(_begun, began, handler, job, self._listeners)

    def shutdown(self) -> None:
        """Let the second thread end."""
        self._apart.shutdown(cancel_futures=True)


class Threads(Pool):
    """Handlers on threads: the worker's, or those of an executor of the caller's, which stays the caller's to shut down."""

    def __init__(self, slots: int, listeners: Listeners, executor: ThreadPoolExecutor | None = None) -> None:
        super().__init__(slots if executor is None else _most(executor, slots), listeners)
        self._own = executor is None
        self.executor = DaemonThreads(slots, "overseer-handler") if executor is None else executor

    def prepare(self, handlers: Mapping[Keyword, Handler]) -> None:
        """Find out whether the caller's executor takes anything."""
        if not self._own:
            _submitted(self.executor, int).cancel()

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Let a handler run on a thread."""
        return self.executor.submit(_begun, began, handler, job, self._listeners)

    def shutdown(self) -> None:
        """Let the threads end."""
        if self._own:
            self.executor.shutdown(wait=False, cancel_futures=True)


class Loop(Pool):
    """Handlers on an event loop; plain functions on threads beside it."""

    def __init__(self, slots: int, listeners: Listeners) -> None:
        super().__init__(slots, listeners)
        self.executor = AsyncioExecutor(slots)

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Let a handler run as a task."""
        return self.executor.submit(_abegun, began, handler, job, self._listeners, self.executor.on_thread)

    def silent_for(self) -> float:
        """Return for how many seconds a handler has blocked the loop."""
        return self.executor.silent_for()

    @property
    def error(self) -> BaseException | None:
        """What ended the loop, if it was not told to end."""
        return self.executor.error

    def shutdown(self) -> None:
        """Cancel the tasks, and end the loop."""
        self.executor.shutdown()


class _Remote(Pool):
    """Handlers in other processes, to which their stages have to be sent."""

    def prepare(self, handlers: Mapping[Keyword, Handler]) -> None:
        """Find out whether the handlers can be sent, and whether a process can be started that loads them."""
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            why = (
                "this process is being started by multiprocessing, which imports the program's main module first: "
                'put the code that starts a worker under `if __name__ == "__main__":`'
            )
            raise ConfigError(":job.error/bad-config", why, setting="executor")
        wrong = {key: fault for key, handler in handlers.items() if (fault := self._fault_of(stages_of(handler)))}
        if wrong:
            list_ = "; ".join(f"{key}: {fault}" for key, fault in wrong.items())
            why = f"these handlers cannot be sent to another process, so they have to be functions that can be imported there: {list_}"
            raise HandlerError(":job.error/bad-handler", why, handlers=wrong)
        try:
            self._rehearse([stages_of(handler) for handler in handlers.values()])
        except ConfigError:
            raise
        except (ProcessDied, BrokenExecutor, OSError) as error:
            why = (
                f"no process for handlers can be started: {error}. Its standard error says why; a program that starts a worker needs "
                '`if __name__ == "__main__":` around that'
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
    """Handlers in processes of the worker's own, of which each can be ended by itself."""

    isolates = True

    def __init__(self, slots: int, listeners: Listeners, start_method: str = "spawn") -> None:
        super().__init__(slots, listeners)
        self.executor = ProcessExecutor(slots, start_method=start_method)

    def _rehearse(self, handlers: list[Handler]) -> None:
        for _ in range(_KILLED - 1):
            try:
                return self._load(handlers)
            except ProcessDied as died:
                if died.exitcode is None or died.exitcode >= 0:
                    raise
                # A signal killed it, which says nothing about the handlers: the system was short of memory, for instance.
        return self._load(handlers)

    def _load(self, handlers: list[Handler]) -> None:
        try:
            self.executor.submit(len, handlers).result(_START)
        except NoAnswer:
            raise ProcessDied(f"it did not start within {_START:.0f} seconds") from None

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Let a handler run in a process."""
        around = [] if surround is None else surround.around
        return self.executor.start(began, exactly, perform_elsewhere, stages_of(handler), job, around)

    def shutdown(self) -> None:
        """End the processes."""
        self.executor.shutdown(cancel_futures=True)


class Foreign(_Remote):
    """Handlers wherever an executor of the caller's takes them, which stays the caller's to shut down."""

    def __init__(self, slots: int, listeners: Listeners, executor: Executor) -> None:
        super().__init__(_most(executor, slots), listeners)
        self.executor = executor
        self._announced = Announcements()

    def _dumps(self, stages: Handler) -> bytes:
        if isinstance(self.executor, ProcessPoolExecutor):
            return pickle.dumps(stages)
        return b""  # it may send functions in a way of its own, as Dask does, or not send them at all

    def _rehearse(self, handlers: list[Handler]) -> None:
        # As bytes: a process of the standard library's pool that cannot load its call ends, and breaks the pool.
        sent = pickle.dumps(handlers) if isinstance(self.executor, ProcessPoolExecutor) else handlers
        rehearsed = _submitted(self.executor, is_reached, self._announced.folder, sent)
        try:
            self._announced.reached = rehearsed.result(_PATIENCE)
        except NoAnswer:
            rehearsed.cancel()

    def submit(
        self, handler: Handler, job: Job, began: Began, surround: Elsewhere | None = None, *, exactly: bool = True
    ) -> Future[Performed]:
        """Let a handler run wherever that is."""
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
        """Take note of what was announced."""
        self._announced.look()
        return bool(self._announced)

    def withdraw(self, job: Job) -> bool:
        """Let a handler that was submitted not begin any more."""
        return self._announced.reached and self._announced.withdraw(job)

    def leave(self, job: Job) -> None:
        """Clear away an announcement."""
        self._announced.forget(job)

    def shutdown(self) -> None:
        """Let nothing begin any more."""
        self._announced.close()


def _begun(began: Began, handler: Handler, job: Job, listeners: Listeners) -> Performed:
    began()
    return perform(handler, job, listeners)


async def _abegun(began: Began, handler: Handler, job: Job, listeners: Listeners, on_thread: Any) -> Performed:
    began()
    return await aperform(handler, job, listeners, on_thread)


def _most(executor: Executor, slots: int) -> int:
    """Return how many handlers an executor can run at a time, as far as it tells: a job that cannot start is not to be claimed."""
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
    """Return the pool that a worker's settings ask for.

    Args:
        kind: one of KINDS, or an executor of the caller's, which stays the caller's to shut down.
        slots: how many handlers may run at a time.
        start_method: how processes of the worker's own are started.

    Raises: ConfigError for a kind that does not exist, and for more slots than it has.
    """
    if isinstance(kind, ThreadPoolExecutor):
        return Threads(slots, listeners, kind)
    if isinstance(kind, Executor):
        return Foreign(slots, listeners, kind)
    if kind not in _KINDS:
        why = f"executor is one of {', '.join(KINDS)}, or a concurrent.futures.Executor; got {quoted(kind)}"
        raise ConfigError(":job.error/bad-config", why, setting="executor")
    if kind == "inline" and slots > 1:
        why = f"handlers run one at a time on the worker's own thread; for concurrency={slots} choose threads, asyncio or processes"
        raise ConfigError(":job.error/bad-config", why, setting="executor")
    if kind == "processes":
        return Processes(slots, listeners, start_method)
    return _KINDS[kind](slots, listeners)
