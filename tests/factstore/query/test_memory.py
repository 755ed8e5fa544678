"""What queries leave behind: nothing that grows with how many were run."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from factstore import q
from factstore.query import prepare
from factstore.query.analysis import scope

RULES = "[[(go ?a ?b) [?a :to ?b]] [(go ?a ?b) [?a :to ?c] (go ?c ?b)]]"
EDGES = [(1, ":to", 2), (2, ":to", 3)]


def _ask(start: int, count: int) -> None:
    for i in range(start, start + count):
        q(f"[:find ?a :where [?a :to ?b] (or [?b :to {i}] (and [?b :to _] (not [?b :to {i}] [?b :to ?c])))]", EDGES)
        q(f"[:find ?b :in $ % :where (go {i % 3} ?b) (not (go ?b {i}))]", EDGES, RULES)
        q("[:find ?b :in $ % :where (go 1 ?b)]", EDGES, RULES.replace("?c", f"?c{i}"))


def test_memory_does_not_grow_with_the_queries_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # The caches have a maximum size; with a small one it is reached soon.
    for cache, size in ((prepare._queries, 16), (prepare._programs, 16), (prepare._NO_RULES.scopes._branches, 32)):
        monkeypatch.setattr(cache, "max_entries", size)
    monkeypatch.setattr(scope, "_MAX_CACHED", 32)
    _ask(0, 100)
    tracemalloc.start()
    try:
        _ask(100, 100)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        _ask(200, 300)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 300_000
