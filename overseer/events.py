"""Events of jobs in a worker, as values, and the listeners that receive them: logs, traces, metrics and error trackers.

This module imports no listener. Law: whatever a listener does or raises, jobs end as they would without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import current_thread, main_thread
from types import TracebackType
from typing import Any, Final, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

import factstore
from factstore import Keyword
from overseer.jobs.states import Lease, Status

__all__ = [
    "Attempt",
    "Claimed",
    "Closing",
    "Event",
    "Failed",
    "Fatal",
    "Finished",
    "JobEvent",
    "Listener",
    "Lost",
    "Released",
    "Rescued",
    "Retried",
    "Sending",
    "Started",
    "Surrounding",
    "carried",
    "current_lease",
]

log = logging.getLogger("overseer")

P = ParamSpec("P")
T = TypeVar("T")


@factstore.rendering.shown_as_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Args:
        at: the time, by the worker's clock.
        worker: the name of the worker that reports it.
    """

    at: datetime
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(Event):
    """Something that happened to one attempt of a job.

    Args:
        lease: the attempt: its job's entity, id and type, and its number.
        attributes: the attributes of the job.
    """

    lease: Lease
    attributes: Mapping[str, Any]

    @property
    def queue(self) -> Keyword | None:
        """The job's queue, if it has one."""
        return self.attributes.get(":job/queue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(JobEvent):
    """The attempt holds the job, and its handler has not begun.

    Args:
        db: the database right after the claim.
    """

    db: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(JobEvent):
    """The handler begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(JobEvent):
    """The job has finished, and that is committed.

    Args:
        seconds: the duration of the handler.
    """

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(JobEvent):
    """The job has failed or was aborted, and that is committed.

    Args:
        error: the exception of the handler.
        status: `:job.status/failed` or `:job.status/aborted`.
        reason: a value of `:job/reason`.
        suppressed: whether the error is expected, so that error trackers should ignore it.
    """

    seconds: float
    error: BaseException
    status: Status
    reason: Keyword | None
    suppressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried(JobEvent):
    """The attempt has failed and the job will run again, and that is committed.

    Args:
        error: the exception of the handler.
        reason: a value of `:job/reason`: retry, fault, snooze.
        run_at: the earliest time of the next attempt; None is at once.
    """

    seconds: float
    error: BaseException
    reason: Keyword | None
    run_at: datetime | None
    suppressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost(JobEvent):
    """The attempt no longer holds its job, and its outcome was dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued(JobEvent):
    """This worker took the job from a worker that did not renew its lease; `lease` is the expired one.

    Args:
        status: the new status of the job: unstarted, or failed if it has crashed too often.
    """

    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(JobEvent):
    """The worker has released the job, because it stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatal(Event):
    """The worker itself has failed, and will end."""

    error: BaseException


class Attempt(Protocol):
    """An attempt, as the contexts around its handler see it: the job that the handler receives."""

    logs: str | None  # the lines that its handler logged, set by a listener that keeps them

    @property
    def lease(self) -> Lease:
        """The attempt."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes of the job at its claim."""

    @property
    def db(self) -> Any:
        """The database right after the claim."""

    def assert_(self, *forms: Any) -> None:
        """Add tx-data that commits with the end of the attempt."""


class Listener(Protocol):
    """Receives events on the worker's threads, and several at the same time; it should return quickly."""

    def __call__(self, event: Event, /) -> None:
        """Receive an event."""


Around: TypeAlias = Callable[[Attempt], AbstractContextManager[Any]]


@runtime_checkable
class Surrounding(Protocol):
    """An optional method of a listener: a context in which the handler runs, in the handler's own thread or task.

    If the handler runs in another process, the context is entered in the worker's process, and left when the handler
    has ended.
    """

    def around(self, job: Attempt, /) -> AbstractContextManager[Any]:
        """Return the context for the handler of an attempt."""


@runtime_checkable
class Sending(Protocol):
    """An optional method of a listener with a context: another context for a handler in another process."""

    def elsewhere(self, job: Attempt, /) -> Around:
        """Return a picklable function that returns the context there; called inside this listener's own context."""


@runtime_checkable
class Closing(Protocol):
    """An optional method of a listener: it is called when the worker ends."""

    def close(self) -> None:
        """Send the pending data, because the worker ends."""


# The value of `current_lease`, also used by logs. It belongs to a thread or a task, so concurrent handlers do not mix.
_CURRENT: Final[ContextVar[Lease | None]] = ContextVar("overseer_lease", default=None)


def current_lease() -> Lease | None:
    """Return the attempt whose handler this thread or task runs; None outside of handlers."""
    return _CURRENT.get()


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that runs in the context of the current attempt, for threads that a handler starts.

    >>> from threading import Thread
    >>> thread = Thread(target=carried(print), args=("as if in the handler itself",))
    >>> thread.start(), thread.join()
    as if in the handler itself
    (None, None)
    """
    context = copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        # A context cannot be entered twice at the same time, but a copy can be entered.
        return context.copy().run(function, *args, **kwargs)

    return run


def _ends_program(error: BaseException) -> bool:
    """Return whether an exception ends the program: the interpreter and signal handlers raise it in the main thread."""
    return current_thread() is main_thread() and isinstance(error, KeyboardInterrupt | SystemExit)


class Listeners:
    """All listeners of a worker. It is false if there are none, so that a worker need not create events."""

    def __init__(self, listeners: Iterable[Listener] = (), *, around: Iterable[Around] = ()) -> None:
        self._listeners = tuple(listeners)
        self._around = (
            *(listener.around for listener in self._listeners if isinstance(listener, Surrounding)),
            *around,
        )

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def tell(self, event: Event) -> None:
        """Send an event to all listeners. If one of them raises, the exception is logged and the others follow."""
        for listener in self._listeners:
            try:
                listener(event)
            except BaseException as error:
                if _ends_program(error):
                    raise
                log.exception("the listener %r failed on %s", listener, type(event).__name__)

    def close(self) -> None:
        """Close all listeners, so that they send their pending data."""
        for listener in self._listeners:
            if isinstance(listener, Closing):
                try:
                    listener.close()
                except BaseException as error:
                    if _ends_program(error):
                        raise
                    log.exception("the listener %r failed on closing", listener)

    def around(self, job: Attempt) -> AbstractContextManager[None]:
        """Return the context of a handler: it sets `current_lease`, and enters the contexts of the listeners."""
        return self._surrounded(job) if self._around else _Current(job.lease)

    def elsewhere(self, job: Attempt) -> Elsewhere | None:
        """Enter the contexts of the listeners for a handler that runs in another process; None if there are none."""
        sending = [listener.elsewhere for listener in self._listeners if isinstance(listener, Sending)]
        return Elsewhere(self._around, sending, job) if self._around else None

    @contextmanager
    def _surrounded(self, job: Attempt) -> Iterator[None]:
        with _Current(job.lease), ExitStack() as stack:
            for around in self._around:
                stack.enter_context(_Harmless(partial(around, job)))
            yield


class Elsewhere:
    """The contexts of the listeners for a handler in another process. Any thread may enter and leave them.

    Args:
        around: the contexts for this process.
        sending: functions that return the contexts for the other process, which are then in `around`.
    """

    def __init__(self, around: Iterable[Around], sending: Iterable[Callable[[Attempt], Around]], job: Attempt) -> None:
        self._context = copy_context()
        self._stack = ExitStack()
        self.around: list[Around] = []
        self._context.run(self._enter, around, sending, job)

    def _enter(self, around: Iterable[Around], sending: Iterable[Callable[[Attempt], Around]], job: Attempt) -> None:
        for one in around:
            self._stack.enter_context(_Harmless(partial(one, job)))
        for listener in sending:
            try:
                self.around.append(listener(job))
            except Exception:
                log.exception("a listener has no context for the other process")

    def leave(self, error: BaseException | None) -> None:
        """Leave the contexts, which receive the exception of the handler."""
        if error is None:
            self._context.run(self._stack.__exit__, None, None, None)
        else:
            self._context.run(self._stack.__exit__, type(error), error, error.__traceback__)


class _Current(AbstractContextManager[None]):
    """A context in which `current_lease` is the lease of an attempt."""

    __slots__ = ("_lease", "_token")

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._lease)

    def __exit__(self, *error: object) -> None:
        _CURRENT.reset(self._token)


class _Harmless:
    """A listener's context: its own errors are logged, and the errors of the handler pass through it."""

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make = make
        self._inner: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        try:
            inner = self._make()
            inner.__enter__()
            self._inner = inner
        except Exception:
            log.exception("a listener's context could not be entered")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inner is None:
            return
        try:
            self._inner.__exit__(kind, error, trace)
        except Exception as broken:
            if broken is not error:
                log.exception("a listener's context could not be left")
