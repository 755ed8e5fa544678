"""Runs of a search in forked processes, which share its scenario as it is.

Law: a search in any number of processes is the same as one without, if handlers, invariants and `before_each` depend on
nothing outside of the store that another run changes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.synchronize import Event
from threading import Thread
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeAlias

from overseer.errors import OverseerError
from overseer.testing.simulation.schedule import AtRandom, Schedule
from overseer.worker.pools.channel import wait_for_end

_SHARE: Final = 25  # runs that a process makes together: neighbours, which have most of their commits in common


class Tried(NamedTuple):
    """What a search knows of a run.

    Args:
        schedule: the interventions that were made.
        steps: what was possible at each step.
        fails: whether something is wrong with it, or it could not be made.
    """

    schedule: Schedule
    steps: list[tuple[str, ...]]
    fails: bool


Plan: TypeAlias = Schedule | AtRandom
Try: TypeAlias = Callable[[Plan], Tried]

_try_here: Try  # in a forked process
_stop: Event  # in a forked process: set when the search ends


class Forks:
    """Processes that make runs.

    Args:
        count: the number of processes.
        begin: is called in each process, and returns the function that makes a run there. If it raises an error, all
            runs there fail.
    Raises: OverseerError(:job.error/bad-argument) where processes cannot be forked.
    """

    def __init__(self, count: int, begin: Callable[[], Try]) -> None:
        if "fork" not in get_all_start_methods():
            why = f"a simulation in {count} processes forks them, which this system cannot; use processes=1"
            raise OverseerError(":job.error/bad-argument", why, processes=count)
        context = get_context("fork")
        self._stop = context.Event()
        self._pool = ProcessPoolExecutor(count, context, _begin, (begin, self._stop, os.getpid()))

    def tried(self, plans: Sequence[Plan]) -> Iterator[Tried]:
        """Yield what each run was, in order, up to the first that fails.

        Raises: OverseerError(:job.error/process-ended), if a process ended.
        """
        shares = [plans[i : i + _SHARE] for i in range(0, len(plans), _SHARE)]
        try:
            yield from chain.from_iterable(self._pool.map(_try_all, shares))
        except BrokenProcessPool as error:
            why = "a process of the simulation ended in the middle of its runs; processes=1 shows in which one"
            raise OverseerError(":job.error/process-ended", why) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)


def _begin(begin: Callable[[], Try], stop: Event, parent: int) -> None:
    global _try_here, _stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the search ends the others
    Thread(target=_end_with, args=(parent,), name="overseer-orphan", daemon=True).start()
    _stop = stop
    try:
        _try_here = begin()
    except BaseException:
        _try_here = _fails


def _end_with(parent: int) -> None:
    """End this process when the one that has forked it was killed."""
    wait_for_end(parent, lambda: os.getppid() == parent)
    os._exit(1)


def _try_all(plans: Sequence[Plan]) -> list[Tried]:
    """Make runs until one fails, or until the search ends."""
    made: list[Tried] = []
    for plan in plans:
        if _stop.is_set():
            break
        made.append(_tried(plan))
        if made[-1].fails:
            break
    return made


def _tried(plan: Plan) -> Tried:
    try:
        return _try_here(plan)
    except BaseException:  # also one that cannot be pickled; the search repeats the run, which raises it there
        return _fails(plan)


def _fails(_plan: Plan) -> Tried:
    return Tried((), [], fails=True)
