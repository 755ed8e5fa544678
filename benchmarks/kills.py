"""Processes that are killed (SIGKILL) at each verb of the storage in turn, while they write, maintain, copy and claim.

    python -m benchmarks.kills                       # 1,000 kills
    python -m benchmarks.kills --kills 100 --seed 7

A process works on a store until the verb at which it is killed, half of the times before the verb and half of the times after it.
It tells a pipe what was acknowledged to it. Then the store is looked at, and the next process goes on with it.
Law: what was acknowledged is there, once; no transaction is there by half; index and log agree; an excision is done or not done; a copy
is a beginning of its source, and is whole after its next run; every job is finished once, with its facts.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import factstore
from factstore import maintain
from factstore.commit import indexing
from factstore.connection.connection import Connection
from factstore.storage import Storage, open_storage
from overseer import JobStore, install, job_txn, status
from overseer.jobs.states import FINISHED, Outcome

_VERBS: Final = """
head append resolve read_log rewrite wait turn put_blocks get_blocks delete_blocks block_ids read_root swap_root hold held
"""
VERBS: Final = frozenset(_VERBS.split())
SCHEMA: Final = """
[{:db/ident :k/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :k/batch :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :k/secret :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
 {:db/ident :effect/of :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]
"""
BATCH: Final = 5  # entities of a transaction
TRIALS: Final = 25  # on one store; then a new one is made
VICTIMS: Final = TRIALS  # entities of a store that may be excised
JOBS: Final = 30
LEASE: Final = timedelta(milliseconds=1)
SAID: Final = (
    "[:find (count ?e) . :in $ ?v :where [?e :k/secret ?v]]"  # asked of histories: the asserted and the retracted
)


class Clock:
    """Counts the verbs of a process, and says at which it is killed."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._at = at
        self._after = after
        self.verbs = 0

    def call(self, verb: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Call a verb, or die before or after it."""
        self.verbs += 1
        dies = self.verbs == self._at
        if dies and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = verb(*args, **options)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


class Dying:
    """A handle on a storage whose process is killed at a verb."""

    def __init__(self, inner: Storage, clock: Clock) -> None:
        self._inner = inner
        self.clock = clock

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        return (lambda *args, **options: self.clock.call(value, args, options)) if name in VERBS else value


@dataclass
class Trial:
    """What a process is told to do, and whom it tells."""

    path: Path
    number: int
    chance: Random
    storage: Any
    told: int  # a file descriptor

    def tell(self, what: str) -> None:
        """Tell that something was acknowledged."""
        os.write(self.told, f"{what}\n".encode())

    def connect(self) -> Connection:
        """Open a connection that dies at its verb."""
        return Connection(self.storage)

    def commit(self, conn: Connection) -> None:
        """Commit a batch of entities, and tell."""
        name = f"{self.number}-{self.chance.randrange(1 << 60)}"
        conn.transact([{":k/name": f"{name}-{i}", ":k/batch": name} for i in range(BATCH)])
        self.tell(name)


# -- what is done


def transact(trial: Trial) -> None:
    conn = trial.connect()
    for _ in range(3):
        trial.commit(conn)
    report = conn.transact_async(
        [{":k/name": f"{trial.number}-a{i}", ":k/batch": f"{trial.number}-a"} for i in range(BATCH)]
    )
    report.result()
    trial.tell(f"{trial.number}-a")


def load(trial: Trial) -> None:
    conn = trial.connect()
    for n in range(2):
        name = f"{trial.number}-l{n}"
        rows = [{"name": f"{name}-{i}", "batch": name} for i in range(BATCH)]
        conn.load(rows, {"name": ":k/name", "batch": ":k/batch"}, progress=False)
        trial.tell(name)


def index(trial: Trial) -> None:
    conn = trial.connect()
    trial.commit(conn)
    conn._committer.index()


def reindex(trial: Trial) -> None:
    conn = trial.connect()
    trial.commit(conn)
    maintain.reindex(conn)


def gc(trial: Trial) -> None:
    with closing(open_storage(str(trial.path), sync="none")) as storage:
        storage.put_blocks([(os.urandom(16), b"a block that no root names")])
    maintain.collect(trial.connect())


def excise(trial: Trial) -> None:
    conn = trial.connect()
    trial.commit(conn)
    victims = factstore.q("[:find ?n ?e :where [?e :k/name ?n] [?e :k/secret]]", conn.db())
    name, eid = trial.chance.choice(sorted(victims))
    conn.excise(eid)
    trial.tell(name)


def backup(trial: Trial) -> None:
    excise(trial)
    target = open_storage(f"{trial.path}-copy", sync="none")
    maintain.copy(trial.storage, _alike(trial, target))
    target.close()


def restore(trial: Trial) -> None:
    with closing(open_storage(f"{trial.path}-restored-{trial.number}", sync="none")) as target:
        maintain.restore_to(trial.storage, _alike(trial, target), trial.chance.randint(2, 4))


def _alike(trial: Trial, target: Storage) -> Any:
    """Return a handle on a target whose verbs count along with those of the source."""
    return Dying(target, trial.storage.clock)


def claims(trial: Trial) -> None:
    store = JobStore(trial.connect(), worker=f"worker {trial.number}")
    do_jobs(store, trial.tell, most=4)


def do_jobs(store: JobStore, tell: Callable[[str], None], *, most: int) -> None:
    """Take what dead workers held, then claim some jobs and finish them, each with a fact."""
    store.rescue(max_crashes=1 << 30)
    waiting = factstore.q("[:find [?j ...] :where [?j :job/status :job.status/unstarted]]", store.conn.db())
    for job in store.claim(sorted(waiting)[:most], lease=LEASE):
        if not store.settle([(job.lease, Outcome(FINISHED, facts=[{":effect/of": job.id}]))]):
            tell(f"job {job.id}")


ACTIONS: Final[dict[str, Callable[[Trial], None]]] = {
    action.__name__: action for action in (transact, load, index, reindex, gc, excise, backup, restore, claims)
}


# -- a store, and the look at it


def made(path: Path) -> None:
    """Make a store with an index, facts that are not in it yet, entities to excise, a backup, and jobs."""
    with factstore.connect(str(path), sync="none") as conn:
        conn.transact(SCHEMA)
        for round in range(2):
            conn.transact(
                [{":k/name": f"victim {n}", ":k/secret": f"secret {n} of round {round}"} for n in range(VICTIMS)]
            )
            conn.transact([{":k/name": f"base-{round}-{i}", ":k/batch": f"base-{round}"} for i in range(BATCH)])
            if not round:
                conn._committer.index()
                with closing(open_storage(f"{path}-copy", sync="none")) as target:
                    maintain.copy(conn._storage, target)
        install(conn)
        conn.transact([job_txn(":kill/job", id=f"j{n}") for n in range(JOBS)])


@dataclass
class Report:
    """What happened in a run."""

    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    verbs: Counter[str] = field(default_factory=Counter)  # of an action that is not killed
    acknowledged: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [f"{'':10}{'verbs':>8}{'kills':>8}{'acknowledged':>14}"]
        rows += [
            f"{name:10}{self.verbs[name]:>8,}{self.kills[name]:>8,}{self.acknowledged[name]:>14,}"
            for name in self.kills
        ]
        total = f"{self.kills.total():,} kills in {self.seconds:.0f} s; {self.acknowledged.total():,} acknowledged"
        return "\n".join(
            [
                *rows,
                f"{total}, {self.lost} lost, {self.doubled} doubled, {len(self.problems)} other problems",
                *self.problems,
            ]
        )


class Look:
    """Looks at a store after each kill; keeps what was acknowledged."""

    def __init__(self, path: Path, report: Report) -> None:
        self.path = path
        self.report = report
        self.batches = {"base-0", "base-1"}
        self.excised: set[str] = set()
        self.jobs: set[str] = set()

    def note(self, lines: list[str]) -> None:
        """Note what a process was acknowledged."""
        for line in lines:
            kind = self.excised if line.startswith("victim") else self.jobs if line.startswith("job") else self.batches
            kind.add(line)

    def look(self, where: str) -> None:
        """Check the law of the store, and of the copy as it is."""
        with closing(open_storage(str(self.path), create=False, sync="none")) as storage:
            self.expect(storage.held() == set(), f"{where}: a dead process holds {storage.held()}")
        with factstore.connect(str(self.path), create=False, sync="none") as conn:
            self.law(conn, where, self.batches, self.excised)
            conn.transact([{":k/name": "the turn is free"}])
            finished = Counter(factstore.q("[:find [?id ...] :with ?e :where [?e :effect/of ?id]]", conn.db()) or [])
            self.report.lost += len({job.removeprefix("job ") for job in self.jobs} - finished.keys())
            self.report.doubled += sum(n - 1 for n in finished.values())

    def law(self, conn: Connection, where: str, batches: set[str], excised: set[str]) -> None:
        """Check what holds of a store and of a whole copy of it."""
        db = conn.db()
        sizes: Counter[str] = Counter()
        sizes.update(dict(factstore.q("[:find ?b (count ?e) :where [?e :k/batch ?b]]", db)))
        self.report.lost += len(batches - sizes.keys())
        self.report.doubled += sum(n > BATCH for n in sizes.values())
        self.expect(all(n == BATCH for n in sizes.values()), f"{where}: a transaction is there by half: {sizes}")
        self.expect((problems := maintain.check(conn).problems) == [], f"{where}: {problems}")
        for n in range(VICTIMS):
            said = [d.v for d in db.history().datoms("aevt", ":k/secret") if d.v.startswith(f"secret {n} ")]
            is_gone = db.entid([":k/name", f"victim {n}"]) is None
            self.expect(
                len(said) == (0 if is_gone else 3), f"{where}: an excision was done by half, of victim {n}: {said}"
            )
            self.expect(is_gone or f"victim {n}" not in excised, f"{where}: victim {n} is back")

    def is_beginning(self, copy: str, where: str) -> None:
        """Check that a copy, as it was left, is a store with a beginning of the log."""
        if not Path(copy).exists():
            return
        with (
            factstore.connect(copy, sync="none") as conn,
            closing(open_storage(str(self.path), create=False, sync="none")) as source,
        ):
            self.expect((problems := maintain.check(conn).problems) == [], f"{where}: {copy}: {problems}")
            theirs = [record.txid for record in source.read_log(0, max_bytes=1 << 40)]
            mine = [record.txid for record in conn._storage.read_log(0, max_bytes=1 << 40)]
            self.expect(mine == theirs[: len(mine)], f"{where}: {copy} is no beginning of its source")

    def finish(self, where: str) -> None:
        """Bring the copy up, do the jobs that are left, and check everything."""
        self.look(where)
        both = (open_storage(uri, sync="none") for uri in (str(self.path), f"{self.path}-copy"))
        with closing(next(both)) as source, closing(next(both)) as target:
            maintain.copy(source, target)
            self.expect(
                source.read_log(0, max_bytes=1 << 40) == target.read_log(0, max_bytes=1 << 40),
                f"{where}: the copy differs",
            )
        with factstore.connect(f"{self.path}-copy", sync="none") as conn:
            self.law(conn, f"{where}, in the copy", self.batches, self.excised)
        with factstore.connect(str(self.path), sync="none") as conn:
            store = JobStore(conn, worker="the last")
            rounds = 0
            while (
                status.counts(conn.db())[FINISHED] < JOBS and rounds < 100
            ):  # a dead worker's lease lasts a millisecond
                do_jobs(store, lambda _: None, most=JOBS)
                rounds += 1
            history = conn.db().history()
            ends = Counter(
                factstore.q("[:find [?j ...] :with ?tx :where [?j :job/status :job.status/finished ?tx true]]", history)
            )
            effects = Counter(factstore.q("[:find [?id ...] :with ?e :where [?e :effect/of ?id]]", conn.db()))
            self.report.lost += JOBS - len(effects)
            self.report.doubled += effects.total() - len(effects) + ends.total() - len(ends)

    def expect(self, is_so: bool, problem: str) -> None:
        if not is_so:
            self.report.problems.append(problem)


# -- a run


def run(kills: int, *, seed: int, actions: tuple[str, ...] = tuple(ACTIONS)) -> Report:
    """Kill processes, so many in all, and return what was found."""
    began, chance, report = time.monotonic(), Random(seed), Report()
    each = {name: kills // len(actions) + (i < kills % len(actions)) for i, name in enumerate(actions)}
    for name in actions:
        with tempfile.TemporaryDirectory() as folder:
            _kill_often(Path(folder), name, each[name], chance, report)
    report.seconds = time.monotonic() - began
    return report


def _kill_often(folder: Path, name: str, kills: int, chance: Random, report: Report) -> None:
    """Kill processes that do one thing: at every verb in turn, or where there are more verbs than kills at verbs evenly spread."""
    number, look = 0, None
    while report.kills[name] < kills:
        if number % TRIALS == 0:
            if look is not None:
                look.finish(f"{name}, at the end of store {number // TRIALS}")
            path = folder / f"{number}.facts"
            made(path)
            look = Look(path, report)
        assert look is not None
        verbs = report.verbs[name]
        at = 1 + report.kills[name] * max(1, verbs // kills) % verbs if number else 0  # the first one is not killed
        after = chance.random() < 0.5
        told, done = _die(name, look.path, number, at, after, chance)
        where = f"{name} {number}, killed {'after' if after else 'before'} verb {at}"
        if done is None:
            report.kills[name] += 1
        else:
            report.verbs[name], where = max(done, verbs), f"{name} {number}, which was not killed"
        report.acknowledged[name] += len(told)
        look.note(told)
        look.look(where)
        if name in ("backup", "restore"):
            look.is_beginning(f"{look.path}-copy" if name == "backup" else f"{look.path}-restored-{number}", where)
        number += 1
    if look is not None:
        look.finish(f"{name}, at the end")


def _die(name: str, path: Path, number: int, at: int, after: bool, chance: Random) -> tuple[list[str], int | None]:
    """Let a process act until it is killed; return what it was acknowledged, and how many verbs it took if it was not killed."""
    seed = chance.randrange(1 << 60)
    mine, told = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            storage = Dying(open_storage(str(path), create=False, sync="none"), Clock(at, after=after))
            ACTIONS[name](Trial(path, number, Random(seed), storage, told))
            os.write(told, f"verbs {storage.clock.verbs}\n".encode())
            code = 0
        finally:
            os._exit(code)
    os.close(told)
    with os.fdopen(mine) as pipe:
        lines = pipe.read().splitlines()
    _, ended = os.waitpid(pid, 0)
    if os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL:
        return lines, None
    if ended:
        raise RuntimeError(f"{name} {number} ended with {ended} instead of being killed at verb {at}")
    return lines[:-1], int(lines[-1].split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(ACTIONS), nargs="*", default=list(ACTIONS))
    options = parser.parse_args()
    indexing.LEAST_ROWS_AT_CLOSE = 1 << 60  # type: ignore[misc]  # looks close connections, and must not index
    report = run(options.kills, seed=options.seed, actions=tuple(options.only))
    print(report)
    sys.exit(bool(report.lost or report.doubled or report.problems))


if __name__ == "__main__":
    main()
