"""Rows: an answer as columns, and as tuples, dicts, arrays and tables of other packages.

Law: rows contain what `q` returns, repeated rows only with `:with`; each form is built directly from the columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from factstore.errors import QueryError
from factstore.query.answer.row_objects import builder_of
from factstore.query.language.ast import Query
from factstore.query.relations import frames
from factstore.query.relations.relation import Array, Column
from factstore.rendering import html_record, html_table, text_table
from factstore.values.process_bound import ProcessBound
from factstore.values.quoting import quoted

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

    from factstore.query.answer.explain import Explanation

T = TypeVar("T")
_SHOWN: Final = 20  # rows
_AT_ONCE: Final = 4096  # rows turned into tuples


class Rows:
    """An answer in columns: a sequence of tuples, also as dicts, arrays, or a table of pyarrow, pandas or polars.

    A package that reads Arrow streams reads rows directly: `polars.DataFrame(found)`, `pyarrow.table(found)`.

    >>> from factstore import rows
    >>> found = rows("[:find ?n ?x :in [[?n ?x]] :order-by ?n]", [[2, "b"], [1, "a"]])
    >>> found.columns, found[0], len(found)
    (('n', 'x'), (1, 'a'), 2)
    """

    __slots__ = ("_data", "columns", "explanation")

    def __init__(self, columns: tuple[str, ...], data: list[Column], explanation: Explanation | None = None) -> None:
        self.columns = columns
        self.explanation = explanation
        self._data = data

    @classmethod
    def empty(cls, columns: tuple[str, ...]) -> Rows:
        """Return no rows."""
        return cls(columns, [Column(object, []) for _ in columns])

    def __len__(self) -> int:
        return self._data[0].size

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self[start : start + _AT_ONCE].tuples()

    @overload
    def __getitem__(self, key: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, key: slice) -> Rows: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | slice | str) -> Any:
        """Return one row by its index, several rows by a slice, or the values of a column by its name."""
        if isinstance(key, str):
            return self._data[self.columns.index(key)].values()
        if isinstance(key, slice):
            return Rows(self.columns, [column.take(key) for column in self._data])
        place = range(len(self))[key]
        return self[place : place + 1].tuples()[0]

    def tuples(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples, in order."""
        return list(zip(*(column.values() for column in self._data), strict=True))

    def dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts by the names of the columns."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.tuples()]

    @overload
    def one(self, *, into: type[T]) -> T: ...
    @overload
    def one(self, *, into: None = None) -> tuple[Any, ...]: ...
    def one(self, *, into: Any = None) -> Any:
        """Return the only row. Raises: QueryError(:db.error/not-one-row), if there is none or more than one."""
        if len(self) != 1:
            text = f"expected one row, got {self._count()}"
            raise QueryError(":db.error/not-one-row", text, rows=len(self), columns=self.columns)
        return self.first(into=into)

    @overload
    def first(self, *, into: type[T]) -> T | None: ...
    @overload
    def first(self, *, into: None = None) -> tuple[Any, ...] | None: ...
    def first(self, *, into: Any = None) -> Any:
        """Return the first row; None if there is none. The rows have an order only with `:order-by`."""
        found = self[:1].tuples() if into is None else self[:1].into(into)
        return found[0] if found else None

    def scalar(self) -> Any:
        """Return the value in the first column of the first row; None if there is no row."""
        return self._data[0].take(slice(0, 1)).values()[0] if len(self) else None

    def into(self, shape: type[T]) -> list[T]:
        """Return the rows as objects of a class, whose fields get the values of the columns of the same names.

        Args:
            shape: a dataclass, a class of attrs or pydantic, or another callable that takes the columns as keywords. A
                column `year-born` is the field `year_born`.
        Raises: QueryError(:db.error/unknown-field) for a column without a field, or a required field without a column;
            QueryError(:db.error/unexpected-value).

        >>> from dataclasses import dataclass
        >>> from factstore import rows
        >>> @dataclass
        ... class Line:
        ...     name: str
        ...     count: int
        >>> rows("[:find ?name ?count :in [[?name ?count]]]", [["tea", 2]]).one(into=Line)
        Line(name='tea', count=2)
        """
        build = builder_of(shape, self.columns)
        return [build(row) for row in self]

    def numpy(self) -> dict[str, Array]:
        """Return the columns as numpy arrays: instants as datetime64[us] in UTC, all but numbers as objects."""
        return {name: frames.to_numpy(column) for name, column in self._named()}

    def arrow(self) -> pyarrow.Table:
        """Return the rows as a pyarrow table; `pyarrow` must be installed."""
        return frames.to_arrow(self._named())

    def pandas(self) -> pandas.DataFrame:
        """Return the rows as a data frame of pandas; `pandas` must be installed."""
        return frames.to_pandas(self._named())

    def polars(self) -> polars.DataFrame:
        """Return the rows as a data frame of polars; `polars` must be installed."""
        return frames.to_polars(self._named())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        head = [tuple(map(quoted, row)) for row in self[:_SHOWN].tuples()]
        return "\n".join([text_table(self.columns, head), self._count()])

    def _repr_html_(self) -> str:
        return html_table(self._count(), self.columns, self[:_SHOWN].tuples())

    def _count(self) -> str:
        size = len(self)
        return f"{size:,} row{'' if size == 1 else 's'}" + (f", the first {_SHOWN} shown" if size > _SHOWN else "")

    def _named(self) -> list[tuple[str, Column]]:
        return list(zip(self.columns, self._data, strict=True))


class RowSeq(ProcessBound, Iterator[tuple[Any, ...]]):
    """An iterator over the rows of an answer, which are computed while they are read; they can be read once."""

    _instead = "send its rows, as in list(rows)"
    __slots__ = ("_blocks", "_rows", "columns")

    def __init__(self, columns: tuple[str, ...], blocks: Iterator[Rows]) -> None:
        self.columns = columns
        self._blocks = blocks
        self._rows = (row for found in blocks for row in found)

    def __next__(self) -> tuple[Any, ...]:
        return next(self._rows)

    def _repr_html_(self) -> str:
        return html_record("RowSeq, to be read once", {"columns": ", ".join(self.columns)})

    def blocks(self) -> Iterator[Rows]:
        """Return an iterator over the remaining rows in blocks, to be used instead of reading single rows."""
        return self._blocks


def names_of(query: Query) -> tuple[str, ...]:
    """Return the names of a query's columns: keys, or variables without `?`; a repeated one gets a number."""
    names = (
        [str(key).removeprefix(":") for key in query.keys]
        if query.keys is not None
        else [name[1:] for name in query.columns]
    )
    counts: Counter[str] = Counter()
    unique = []
    for name in names:
        counts[name] += 1
        unique.append(name if counts[name] == 1 else f"{name}_{counts[name]}")
    return tuple(unique)
