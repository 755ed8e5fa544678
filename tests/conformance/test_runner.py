"""The runner itself: that it tells apart what differs, and never passes what it did not run."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyrsistent import pmap

from factstore import FactStoreError, Keyword, Symbol, edn
from tests.conformance.case import Case, CaseError, Outcome, World, action_of, read_cases, run
from tests.conformance.compare import mismatch

NOWHERE: Any = None  # a connection, where nothing may ask for one
WORLD = World(NOWHERE, tempids={"a": 7, "b": 7, "c": 8})
K = Keyword

FITTING: list[tuple[str, Any]] = [
    ("{:value 1}", 1),
    ("{:value nil}", None),
    ("{:value [1 [2 3]]}", (1, [2, 3])),
    ("{:value #{1 2}}", {2, 1}),
    ("{:value {:set #{1 2}}}", frozenset({1, 2})),
    ("{:value ##NaN}", float("nan")),
    ('{:value {:tempid "a"}}', 7),
    ('{:set [[1 "a"] [2 "b"] [1 "a"]]}', {(2, "b"), (1, "a")}),
    ("{:set []}", set()),
    ("{:coll [1 2 2]}", [2, 1, 2]),
    ("{:bag [[1 {:a [1 2]}]]}", [(1, {K(":a"): [2, 1]})]),
    ("{:pull {:a [1 {:b [2 3]}]}}", {K(":a"): [{K(":b"): [3, 2]}, 1]}),
    ("{:datoms [[1 :a 2]]}", [[1, K(":a"), 2, True]]),
    ("{:datoms [[1 :a 2 false]]}", [[1, K(":a"), 2, False]]),
    ("{:datoms-set [[1 :a 2] [1 :a 3]]}", [[1, K(":a"), 3, True], [1, K(":a"), 2, True]]),
    ('{:report {:added [[{:tempid "a"} :x 1]] :retracted []}}', {"added": [[7, K(":x"), 1]], "retracted": []}),
    ('{:tempids {:same [["a" "b"]] :distinct [["a" "c"]]}}', WORLD.tempids),
    ("{:log [{:tx 5 :data [[1 :a 2 true] [1 :a 3 false]]}]}", [{"tx": 5, "data": [[1, K(":a"), 3, False], [1, K(":a"), 2, True]]}]),
    ("{:log-txs [5 6]}", [{"tx": 5, "data": []}, {"tx": 6, "data": []}]),
    ("{:any-of [{:value 2} {:value 1}]}", 1),
]

DIFFERING: list[tuple[str, Any]] = [
    ("{:value 1}", 1.0),
    ("{:value 1}", True),
    ("{:value false}", 0),
    ("{:value 1.0}", Decimal("1.0")),
    ("{:value nil}", False),
    ("{:value nil}", []),
    ("{:value :a}", ":a"),
    ('{:value "a"}', Symbol("a")),
    ("{:value [1 2]}", (2, 1)),
    ("{:value [1 2]}", {1, 2}),
    ("{:value [[1]]}", [[1.0]]),
    ("{:value {:a 1}}", {":a": 1}),
    ("{:value {:a 1}}", {K(":a"): 1, K(":b"): 2}),
    ("{:value #{1}}", {True}),
    ('{:value #inst "2026"}', datetime(2026, 1, 2, tzinfo=UTC)),
    ("{:set [[1]]}", {(1,), (2,)}),
    ("{:set [[1] [2]]}", {(1,)}),
    ("{:set [[1]]}", [(1,), (1,)]),
    ("{:set [[1 2]]}", {(2, 1)}),
    ("{:set []}", None),
    ("{:coll [1 2]}", [1, 2, 2]),
    ("{:coll []}", None),
    ("{:bag [[1 {:a [1 2]}]]}", [(1, {K(":a"): [2, 1, 1]})]),
    ("{:pull {:a [1]}}", {K(":a"): [True]}),
    ("{:pull nil}", {}),
    ("{:datoms [[1 :a 2] [1 :a 3]]}", [[1, K(":a"), 3, True], [1, K(":a"), 2, True]]),
    ("{:datoms [[1 :a 2 true]]}", [[1, K(":a"), 2, False]]),
    ("{:datoms []}", [[1, K(":a"), 2, True]]),
    ("{:report {:added [] :retracted []}}", {"added": [], "retracted": [[7, K(":x"), 1]]}),
    ('{:tempids {:same [["a" "c"]]}}', WORLD.tempids),
    ('{:tempids {:distinct [["a" "b"]]}}', WORLD.tempids),
    ("{:log [{:tx 5 :data []}]}", [{"tx": 5, "data": [[1, K(":a"), 3, False]]}]),
    ("{:log-txs [5 6]}", [{"tx": 6, "data": []}, {"tx": 5, "data": []}]),
    ("{:any-of [{:value 2} {:value 1}]}", 3),
    ("{:error :wrong-type}", None),
]


@pytest.mark.parametrize(("expect", "got"), FITTING, ids=[text for text, _ in FITTING])
def test_what_is_expected_fits(expect: str, got: Any) -> None:
    assert mismatch(edn.read(expect), Outcome(got, None), WORLD) is None


@pytest.mark.parametrize(("expect", "got"), DIFFERING, ids=[f"{text} {got!r}" for text, got in DIFFERING])
def test_anything_else_does_not(expect: str, got: Any) -> None:
    assert mismatch(edn.read(expect), Outcome(got, None), WORLD) is not None


def test_an_error_fits_an_expected_error_only() -> None:
    failed = Outcome(None, FactStoreError(":db.error/some", "some"))
    assert mismatch(edn.read("{:error :wrong-type}"), failed, WORLD) is None
    assert mismatch(edn.read("{:any-of [{:value 1} {:error :wrong-type}]}"), failed, WORLD) is None
    assert mismatch(edn.read("{:value nil}"), failed, WORLD) is not None


def test_an_error_of_another_category_does_not_fit() -> None:
    failed = Outcome(None, FactStoreError(":db.error/cas-failed", "some"))
    assert mismatch(edn.read("{:error :cas-failed}"), failed, WORLD) is None
    assert mismatch(edn.read("{:error :wrong-type}"), failed, WORLD) is not None


@pytest.mark.parametrize(
    "form",
    [
        '{:id "x" :surprise 1 :expect {:value 1}}',
        '{:id "x" :expect {:value 1}}',
        '{:id "x" :query [:find ?x] :pull [:a] :expect {:value 1}}',
    ],
)
def test_a_case_that_the_runner_does_not_understand_is_an_error(form: str) -> None:
    with pytest.raises(CaseError):
        run(Case("x", "x", edn.read(form)), WORLD)


def test_an_expectation_that_the_runner_does_not_understand_is_an_error() -> None:
    with pytest.raises(CaseError, match=":maybe"):
        mismatch(edn.read("{:maybe 1}"), Outcome(1, None), WORLD)


def test_a_tempid_that_was_never_resolved_is_an_error() -> None:
    with pytest.raises(CaseError, match="'nobody'"):
        WORLD.filled(edn.read('[[1 {:tempid "nobody"}]]'))


def test_placeholders_are_replaced_at_every_depth() -> None:
    form = edn.read('{:a [{:tempid "a"} ({:tempid "c"})] :b #{{:tempid "c"}} :c #{{:d {:tempid "c"}}} {:tempid "a"} 1}')
    assert {K(":a"): [7, (8,)], K(":b"): frozenset({8}), K(":c"): frozenset({pmap({K(":d"): 8})}), 7: 1} == WORLD.filled(form)


def test_a_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no cases"):
        read_cases(tmp_path)


def test_an_id_that_comes_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.edn").write_text('[{:id "a/x" :expect {:value 1}}]')
    (tmp_path / "b.edn").write_text('[{:id "a/x" :expect {:value 1}}]')
    with pytest.raises(CaseError, match="a/x"):
        read_cases(tmp_path)


def test_a_case_may_name_its_schema(tmp_path: Path) -> None:
    (tmp_path / "schemas.edn").write_text("{:people [{:db/ident :p/name}]}")
    (tmp_path / "a.edn").write_text('[{:id "a/x" :schema :people :expect {:value 1}} {:id "a/y" :schema [] :expect {:value 1}}]')
    assert [[{":db/ident": ":p/name"}], []] == [case.form[":schema"] for case in read_cases(tmp_path)]


def test_a_schema_that_no_file_defines_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.edn").write_text('[{:id "a/x" :schema :people :expect {:value 1}}]')
    with pytest.raises(CaseError, match=r"a/x has the schema :people"):
        read_cases(tmp_path)


def test_every_case_of_the_corpus_is_one_this_runner_understands() -> None:
    cases = read_cases(Path(__file__).parent / "cases")
    assert 655 == len(cases)
    for case in cases:
        action_of(case.form)
