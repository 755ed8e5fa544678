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
from overseer.testing.simulation.relay import Place, Relay, Threads, taken
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
    Choose,
    Intervention,
)

if TYPE_CHECKING:
    from factstore import TxReport
    from overseer.jobs.job import Job

_STEP: Final = 0.001  # seconds that each step takes
_JUMP: Final = timedelta(hours=1)
_MOST_STEPS: Final = 1000


class World:
    """The scheduler of one run.

    Args:
        choose: the interventions.
    """

    def __init__(self, scenario: Scenario, choose: Choose, threads: Threads) -> None:
        self.scenario = scenario
        self.clock = VirtualClock(scenario.db.instant_of(scenario.db.basis_t) or START)
        self.branch = Branch(scenario.db, self.clock, with_=scenario.memory.with_)
        self._choose = choose
        self._watch = Watch(scenario.config.lease.total_seconds(), clock=self.clock.elapsed)
        self._all: list[Process] = []  # with those that have crashed
        self._processes = [self._new_process() for _ in range(scenario.workers)]
        self._parked: dict[Process, Place] = {}  # the processes that have stopped in the middle of a job
        self._turn = self._processes[0]
        self._nothing_at: int | None = None  # the t at which a process found no job, unless time has passed since
        self._looked: Process | None = None  # that process, which knows when the next job is due
        self._relay = Relay(threads, self._schedule, self._break_off)
        self._is_over = False
        self._error: BaseException | None = None
        self.run = Run((), [], [], scenario.db, scenario.db)

    def _new_process(self) -> Process:
        process = Process(self, f"w{len(self._all) + 1}")
        self._all.append(process)
        return process

    # -- the scheduler

    def play(self) -> Run:
        """Run to the end, and return what happened."""
        self._relay.run()
        self._break_cycles()
        if self._error is not None:
            raise self._error
        self.run.db = self.branch.db
        return self.run

    def _break_cycles(self) -> None:
        """Let the memory of the run be free as soon as the run is: the next one uses it again, and is faster."""
        for process in self._all:
            process.forget()
        del self._relay
        for told in self.run.story if self.run.violation is None else ():
            error = told.detail
            while isinstance(error, BaseException):
                error.__traceback__, error = None, error.__context__

    def _schedule(self) -> Place | None:
        """Let processes run until one must continue where it has stopped: return that place; None at the end."""
        try:
            while (process := self._successor()) is not None:
                if process in self._parked:
                    return self._parked.pop(process)
                process.run()
        except BaseException as error:
            self._break_off(error)
            return self._schedule()
        return None

    def _break_off(self, error: BaseException) -> None:
        """End the run because of an error of the scheduler, or of a signal."""
        self._error = self._error or error
        self._end()

    def _successor(self) -> Process | None:
        """Return the process that continues; None at the end of the run.

        First those that have ended while they were parked, so that their functions end, too.
        """
        while True:
            dead = next((process for process in self._parked if process.is_dead), None)
            if dead is not None or self._is_over:
                return dead
            process = self._next()
            if process is not None:
                self._turn = process
                return process
            if not self._pass_time():
                self._check_end()
                self._end()

    def _end(self) -> None:
        """End the run, and all processes."""
        self._is_over = True
        for process in self._processes:
            process.is_dead = True

    def park(self, process: Process) -> None:
        """Let others run until this process is resumed."""
        self._parked[process] = place = taken()
        self._relay.stop(place)

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
        leases = self.scenario.memory.read(standing, self.branch.db)
        if renewed:
            leases = {job: lease for job, lease in leases.items() if job not in renewed}
        self._watch.look(leases, planned=inf)

    def _return_one(self) -> bool:
        stalled = next((process for process in self._processes if process.state == STALLED), None)
        if stalled is not None:
            self._return(stalled)
            self._turn = stalled
        return stalled is not None

    def _return(self, stalled: Process) -> None:
        stalled.state = READY
        self.tell(stalled, "returns")

    def _check_end(self) -> None:
        waiting = [process.name for process in self._processes if process.state == WAITING]
        if waiting:
            self.run.violation = (
                f"deadlock: no process can continue, and handlers of {' and '.join(waiting)} wait for a commit"
            )
        elif self.scenario.all_end:
            db = self.branch.db
            live = self.scenario.memory.read(live_jobs, db)
            stuck = [job for job in live if lookup.value(db, job, ":job/type") in self.scenario.by_type]
            if stuck:
                statuses = [(lookup.name(db, job), lookup.value(db, job, ":job/status")) for job in stuck]
                names = ", ".join(f"{name} is {status.name}" for name, status in statuses)
                self.run.violation = f"no process can continue, and jobs have not ended: {names}"

    # -- what the processes report while they run

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
                    self._return(other)
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
            try:
                problem = self.scenario.broken(invariant, report.db_after)
            except Exception as error:  # a mistake of the invariant, not of the handler that has committed
                self.run.error = error
                self.violate("an invariant raised an error")
            if problem is not None:
                self.violate(problem)

    def tell(self, process: Process, what: str, detail: Any = None) -> None:
        """Add to the story."""
        self.run.story.append(Told(self.clock.elapsed(), process.name, what, detail))

    def crash(self, process: Process, *, before: str | None = None) -> NoReturn:
        """End the process that runs; another one takes its place."""
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
        process.is_dead = True

    def violate(self, why: str) -> NoReturn:
        """End the run, in a function of a process."""
        self.run.violation = self.run.violation or why
        self._end()
        raise Crashed
