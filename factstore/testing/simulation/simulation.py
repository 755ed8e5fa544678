"""Simulated processes that run scripts of users on one store, in chosen schedules, and the laws that hold in each.

    simulate              one schedule
    check_interleavings   every schedule with at most a number of preemptions
    check_kills           the first process killed at each verb of the storage, the others after it

Laws: no acknowledged transaction is missing from the log; the index and every database agree with the log; a database
value never changes. After an excision they hold without the erased facts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count, groupby
from typing import Any, Final, TypeAlias, cast

from factstore import maintain
from factstore.connection.connection import Connection
from factstore.datom import Datom
from factstore.db.database import Database
from factstore.ids import t_to_tx
from factstore.schema.attribute import EXCISE, FIRST_FREE_ID
from factstore.storage import Storage
from factstore.storage.memory import MemoryStorage
from factstore.testing.simulation.scheduler import Chooser, Event, Process, Scheduler, SimulatedStorage, Step
from factstore.testing.simulation.schedules import Schedule, explore, stay
from factstore.transact.report import TxReport

Script: TypeAlias = Callable[[Connection], Any]
Facts: TypeAlias = frozenset[tuple[Any, ...]]
_NUMBERS: Final = count(1)


def simulate(
    *scripts: Script,
    setup: Script | None = None,
    check: Script | None = None,
    schedule: Schedule | Chooser = stay,
    killed_at: Sequence[int | None] = (),
) -> list[Step]:
    """Run scripts as processes on a new store, and check the laws; return the choices of the schedule.

    Args:
        scripts: each is called with a connection of its own process. Their only effects are those on the store.
        setup: called with a connection before the processes begin, to transact the schema.
        check: called with a new connection when all processes have ended; it asserts what must hold, or returns False.
        schedule: a Schedule, or a chooser.
        killed_at: for each process, the number of the stop at which it is killed, from 1; None: never.
    Raises: an exception of a script, `setup` or `check`; AssertionError for a broken law. A note has the schedule.
    """
    run = _Run(scripts, setup, killed_at)
    try:
        return run.go(schedule.chooser() if isinstance(schedule, Schedule) else schedule, check)
    except BaseException as error:
        error.add_note(story(run.scheduler.events))
        raise
    finally:
        run.close()


def check_interleavings(
    *scripts: Script, setup: Script | None = None, check: Script | None = None, preemptions: int = 2
) -> int:
    """Simulate every schedule with at most a number of preemptions, those with fewer first; return how many schedules.

    So the first failure has as few switches as possible. Arguments and errors are those of `simulate`.
    """
    return explore(
        lambda choose: simulate(*scripts, setup=setup, check=check, schedule=choose), preemptions=preemptions
    )


def check_kills(*scripts: Script, setup: Script | None = None, check: Script | None = None) -> int:
    """Simulate the death of the first process at each verb of the storage, then the others; return how many deaths.

    Arguments and errors are those of `simulate`.
    """
    first = len([step for step in simulate(*scripts, setup=setup, check=check) if step.chosen == 0])
    deaths = first - 1  # the first step begins the script, and each further one continues after a stop
    for n in range(1, deaths + 1):
        simulate(*scripts, setup=setup, check=check, killed_at=[n])
    return deaths


def publish_index(conn: Connection) -> None:
    """Publish an index of all transactions so far, as the background indexing does: a script for simulations."""
    conn._committer.index()


def story(events: Sequence[Event]) -> str:
    """Return the events of a run as text: for each turn of a process, the verbs that it called."""
    lines = ["schedule:"]
    for process, turn in groupby(events, lambda event: event.process):
        verbs = [(verb, len(list(calls))) for verb, calls in groupby(turn, lambda event: event.verb)]
        lines.append(f"    {process.name}: {', '.join(f'{verb} ×{n}' if n > 1 else verb for verb, n in verbs)}")
    return "\n".join(lines)


class Observed(Connection):
    """A connection of a simulated process, which notes the databases that it returns and what they contain."""

    def __init__(self, scheduler: Scheduler, process: Process, name: str) -> None:
        self.seen: list[tuple[Database, Facts]] = []
        self.acknowledged: list[TxReport] = []
        self._scheduler, self._process = scheduler, process
        storage = SimulatedStorage(scheduler, process, MemoryStorage(name))
        super().__init__(cast(Storage, storage), cache_bytes=0)

    def db(self) -> Database:
        db = super().db()
        self._see(db)
        return db

    def transact(self, tx_data: Any, **options: Any) -> TxReport:
        report = super().transact(tx_data, **options)
        self.acknowledged.append(report)
        self._see(report.db_after)
        return report

    def _see(self, db: Database) -> None:
        with self._scheduler.unobserved(self._process):
            self.seen.append((db, contents(db)))


def contents(db: Database) -> Facts:
    """Return the datoms of users' attributes with a history, read from index and novelty of a database once more."""
    fresh = db.as_of(db.basis_t)
    return frozenset(_plain(datom) for a in _lasting(db) for datom in fresh.datoms("aevt", a))


def _lasting(db: Database) -> set[int]:
    return {a.id for a in db.schema.attributes if a.id >= FIRST_FREE_ID and not a.no_history}


def _plain(datom: Datom) -> tuple[Any, ...]:
    return (datom.e, datom.a, datom.v, datom.tx, datom.added)


class _Run:
    """One run of a simulation."""

    def __init__(self, scripts: Sequence[Script], setup: Script | None, killed_at: Sequence[int | None]) -> None:
        self._name = f"simulation {next(_NUMBERS)}"
        self.scheduler = Scheduler()
        self._anchor = Connection(MemoryStorage(self._name))
        if setup is not None:
            setup(self._anchor)
        kills = [*killed_at, *[None] * (len(scripts) - len(killed_at))]
        self._connections: list[Observed] = []
        self._processes = [self._process(i, script, kills[i]) for i, script in enumerate(scripts)]

    def _process(self, number: int, script: Script, killed_at: int | None) -> Process:
        name = f"{getattr(script, '__name__', 'script')} {number + 1}"
        process = Process(name, lambda _process: script(conn), killed_at=killed_at)
        conn = Observed(self.scheduler, process, self._name)
        self._connections.append(conn)
        return process

    def go(self, choose: Chooser, check: Script | None) -> list[Step]:
        """Run the processes, and check the laws."""
        steps = self.scheduler.run(self._processes, choose)
        for process in self._processes:
            if process.error is not None:
                raise process.error
        with Connection(MemoryStorage(self._name), cache_bytes=0) as conn:
            self._check_laws(conn)
            if check is not None:
                assert check(conn) is not False, f"{getattr(check, '__name__', 'check')} returned False"
        return steps

    def _check_laws(self, conn: Connection) -> None:
        log = [_plain(datom) for logged in conn.log().tx_range() for datom in logged.data]
        erased = {fact[2] for fact in log if fact[1] == EXCISE}
        lasting = _lasting(conn.db())
        log = [fact for fact in log if fact[1] in lasting]
        assert maintain.check(conn).problems == [], maintain.check(conn).problems
        assert contents(conn.db()) == _live(log), "the newest database does not agree with the log"
        for process, each in zip(self._processes, self._connections):
            for report in each.acknowledged:
                made = [fact for fact in map(_plain, report.tx_data) if fact[1] in lasting]
                missing = set(made) - set(log)
                lost = [fact for fact in missing if not erased & {*fact[:3]}]
                assert not lost, f"{process.name}: acknowledged with t={report.t}, and missing from the log: {lost}"
            for db, facts in each.seen if not process.is_dead else ():
                assert contents(db) == facts, f"{process.name}: {db!r} has changed"
                assert erased or facts == _live([fact for fact in log if fact[3] <= t_to_tx(db.basis_t)])

    def close(self) -> None:
        """Close all connections."""
        for process in self._processes:
            for handle in process.handles:
                handle.inner.close()
        self._anchor.close()


def _live(log: Sequence[tuple[Any, ...]]) -> Facts:
    """Fold the datoms of a log, in order of t and retractions first, to those that are live after it."""
    live: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for fact in sorted(log, key=lambda fact: (fact[3], fact[4])):
        if fact[4]:
            live[fact[:3]] = fact
        else:
            live.pop(fact[:3], None)
    return frozenset(live.values())
