"""Handlers: their two shapes, how one is called or wrapped, and what its return or its exception means for the job.

A handler is a function of the job, or a mapping of stages: `pre_process(job)`, `process(job)`, `post_process(job, result)`; plain
functions or coroutine functions. A list or tuple that it returns is tx-data and commits with the status; a `Result` leaves a value
to the jobs that depend on this one; any other value it returns is not kept, as in Overseer.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta
from typing import Any, Final, NoReturn, TypeAlias

import factstore
from factstore import FactStoreError, Keyword, quoted
from overseer.attempt import Job, Result
from overseer.errors import HandlerError, Verdict
from overseer.job import ABORTED, FAILED, UNSTARTED, as_keyword
from overseer.retry import NEVER, Retry

log = logging.getLogger("overseer")

Handler: TypeAlias = Callable[[Job], Any] | Mapping[str, Any]
Handlers: TypeAlias = Mapping[str, Handler]
Stage: TypeAlias = Callable[..., Any]

STAGES: Final = ("pre_process", "process", "post_process")
_KEYS: Final = frozenset({*STAGES, "retry", "timeout"})


def abort(message: str) -> NoReturn:
    """End the job as aborted, and with it every job that waits for it; called by a handler."""
    raise Verdict(message, status=ABORTED)


def abort_silent(message: str) -> NoReturn:
    """End the job as aborted without telling any error tracker; called by a handler."""
    raise Verdict(message, status=ABORTED, suppress=True)


def fault(message: str, *, pause: float | None = None) -> NoReturn:
    """Put the job back, to be run again later; called by a handler that met a condition that will pass.

    Args:
        pause: seconds before the next run; None lets the pause grow with the number of faults.
    """
    raise Verdict(message, status=UNSTARTED, suppress=True, pause=pause)


def snooze(pause: float, message: str = "snoozed") -> NoReturn:
    """Put the job back for so many seconds, which counts as no failure and no fault; called by a handler that came too early."""
    raise Verdict(message, status=UNSTARTED, suppress=True, pause=pause, counts=False)


def check_handlers(handlers: Handlers) -> dict[Keyword, Handler]:
    """Return the handlers by type; refuse, all at once, those that could not be called.

    Raises: HandlerError naming each of them and what is wrong with it.
    """
    wrong = {key: fault for key, handler in handlers.items() if (fault := _fault_of(handler))}
    if wrong:
        list_ = "; ".join(f"{key}: {fault}" for key, fault in wrong.items())
        raise HandlerError(":job.error/bad-handler", f"these handlers cannot be called: {list_}", handlers=wrong)
    return {as_keyword(key): handler for key, handler in handlers.items()}


def _fault_of(handler: Any) -> str | None:
    """Say why a handler could not be called; None when it can."""
    if not isinstance(handler, Mapping):
        return None if callable(handler) else f"handlers must be either a function or a mapping, got {quoted(handler)}"
    if not callable(handler.get("process")):
        return "expected the handler mapping to define a 'process' function"
    unknown = sorted(map(str, set(handler) - _KEYS))
    if unknown:
        return f"it has {', '.join(unknown)}, but only {', '.join(sorted(_KEYS))} mean anything"
    if not isinstance(handler.get("retry", NEVER), Retry):
        return f"its retry is a Retry, got {quoted(handler['retry'])}"
    if "timeout" in handler and (not isinstance(handler["timeout"], timedelta) or handler["timeout"] <= timedelta(0)):
        return f"its timeout is a timedelta above 0, got {quoted(handler['timeout'])}"
    return next((f"{stage} is not a function" for stage in STAGES if stage in handler and not callable(handler[stage])), None)


def retry_of(handler: Handler) -> Retry:
    """Return the retry policy that a handler brings; one that says nothing is not retried."""
    found: Retry = handler.get("retry", NEVER) if isinstance(handler, Mapping) else NEVER
    return found


def timeout_of(handler: Handler) -> timedelta | None:
    """Return how long an attempt of a handler may take; None is for ever."""
    found: timedelta | None = handler.get("timeout") if isinstance(handler, Mapping) else None
    return found


def invoke(handler: Handler, job: Job) -> Any:
    """Run a handler on a job, through its stages where it has them, and return what it returns; a coroutine is run to its end."""
    steps = _stages(handler, job)
    stage = next(steps)
    while True:
        made = stage()
        try:
            stage = steps.send(_run_to_end(made) if inspect.isawaitable(made) else made)
        except StopIteration as end:
            return end.value


async def ainvoke(handler: Handler, job: Job) -> Any:
    """Run a handler as `invoke` does, on the event loop: coroutines here, plain functions on a thread, for they would hold up the loop."""
    steps = _stages(handler, job)
    stage = next(steps)
    while True:
        made = await asyncio.to_thread(stage) if not _is_coroutine(stage) else stage()
        try:
            stage = steps.send(await made if inspect.isawaitable(made) else made)
        except StopIteration as end:
            return end.value


class _Call:
    """One stage, ready to be called."""

    __slots__ = ("arguments", "function")

    def __init__(self, function: Stage, *arguments: Any) -> None:
        self.function = function
        self.arguments = arguments

    def __call__(self) -> Any:
        return self.function(*self.arguments)


def _stages(handler: Handler, job: Job) -> Generator[_Call, Any, Any]:
    """Yield each stage to be called, and be sent what it returned."""
    if not isinstance(handler, Mapping):
        return (yield _Call(handler, job))
    if "pre_process" in handler:
        yield _Call(handler["pre_process"], job)
    result = yield _Call(handler["process"], job)
    return (yield _Call(handler["post_process"], job, result)) if "post_process" in handler else result


def _is_coroutine(stage: _Call) -> bool:
    call = getattr(stage.function, "__call__", None)  # noqa: B004 - of an object whose class defines a coroutine
    return inspect.iscoroutinefunction(stage.function) or inspect.iscoroutinefunction(call)


def _run_to_end(made: Awaitable[Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(made))
    # A notebook's loop, say, runs on this thread, and a thread has one at a time.
    context = copy_context()
    with ThreadPoolExecutor(1) as another:
        return another.submit(context.run, asyncio.run, _awaited(made)).result()


async def _awaited(made: Awaitable[Any]) -> Any:
    return await made


def facts_of(returned: Any, job: Job) -> list[Any]:
    """Return the tx-data of a run: what the handler returned, if that is a list or a tuple, and what it asserted on the way."""
    if isinstance(returned, list | tuple):
        return [*job.asserted, *returned]
    if isinstance(returned, Result):
        return [*job.asserted, *returned.facts]
    if returned is not None and not isinstance(returned, Job):
        log.debug("handler of %s returned %s, which is no tx-data and is not kept", job.type, type(returned).__name__)
    return list(job.asserted)


def result_of(returned: Any, job: Job) -> str | None:
    """Return the EDN of the value that a handler leaves to others; None when it leaves none.

    Raises: HandlerError(:job.error/bad-result) for a value that EDN cannot write, or that is too large.
    """
    if not isinstance(returned, Result):
        return None
    try:
        return factstore.edn.write(returned.value, longest=MAX_RESULT)
    except FactStoreError as error:
        why = f"the result of {job.type} {job.id} cannot be kept as EDN: {error.message}"
        raise HandlerError(":job.error/bad-result", why, job=job.id) from error


MAX_MESSAGE: Final = 10_000  # characters of an error's message that are kept; it may quote a whole document
MAX_RESULT: Final = 1 << 20  # characters: a result is read by every job that depends on it


def failure_info(error: BaseException) -> dict[Keyword, Any]:
    """Return what is kept of an error in `:job/failure`: its class, its message, where it was raised, and its data if it has any."""
    kind = type(error)
    info: dict[Keyword, Any] = {
        Keyword(":reason"): Keyword(":system/exception"),
        Keyword(":exception"): kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}",
        Keyword(":message"): _text(error),
    }
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        info[Keyword(":at")] = f"{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}"
    data = error.data if isinstance(error, FactStoreError) else getattr(error, "data", None)
    if isinstance(data, Mapping) and (kept := serializable(data)):
        info[Keyword(":data")] = kept
    return info


def serializable(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the entries of a mapping whose key and value can be written as EDN; the others are left out."""
    return {key: value for key, value in data.items() if _writes(key) and _writes(value)}


def _writes(value: Any) -> bool:
    try:
        factstore.edn.write(value, longest=MAX_RESULT)
    except FactStoreError:
        return False
    return True


def _text(error: BaseException) -> str:
    """Return the message of an error, even of one whose own `__str__` fails or that no UTF-8 text can hold; not all of a long one."""
    try:
        return str(error)[:MAX_MESSAGE].encode("utf-8", "replace").decode()
    except Exception as broken:
        return f"(its message could not be had: {type(broken).__name__})"


def status_of(error: BaseException) -> Keyword:
    """Return the status that an error gives its job."""
    return error.status if isinstance(error, Verdict) else FAILED


# What a stage that a handler lacks does. The identity of post_process keeps the result: with the job in its place,
# as in Overseer 0.9, wrapping a missing stage would change what the handler returns.
_IDENTITY: Final[Mapping[str, Stage]] = {
    "pre_process": lambda job: job,
    "process": lambda job: job,
    "post_process": lambda job, result: result,
}


def harness(handler: Handler, wrapper: Callable[[Stage], Stage], stage: str = "process") -> dict[str, Any]:
    """Return the handler as a mapping with one of its stages wrapped; harnesses nest.

    Args:
        handler: a function of the job, or a mapping of stages.
        wrapper: takes the stage's function and returns the one to call in its place.
        stage: "pre_process", "process" or "post_process"; one that the handler lacks is wrapped as doing nothing.

    >>> def loudly(f):
    ...     return lambda job: f(job).upper()
    >>> harness(lambda job: "done", loudly)["process"](None)
    'DONE'
    """
    if stage not in STAGES:
        raise HandlerError(":job.error/unknown-stage", f"a handler's stages are {', '.join(STAGES)}; got {quoted(stage)}", stage=stage)
    stages = dict(handler) if isinstance(handler, Mapping) else {"process": handler}
    return {**stages, stage: wrapper(stages.get(stage, _IDENTITY[stage]))}
