"""A store, its backup, and what may be done to them at the same time; with the laws that must hold whatever comes when.

Each action is a script of one simulated process (`interleaving`). A run sets up a store with an index, novelty on top, a secret that may be
excised and a backup made before; lets the processes act; and checks the laws of `docs/architecture.md`, "The maintenance protocol":
what a database answered at any time is what the log says up to its t, an index that is published is that of the log, no block that somebody may read is gone,
a copy that looked at its source after an excision has none of what was excised. Two entities may be excised, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any
from unittest.mock import patch

import factstore
from factstore import log, maintain
from factstore.columns.column import BY_ENTITY, Everything
from factstore.columns.kind import KINDS
from factstore.connection.connection import Connection
from factstore.index import scan
from factstore.index.cache import Cache
from factstore.index.directory import Blocks, Index
from factstore.schema.attribute import EXCISE, FIRST_FREE_ID
from factstore.storage import Storage
from factstore.storage.memory import MemoryStorage
from factstore.testing.simulation.scheduler import Chooser, Process, Scheduler, SimulatedStorage, Step

SECRET = "a secret"
SCHEMA = """
[{:db/ident :m/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :m/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :m/note :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]
"""
STORY: list[list[Any]] = [
    [{":m/name": "ann", ":m/n": 1}, {":m/name": "ben", ":m/n": 1}, {":m/name": SECRET, ":m/n": 1, ":m/note": f"{SECRET}, first"}],
    [{":m/name": "ann", ":m/n": 2}, {":m/name": SECRET, ":m/n": 2, ":m/note": f"{SECRET}, second"}],
    # Backed up here, and indexed.
    [{":m/name": "ben", ":m/n": 2}, [":db/retract", [":m/name", SECRET], ":m/note", f"{SECRET}, second"]],
    [{":m/name": "carl", ":m/n": 1}, {":m/name": SECRET, ":m/n": 3}],
]
INDEXED = 3  # t
_NAMES = count()

Facts = list[tuple[int, int, Any, int, bool]]


def facts_of(storage: Storage) -> Facts:
    """Return what the log says of users' attributes."""
    return [fact for made in log.read(storage, 0) for fact in made.all_facts() if fact[1] >= FIRST_FREE_ID]


def live_at(facts: Facts, t: int) -> set[tuple[int, int, Any, int]]:
    """Fold facts to what is true at a t."""
    live: dict[tuple[int, int, Any], int] = {}
    for e, a, v, when, added in facts:
        if when <= t:
            if added:
                live[e, a, v] = when
            else:
                live.pop((e, a, v), None)
    return {(*fact, when) for fact, when in live.items()}


def answer_of(db: factstore.Database) -> tuple[set[Any], set[Any]]:
    """Return what a database says of users' attributes, now and ever; read from blocks and novelty once more."""
    fresh = db.as_of(db.basis_t)
    attributes = [a for a in db.schema.attributes if a.id >= FIRST_FREE_ID]
    live = {(d.e, d.a, d.v, factstore.tx_to_t(d.tx)) for a in attributes for d in fresh.datoms("aevt", a.id)}
    ever = {(d.e, d.a, d.v, factstore.tx_to_t(d.tx), d.added) for a in attributes for d in fresh.history().datoms("aevt", a.id)}
    return live, ever


@cache
def beginnings() -> tuple[Any, Any, dict[str, int]]:
    """Return the store before anything is done, its backup, and the entities by name; made once and copied for each run."""
    source, backup = MemoryStorage(), MemoryStorage()
    conn = Connection(source)
    for tx_data in (SCHEMA, *STORY[:2]):
        conn.transact(tx_data)
    conn._committer.index()
    assert conn.db().view.index.basis_t == INDEXED
    maintain.copy(source, backup)
    for tx_data in STORY[2:]:
        conn.transact(tx_data)
    return source._shelf, backup._shelf, {d.v: d.e for d in conn.db().datoms("aevt", ":m/name")}


def copied(shelf: Any, name: str) -> MemoryStorage:
    """Return a new store in memory with what another one has."""
    storage = MemoryStorage(name)
    mine = storage._shelf
    mine.newest = (shelf.newest[0].copy(), shelf.newest[1])
    mine.blocks, mine.roots = shelf.blocks.copy(), shelf.roots.copy()
    return storage


@dataclass
class Notes:
    """What a process did and saw."""

    acknowledged: list[tuple[int, set[Any]]] = field(default_factory=list)  # t and facts of each transaction
    seen: list[tuple[factstore.Database, set[Any], set[Any]]] = field(default_factory=list)
    conns: list[Connection] = field(default_factory=list)
    copies: list[MemoryStorage] = field(default_factory=list)
    excised: set[int] = field(default_factory=set)  # entities


class Run:
    """One run: a store, its backup, and processes that act on them."""

    def __init__(self, actions: Sequence[str], killed_at: Sequence[int | None] = ()) -> None:
        shelf, backup, self.entities = beginnings()
        number = next(_NAMES)
        # Where others may rewrite the log, it is read a record at a time, so that they come in between any two.
        self.bite = 1 if {"excise", "excise_ben"} & set(actions) else log.READ_BYTES
        self.scheduler = Scheduler()
        self.scheduler.watchers.append(check_written)
        self.source = copied(shelf, f"source {number}")
        self.backup = copied(backup, f"backup {number}")
        self.backed_up = backup.newest
        self.restored = [MemoryStorage(f"restored {number} {i}") for i in range(len(actions))]
        self.before = facts_of(self.source)
        self.processes = []
        for i, action in enumerate(actions):
            process = Process(f"{action} {i}", ACTIONS[action], killed_at=killed_at[i] if killed_at else None)
            process.notes, process.run, process.restored = Notes(), self, self.restored[i]  # type: ignore[attr-defined]
            self.processes.append(process)
            self.connect(process)

    def open(self, process: Process, storage: MemoryStorage) -> Any:
        """Return a handle of a process on a store."""
        return SimulatedStorage(self.scheduler, process, MemoryStorage(storage.description.removeprefix("memory:")))

    def connect(self, process: Process, storage: MemoryStorage | None = None) -> Connection:
        """Open a connection of a process, which caches nothing, and keep a database of it."""
        conn = Connection(self.open(process, storage or self.source), cache_bytes=0)
        process.notes.conns.append(conn)
        self.see(process, conn.db())
        return conn

    def see(self, process: Process, db: factstore.Database) -> None:
        """Note what a database answers."""
        with self.scheduler.unobserved(process):
            process.notes.seen.append((db, *answer_of(db)))

    def go(self, choose: Chooser) -> list[Step]:
        """Let the processes act, and check the laws."""
        with patch.object(log, "READ_BYTES", self.bite):
            steps = self.scheduler.run(self.processes, choose)
        try:
            self.check()
        finally:
            self.close()
        return steps

    # -- laws

    def check(self) -> None:
        for process in self.processes:
            if process.error is not None:
                raise process.error
        after = facts_of(self.source)
        notes = [process.notes for process in self.processes]
        for t, facts in (one for each in notes for one in each.acknowledged):
            assert facts == {fact for fact in after if fact[3] == t}, "an acknowledged transaction is not in the log"
        excised = [fact[2] for made in log.read(self.source, 0) for fact in made.facts if fact[1] == EXCISE]
        assert set().union(*(each.excised for each in notes)) <= set(excised), "an acknowledged excision was not recorded"
        whole = sorted({*self.before, *after}, key=lambda fact: (fact[3], fact[4]))  # a retraction before what takes its place
        # The log as it was before any excision, after the first, and so on.
        logs = [[fact for fact in whole if fact[0] not in excised[:n]] for n in range(len(excised) + 1)]
        assert set(after) == set(logs[-1]), "the log is not what was committed without what was excised"
        self.check_seen(notes, logs)
        self.check_store(self.source)
        self.check_copies(logs)

    def check_seen(self, notes: Sequence[Notes], logs: Sequence[Facts]) -> None:
        """What any database answered, and still answers, is what one log says up to its t."""
        for db, live, ever in (one for each in notes for one in each.seen):
            answers = [(live_at(facts, db.basis_t), {fact for fact in facts if fact[3] <= db.basis_t}) for facts in logs]
            assert (live, ever) in answers, "a database does not answer as the log does"
        for process in self.processes:
            if not process.is_dead:
                for db, live, ever in process.notes.seen:
                    assert (live, ever) == answer_of(db), "a database has changed"
                for conn in process.notes.conns:
                    if conn._storage.inner.description == self.source.description:
                        assert answer_of(conn.db()) == (live_at(logs[-1], 99), set(logs[-1])), "a connection does not see what there is"

    def check_store(self, storage: MemoryStorage) -> None:
        """The index, if there is one, is that of the log, and a connection that is opened now says what the log says."""
        conn = Connection(storage, cache_bytes=0)
        assert maintain.check(conn).problems == []
        facts = facts_of(storage)
        assert answer_of(conn.db()) == (live_at(facts, 99), set(facts))

    def check_copies(self, logs: Sequence[Facts]) -> None:
        """A copy has the beginning of its source's log, without what was excised before its last look at the source."""
        for storage in (self.backup, *self.restored):
            if storage.head() and storage._shelf.newest != self.backed_up:
                self.check_store(storage)
                assert set(facts_of(storage)) in beginnings_of(logs, storage.head()), "a copy is not a beginning of its source"
        for process in self.processes:
            for storage in process.notes.copies if not process.is_dead else ():
                made_after = logs[self.excisions_before_last_look(process) :]
                assert set(facts_of(storage)) in beginnings_of(made_after, storage.head()), "a copy has what was excised before"

    def excisions_before_last_look(self, process: Process) -> int:
        """Return how many excisions there were when a process read the source's root for the last time."""
        verbs = [(event.process, event.verb) for event in self.scheduler.events if event.store == self.source.description]
        last = max(i for i, event in enumerate(verbs) if event == (process, "read_root"))
        return len([verb for _, verb in verbs[:last] if verb == "rewrite"])

    def close(self) -> None:
        for process in self.processes:
            for handle in process.handles:
                handle.inner.close()
        for storage in (self.source, self.backup, *self.restored):
            storage.close()


def beginnings_of(logs: Sequence[Facts], t: int) -> list[set[Any]]:
    """Return the facts of each log up to a t."""
    return [{fact for fact in facts if fact[3] <= t} for facts in logs]


def check_written(handle: SimulatedStorage, verb: str) -> None:
    """After each write: a root that is published is that of the log, and no block of a root that is the newest or held is gone."""
    storage = handle.inner
    root = storage.read_root()
    reader = Index(Blocks(storage, Cache(1 << 20)))
    for version in storage.held() | ({root.version} if root else set()):
        kept = storage.read_root(version)
        if version and kept:
            storage.get_blocks(list(reader.decode(kept.body, version).reachable()))
    if verb != "delete_blocks" and root:
        index = reader.decode(root.body, root.version)
        facts = [fact for fact in facts_of(storage) if fact[3] <= index.basis_t]
        assert live_at(facts, 99) == indexed(index), "an index was published that is not that of the log"


def indexed(index: Index) -> set[Any]:
    """Return the live facts of users' attributes in an index."""
    schema = beginnings_schema()
    found = set()
    for a in index.attributes():
        if a >= FIRST_FREE_ID:
            attribute = schema.attribute(a)
            rows = index.live(a, Everything(BY_ENTITY), KINDS[attribute.value_type.ident])
            found |= {fact[:4] for fact in scan.facts_of(rows, a)}
    return found


@cache
def beginnings_schema() -> Any:
    """Return the schema that all stores of all runs have."""
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        return conn.db().schema


# -- actions


def commit(process: Process) -> None:
    conn = process.notes.conns[0]
    for n in range(2):
        report = conn.transact([{":m/name": f"{process.name} {n}", ":m/n": n}, {":m/name": "ann", ":m/n": 100 + n}])
        _acknowledge(process, report.db_after)


def load(process: Process) -> None:
    conn = process.notes.conns[0]
    rows = [{"name": f"{process.name} {n}", "n": n} for n in range(4)]
    conn.load(rows, {"name": ":m/name", "n": ":m/n"}, batch_rows=2, progress=False)
    _acknowledge(process, conn.db())


def _acknowledge(process: Process, db: factstore.Database) -> None:
    """Note what this process made, as the log has it now."""
    with process.run.scheduler.unobserved(process):  # type: ignore[attr-defined]
        facts = facts_of(process.run.source)  # type: ignore[attr-defined]
        for t in {f[3] for f in facts if str(f[2]).startswith(process.name)}:
            process.notes.acknowledged.append((t, {fact for fact in facts if fact[3] == t}))
    process.run.see(process, db)  # type: ignore[attr-defined]


def index(process: Process) -> None:
    conn = process.notes.conns[0]
    conn.transact([{":m/name": f"{process.name} 0", ":m/n": 0}])
    conn._committer.index()
    assert conn.db().view.index.basis_t > INDEXED
    process.run.see(process, conn.db())  # type: ignore[attr-defined]


def reindex(process: Process) -> None:
    conn = process.notes.conns[0]
    maintain.reindex(conn)
    assert conn.db().view.index.basis_t > INDEXED
    process.run.see(process, conn.db())  # type: ignore[attr-defined]


def gc(process: Process) -> None:
    maintain.collect(process.notes.conns[0])


def excise(process: Process) -> None:
    _excise(process, SECRET)


def excise_ben(process: Process) -> None:
    _excise(process, "ben")


def _excise(process: Process, name: str) -> None:
    conn, entity = process.notes.conns[0], process.run.entities[name]  # type: ignore[attr-defined]
    conn.excise(entity)
    process.notes.excised.add(entity)
    process.run.see(process, conn.db())  # type: ignore[attr-defined]
    assert name not in str(process.notes.seen[-1][1:])


def backup(process: Process) -> None:
    run = process.run  # type: ignore[attr-defined]
    maintain.copy(run.open(process, run.source), run.open(process, run.backup))
    process.notes.copies.append(run.backup)


def restore(process: Process) -> None:
    run = process.run  # type: ignore[attr-defined]
    maintain.restore_to(run.open(process, run.source), run.open(process, process.restored), 4)  # type: ignore[attr-defined]
    process.notes.copies.append(process.restored)  # type: ignore[attr-defined]


def look(process: Process) -> None:
    run, conn = process.run, process.notes.conns[0]  # type: ignore[attr-defined]
    run.see(process, conn.db())
    run.see(process, run.connect(process).db())
    assert maintain.check(conn).problems == []
    run.see(process, conn.db())


def look_at_backup(process: Process) -> None:
    run = process.run  # type: ignore[attr-defined]
    conn = run.connect(process, run.backup)
    for _ in range(3):
        run.see(process, conn.db())


ACTIONS: dict[str, Callable[[Process], None]] = {
    f.__name__: f for f in (commit, load, index, reindex, gc, excise, excise_ben, backup, restore, look, look_at_backup)
}
