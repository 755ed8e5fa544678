"""explain: what a query did, as text, data and a notebook's table."""

from __future__ import annotations

import pytest

from factstore import connect, explain

ROWS = [(n, ":age", n % 10) for n in range(100)]
QUERY = "[:find ?e ?a :where [?e :age ?a] [(< ?a 3)] (not [?e :age 1])]"


def test_steps_have_clause_access_path_and_real_sizes() -> None:
    explanation = explain(QUERY, ROWS)
    assert ["[?e :age ?a]", "[(< ?a 3)]", "(not [?e :age 1])", "[?e :age 1]"] == [step.clause for step in explanation.data]
    assert [(1, 100), (100, 30), (30, 20)] == [(step.rows_in, step.rows_out) for step in explanation.data if step.depth == 0]
    assert 20 == explanation.rows


def test_clauses_run_cheapest_first_whatever_their_order() -> None:
    rows = [*ROWS, (7, ":vip", 1)]
    for where in ("[?e :age ?a] [?e :vip 1]", "[?e :vip 1] [?e :age ?a]"):
        assert ["[?e :vip 1]", "[?e :age ?a]"] == [step.clause for step in explain(f"[:find ?a :where {where}]", rows).data]


def test_the_text_is_a_table_with_a_line_for_each_step() -> None:
    lines = str(explain(QUERY, ROWS)).splitlines()
    assert ["clause", "access", "estimate", "rows in", "rows out", "ms"] == [word.strip() for word in lines[0].split("  ") if word.strip()]
    assert 6 == len(lines)
    assert lines[-1].startswith("20 rows in ")
    assert "\n1 row in " in str(explain(QUERY, [(1, ":age", 0)]))


def test_a_notebook_shows_a_table_with_what_is_written_escaped() -> None:
    html = explain(QUERY, ROWS)._repr_html_()
    assert "<td>[(&lt; ?a 3)]</td>" in html


EDGES = [(n, ":to", n + 1) for n in range(20)]
CLOSED = "[[(go ?a ?b) [?a :to ?b]] [(go ?a ?b) [?a :to ?c] (go ?c ?b)]]"
ALONG = "[[(along ?k ?a ?b) [?a ?k ?b]] [(along ?k ?a ?b) [?a ?k ?c] (along ?k ?c ?b)]]"
NONLINEAR = "[[(level ?a ?n) [?a :to 20] [(ground 0) ?n]] [(level ?a ?n) [?a :to ?c] (level ?c ?m) [(inc ?m) ?n]]]"


@pytest.mark.parametrize(
    ("call", "rules", "strategy"),
    [
        ("(go 0 ?b)", CLOSED, "transitive closure"),
        ("(go ?a ?b)", CLOSED, "transitive closure"),
        ("(along :to 0 ?b)", ALONG, "right-linear recursion"),
        ("(along ?k ?a ?b)", ALONG, "semi-naive evaluation"),
        ("(level 10 ?b)", NONLINEAR, "semi-naive evaluation"),
    ],
)
def test_a_step_with_a_recursive_rule_shows_the_strategy(call: str, rules: str, strategy: str) -> None:
    steps = explain(f"[:find ?b :in $ % :where {call}]", EDGES, rules).data
    assert [f"rule: {strategy}"] == [step.access for step in steps if step.depth == 0]


def test_a_recursive_call_inside_a_rule_is_a_step_of_its_own() -> None:
    steps = explain("[:find ?b :in $ % :where (level 10 ?b)]", EDGES, NONLINEAR).data
    assert "rule: recursive call" in {step.access for step in steps if step.depth > 0}


def test_a_rule_that_is_not_recursive_has_no_strategy() -> None:
    steps = explain("[:find ?a :in $ % :where (next ?a 3)]", EDGES, "[[(next ?a ?b) [?a :to ?b]]]").data
    assert ["rule"] == [step.access for step in steps if step.depth == 0]


def test_facts_are_joined_on_their_transaction_before_facts_that_share_nothing() -> None:
    conn = connect("memory:")
    conn.transact(
        [
            {":db/ident": f":j/{name}", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}
            for name in ("id", "status")
        ]
    )
    for n in range(4):
        conn.transact([{":j/id": f"{n} {i}", ":j/status": "new"} for i in range(50)])
    query = '[:find ?id ?at :where [?j :j/status "new" ?tx] [?tx :db/txInstant ?at] [?j :j/id ?id]]'
    steps = explain(query, conn.db()).data
    assert 200 == max(step.rows_out for step in steps)
