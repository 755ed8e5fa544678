"""Processes that are simulated, one step at a time: each stops at every verb of a storage until the scheduler lets it go on.

A simulated process is a thread with handles of its own on stores in memory; only one thread runs at any time. The writer's turn is the
scheduler's: a process that waits for it cannot be chosen. A run is determined by its choices, so every run can be repeated, and all
runs up to a number of preemptions can be made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock, Thread, current_thread
from typing import Any, NamedTuple

from factstore.storage.memory import MemoryStorage

# Verbs at which a process may be interrupted. Runs of reads of blocks count as one: nothing that others do comes between them
# that could not come before or after, as long as no block that is held is deleted, which is checked after each deletion.
STOPS = frozenset(
    [
        "head",
        "append",
        "resolve",
        "read_log",
        "rewrite",
        "put_blocks",
        "get_blocks",
        "delete_blocks",
        "block_ids",
        "read_root",
        "swap_root",
        "hold",
        "held",
        "turn",
    ]
)
WRITES = frozenset({"append", "rewrite"})  # what waits for the turn when another process has it


class Killed(BaseException):
    """The process is gone; whatever it still tries comes to nothing."""


class Deadlock(AssertionError):
    """No process can go on."""


class Step(NamedTuple):
    """A choice that was made, and what could have been chosen."""

    chosen: int
    runnable: tuple[int, ...]
    before: int | None  # which process ran before


class Event(NamedTuple):
    """A verb that was called in a run."""

    process: Process
    store: str
    verb: str


def _closed() -> Any:
    """Return a lock that is taken: who takes it next waits until somebody lets go of it."""
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
        self.needs: str | None = None  # the store whose turn it waits for
        self.error: BaseException | None = None
        self.handles: list[Handle] = []
        self.notes: Any = None
        self.go = _closed()
        self.thread = Thread(target=self._run, args=(script,), name=name, daemon=True)
        self.world: World | None = None

    def _run(self, script: Callable[[Process], None]) -> None:
        assert self.world is not None
        self.go.acquire()
        try:
            script(self)
        except Killed:
            pass  # as it was told to
        except BaseException as error:
            self.error = error
        finally:
            self.is_done = True
            self.world.back.release()

    def die(self) -> None:
        """Let go of what ends with a process: its turns and its holds."""
        self.is_dead = True
        for handle in self.handles:
            handle.end()


class World:
    """The scheduler, and the turns of all stores."""

    def __init__(self) -> None:
        self.back = _closed()
        self.turns: dict[str, tuple[Process, int]] = {}
        self.events: list[Event] = []
        self.watchers: list[Callable[[Handle, str], None]] = []  # called after each verb that changes a store
        self._running: Process | None = None
        self._fine = True

    def run(self, processes: Sequence[Process], choose: Callable[[int | None, tuple[int, ...]], int]) -> list[Step]:
        """Run processes to their ends; `choose` says, given who ran last and who may run, who runs until the next stop."""
        steps: list[Step] = []
        before: int | None = None
        for process in processes:
            process.world = self
            process.thread.start()
        while not all(process.is_done for process in processes):
            runnable = tuple(i for i, process in enumerate(processes) if not process.is_done and self._may_run(process))
            if not runnable:
                raise Deadlock(f"nobody can go on: {[(p.name, p.needs) for p in processes if not p.is_done]}, {self.turns}")
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
        """Whether nobody else has the turn of a store."""
        return store not in self.turns or self.turns[store][0] is process

    def stop(self, process: Process, store: str, verb: str) -> None:
        """Wait at a verb until the scheduler chooses this process; outside of a run, or of its thread, go on at once."""
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
        """Let a process do something without being stopped: a look at what it has, for a test."""
        running, self._running = self._running, None
        try:
            yield
        finally:
            self._running = running


class Handle:
    """A handle on a store in memory that belongs to a simulated process."""

    def __init__(self, world: World, process: Process, inner: MemoryStorage) -> None:
        self.inner = inner
        self.world = world
        self.process = process
        self._holds: list[Any] = []
        process.handles.append(self)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if name not in STOPS:
            return value

        def verb(*args: Any, **options: Any) -> Any:
            self.world.stop(self.process, self.inner.description, name)
            result = value(*args, **options)
            if name == "hold":
                self._holds.append(result)
            if name in ("rewrite", "swap_root", "delete_blocks"):
                for watcher in self.world.watchers:
                    watcher(self, name)
            return result

        return verb

    @contextmanager
    def turn(self, **_options: Any) -> Iterator[None]:
        """Return the writer's turn, which the scheduler keeps."""
        store, turns, process = self.inner.description, self.world.turns, self.process
        self.world.stop(process, store, "turn")
        assert self.world.is_free(store, process), "a turn was asked for outside of a run while a process has it"
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
        """Let go of turn and holds, as the kernel does for a process that was killed."""
        if self.world.turns.get(self.inner.description, (None,))[0] is self.process:
            del self.world.turns[self.inner.description]
        for hold in self._holds:
            hold.release()


# -- schedules


def stay(before: int | None, runnable: tuple[int, ...]) -> int:
    """Choose who ran last for as long as he can run, then the first who can."""
    return before if before is not None and before in runnable else runnable[0]


def following(choices: Sequence[int]) -> Callable[[int | None, tuple[int, ...]], int]:
    """Return a chooser that makes these choices, and then lets everybody stay."""
    left = list(reversed(choices))
    return lambda before, runnable: left.pop() if left else stay(before, runnable)


def switching(switches: Sequence[tuple[int, int]]) -> Callable[[int | None, tuple[int, ...]], int]:
    """Return a chooser that lets one process run for a number of stops, then goes on with another; each pair is (stops, other)."""
    left = [list(pair) for pair in reversed(switches)]

    def choose(before: int | None, runnable: tuple[int, ...]) -> int:
        if left and left[-1][0] <= 0:
            return runnable[left.pop()[1] % len(runnable)]
        if left:
            left[-1][0] -= 1
        return stay(before, runnable)

    return choose


def explore(run: Callable[[Callable[[int | None, tuple[int, ...]], int]], list[Step]], *, preemptions: int, seconds: float = 1e9) -> int:
    """Make every run in which at most so many times a process that could go on has to wait for another; return how many runs."""
    from time import monotonic

    end, runs = monotonic() + seconds, 0
    waiting: list[list[int]] = [[]]
    while waiting and monotonic() < end:
        prefix = waiting.pop()
        steps = run(following(prefix))
        runs += 1
        choices = [step.chosen for step in steps]
        used = 0
        for i, step in enumerate(steps):
            could_stay = step.before in step.runnable
            if i >= len(prefix):
                waiting += [
                    [*choices[:i], other]
                    for other in step.runnable
                    if other != step.chosen and used + (could_stay and other != step.before) <= preemptions
                ]
            used += could_stay and step.chosen != step.before
    return runs
