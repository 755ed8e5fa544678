"""The functions of queries beside Datomic's: what it answered once, and what it answers now where it is at hand.

Recorded answers: tests/factstore/query/recorded/functions.edn, made by the ask.clj beside it. With a class path that holds
com.datomic/peer in DATOMIC_CLASSPATH, and Java, the calls are made again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from factstore import edn, q
from factstore.clojure.sequences import MAP_MAKERS
from factstore.errors import QueryError
from factstore.query.answer.cache import _is_pure
from factstore.query.functions.scalar import FUNCTIONS
from factstore.reads.pull.xforms import built_in
from tests.conformance.compare import exact

ROOT = Path(__file__).resolve().parents[3]
CALLS = ROOT / "docs/reference/functions.edn"
RECORDED = Path(__file__).parent / "recorded/functions.edn"

# Calls that are answered otherwise on purpose; docs/reference/datomic.md gives the reasons.
DIFFERENT: dict[str, Any] = {"(< 1 2 3)": True, "(/ 7 2)": 3.5, "(/ -7 2)": -3.5}


def recorded(text: str) -> list[tuple[str, Any]]:
    return [(edn.write(call), answer) for call, answer in edn.read_all(text)]


ANSWERS = recorded(RECORDED.read_text(encoding="utf-8"))


def ours(call: str) -> Any:
    try:
        return q(f"[:find ?r . :in [?x ...] :where [{call} ?r]]", [1])
    except QueryError as error:
        return error.code


def test_every_call_of_the_page_is_recorded() -> None:
    entries = [entry for entry in edn.read(CALLS.read_text(encoding="utf-8")) if isinstance(entry, list)]
    calls = [edn.write(call) for entry in entries for call in entry[2:] if isinstance(call, tuple)]
    assert calls == [call for call, _ in ANSWERS]


def test_the_page_lists_every_function_and_no_other() -> None:
    listed = [entry[0] for entry in edn.read(CALLS.read_text(encoding="utf-8")) if isinstance(entry, list)]
    assert sorted(listed) == sorted(FUNCTIONS)


@pytest.mark.parametrize(("call", "answer"), ANSWERS, ids=[call for call, _ in ANSWERS])
def test_a_function_answers_what_datomic_answers(call: str, answer: Any) -> None:
    if call in DIFFERENT:
        assert exact(DIFFERENT[call]) == exact(ours(call))
        assert exact(answer) != exact(ours(call))
    elif answer == ":error":
        assert ":db.error/function-failed" == ours(call)
    else:
        assert exact(answer) == exact(ours(call))


@pytest.mark.skipif(
    not (os.environ.get("DATOMIC_CLASSPATH") and shutil.which("java")), reason="needs Java, and Datomic in DATOMIC_CLASSPATH"
)
def test_datomic_still_answers_what_is_recorded() -> None:
    command = ["java", "-cp", os.environ["DATOMIC_CLASSPATH"], "clojure.main", str(RECORDED.parent / "ask.clj"), str(CALLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = "\n".join(line for line in done.stdout.splitlines() if line.startswith("[("))
    assert [(call, exact(answer)) for call, answer in ANSWERS] == [(call, exact(answer)) for call, answer in recorded(lines)]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ('(re-find "(a)(b)?" "xab")', ("ab", "a", "b")),
        *(
            (f'(parse-long "{sign}{digits}")', answer)
            for sign, digits, answer in [
                ("", "9" * 5000, None),
                ("-", "9" * 5000, None),
                ("-", "0" * 5000 + "7", -7),
                ("+", "0" * 5000, 0),
                ("", "9223372036854775807", 2**63 - 1),
                ("-", "9223372036854775808", -(2**63)),
                ("", "9223372036854775808", None),
            ]
        ),
        (f"(str {'9' * 5000})", "9" * 5000),
        (f'(format "%d" -{"9" * 5000})', "-" + "9" * 5000),
        (f'(format "%,d" {"9" * 4999})', "9" + ",999" * 1666),
        ('(re-seq "a." "abac")', ("ab", "ac")),
        ('(clojure.string/split "a,b,," ",")', ("a", "b")),
        ('(clojure.string/split "a,b,c" "," 2)', ("a", "b,c")),
        ('(clojure.string/split "a1b2" "[0-9]")', ("a", "b")),
        ('(clojure.string/split "a-b" "(-)")', ("a", "b")),
        ('(clojure.string/split "abc" "")', ("a", "b", "c")),
        ('(clojure.string/escape "a<b" {"<" "&lt;"})', "a&lt;b"),
        ("(frequencies [1 1.0])", ":db.error/function-failed"),
        ("(long true)", ":db.error/function-failed"),
        ("(long 1e30)", ":db.error/function-failed"),
        ("(int 3000000000)", ":db.error/function-failed"),
        ('(format "%d")', ":db.error/function-failed"),
        ('(format "%q" 1)', ":db.error/function-failed"),
        ('(format "%0000000000010d" 1)', "0000000001"),
        ('(format "%9999999d" 1)', ":db.error/function-failed"),
        (f'(format "%.{"9" * 5000}f" 1.5)', ":db.error/function-failed"),
        (f'(format "%{"9" * 5000}$d" 1)', ":db.error/function-failed"),
        ("(parse-long 5)", ":db.error/function-failed"),
        ("(take :a [1])", ":db.error/function-failed"),
        ("(conj {:a 1} 5)", ":db.error/function-failed"),
        ("(sort [1 :a])", ":db.error/function-failed"),
        ("(inst-ms 5)", ":db.error/function-failed"),
        ("(bit-and 1.5 1)", ":db.error/function-failed"),
        ("(nth #{1} 0)", ":db.error/function-failed"),
    ],
)
def test_a_call_that_datomic_writes_otherwise_or_refuses(call: str, answer: Any) -> None:
    assert exact(answer) == exact(ours(call))


def test_a_regular_expression_replaces_with_groups() -> None:
    query = '[:find ?r . :in ?p :where [(clojure.string/replace "a1b2" ?p "<$1>") ?r]]'
    assert "a<1>b<2>" == q(query, re.compile("([0-9])"))
    assert "a<1>b2" == q(query.replace("/replace ", "/replace-first "), re.compile("([0-9])"))
    assert "a$b$" == q(query.replace('"<$1>"', '"\\\\$"'), re.compile("[0-9]"))


@pytest.mark.parametrize(
    "xform", ["sort", "clojure.core/sort", "reverse", "clojure.core/first", "clojure.string/trim-newline", "parse-long"]
)
def test_functions_of_one_value_are_known_to_xform(xform: str) -> None:
    assert built_in(xform) is not None


@pytest.mark.parametrize("name", sorted(MAP_MAKERS))
def test_an_answer_that_may_hold_a_map_is_not_cached(name: str) -> None:
    assert not _is_pure(name)
