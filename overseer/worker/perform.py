"""Running one handler, on whatever thread or process it is: what goes in and what comes out can travel.

Nothing a handler raises gets past this module, except what is meant for the worker itself.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from overseer.attempt import Job
from overseer.events import Listeners
from overseer.handler import Handler, ainvoke, facts_of, invoke, result_of

# SystemExit is a handler's sys.exit(), which is an error of the job. KeyboardInterrupt is meant for the worker.
CAUGHT: Final = (Exception, SystemExit)


@dataclass(frozen=True, slots=True)
class Performed:
    """What came of running a handler: the facts and the result that it leaves, or what it raised."""

    facts: Sequence[Any] = ()
    result: str | None = None  # EDN
    error: BaseException | None = None
    seconds: float = 0.0


class RemoteError(Exception):
    """Stands in for an error of a handler in another process that cannot travel from there; its message names the error."""


def perform(handler: Handler, job: Job, listeners: Listeners) -> Performed:
    """Run a handler here and now."""
    started = time.perf_counter()
    try:
        with listeners.around(job):
            returned = invoke(handler, job)
        return Performed(facts_of(returned, job), result_of(returned, job), None, time.perf_counter() - started)
    except CAUGHT as error:
        return Performed(error=error, seconds=time.perf_counter() - started)


async def aperform(handler: Handler, job: Job, listeners: Listeners) -> Performed:
    """Run a handler on the event loop; a cancelled one is left to whoever cancelled it."""
    started = time.perf_counter()
    try:
        with listeners.around(job):
            returned = await ainvoke(handler, job)
        return Performed(facts_of(returned, job), result_of(returned, job), None, time.perf_counter() - started)
    except CAUGHT as error:
        return Performed(error=error, seconds=time.perf_counter() - started)


def perform_elsewhere(handler: Handler, job: Job) -> Performed:
    """Run a handler in a process that is not the worker's, and return what can travel back from there."""
    performed = perform(handler, job, Listeners())
    return performed if performed.error is None else Performed(error=_travelling(performed.error), seconds=performed.seconds)


def _travelling(error: BaseException) -> BaseException:
    """Return an error that survives the way back, with where it was raised as a note, for its traceback does not."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RemoteError(f"{type(error).__module__}.{type(error).__qualname__}: {error}")
    return error
