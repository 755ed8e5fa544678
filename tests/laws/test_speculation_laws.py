"""The law of speculation: a database value tells the same, whatever is built on it or beside it afterwards."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from factstore import with_
from tests.laws.test_branch_laws import told
from tests.laws.test_time_laws import CHANGES, forms, story


@given(CHANGES, CHANGES, st.lists(st.integers(0, 20), max_size=12), st.booleans())
def test_a_value_does_not_depend_on_what_others_build_on_it(history: Any, own: Any, parents: list[int], is_indexed: bool) -> None:
    with story(history) as lived:
        if is_indexed:
            lived.conn._committer.index()
        values, paths = [lived.conn.db()], [[]]  # type: ignore[var-annotated]
        seen = [told(values[0])]
        for parent, changes in zip(parents, own, strict=False):
            parent = len(values) - 1 - parent % len(values)  # mostly the newest one, at times one with others on it
            values.append(with_(values[parent], forms(changes, lived.ids)).db_after)
            paths.append([*paths[parent], changes])
            seen.append(told(values[-1]))
        for value, path, then in zip(values, paths, seen, strict=True):
            alone = lived.conn.db()
            for changes in path:
                alone = with_(alone, forms(changes, lived.ids)).db_after
            assert then == told(value) == told(alone)
            assert told(value.branch(value.basis_t)) == told(alone)
