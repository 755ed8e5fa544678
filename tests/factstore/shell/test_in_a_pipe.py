"""The shell without a terminal: statements from a pipe, answers on stdout, notes and errors on stderr."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import factstore
from factstore.cli import main

NAMES = "[:find ?n\n :where [_ :person/name ?n]]\n"


@pytest.fixture
def store(tmp_path):
    path = str(tmp_path / "shop.facts")
    with factstore.connect(path, infer_schema=True) as conn:
        conn.transact([{":person/name": "Ann"}])
    return path


def shell(store, text, *options):
    return CliRunner().invoke(main, ["shell", store, *options], input=text)


def test_statements_run_in_order_and_answers_are_plain_tables(store):
    done = shell(store, f'; a comment\n[{{:person/name "日本"}}]\n{NAMES}.as-of 2\n{NAMES}')
    assert (0, True) == (done.exit_code, "committed as t 3" in done.stderr)
    assert ["n", "Ann", "日本", "n", "Ann"] == [line for line in done.stdout.splitlines() if not line.startswith(("+", " "))]


def test_json_has_a_line_for_each_row(store):
    done = shell(store, NAMES, "--json")
    assert [{"n": "Ann"}] == [json.loads(line) for line in done.stdout.splitlines()]


def test_the_first_error_ends_it_with_the_place(store):
    done = shell(store, f'{NAMES}\n[:find ?n\n :where [_ :person/nme ?n]]\n[{{:person/name "Cat"}}]\n')
    assert 1 == done.exit_code
    assert done.stderr.splitlines()[1:] == [
        "line 4: :db.error/unknown-attribute: no attribute :person/nme is declared; did you mean :person/name?, in [_ :person/nme ?n]",
        "",
        "     :where [_ :person/nme ?n]]",
        "               ^^^^^^^^^^^",
    ]
    with factstore.connect(store) as conn:
        assert 2 == conn.db().basis_t


@pytest.mark.parametrize(
    ("text", "options", "code", "sentence"),
    [
        ("[:find ?e", (), 1, "line 1: :db.error/invalid-edn: expected ] to close ["),
        (b"\xff\xfe", (), 2, "the input is not text in UTF-8"),
        ('[{:person/name "Bob"}]', ("--read-only",), 3, "was opened for reading"),
        (".quit\n[:find", (), 0, ""),
        ("[[ledger/none 1]]", (), 1, "; if a module registers it, give --import MODULE"),
        ("[:find ?n :where [_ :person/name ?n] [(my/long ?n)]]", (), 1, "; if a module registers it, give --import MODULE\n\n"),
        ("", (), 0, ""),
    ],
)
def test_how_it_ends(store, text, options, code, sentence):
    done = shell(store, text, *options)
    assert code == done.exit_code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_it_creates_no_store(tmp_path):
    assert 3 == shell(str(tmp_path / "none.facts"), "").exit_code
    assert [] == list(tmp_path.iterdir())


def test_a_real_pipe(store):
    command = [sys.executable, "-m", "factstore", "shell", store]
    done = subprocess.run(command, input=NAMES.encode(), capture_output=True, check=False)
    assert (0, ["n", "Ann"], b"1 row") == (done.returncode, done.stdout.decode().split(), done.stderr.strip())
