"""Migrations: named, in order, once each, and what was applied never changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

import pytest

import factstore
from factstore import Attr, Migration, migrate, schema_of


def attribute(ident, kind="string"):
    return {":db/ident": ident, ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one"}


PEOPLE = Migration("001-people", [attribute(":p/name")])
ANN = Migration("002-ann", '[{:p/name "ann"}]')
AGES = Migration("003-ages", [attribute(":p/age", "long")])


UNIQUE = Migration("003-unique", [{":db/id": ":p/name", ":db/unique": ":db.unique/value"}])


@dataclass
class Thing:
    name: Annotated[str, Attr(unique="identity")]


@pytest.fixture
def conn():
    with factstore.connect("memory:") as conn:
        yield conn


def test_each_is_applied_once_and_in_order(conn):
    report = migrate(conn, [PEOPLE, ANN])
    assert ["001-people", "002-ann"] == [done.name for done in report.applied]
    assert () == report.already
    again = migrate(conn, [PEOPLE, ANN, AGES])
    assert ["003-ages"] == [done.name for done in again.applied]
    assert ("001-people", "002-ann") == again.already
    assert {("ann",)} == factstore.q("[:find ?n :where [_ :p/name ?n]]", conn.db())


def test_layout_and_comments_do_not_change_a_migration(conn):
    migrate(conn, [PEOPLE, ANN])
    assert () == migrate(conn, [PEOPLE, Migration("002-ann", '; the first\n[ {:p/name   "ann"} ]')]).applied


@pytest.mark.parametrize(
    ("migrations", "code"),
    [
        ([PEOPLE, Migration("002-ann", '[{:p/name "anna"}]')], ":db.error/migration-changed"),
        ([ANN, PEOPLE], ":db.error/migration-order"),
        ([PEOPLE, AGES, ANN], ":db.error/migration-order"),
        ([PEOPLE], ":db.error/migration-order"),
        ([PEOPLE, ANN, AGES, AGES], ":db.error/migration-order"),
    ],
)
def test_a_list_that_is_not_what_was_applied_is_refused_whole(conn, migrations, code):
    migrate(conn, [PEOPLE, ANN])
    before = conn.db().basis_t
    with pytest.raises(factstore.TransactError) as caught:
        migrate(conn, migrations)
    assert code == caught.value.code
    assert before == conn.db().basis_t


def test_a_dry_run_shows_the_datoms_and_commits_nothing(conn):
    report = migrate(conn, [PEOPLE, ANN], dry_run=True)
    assert "ann" in {datom.v for done in report.applied for datom in done.datoms}
    assert 0 == conn.db().basis_t
    assert report.failed is None


def test_a_dry_run_names_the_migration_that_fails_and_every_problem(conn):
    bad = Migration("002-bad", [{":p/name": 1}, {":p/name": 2}])
    report = migrate(conn, [PEOPLE, bad], dry_run=True)
    assert "002-bad" == report.failed
    assert 2 == len(report.problems)
    assert 0 == conn.db().basis_t


def test_a_migration_that_fails_leaves_those_before_it_applied(conn):
    with pytest.raises(factstore.TransactError):
        migrate(conn, [PEOPLE, Migration("002-bad", [{":p/name": 1}]), AGES])
    assert ("001-people",) == migrate(conn, [PEOPLE]).already


def test_several_processes_at_once_apply_each_once(tmp_path):
    path = str(tmp_path / "race.facts")
    conns = [factstore.connect(path, sync="none") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda conn: migrate(conn, [PEOPLE, ANN, AGES]), conns))
    assert ["001-people", "002-ann", "003-ages"] == sorted(done.name for report in reports for done in report.applied)
    assert 3 == conns[0].db().basis_t
    for conn in conns:
        conn.close()


def test_the_order_of_keys_and_of_sets_is_no_change_and_a_type_is_one():
    text = "[{:db/cardinality :db.cardinality/one, :db/ident :p/name, :db/valueType :db.type/string}]"
    assert PEOPLE.checksum == Migration("x", text).checksum
    others = [[{":a/b": 1}], [{":a/b": True}], [{":a/b": "1"}], [{":a/b": 1.0}], [{":a/b": [1]}], [[":a/b", 1]], [{":a/b": {1, 2}}]]
    assert len(others) == len({Migration("x", forms).checksum for forms in others})
    assert Migration("x", [{":a/b": {"x", "y", "z"}}]).checksum == Migration("x", [{":a/b": {"z", "y", "x"}}]).checksum


def test_a_dry_run_goes_on_from_what_the_earlier_ones_would_have_done(conn):
    twice = Migration("002-twice", '[{:p/name "ann"} {:p/name "ann"}]')
    report = migrate(conn, [PEOPLE, twice, UNIQUE], dry_run=True)
    assert "003-unique" == report.failed
    assert [":db.error/unique-violation"] == [problem["code"] for problem in report.problems]


def test_a_unique_conflict_of_its_own_is_raised(conn):
    with pytest.raises(factstore.UniqueConflict):
        migrate(conn, [PEOPLE, ANN, UNIQUE, Migration("004-again", '[{:p/name "ann"}]')])
    assert 3 == conn.db().basis_t


def test_classes_and_instances_make_migrations(conn):
    steps = [Migration("001-things", schema_of(Thing)), Migration("002-thing", [Thing("one")])]
    assert 2 == len(migrate(conn, steps).applied)
    assert conn.db().entid([":thing/name", "one"]) is not None


def test_what_was_migrated_survives_indexing(tmp_path):
    path = str(tmp_path / "store")
    with factstore.connect(path) as conn:
        migrate(conn, [PEOPLE, ANN])
        conn._committer.index()
    with factstore.connect(path) as conn:
        assert ("001-people", "002-ann") == migrate(conn, [PEOPLE, ANN]).already


def test_excising_its_transaction_leaves_the_record_of_a_migration(conn):
    done = migrate(conn, [PEOPLE, ANN]).applied[-1]
    conn.excise(done.datoms[0].e)
    assert ("001-people", "002-ann") == migrate(conn, [PEOPLE, ANN]).already
