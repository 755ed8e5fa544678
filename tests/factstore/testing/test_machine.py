"""A StoreMachine finds the mistakes that are planted here with its default settings, and shrinks them to few steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, rule, run_state_machine_as_test

import factstore
from factstore.errors import Corrupt, FactStoreError
from factstore.storage.memory import MemoryStorage
from factstore.testing import AnyTransactions, InvariantBroken, Maintenance, ModelDisagrees, StoreMachine, invariant, transaction
from factstore.transact.forms import read_forms

ACCOUNTS = """
[{:db/ident :account/id      :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :account/balance :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :deposit/amount  :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]
"""
BALANCE = "[:find ?balance . :in $ ?id :where [?account :account/id ?id] [?account :account/balance ?balance]]"


class Bank(StoreMachine):
    schema = ACCOUNTS

    @initialize()
    def open(self):
        self.transact([{":account/id": 1, ":account/balance": 10}, {":account/id": 2, ":account/balance": 10}])

    @invariant
    def the_balance_is_that_of_the_deposits(self, db):
        deposits = factstore.q("[:find (sum ?a) . :with ?d :where [?d :deposit/amount ?a]]", db) or 0
        return factstore.q(BALANCE, db, 1) in (None, 10 + deposits)


def found_in(machine: type[StoreMachine]) -> tuple[AssertionError, list[str]]:
    """Return the error of a machine, and the steps to it."""
    with pytest.raises(AssertionError) as raised:
        run_state_machine_as_test(machine)
    return raised.value, steps_of(raised.value)


def steps_of(error: BaseException) -> list[str]:
    """Return the steps of a story without those at the beginning and end."""
    story = "\n".join(error.__notes__).splitlines()
    steps = [line.removeprefix("state.") for line in story if line.startswith("state.")]
    assert "teardown()" == steps.pop()
    return [step for step in steps if not step.startswith("open(")]


def test_an_update_that_is_lost_between_read_and_commit_is_found():
    class Planted(Bank):
        @transaction(amount=st.integers(1, 100))
        def deposit(self, db, amount):
            balance = factstore.q(BALANCE, db, 1)
            return [{":account/id": 1, ":account/balance": balance + amount}, {":deposit/amount": amount}]

    error, steps = found_in(Planted)
    assert isinstance(error, InvariantBroken)
    assert ["deposit(amount=1, waits=1)", "deposit(amount=1, waits=0)"] == steps
    assert "prepared with the database of t=" in str(error)
    assert "the_balance_is_that_of_the_deposits does not hold after t=" in str(error)


def test_the_same_with_compare_and_swap_is_correct():
    class Correct(Bank):
        @transaction(amount=st.integers(1, 100))
        def deposit(self, db, amount):
            balance = factstore.q(BALANCE, db, 1)
            return [[":db/cas", [":account/id", 1], ":account/balance", balance, balance + amount], {":deposit/amount": amount}]

    run_state_machine_as_test(Correct)


@factstore.register("test-bank/deposit")
def deposit_function(db, amount):
    """A transaction function with a mistake: two calls in one transaction read the same balance, and agree if the amounts do."""
    return [{":account/id": 1, ":account/balance": factstore.q(BALANCE, db, 1) + amount}, {":deposit/amount": amount}]


def test_an_update_that_is_lost_in_a_transaction_function_is_found():
    class Planted(Bank):
        @transaction(amount=st.integers(1, 100), times=st.integers(1, 3))
        def deposit(self, db, amount, times):
            return [["test-bank/deposit", amount]] * times

    error, steps = found_in(Planted)
    assert isinstance(error, InvariantBroken)
    assert ["deposit(amount=1, times=2, waits=0)"] == steps


def test_an_invariant_that_only_a_transaction_in_the_middle_breaks_is_found_with_its_t():
    class Planted(Bank):
        no_debts = invariant("[:find ?account :where [?account :account/balance ?b] [(< ?b 0)]]")

        @rule(amount=st.integers(1, 100))
        def transfer(self, amount):
            before = [factstore.q(BALANCE, self.conn.db(), account) for account in (1, 2)]
            self.conn.transact([{":account/id": 1, ":account/balance": before[0] - amount}])
            self.conn.transact([{":account/id": 1, ":account/balance": before[0]}])

        the_balance_is_that_of_the_deposits = None

    error, steps = found_in(Planted)
    assert ["transfer(amount=11)"] == steps
    assert str(error).startswith("no_debts does not hold after t=3: the query found {(")
    assert ":account/balance -1" in str(error).splitlines()[-1]


def test_a_store_that_loses_a_fact_disagrees_with_the_model(monkeypatch):
    class Planted(Bank):
        @transaction(amount=st.sampled_from([1, 100]))
        def record(self, db, amount):
            return [{":deposit/amount": amount}]

        the_balance_is_that_of_the_deposits = None

    transact = factstore.Connection.transact

    def forgetful(conn, tx_data, **options):
        return transact(conn, [form for form in read_forms(tx_data) if form != {":deposit/amount": 100}], **options)

    monkeypatch.setattr(factstore.Connection, "transact", forgetful)
    error, steps = found_in(Planted)
    assert isinstance(error, ModelDisagrees)
    assert ["record(amount=100, waits=0)"] == steps


def test_a_report_can_be_the_value_of_a_bundle_and_a_rejection_gives_none():
    class Machine(StoreMachine):
        schema = ACCOUNTS
        accounts = Bundle("accounts")

        @transaction(target=accounts, id=st.integers(0, 3), balance=st.integers(0, 3))
        def open(self, db, id, balance):
            e = db.entid([":account/id", id])
            return [{":account/id": id, ":account/balance": balance}] if e is None else None

        @rule(report=accounts)
        def read(self, report):
            assert report.tx_data[1].e in {d.e for d in self.conn.db().datoms("aevt", ":account/id")}

    run_state_machine_as_test(Machine)


def test_an_invalid_transaction_is_a_failure_with_its_error():
    class Planted(Bank):
        @transaction(amount=st.integers(1, 100))
        def deposit(self, db, amount):
            return [{":account/balnce": amount}]

    with pytest.raises(factstore.TransactError) as raised:
        run_state_machine_as_test(Planted)
    assert ":db.error/not-an-entity" == raised.value.code


@pytest.mark.parametrize("wrong", [lambda: invariant(), lambda: invariant(lambda machine, db: {1}).violation(None, None)])
def test_a_condition_that_can_hold_for_everything_is_rejected(wrong):
    with pytest.raises(FactStoreError) as raised:
        wrong()
    assert ":db.error/invalid-invariant" == raised.value.code


def test_an_index_publication_that_loses_a_block_is_found(monkeypatch):
    class Machine(Maintenance, AnyTransactions, StoreMachine):
        schema = ACCOUNTS

    swap_root = MemoryStorage.swap_root

    def swap_and_lose_a_block(storage, body, *, expected_version):
        root = swap_root(storage, body, expected_version=expected_version)
        storage._writable.blocks.popitem()
        return root

    monkeypatch.setattr(MemoryStorage, "swap_root", swap_and_lose_a_block)
    with pytest.raises((Corrupt, AssertionError, ExceptionGroup)) as raised:  # several reads notice it, each with its error
        run_state_machine_as_test(Machine)
    errors = raised.value.exceptions if isinstance(raised.value, ExceptionGroup) else [raised.value]
    assert all(len(steps_of(error)) <= 5 for error in errors)
    assert any("index()" in steps_of(error) for error in errors)


FEATURES = """
[{:db/ident :f/id    :db/valueType :db.type/uuid    :db/cardinality :db.cardinality/one  :db/unique :db.unique/identity}
 {:db/ident :f/owner :db/valueType :db.type/ref     :db/cardinality :db.cardinality/one  :db/unique :db.unique/identity}
 {:db/ident :f/tags  :db/valueType :db.type/keyword :db/cardinality :db.cardinality/many :db/unique :db.unique/value}
 {:db/ident :f/n     :db/valueType :db.type/long    :db/cardinality :db.cardinality/one  :db/noHistory true}
 {:db/ident :f/text  :db/valueType :db.type/string  :db/cardinality :db.cardinality/one  :db/fulltext true}
 {:db/ident :f/made  :db/valueType :db.type/instant :db/cardinality :db.cardinality/one  :db/stamp :db.stamp/created}
 {:db/ident :f/parts :db/valueType :db.type/ref     :db/cardinality :db.cardinality/many :db/isComponent true}
 {:db/ident :f/pair  :db/valueType :db.type/tuple   :db/cardinality :db.cardinality/one  :db/unique :db.unique/identity
  :db/tupleAttrs [:f/n :f/owner]}]
"""


@pytest.mark.parametrize("schema", [ACCOUNTS, FEATURES], ids=["accounts", "features"])
def test_the_store_agrees_with_the_model_whatever_is_committed_and_maintained(schema):
    class Machine(Maintenance, AnyTransactions, StoreMachine):
        pass

    Machine.schema = schema
    run_state_machine_as_test(Machine, settings=settings(max_examples=15, stateful_step_count=30))


class Any(AnyTransactions, StoreMachine):
    schema = ACCOUNTS


@dataclass
class Account:
    id: Annotated[int, ":account/id"]
    balance: Annotated[int, ":account/balance"] = 0


@pytest.mark.parametrize(
    ("tx_data", "options"),
    [
        ("[{:account/id 1 :account/balance 5} [:db/add #db/id[:db.part/user -1] :account/id 2]]", {}),
        ([Account(3, 4)], {}),
        ([{":account/id": 1, ":account/balance": None}], {"none": "retract"}),
        ([{":account/id": 7}], {"key": "once"}),
        ([[":db/add", "datomic.tx", ":account/balance", 1]], {}),
        ([{":db/ident": ":account/first", ":account/id": 1}], {}),
        ([[":db/setExactly", "x", ":account/balance", [3]]], {}),
        (iter([{":account/id": 9}]), {}),
        ([], {}),
    ],
    ids=["text", "dataclass", "none", "key", "transaction", "ident", "exactly", "iterator", "nothing"],
)
def test_a_machine_takes_all_that_a_connection_takes(tx_data, options):
    machine = Any()
    report = machine.transact(tx_data, **options)
    machine.check_databases()
    assert report.t == machine.conn.db().basis_t
    machine.teardown()


def test_a_rejected_transaction_raises_the_error_of_the_store():
    machine = Any()
    with pytest.raises(factstore.TransactError) as raised:
        machine.transact([{":account/id": "one"}])
    assert ":db.error/wrong-type-for-attribute" == raised.value.code
    machine.teardown()
