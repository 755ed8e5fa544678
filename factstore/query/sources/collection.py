"""Plain collections as sources: lists of tuples, maps, data frames. Patterns over them may have any width.

A keyword in such a pattern also matches the string with its text, because Python data often has strings for keywords.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from factstore.errors import QueryError
from factstore.query.language.ast import Constant, Pattern, Variable
from factstore.query.language.dialect import shown
from factstore.query.relations import algebra
from factstore.query.relations.frames import columns_in
from factstore.query.relations.relation import Column, Relation, column_of, empty, given, relation_of
from factstore.query.sources.match import Limits, Match
from factstore.values.types import Keyword


def rows_of(value: Any) -> list[Any] | None:
    """Return the rows of a collection, a map or a data frame; None for any other value."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.names is None:
        return list(value)
    columns = columns_in(value)
    if columns is not None:
        return list(zip(*(column.values() for column in columns), strict=True))
    for method, options in (("iter_rows", {}), ("itertuples", {"index": False})):  # data frames of other packages
        if hasattr(value, method):
            return [tuple(row) for row in getattr(value, method)(**options)]
    if hasattr(value, "to_pylist"):  # an array of pyarrow
        return list(value.to_pylist())
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return None
    return list(value)


class Tuples:
    """A collection of tuples, or a data frame, as a source."""

    __slots__ = ("_by_pattern", "_by_width", "_columns", "_rows", "_size", "value")

    def __init__(self, value: Any, rows: list[Any], columns: list[Column] | None = None) -> None:
        self.value = value
        self._rows = rows
        self._columns = columns
        self._size = len(rows) if columns is None else columns[0].size if columns else 0
        self._by_width: dict[int, Relation] = {}
        # The value has the pattern too, so that its id cannot be reused.
        self._by_pattern: dict[tuple[int, Set[str]], tuple[Pattern, Relation]] = {}

    @classmethod
    def of(cls, value: Any) -> Tuples | None:
        """Return a collection, a map or a data frame as a source; None for any other value."""
        columns = columns_in(value)
        rows = rows_of(value) if columns is None else []
        return None if rows is None else cls(value, rows, columns)

    def check(self, pattern: Pattern) -> None:
        """Raise QueryError if an element is not a tuple."""
        for row in self._rows:
            if not (isinstance(row, list | tuple) or (isinstance(row, np.ndarray) and row.ndim == 1)):
                raise QueryError(
                    ":db.error/invalid-inputs",
                    f"a source is a database or a collection of tuples, but holds {shown(row)}; "
                    f"asked by {shown(pattern.form)}",
                    element=row,
                    form=pattern.form,
                )

    def is_point(self, _pattern: Pattern, _relation: Relation) -> bool:
        """Return False: no position of a collection is known to be unique."""
        return False

    def estimate(self, pattern: Pattern, relation: Relation) -> float:
        """Return the expected number of rows of a relation after a join with a pattern."""
        known_terms = sum(
            isinstance(term, Constant) or (isinstance(term, Variable) and relation.binds(term.name))
            for term in pattern.terms
        )
        return relation.size * max(self._size / 10.0**known_terms, 1.0)

    def values_kind(self, _pattern: Pattern) -> type | None:
        """Return None: a collection has neither types nor ranges."""
        return None

    def match(self, pattern: Pattern, relation: Relation, keep: Set[str], _limits: Limits | None = None) -> Match:
        """Return a relation joined with the tuples that match a pattern."""
        names = relation.names | (pattern.variables & keep)
        wanted = pattern.variables & names
        key = id(pattern), wanted
        cached = self._by_pattern.get(key)
        if cached is None:
            cached = self._by_pattern[key] = pattern, self._matching(pattern, wanted)
        return Match(algebra.join(relation, cached[1]) if cached[1].size else empty(names), "tuples")

    def _matching(self, pattern: Pattern, wanted: Set[str]) -> Relation:
        """Return the tuples that match the constants and the repeated variables of a pattern, each once."""
        rows = self._of_width(len(pattern.terms))
        places: dict[str, str] = {}
        for i, term in enumerate(pattern.terms):
            place = str(i)
            if isinstance(term, Constant):
                rows = rows.filter(_equal(rows.columns[place], term.value))
            elif isinstance(term, Variable) and term.name in places:
                rows = rows.filter(algebra.equal_columns(rows.columns[places[term.name]], rows.columns[place]))
            elif isinstance(term, Variable):
                places[term.name] = place
        return algebra.distinct(rows.renamed({place: name for name, place in places.items() if name in wanted}))

    def _of_width(self, width: int) -> Relation:
        rows_of_width = self._by_width.get(width)
        if rows_of_width is None and self._columns is not None:
            rows_of_width = self._by_width[width] = self._framed(width, self._columns)
        elif rows_of_width is None:
            rows = [row for row in self._rows if len(row) >= width]
            columns = {str(i): column_of([row[i] for row in rows], given) for i in range(width)}
            rows_of_width = self._by_width[width] = relation_of(columns, len(rows))
        return rows_of_width

    def _framed(self, width: int, columns: list[Column]) -> Relation:
        if width > len(columns):
            return empty(map(str, range(width)))
        return relation_of({str(i): column for i, column in enumerate(columns[:width])}, self._size)


def _equal(column: Column, value: Any) -> Any:
    if isinstance(value, Keyword) or (type(value) is str and value.startswith(":")):
        return [isinstance(each, str) and each == value for each in column.values()]
    return algebra.equal_to(column, value)
