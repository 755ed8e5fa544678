"""factstore migrate: a folder of files of EDN, tried or applied."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import factstore
from factstore import TransactError, migrations_in
from factstore.cli import main

NAME = "[{:db/ident :p/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}] ; names"
ANN = '[{:p/name "ann"} {:p/name "ann"}]'
UNIQUE = "[{:db/id :p/name :db/unique :db.unique/value}]"


@pytest.fixture
def place(tmp_path):
    """Return a folder of migrations beside a store that is there and empty."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name, text in (("002-ann.edn", ANN), ("001-name.edn", NAME), ("README.md", "no migration")):
        (folder / name).write_text(text, encoding="utf-8")
    factstore.connect(str(tmp_path / "store")).close()
    return tmp_path


def run(place, *options):
    return CliRunner().invoke(main, ["migrate", str(place / "migrations"), "--store", str(place / "store"), *options])


def test_files_are_migrations_in_order_of_name(place):
    assert ["001-name", "002-ann"] == [migration.name for migration in migrations_in(place / "migrations")]


def test_migrations_are_applied_once(place):
    first, second = run(place), run(place)
    assert 0 == first.exit_code
    assert 0 == second.exit_code
    assert "001-name  t=1" in first.output and "2 applied, 0 applied before" in first.output
    assert "0 applied, 2 applied before" in second.output


def test_a_dry_run_shows_datoms_and_commits_nothing(place):
    tried = run(place, "--dry-run")
    assert ':p/name "ann"]' in tried.output and "2 to apply" in tried.output
    with factstore.connect(str(place / "store")) as conn:
        assert 0 == conn.db().basis_t


def test_a_dry_run_tells_what_would_be_violated(place):
    (place / "migrations" / "003-unique.edn").write_text(UNIQUE, encoding="utf-8")
    tried = run(place, "--dry-run")
    assert 1 == tried.exit_code
    assert "003-unique  would be refused" in tried.output and ":db.error/unique-violation" in tried.output
    told = json.loads(run(place, "--dry-run", "--json").output)
    assert "003-unique" == told["failed"]
    assert [":db.error/unique-violation"] == [problem["code"] for problem in told["problems"]]
    assert 2 == len(told["applied"])


def test_what_is_refused_is_told_and_what_came_before_stays(place):
    (place / "migrations" / "003-unique.edn").write_text(UNIQUE, encoding="utf-8")
    done = run(place)
    assert 1 == done.exit_code
    assert (":db.error/unique-violation" in done.output) is True
    assert "2 applied before" in run(place, "--dry-run").output


def test_functions_that_migrations_name_can_be_imported(place, monkeypatch):
    (place / "told_names.py").write_text(
        "import factstore\nfactstore.register('told/names', lambda db: [{':p/name': 'bo'}])\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(place))
    (place / "migrations" / "003-bo.edn").write_text("[[told/names]]", encoding="utf-8")
    assert ":db.error/unknown-tx-function" in run(place).output
    assert "1 applied, 2 applied before" in run(place, "--import", "told_names").output


def test_what_is_no_folder_of_migrations_is_refused(place):
    with pytest.raises(TransactError) as caught:
        migrations_in(place / "nowhere")
    assert ":db.error/invalid-migration" == caught.value.code
    (place / "migrations" / "003-map.edn").write_text("{:p/name 1}", encoding="utf-8")
    assert (1, True) == ((done := run(place)).exit_code, "003-map" in done.output)
