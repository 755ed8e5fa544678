"""Running one handler, on whatever thread or process it is: what goes in and what comes out can travel.

Whatever a handler raises is an error of its job, in every place where handlers run. The one exception is what a signal raises on the
main thread in order to end the worker.
"""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
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
    place_of,
    result_of,
)
from overseer.jobs.job import Job
from overseer.worker.pools.signals import is_from_signal


@dataclass(frozen=True, slots=True)
class Performed:
    """What came of running a handler: the facts and the result that it leaves, or what it raised."""

    facts: Sequence[Any] = ()
    result: str | None = None  # EDN
    error: BaseException | None = None
    seconds: float = 0.0
    trace: tuple[str, str | None] | None = (
        None  # of an error in another process: its traceback, and where it was raised
    )


def perform(handler: Handler, job: Job, listeners: Listeners) -> Performed:
    """Run a handler here and now."""
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
    """Run a handler in a process that is not the worker's, and return what can travel back from there.

    Args:
        around: contexts for the handler here, from the worker's listeners.
    """
    performed = perform(handler, job, Listeners(around=around))
    error = performed.error
    if error is None:
        return performed
    text = "".join(traceback.format_exception(error))
    return Performed(error=_travelling(error), seconds=performed.seconds, trace=(text, place_of(error)))


def arrived(performed: Performed) -> Performed:
    """Return what came from another process with the error as it was there: its traceback is its cause."""
    if performed.error is not None and performed.trace is not None:
        performed.error.__cause__ = RemoteTraceback(*performed.trace)
    return performed


def _travelling(error: BaseException) -> BaseException:
    """Return the error if it survives the way back, or one that stands in for it."""
    try:
        survives = isinstance(pickle.loads(pickle.dumps(error)), BaseException)
    except Exception:
        survives = False
    return error if survives else RemoteError.of(error)
