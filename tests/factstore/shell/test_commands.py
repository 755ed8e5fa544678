"""Each command of the shell, without a terminal: what it writes, and what it changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore.editing.saved import saved
from factstore.errors import FactStoreError
from factstore.shell.commands import COMMANDS, run
from factstore.shell.session import Leave, Session
from factstore.shell.view import View
from factstore.testing import FakeClock

NAMES = "[:find ?n :where [_ :person/name ?n]]"
SCHEMA = '[{:db/ident :person/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one, :db/unique :db.unique/identity, :db/doc "Her name."}]'


class Recorder:
    """An output that keeps what was written."""

    def __init__(self):
        self.tables, self.lines, self.notes = [], [], []

    def table(self, header, rows):
        self.tables.append((tuple(header), [tuple(row) for row in rows]))

    def line(self, text):
        self.lines.append(text)

    def note(self, text):
        self.notes.append(text)


@pytest.fixture
def conn():
    clock = FakeClock()
    with factstore.connect("memory:", clock=clock) as conn:
        conn.transact(SCHEMA)
        for name in ("Ann", "Bob", "Cat"):
            clock.advance(3600)
            conn.transact([{":person/name": name}])
        conn.transact('[[:db/retract [:person/name "Ann"] :person/name "Ann"]]')
        yield conn


@pytest.fixture
def session(conn):
    return Session(conn, Recorder())


def wrote(session, *texts):
    """Run statements; return the output of the last one."""
    for text in texts:
        session.out = Recorder()
        run(session, text)
    return session.out


def rows(session, *texts):
    [(_, found)] = wrote(session, *texts).tables
    return found


def test_a_query_shows_a_table_and_its_size(session):
    out = wrote(session, NAMES)
    assert [(("n",), [("Bob",), ("Cat",)])] == [(header, sorted(found)) for header, found in out.tables]
    assert ["2 rows"] == out.notes


def test_the_values_of_its_inputs_come_after_a_query(session):
    assert [(True,)] == rows(session, '[:find ?is :in $ ?n [?m ...] :where [?p :person/name ?n] [(= ?m "x") ?is]] "Bob" ["x"]')


def test_a_long_answer_is_cut_on_a_terminal_only(conn):
    session = Session(conn, Recorder(), most=1)
    out = wrote(session, NAMES)
    assert (1, ["2 rows, the first 1 shown"]) == (len(out.tables[0][1]), out.notes)


def test_an_empty_answer_is_only_its_size(session):
    out = wrote(session, '[:find ?x :where [?x :person/name "nobody"]]')
    assert ([], ["0 rows"]) == (out.tables, out.notes)


def test_a_transaction_is_committed_and_a_try_is_not(session, conn):
    out = wrote(session, '.try [{:person/name "Dan"}]')
    assert ("Dan", ["2 datoms", "nothing was committed"]) == (out.tables[0][1][1][3], out.notes)
    assert 5 == conn.db().basis_t
    out = wrote(session, '[{:person/name "Dan"}]')
    assert ["2 datoms", "committed as t 6"] == out.notes
    assert 6 == conn.db().basis_t


def test_what_changed_between_two_points(session):
    assert {("+", "Bob"), ("+", "Cat"), ("-", "Ann")} == {(sign, v) for sign, _, a, v in rows(session, ".diff 2") if a == ":person/name"}
    assert {("+", "Bob")} == {(sign, v) for sign, _, a, v in rows(session, ".diff 2 3") if a == ":person/name"}
    assert {("+", "Cat"), ("-", "Ann")} == {(sign, v) for sign, _, a, v in rows(session, ".now", ".diff 3") if a == ":person/name"}


def test_a_moment_in_words_is_by_the_clock_of_the_connection(session):
    assert [("Ann",), ("Bob",)] == sorted(rows(session, ".as-of -1m", NAMES)) == sorted(rows(session, ".as-of 3", NAMES))
    assert [("Cat",)] == rows(session, ".now", ".since -1m", NAMES)


def test_the_schema_is_a_table(session):
    assert [(":person/name", "string", "one", "identity", "Her name.")] == [
        (a, t.removeprefix(":db.type/"), c, str(u).rpartition("/")[2], d) for a, t, c, u, d in rows(session, ".schema")
    ]
    assert ":db/doc" in [row[0] for row in rows(session, ".schema doc")]


def test_an_entity_now_and_its_past(session):
    assert [(":person/name", "Bob")] == [row[:2] for row in rows(session, '.entity [:person/name "Bob"]')]
    eid = session.conn.db().as_of(2).entid([":person/name", "Ann"])
    assert [("+", 2, "Ann"), ("-", 5, "Ann")] == [(sign, t, v) for sign, t, _, _, v in rows(session, ".history on", f".entity {eid}")]
    assert ["0 datoms"] == wrote(session, ".now", '.entity [:person/name "nobody"]').notes


def test_a_reference_to_an_ident_is_that_ident(session):
    assert ":db.cardinality/one" in [row[1] for row in rows(session, ".entity :person/name")]
    assert ":db.type/string" in [
        row[3] for row in rows(session, ".try [{:db/ident :a/b, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}]")
    ]


def test_saved_queries_are_facts(session, conn):
    assert ["saved as people"] == wrote(session, NAMES, ".save people").notes
    assert {"people": NAMES} == saved(conn.db())
    assert 2 == len(rows(session, ".run people"))
    wrote(session, ".save named [:find ?p :in $ ?n :where [?p :person/name ?n]]")
    assert 1 == len(rows(session, '.run named "Bob"'))
    assert ["named", "people"] == [name for name, _ in rows(session, ".run")]


def test_timing_and_explain(session):
    assert ["timing is on"] == wrote(session, ".timing").notes
    assert wrote(session, NAMES).notes[-1].endswith(" ms")
    assert ["timing is off"] == wrote(session, ".timing off").notes
    assert "rows in" in wrote(session, NAMES, ".explain").lines[0]


def test_help_lists_every_command(session):
    assert [command.name for command in COMMANDS] == [row[0] for row in rows(session, ".help")]
    with pytest.raises(Leave):
        run(session, ".quit")


def test_following_shows_each_commit(session, conn):
    class Stop(Exception):
        pass

    def after(header, found):
        raise Stop

    seen = []
    session.out.table = lambda header, found: (seen.extend(found), after(header, found))
    note = session.out.note
    session.out.note = lambda text: (note(text), text.startswith("following") and conn.transact('[{:person/name "Eve"}]'))
    with pytest.raises(Stop):
        run(session, ".follow")
    assert "Eve" in [row[3] for row in seen]
    assert session.out.notes[1].startswith("t 6  ")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (".hlep", "there is no command '.hlep'; did you mean .help"),
        (".xyzzy", ".help lists them"),
        (".as-of tomorrow", "expected t, a transaction's id or an aware datetime"),
        (".history maybe", "expected on or off, got 'maybe'"),
        (".diff", "expected one or two points in time"),
        (".try", "takes one form, got 0"),
        (".try [] []", "takes one form, got 2"),
        (".now 5", ".now takes no argument, got '5'"),
        (".run peple", "no query was saved under the name 'peple'"),
        (".save people", "expected a query"),
        (".save people 42", "expected a query"),
        (".save", "expected a query"),
        (".explain", "expected a query"),
        (".entity", "takes one form"),
        ("[:find ?x :where [?x :person/nme]]", "did you mean :person/name"),
        ('[{:person/nme "x"}]', "did you mean :person/name"),
        ('.save [:find', "expected"),
    ],
)  # fmt: skip
def test_a_mistake_is_a_sentence_and_changes_nothing(session, conn, text, sentence):
    with pytest.raises(FactStoreError) as caught:
        run(session, text)
    assert sentence in str(caught.value)
    assert (5, View()) == (conn.db().basis_t, session.view)


POINTS = st.one_of(st.integers(0, 5).map(str), st.just(""))
VIEWS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([".as-of", ".since"]), POINTS),
        st.tuples(st.just(".history"), st.sampled_from(["on", "off"])),
        st.just((".now", "")),
    )
)


@pytest.fixture(scope="module")
def history():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        for name in ("Ann", "Bob", "Cat", "Dan"):
            conn.transact([{":person/name": name}])
        yield conn


@given(VIEWS)
def test_queries_read_the_database_of_the_last_view(history, commands):
    session = Session(history, Recorder())
    as_of, since, past = None, None, False
    for name, argument in commands:
        run(session, f"{name} {argument}")
        if name == ".as-of":
            as_of = int(argument) if argument else None
        elif name == ".since":
            since = int(argument) if argument else None
        elif name == ".history":
            past = argument == "on"
        else:
            as_of, since, past = None, None, False
    db = history.db()
    db = db if as_of is None else db.as_of(as_of)
    db = db if since is None else db.since(since)
    expected = (db.history() if past else db).q("[:find ?p ?n :where [?p :person/name ?n]]")
    out = wrote(session, "[:find ?p ?n :where [?p :person/name ?n]]")
    assert expected == {row for _, found in out.tables for row in found}
