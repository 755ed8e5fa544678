"""Handlers: their two shapes, how one is called or wrapped, and what its return or its exception means for the job.

A handler is a function of the job, or a mapping of stages: `pre_process(job)`, `process(job)`, `post_process(job, result)`.
A list or tuple that a handler returns is tx-data and commits with the status; any other value it returns is not kept, as in Overseer.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeAlias

import factstore
from factstore import FactStoreError, Keyword
from overseer.errors import HandlerError, Verdict
from overseer.job import ABORTED, FAILED, UNSTARTED, Job, as_keyword
from overseer.retry import NEVER, Retry

log = logging.getLogger("overseer")

Handler: TypeAlias = Callable[[Job], Any] | Mapping[str, Any]
Handlers: TypeAlias = Mapping[str, Handler]
Stage: TypeAlias = Callable[..., Any]

STAGES: Final = ("pre_process", "process", "post_process")
_KEYS: Final = frozenset({*STAGES, "retry"})


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
        return None if callable(handler) else f"handlers must be either a function or a mapping, got {handler!r}"
    if not callable(handler.get("process")):
        return "expected the handler mapping to define a 'process' function"
    unknown = sorted(map(str, set(handler) - _KEYS))
    if unknown:
        return f"it has {', '.join(unknown)}, but only {', '.join(sorted(_KEYS))} mean anything"
    if not isinstance(handler.get("retry", NEVER), Retry):
        return f"its retry is a Retry, got {handler['retry']!r}"
    return next((f"{stage} is not a function" for stage in STAGES if stage in handler and not callable(handler[stage])), None)


def retry_of(handler: Handler) -> Retry:
    """Return the retry policy that a handler brings; one that says nothing is not retried."""
    found: Retry = handler.get("retry", NEVER) if isinstance(handler, Mapping) else NEVER
    return found


def invoke(handler: Handler, job: Job) -> Any:
    """Run a handler on a job, through its stages where it has them, and return what it returns."""
    if not isinstance(handler, Mapping):
        return handler(job)
    if "pre_process" in handler:
        handler["pre_process"](job)
    result = handler["process"](job)
    return handler["post_process"](job, result) if "post_process" in handler else result


def facts_of(result: Any, job: Job) -> list[Any]:
    """Return the tx-data of a run: what the handler returned, if that is a list or a tuple, and what it asserted on the way."""
    if isinstance(result, list | tuple):
        return [*job.asserted, *result]
    if result is not None and not isinstance(result, Job):
        log.debug("handler of %s returned %s, which is no tx-data and is not kept", job.type, type(result).__name__)
    return list(job.asserted)


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
        factstore.edn.write(value)
    except (FactStoreError, RecursionError):
        return False
    return True


def _text(error: BaseException) -> str:
    """Return the message of an error, even of one whose own `__str__` fails or that no UTF-8 text can hold."""
    try:
        return str(error).encode("utf-8", "replace").decode()
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
        raise HandlerError(":job.error/unknown-stage", f"a handler's stages are {', '.join(STAGES)}; got {stage!r}", stage=stage)
    stages = dict(handler) if isinstance(handler, Mapping) else {"process": handler}
    return {**stages, stage: wrapper(stages.get(stage, _IDENTITY[stage]))}
