"""Runs one handler, on any thread or in any process. Its input and its result can be pickled.

Every exception of a handler is an error of its job, wherever handlers run, except one that a signal handler raises on
the main thread in order to end the worker.
"""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from overseer.events import Around, Listeners
from overseer.handler import (
    Handler,
    OnThread,
    RemoteError,
    RemoteTraceback,
    ainvoke,
    facts_of,
    invoke,
    kept_traceback,
    place_of,
    result_of,
)
from overseer.jobs.job import Job
from overseer.worker.pools.signals import is_from_signal


@dataclass(frozen=True, slots=True)
class Performed:
    """The result of running a handler: its facts and the value for other jobs, or its exception."""

    facts: Sequence[Any] = ()
    result: str | None = None  # EDN
    error: BaseException | None = None
    seconds: float = 0.0
    trace: tuple[str, str | None, str] | None = None  # for an error of another process: traceback, position, kept text
    logs: str | None = None  # of an attempt in another process, if they are kept


def perform(handler: Handler, job: Job, listeners: Listeners) -> Performed:
    """Run a handler on this thread."""
    started = time.perf_counter()
    try:
        with listeners.around(job):
            returned = invoke(handler, job)
        return Performed(facts_of(returned, job), result_of(returned, job), None, time.perf_counter() - started)
    except BaseException as error:
        if is_from_signal(error):
            raise
        return Performed(error=error, seconds=time.perf_counter() - started)


async def aperform(handler: Handler, job: Job, listeners: Listeners, on_thread: OnThread) -> Performed:
    """Run a handler on the event loop."""
    started = time.perf_counter()
    try:
        with listeners.around(job):
            returned = await ainvoke(handler, job, on_thread)
        return Performed(facts_of(returned, job), result_of(returned, job), None, time.perf_counter() - started)
    except BaseException as error:
        return Performed(error=error, seconds=time.perf_counter() - started)


def perform_elsewhere(handler: Handler, job: Job, around: Sequence[Around] = ()) -> Performed:
    """Run a handler in a process that is not the worker's, and return a result that can be pickled.

    Args:
        around: contexts for the handler here, from the worker's listeners.
    """
    performed = perform(handler, job, Listeners(around=around))
    error = performed.error
    if error is None:
        return replace(performed, logs=job.logs)
    text = "".join(traceback.format_exception(error))
    trace = (text, place_of(error), kept_traceback(error))
    return Performed(error=_travelling(error), seconds=performed.seconds, trace=trace, logs=job.logs)


def arrived(performed: Performed) -> Performed:
    """Return the result from another process, with the traceback of its error as the cause of the error."""
    if performed.error is not None and performed.trace is not None:
        performed.error.__cause__ = RemoteTraceback(*performed.trace)
    return performed


def _travelling(error: BaseException) -> BaseException:
    """Return the error, or a RemoteError if the error cannot be pickled."""
    try:
        survives = isinstance(pickle.loads(pickle.dumps(error)), BaseException)
    except Exception:
        survives = False
    return error if survives else RemoteError.of(error)
