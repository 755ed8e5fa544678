"""Migrations: named, in order, once each, and what was applied never changes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import factstore
from factstore import Migration, migrate


def attribute(ident, kind="string"):
    return {":db/ident": ident, ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one"}


PEOPLE = Migration("001-people", [attribute(":p/name")])
ANN = Migration("002-ann", '[{:p/name "ann"}]')
AGES = Migration("003-ages", [attribute(":p/age", "long")])


@pytest.fixture
def conn():
    with factstore.connect("memory:") as conn:
        yield conn


def test_each_is_applied_once_and_in_order(conn):
    report = migrate(conn, [PEOPLE, ANN])
    assert (["001-people", "002-ann"], ()) == ([done.name for done in report.applied], report.already)
    again = migrate(conn, [PEOPLE, ANN, AGES])
    assert (["003-ages"], ("001-people", "002-ann")) == ([done.name for done in again.applied], again.already)
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
    assert (code, before) == (caught.value.code, conn.db().basis_t)


def test_a_dry_run_shows_the_datoms_and_commits_nothing(conn):
    report = migrate(conn, [PEOPLE, ANN], dry_run=True)
    assert "ann" in {datom.v for done in report.applied for datom in done.datoms}
    assert (0, None) == (conn.db().basis_t, report.failed)


def test_a_dry_run_names_the_migration_that_fails_and_every_problem(conn):
    bad = Migration("002-bad", [{":p/name": 1}, {":p/name": 2}])
    report = migrate(conn, [PEOPLE, bad], dry_run=True)
    assert ("002-bad", 2, 0) == (report.failed, len(report.problems), conn.db().basis_t)


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
