"""A bounded cache of answers. It is correct because neither a database nor a query ever changes.

A key consists of the query, the rules, the plain values among the inputs, and for each database its store, points in
time and history. Answers without a reliable key are not cached: of speculative and filtered databases, callables,
registered and random functions, pulls and data frames.

Law: `q` returns the same answer with and without a cache; the entries never exceed the bounds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from factstore.clojure.sequences import MAP_MAKERS
from factstore.concurrency.bounded_cache import BoundedCache
from factstore.errors import QueryError
from factstore.query.functions.scalar import FUNCTIONS
from factstore.query.language.ast import Aggregate, Call, Query, RulesInput, SourceInput, Variable, walk
from factstore.query.language.clauses import Rules
from factstore.query.relations.relation import PLAIN, Untold, written
from factstore.query.sources.functions import LOOKUPS
from factstore.rendering import html_record
from factstore.values.process_bound import ProcessBound
from factstore.values.quoting import quoted

_CHANCE: Final = frozenset(("rand", "rand-int", "sample"))
_UNKEPT: Final = _CHANCE | MAP_MAKERS  # functions whose results the caller could change inside the answer
_WEIGHED: Final = 2048  # elements of a collection that are weighed; a larger one is weighed by a sample of this size
_OVERHEAD: Final = 512  # bytes of an entry besides its key and answer
_NOTHING: Final = object()


class AnswerCache(ProcessBound):
    """A cache of answers for `q(…, cache=…)` that removes the least recently used first. Threads may share one.

    Args:
        max_bytes: the approximate size of all entries, including keys.
        max_entries: the number of entries.

    >>> from factstore import q
    >>> cache = AnswerCache(max_bytes=1 << 20)
    >>> [q("[:find ?x . :in ?x]", 7, cache=cache) for _ in range(3)], cache.hits, cache.misses
    ([7, 7, 7], 2, 1)
    """

    _instead = "make a cache in each process"
    __slots__ = ("__weakref__", "_answers", "hits", "max_bytes", "max_entries", "misses", "passed")

    def __init__(self, *, max_bytes: int = 64 << 20, max_entries: int = 10_000) -> None:
        for name, given in (("max_bytes", max_bytes), ("max_entries", max_entries)):
            if type(given) is not int or given < 1:
                raise QueryError(
                    ":db.error/invalid-inputs", f"{name} is a whole number from 1, got {quoted(given)}", **{name: given}
                )
        self.max_bytes, self.max_entries = max_bytes, max_entries
        self.hits = self.misses = 0
        self.passed = 0  # queries whose answers cannot be cached
        self._answers: BoundedCache[Any, Any] = BoundedCache(max_bytes=max_bytes, max_entries=max_entries)

    def __len__(self) -> int:
        return len(self._answers)

    def _repr_html_(self) -> str:
        numbers = {"answers": len(self), "hits": self.hits, "misses": self.misses, "passed": self.passed}
        return html_record("AnswerCache", numbers)

    @property
    def bytes(self) -> int:
        """About how many bytes all entries take."""
        return self._answers.bytes

    def clear(self) -> None:
        """Remove all answers; needed after an excision, because answers contain values."""
        self._answers.clear()

    def get(self, key: Any) -> tuple[bool, Any]:
        """Return whether an answer is cached, and a copy of it."""
        answer = self._answers.use(key, _NOTHING)
        with self._answers.lock:
            if answer is _NOTHING:
                self.misses += 1
                return False, None
            self.hits += 1
        return True, _copied(answer)

    def put(self, key: Any, answer: Any) -> Any:
        """Cache an answer if it fits, and return a copy for the caller."""
        size = _OVERHEAD + _weight(key) + _weight(answer)
        if size <= self.max_bytes:
            self._answers.put(key, answer, size)
        return _copied(answer)


def key_of(text: Any, query: Query, inputs: tuple[Any, ...], rules: Rules) -> Any:
    """Return the key of an answer; None if it cannot be cached.

    Args:
        text: the query as the caller wrote it.
        rules: the rules among the inputs, in their typed form.
    """
    if query.pulls or len(inputs) != len(query.inputs) or not _is_settled(query, rules):
        return None
    try:
        parts = [text if type(text) is str else written(text)]
        for part, value in zip(query.inputs, inputs, strict=True):
            key = (
                _database_key(value)
                if isinstance(part, SourceInput) and hasattr(value, "view")
                else _value_key(part, value)
            )
            if key is None:
                return None
            parts.append(key)
    except Untold:
        return None
    return tuple(parts)


def _is_settled(query: Query, rules: Rules) -> bool:
    """Tell whether an answer depends only on facts and inputs."""
    clauses = (
        *query.clauses,
        *query.having,
        *(clause for rule in rules.values() for branch in rule.branches for clause in branch.clauses),
    )
    functions = (clause.function for clause in walk(clauses) if isinstance(clause, Call))
    aggregates = (element.function for element in query.elements if isinstance(element, Aggregate))
    return all(map(_is_pure, functions)) and not any(
        name.startswith("?") or name in _CHANCE or "/" in name for name in aggregates
    )


def _is_pure(function: str) -> bool:
    return function in LOOKUPS or function.startswith(":") or (function in FUNCTIONS and function not in _UNKEPT)


def _database_key(db: Any) -> Any:
    if db.store is None or db.is_filtered or len(db.view.layers) > 1:
        return None
    return db.store, db.basis_t, db.last_instant, db.as_of_t, db.since_t, db.is_history


def _value_key(part: Any, value: Any) -> Any:
    if isinstance(part, RulesInput):
        return written(value)
    key = (written(value),)  # before `_is_plain`, which recurses: it raises for a value that is nested too deep
    if type(value) is dict and not isinstance(part, Variable):  # destructured
        return key if _is_plain(list(value)) and _is_plain(list(value.values())) else None
    return key if _is_plain(value) else None


def _is_plain(value: Any) -> bool:
    """Tell whether a value is of our types, or a collection of them; not a dict, which an answer would share."""
    kind = type(value)
    return all(map(_is_plain, value)) if kind in (list, tuple, set, frozenset) else kind in PLAIN


def _copied(answer: Any) -> Any:
    if isinstance(answer, list):
        return [dict(row) if isinstance(row, dict) else row for row in answer]
    return answer.copy() if isinstance(answer, set | dict) else answer


def _weight(value: Any) -> int:
    """Return the approximate size of a value in bytes."""
    size = sys.getsizeof(value, 64)
    if isinstance(value, Mapping):
        return size + sum(_weight(key) + _weight(part) for key, part in value.items())
    if not isinstance(value, list | tuple | set | frozenset):
        return size
    if len(value) <= _WEIGHED:
        return size + sum(map(_weight, value))
    step = len(value) // _WEIGHED
    sample = [part for i, part in enumerate(value) if i % step == 0]
    return size + sum(map(_weight, sample)) * len(value) // len(sample)
