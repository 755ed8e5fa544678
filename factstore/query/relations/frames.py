"""Frames: arrays and tables of other packages, made of columns, and read as columns.

The packages are imported on first use. Keywords, symbols, uris and uuids
become text, sets and tuples lists, pulled maps structs; instants have microseconds and UTC.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from factstore.errors import FactStoreError, QueryError
from factstore.query.relations.relation import DTYPES, Array, Column, column_of, given
from factstore.values.types import Keyword, Symbol, Uri, first_nanoseconds

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

_NUMBERS: Final = frozenset((int, float, bool))
_TEXT: Final = frozenset((str, Keyword, Symbol, Uri))


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise QueryError(
            ":db.error/unsupported", f"rows as {name} need that package: pip install 'factstore[{name}]'", package=name
        ) from error


def to_numpy(column: Column) -> Array:
    """Return a column as an array."""
    return column.array().view("datetime64[us]") if column.kind is datetime else column.array()


def _plain(value: Any) -> Any:
    """Return a value of a mixed column in a form that other packages know."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, str | UUID) else value


def _others(name: str, column: Column, make: Callable[[list[Any]], Any]) -> Any:
    """Convert values other than numbers and text by a function of the package."""
    values = column.values()
    if column.kind not in (bytes, Decimal):
        values = list(map(_plain, values))
    try:
        return make(values)
    except FactStoreError:
        raise
    except Exception as error:
        kinds = sorted({type(value).__name__ for value in values})
        reason = str(error).partition("\n")[0]
        raise QueryError(
            ":db.error/unsupported",
            f"column {name} cannot be of one type, it holds {', '.join(kinds)}: {reason}",
            column=name,
            kinds=kinds,
        ) from error


def _dictionary(column: Column) -> list[str] | None:
    """Return the texts of a column's dictionary; None without a dictionary."""
    return None if column.dictionary is None else list(map(str, column.dictionary.values.tolist()))


def _texts(column: Column) -> list[str]:
    return column.values() if column.kind is str else list(map(str.__str__, column.values()))


def to_arrow(columns: Iterable[tuple[str, Column]]) -> pyarrow.Table:
    """Return named columns as a table of pyarrow."""
    pa = _package("pyarrow")

    def array(name: str, column: Column) -> Any:
        if column.kind in _NUMBERS:
            return pa.array(column.array())
        if column.kind is datetime:
            return pa.array(column.array()).cast(pa.timestamp("us", "UTC"))
        if column.kind in _TEXT:
            known = _dictionary(column)
            if known is not None and column.size > len(known):
                return pa.DictionaryArray.from_arrays(
                    pa.array(np.asarray(column.data)), pa.array(known, pa.string())
                ).dictionary_decode()
            return pa.array(_texts(column), pa.string())
        return _others(name, column, pa.array)

    columns = list(columns)
    table: pyarrow.Table = pa.Table.from_arrays([array(*each) for each in columns], [name for name, _ in columns])
    return table


def to_pandas(columns: Iterable[tuple[str, Column]]) -> pandas.DataFrame:
    """Return named columns as a data frame of pandas."""
    pd = _package("pandas")

    def series(name: str, column: Column) -> Any:
        if column.kind in _NUMBERS:
            return column.array()
        if column.kind is datetime:
            return pd.Series(to_numpy(column)).dt.tz_localize("UTC")
        if column.kind in _TEXT:
            known = _dictionary(column)
            return (
                pd.Series(known or _texts(column), dtype="str")
                if known is None
                else pd.Series(known, dtype="str").array[column.data]
            )
        values = column.values()
        return pd.Series(values if column.kind in (bytes, Decimal) else list(map(_plain, values)), dtype="object")

    frame: pandas.DataFrame = pd.DataFrame({name: series(name, column) for name, column in columns})
    return frame


def to_polars(columns: Iterable[tuple[str, Column]]) -> polars.DataFrame:
    """Return named columns as a data frame of polars."""
    pl = _package("polars")

    def series(name: str, column: Column) -> Any:
        if column.kind in _NUMBERS:
            return pl.Series(name, column.array())
        if column.kind is datetime:
            return pl.Series(name, column.array()).cast(pl.Datetime("us", "UTC"))
        if column.kind in _TEXT:
            known = _dictionary(column)
            if known is not None:
                return pl.Series(name, known, pl.String).gather(pl.Series(np.asarray(column.data)))
            return pl.Series(name, _texts(column), pl.String)
        return _others(name, column, lambda values: pl.Series(name, values))

    frame: polars.DataFrame = pl.DataFrame([series(*each) for each in columns])
    return frame


# -- reading


def columns_in(frame: Any) -> list[Column] | None:
    """Return the columns of a data frame of pandas or polars, a table of pyarrow, or a numpy array with columns.

    Missing values are None. Returns None for any other object.
    """
    if isinstance(frame, np.ndarray):
        return _in_array(frame)
    if hasattr(frame, "collect_schema") and hasattr(frame, "collect"):  # a lazy frame of polars
        frame = frame.collect()
    if hasattr(frame, "to_pylist") and hasattr(frame, "itercolumns"):  # pyarrow
        return [_read(each, each.null_count, str(each.type), each.to_pylist) for each in frame.itercolumns()]
    if hasattr(frame, "iter_rows") and hasattr(frame, "iter_columns"):  # polars
        return [_read(each, each.null_count(), str(each.dtype), each.to_list) for each in frame.iter_columns()]
    if hasattr(frame, "itertuples") and hasattr(frame, "iloc"):  # pandas
        return [_read_series(frame.iloc[:, i]) for i in range(frame.shape[1])]
    return None


def _in_array(array: Array) -> list[Column] | None:
    if array.dtype.names is not None and array.ndim == 1:
        return [_read_array(array[name]) for name in array.dtype.names]
    return [_read_array(array[:, i]) for i in range(array.shape[1])] if array.ndim == 2 else None


def _read_array(array: Array) -> Column:
    if array.dtype.kind in "ifb" and array.dtype.itemsize <= 8 and not isinstance(array, np.ma.MaskedArray):
        return _numbers(array)
    return column_of(list(array), given)


def _read(series: Any, missing: int, kind: str, listed: Callable[[], list[Any]]) -> Column:
    at = first_nanoseconds(series)
    if at is not None:
        raise ValueError(f"row {at + 1} has an instant with nanoseconds, and ours have microseconds; round it first")
    array = series.to_numpy() if not missing and kind.lower().startswith(("int", "float", "double", "bool")) else None
    return column_of(listed(), given) if array is None else _numbers(array)


def _read_series(series: Any) -> Column:
    missing = series.isna()
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "ifb":
        return _numbers(series.to_numpy())
    return column_of(
        (None if absent else value for value, absent in zip(series.tolist(), missing.tolist(), strict=True)), given
    )


def _numbers(array: Array) -> Column:
    kind = {"i": int, "f": float, "b": bool}[array.dtype.kind]
    return Column(kind, array.astype(DTYPES[kind]))
