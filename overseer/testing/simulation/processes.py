"""A simulated worker: a bench on a connection of its own, which stops at every step and may fail there."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from factstore import UnknownOutcome
from overseer.errors import EffectRepeated
from overseer.events import Listeners
from overseer.handler import Handler
from overseer.jobs.job import Job
from overseer.jobs.states import Lease, Standing
from overseer.testing.bench import Bench
from overseer.testing.branch import Branch, BranchConnection, BranchReports
from overseer.testing.simulation.scenario import Scenario, VirtualClock
from overseer.testing.simulation.schedule import (
    BEAT,
    CLAIM,
    CRASH_AFTER,
    EFFECT,
    GIVE_UP,
    LOSE,
    RELEASE,
    RESCUE,
    SETTLE,
    START,
    TRANSACT,
)
from overseer.times import timeout_of
from overseer.worker.pools.perform import Performed
from overseer.worker.pools.pools import Inline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factstore import Database, TxReport

# The states of a process that does not run now.
READY: Final = "ready"  # it continues when it is its turn
IDLE: Final = "idle"  # it found no job
WAITING: Final = "waiting"  # its handler waits for a commit
STALLED: Final = "stalled"


class Crashed(BaseException):
    """Raised in a process that has ended, wherever it is. Whatever it still does has no effect."""


class Scheduler(Protocol):
    """What a process asks of the scheduler, which runs on the thread of the process."""

    scenario: Scenario
    clock: VirtualClock
    branch: Branch

    def stop(self, process: Process, kind: str, *, job: Job | None = None) -> str | None:
        """Stop before a step; return the action to take after it, if any."""

    def committed(self, process: Process, kind: str, report: TxReport) -> None:
        """Note a commit, and check the invariants."""

    def park(self, process: Process) -> None:
        """Let others run until this process is resumed."""

    def found_nothing(self, process: Process) -> None:
        """Note that there is no job to start now."""

    def tell(self, process: Process, what: str, detail: Any = None) -> None:
        """Add to the story."""

    def crash(self, process: Process) -> NoReturn:
        """End a process."""

    def fail(self, process: Process, error: Exception) -> None:
        """End a process because of an exception outside of its handlers."""

    def violate(self, why: str) -> NoReturn:
        """End the run."""


class Process:
    """A worker of a simulation."""

    def __init__(self, world: Scheduler, name: str) -> None:
        self.name = name
        self.state = READY
        self.is_dead = False
        self.until: tuple[int, float] | None = None  # what its handler waits for: a t, or an elapsed time
        self.bench: Bench | None = None
        self._world = world
        self._doing = CLAIM
        self._tokens = 0

    # -- for the scheduler

    def forget(self) -> None:
        """Forget the run, which has ended."""
        self.bench = None
        del self._world

    @property
    def held(self) -> list[Lease]:
        """The leases that it would renew."""
        return self.bench.leases.all if self.bench is not None else []

    def beat(self) -> None:
        """Renew the leases, as the heartbeat does."""
        self._aside(BEAT, self._beat)

    def _beat(self) -> None:
        assert self.bench is not None
        leases = self.bench.leases
        for lease in self.bench.store.beat(leases.all, lease=self._world.scenario.config.lease):
            leases.remove(lease)

    def rescue(self, ripe: Mapping[int, Standing]) -> None:
        """Take jobs from silent workers, as the monitor does."""
        most = self._world.scenario.config.max_crashes
        bench = self._begun()
        self._aside(RESCUE, lambda: bench.store.rescue(ripe, max_crashes=most))

    def _aside(self, kind: str, move: Callable[[], Any]) -> None:
        """Make a move of another thread of the worker; an exception ends the worker, as in the real one."""
        doing, self._doing = self._doing, kind
        try:
            move()
        except Crashed:
            pass
        except Exception as error:
            self._world.fail(self, error)
        finally:
            self._doing = doing

    # -- what the scheduler runs, and stops

    def _begun(self) -> Bench:
        if self.bench is None:
            world = self._world
            self.bench = Bench(
                _Connection(self, world),
                BranchReports(world.branch),
                world.scenario.by_type,
                world.scenario.config,
                ready=world.scenario.ready(world.branch.db, world.clock.elapsed),
                random=Random(world.scenario.seed),
                worker=self.name,
                runs=_Stage(self),
                token=self._next_token,
            )
        return self.bench

    def _next_token(self) -> str:
        """Return a text that no other lease of this run has; the same one in each run, so that runs share reports."""
        self._tokens += 1
        return f"{self.name}.{self._tokens}"

    def run(self) -> None:
        """Run jobs until there is none to start, or until the process ends."""
        self.state = READY
        try:
            bench = self._begun()
            self._doing = GIVE_UP
            while (job := bench.next(wait=False)) is not None:
                self._doing = CLAIM
                bench.run(job)
                self._doing = GIVE_UP
            self._world.found_nothing(self)
            self.state = IDLE
        except Crashed:
            pass
        except Exception as error:
            self._world.fail(self, error)

    def release(self) -> None:
        """Release all jobs, as a worker does that fails."""
        if self.bench is not None:
            self._doing = RELEASE
            self.bench.executor.release_all()

    def park(self, state: str) -> None:
        """Let others go on first."""
        self.state = state
        self._world.park(self)
        self.state = READY
        self.check_alive()

    def check_alive(self) -> None:
        """Raise Crashed if the process has ended."""
        if self.is_dead:
            raise Crashed

    def perform(self, job: Job, run: Callable[[], Performed]) -> Performed:
        """Run a handler."""
        self._world.stop(self, START, job=job)
        self._doing = TRANSACT
        performed = run()
        if self.is_dead:
            del performed  # the traceback of its error contains this frame
            raise Crashed
        self._doing = SETTLE
        if performed.error is not None:
            self._world.tell(self, "raises", performed.error)
            if isinstance(performed.error, EffectRepeated):
                self._world.violate(f"{job.type} {job.id} came to the effect {performed.error.key} a second time")
        return performed

    def commit(self, tx_data: Any, none: Any) -> TxReport:
        """Commit a transaction, or fail as the schedule says."""
        self.check_alive()
        kind = self._doing
        action = self._world.stop(self, kind)
        report = self._world.branch.commit(tx_data, none)
        self._world.committed(self, kind, report)
        if action == CRASH_AFTER:
            self._world.crash(self)
        if action == LOSE:
            self._world.tell(self, "loses")
            why = f"the transaction was committed as t={report.t}, but its process lost the answer"
            raise UnknownOutcome(":db.error/storage-unknown-outcome", why, t=report.t)
        if kind == TRANSACT and report.db_after.entid(":effect/key") is not None and report.datoms_of(":effect/key"):
            self._world.stop(self, EFFECT)
        return report

    def wait(self, t: int, timeout: float | None) -> None:
        """Wait for a transaction after t, or for a time."""
        self.check_alive()
        deadline = float("inf") if timeout is None else self._world.clock.elapsed() + timeout
        self.until = (t, deadline)
        self._world.tell(self, "waits")
        self.park(WAITING)


class _Connection(BranchConnection):
    """The connection of a process: it stops before each commit."""

    def __init__(self, process: Process, world: Scheduler) -> None:
        super().__init__(world.branch)
        self._process = process

    def db(self) -> Database:
        self._process.check_alive()
        return self.branch.db

    def commit(self, tx_data: Any, none: Any = "reject") -> TxReport:
        return self._process.commit(tx_data, none)

    def wait(self, point: Any, timeout: Any = None) -> Database:
        limit = timeout_of(timeout)
        t = self.branch.db.t_at(point)
        if self.branch.db.basis_t <= t:
            self._process.wait(t, limit)
        return self.branch.db

    def sync(self, t: int | None = None, *, timeout: Any = None) -> Database:
        return self.branch.db if t is None else self.wait(t - 1, timeout)


class _Stage(Inline):
    """Runs the handlers of a process, which may stop there."""

    def __init__(self, process: Process) -> None:
        super().__init__(1, Listeners())
        self._process = process

    def run(self, handler: Handler, job: Job) -> Performed:
        return self._process.perform(job, lambda: super(_Stage, self).run(handler, job))
