"""Graphs of jobs: built from types, refused when they could never run, and turned into assertions."""

from __future__ import annotations

from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import Keyword
from overseer import Graph, GraphError, HandlerError, after, graph_txns, job_graph, job_txn, simple_graph, status, validate_graph_handlers
from overseer.jobs.graph import find_cycle, missing_dependencies, missing_handlers

DIAMOND = {":start": [], ":left": [":start"], ":right": [":start"], ":end": [":left", ":right"]}


def numbered():
    numbers = count(1)
    return lambda: f"j{next(numbers)}"


# -- missing dependencies and cycles


def test_a_closed_graph_misses_nothing():
    assert [] == missing_dependencies(DIAMOND)


def test_a_dependency_that_is_no_job_of_the_graph_is_named():
    assert [":quux"] == missing_dependencies({":foo": [], ":bar": [":foo"], ":baz": [":quux"]})
    with pytest.raises(GraphError, match=":quux") as caught:
        graph_txns({":foo": [], ":bar": [":foo"], ":baz": [":quux"]})
    assert ":job.error/missing-dependency" == caught.value.code
    assert [":quux"] == caught.value.missing


def test_a_cycle_is_refused_and_its_path_is_named():
    with pytest.raises(GraphError, match=":b → :c → :b") as caught:
        graph_txns({":a": [":b"], ":b": [":c"], ":c": [":b"]})
    assert ":job.error/cycle" == caught.value.code
    assert [":b", ":c", ":b"] == caught.value.cycle


def test_a_job_that_waits_for_itself_is_a_cycle():
    with pytest.raises(GraphError, match=":a → :a"):
        job_graph({":a": [":a"]})


CIRCLES = {
    "in attributes": lambda: simple_graph(
        {":job/id": "x", ":job/type": "a", ":job/dep": "y"}, {":job/id": "y", ":job/type": "b", ":job/dep": ["x"]}
    ),
    "half of it": lambda: Graph(
        {id: {":job/id": id, ":job/type": f":{id}", **({":job/dep": {"y"}} if id == "x" else {})} for id in "xy"}, {"x": (), "y": ("x",)}
    ),
    "on all": lambda: graph_txns({"a": [], "b": []}, {":job/dep": "x"}, ids=iter("xy").__next__),
    "on all of a graph": lambda: graph_txns(simple_graph({":job/id": "x", ":job/type": "a"}), {":job/dep": ("x",)}),
    "of one job": lambda: simple_graph({":job/id": "x", ":job/type": "a", ":job/dep": ["other", "x"]}),
}


@pytest.mark.parametrize("circle", CIRCLES)
def test_a_cycle_through_dependencies_that_are_given_as_attributes_is_refused_too(circle):
    with pytest.raises(GraphError, match=r":[ax] x → ") as caught:
        CIRCLES[circle]()
    assert ":job.error/cycle" == caught.value.code
    assert caught.value.cycle[0] == caught.value.cycle[-1]


def test_dependencies_on_jobs_outside_of_a_graph_are_no_cycle(conn):
    first = conn.transact([job_txn("a", id="first")]).tempids["first"]
    conn.transact(
        [
            *graph_txns({"b": [], "c": ["b"]}, {":job/dep": [first, [":job/id", "first"]]}),
            job_txn("d", {":job/dep": "e"}, id="d"),
            job_txn("e", id="e"),
        ]
    )
    assert {"a", "b", "c", "d", "e"} == {type.name for type in status.counts_by_type(conn.db())}


@st.composite
def type_graphs(draw):
    size = draw(st.integers(1, 8))
    nodes = st.integers(0, size - 1)
    return {node: draw(st.lists(nodes, max_size=3, unique=True)) for node in range(size)}


@given(type_graphs())
def test_a_cycle_is_found_exactly_when_no_order_exists(graph):
    """The model takes away jobs without open dependencies until it cannot."""
    left = dict(graph)
    while free := [node for node, deps in left.items() if not set(deps) & set(left)]:
        for node in free:
            del left[node]
    cycle = find_cycle(graph)
    assert bool(left) == (cycle is not None)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert all(step in graph[node] for node, step in pairwise(cycle))


def test_a_chain_of_a_hundred_thousand_jobs_needs_no_recursion():
    assert None is find_cycle({n: [n - 1] if n else [] for n in range(100_000)})


# -- handlers


def test_a_graph_whose_types_all_have_handlers_is_valid_even_with_handlers_to_spare():
    """Overseer 0.9.0 failed with an error of its own as soon as handlers outnumbered jobs."""
    handlers = dict.fromkeys([*DIAMOND, ":extra", ":more"], len)
    assert [] == missing_handlers(handlers, DIAMOND)
    assert None is validate_graph_handlers(handlers, job_graph(DIAMOND))


def test_types_without_a_handler_are_named_those_that_only_occur_as_dependencies_too():
    """Overseer 0.8.2 looked at the keys of the graph alone."""
    handlers = {":foo": len}
    with pytest.raises(HandlerError, match=r"missing handlers :bar, :quux") as caught:
        validate_graph_handlers(handlers, {":foo": [], ":bar": [":foo", ":quux"]})
    assert [":bar", ":quux"] == caught.value.missing


# -- graphs


def test_a_job_graph_has_a_job_per_type_with_the_arguments_on_each():
    graph = job_graph(DIAMOND, {":org/id": 123}, ids=numbered())
    assert {":start", ":left", ":right", ":end"} == graph.types
    assert all(job[":org/id"] == 123 and job[":job/status"] == ":job.status/unstarted" for job in graph.jobs.values())
    assert {"j1": (), "j2": ("j1",), "j3": ("j1",), "j4": ("j2", "j3")} == graph.deps


def test_job_ids_are_new_in_every_graph():
    first, second = job_graph(DIAMOND), job_graph(DIAMOND)
    assert 8 == len({*first.jobs, *second.jobs})


def test_arguments_that_would_make_all_jobs_the_same_are_refused():
    with pytest.raises(GraphError, match=":job/id"):
        job_graph(DIAMOND, {":job/id": "one"})


def test_a_simple_graph_holds_exactly_the_given_jobs_and_no_edges():
    graph = simple_graph({":job/id": "a", ":job/type": ":foo"}, {":job/id": "b", ":job/type": "bar", ":org/id": 7})
    assert {"a": (), "b": ()} == graph.deps
    assert 7 == graph.jobs["b"][":org/id"]
    assert ":bar" == graph.jobs["b"][":job/type"]


@pytest.mark.parametrize("job", [{":job/type": ":foo"}, {":job/id": "a"}, "a", None])
def test_what_is_no_job_is_refused(job):
    with pytest.raises(GraphError, match=r":job/id and :job/type"):
        simple_graph(job)


def test_a_dependency_may_say_by_which_rule_it_is_waited_for():
    graph = job_graph({"load": [], "clean": after("load", when="all-done")}, ids=numbered())
    assert ":job.rule/all-done" == graph.jobs["j2"][":job/rule"]
    assert ":job/rule" not in graph.jobs["j1"]
    with pytest.raises(GraphError, match="all-success, all-done, none-failed, any"):
        after("load", when="most")


# -- assertions


def test_graph_txns_is_a_flat_list_of_jobs_and_of_edges_from_child_to_parent():
    forms = graph_txns(DIAMOND, {":org/id": 123}, ids=numbered())
    jobs, edges = forms[:4], forms[4:]
    assert ["j1", "j2", "j3", "j4"] == [job[":db/id"] for job in jobs]
    assert {":db/id": "j1", ":job/id": "j1", ":job/type": ":start", ":job/status": ":job.status/unstarted", ":org/id": 123} == jobs[0]
    assert [("j2", "j1"), ("j3", "j1"), ("j4", "j2"), ("j4", "j3")] == [(edge[":db/id"], edge[":job/dep"]) for edge in edges]
    assert all(set(edge) == {":db/id", ":job/dep"} for edge in edges)


def test_types_may_be_written_without_their_colon():
    assert [":load"] == [form[":job/type"] for form in graph_txns({"load": None})]


def test_a_job_txn_is_one_job_and_arguments_win():
    job = job_txn(":mail/send", {":mail/to": "ann", ":job/status": ":job.status/finished"}, id="m1")
    assert {":db/id": "m1", ":job/id": "m1", ":job/type": ":mail/send", ":job/status": ":job.status/finished", ":mail/to": "ann"} == job
    assert type(job[":job/type"]) is Keyword
    assert job_txn(":mail/send")[":job/id"] != job_txn(":mail/send")[":job/id"]
