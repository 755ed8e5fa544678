"""The list of deliberate differences, and some random cases beside a real Datomic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.java import Unavailable
from factstore import edn
from tests.datomic.cases import cases
from tests.datomic.compare import differences, shown
from tests.datomic.explained import EXPLAINED, explanation
from tests.datomic.peer import Peer, peer
from tests.datomic.store import World

LISTED = Path(__file__).parents[2] / "docs/reference/differences.edn"


def test_each_difference_that_explains_a_case_is_listed_once_with_its_reason() -> None:
    tables = [part for part in edn.read(LISTED.read_text(encoding="utf-8")) if not isinstance(part, str)]
    named = [str(row[0])[1:] for _, *rows in tables for row in rows if row[0].startswith(":") and " " not in row[0]]
    assert sorted(EXPLAINED) == sorted(named)
    assert all(row[-1] for _, *rows in tables for row in rows)


@settings(max_examples=15)
@given(cases())
def test_this_store_answers_a_case_the_same_way_twice(steps: list[dict[str, Any]]) -> None:
    first, second = World().answers(steps), World().answers(steps)
    assert [edn.write(answer[0]) for answer in first] == [edn.write(answer[0]) for answer in second]
    assert len(steps) == len(first) and ":ok" == first[0][0], first[0]


@pytest.mark.parametrize(
    ("step", "ours", "theirs", "expected"),
    [
        ('{:tx [[:db/retract "a" :x/a 1]]}', '[:error ":db.error/invalid-tx-form …"]', "[:ok []]", "retract-tempid"),
        ('{:tx [[:db/retract "e" :x/a 1]]}', '[:error ":db.error/invalid-tx-form …"]', "[:ok []]", None),
        ('{:tx [[:db/add "a" :x/a 1]]}', '[:error ":db.error/invalid-tx-form …"]', "[:ok []]", None),
        ("{:query [:find ?e :where [?e :x/a ?v] [?f :x/b ?w]]}", "[:ok #{}]", "[:ok #{[1]}]", "disjoint-clauses"),
        ("{:query [:find ?e :where [?e :x/a ?v] [?e :x/b ?w]]}", "[:ok #{}]", "[:ok #{[1]}]", None),
        ("{:query [:find ?e :in [?v _] :where [?e :x/a ?v] [?e :x/a _]]}", "[:ok #{[1]}]", "[:ok #{}]", "joined-blanks"),
        ("{:query [:find (count ?e) :in [?v _] :where [?e :x/a ?v] [?e :x/a _]]}", "[:ok #{[1]}]", "[:ok []]", "joined-blanks"),
        ("{:query [:find ?e :in [?v _] :where [?e :x/a ?v] [?e :x/a _]]}", "[:ok #{}]", "[:ok #{[1]}]", None),
        ("{:query [:find ?e :in [?v ?w] :where [?e :x/a ?v] [?e :x/a _]]}", "[:ok #{[1]}]", "[:ok #{}]", None),
    ],
)
def test_a_difference_explains_only_what_it_is_about(step: str, ours: str, theirs: str, expected: str | None) -> None:
    assert expected == explanation(edn.read(step), edn.read(ours), edn.read(theirs))


@pytest.fixture(scope="module")
def datomic() -> Iterator[Peer]:
    try:
        with peer(fetch=False) as started:
            yield started
    except Unavailable as error:
        pytest.skip(f"needs Java, and Datomic as `make datomic-test` fetches it: {error}")


@settings(max_examples=15, suppress_health_check=list(HealthCheck), derandomize=True)
@given(steps=cases())
def test_both_stores_answer_alike_but_for_what_is_listed(datomic: Peer, steps: list[dict[str, Any]]) -> None:
    found = differences(steps, datomic)
    assert [] == [each for each in found if each.why is None], shown(steps, found)
