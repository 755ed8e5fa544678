"""Tables and JSON of commands: every value of a store in one line, aligned, whatever its characters are."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from factstore.cli.output import cell_text, json_text
from factstore.rendering import text_table, width_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.decimals() | st.uuids(),
    lambda items: st.lists(items) | st.tuples(items) | st.frozensets(st.integers()) | st.dictionaries(st.text(), items),
    max_leaves=5,
)
WIDE = st.text("aé日本語한ｱe\u0301 ", max_size=70)


@given(VALUES)
def test_a_value_is_a_line_that_cannot_control_the_terminal(value: object) -> None:
    text = cell_text(value)
    assert text.isprintable()


@given(VALUES)
def test_a_value_is_a_line_of_strict_json(value: object) -> None:
    text = json_text(value)
    assert 1 == len(text.splitlines() or [text]) or "\n" not in text
    json.loads(text, parse_constant=lambda name: 1 / 0)


@given(st.lists(st.tuples(WIDE, WIDE)), st.sampled_from([None, 5, 60]))
def test_columns_are_aligned_by_their_width_on_a_terminal(rows: list[tuple[str, str]], widest: int | None) -> None:
    lines = text_table(["first", "second"], [(first, f"|{second}") for first, second in rows], widest=widest).splitlines()
    begins = {width_of(line.partition("|")[0]) for line in lines[1:]}
    assert len(begins) <= 1
    assert all(begin == width_of(lines[0].partition("second")[0]) for begin in begins)
    assert widest is None or all(width_of(line) <= 2 * widest + 2 for line in lines[1:])
