"""Any transactions by two connections, loads and maintenance of a file agree with the naive model, at all times."""

from __future__ import annotations

import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

import factstore
from factstore.columns.column import BY_ENTITY  # noqa: F401  (numpy is loaded before the clock of the first example runs)
from factstore.testing import AnyTransactions, Maintenance, StoreMachine
from factstore.testing.naive.transactions import facts_of
from factstore.testing.rules import any_transaction

SCHEMA = """
[{:db/ident :p/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :p/age  :db/valueType :db.type/long   :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :p/tag  :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
 {:db/ident :p/boss :db/valueType :db.type/ref    :db/cardinality :db.cardinality/one}
 {:db/ident :p/pets :db/valueType :db.type/ref    :db/cardinality :db.cardinality/many :db/isComponent true}
 {:db/ident :p/both :db/valueType :db.type/tuple  :db/cardinality :db.cardinality/one :db/tupleAttrs [:p/name :p/age]}]
"""


class FileMachine(Maintenance, AnyTransactions, StoreMachine):
    schema = SCHEMA

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        super().__init__()
        self.other = self.connect()

    def connect(self):
        return factstore.connect(f"{self.folder.name}/machine.facts", sync="none", clock=self.clock)

    @rule(tx_data=any_transaction())
    def transact_by_another_connection(self, tx_data):
        self.transact(tx_data, through=self.other)

    @rule()
    def index_by_another_connection(self):
        self.other._committer.index()

    @rule(names=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True), ages=st.lists(st.integers(-3, 3), min_size=4))
    def load(self, names, ages):
        before = facts_of(self.conn.db())
        known = {v for _, a, v in before if a == ":p/name"}
        rows = [{"name": f"l{n}", "age": age} for n, age in zip(names, ages) if f"l{n}" not in known]
        self.conn.load(rows, {"name": ":p/name", "age": ":p/age"}, progress=False)
        loaded = [v for _, a, v in facts_of(self.conn.db()) - before if a == ":p/both"]
        assert sorted((row["name"], row["age"]) for row in rows) == sorted(loaded)

    def teardown(self):
        super().teardown()
        self.other.close()
        self.folder.cleanup()


TestStore = FileMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
