"""Rules that are called with a source of their own: their bodies read that source, and are checked against it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import factstore
from factstore import Database, Keyword, QueryError

REACH = "[[(reach ?x ?y) [?x :node/to ?y]] [(reach ?x ?y) [?x :node/to ?z] (reach ?z ?y)]]"


@pytest.fixture
def db() -> Iterator[Database]:
    """A database that knows nothing of :node/to."""
    with factstore.connect("memory:") as conn:
        yield conn.db()


def test_a_rule_called_with_a_source_may_name_attributes_that_only_this_source_has(db: Database) -> None:
    graph = [[1, Keyword(":node/to"), 2], [2, Keyword(":node/to"), 3]]
    assert {2, 3} == set(factstore.q("[:find [?y ...] :in $ $graph % :where ($graph reach 1 ?y)]", db, graph, REACH))


def test_a_rule_called_with_two_sources_must_fit_both(db: Database) -> None:
    graph = [[1, Keyword(":node/to"), 2]]
    with pytest.raises(QueryError, match=":node/to") as caught:
        factstore.q("[:find ?y :in $ $graph % :where ($graph reach 1 ?y) (reach 1 ?y)]", db, graph, REACH)
    assert ":db.error/unknown-attribute" == caught.value.code


def test_a_rule_called_with_a_source_needs_no_default_source() -> None:
    graph = [[1, Keyword(":node/to"), 2]]
    assert [2] == factstore.q("[:find [?y ...] :in $graph % :where ($graph reach 1 ?y)]", graph, REACH)
