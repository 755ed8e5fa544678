"""Pictures of facts: an axis of time that folds gaps, and the timeline of an entity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import drawing
from factstore.drawing.entity import entity_rows
from factstore.drawing.rows import Axis

TIMES = st.floats(0, 1e9, allow_nan=False)
BUSY = st.lists(st.tuples(TIMES, st.floats(0, 1e6)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=8)


@given(BUSY, st.lists(TIMES, min_size=2, max_size=8))
def test_a_later_time_is_never_left_of_an_earlier_one(busy, times):
    start, end = min([*times, *(a for a, _ in busy)]), max([*times, *(b for _, b in busy)])
    axis = Axis(busy, start, end, (100.0, 900.0))
    places = [axis(time) for time in sorted(times)]
    assert sorted(places) == pytest.approx(places)
    assert all(100 - 1e-6 <= place <= 900 + 1e-6 for place in places)
    assert (axis(start), axis(end) if end > start else 900.0) == pytest.approx((100.0, 900.0))


@given(st.lists(st.tuples(st.text(max_size=9), TIMES, st.floats(0, 1e6), st.sampled_from(["wait", "failed"])), max_size=9))
def test_every_span_is_inside_and_every_picture_is_valid(drawn):
    rows = [drawing.Row(label, [drawing.Span(start, start + lasts, kind, label)]) for label, start, lasts, kind in drawn]
    rows = [row for row in rows if row.label.isprintable()]
    picture = ElementTree.fromstring(drawing.spans("p", "Title", rows))
    assert ("Title", True) == (picture.find("{*}title").text, bool(picture.find("{*}desc").text))
    for box in picture.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(box.get("width")) >= 1
        assert 0 <= float(box.get("x")) <= 960


VALUES = st.lists(st.one_of(st.none(), st.floats(-1e15, 1e15).filter(lambda v: v == 0 or abs(v) > 1e-9)), min_size=2, max_size=6)


@given(VALUES, VALUES)
def test_bars_and_lines_are_inside_and_longer_for_greater_values(first, second):
    size = min(len(first), len(second))
    series = [drawing.Series(name, name, values[:size]) for name, values in (("s0", first), ("s1", second))]
    bars = ElementTree.fromstring(drawing.bars("p", "Title", [f"category {n}" for n in range(size)], series))
    lines = ElementTree.fromstring(drawing.lines("p", "Title", [float(n) for n in range(size)], series))
    for picture in (bars, lines):
        assert ("Title", True) == (picture.find("{*}title").text, bool(picture.find("{*}desc").text))
    known = [v for n in range(size) for one in series if (v := one.values[n]) is not None]
    boxes = bars.findall("{*}rect")
    assert (
        len(known)
        == len(boxes)
        == len([dot for dot in lines.iter("{http://www.w3.org/2000/svg}circle") if dot.find("{*}title") is not None])
    )
    height = float(bars.get("viewBox").split()[3])
    for box in boxes:
        x, y, width, tall = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        assert 0 <= x and x + width <= 561 and 0 <= y and y + tall <= height
    for sign in (1, -1):
        lengths = [float(box.get("width")) for v, box in sorted(zip(known, boxes), key=lambda pair: abs(pair[0])) if sign * v > 0]
        assert lengths == sorted(lengths)
    for dot in lines.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(dot.get("cx")) <= 560 and 0 <= float(dot.get("cy")) <= 220


def test_the_timeline_of_an_entity_has_each_value_from_its_assertion_to_its_end():
    times = iter(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(100))
    now = [next(times)]
    with factstore.connect("memory:", clock=lambda: now[0]) as conn:
        names = [(":p/city", "one"), (":p/tag", "many")]
        conn.transact([{":db/ident": n, ":db/valueType": ":db.type/string", ":db/cardinality": f":db.cardinality/{c}"} for n, c in names])
        now[0] = start = next(times)
        e = conn.transact([{":db/id": "p", ":p/city": "Rome", ":p/tag": ["a", "b"]}]).tempids["p"]
        now[0] = middle = next(times)
        conn.transact([[":db/add", e, ":p/city", "Paris"], [":db/retract", e, ":p/tag", "a"]])
        now[0] = end = next(times)
        rows = entity_rows(conn.db(), e, until=end)
        assert [":p/city", ":p/tag", ""] == [row.label for row in rows]
        spans = sorted((span.text, span.start, span.end) for row in rows for span in row.spans)
        at = {"start": start.timestamp(), "middle": middle.timestamp(), "end": end.timestamp()}
        assert [
            ("Paris", at["middle"], at["end"]),
            ("Rome", at["start"], at["middle"]),
            ("a", at["start"], at["middle"]),
            ("b", at["start"], at["end"]),
        ] == spans
        assert "History of" in drawing.timeline(conn.db(), e, until=end)


def test_an_unknown_entity_has_an_empty_timeline():
    with factstore.connect("memory:") as conn:
        assert [] == entity_rows(conn.db(), 1 << 40, until=datetime.now(UTC))
