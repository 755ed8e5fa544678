"""Handlers: their two shapes, how they are called and wrapped, and the facts or the failure that an attempt leaves.

A handler is a function of the job, or a mapping of stages: `pre_process(job)`, `process(job)`, `post_process(job,
result)`. They are plain functions or coroutine functions. A list or tuple that a handler returns is tx-data, and
commits with the status. A `Result` leaves a value to the jobs that depend on this one, and so does a single value, such
as a number or a text. Any other collection, such as a dict or a generator, fails the job. Law: no value is dropped.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from typing import Any, Final, NoReturn, TypeAlias

import factstore
from factstore import FactStoreError, Keyword, quoted
from overseer.errors import HandlerError, Verdict
from overseer.jobs.job import Job, Result
from overseer.jobs.states import ABORTED, FAILED, MAX_MESSAGE, UNSTARTED, as_keyword, repeated_names
from overseer.retry import NEVER, Retry
from overseer.tracebacks import MAX_TRACEBACK, traceback_text

Handler: TypeAlias = Callable[[Job], Any] | Mapping[str, Any]
Handlers: TypeAlias = Mapping[str, Handler]
Stage: TypeAlias = Callable[..., Any]

STAGES: Final = ("pre_process", "process", "post_process")
_KEYS: Final = frozenset({*STAGES, "retry", "timeout"})


def abort(message: str) -> NoReturn:
    """Abort the job, and every job that waits for it; called by a handler."""
    raise Verdict(message, status=ABORTED)


def abort_silent(message: str) -> NoReturn:
    """Abort the job without a report to error trackers; called by a handler."""
    raise Verdict(message, status=ABORTED, suppress=True)


def fault(message: str, *, pause: float | None = None) -> NoReturn:
    """Let the job run again later, because of a temporary condition; called by a handler.

    Args:
        pause: seconds before the next run; None is a pause that grows with the number of faults.
    """
    raise Verdict(message, status=UNSTARTED, suppress=True, pause=pause)


def snooze(pause: float, message: str = "snoozed") -> NoReturn:
    """Let the job run again after `pause` seconds, without counting a failure or a fault; called by a handler."""
    raise Verdict(message, status=UNSTARTED, suppress=True, pause=pause, counts=False)


def check_handlers(handlers: Handlers) -> dict[Keyword, Handler]:
    """Return the handlers by type; reject handlers that cannot be called, all of them in one error.

    Raises: HandlerError with each of them and its fault.
    """
    if not isinstance(handlers, Mapping) or not handlers:
        given = f"{type(handlers).__name__}: {quoted(handlers)}" if handlers else quoted(handlers)
        why = f'expected a non-empty mapping from job type to handler, such as {{"mail/send": send}}, got {given}'
        raise HandlerError(":job.error/bad-handler", why, handlers=handlers)
    wrong = {key: fault for key, handler in handlers.items() if (fault := _fault_of_key(key) or _fault_of(handler))}
    if not wrong:
        wrong = dict.fromkeys(repeated_names(handlers), "another key here is the same type, and a type has one handler")
    if wrong:
        list_ = "; ".join(f"{key}: {fault}" for key, fault in wrong.items())
        raise HandlerError(":job.error/bad-handler", f"these handlers cannot be called: {list_}", handlers=wrong)
    return {as_keyword(key): handler for key, handler in handlers.items()}


def _fault_of_key(key: Any) -> str | None:
    return None if isinstance(key, str) and key.strip(":") else f"a job type is a keyword or a text, got {quoted(key)}"


def _fault_of(handler: Any) -> str | None:
    """Return why a handler cannot be called; None if it can."""
    if not isinstance(handler, Mapping):
        return (
            _fault_of_stage(handler)
            if callable(handler)
            else f"handlers must be either a function or a mapping, got {quoted(handler)}"
        )
    if not callable(handler.get("process")):
        return "a handler mapping has a 'process' function"
    unknown = sorted(map(str, set(handler) - _KEYS))
    if unknown:
        return f"it has unknown keys: {', '.join(unknown)}; the keys of a handler are {', '.join(sorted(_KEYS))}"
    if not isinstance(handler.get("retry", NEVER), Retry):
        return f"its retry is a Retry, got {quoted(handler['retry'])}"
    if "timeout" in handler and (not isinstance(handler["timeout"], timedelta) or handler["timeout"] <= timedelta(0)):
        return f"its timeout is a timedelta above 0, got {quoted(handler['timeout'])}"
    return next(
        (f"{stage} {fault}" for stage in STAGES if stage in handler and (fault := _fault_of_stage(handler[stage]))),
        None,
    )


def _fault_of_stage(stage: Any) -> str | None:
    if not callable(stage):
        return "is not a function"
    if any(
        inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        for function in _functions_of(stage)
    ):
        return "is a generator function, and calling it does not run its body; return a list instead of using yield"
    return None


def _functions_of(stage: Any) -> tuple[Any, ...]:
    """Return the functions that a call of a stage may run: the stage itself, and the `__call__` of its class."""
    while isinstance(stage, functools.partial):
        stage = stage.func
    if isinstance(stage, type):  # a call creates an object
        return (stage,)
    return stage, getattr(stage, "__call__", None)  # noqa: B004 - the class of the object may define it


def stages_of(handler: Handler) -> Handler:
    """Return the stages of a handler, which are sent to other processes without its retry policy and its timeout."""
    return {name: handler[name] for name in STAGES if name in handler} if isinstance(handler, Mapping) else handler


def retry_of(handler: Handler) -> Retry:
    """Return the retry policy of a handler; the default is no retry."""
    policy: Retry = handler.get("retry", NEVER) if isinstance(handler, Mapping) else NEVER
    return policy


def timeout_of(handler: Handler) -> timedelta | None:
    """Return how long an attempt of a handler may take; None is no limit."""
    timeout: timedelta | None = handler.get("timeout") if isinstance(handler, Mapping) else None
    return timeout


def invoke(handler: Handler, job: Job) -> Any:
    """Run a handler, or its stages, on a job and return its value; a coroutine is run to its end."""
    steps = _stages(handler, job)
    stage = next(steps)
    while True:
        value = stage()
        try:
            stage = steps.send(_run_to_end(value) if inspect.isawaitable(value) else value)
        except StopIteration as end:
            return _value_of(job, end.value)


OnThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]


async def ainvoke(handler: Handler, job: Job, on_thread: OnThread = asyncio.to_thread) -> Any:
    """Run a handler as `invoke` does, on the event loop; plain functions run on a thread and do not block the loop."""
    steps = _stages(handler, job)
    stage = next(steps)
    while True:
        value = stage() if _is_coroutine(stage) else await on_thread(stage)
        try:
            stage = steps.send(await _awaited(value) if inspect.isawaitable(value) else value)
        except StopIteration as end:
            return _value_of(job, end.value)


class _Call:
    """A stage with its arguments."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: Stage, *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __call__(self) -> Any:
        with _ForksEnd():
            return self.function(*self.arguments)


class _ForksEnd:
    """A block at whose end a process that was forked in it ends: the job belongs to the parent."""

    __slots__ = ("_process",)

    def __enter__(self) -> None:
        self._process = os.getpid()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if os.getpid() != self._process:
            _end_fork(error)


def _end_fork(error: BaseException | None) -> NoReturn:
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    elif error is not None:
        traceback.print_exception(error)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status & 0xFF)


def _stages(handler: Handler, job: Job) -> Generator[_Call, Any, Any]:
    """Yield each stage to call; the caller sends its value."""
    if not isinstance(handler, Mapping):
        return (yield _Call(handler, job))
    if "pre_process" in handler:
        ignored = yield _Call(handler["pre_process"], job)
        if isinstance(ignored, Generator | AsyncGenerator):
            raise HandlerError(
                ":job.error/bad-return",
                f"pre_process of {job.type} returned a generator, whose body has not run",
                job=job.id,
            )
    result = yield _Call(handler["process"], job)
    return (yield _Call(handler["post_process"], job, result)) if "post_process" in handler else result


def _value_of(job: Job, value: Any) -> Any:
    """Return the value of a handler that has returned, unless it should have ended at a wait."""
    if isinstance(job, Job) and job.waits:  # tests of handlers may give them another object
        why = (
            f"the handler of {job.type} {job.id} caught the exception by which job.wait ends the attempt: catch "
            "WaitExpired or other exact classes around job.wait and job.ask, not Exception"
        )
        raise HandlerError(":job.error/wait-caught", why, job=job.id)
    return value


def _is_coroutine(stage: _Call) -> bool:
    return inspect.iscoroutinefunction(stage.function) or any(
        map(inspect.iscoroutinefunction, _functions_of(stage.function))
    )


def _run_to_end(awaitable: Awaitable[Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(awaitable))
    # A loop, such as a notebook's, runs on this thread, and a thread has one running loop at most.
    context = copy_context()
    with ThreadPoolExecutor(1) as other_thread:
        return other_thread.submit(context.run, asyncio.run, _awaited(awaitable)).result()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    with _ForksEnd():
        return await awaitable


# A handler returns such a value only to have it kept or run, which is impossible.
_NOT_KEPT: Final = (Mapping, Set, Generator, AsyncGenerator, Coroutine, map, filter, zip)


def facts_of(returned: Any, job: Job) -> list[Any]:
    """Return the tx-data of a run: what the handler asserted, and what it returned if that is a list or a tuple.

    Raises: HandlerError(:job.error/bad-return) for another collection, for a generator, whose body has not run, and for
        transaction data as text.
    """
    if isinstance(returned, list | tuple):
        return [*job.asserted, *returned]
    if isinstance(returned, Result):
        return [*job.asserted, *returned.facts]
    if returned is None or isinstance(returned, Job):
        return list(job.asserted)
    is_text = isinstance(returned, str) and returned.lstrip().startswith(("[", "{"))
    if isinstance(returned, _NOT_KEPT) or is_text:
        what = "text that looks like transaction data" if is_text else f"a {type(returned).__name__}"
        why = (
            f"the handler of {job.type} {job.id} returned {what}, which would not be kept: "
            "return a list of tx-data, or a Result to leave a value to other jobs"
        )
        raise HandlerError(":job.error/bad-return", why, job=job.id, returned=type(returned).__name__)
    return list(job.asserted)


def result_of(returned: Any, job: Job) -> str | None:
    """Return the EDN of the value that a handler leaves to other jobs; None if there is none.

    The value is that of a Result, or a single value that the handler returned, such as a number or a text.

    Raises: HandlerError(:job.error/bad-result) for a value that EDN cannot represent, or that is too large.
    """
    if returned is None or isinstance(returned, Job | list | tuple):
        return None
    value = returned.value if isinstance(returned, Result) else returned
    try:
        return factstore.edn.write(value, longest=MAX_RESULT)
    except Exception as error:  # the value's own methods may raise anything
        why = f"the result of {job.type} {job.id} cannot be kept as EDN: {message_of(error)}"
        raise HandlerError(":job.error/bad-result", why, job=job.id) from error


MAX_DATA: Final = 100_000  # characters of an error's data, as EDN
MAX_RESULT: Final = 1 << 20  # characters: every job that depends on the result reads it


class RemoteTraceback(Exception):
    """The traceback of an error of another process, as text. In this process it is the cause of the error.

    Args:
        text: the traceback.
        at: the position where the error was raised, as in `:job/failure`.
        kept: the traceback as it is kept with the job.
    """

    def __init__(self, text: str, at: str | None = None, kept: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.at = at
        self.kept = kept

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class RemoteError(Exception):
    """Replaces an error of another process that cannot be pickled.

    Args:
        kind: the class of the error, with its module.
        message: its message.
        data: its data, as far as they can be kept.
    """

    def __init__(self, kind: str, message: str, data: Mapping[Any, Any] | None = None) -> None:
        super().__init__(kind, message, data)
        self.kind = kind
        self.message = message
        self.data = data

    @classmethod
    def of(cls, error: BaseException) -> RemoteError:
        """Return the replacement of an error."""
        return cls(class_of(error), message_of(error), data_of(error))

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def failure_info(error: BaseException) -> dict[Keyword, Any]:
    """Return the value of `:job/failure` for an error: its class, message, position, data and traceback.

    A Verdict has no traceback, because the handler raised it on purpose.
    """
    info: dict[Keyword, Any] = {
        Keyword(":reason"): Keyword(":system/exception"),
        Keyword(":exception"): error.kind if isinstance(error, RemoteError) else class_of(error),
        Keyword(":message"): error.message[:MAX_MESSAGE] if isinstance(error, RemoteError) else message_of(error),
    }
    position = place_of(error)
    if position is not None:
        info[Keyword(":at")] = position
    if data := data_of(error):
        info[Keyword(":data")] = data
    if place_of(error) is not None and not isinstance(error, Verdict):
        info[Keyword(":traceback")] = kept_traceback(error)
    return info


def kept_traceback(error: BaseException) -> str:
    """Return the traceback of an error as it is kept with a job, also if it was raised in another process."""
    remote = error.__cause__
    return (
        (remote.kept or remote.text[-MAX_TRACEBACK:]) if isinstance(remote, RemoteTraceback) else traceback_text(error)
    )


def data_of(error: BaseException) -> dict[Any, Any]:
    """Return the data of an error that can be kept: of its attribute `data`, if that is a mapping."""
    data = error.data if isinstance(error, FactStoreError) else getattr(error, "data", None)
    return serializable(data) if isinstance(data, Mapping) else {}


def class_of(error: BaseException) -> str:
    """Return the name of an error's class, with its module unless it is built in."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def place_of(error: BaseException) -> str | None:
    """Return where an error was raised: file, line and function; None if it was not raised."""
    if isinstance(error.__cause__, RemoteTraceback):
        return error.__cause__.at
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}" if frames else None


def serializable(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the entries of a mapping whose key and value can be written as EDN, without the others.

    A long value is replaced by the beginning of its EDN.
    """
    kept: dict[Any, Any] = {}
    left = MAX_DATA
    for key, value in data.items():
        name = _edn(key)
        # Only the beginning of a text is written.
        text = (
            None
            if name is None or len(name) > MAX_MESSAGE
            else _edn(value[: MAX_MESSAGE + 1] if isinstance(value, str) else value)
        )
        if name is not None and text is not None and left > 0:
            kept[key] = value if len(text) <= min(left, MAX_MESSAGE) else text[: min(left, MAX_MESSAGE)]
            left -= len(name) + len(text)
    return kept


def _edn(value: Any) -> str | None:
    try:
        return factstore.edn.write(value, longest=MAX_RESULT)
    except Exception:  # the value's own methods may raise anything
        return None


def message_of(error: BaseException) -> str:
    """Return the message of an error as UTF-8, cut if it is long, and a replacement if its `__str__` fails."""
    try:
        return str(error)[:MAX_MESSAGE].encode("utf-8", "replace").decode()
    except BaseException as broken:
        return f"(its message is unavailable: {type(broken).__name__})"


# The statuses that a handler may choose for its job.
CHOSEN: Final = (ABORTED, FAILED, UNSTARTED)


def status_of(error: BaseException) -> Keyword:
    """Return the status that an error gives its job: FAILED, or the status of a Verdict if it is allowed."""
    return error.status if isinstance(error, Verdict) and error.status in CHOSEN else FAILED


# The functions of missing stages. That of post_process returns the result: if it returned the job, as in Overseer 0.9,
# wrapping a missing stage would change the value of the handler.
_IDENTITY: Final[Mapping[str, Stage]] = {
    "pre_process": lambda job: job,
    "process": lambda job: job,
    "post_process": lambda job, result: result,
}


def harness(handler: Handler, wrapper: Callable[[Stage], Stage], stage: str = "process") -> dict[str, Any]:
    """Return the handler as a mapping with one of its stages wrapped. Harnesses can be nested.

    Args:
        handler: a function of the job, or a mapping of stages.
        wrapper: takes the stage's function and returns the function to call instead.
        stage: "pre_process", "process" or "post_process"; a missing stage is wrapped as one that does nothing.

    >>> def loudly(f):
    ...     return lambda job: f(job).upper()
    >>> harness(lambda job: "done", loudly)["process"](None)
    'DONE'
    """
    if not callable(wrapper):
        why = f"a wrapper is a function from a stage to a stage, got {quoted(wrapper)}"
        raise HandlerError(":job.error/bad-handler", why, wrapper=wrapper)
    if stage not in STAGES:
        raise HandlerError(
            ":job.error/unknown-stage", f"a handler's stages are {', '.join(STAGES)}; got {quoted(stage)}", stage=stage
        )
    stages = dict(handler) if isinstance(handler, Mapping) else {"process": handler}
    return {**stages, stage: wrapper(stages.get(stage, _IDENTITY[stage]))}
