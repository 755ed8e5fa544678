"""pytest and hypothesis load the plugin by themselves, alone and in the processes of xdist."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

WITH_XDIST = pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
STORE = """
    from datetime import UTC, datetime
    import factstore
    import pytest

    SCHEMA = "[{:db/ident :note/text :db/valueType :db.type/string :db/cardinality :db.cardinality/one}]"
    JANUARY, MARCH = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 3, 15, tzinfo=UTC)

    @pytest.fixture
    def store_schema():
        return SCHEMA

    @pytest.fixture
    def store_history():
        return [(JANUARY, [{":note/text": "january"}]), (MARCH, [{":note/text": "march"}])]

    def notes(conn):
        return [d.v for d in conn.db().datoms("aevt", ":note/text")]
"""


@WITH_XDIST
def test_a_connection_has_the_schema_the_history_and_the_clock(pytester, options):
    pytester.makepyfile(
        STORE
        + """
    def test_conn(conn, fake_clock):
        assert ["january", "march"] == notes(conn)
        assert MARCH == fake_clock() == conn.now()
        fake_clock.advance(60)
        assert 60 == (conn.now() - MARCH).total_seconds()

    def test_another_store(conn):
        conn.transact([{":note/text": "mine"}])
        assert ["january", "march", "mine"] == notes(conn)
    """
    )
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=2)


def test_moments_are_texts_too(pytester):
    pytester.makepyfile(
        STORE.replace("(JANUARY, ", '("2026-01-15T00:00Z", ')
        + """
    def test_moment(store_at, fake_clock):
        assert ["january"] == notes(store_at("2026-02-01T00:00Z"))
        assert datetime(2026, 2, 1, tzinfo=UTC) == fake_clock()

    def test_no_moment(store_at):
        with pytest.raises(factstore.DatabaseError, match="soon"):
            store_at("soon")
    """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


@WITH_XDIST
def test_a_store_is_as_it_was_at_a_moment(pytester, options):
    pytester.makepyfile(
        STORE
        + """
    @pytest.mark.parametrize(("month", "expected"), [(1, []), (2, ["january"]), (4, ["january", "march"])])
    def test_moment(store_at, fake_clock, month, expected):
        moment = datetime(2026, month, 1, tzinfo=UTC)
        conn = store_at(moment)
        assert expected == notes(conn)
        assert moment == fake_clock() == conn.now()
    """
    )
    pytester.runpytest_subprocess(*options).assert_outcomes(passed=3)


@WITH_XDIST
def test_a_machine_fails_with_its_story(pytester, options):
    pytester.makepyfile(
        """
    from hypothesis import strategies as st
    from factstore.testing import StoreMachine, invariant, transaction

    class Notes(StoreMachine):
        schema = "[{:db/ident :note/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]"
        small = invariant("[:find ?n :where [_ :note/n ?n] [(< 10 ?n)]]")

        @transaction(n=st.integers(0, 20))
        def write(self, db, n):
            return [{":note/n": n}]

    TestNotes = Notes.TestCase
    """
    )
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*small does not hold after t=2: the query found {(11,)}*", "*state.write(n=11, waits=0)*"])


def test_the_fixtures_are_listed_with_their_meaning(pytester):
    result = pytester.runpytest_subprocess("--fixtures")
    for name in ("conn", "fake_clock", "store_at", "store_history", "store_schema"):
        result.stdout.fnmatch_lines([f"{name} -- *factstore/testing/plugin.py*"])


def test_importing_the_plugin_imports_neither_the_store_nor_hypothesis():
    code = "import pytest, sys; before = set(sys.modules); import factstore.testing.plugin; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"factstore", "factstore.testing", "factstore.testing.plugin"} == set(done.stdout.split())


def test_hypothesis_makes_values_of_the_types_of_the_store():
    code = """
        from dataclasses import dataclass
        from hypothesis import given, strategies as st
        from factstore import Keyword, Symbol, Uri

        @dataclass
        class Link:
            uri: Uri
            kind: Keyword
            of: Symbol

        @given(st.from_type(Link))
        def check(link):
            assert (Uri, Keyword, Symbol) == tuple(map(type, vars(link).values()))
        check()
    """
    import textwrap

    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
