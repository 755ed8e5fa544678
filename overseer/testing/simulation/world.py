"""One run: the processes of a scenario under a schedule, in virtual time.

choose a process   ──► it runs to its next step ──► the schedule may intervene ──► …
none can continue  ──► time passes until the next job is due or a lease is overdue; stalled processes return last
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Final, NoReturn

from overseer.jobs import lookup
from overseer.jobs.leases import Watch, standing
from overseer.testing.branch import Branch
from overseer.testing.clock import START
from overseer.testing.simulation.processes import IDLE, READY, STALLED, WAITING, Crashed, Process
from overseer.testing.simulation.scenario import Run, Scenario, Told, VirtualClock, live_jobs
from overseer.testing.simulation.schedule import (
    BACK,
    BEAT,
    CRASH,
    FORWARD,
    PARKING,
    POSSIBLE,
    RESCUE,
    STALL,
    SWITCH,
    Chooser,
    Intervention,
    Schedule,
)
from overseer.testing.simulation.strands import Carriers

if TYPE_CHECKING:
    from factstore import TxReport
    from overseer.jobs.job import Job

_STEP: Final = 0.001  # seconds that each step takes
_JUMP: Final = timedelta(hours=1)
_MOST_STEPS: Final = 1000


class World:
    """The scheduler of one run."""

    def __init__(self, scenario: Scenario, schedule: Schedule, carriers: Carriers) -> None:
        self.scenario = scenario
        self.carriers = carriers
        self.clock = VirtualClock(scenario.db.instant_of(scenario.db.basis_t) or START)
        self.branch = Branch(scenario.db, self.clock)
        self.running: Process | None = None
        self._choose = Chooser(schedule)
        self._watch = Watch(scenario.config.lease.total_seconds(), clock=self.clock.elapsed)
        self._names = (f"w{n}" for n in range(1, 1_000_000))
        self._processes = [self._new_process() for _ in range(scenario.workers)]
        self._turn = self._processes[0]
        self._nothing_at: int | None = None  # the t at which a process found no job, unless time has passed since
        self._looked: Process | None = None  # that process, which knows when the next job is due
        self.run = Run((), [], [], scenario.db, scenario.db)

    def _new_process(self) -> Process:
        return Process(self, next(self._names))

    # -- the scheduler

    def play(self) -> Run:
        """Run to the end, and return what happened."""
        try:
            while self.run.violation is None:
                process = self._next()
                if process is not None:
                    self._resume(process)
                elif not self._pass_time():
                    break
            if self.run.violation is None:
                self._check_end()
        finally:
            for process in self._processes:
                process.end()
        self.run.db = self.branch.db
        return self.run

    def _resume(self, process: Process) -> None:
        self._turn = self.running = process
        if process.state == STALLED:
            self.tell(process, "returns")
        process.resume()
        self.running = None

    def _next(self) -> Process | None:
        """Return the process that continues: the one whose turn it is, or else the next one that can."""
        return next((process for process in self._in_turn() if self._can_go_on(process)), None)

    def _in_turn(self) -> list[Process]:
        first = self._processes.index(self._turn) if self._turn in self._processes else 0
        return [*self._processes[first:], *self._processes[:first]]

    def _can_go_on(self, process: Process) -> bool:
        if process.state == READY:
            return process.bench is not None or self._nothing_at != self.branch.db.basis_t
        if process.state == IDLE:
            return self._nothing_at != self.branch.db.basis_t
        if process.state == WAITING and process.until is not None:
            t, deadline = process.until
            return self.branch.db.basis_t > t or self.clock.elapsed() >= deadline
        return False

    def _pass_time(self) -> bool:
        """Let time pass until a process can continue; False if none ever can."""
        live = [process for process in self._processes if process.state != STALLED]
        seconds = self._until_something(live)
        if seconds == inf:
            return self._return_one()
        holders = [process for process in live if process.held]
        if holders:
            seconds = min(seconds, self.scenario.config.lease.total_seconds() / 2)
        self.clock.advance(seconds)
        self._nothing_at = None
        for process in holders:
            process.beat()
        self._look_at_leases(live)
        if (ripe := self._watch.ripe()) and live[0] in self._processes:
            live[0].rescue(ripe)
        return True

    def _until_something(self, live: list[Process]) -> float:
        """Return the seconds until a job is due, a lease is overdue, or a wait ends."""
        if not live:
            return inf
        self._look_at_leases(live)
        now, elapsed = self.clock(), self.clock.elapsed()
        times = [self._watch.next_ripe()]
        times += [
            process.until[1] - elapsed for process in live if process.state == WAITING and process.until is not None
        ]
        if self._looked is not None and self._looked.bench is not None:
            ready = self._looked.bench.ready
            due = ready.next_due()
            times += [inf if due is None else (due - now).total_seconds(), ready.next_pause()]
        return max(min(times), 0.0) + 1e-6

    def _look_at_leases(self, live: list[Process]) -> None:
        """Let the monitor see the leases that no process renews."""
        renewed = {lease.job for process in live for lease in process.held}
        leases = {job: lease for job, lease in standing(self.branch.db).items() if job not in renewed}
        self._watch.look(leases, planned=inf)

    def _return_one(self) -> bool:
        stalled = [process for process in self._processes if process.state == STALLED]
        if stalled:
            self._resume(stalled[0])
        return bool(stalled)

    def _check_end(self) -> None:
        waiting = [process.name for process in self._processes if process.state == WAITING]
        if waiting:
            self.run.violation = (
                f"deadlock: no process can continue, and handlers of {' and '.join(waiting)} wait for a commit"
            )
        elif self.scenario.all_end:
            db = self.branch.db
            stuck = [job for job in live_jobs(db) if lookup.value(db, job, ":job/type") in self.scenario.by_type]
            if stuck:
                statuses = [(lookup.name(db, job), lookup.value(db, job, ":job/status")) for job in stuck]
                names = ", ".join(f"{name} is {status.name}" for name, status in statuses)
                self.run.violation = f"no process can continue, and jobs have not ended: {names}"

    # -- what the processes report, on their strands

    def stop(self, process: Process, kind: str, *, job: Job | None = None) -> str | None:
        """Stop before a step; return the action to take after it, if any."""
        process.check_alive()
        number = len(self.run.steps)
        if number >= _MOST_STEPS:
            self.violate(f"the run did not end within {_MOST_STEPS} steps")
        self.clock.advance(_STEP)
        possible = self._possible(process, kind)
        self.run.steps.append(possible)
        action = self._choose(number, possible)
        if action is not None:
            self.run.schedule = (*self.run.schedule, Intervention(number, action))
            self._intervene(process, kind, action)
        if job is not None:
            self.tell(process, "starts", job)
        return action

    def _possible(self, process: Process, kind: str) -> tuple[str, ...]:
        possible = POSSIBLE[kind]
        if kind not in (BEAT, RESCUE) and SWITCH in possible and self._other(process) is None:
            return tuple(action for action in possible if action != SWITCH)
        return possible

    def _intervene(self, process: Process, kind: str, action: str) -> None:
        if action == CRASH:
            self.crash(process, before=kind)
        elif action in (FORWARD, BACK):
            self.tell(process, action)
            self.clock.jump(_JUMP if action == FORWARD else -_JUMP)
            self._nothing_at = None
        elif action in PARKING:
            self.tell(process, "stalls" if action == STALL else "pauses", kind)
            if action == SWITCH and (other := self._other(process)) is not None:
                self._turn = other
                if other.state == STALLED:
                    other.state = READY
                    self.tell(other, "returns")
            process.park(STALLED if action == STALL else READY)
            process.check_alive()

    def _other(self, process: Process) -> Process | None:
        """Return the next process that could continue instead of one."""
        at = self._processes.index(process)
        others = [*self._processes[at + 1 :], *self._processes[:at]]
        return next((other for other in others if self._can_go_on(other) or other.state == STALLED), None)

    def found_nothing(self, process: Process) -> None:
        """Note that there is no job to start now."""
        self._looked = process
        self._nothing_at = self.branch.db.basis_t

    def committed(self, process: Process, kind: str, report: TxReport) -> None:
        """Note a commit, and check the invariants."""
        self.tell(process, kind, report)
        for invariant in self.scenario.invariants:
            problem = invariant(report.db_after)
            if problem is not None:
                self.violate(problem)

    def tell(self, process: Process, what: str, detail: Any = None) -> None:
        """Add to the story."""
        self.run.story.append(Told(self.clock.elapsed(), process.name, what, detail))

    def crash(self, process: Process, *, before: str | None = None) -> NoReturn:
        """End a process, on its own strand; another one takes its place."""
        self.tell(process, "crashes", before)
        self._replace(process)
        raise Crashed

    def fail(self, process: Process, error: Exception) -> None:
        """End a process because of an exception outside of its handlers, as a worker ends."""
        self.tell(process, "fails", error)
        with suppress(Crashed, Exception):  # its jobs are free when their leases expire
            process.release()
        if process in self._processes:
            self._replace(process)

    def _replace(self, process: Process) -> None:
        new = self._new_process()
        self._processes[self._processes.index(process)] = new
        if self._turn is process:
            self._turn = new
        self._nothing_at = None
        process.end()

    def violate(self, why: str) -> NoReturn:
        """End the run, on the strand of a process."""
        self.run.violation = self.run.violation or why
        for process in self._processes:
            process.is_dead = True
        raise Crashed
