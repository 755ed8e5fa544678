"""Queries that are saved as facts: the shell and the console share them."""

from __future__ import annotations

import pytest

import factstore
from factstore.editing.saved import NAME, save, saved
from factstore.errors import QueryError


def test_a_saved_query_is_found_by_its_name_and_keeps_its_history():
    with factstore.connect("memory:") as conn:
        assert {} == saved(conn.db())
        first = save(conn, " people ", "[:find ?p]")
        save(conn, "people", "[:find ?q]")
        save(conn, "ages", "[:find ?a]")
        assert {"ages": "[:find ?a]", "people": "[:find ?q]"} == saved(conn.db())
        assert {"people": "[:find ?p]"} == saved(conn.db().as_of(first.t))
        assert 1 == len(conn.db().history().q(f'[:find [?e ...] :where [?e {NAME} "people"]]'))


def test_a_query_without_a_name_is_rejected_and_nothing_is_written():
    with factstore.connect("memory:") as conn:
        with pytest.raises(QueryError, match="under a name"):
            save(conn, " ", "[:find ?p]")
        assert 0 == conn.db().basis_t
