"""The shell on a real terminal: what a person types, and the screens that she sees."""

from __future__ import annotations

import sys

import pytest

import factstore

if sys.platform == "win32":
    pytest.skip("a terminal of POSIX", allow_module_level=True)

from tests.factstore.shell.screen import terminal

HELLO = "Datalog and transactions; .help lists the commands, Ctrl-D leaves."
SCHEMA = """[{:db/ident :person/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}
             {:db/ident :number/value, :db/valueType :db.type/long, :db/cardinality :db.cardinality/one}]"""
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("shell") / "shop.facts")
    with factstore.connect(path) as conn:
        conn.transact(SCHEMA)
        conn.transact([{":person/name": "Ann"}, {":person/name": "日本語の名前"}])
    return path


@pytest.fixture
def opened(store, tmp_path):
    """Open the shell; the history is in a file of the test."""

    def opened(*more, **options):
        return terminal("factstore", "shell", store, *more, FACTSTORE_HISTORY=str(tmp_path / "kept" / "history"), **options)

    return opened


def test_a_table_fits_a_narrow_terminal_also_with_wide_characters(opened):
    with opened(columns=26, rows=40, NO_COLOR="1") as shell:
        shell.wait("shop.facts>")
        shell.type("[:find ?n ?n\r:where [_ :person/name ?n]\r:order-by ?n]\r")
        lines = shell.wait("shop.facts>", times=2)
    top, middle, bottom = (next(line for line in lines if line.startswith(corner)) for corner in "┏┡└")
    assert len(top) == len(middle) == len(bottom) <= 26
    assert (top[-1], middle[-1], bottom[-1]) == ("┓", "┩", "┘")
    inside = "".join(line for line in lines if line.startswith("│"))
    assert 2 == inside.count("日")  # pyte shows an empty cell behind a wide character
    assert 2 == inside.count("前")


def test_the_whole_screen(opened):
    with opened(columns=70, rows=30, NO_COLOR="1") as shell:
        shell.wait("shop.facts>")
        shell.type(".as-of 2\r")
        shell.wait("(as of t 2)>")
        shell.type("[:find (count ?p)\r:where [?p :person/name]]\r")
        shell.wait("(as of t 2)>", times=2)
        shell.type(".diff 2 2\r")
        lines = shell.wait("(as of t 2)>", times=3)
    assert [
        HELLO,
        "shop.facts> .as-of 2",
        "as of t 2",
        "shop.facts (as of t 2)> [:find (count ?p)",
        "                        :where [?p :person/name]]",
        "┏━━━━━━━━━━━━┓",
        "┃ (count ?p) ┃",
        "┡━━━━━━━━━━━━┩",
        "│          2 │",
        "└────────────┘",
        "1 row",
        "shop.facts (as of t 2)> .diff 2 2",
        "0 datoms",
        "shop.facts (as of t 2)>",
    ] == [line for line in lines if line]


def test_a_session_with_mistakes_interrupts_and_completion(opened, store):
    with opened("--import", "tests.factstore.shell.slow_functions", rows=60) as shell:
        shell.wait("shop.facts>")
        # a mistake is marked, and the shell goes on
        shell.type("[:find ?n :where [_ :person/nme ?n]]\r")
        lines = shell.wait("^^^^")
        [marked] = [n for n, line in enumerate(lines) if "^^^" in line]
        assert ":person/nme" == lines[marked - 1][lines[marked].index("^") : lines[marked].rindex("^") + 1]
        shell.wait("shop.facts>", times=2)
        # Ctrl-C discards what is typed
        shell.type("[:find ?never")
        shell.wait("?never")
        shell.type(CTRL_C)
        shell.wait("shop.facts>", times=3)
        # Ctrl-C stops a query, and the next one works
        shell.type('[:find ?x . :where [(tests/wait "begun") ?x]]\r')
        shell.wait("the function has begun")
        shell.type(CTRL_C)
        shell.wait("stopped")
        # an attribute is completed
        shell.type("[:find ?n :where [_ :person/n")
        shell.wait(":person/name")
        shell.type("\t ?n]]\r")
        shell.wait("2 rows")
        # commits of other processes are shown until Ctrl-C
        shell.type(".follow\r")
        shell.wait("following")
        with factstore.connect(store) as conn:
            report = conn.transact([{":number/value": 4711}])
        shell.wait(f"t {report.t} ")
        shell.wait("4711")
        shell.type(CTRL_C)
        shell.wait("stopped", times=2)
        # a function that no module has registered
        shell.type("[[ledger/none 1]]\r")
        shell.wait("--import")
        shell.type(CTRL_D)
        assert 0 == shell.ends()


def test_colours_and_the_history_of_the_last_session(opened, tmp_path):
    query = '[:find ?n :in $ ?n] "text"'
    with opened(NO_COLOR="1") as shell:
        shell.wait("shop.facts>")
        shell.type(f"{query}\r")
        shell.wait("1 row")
        assert {"default"} == shell.colors()
        shell.type(CTRL_D)
        assert 0 == shell.ends()
    path = tmp_path / "kept" / "history"
    assert f"+{query}" in path.read_text()
    assert 0o600 == path.stat().st_mode & 0o777
    with opened() as shell:
        shell.wait("shop.facts>")
        shell.type(UP)
        shell.wait(query)
        shell.type("\r")
        shell.wait("1 row")
        assert {"default", "cyan", "green"} == shell.colors()
