"""SeenRows: the set of rows that rules and streams add to."""

from __future__ import annotations

from factstore.query.relations.relation import column_of, relation_of
from factstore.query.relations.seen import SeenRows


def rows(*pairs):
    return relation_of({"a": column_of([a for a, _ in pairs]), "b": column_of([b for _, b in pairs])}, len(pairs))


def pairs(relation):
    return list(zip(relation.column("a").values(), relation.column("b").values(), strict=True))


def test_only_rows_that_are_new_are_returned() -> None:
    seen = SeenRows(["a", "b"])
    assert [(1, "x"), (2, "y")] == pairs(seen.add(rows((1, "x"), (2, "y"), (1, "x"))))
    assert [(3, "x")] == pairs(seen.add(rows((2, "y"), (3, "x"))))
    assert 3 == seen.size
    assert [(1, "x"), (2, "y"), (3, "x")] == pairs(seen.all())


def test_values_of_different_types_are_different_rows() -> None:
    seen = SeenRows(["a", "b"])
    seen.add(rows((1, "x")))
    assert [(1.0, "x")] == pairs(seen.add(rows((1.0, "x"))))
    assert 0 == seen.add(rows((1, "x"))).size
    assert 2 == seen.size


def test_a_set_without_columns_has_one_row_at_most() -> None:
    seen = SeenRows([])
    assert 1 == seen.add(relation_of({}, 1)).size
    assert 0 == seen.add(relation_of({}, 1)).size
    assert 1 == seen.all().size
