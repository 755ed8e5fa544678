"""The `{python}` inputs of a cell are inputs of the query, never text of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore.errors import QueryError, ReadError
from factstore.notebook.inputs import bound, cut


@pytest.fixture(scope="module")
def db():
    with factstore.connect("memory:", infer_schema=True) as conn:
        conn.transact([{":person/name": "Ann", ":person/born": 1970}, {":person/name": "Bob", ":person/born": 1980}])
        yield conn.db()


def answer(text, db, **names):
    cell = cut(text)
    assert len(text) == len(cell.text)
    found = bound(cell, db, lambda expression: eval(expression.strip(), {}, names))
    return list(factstore.rows(found.query, *found.inputs))


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("[:find ?n :where [?p :person/name ?n] [?p :person/born ?b] [(> ?b {year})]]", {"year": 1975}, [("Bob",)]),
        ("[:find ?n :where [?p :person/name ?n] [?p :person/born ?b] [(> ?b { year + 5 })]]", {"year": 1970}, [("Bob",)]),
        ("[:find ?b :where [?p :person/name {d['}']}] [?p :person/born ?b]]", {"d": {"}": "Ann"}}, [(1970,)]),
        ("[:find ?b :where [?p :person/name {next(iter({n}))}] [?p :person/born ?b]]", {"n": "Ann"}, [(1970,)]),
        ("[:find ?b :in $ [?n ...] {names} :where [?p :person/name ?n] [?p :person/born ?b]]", {"names": ["Bob"]}, [(1980,)]),
        ("[:find ?n :where [?p :person/name ?n] :order-by ?n :desc :limit {n}]", {"n": 1}, [("Bob",)]),
        ("[:find (pull ?p {pattern}) :where [?p :person/name {name}]]", {"pattern": [":person/born"], "name": "Ann"}, [({":person/born": 1970},)]),
        ("[:find (pull ?p [{:person/_x [:db/id]}]) :in $ ?p {p} :where [?p]]", None, None),
        ("{:find [?n] :where [[?p :person/name ?n] [?p :person/born {year}]]}", {"year": 1970}, [("Ann",)]),
        ("[:find ?n :in $ % {rules} :where (named ?p ?n) [?p :person/born 1970]]", {"rules": "[[(named ?p ?n) [?p :person/name ?n]]]"}, [("Ann",)]),
        ("[:find ?b ; {not an input}\n :where [_ :person/born ?b] [(= {s} \"{s}\")] [(< ?b 1975)]]", {"s": "{s}"}, [(1970,)]),
        ("[:find [?x ?y] :in $ [?x ?y] {pair}]", {"pair": (1, 2)}, [(1, 2)]),
    ],
)  # fmt: skip
def test_inputs_of_a_cell(text, names, expected, db):
    if expected is not None:
        assert expected == answer(text, db, **names)
    else:  # a map of EDN is left as it is
        assert text.replace("{p}", "?·0") == cut(text).text


def test_a_source_may_be_another_database(db):
    old = db.as_of(0)
    text = "[:find ?n :in $ $old {old} :where [$ ?p :person/name ?n] (not [$old ?p :person/name ?n])]"
    assert [("Ann",), ("Bob",)] == sorted(answer(text, db, old=old))
    assert [] == answer("[:find ?n :in $ {old} :where [?p :person/name ?n]]", db, old=db.with_([]).db_after.since(db.basis_t))


values = st.one_of(st.text(), st.sampled_from(['"] [?p :person/born 1970]', "{name}", "?n", ":person/born", "[?p ?q]", '")] [(= 1 1)] ["']))


@given(values)
def test_no_value_changes_the_structure_of_the_query(value):
    with factstore.connect("memory:") as conn:
        conn.transact("[{:db/ident :person/name, :db/valueType :db.type/string, :db/cardinality :db.cardinality/one}]")
        conn.transact([{":person/name": value}, {":person/name": f"{value}!"}])
        assert [(value,)] == answer("[:find ?n :where [?p :person/name ?n] [?p :person/name {name}]]", conn.db(), name=value)


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("[:find ?n :in $ ?n :where [?p :person/name ?n]]", QueryError, r"\?n in :in has no value; write an expression after it, \?n {name}"),
        ("[:find ?n :in {x} :where [?p :person/name ?n]]", QueryError, "the value of the part before it"),
        ("[:find ?·0 :where [?p :person/name ?·0]]", QueryError, "use another name"),
        ("[[:db/add 1 2 3]]", QueryError, "a cell of Datalog is one query"),
        ("42", QueryError, "a cell of Datalog is one query"),
        ("[:find ?n", ReadError, "expected ]"),
        ("", ReadError, "contains none"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(text, error, sentence, db):
    with pytest.raises(error, match=sentence):
        answer(text, db, x=1)
