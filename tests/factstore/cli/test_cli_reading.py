"""The commands that read and change a store: the answers of the API, one line for each error, and no store from a read."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

import factstore
from factstore.cli import main

SCHEMA = """[{:db/ident :p/email :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :p/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
 {:db/ident :p/friend :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}]"""
PEOPLE = '[{:db/id "ann" :p/email "ann@x" :p/name "Ann"} {:p/email "bo@x" :p/name "Bo" :p/friend "ann"}]'


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACTSTORE", "s.facts")
    with factstore.connect("s.facts") as conn:
        conn.transact(SCHEMA)
        conn.transact(PEOPLE)
    return "s.facts"


def run(*arguments: str, text: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=text)


def ok(*arguments: str, text: str | None = None) -> str:
    done = run(*arguments, text=text)
    assert 0 == done.exit_code, done.output
    return done.stdout


def rows(*arguments: str, text: str | None = None) -> list[dict[str, object]]:
    return [json.loads(line) for line in ok(*arguments, "--json", text=text).splitlines()]


def test_a_query_is_an_argument_a_file_or_stdin_and_inputs_are_edn_or_text() -> None:
    query = "[:find ?n :in $ [?e ...] :where [?p :p/email ?e] [?p :p/name ?n]]"
    assert [{"n": "Ann"}] == rows("q", query, '["ann@x"]')
    Path("query.edn").write_text(query)
    assert [{"n": "Ann"}] == rows("q", "@query.edn", '["ann@x"]')
    assert [{"n": "Ann"}] == rows("q", "-", '["ann@x"]', text=query)
    assert [{"n": "Bo"}] == rows("q", "[:find ?n :in $ ?e :where [?p :p/email ?e] [?p :p/name ?n]]", "bo@x")
    assert "n\nAnn\nBo\n" == ok("q", "[:find ?n :where [_ :p/name ?n]]")


def test_the_past_is_read_as_of_a_point_and_as_history() -> None:
    ok("transact", '[{:p/email "ann@x" :p/name "Anne"}]')
    names = '[:find ?n :where [?p :p/email "ann@x"] [?p :p/name ?n]]'
    assert ([{"n": "Anne"}], [{"n": "Ann"}], []) == (rows("q", names), rows("q", names, "--as-of", "2"), rows("q", names, "--as-of", "-5d"))
    assert 2 == len(rows("q", names, "--history"))
    assert ["Ann"] == [row["value"] for row in rows("entity", ":p/email=ann@x", "--as-of", "2") if row["attribute"] == ":p/name"]
    changes = [(row["change"], row["value"]) for row in rows("entity", ":p/email=ann@x", "--history") if row["attribute"] == ":p/name"]
    assert [("+", "Ann"), ("-", "Ann"), ("+", "Anne")] == changes
    assert [("-", "Ann"), ("+", "Anne")] == [
        (row["change"], row["value"]) for row in rows("diff", "--from", "2") if row["attribute"] == ":p/name"
    ]


def test_two_stores_are_compared() -> None:
    with factstore.connect("other.facts") as conn:
        conn.transact(SCHEMA)
        conn.transact('[{:p/email "ann@x" :p/name "Ann"}]')
    found = {(row["change"], row["value"]) for row in rows("diff", "--other", "other.facts")}
    assert ("-", "bo@x") in found
    assert ("-", "ann@x") not in found


def test_a_pull_is_laid_out_edn_or_json() -> None:
    assert [{":p/name": "Bo", ":p/friend": [{":p/name": "Ann"}]}] == rows("pull", "[:p/name {:p/friend [:p/name]}]", ":p/email=bo@x")
    text = ok("pull", "[:p/name {:p/friend [:p/name]}]", '[:p/email "bo@x"]', ":p/email=ann@x")
    assert [{":p/name": "Bo", ":p/friend": [{":p/name": "Ann"}]}, {":p/name": "Ann"}] == factstore.edn.read_all(text)


def test_a_trial_writes_nothing_and_shows_the_datoms() -> None:
    before = Path("s.facts").read_bytes()
    assert ' :p/name "Cy"]' in ok("transact", '[{:p/email "cy@x" :p/name "Cy"}]', "--try")
    assert before == Path("s.facts").read_bytes()
    assert [{"n": 2}] == rows("q", "[:find (count ?p) :keys n :where [?p :p/email]]")
    done = rows("transact", '[{:db/id "cy" :p/email "cy@x"}]', "--why", "a test", "--key", "k")
    assert 3 == done[0]["t"]
    assert 3 == rows("transact", '[{:db/id "cy" :p/email "cy@x"}]', "--why", "a test", "--key", "k")[0]["t"]
    assert [{"why": "a test"}] == rows("q", '[:find ?why :keys why :where [?p :p/email "cy@x" ?tx] [?tx :db/doc ?why]]')


def test_a_transaction_is_reverted_unless_its_facts_have_changed_since() -> None:
    ok("transact", '[{:p/email "ann@x" :p/name "Anne"} {:p/email "cy@x"}]')
    assert "would be reverted" in ok("revert", "3", "--try")
    ok("revert", "3")
    assert [{"e": "ann@x", "n": "Ann"}, {"e": "bo@x", "n": "Bo"}] == sorted(
        rows("q", "[:find ?e ?n :where [?p :p/email ?e] [?p :p/name ?n]]"), key=str
    )
    done = run("revert", "3")
    assert (1, 1) == (done.exit_code, len(done.stderr.splitlines()))
    assert "have changed since" in done.stderr
    assert 1 == run("revert", "1").exit_code
    assert "declares or changes the attribute" in run("revert", "1").stderr


def test_a_revert_records_which_transaction_it_undoes_and_why() -> None:
    for why, doc in (((), "reverts t=3"), (("--why", "wrong name"), "reverts t=5: wrong name")):
        t = rows("transact", '[{:p/email "ann@x" :p/name "Anne"}]')[0]["t"]
        assert f':db/doc "{doc}"]' in ok("revert", str(t), *why, "--try")
        ok("revert", str(t), *why)
        assert f':db/doc "{doc}"]' in ok("log", "-n", "1")


def test_a_second_revert_names_the_facts_and_the_transaction_that_changed_them() -> None:
    ok("transact", '[{:p/email "ann@x" :p/name "Anne"}]')
    ok("revert", "3")
    told = run("revert", "3").stderr
    assert re.search(r""": by t=4 -\[\d+ :p/name 'Anne'\], \+\[\d+ :p/name 'Ann'\]\n$""", told), told


def test_a_trial_with_a_reason_and_a_key_shows_the_datoms_of_the_real_run() -> None:
    arguments = ("transact", '[{:p/email "ann@x" :p/name "Anne"}]', "--why", "a test", "--key", "k")
    [tried], [done] = rows(*arguments, "--try"), rows(*arguments)
    instant = 0  # the first datom is the transaction's instant
    assert [tried["t"], tried["datoms"][instant + 1 :]] == [done["t"], done["datoms"][instant + 1 :]]
    assert {":db/doc": "a test", ":db.tx/key": "k"}.items() <= {datom[1]: datom[2] for datom in done["datoms"]}.items()
    assert 1 == run(*arguments, "--try").exit_code


def test_a_module_of_the_current_folder_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(Path.cwd()))])
    Path("ledger_of_here.py").write_text("import factstore\nfactstore.register('ledger/named')(lambda db, name: [{':p/email': name}])\n")
    assert ' :p/email "cy@x"]' in ok("transact", '[[ledger/named "cy@x"]]', "--import", "ledger_of_here")


def test_an_excision_shows_the_count_and_needs_a_yes() -> None:
    assert "3 datoms of 1 transactions would be erased\n" == ok("excise", ":p/email=ann@x", "--dry-run")
    done = run("excise", ":p/email=ann@x")
    assert (1, "factstore: nothing was erased; give --yes to erase them\n") == (done.exit_code, done.stderr)
    assert 2 == len(rows("q", "[:find ?e :where [?p :p/email ?e]]"))
    assert "are erased" in ok("excise", ":p/email=ann@x", "--yes")
    assert [{"e": "bo@x"}] == rows("q", "[:find ?e :where [?p :p/email ?e]]")
    assert [] == rows("q", '[:find ?v :where [?p :p/email "ann@x"] [?p _ ?v]]', "--history")


def test_the_log_is_shown_from_a_point_or_its_end() -> None:
    ok("transact", '[{:p/email "cy@x"}]')
    assert [3] == [row["t"] for row in rows("log", "-n", "1")]
    assert [2, 3] == [row["t"] for row in rows("log", "--from", "2")]
    assert [1, 2, 3] == [row["t"] for row in rows("log", "--from", "-1h")]
    assert [2] == [row["t"] for row in rows("log", "--from", "1", "--to", "3", "-n", "1")]
    assert "t=3 " in ok("log", "-n", "1")
    assert ok("log") == ok("log", "-n", str(1 << 80))


def test_edn_is_laid_out_in_place_or_checked() -> None:
    Path("q.edn").write_text("[:find ?n ; names\n:where [_ :p/name ?n]]")
    assert 1 == run("fmt", "--check", "q.edn").exit_code
    ok("fmt", "q.edn")
    assert "[:find ?n ; names\n :where [_ :p/name ?n]]\n" == Path("q.edn").read_text()
    assert "" == ok("fmt", "--check", "q.edn")
    assert "{:a 1}\n" == ok("fmt", text="{:a,1}")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["q", "[:find ?n :where [_ :p/name ?n]]", "-s", "none.facts"], 3, "there is no store at"),
        (["pull", "[*]", "1", "-s", "none.facts"], 3, "there is no store at"),
        (["entity", "1", "-s", "none.facts"], 3, "there is no store at"),
        (["diff", "-s", "none.facts"], 3, "there is no store at"),
        (["diff", "--other", "none.facts"], 3, "there is no store at"),
        (["transact", "[]", "-s", "none.facts"], 3, "there is no store at"),
        (["transact", "[]", "--try", "-s", "none.facts"], 3, "there is no store at"),
        (["revert", "1", "-s", "none.facts"], 3, "there is no store at"),
        (["excise", "1", "-s", "none.facts"], 3, "there is no store at"),
        (["log", "-f", "-s", "none.facts"], 3, "there is no store at"),
        (["q", "[:find ?n"], 1, "expected ] to close ["),
        (["q", "@none.edn"], 3, "none.edn: No such file or directory"),
        (["q", "[:find ?n :in $ ?x :where [_ :p/name ?n]]"], 1, "the query takes 2 inputs ($ ?x), got 1: ?x is missing"),
        (["q", "[:find ?n :where [_ :p/name ?n]]", "--timeout", "soon"], 1, "timeout is a number of seconds from 0, or a duration"),
        (["q", "[:find ?n :where [_ :p/name ?n]]", "--as-of", "soon"], 2, "is neither a t nor a time"),
        (["entity", "1"], 1, "the entity 1 has no facts"),
        (["pull", "[*]", ":p/email=nobody"], 1, "there is no entity :p/email=nobody"),
        (["pull", "[*]", "99999999999999999999"], 1, "expected an entity id, got a number outside 64 bits"),
        (["revert", "0"], 1, "no transaction has the t 0; the newest one has the t 2"),
        (["entity", "[:p/email"], 1, "expected ] to close ["),
        (["entity", ":p/email=nobody"], 1, "there is no entity :p/email=nobody"),
        (["q", "[:find ?n :where [_ :p/name ?n] [(my/long ?n)]]"], 1, "; if a module registers it, give --import MODULE"),
        (["transact", "[[ledger/none 1]]"], 1, "; if a module registers it, give --import MODULE"),
        (["excise", ":p/email=nobody"], 1, "no entity has this value"),
        (["transact", "[{:p/none 1}]"], 1, ":p/none is not an attribute"),
        (["transact", "[{:p/none 1}]", "--try"], 1, ":p/none is not an attribute"),
        (["revert", "99"], 1, "no transaction has the t 99; the newest one has the t 2"),
        (["excise", ":db/ident", "--yes"], 1, "belongs to the schema"),
        (["log", "--follow", "--to", "3"], 2, "--follow has no end"),
        (["fmt", "none.edn"], 3, "No such file or directory"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code_and_creates_nothing(arguments: list[str], code: int, part: str) -> None:
    before = sorted(Path().iterdir())
    done = run(*arguments)
    assert code == done.exit_code, done.output
    assert part in done.stderr
    assert code == 2 or 1 == len(done.stderr.splitlines())
    assert before == [path for path in sorted(Path().iterdir()) if not path.name.startswith("s.facts-")] or before == sorted(
        Path().iterdir()
    )


def test_verbose_shows_the_traceback_of_an_error() -> None:
    done = run("q", "[:find ?n", "-v")
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("factstore: ")


def test_commands_and_options_are_completed() -> None:
    complete = ShellComplete(main, {}, "factstore", "_FACTSTORE_COMPLETE")
    assert {"entity", "excise", "export"} == {item.value for item in complete.get_completions([], "e")}
    assert {"--json"} == {item.value for item in complete.get_completions(["q"], "--j")}
    assert {"csv", "ndjson", "edn", "parquet"} == {item.value for item in complete.get_completions(["export", "out", "--format"], "")}
