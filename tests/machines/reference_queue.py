"""A queue in plain Python: one dict, no concurrency, no clever data. What the job layer does must be what this does."""

from __future__ import annotations

from dataclasses import dataclass, field

from overseer.jobs.states import ABORTED, FAILED, FINISHED, STARTED, UNSTARTED

LEASE = 30.0
MAX_CRASHES = 2


@dataclass
class ModelJob:
    """What is known of a job."""

    deps: list[str]
    queue: str | None = None
    priority: int = 0
    status: str = UNSTARTED
    attempt: int = 0
    expires: float = 0.0
    not_before: float = 0.0
    crashes: int = 0  # in a row
    is_held: bool = True  # False for a started job that no worker claimed
    keys: set[str] = field(default_factory=set)  # unique keys that it has, or had
    cause: str | None = None
    result: str | None = None
    effects: list[str] = field(default_factory=list)


class Reference:
    """Jobs, queues and keys; `now` is the store's time, set from outside."""

    def __init__(self):
        self.jobs: dict[str, ModelJob] = {}
        self.limits: dict[str, int] = {}
        self.paused: set[str] = set()
        self.keys: dict[str, str] = {}
        self.now = 0.0

    # -- what may start

    def ready(self):
        return {id for id, job in self.jobs.items() if self._free(job) and job.not_before <= self.now}

    def _free(self, job):
        return job.status == UNSTARTED and all(self.jobs[dep].status == FINISHED for dep in job.deps)

    def running(self, queue):
        return sum(job.status == STARTED and job.queue == queue for job in self.jobs.values())

    def admits(self, id):
        queue = self.jobs[id].queue
        return queue is None or (queue not in self.paused and self.running(queue) < self.limits.get(queue, 1_000_000))

    # -- attempts

    def claim(self, id):
        job = self.jobs[id]
        if job.status != UNSTARTED or not self.admits(id):
            return False
        job.status, job.attempt, job.expires, job.is_held = STARTED, job.attempt + 1, self.now + LEASE, True
        return True

    def holds(self, id, attempt):
        return self.jobs[id].status == STARTED and self.jobs[id].is_held and self.jobs[id].attempt == attempt

    def beat(self, id, attempt):
        if not self.holds(id, attempt):
            return False
        self.jobs[id].expires = self.now + LEASE
        return True

    def settle(self, id, attempt, to, effect=None, result=None, pause=None):
        if not self.holds(id, attempt):
            return False
        job = self.jobs[id]
        job.result = result if result is not None else job.result
        job.not_before = self.now + pause if pause is not None else job.not_before
        job.crashes = 0 if to == UNSTARTED else job.crashes
        self.end(id, to, effect)
        return True

    def end(self, id, to, effect=None):
        self.jobs[id].status = to
        if effect:
            self.jobs[id].effects.append(effect)
        if to in (FAILED, ABORTED):
            self.give_up_below(id, id)

    def give_up_below(self, id, cause):
        for child, job in self.jobs.items():
            if id in job.deps and job.status == UNSTARTED:
                job.status, job.cause = ABORTED, cause
                self.give_up_below(child, cause)

    # -- others

    def dead(self):
        return [id for id, job in self.jobs.items() if job.status == STARTED and (not job.is_held or job.expires < self.now)]

    def rescue(self, id, *, alone):
        """Take a job from its worker; `alone` says whether that held no other, so that it is known which one ended it."""
        job = self.jobs[id]
        if id not in self.dead():
            return False
        if not job.is_held:
            job.status = UNSTARTED
            return True
        job.crashes += 1
        if job.crashes >= MAX_CRASHES and alone:
            self.end(id, FAILED)
        else:
            # A job that was not alone may have many crashes without failing. Only after the first does it run at once; then later and later.
            pause = min(2.0 ** (job.crashes - 2), 60.0) if job.crashes > 1 else 0.0
            job.status, job.not_before = UNSTARTED, self.now + pause
        return True

    def abort(self, id):
        if self.jobs[id].status in (FINISHED, FAILED, ABORTED):
            return False
        self.end(id, ABORTED)
        return True

    def retry(self, id):
        """Return whether the job runs again, or the code of the error that says why it cannot."""
        job = self.jobs[id]
        nobody_moves = job.status not in (UNSTARTED, STARTED, FINISHED) or (job.status == STARTED and not job.is_held)
        if not nobody_moves:
            return False
        if job.status != STARTED and any(self.jobs[dep].status in (FAILED, ABORTED) for dep in job.deps):
            return ":job.error/parent-lost"
        if not self.has_its_keys(id):
            return ":job.error/duplicate"
        self.revive(id)
        job.crashes, job.not_before = 0, 0.0
        given_up = [other for other, known in self.jobs.items() if known.cause == id and known.status == ABORTED]
        # Of two that had one key, the one that had it last runs again.
        for other in sorted(given_up, key=lambda other: not all(self.keys[key] == other for key in self.jobs[other].keys)):
            if self.has_its_keys(other):
                self.revive(other)
        return True

    def has_its_keys(self, id):
        holders = {self.keys[key] for key in self.jobs[id].keys} - {id}
        return all(self.jobs[holder].status not in (UNSTARTED, STARTED) for holder in holders)

    def revive(self, id):
        self.jobs[id].status, self.jobs[id].cause = UNSTARTED, None
        self.keys.update(dict.fromkeys(self.jobs[id].keys, id))

    def give_up_the_doomed(self):
        for id in sorted(self.jobs, key=lambda id: int(id[1:])):
            lost = [dep for dep in self.jobs[id].deps if self.jobs[dep].status in (FAILED, ABORTED)]
            if self.jobs[id].status == UNSTARTED and lost:
                cause = self.jobs[lost[0]].cause or lost[0]
                self.jobs[id].status, self.jobs[id].cause = ABORTED, cause
                self.give_up_below(id, cause)

    def insert_unique(self, key, id, job):
        held = self.keys.get(key)
        if held is not None and self.jobs[held].status in (UNSTARTED, STARTED):
            return False
        self.jobs[id], self.keys[key] = job, id
        job.keys.add(key)
        return True
