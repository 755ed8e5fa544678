"""Any interleaving of transact, load, index, gc, reopen, a second connection and as_of agrees with a list of datoms."""

from __future__ import annotations

import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import factstore
from factstore import maintain
from factstore.columns.column import BY_ENTITY  # noqa: F401  (numpy is loaded before the clock of the first example runs)

SCHEMA = [
    {
        ":db/ident": ":p/name",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    },
    {":db/ident": ":p/age", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one", ":db/index": True},
    {":db/ident": ":p/tag", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/many"},
    {":db/ident": ":p/boss", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"},
]
ATTRIBUTES = [":p/name", ":p/age", ":p/tag", ":p/boss"]
NAMES = st.sampled_from(["ann", "bo", "cy", "dee"])
TAGS = st.sampled_from(["x", "y", "z"])


def live(log):
    """Fold a log of (e, a, v, added) to what is true after it."""
    facts = set()
    for transaction in log:
        facts -= {fact[:3] for fact in transaction if not fact[3]}
        facts |= {fact[:3] for fact in transaction if fact[3]}
    return facts


class StoreMachine(RuleBasedStateMachine):
    """The model is the list of what each transaction reported."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = f"{self.folder.name}/machine.facts"
        self.conn = factstore.connect(self.path, sync="none")
        self.other = None
        self.log = []
        self.kept = []

    def note(self, report):
        db = report.db_after
        self.log.append([(d.e, db.ident(d.a), d.v, d.added) for d in report.tx_data if db.ident(d.a) in ATTRIBUTES])
        assert report.db_after.basis_t == len(self.log)

    @initialize()
    def declare(self):
        self.note(self.conn.transact(SCHEMA))

    def writer(self, second):
        if not second:
            return self.conn
        if self.other is None:
            self.other = factstore.connect(self.path, sync="none")
        return self.other

    @rule(name=NAMES, age=st.none() | st.integers(-2, 2), tags=st.lists(TAGS, max_size=2), second=st.booleans())
    def upsert(self, name, age, tags, second):
        form = {":p/name": name, ":p/tag": tags, **({} if age is None else {":p/age": age})}
        self.note(self.writer(second).transact([form]))

    @rule(name=NAMES, boss=NAMES)
    def promote(self, name, boss):
        self.note(self.conn.transact([{":p/name": name, ":p/boss": {":p/name": boss}}]))

    @rule(name=NAMES, tag=TAGS)
    def untag(self, name, tag):
        if self.conn.db().entid([":p/name", name]) is not None:
            self.note(self.conn.transact([[":db/retract", [":p/name", name], ":p/tag", tag]]))

    @rule(name=NAMES, second=st.booleans())
    def fire(self, name, second):
        conn = self.writer(second)
        if conn.db().entid([":p/name", name]) is not None:
            self.note(conn.transact([[":db/retractEntity", [":p/name", name]]]))

    @rule(
        names=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True), ages=st.lists(st.none() | st.integers(-3, 3), min_size=4)
    )
    def load(self, names, ages):
        known = {v for _, a, v in live(self.log) if a == ":p/name"}
        rows = [{"n": f"l{n}", "a": age} for n, age in zip(names, ages, strict=False) if f"l{n}" not in known]
        if not rows:
            return
        before = self.conn.db().basis_t
        report = self.conn.load(rows, {"n": ":p/name", "a": ":p/age"}, progress=False)
        assert report.transactions == 1
        db = self.conn.db()
        for t, data in self.conn.log().tx_range(before + 1):
            assert t == len(self.log) + 1
            self.log.append([(d.e, db.ident(d.a), d.v, d.added) for d in data if db.ident(d.a) in ATTRIBUTES])

    @rule()
    def refuse(self):
        before = self.conn.db().basis_t
        try:
            self.conn.transact([{":p/name": "zed", ":p/age": "old"}])
        except factstore.TransactError as error:
            assert error.code == ":db.error/wrong-type-for-attribute"
        else:
            raise AssertionError("a string was taken for a long")
        assert self.conn.db().basis_t == before

    @rule(second=st.booleans())
    def index(self, second):
        self.writer(second)._committer.index()

    @rule()
    def collect(self):
        maintain.collect(self.conn)

    @rule()
    def reopen(self):
        self.conn.close()
        self.conn = factstore.connect(self.path, sync="none")
        # What was handed out by a closed connection may still be asked for what it has in memory only.
        self.kept.clear()

    @rule()
    def keep(self):
        self.kept.append(self.conn.db())

    @rule(data=st.data())
    def as_of(self, data):
        t = data.draw(st.integers(0, len(self.log)))
        self.check(self.conn.db().as_of(t), live(self.log[:t]))

    @rule()
    def checks(self):
        found = maintain.check(self.conn)
        assert found.ok, found.problems

    @invariant()
    def newest_agrees(self):
        self.check(self.conn.db(), live(self.log))
        if self.other is not None:
            assert self.other.db().basis_t == len(self.log)

    @invariant()
    def kept_databases_never_change(self):
        for db in self.kept[-2:]:
            self.check(db, live(self.log[: db.basis_t]))

    def check(self, db, expected):
        found = {(d.e, a, d.v) for a in ATTRIBUTES if db.schema.find(a) for d in db.datoms("aevt", a)}
        assert expected == found
        for e, a, v in list(expected)[:3]:
            assert (e, v) in {(d.e, d.v) for d in db.datoms("eavt", e, a)}

    def teardown(self):
        self.conn.close()
        if self.other is not None:
            self.other.close()
        self.folder.cleanup()


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
