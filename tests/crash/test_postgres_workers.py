"""Workers on three hosts do the jobs of one store, while workers, transactors and the primary are killed or stopped.

The hosts are network namespaces. The first has the primary, the second its synchronous standby, and each has a transactor
and workers. Variables set the size: `CLUSTER_WORKERS=40 CLUSTER_JOBS=10000` is the run of `make cluster-test`.
Law: each job is finished once, and its effects are in the store once: the facts that its handler returned, and those that
it committed with `job.transact`. The log has no gaps, and contains each transaction that was acknowledged.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Thread
from time import monotonic

import pytest

import factstore
from benchmarks.chaos import layers
from factstore import Connection, Database
from factstore.datom import t_of
from factstore.storage import Led, Storage, open_storage
from overseer import install, job_txn, status
from overseer.jobs.states import FINISHED
from tests.factstore.transactor.running import Transactor
from tests.networks import Host, hosts
from tests.postgres import CLUSTER, Server, cluster, until, whole_log

ROOT = Path(__file__).resolve().parents[2]
WORKERS = int(os.environ.get("CLUSTER_WORKERS", "6"))
JOBS = int(os.environ.get("CLUSTER_JOBS", "400"))
LEASE = 4.0  # seconds
STOPS = (0.4, 2.0, 6.0)  # seconds for which a worker is stopped: shorter and longer than the lease
EVERY = 1.5  # seconds between two torments of workers, on average
LIMIT = 900.0  # seconds, of a run that makes no progress
CONNECTIONS = f"max_connections={100 + 12 * WORKERS}"

# `:published/of` and `:returned/of` have no identity and no uniqueness: an effect that was committed twice is there twice.
HANDLERS = """
import os, random, time
from factstore import CasFailed
from overseer import Retry

ACKNOWLEDGED = os.open("acknowledged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def step(job):
    time.sleep(random.random() * 0.1)
    try:
        once = [":db/cas", job.eid, ":published/by", None, job.attempt]
        report = job.transact([once, {":published/of": job.id}])
        os.write(ACKNOWLEDGED, f"{report.t} {job.id}\\n".encode())
    except CasFailed:
        pass  # an earlier attempt has published it
    return [{":returned/of": job.id}]

handlers = {":cluster/step": step}
"""
# A job may lose as many workers as are killed.
SETTINGS = f"""
max_crashes = 100000
concurrency = 4
executor = "threads"
[heartbeat]
sleep_time = {LEASE * 1000 / 4}
tolerance = 4
"""


@dataclass
class Report:
    """What happened in a run."""

    kills: int = 0
    stops: int = 0
    ended: int = 0  # workers that ended with an error, and were started again, as systemd does; a fault
    pauses: list[float] = field(default_factory=list)  # seconds from each kill of a transactor or primary to the next finished job
    seconds: float = 0.0
    attempts: int = 0

    def __str__(self) -> str:
        return (
            f"{JOBS:,} jobs, {WORKERS} workers on 3 hosts, in {self.seconds:.1f} s: {self.kills} workers killed, {self.stops} stopped,"
            f" transactor, primary and transactor killed, after which jobs continued in"
            f" {', '.join(f'{pause:.1f}' for pause in self.pauses)} s; {self.attempts:,} attempts;"
            f" {self.ended} workers ended with an error"
        )


# -- servers and transactors


class Transactors:
    """One transactor on each host; one of them leads."""

    def __init__(self, uri: str, places: Sequence[Host]) -> None:
        self._uri = uri
        self._running: dict[Host, Transactor] = {}
        for host in places:
            self._start(host)

    def _start(self, host: Host) -> None:
        arguments = ("--require", "overseer", "--listen", f"{host.address}:0")
        self._running[host] = Transactor(self._uri, *arguments, inside=host.inside)

    def kill_the_leader(self) -> None:
        """Kill the process that leads, return when another one leads, and start a new one on the same host."""
        with closing(open_storage(self._uri)) as storage:
            until(lambda: leader_of(storage))
            address = leader_of(storage)
            host = next(host for host in self._running if address.startswith(f"{host.address}:"))
            transactor = self._running.pop(host)
            transactor.kill()
            transactor.end()
            until(lambda: leader_of(storage) not in ("", address))
        self._start(host)

    def end(self) -> None:
        for transactor in self._running.values():
            transactor.end()


def leader_of(storage: Storage) -> str:
    """Return the address of the transactor that leads now; "" if there is none."""
    assert isinstance(storage, Led)
    leader = storage.leadership.leader()
    return leader.address if leader and leader.is_alive else ""


# -- workers


class Workers:
    """Processes of workers on all hosts, and a thread that kills and stops them at random."""

    def __init__(self, uri: str, folder: Path, places: Sequence[Host], report: Report, random: Random) -> None:
        self._uri, self._folder, self._places, self._report, self._random = uri, folder, places, report, random
        self._stopped: dict[int, float] = {}  # number of the worker → when it continues
        self._running = [self._start(n) for n in range(WORKERS)]
        self._is_calm = False
        self._ends = Event()
        self._thread = Thread(target=self._torment, daemon=True)
        self._thread.start()

    def _start(self, n: int) -> subprocess.Popen[bytes]:
        host = self._places[n % len(self._places)]
        command = [*host.inside, sys.executable, "-m", "overseer", "worker", "steps:handlers", "--until-idle"]
        command += ["--store", self._uri, "--config", "worker.toml"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FACTSTORE_CACHE": str(self._folder / host.name)}
        with (self._folder / f"log{n}").open("ab") as log:
            return subprocess.Popen(command, cwd=self._folder, env=environment, stdout=log, stderr=log)

    def _torment(self) -> None:
        next_one = monotonic() + EVERY
        while not self._ends.wait(0.05):
            for n in [n for n, until_then in self._stopped.items() if monotonic() >= until_then]:
                self._continue(n)
            for n, worker in enumerate(self._running):
                if worker.poll():
                    self._report.ended += 1
                    self._running[n] = self._start(n)
            if not self._is_calm and monotonic() >= next_one:
                self._pick_one()
                next_one = monotonic() + EVERY * self._random.uniform(0.3, 1.7)

    def _pick_one(self) -> None:
        n = self._random.randrange(WORKERS)
        if self._running[n].poll() is not None or n in self._stopped:
            return
        if self._random.random() < 0.5:
            self._running[n].kill()
            self._running[n].wait()
            self._report.kills += 1
            self._running[n] = self._start(n)
        else:
            self._running[n].send_signal(signal.SIGSTOP)
            self._stopped[n] = monotonic() + self._random.choice(STOPS)
            self._report.stops += 1

    def _continue(self, n: int) -> None:
        del self._stopped[n]
        self._running[n].send_signal(signal.SIGCONT)

    def calm_down(self) -> None:
        """Kill and stop no more; those that were stopped continue."""
        self._is_calm = True

    def are_idle(self) -> bool:
        """Tell whether all workers have ended, because no job is left; raise if their killer failed."""
        assert self._thread.is_alive() or self._ends.is_set()
        return all(worker.poll() == 0 for worker in self._running)

    def logs(self) -> str:
        """Return what the workers logged."""
        return "".join(path.read_text() for path in sorted(self._folder.glob("log*")))

    def end(self) -> None:
        self._ends.set()
        self._thread.join()
        for worker in self._running:
            worker.kill()
            worker.wait()


# -- a run


def prepare(uri: str, folder: Path, random: Random) -> None:
    """Make the store with its graph of jobs, and the files that the workers need."""
    (folder / "steps.py").write_text(HANDLERS)
    (folder / "worker.toml").write_text(SETTINGS)
    kinds = {":published/of": "string", ":published/by": "long", ":returned/of": "string"}
    with factstore.connect(uri) as conn:
        install(conn)
        one = ":db.cardinality/one"
        conn.transact([{":db/ident": name, ":db/valueType": f":db.type/{kind}", ":db/cardinality": one} for name, kind in kinds.items()])
        eids: dict[str, int] = {}
        for layer in layers(JOBS, random, width=max(1, JOBS // 5)):
            forms = [
                {**job_txn(":cluster/step", id=id), **({":job/dep": [eids[dep] for dep in deps]} if deps else {})} for id, deps in layer
            ]
            eids.update(conn.transact(forms).tempids)


def run(uri: str, folder: Path, places: Sequence[Host], pair: tuple[Server, Server], report: Report) -> None:
    """Let the workers do all jobs; kill the leading transactor twice and the primary once, when parts of the jobs are done."""
    with ExitStack() as stack:
        random = Random(1)
        prepare(uri, folder, random)
        transactors = Transactors(uri, places)
        stack.callback(transactors.end)
        conn = stack.enter_context(factstore.connect(uri))
        began = monotonic()
        workers = Workers(uri, folder, places, report, random)
        stack.callback(workers.end)

        def disturb(part: float, act: Callable[[], object]) -> None:
            wait(lambda: finished(conn) >= part * JOBS, conn, workers)
            started = monotonic()
            act()
            before = finished(conn)
            wait(lambda: finished(conn) > before, conn, workers)
            report.pauses.append(monotonic() - started)

        disturb(0.2, transactors.kill_the_leader)
        disturb(0.45, lambda: fail_over(*pair))
        disturb(0.7, transactors.kill_the_leader)
        wait(lambda: finished(conn) == JOBS, conn, workers)
        workers.calm_down()
        wait(workers.are_idle, conn, workers)
        report.seconds = monotonic() - began


def fail_over(primary: Server, standby: Server) -> None:
    """Kill the primary, let the standby replace it, and let the old primary follow the new one."""
    primary.kill()
    standby.promote()
    primary.follow(standby)
    primary.start(*CLUSTER, CONNECTIONS, "synchronous_standby_names=standby")


def finished(conn: Connection) -> int:
    """Return the number of jobs whose effects are in the database of which this process was notified."""
    return sum(1 for _ in conn.db().datoms("aevt", ":returned/of"))


def wait(condition: Callable[[], bool], conn: Connection, workers: Workers) -> None:
    """Wait for a condition of other processes; fail with the state of the jobs if it does not come."""
    end = monotonic() + LIMIT
    while not condition():
        assert monotonic() < end, f"{status.counts(conn.db())}\n{workers.logs()[-20_000:]}"
        Event().wait(0.2)


# -- what must hold


def check_jobs(db: Database) -> int:
    """Check that each job was finished once, with each effect once; return the number of attempts."""
    assert {FINISHED: JOBS} == {name: n for name, n in status.counts(db).items() if n}
    history = db.history()
    finishes = factstore.q("[:find ?id ?tx :where [?j :job/status :job.status/finished ?tx true] [?j :job/id ?id]]", history)
    returned = factstore.q("[:find ?e ?id ?tx :where [?e :returned/of ?id ?tx]]", db)
    published = factstore.q("[:find ?e ?id ?tx :where [?e :published/of ?id ?tx]]", db)
    assert JOBS == len(finishes) == len({id for id, _ in finishes})
    assert finishes == {(id, tx) for _, id, tx in returned} and JOBS == len(returned)
    assert {id for id, _ in finishes} == {id for _, id, _ in published} and JOBS == len(published)
    claims = factstore.q("[:find ?id ?n ?tx :where [?j :job/attempt ?n ?tx true] [?j :job/id ?id]]", history)
    attempts = dict(factstore.q("[:find ?id ?n :where [?j :job/id ?id] [?j :job/attempt ?n]]", db))
    assert len(claims) == len({(id, n) for id, n, _ in claims}) == sum(attempts.values())
    return len(claims)


def check_acknowledged(db: Database, folder: Path) -> None:
    """Check that each transaction that a handler saw acknowledged is in the log, at the same t."""
    lines = (folder / "acknowledged").read_text().splitlines()
    acknowledged = {(int(t), id) for t, id in map(str.split, lines)}
    found = {(t_of(datom.tx), datom.v) for datom in db.datoms("aevt", ":published/of")}
    assert acknowledged and acknowledged <= found
    assert len(lines) == len(acknowledged)


def check_log(uri: str) -> None:
    """Check that the log has no gaps and no transaction twice, and that the store has no faults."""
    with closing(open_storage(uri)) as storage:
        log = [(record.t, record.txid) for record in whole_log(storage)]
        assert list(range(1, storage.head() + 1)) == [t for t, _ in log]
        assert len(log) == len({txid for _, txid in log})
        assert [] == storage.problems()


@pytest.mark.slow
def test_each_job_has_its_effects_once_whatever_is_killed(tmp_path: Path) -> None:
    report = Report()
    with hosts(3) as places, cluster(CONNECTIONS, synchronous=True, on=places[:2], promoted="standby") as pair:
        addresses = ",".join(f"{server.host}:{server.port}" for server in pair)
        uri = f"postgresql://postgres@{addresses}/postgres?name=shop&durability=replicated&connect_timeout=2"
        run(uri, tmp_path, places, pair, report)
        with factstore.connect(uri) as conn:
            report.attempts = check_jobs(conn.sync())
            check_acknowledged(conn.db(), tmp_path)
        check_log(uri)
    print(report)
    assert report.kills and report.stops and not report.ended
