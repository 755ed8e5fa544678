"""What happens to jobs in a worker, as values, and who is told: the one entrance of logs, traces, metrics and error trackers.

Knows no listener by name. Law: whatever a listener does or raises, no job ends otherwise than it would have without it.
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

from factstore import Keyword
from overseer.jobs.states import Lease, Status

log = logging.getLogger("overseer")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened.

    Args:
        at: when, by the worker's clock.
        worker: who tells.
    """

    at: datetime
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(Event):
    """Something that happened to one attempt of a job.

    Args:
        lease: the attempt: its job's entity, id and type, and its number.
        attributes: what is known of the job, by attribute.
    """

    lease: Lease
    attributes: Mapping[str, Any]

    @property
    def queue(self) -> Keyword | None:
        """The job's queue, if it has one."""
        return self.attributes.get(":job/queue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(JobEvent):
    """The attempt holds the job; its handler has not begun.

    Args:
        db: the database right after the claim.
    """

    db: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(JobEvent):
    """The handler begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(JobEvent):
    """The handler did its work, and that is recorded.

    Args:
        seconds: how long the handler ran.
    """

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(JobEvent):
    """The job ended badly, and that is recorded.

    Args:
        error: what the handler raised.
        status: `:job.status/failed` or `:job.status/aborted`.
        reason: a value of `:job/reason`.
        suppressed: whether this was expected, so that no error tracker should hear of it.
    """

    seconds: float
    error: BaseException
    status: Status
    reason: Keyword | None
    suppressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried(JobEvent):
    """The attempt did not come to an end, the job will run again, and that is recorded.

    Args:
        error: what the handler raised.
        reason: a value of `:job/reason`: retry, fault, snooze.
        run_at: not before this time; None is at once.
    """

    seconds: float
    error: BaseException
    reason: Keyword | None
    run_at: datetime | None
    suppressed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost(JobEvent):
    """The attempt no longer holds its job; what it came to was refused and dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued(JobEvent):
    """This worker took the job from another that went silent; `lease` is the one that ran out.

    Args:
        status: what became of the job: unstarted, or failed when it took too many workers with it.
    """

    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Released(JobEvent):
    """The worker gave the job back, for it stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatal(Event):
    """The worker itself failed, and will end."""

    error: BaseException


class Attempt(Protocol):
    """What surrounds a handler sees of its attempt: the job that the handler is given."""

    @property
    def lease(self) -> Lease:
        """The attempt."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What was known of the job at its claim."""

    @property
    def db(self) -> Any:
        """The database right after the claim."""

    def assert_(self, *forms: Any) -> None:
        """Add tx-data that commits when the attempt finishes."""


class Listener(Protocol):
    """Is told of events, one after the other on the worker's threads; it has to be quick, and may be told by several at once."""

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""


Around: TypeAlias = Callable[[Attempt], AbstractContextManager[Any]]


@runtime_checkable
class Surrounding(Protocol):
    """What a listener may offer besides: a context in which the handler runs, in the handler's own thread or task.

    Around a handler that runs in another process the context is entered in the worker's process, and left when the handler has ended.
    """

    def around(self, job: Attempt, /) -> AbstractContextManager[Any]:
        """Return the context of one attempt's handler."""


@runtime_checkable
class Sending(Protocol):
    """What a listener with a context may offer besides: a context for the other process, where the handler runs in one."""

    def elsewhere(self, job: Attempt, /) -> Around:
        """Return a function that can be pickled, and gives the context there; called inside of this listener's own context."""


@runtime_checkable
class Closing(Protocol):
    """What a listener may offer besides: an end, at which it sends off what it holds."""

    def close(self) -> None:
        """Send off what is left; the worker ends."""


# What `current_lease` tells and logs show. It is set per thread and task, so that handlers that run at once do not mix.
_CURRENT: Final[ContextVar[Lease | None]] = ContextVar("overseer_lease", default=None)


def current_lease() -> Lease | None:
    """Return the attempt whose handler this thread or task runs; None outside of handlers."""
    return _CURRENT.get()


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that runs in the context of the attempt that it was made in, for the threads that a handler starts.

    >>> from threading import Thread
    >>> thread = Thread(target=carried(print), args=("as if in the handler itself",))
    >>> thread.start(), thread.join()
    as if in the handler itself
    (None, None)
    """
    context = copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        # A context cannot be entered twice at once; a copy of it can.
        return context.copy().run(function, *args, **kwargs)

    return run


def _ends_program(error: BaseException) -> bool:
    """Return whether an exception asks the program to end: the interpreter and signal handlers raise such a one in the main thread."""
    return current_thread() is main_thread() and isinstance(error, KeyboardInterrupt | SystemExit)


class Listeners:
    """Those who are told. False when there is nobody, so that a worker need not make events for no one."""

    def __init__(self, listeners: Iterable[Listener] = (), *, around: Iterable[Around] = ()) -> None:
        self._listeners = tuple(listeners)
        self._around = (
            *(listener.around for listener in self._listeners if isinstance(listener, Surrounding)),
            *around,
        )

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def tell(self, event: Event) -> None:
        """Tell everybody of an event; what one of them raises is logged, and the others are told all the same."""
        for listener in self._listeners:
            try:
                listener(event)
            except BaseException as error:
                if _ends_program(error):
                    raise
                log.exception("the listener %r failed on %s", listener, type(event).__name__)

    def close(self) -> None:
        """Let everybody send off what is left."""
        for listener in self._listeners:
            if isinstance(listener, Closing):
                try:
                    listener.close()
                except BaseException as error:
                    if _ends_program(error):
                        raise
                    log.exception("the listener %r failed on closing", listener)

    def around(self, job: Attempt) -> AbstractContextManager[None]:
        """Return the context of a handler: `current_lease` tells of its attempt, and the contexts of the listeners surround it."""
        return self._surrounded(job) if self._around else _Current(job.lease)

    def elsewhere(self, job: Attempt) -> Elsewhere | None:
        """Enter the contexts of the listeners around a handler that will run in another process; None where there are none."""
        sending = [listener.elsewhere for listener in self._listeners if isinstance(listener, Sending)]
        return Elsewhere(self._around, sending, job) if self._around else None

    @contextmanager
    def _surrounded(self, job: Attempt) -> Iterator[None]:
        with _Current(job.lease), ExitStack() as stack:
            for around in self._around:
                stack.enter_context(_Harmless(partial(around, job)))
            yield


class Elsewhere:
    """The contexts of the listeners around a handler in another process. They are entered, and left, on whatever thread it is.

    Args:
        around: the contexts for this process.
        sending: makes those for the other one, which are then in `around`.
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
        """Leave the contexts, which see the error that the handler raised."""
        if error is None:
            self._context.run(self._stack.__exit__, None, None, None)
        else:
            self._context.run(self._stack.__exit__, type(error), error, error.__traceback__)


class _Current(AbstractContextManager[None]):
    """A stretch of a thread or a task that belongs to one attempt."""

    __slots__ = ("_lease", "_token")

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self._lease)

    def __exit__(self, *error: object) -> None:
        _CURRENT.reset(self._token)


class _Harmless:
    """A listener's context whose own errors are logged, and which lets every error of the handler through."""

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
