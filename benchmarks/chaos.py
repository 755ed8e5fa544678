"""Workers as real processes on one store, killed and stopped at random while they work on a large graph.

    python -m benchmarks.chaos                       # 10,000 jobs
    python -m benchmarks.chaos --jobs 1000 --seed 7

Law: the run ends; every job is finished once; of the facts that handlers bring each is there once, in the transaction that finished
its job; each attempt was claimed once and ended once; and what a killed worker held was taken from it before any other worker had been left
alone for two leases.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import factstore
from overseer import install, job_txn, status
from overseer.jobs.states import FINISHED

ROOT: Final = Path(__file__).resolve().parents[1]
LEASE: Final = 2.0  # seconds
START_UP: Final = 1.0  # seconds that a worker may take before it works
HANDLERS: Final = """
import random, time
from overseer import Result

def step(job):
    time.sleep(random.random() * 0.02)
    return Result(job.attempt, [{":effect/of": job.id, ":effect/attempt": job.attempt}])

handlers = {":chaos/step": step}
"""
# Nobody is to be blamed for being killed: a job may lose as many workers as it takes.
SETTINGS: Final = """
max_crashes = 100000
concurrency = 4
batch = {batch}
executor = "{executor}"
[heartbeat]
sleep_time = {beat}
tolerance = 3
"""
KINDS: Final = (
    ("threads", 16),
    ("processes", 8),
    ("threads", 1),
    ("processes", 1),
)  # executor and batch, of one worker after the other


@dataclass
class Report:
    """What happened in a run."""

    jobs: int
    seconds: float = 0.0
    kills: int = 0
    stops: int = 0
    children: int = 0  # processes of handlers that were killed by themselves
    attempts: int = 0
    crashes: int = 0  # attempts that ended because their worker, or its process, was gone
    refused: int = 0  # attempts that came back too late
    delays: list[float] = field(default_factory=list)  # seconds from a worker's kill to each of its jobs being taken
    longest_calm: float = 0.0  # of these, how long at a stretch some worker was left alone, and none was stopped
    longest_stop: float = 0.0

    def __str__(self) -> str:
        delays = sorted(self.delays) or [0.0]
        return (
            f"{self.jobs:,} jobs in {self.seconds:.1f} s: {self.kills} workers killed, {self.stops} stopped for up to"
            f" {self.longest_stop:.1f} s, {self.children} of their processes killed; {self.attempts:,} attempts, {self.crashes} lost with"
            f" a worker, {self.refused} refused as too late; jobs of a killed worker taken after {delays[len(delays) // 2]:.1f} s"
            f" (median), {delays[-1]:.1f} s (longest), and {self.longest_calm:.1f} s that a worker was left alone; a lease is {LEASE:g} s"
        )


def layers(jobs: int, random: Random, *, width: int = 200) -> list[list[tuple[str, list[str]]]]:
    """Return a graph by layers, as ids with the ids they depend on: a root fans out, layers follow on two parents each, one joins all."""
    graph: list[list[tuple[str, list[str]]]] = [[("root", [])]]
    made, before = 1, ["root"]
    while made < jobs - 1:
        ids = [f"{len(graph)}.{n}" for n in range(min(width, jobs - 1 - made))]
        graph.append([(id, sorted({random.choice(before), random.choice(before)})) for id in ids])
        made, before = made + len(ids), ids
    return [*graph, [("join", before)]]


def prepare(folder: Path, jobs: int, random: Random) -> Path:
    """Make the store with its graph, and what the workers need."""
    (folder / "chaos_handlers.py").write_text(HANDLERS)
    for n, (executor, batch) in enumerate(KINDS):
        (folder / f"worker{n}.toml").write_text(SETTINGS.format(executor=executor, batch=batch, beat=LEASE * 1000 / 3))
    path = folder / "chaos.facts"
    with factstore.connect(str(path)) as conn:
        install(conn)
        # No identity and no uniqueness: an effect that were committed twice would be there twice.
        conn.transact(
            [
                {
                    ":db/ident": f":effect/{name}",
                    ":db/valueType": f":db.type/{kind}",
                    ":db/cardinality": ":db.cardinality/one",
                }
                for name, kind in (("of", "string"), ("attempt", "long"))
            ]
        )
        eids: dict[str, int] = {}
        for layer in layers(jobs, random):
            forms = [{**job_txn(":chaos/step", id=id), ":job/dep": [eids[dep] for dep in deps]} for id, deps in layer]
            eids.update(
                conn.transact([{key: value for key, value in form.items() if value != []} for form in forms]).tempids
            )
    return path


class Monkeys:
    """Workers, and who torments them.

    Args:
        every: seconds between two torments, on average.
    """

    def __init__(self, path: Path, report: Report, random: Random, *, every: float) -> None:
        self._path, self._report, self._random, self._every = path, report, random, every
        self.killed: dict[int, float] = {}  # pid → when, on the wall clock
        self._lives: list[tuple[float, float]] = []  # of workers: from when they could work to when they were killed
        self._stops: list[tuple[float, float]] = []
        self._began: dict[int, float] = {}  # pid → when
        self._stopped: dict[int, float] = {}  # number of the worker → when it goes on
        self._workers = [self._start(n) for n in range(len(KINDS))]

    def _start(self, n: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "overseer", "worker", "chaos_handlers:handlers", "--until-idle"]
        command += ["--store", str(self._path), "--config", str(self._path.parent / f"worker{n}.toml")]
        with (self._path.parent / "log").open("ab") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            worker = subprocess.Popen(command, cwd=self._path.parent, env=environment, stdout=log, stderr=log)
        self._began[worker.pid] = time.time()
        return worker

    def torment(self, *, seconds: float) -> bool:
        """Kill and stop workers until all of them have ended by themselves; False if that took too long."""
        end = time.monotonic() + seconds
        next_one = time.monotonic() + self._every
        while any(worker.poll() is None for worker in self._workers):
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
            self._go_on()
            self._raise_the_dead()
            if time.monotonic() >= next_one:
                self._pick_on_one()
                next_one = time.monotonic() + self._every * self._random.uniform(0.3, 1.7)
        return True

    def calm(self, start: float, end: float) -> float:
        """Return for how long at a stretch, in this time, some worker was left alone; one that is stopped may hold up all of them."""
        known = {pid: (began + START_UP, time.time()) for pid, began in self._began.items() if pid not in self.killed}
        longest = 0.0
        for born, died in [*self._lives, *known.values()]:
            free = max(born, start)
            for stopped, went_on in [*sorted(self._stops), (time.time(), time.time())]:
                longest = max(longest, min(stopped, died, end) - free)
                free = max(free, went_on)
        return longest

    def end(self) -> None:
        """Leave no process behind."""
        for worker in self._workers:
            worker.kill()
            worker.wait()

    def _go_on(self) -> None:
        for n in [n for n, until in self._stopped.items() if time.monotonic() >= until]:
            del self._stopped[n]
            self._workers[n].send_signal(signal.SIGCONT)

    def _raise_the_dead(self) -> None:
        for n, worker in enumerate(self._workers):
            code = worker.poll()
            if code is not None and code != 0:
                if code != -signal.SIGKILL:
                    raise RuntimeError(
                        f"a worker failed with exit code {code}:\n{(self._path.parent / 'log').read_text()[-5000:]}"
                    )
                self._workers[n] = self._start(n)

    def _pick_on_one(self) -> None:
        n = self._random.randrange(len(self._workers))
        worker = self._workers[n]
        if worker.poll() is not None or n in self._stopped:
            return
        torment = self._random.choice([self._kill, self._kill, self._stop, self._kill_child])
        torment(n, worker)

    def _kill(self, n: int, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()
        self.killed[worker.pid] = time.time()
        self._lives.append((self._began[worker.pid] + START_UP, time.time()))
        self._report.kills += 1

    def _stop(self, n: int, worker: subprocess.Popen[bytes]) -> None:
        length = LEASE * self._random.choice([0.1, 0.5, 1.2, 2.5])
        worker.send_signal(signal.SIGSTOP)
        self._stopped[n] = time.monotonic() + length
        self._stops.append((time.time(), time.time() + length + 0.1))
        self._report.stops += 1
        self._report.longest_stop = max(self._report.longest_stop, length)

    def _kill_child(self, n: int, worker: subprocess.Popen[bytes]) -> None:
        children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children")
        pids = [int(pid) for task in children.parent.parent.glob("*/children") for pid in task.read_text().split()]
        handlers = [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if handlers:
            os.kill(self._random.choice(handlers), signal.SIGKILL)
            self._report.children += 1


def check(path: Path, report: Report, monkeys: Monkeys) -> None:
    """Check the law on the facts that are left, and fill in the report."""
    with factstore.connect(str(path)) as conn:
        db = conn.db()
        assert report.jobs == status.counts(db)[FINISHED] == sum(status.counts(db).values()), status.counts(db)
        finishes = factstore.q(
            "[:find ?id ?tx :where [?j :job/status :job.status/finished ?tx true] [?j :job/id ?id]]", db.history()
        )
        assert report.jobs == len(finishes), "a job was finished twice"
        effects = factstore.q("[:find ?e ?id ?n ?tx :where [?e :effect/of ?id ?tx] [?e :effect/attempt ?n]]", db)
        assert finishes == {(id, tx) for _, id, _, tx in effects}, (
            "an effect without its finish, or the other way round"
        )
        assert report.jobs == len(effects), "an effect is there twice"
        held = dict(factstore.q("[:find ?id ?n :where [?j :job/id ?id] [?j :job/attempt ?n]]", db))
        assert held == {id: n for _, id, n, _ in effects}, "the result of another attempt than the last was recorded"
        claims = factstore.q("[:find ?id ?n ?tx :where [?j :job/attempt ?n ?tx true] [?j :job/id ?id]]", db.history())
        assert len(claims) == len({(id, n) for id, n, _ in claims}) == sum(held.values()), (
            "an attempt was claimed twice"
        )
        report.attempts = len(claims)
        for id in [id for id, n in held.items() if n > 1]:
            for attempt in status.attempts(db, id):
                if attempt.reason == ":job.reason/lease-expired":
                    report.crashes += 1
                    _note_delay(attempt, report, monkeys)


def _note_delay(attempt: status.Attempt, report: Report, monkeys: Monkeys) -> None:
    pid = int((attempt.by or "::").split(":")[1])
    at = monkeys.killed.get(pid)
    if at is not None and attempt.ended is not None and attempt.ended_by is not None:
        report.delays.append(attempt.ended.timestamp() - at)
        report.longest_calm = max(report.longest_calm, monkeys.calm(at, attempt.ended.timestamp()))


def run(jobs: int, *, seed: int, every: float = 0.5, most_seconds: float = 900.0) -> Report:
    """Let workers do so many jobs while they are killed and stopped, check the law, and report.

    Raises: AssertionError when the law does not hold.
    """
    random, report = Random(seed), Report(jobs)
    with tempfile.TemporaryDirectory() as folder:
        path = prepare(Path(folder), jobs, random)
        started = time.perf_counter()
        monkeys = Monkeys(path, report, random, every=every)
        try:
            assert monkeys.torment(seconds=most_seconds), f"it did not end: {_stuck(path)}"
        finally:
            monkeys.end()
        report.seconds = time.perf_counter() - started
        check(path, report, monkeys)
        report.refused = (path.parent / "log").read_text().count("no longer holds it")
    assert report.longest_calm <= 2 * LEASE, report
    return report


def _stuck(path: Path) -> str:
    with factstore.connect(str(path)) as conn:
        db = conn.db()
        live = status.jobs_with_status(db, "started") | status.jobs_unstarted(db)
        return f"{status.counts(db)}; {[status.explain(db, id) for id in sorted(live)[:3]]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two torments, on average")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    print(run(options.jobs, seed=options.seed, every=options.every))


if __name__ == "__main__":
    main()
