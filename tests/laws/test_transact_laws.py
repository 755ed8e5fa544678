"""Laws of transactions, beside the naive model of `factstore.testing`: a set of facts, and loops over all of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import Connection, Database, TransactError, TxReport
from factstore.testing.naive.transactions import Rejected, after, facts_of, renamed

SCHEMA = """
[{:db/ident :m/id    :db/valueType :db.type/long  :db/cardinality :db.cardinality/one  :db/unique :db.unique/identity}
 {:db/ident :m/mail  :db/valueType :db.type/long  :db/cardinality :db.cardinality/one  :db/unique :db.unique/value}
 {:db/ident :m/n     :db/valueType :db.type/long  :db/cardinality :db.cardinality/one}
 {:db/ident :m/tags  :db/valueType :db.type/long  :db/cardinality :db.cardinality/many}
 {:db/ident :m/ref   :db/valueType :db.type/ref   :db/cardinality :db.cardinality/one}
 {:db/ident :m/refs  :db/valueType :db.type/ref   :db/cardinality :db.cardinality/many}
 {:db/ident :m/owner :db/valueType :db.type/ref   :db/cardinality :db.cardinality/one  :db/unique :db.unique/identity}
 {:db/ident :m/parts :db/valueType :db.type/ref   :db/cardinality :db.cardinality/many :db/isComponent true}
 {:db/ident :m/pair  :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one  :db/tupleAttrs [:m/n :m/ref]}]
"""
LONGS, REFS = (":m/id", ":m/mail", ":m/n", ":m/tags"), (":m/ref", ":m/refs", ":m/owner", ":m/parts")
MANY = {":m/tags", ":m/refs", ":m/parts"}

TEMPIDS = ("x", "y", "z", -1)
OLD = (0, 1, 2)  # stand for three entities that are there from the start
WHO = st.sampled_from(OLD + TEMPIDS)
NUMBER = st.integers(0, 2)


def about(a: str) -> st.SearchStrategy[Any]:
    """Forms about one attribute."""
    v = NUMBER if a in LONGS else WHO
    add = st.tuples(st.just(":db/add"), WHO, st.just(a), v)
    retract = st.tuples(st.just(":db/retract"), WHO, st.just(a), v) | st.tuples(st.just(":db/retract"), WHO, st.just(a))
    cas = st.tuples(st.just(":db/cas"), st.sampled_from(OLD), st.just(a), st.none() | NUMBER, NUMBER)
    return st.one_of(add, add, add, retract, *([cas] if a in LONGS and a not in MANY else []))


FORM = st.one_of(st.sampled_from(LONGS + REFS).flatmap(about), st.tuples(st.just(":db/retractEntity"), st.sampled_from(OLD)))
ADD = st.just(":db/add")
# Chains of identities that refer to each other, and unique values that move.
IDENTIFYING = st.lists(
    st.tuples(ADD, st.sampled_from(TEMPIDS), st.just(":m/owner"), st.sampled_from((0, *TEMPIDS)))
    | st.tuples(ADD, st.sampled_from(TEMPIDS), st.just(":m/id"), NUMBER)
    | st.tuples(ADD, st.sampled_from(TEMPIDS), st.just(":m/tags"), NUMBER),
    min_size=3,
    max_size=8,
)
MOVING = st.lists(
    st.tuples(st.sampled_from((":db/add", ":db/add", ":db/retract")), st.sampled_from(OLD), st.just(":m/mail"), NUMBER),
    max_size=4,
    unique_by=lambda form: form[:2],
)
FORMS = st.lists(FORM, max_size=7)
SOME_FACTS = st.lists(st.tuples(ADD, st.sampled_from(OLD), st.sampled_from((":m/id", ":m/n", ":m/tags")), NUMBER), max_size=5)

# What stands at the beginning, and what is then done to it.
KINDS = {
    "anything": (SOME_FACTS, FORMS),
    "identities": (st.just([(":db/add", 1, ":m/owner", 0), (":db/add", 2, ":m/owner", 1), (":db/add", 0, ":m/id", 0)]), IDENTIFYING),
    "exchanges": (st.just([(":db/add", e, ":m/mail", e) for e in OLD]), MOVING),
}
HISTORIES = {
    kind: st.tuples(first, st.lists(forms, min_size=1, max_size=4)).map(lambda x: [x[0], *x[1]]) for kind, (first, forms) in KINDS.items()
}
of_every_kind = pytest.mark.parametrize("kind", KINDS)


# -- the store


def store() -> tuple[Connection, dict[int, int]]:
    conn = factstore.connect("memory:")
    conn.transact(SCHEMA)
    made = conn.transact([[":db/add", f"e{i}", ":m/id", 100 + i] for i in OLD])
    return conn, {i: made.tempids[f"e{i}"] for i in OLD}


def written(forms: list[Any], ids: dict[int, int]) -> list[Any]:
    """Forms with the ids of the three entities in them."""

    def term(place: int, form: Any) -> Any:
        is_entity = place == 1 or (place > 2 and form[2] in REFS)
        return ids.get(form[place], form[place]) if is_entity else form[place]

    return [tuple(term(place, form) for place in range(len(form))) for form in forms]


def attempt(db: Database, forms: list[Any]) -> TxReport | None:
    try:
        return factstore.with_(db, forms)
    except TransactError:
        return None


# -- the laws


@of_every_kind
@given(data=st.data())
def test_a_transaction_is_accepted_and_comes_to_what_the_set_of_facts_says(kind, data):
    conn, ids = store()
    for forms in (written(forms, ids) for forms in data.draw(HISTORIES[kind])):
        before = facts_of(conn.db())
        try:
            expected = after(before, forms, conn.db())
        except Rejected:
            expected = None
        basis, next_n = conn.db().basis_t, conn.db().next_n
        try:
            report = conn.transact(forms)
        except TransactError as error:
            assert expected is None, error
            assert before == facts_of(conn.db())
            assert basis == conn.db().basis_t
            assert next_n == conn.db().next_n
            again = attempt(conn.db(), forms)
            assert again is None
        else:
            assert expected is not None, forms
            assert renamed(expected, report) == facts_of(report.db_after)


@of_every_kind
@given(data=st.data())
def test_the_order_of_forms_never_changes_the_outcome(kind, data):
    conn, ids = store()
    db = conn.db()
    *history, forms = data.draw(HISTORIES[kind])
    for earlier in history:
        report = attempt(db, written(earlier, ids))
        db = db if report is None else report.db_after
    one = attempt(db, written(forms, ids))
    other = attempt(db, written(data.draw(st.permutations(forms)), ids))
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert set(one.tempids) == set(other.tempids)
        same = {one.tempids[name]: other.tempids[name] for name in one.tempids}

        def there(x: Any) -> Any:
            return tuple(map(there, x)) if isinstance(x, tuple) else same.get(x, x) if isinstance(x, int) and x > 1000 else x

        assert frozenset((there(e), a, there(v)) for e, a, v in facts_of(one.db_after)) == facts_of(other.db_after)


@given(HISTORIES["anything"])
def test_with_gives_what_transact_gives_however_often_it_is_chained(history):
    conn, ids = store()
    db = conn.db()
    for forms in (written(forms, ids) for forms in history):
        tried = attempt(db, forms)
        try:
            done = conn.transact(forms)
        except TransactError:
            assert tried is None
            continue
        assert tried is not None
        db = tried.db_after
        assert done.tempids == tried.tempids
        assert done.t == tried.t
        assert done.tx_data[1:] == tried.tx_data[1:]
        assert facts_of(done.db_after) == facts_of(db)
        assert done.db_after.next_n == db.next_n
        assert done.db_before.basis_t == tried.db_before.basis_t


@given(HISTORIES["anything"])
def test_every_datom_of_a_report_changes_something(history):
    conn, ids = store()
    for forms in (written(forms, ids) for forms in history):
        before = facts_of(conn.db())
        report = attempt(conn.db(), forms)
        if report is None:
            continue
        conn.transact(forms)
        told = [((d.e, str(report.db_after.ident(d.a)), d.v), d.added) for d in report.tx_data[1:]]
        assert len(told) == len(set(told))
        assert facts_of(report.db_after) == (before - {fact for fact, added in told if not added}) | {fact for fact, added in told if added}
        assert all((fact in before) != added for fact, added in told)


ENTITY = st.fixed_dictionaries(
    {},
    optional={
        ":db/id": st.sampled_from((*OLD, "x", "y")),
        ":m/id": NUMBER,
        ":m/mail": NUMBER,
        ":m/n": NUMBER,
        ":m/tags": st.lists(NUMBER, max_size=3) | st.frozensets(NUMBER) | NUMBER,
        ":m/ref": st.sampled_from(OLD),
        ":m/refs": st.lists(st.sampled_from(OLD), max_size=3),
    },
)


@given(st.lists(ENTITY, max_size=4))
def test_a_map_says_what_its_list_forms_say(entities):
    conn, ids = store()
    maps, lists = [], []
    for i, entity in enumerate(entities):
        refs = {a: ids[v] if isinstance(v, int) else [ids[x] for x in v] for a, v in entity.items() if a in REFS}
        form = {**entity, **refs}
        if ":db/id" in form:
            form[":db/id"] = ids.get(form[":db/id"], form[":db/id"])
        e = form.get(":db/id", f"unnamed {i}")
        maps.append(form)
        for a, v in form.items():
            if a != ":db/id":
                lists += [(":db/add", e, a, w) for w in (v if isinstance(v, list | frozenset) else [v])]
    by_map, by_list = attempt(conn.db(), maps), attempt(conn.db(), lists)
    assert (by_map is None) == (by_list is None)
    if by_map is not None and by_list is not None:
        assert sorted(map(shape, facts_of(by_map.db_after))) == sorted(map(shape, facts_of(by_list.db_after)))


def shape(fact: tuple[Any, str, Any]) -> str:
    """A fact without the ids of new entities, which are given in the order of forms."""
    return f"{fact[1]} {fact[2]}"
