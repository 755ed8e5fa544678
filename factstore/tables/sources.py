"""Sources of tables as batches of named columns: CSV files (csv_files.py), rows, columns, frames of other packages.

This module does not use attributes.
Law: each row of a source is in exactly one batch, and errors state its position: the number of the row, from 1, and in
a file its line. A source that is not a complete table causes a TransactError that states the position.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from factstore.errors import FactStoreError
from factstore.tables.batch import Batch, invalid
from factstore.tables.csv_files import batches_of_file
from factstore.values.quoting import described, quoted
from factstore.values.types import first_nanoseconds

_MOST_NAMED: Final = 20  # columns that an error names


@dataclass(slots=True)
class Table:
    """A source of batches.

    Args:
        source: a path of a CSV file with a header, rows (mappings), a mapping of columns, an array of records, or a
            frame of Arrow, pandas or polars.
        names: the requested columns.
        size: rows in a batch.
    """

    source: Any
    names: Sequence[Any]
    size: int
    known: dict[Any, None] = field(default_factory=dict)  # the columns of the source, as far as it was read

    @property
    def is_text(self) -> bool:
        """Whether all values are text, as in a file."""
        return isinstance(self.source, str | os.PathLike)

    @property
    def unmapped(self) -> tuple[Any, ...]:
        """The columns that were not requested, as far as the source was read."""
        wanted = set(self.names)
        return tuple(name for name in self.known if name not in wanted)

    def batches(self) -> Iterator[Batch]:
        """Yield all rows, `size` at a time. Raises: TransactError(:db.error/invalid-load); Unavailable for a file."""
        source = self.source
        if self.is_text:
            path = Path(source)
            return batches_of_file(
                path, self.names, self.size, lambda header: self._expect(header, f"the header of {path}")
            )
        if hasattr(source, "collect_schema") and hasattr(source, "collect"):  # a lazy frame of polars
            source = source.collect()
        columns = _columns_of(source)
        if columns is not None:
            return self._of_columns(source, columns)
        if isinstance(source, Iterable) and not isinstance(source, bytes):
            return self._of_rows(source)
        raise invalid(
            f"expected a table: a path, rows, or a mapping of columns; got {described(source)}", source=source
        )

    def _expect(self, columns: Iterable[Any], what: str) -> None:
        """Store the columns of the source, and reject it if a requested one is missing or occurs twice."""
        counts = Counter(iter(columns))
        self.known.update(dict.fromkeys(counts))
        existing = ", ".join(map(quoted, islice(counts, _MOST_NAMED))) or "none"
        for name in self.names:
            if not counts[name]:
                hint = (
                    "; are its columns separated by something else than a comma?"
                    if self.is_text and len(counts) == 1
                    else ""
                )
                raise invalid(
                    f"no column {name!r} in {what}; it has {existing}{hint}", column=name, columns=tuple(counts)
                )
            if counts[name] > 1:
                raise invalid(f"column {name!r} is {counts[name]} times in {what}", column=name, columns=tuple(counts))

    # -- columns

    def _of_columns(self, source: Any, columns: Sequence[Any]) -> Iterator[Batch]:
        self._expect(columns, "the table")
        table = {name: _values(name, source[name]) for name in self.names}
        first, *others = table
        rows = len(table[first])
        for name in others:
            if len(table[name]) != rows:
                raise invalid(
                    f"column {first!r} has {rows} rows, and column {name!r} has {len(table[name])}", column=name
                )
        for at in range(0, rows, self.size):
            part = {name: values[at : at + self.size] for name, values in table.items()}
            yield Batch(part, min(self.size, rows - at), at + 1)

    # -- rows

    def _of_rows(self, rows: Iterable[Any]) -> Iterator[Batch]:
        rest, first_row = iter(rows), 1
        while batch := list(islice(rest, self.size)):
            if set(map(type, batch)) != {dict}:
                _as_mappings(batch, first_row)
            # Most rows have the same keys, so each set of keys is checked once.
            keys = dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, batch))))
            if None in keys:  # the key that csv.DictReader uses for values without a column
                row = next(i for i, row in enumerate(batch) if None in row)
                raise invalid(
                    f"row {first_row + row} has values without a column: {quoted(batch[row][None])}",
                    row=first_row + row,
                )
            if first_row == 1:
                self._expect(keys, f"the first {len(batch)} rows")
            self.known.update(keys)
            yield Batch({name: [row.get(name) for row in batch] for name in self.names}, len(batch), first_row)
            first_row += len(batch)


def _as_mappings(batch: list[Any], first_row: int) -> None:
    """Turn rows that can be read like mappings, such as those of sqlite3, into mappings; reject other rows."""
    for i, row in enumerate(batch):
        if not isinstance(row, Mapping):
            if not (hasattr(row, "keys") and hasattr(row, "__getitem__")):
                text = f"expected a mapping for each row, got {described(row)}, as row {first_row + i}"
                raise invalid(text, row=first_row + i, got=row)
            batch[i] = dict(row)


def _columns_of(source: Any) -> Sequence[Any] | None:
    """Return the names of the columns of a table; None if the source is not a table."""
    if isinstance(source, Mapping):
        return list(source)
    if isinstance(source, np.ndarray):
        return source.dtype.names  # type: ignore[no-any-return]
    for attribute in ("column_names", "columns"):  # Arrow; pandas and polars
        names = getattr(source, attribute, None)
        if names is not None and hasattr(source, "__getitem__"):
            return list(names)
    return None


def listed(values: Any) -> Sequence[Any]:
    """Return a column as a list of Python values, or of numpy values if Python has no such type."""
    if not isinstance(values, np.ndarray):
        return values  # type: ignore[no-any-return]
    # `tolist` would turn times into naive ones or numbers.
    return list(values) if values.dtype.kind in "mM" else values.tolist()


def _expect_microseconds(name: Any, values: Any) -> None:
    at = first_nanoseconds(values)
    if at is not None:
        text = f"column {name!r} has nanoseconds in row {at + 1}; an instant has microseconds, round it first"
        raise invalid(text, column=name, row=at + 1)


def _values(name: Any, values: Any) -> Any:
    """Return a column of a table as an array or a list."""
    try:
        if isinstance(values, np.ndarray):
            if values.ndim == 1:
                return list(values) if isinstance(values, np.ma.MaskedArray) else values
        elif isinstance(values, list):
            return values
        elif not isinstance(values, str | bytes | Mapping | Set):
            for method in ("to_pylist", "to_list", "tolist"):  # Arrow, polars, pandas
                if hasattr(values, method):
                    _expect_microseconds(name, values)
                    return getattr(values, method)()
            return list(values)
    except FactStoreError:
        raise
    except Exception as error:  # of another package, for a value without a Python type
        raise invalid(f"column {name!r} cannot be read: {described(error)}", column=name) from error
    raise invalid(
        f"expected a sequence of values, one per row, as column {name!r}, got {described(values)}", column=name
    )
