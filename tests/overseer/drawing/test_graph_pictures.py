"""Pictures of job graphs: no overlap, edges point down, and the order of insertion does not matter."""

from __future__ import annotations

from itertools import combinations
from random import Random
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer import job_graph
from overseer.drawing.graph import MOST, Node, collapsed, graph_picture
from overseer.drawing.layout import HEIGHT, WIDTH, lay_out, layers

STATES = ("unstarted", "started", "finished", "failed", "aborted")


@st.composite
def graphs(draw, most=40):
    """Draw a graph without cycles: each node with those that it depends on."""
    count = draw(st.integers(0, most))
    names = draw(st.lists(st.text("abc:/é<&", min_size=1, max_size=6), min_size=count, max_size=count, unique=True))
    return {name: draw(st.sets(st.sampled_from(names[:n]), max_size=3)) if n else set() for n, name in enumerate(names)}


@given(graphs())
def test_no_two_nodes_overlap_and_all_are_inside(deps):
    layout = lay_out(deps)
    assert deps.keys() == layout.places.keys()
    for (x, y), (other_x, other_y) in combinations(layout.places.values(), 2):
        assert abs(x - other_x) >= WIDTH or abs(y - other_y) >= HEIGHT
    for x, y in layout.places.values():
        assert 0 <= x <= layout.width - WIDTH + 1e-6
        assert 0 <= y <= layout.height - HEIGHT + 1e-6


@given(graphs())
def test_every_edge_points_down(deps):
    places = lay_out(deps).places
    for node, parents in deps.items():
        for parent in parents:
            assert places[parent][1] + HEIGHT < places[node][1]


@given(graphs(), st.randoms(use_true_random=False))
def test_the_order_of_nodes_and_edges_does_not_matter(deps, random):
    nodes = [Node(id, id, STATES[len(id) % 5]) for id in deps]
    order = random.sample(list(deps), len(deps))
    shuffled = {node: random.sample(sorted(deps[node]), len(deps[node])) for node in order}
    assert lay_out(deps) == lay_out(shuffled)
    assert graph_picture(nodes, deps) == graph_picture(random.sample(nodes, len(nodes)), shuffled)


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdefx"))))
def test_cycles_and_unknown_dependencies_have_a_picture_too(deps):
    assert deps.keys() == layers(deps).keys()
    ElementTree.fromstring(graph_picture([Node(id, id) for id in deps], deps))


@given(graphs(), st.integers(1, 20))
def test_collapsing_keeps_every_job_and_every_edge_downwards(deps, most):
    nodes = [Node(id, id[:1], STATES[len(id) % 5]) for id in deps]
    merged, edges = collapsed(nodes, deps, most)
    assert len(nodes) == sum(node.jobs for node in merged)
    assert len(merged) <= max(most, len(set(layers(deps).values())) * len(STATES))
    places = lay_out(edges).places
    assert all(places[parent][1] < places[node][1] for node in edges for parent in edges[node])


def test_a_large_graph_is_collapsed_and_states_its_counts():
    random = Random(1)
    nodes = [Node(f"j{n}", ":load", STATES[n % 5]) for n in range(MOST + 700)]
    deps = {f"j{n}": {f"j{random.randrange(n // 2)}"} if n > 1 else set() for n in range(MOST + 700)}
    picture = ElementTree.fromstring(graph_picture(nodes, deps))
    boxes = list(picture.iter("{http://www.w3.org/2000/svg}rect"))
    assert 0 < len(boxes) <= MOST
    assert "1,000 jobs: 200 aborted, 200 failed, 200 finished, 200 started, 200 unstarted." == picture.find("{*}desc").text


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", 'a"b', "x" * 500, "日本語"])
def test_names_are_texts_and_fit(label):
    picture = ElementTree.fromstring(graph_picture([Node("j", label)], {}))
    assert [] == list(picture.iter("{http://www.w3.org/2000/svg}script"))
    [words] = picture.iter("{http://www.w3.org/2000/svg}text")
    assert len(words.text) <= 20


def test_a_notebook_shows_a_graph():
    picture = ElementTree.fromstring(job_graph({":load": [], ":check": [":load"]})._repr_svg_())
    assert {"load", "check"} == {words.text for words in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert "2 jobs: 2 unstarted." == picture.find("{*}desc").text
