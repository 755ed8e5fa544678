"""The job layer beside other job systems, in one run: `python -m benchmarks.jobs [--quick] [--peers FOLDER --python PYTHON] [part …]`.

Ours is durable: every commit is synced to the disk that the peers use too. Workers are processes of their own, started from the
command line; a job's body takes a microsecond (`benchmarks.board`). A rate is jobs over the time from the first start to the
commit that finishes the last. FOLDER and PYTHON are where the peers' programs and packages are (`benchmarks.jobpeers`).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

import factstore
import overseer
from benchmarks import jobpeers
from benchmarks.board import HOLD, MARK, NUMBER, SCHEMA, Board
from benchmarks.harness import Row, save, show
from factstore import Keyword

LEASE = 2.0  # seconds
TICK = os.sysconf("SC_CLK_TCK")
LIVE = [Keyword(":job.status/unstarted"), Keyword(":job.status/started")]

Peers = dict[str, dict[str, float | str]]  # by measure, by peer


class Bench:
    """A store with jobs, its scoreboard, and the workers on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "jobs.facts"
        self.conn = factstore.connect(str(self.path))
        overseer.install(self.conn)
        self.conn.transact(SCHEMA)
        self.board = Board.new(folder / "board")
        self.log = folder / "log"

    @contextmanager
    def workers(
        self, count: int, *, batch: int | None = None, lease: float = 30.0, handlers: str = "benchmarks.board:handlers"
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Start workers, and end them."""
        command = [sys.executable, "-m", "overseer", "worker", handlers, "--store", str(self.path)]
        env = {**os.environ, "BOARD": str(self.folder / "board")}
        command += ["--lease", str(lease), *(["--batch", str(batch)] if batch else [])]
        with self.log.open("ab") as log:
            started = [subprocess.Popen(command, env=env, stderr=log) for _ in range(count)]
        try:
            yield started
        finally:
            for process in started:
                process.send_signal(signal.SIGTERM)
            for process in started:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    @contextmanager
    def ready_workers(
        self, count: int, *, batch: int | None = None, lease: float = 30.0
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Start workers, and wait until one of them has run a job and all had time to come up."""
        with self.workers(count, batch=batch, lease=lease) as started:
            self.conn.transact([job(0)])
            wait_for(self.board.begun)
            self.settled()
            time.sleep(0.5 + count)
            self.board.clear()
            yield started

    def settled(self) -> None:
        """Wait until every job has ended, as the store tells it."""
        wait_for(lambda: not any(live(self.conn.db(), status) for status in LIVE))

    def enqueue(self, numbers: Sequence[int], batch: int = 1_000) -> float:
        """Enqueue jobs so many at a time and return how many a second."""
        forms = [[job(n) for n in numbers[i : i + batch]] for i in range(0, len(numbers), batch)]
        start = time.perf_counter()
        for each in forms:
            self.conn.transact(each)
        return len(numbers) / (time.perf_counter() - start)


def live(db: factstore.Database, status: Keyword) -> bool:
    return next(iter(db.datoms("avet", ":job/status", status)), None) is not None


def job(number: int, type: str = MARK) -> dict[str, Any]:
    return overseer.job_txn(type, {NUMBER: number})


def wait_for(condition: Callable[[], Any], *, limit: float = 120.0, every: float = 0.005) -> None:
    """Look until it holds; a benchmark polls, for it must not take part in what it measures."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} did not become true in {limit} s")
        time.sleep(every)


@contextmanager
def bench() -> Iterator[Bench]:
    """Make a store of its own, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="jobs-"))
    made = Bench(folder)
    try:
        yield made
    except TimeoutError:
        print(made.log.read_text()[-2_000:])  # what the workers said
        raise
    finally:
        made.conn.close()
        shutil.rmtree(folder)


def cpu(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """Return the seconds of processor time that processes have used, with those they started."""
    used, children = {}, defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # it ended meanwhile
        children[int(fields[1])].append(int(folder.name))
        used[int(folder.name)] = sum(map(int, fields[11:15])) / TICK
    total, found = 0.0, [process.pid for process in processes]
    while found:
        pid = found.pop()
        total += used.get(pid, 0.0)
        found += children[pid]
    return total


class Drained(NamedTuple):
    """How jobs went through workers."""

    rate: float
    cpu_ms: float


def drain(b: Bench, jobs: int, *, workers: int = 1, batch: int | None = None) -> Drained:
    """Let workers run jobs that wait for them already."""
    b.board.clear()
    b.enqueue(range(jobs))
    with b.workers(workers, batch=batch) as started:
        wait_for(lambda: b.board.begun() >= jobs // 10)
        done, used = b.board.begun(), cpu(started)
        wait_for(lambda: b.board.begun() == jobs, every=0.02)
        b.settled()
        end, used = time.monotonic_ns(), cpu(started) - used
    marks = b.board.first(jobs)
    assert all(mark.runs == 1 for mark in marks)
    return Drained(jobs * 1e9 / (end - min(mark.first for mark in marks)), used * 1000 / (jobs - done))


# -- parts


def enqueue(peers: Peers, n: int) -> Iterator[Row]:
    with bench() as b:
        single = b.enqueue(range(n // 20), batch=1)
        yield row("enqueue one by one", single, "/s", peers=peers.get("enq_s"))
        batches = max(b.enqueue(range(n)) for _ in range(3))
        yield row("enqueue 1,000 at a time", batches, "/s", ">= 50,000", peers=peers.get("enq_many_s"))


def lmdb_commits(folder: Path, n: int = 1_000) -> float:
    """Return how many small commits a second bare LMDB makes durable."""
    with lmdb.open(str(folder / "bare.lmdb"), subdir=False, map_size=1 << 28) as env:
        start = time.perf_counter()
        for i in range(n):
            with env.begin(write=True) as txn:
                txn.put(i.to_bytes(8, "big"), b"x" * 60)
        return n / (time.perf_counter() - start)


def throughput(peers: Peers, n: int) -> Iterator[Row]:
    for workers in (1, 2):
        drained = []
        for _ in range(3):
            with bench() as b:
                drained.append(drain(b, n, workers=workers))
        best = max(each.rate for each in drained)
        processes = f"{workers} worker process{'es' * (workers > 1)}"
        yield row(f"no-op jobs, {processes}", best, "/s", ">= 5,000", peers=peers.get(f"w{workers}_jobs_s"))
        used = min(each.cpu_ms for each in drained)
        yield row(f"CPU a job, {processes}", used, "ms", "<= 0.15", peers=peers.get(f"w{workers}_cpu_ms"), least=True)
    halves, alone = [], []
    for _ in range(3):
        with bench() as b:
            halves.append(lmdb_commits(b.folder) / 2)
            alone.append(drain(b, n // 10, batch=1).rate)
    yield Row(
        "a claim and a finish of its own for each job",
        max(alone),
        max(halves),
        "half of LMDB's commits",
        "/s",
        "ratio >= 0.8",
    )


def shared(b: Bench, jobs: int, workers: int) -> Drained:
    """Let workers that wait already run jobs as they are enqueued; the CPU includes what they do in the second after the last."""
    with b.ready_workers(workers) as started:
        used, begin = cpu(started), time.monotonic_ns()
        b.enqueue(range(jobs))
        wait_for(lambda: b.board.begun() == jobs, every=0.02)
        b.settled()
        end = time.monotonic_ns()
        time.sleep(1.0)
        used = cpu(started) - used
    assert all(mark.runs == 1 for mark in b.board.first(jobs))
    return Drained(jobs * 1e9 / (end - begin), used * 1000 / jobs)


def curve(_: Peers, n: int) -> Iterator[Row]:
    """More workers than the store or the machine can use must not be slower."""
    measured: dict[int, Drained] = {}
    for workers in (1, 2, 4, 8, 16):
        with bench() as b:
            measured[workers] = shared(b, n, workers)
        best = max(each.rate for each in measured.values())
        name = f"{workers} waiting worker{'s' * (workers > 1)}"
        yield Row(f"no-op jobs, {name}", measured[workers].rate, best, "the best so far", "/s", "ratio >= 0.9")
        yield Row(
            f"CPU a job, {name}", measured[workers].cpu_ms, measured[1].cpu_ms, "one worker", "ms", "ratio <= 1.5"
        )


def latencies(b: Bench, n: int) -> list[float]:
    """Return the milliseconds from before the enqueueing of a job to its start, sorted; one comes about every 30 ms."""
    chance = random.Random(1)
    with b.ready_workers(1):
        sent = []
        for i in range(n):
            sent.append(time.monotonic_ns())
            b.conn.transact([job(i)])
            time.sleep(0.03 * chance.uniform(0.5, 1.5))
        wait_for(lambda: b.board.begun() == n)
        b.settled()
        return sorted((b.board[i].first - at) / 1e6 for i, at in enumerate(sent))


def at(sorted_values: Sequence[float], share: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def latency(peers: Peers, n: int) -> Iterator[Row]:
    with bench() as b:
        found = latencies(b, n)
    for share, aim, measure in ((0.5, "< 5", "lat_p50_ms"), (0.95, "", "lat_p95_ms"), (0.99, "< 20", "")):
        yield row(
            f"start latency p{share * 100:.0f}", at(found, share), "ms", aim, peers=peers.get(measure), least=True
        )


def recovery(peers: Peers, n: int) -> Iterator[Row]:
    waits = []
    for _ in range(n):
        with bench() as b, b.ready_workers(2, lease=LEASE) as started:
            eid = b.conn.transact([{**job(0, HOLD), ":db/id": "held"}]).tempids["held"]
            wait_for(lambda b=b: b.board[0].runs)  # type: ignore[misc]
            holder = factstore.pull(b.conn.db(), [":job/worker"], eid)[":job/worker"]
            [victim] = [process for process in started if f":{process.pid}:" in holder]
            killed = time.monotonic_ns()
            victim.kill()
            wait_for(lambda b=b: b.board[0].runs == 2)  # type: ignore[misc]
            waits.append((b.board[0].last - killed) / 1e9)
    yield row(
        f"a killed worker's job runs again, lease {LEASE:.0f} s",
        max(waits),
        "s",
        f"<= {2 * LEASE:.0f}",
        peers=peers.get("crash_s"),
        least=True,
    )


def pipeline(b: Bench, deps: dict[int, Sequence[int]]) -> float:
    """Return the seconds from a graph's transaction to its last finish."""
    names = {number: overseer.job_txn(MARK)[":job/id"] for number in deps}
    jobs = {
        name: {":job/id": name, ":job/type": Keyword(MARK), ":job/status": LIVE[0], NUMBER: n}
        for n, name in names.items()
    }
    graph = overseer.Graph(jobs, {names[n]: [names[parent] for parent in parents] for n, parents in deps.items()})
    b.board.clear()
    start = time.perf_counter()
    overseer.transact_graph(b.conn, graph)
    wait_for(lambda: b.board[len(deps) - 1].runs, every=0.001)
    b.settled()
    taken = time.perf_counter() - start
    assert all(mark.runs == 1 for mark in b.board.first(len(deps)))
    return taken


def graphs(_: Peers, n: int) -> Iterator[Row]:
    chain: dict[int, Sequence[int]] = {i: [i - 1] if i else [] for i in range(100)}
    fan: dict[int, Sequence[int]] = {0: [], **{i: [0] for i in range(1, 1_001)}, 1_001: range(1, 1_001)}
    with bench() as b, b.ready_workers(1):
        yield row("a chain of 100", min(pipeline(b, chain) for _ in range(n)), "s", "< 0.5")
        yield row("fan-out of 1,000 and join", min(pipeline(b, fan) for _ in range(n)), "s", "< 1")


def finished(b: Bench, n: int) -> None:
    """Give a store so many jobs that have run, with all the history that running leaves."""
    now = b.conn.now()
    for i in range(0, n, 10_000):
        ids = b.conn.transact(
            [{**job(number), ":db/id": str(number)} for number in range(i, i + 10_000)]
        ).tempids.values()
        started, ended = Keyword(":job.status/started"), Keyword(":job.status/finished")
        claim = {":job/attempt": 1, ":job/worker": "past:1:0", ":job/lease-expires": now}
        claims = [{":db/id": e, **claim, ":job/token": f"{e:032x}"} for e in ids]
        b.conn.transact([*claims, *([":db/cas", e, ":job/status", LIVE[0], started] for e in ids)])
        b.conn.transact([[":db/cas", e, ":job/status", started, ended] for e in ids])


def past(_: Peers, n: int) -> Iterator[Row]:
    """The same rates with finished jobs present, by turns with a store that has none."""
    with bench() as full:
        finished(full, n)
        measures: dict[str, tuple[Callable[[Bench], float], str, str]] = {
            "enqueue 1,000 at a time": (lambda b: b.enqueue(range(20_000)), "/s", "ratio >= 0.85"),
            "no-op jobs, 1 worker process": (lambda b: drain(b, 20_000).rate, "/s", "ratio >= 0.85"),
            "start latency p50": (lambda b: at(latencies(b, 100), 0.5), "ms", "ratio <= 1.15"),
        }
        for name, (measure, unit, aim) in measures.items():
            with_past, without = [], []
            for _ in range(2):
                with bench() as fresh:
                    without.append(measure(fresh))
                full.conn._committer.index()  # a new store has nothing to index either
                with_past.append(measure(full))
                with full.workers(1):  # the jobs that were only enqueued would be in the way of what comes next
                    full.settled()
            best = min if unit == "ms" else max
            yield Row(f"{name}, {n:,} finished jobs present", best(with_past), best(without), "without", unit, aim)


def idle(_: Peers, n: int) -> Iterator[Row]:
    with bench() as b, b.ready_workers(1) as started:
        before = cpu(started)
        time.sleep(n)
        yield row("an idle worker", (cpu(started) - before) / n * 100, "% CPU", "<= 0.3")
    with bench() as b:
        handlers = "benchmarks.board:others"
        with b.ready_workers(1), b.workers(1, handlers=handlers) as idlers:
            time.sleep(2)
            before, begin = cpu(idlers), time.monotonic()
            while time.monotonic() < begin + n:
                b.enqueue(range(2_000))
                wait_for(lambda: b.board.begun() == 2_000)
                b.board.clear()
            share = (cpu(idlers) - before) / (time.monotonic() - begin) * 100
        yield row("an idle worker beside a busy one of other types", share, "% CPU", "<= 0.3")


def space(_: Peers, n: int) -> Iterator[Row]:
    with bench() as b:
        before = b.path.stat().st_blocks * 512
        drain(b, n)
        b.conn.close()
        yield row("bytes a finished job, with its history", (b.path.stat().st_blocks * 512 - before) / n, "bytes")


def row(
    name: str,
    ours: float,
    unit: str,
    aim: str = "",
    *,
    peers: dict[str, float | str] | None = None,
    least: bool = False,
) -> Row:
    """Return a row beside the best of the peers."""
    cells = peers or {}
    known = {peer: value for peer, value in cells.items() if isinstance(value, (int, float))}
    best = (min if least else max)(known, key=known.__getitem__) if known else ""
    return Row(name, ours, known.get(best), best, unit, aim, peers=dict(cells))


PARTS: dict[
    str, tuple[Callable[[Peers, int], Iterator[Row]], int, int]
] = {  # with how many jobs, seconds or trials; and when quick
    "enqueue": (enqueue, 50_000, 10_000),
    "throughput": (throughput, 20_000, 2_000),
    "curve": (curve, 20_000, 2_000),
    "latency": (latency, 500, 50),
    "recovery": (recovery, 3, 1),
    "graphs": (graphs, 3, 1),
    "idle": (idle, 20, 3),
    "space": (space, 20_000, 2_000),
    "past": (past, 1_000_000, 20_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs")
    parser.add_argument("--quick", action="store_true", help="few jobs")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="where bench.py and the peers' programs are")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers' packages")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all when none is named")
    args = parser.parse_args()
    peers: Peers = jobpeers.measured(args.peers, args.python) if args.peers else {}
    for name in args.parts or PARTS:
        part, full, quick = PARTS[name]
        rows = []
        for found in part(peers, quick if args.quick else full):
            found.part = name
            show(found)
            rows.append(found)
        if not args.quick:
            save("jobs", rows)


if __name__ == "__main__":
    main()
