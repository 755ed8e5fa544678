"""Simulated processes, which run one at a time: each stops at every verb of a storage until the scheduler chooses it.

A simulated process is a thread with its own handles on stores in memory; only one thread runs at any time. The
scheduler has the writer lock (turn) of each store: it does not choose a process that waits for the lock. A run is
determined by the choices, so every run can be repeated, and all runs up to a number of preemptions can be made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, Thread, current_thread
from typing import Any, Final, NamedTuple, TypeAlias

from factstore.storage.memory import MemoryStorage
from factstore.testing.faults import VERBS

# Verbs at which a process can be interrupted. Consecutive reads of blocks count as one stop: an action of another
# process between them could also come before or after, as long as it deletes no block that is held.
STOPS: Final = frozenset(VERBS) - {"wait", "sync"}
WRITES: Final = frozenset({"append", "rewrite"})  # verbs that wait for the writer lock of another process


# The process that ran last, and those that may run → the one that runs until its next stop.
Chooser: TypeAlias = Callable[[int | None, tuple[int, ...]], int]


class Killed(BaseException):
    """The process is dead; its operations have no effect."""


class Deadlock(AssertionError):
    """No process can continue."""


class Step(NamedTuple):
    """A choice of the scheduler, and its alternatives."""

    chosen: int
    runnable: tuple[int, ...]
    before: int | None  # the process that ran before


class Event(NamedTuple):
    """A verb that was called in a run."""

    process: Process
    store: str
    verb: str


def _closed() -> Any:
    """Return a lock that is taken: the next thread that takes it waits for a release."""
    lock = Lock()
    lock.acquire()
    return lock


class Process:
    """A simulated process."""

    def __init__(self, name: str, script: Callable[[Process], None], *, killed_at: int | None = None) -> None:
        self.name = name
        self.killed_at = killed_at  # the number of the stop at which it is killed, from 1
        self.stops = 0
        self.is_dead = False
        self.is_done = False
        self.needs: str | None = None  # the store for whose turn it waits
        self.error: BaseException | None = None
        self.handles: list[SimulatedStorage] = []
        self.notes: Any = None
        self.go = _closed()
        self.thread = Thread(target=self._run, args=(script,), name=name, daemon=True)
        self.scheduler: Scheduler | None = None

    def _run(self, script: Callable[[Process], None]) -> None:
        assert self.scheduler is not None
        self.go.acquire()
        try:
            script(self)
        except Killed:
            pass  # as requested by killed_at
        except BaseException as error:
            self.error = error
        finally:
            self.is_done = True
            self.scheduler.back.release()

    def die(self) -> None:
        """Release the turns and holds of the process, which end with it."""
        self.is_dead = True
        for handle in self.handles:
            handle.end()


class Scheduler:
    """Chooses which process runs until its next stop, and keeps the turns of all stores."""

    def __init__(self) -> None:
        self.back = _closed()
        self.turns: dict[str, tuple[Process, int]] = {}
        self.events: list[Event] = []
        self.watchers: list[Callable[[SimulatedStorage, str], None]] = []  # called after each verb that changes a store
        self._running: Process | None = None

    def run(self, processes: Sequence[Process], choose: Chooser) -> list[Step]:
        """Run processes to their ends.

        Args:
            choose: returns the process that runs until its next stop, given the last one and the possible ones.
        Raises: Deadlock.
        """
        steps: list[Step] = []
        before: int | None = None
        for process in processes:
            process.scheduler = self
            process.thread.start()
        while not all(process.is_done for process in processes):
            runnable = tuple(i for i, process in enumerate(processes) if not process.is_done and self._may_run(process))
            if not runnable:
                waiting = [f"{p.name} waits for the turn of {p.needs}" for p in processes if not p.is_done]
                raise Deadlock(f"no process can continue: {', '.join(waiting)}")
            chosen = choose(before, runnable)
            steps.append(Step(chosen, runnable, before))
            self._running = processes[chosen]
            self._running.go.release()
            self.back.acquire()
            before = chosen
        self._running = None
        for process in processes:
            process.thread.join()
        return steps

    def _may_run(self, process: Process) -> bool:
        return process.needs is None or self.is_free(process.needs, process)

    def is_free(self, store: str, process: Process) -> bool:
        """Return whether no other process has the turn of a store."""
        return store not in self.turns or self.turns[store][0] is process

    def stop(self, process: Process, store: str, verb: str) -> None:
        """Wait at a verb until the scheduler chooses this process; outside of a run or of its thread, do not wait."""
        if process.is_dead:
            raise Killed
        if self._running is None or current_thread() is not process.thread:
            return
        if not (verb == "get_blocks" and self.events and self.events[-1] == (process, store, verb)):
            process.needs = store if verb == "turn" or verb in WRITES else None
            self.back.release()
            process.go.acquire()
            process.needs = None
            process.stops += 1
            if process.stops == process.killed_at:
                process.die()
                raise Killed
        self.events.append(Event(process, store, verb))

    @contextmanager
    def unobserved(self, process: Process) -> Iterator[None]:
        """Let a process read without stops in a `with` block, for a test that notes what it sees."""
        running, self._running = self._running, None
        try:
            yield
        finally:
            self._running = running


class SimulatedStorage:
    """A handle on a store in memory that belongs to a simulated process."""

    def __init__(self, scheduler: Scheduler, process: Process, inner: MemoryStorage) -> None:
        self.inner = inner
        self.scheduler = scheduler
        self.process = process
        self._holds: list[Any] = []
        process.handles.append(self)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name not in STOPS:
            return value

        def verb(*args: Any, **options: Any) -> Any:
            self.scheduler.stop(self.process, self.inner.description, name)
            result = value(*args, **options)
            if name == "hold":
                self._holds.append(result)
            if name in ("rewrite", "swap_root", "delete_blocks"):
                for watcher in self.scheduler.watchers:
                    watcher(self, name)
            return result

        return verb

    @contextmanager
    def turn(self, **_options: Any) -> Iterator[None]:
        """Hold the writer lock (turn), which the scheduler keeps."""
        store, turns, process = self.inner.description, self.scheduler.turns, self.process
        self.scheduler.stop(process, store, "turn")
        assert self.scheduler.is_free(store, process), "a turn was requested outside of a run while a process has it"
        turns[store] = (process, turns[store][1] + 1 if store in turns else 1)
        try:
            yield
        finally:
            if not process.is_dead:
                depth = turns[store][1] - 1
                if depth:
                    turns[store] = (process, depth)
                else:
                    del turns[store]

    def end(self) -> None:
        """Release turn and holds, as the operating system does for a killed process."""
        if self.scheduler.turns.get(self.inner.description, (None,))[0] is self.process:
            del self.scheduler.turns[self.inner.description]
        for hold in self._holds:
            hold.release()
