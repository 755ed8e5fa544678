"""Relations: named columns of equal length, and the variables that have the same value in all rows.

A column has values of one Python type, its *kind*; the kind of mixed values is `object`. Ints, floats, bools and
datetimes are stored as numbers (a datetime as microseconds, as in the index), so that they join by machine words;
other values are stored as Python objects. A short column is a list, a long one a numpy array: a call of numpy costs
as much as about thirty rows.

Law: two values are the same exactly if both their types and their values are equal; 1, 1.0 and true differ, as do "a"
and :a.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from factstore.values.exact import MAX_NESTING, deeper
from factstore.values.exact import strict as strict
from factstore.values.types import INSTANT, LONG_MAX, LONG_MIN, OWN_TYPES, is_missing, micros_to_instant, plain

Array: TypeAlias = NDArray[Any]
Ints: TypeAlias = NDArray[np.int64]
Data: TypeAlias = "list[Any] | Array"
Which: TypeAlias = "list[int] | Array | slice"

DTYPES: Final[Mapping[type, Any]] = {int: np.int64, datetime: np.int64, float: np.float64, bool: np.bool_}
PLAIN: Final = OWN_TYPES  # kinds whose values, within one column, are compared by Python's equality


def frozen(value: Any, depth: int = 0) -> Any:
    """Return a value in the form of relations: vectors as tuples, sets as frozensets, values of our own types.

    Args:
        depth: the number of collections around the value.
    Raises: RecursionError beyond `MAX_NESTING`.
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is tuple or kind is list:
        depth = deeper(depth)
        return tuple([frozen(part, depth) for part in value])
    if kind is range:
        return tuple(value)
    if kind is set or kind is frozenset:
        depth = deeper(depth)
        return frozenset([frozen(part, depth) for part in value])
    return plain(value)


def given(value: Any, depth: int = 0) -> Any:
    """Return an input in the form of relations: as `frozen`, arrays and named tuples as tuples, entities as ids.

    Results of functions are only frozen: another function may take them and need their type.
    Args:
        depth: the number of collections around the value.
    Raises: RecursionError beyond `MAX_NESTING`.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, list | tuple):
        depth = deeper(depth)
        return tuple([given(part, depth) for part in value])
    if isinstance(value, set | frozenset):
        depth = deeper(depth)
        return frozenset([given(part, depth) for part in value])
    if isinstance(value, np.ndarray):
        depth = deeper(depth)
        if value.ndim:
            return tuple([given(part, depth) for part in value])
        return None if is_missing(value) else given(np.asarray(value)[()], depth)
    eid = getattr(value, "eid", None)
    return eid if type(eid) is int else plain(value)


class Untold(Exception):
    """A value without a key: it can change, or it has its own equality."""


def written(value: Any, depth: int = 0) -> Any:
    """Return a key that is equal for values that are written alike: not for 1.0M and 1M, nor for 0.0 and -0.0.

    Such values are equal in every comparison, but an answer and a query must return them as they were given. The key
    contains the present value: a later change of a bytearray does not change it.

    Args:
        depth: the number of collections around the value.
    Raises: Untold, for a value of a foreign type and for one nested beyond `MAX_NESTING`.
    """
    kind = type(value)
    if kind is float or kind is Decimal or isinstance(value, datetime):
        return kind, repr(value)
    if kind in PLAIN:
        return kind, value
    if depth > MAX_NESTING:
        raise Untold
    depth += 1
    if isinstance(value, list | tuple):
        return kind if kind is not list else tuple, tuple([written(part, depth) for part in value])
    if isinstance(value, Mapping):
        return dict, frozenset([(written(key, depth), written(part, depth)) for key, part in value.items()])
    if isinstance(value, set | frozenset):
        return frozenset, frozenset([written(part, depth) for part in value])
    same = plain(value)
    if type(same) in PLAIN:
        return kind, written(same)
    raise Untold


class Numbers(dict[Any, int]):
    """The numbers of distinct values, in the order in which they were first seen."""

    __slots__ = ()

    def __missing__(self, value: Any) -> int:
        number = self[value] = len(self)
        return number

    def of(self, values: list[Any]) -> Ints:
        """Return the number of each value; a new value gets the next one."""
        return np.fromiter(map(self.__getitem__, values), np.int64, len(values))


class Dictionary:
    """The distinct values of a column that is kept as numbers."""

    __slots__ = ("codes", "values")

    def __init__(self, codes: dict[Any, int]) -> None:
        self.codes = codes
        self.values = np.empty(len(codes), object)
        self.values[:] = list(codes)


class Column(NamedTuple):
    """Values of one kind, numbers and datetimes in machine form; with a dictionary, `data` has indexes into it.

    An input behaves like constants. For an attribute with less precision, such as one of 32-bit floats, an input is
    rounded as a constant is; values from other facts are compared without rounding.
    """

    kind: type
    data: Data
    dictionary: Dictionary | None = None
    is_input: bool = False

    def take(self, which: Which) -> Column:
        """Return the values at some positions, under a mask, or in a slice."""
        data = self.data
        if isinstance(data, list):
            if isinstance(which, slice):
                return Column(self.kind, data[which], None, self.is_input)
            if isinstance(which, np.ndarray):
                which = (which.nonzero()[0] if which.dtype == np.bool_ else which).tolist()
            return Column(self.kind, [data[i] for i in which], None, self.is_input)
        return Column(self.kind, data[which], self.dictionary, self.is_input)

    @property
    def size(self) -> int:
        """The number of values; `len` is the number of fields of the named tuple."""
        return len(self.data)

    def array(self) -> Array:
        """Return the column as a numpy array."""
        if self.dictionary is not None:
            return self.dictionary.values[self.data]
        return array_of(self.data, self.kind) if isinstance(self.data, list) else self.data

    def machine(self) -> list[Any]:
        """Return the column as a list, datetimes in microseconds."""
        return self.data if isinstance(self.data, list) else self.array().tolist()

    def values(self) -> list[Any]:
        """Return the column as a list of values as users see them."""
        values = self.machine()
        return list(map(micros_to_instant, values)) if self.kind is datetime else values

    def keys(self) -> list[Any]:
        """Return keys that are equal where values are; compare them only with keys of a column of the same kind."""
        return self.machine() if self.kind in PLAIN else list(map(strict, self.values()))


def array_of(values: Sequence[Any], kind: type) -> Array:
    """Return machine values of one kind as an array; tuples stay single elements."""
    dtype = DTYPES.get(kind)
    if dtype is not None:
        return np.fromiter(values, dtype, len(values))
    array = np.empty(len(values), object)
    if kind in PLAIN:
        array[:] = values
    else:
        for i, value in enumerate(values):
            array[i] = value
    return array


def machine_value(value: Any) -> tuple[type, Any]:
    """Return the kind of one value and its machine form."""
    value = frozen(value)
    if type(value) is int:
        return (int if LONG_MIN <= value <= LONG_MAX else object), value
    if isinstance(value, datetime):
        micros = instant_of(value)
        return (object, value) if micros is None else (datetime, micros)
    return (type(value) if type(value) in PLAIN else object), value


def instant_of(value: datetime) -> int | None:
    """Return the microseconds since 1970 of a datetime; None for an invalid instant, such as a naive datetime."""
    try:
        return INSTANT.store(value)  # type: ignore[no-any-return]
    except ValueError:
        return None


def input_of(values: Iterable[Any]) -> Column:
    """Return a column of input values."""
    return column_of(values, given)._replace(is_input=True)


def column_of(values: Iterable[Any], freeze: Callable[[Any], Any] = frozen, kinds: set[type] | None = None) -> Column:
    """Return a column of results of functions.

    Args:
        kinds: the types of the values, if they are known.
    """
    values = list(values)
    kinds = set(map(type, values)) if kinds is None else kinds
    if not kinds <= PLAIN:
        values = list(map(freeze, values))
        kinds = set(map(type, values))
    if len(kinds) != 1:
        return Column(object, values)
    (kind,) = kinds
    if kind is int and not (LONG_MIN <= min(values) and max(values) <= LONG_MAX):
        return Column(object, values)
    if issubclass(kind, datetime):
        try:
            return Column(datetime, list(map(INSTANT.store, values)))
        except ValueError:  # an invalid instant, such as a naive datetime
            return Column(object, values)
    if kind is Decimal:
        # A signalling NaN cannot be hashed; a quiet one also equals nothing.
        values = [Decimal("NaN") if value.is_snan() else value for value in values]
    return Column(kind if kind in PLAIN else object, values)


def repeated(value: Any, size: int) -> Column:
    """Return a column that repeats one value."""
    kind, machine = machine_value(value)
    return Column(kind, [machine] * size)


def concatenated(columns: Sequence[Column]) -> Column:
    """Return the concatenation of columns."""
    columns = [column for column in columns if column.size] or list(columns[:1])
    if len(columns) == 1:
        return columns[0]
    if any(column.kind is not columns[0].kind for column in columns):
        return Column(object, [value for column in columns for value in column.values()])
    if all(isinstance(column.data, list) for column in columns):
        return Column(columns[0].kind, [value for column in columns for value in column.data])
    dictionary = columns[0].dictionary
    if dictionary is not None and all(column.dictionary is dictionary for column in columns):
        return Column(columns[0].kind, np.concatenate([np.asarray(column.data) for column in columns]), dictionary)
    return Column(columns[0].kind, np.concatenate([column.array() for column in columns]))


@dataclass(slots=True, eq=False)
class Relation:
    """Rows of bindings: `columns` by variable, and `constants`, which all rows share.

    Immutable, but not frozen: each step of a query creates some, and that would take three times as long.
    `distinct`: no two rows are equal. If it is false, rows can be equal.
    """

    size: int
    columns: dict[str, Column]
    constants: dict[str, Any]
    distinct: bool = False

    @property
    def names(self) -> set[str]:
        """The variables that are bound."""
        return {*self.columns, *self.constants}

    def binds(self, name: str) -> bool:
        """Tell whether a variable is bound."""
        return name in self.columns or name in self.constants

    def column(self, name: str) -> Column:
        """Return the column of a variable, also of a constant one."""
        found = self.columns.get(name)
        return repeated(self.constants[name], self.size) if found is None else found

    def take(self, which: Which, size: int, *, distinct: bool | None = None) -> Relation:
        """Return the `size` rows at some positions or under a mask."""
        columns = {name: column.take(which) for name, column in self.columns.items()}
        return Relation(size, columns, self.constants, self.distinct if distinct is None else distinct)

    def filter(self, mask: list[bool] | Array) -> Relation:
        """Return the rows for which the mask is true."""
        if isinstance(mask, list):
            which: Any = [i for i, kept in enumerate(mask) if kept]
            return self if len(which) == self.size else self.take(which, len(which))
        count = int(np.count_nonzero(mask))
        return self if count == self.size else self.take(mask, count)

    def plus(self, columns: Mapping[str, Column], *, distinct: bool) -> Relation:
        """Return the relation with further columns of its length."""
        return Relation(self.size, {**self.columns, **columns}, self.constants, distinct)

    def fixed(self, constants: Mapping[str, Any]) -> Relation:
        """Return the relation with further variables that have one value in all rows."""
        return Relation(self.size, self.columns, {**self.constants, **constants}, self.distinct)

    def keep(self, names: Iterable[str] | set[str] | frozenset[str]) -> Relation:
        """Return only the columns of some variables; rows can then be equal."""
        columns = self.columns
        if columns:
            columns = {name: column for name, column in columns.items() if name in names}
        constants = {name: value for name, value in self.constants.items() if name in names}
        lost = len(columns) < len(self.columns)
        if not lost and len(constants) == len(self.constants):
            return self
        size = min(self.size, 1) if not columns else self.size
        return Relation(size, columns, constants, not columns or (self.distinct and not lost))

    def renamed(self, names: Mapping[str, str]) -> Relation:
        """Return the relation with other names for its variables, without the variables that get none."""
        columns = {new: self.columns[old] for old, new in names.items() if old in self.columns}
        constants = {new: self.constants[old] for old, new in names.items() if old in self.constants}
        size = min(self.size, 1) if not columns else self.size
        return Relation(size, columns, constants, not columns or (self.distinct and len(columns) == len(self.columns)))


UNIT: Final = Relation(1, {}, {}, distinct=True)  # one row that binds nothing: the start of every query


def empty(names: Iterable[str]) -> Relation:
    """Return no rows, with these variables."""
    return Relation(0, {name: Column(object, []) for name in names}, {}, distinct=True)


def relation_of(columns: Mapping[str, Column], size: int, *, distinct: bool = False) -> Relation:
    """Return a relation of columns of one length."""
    return Relation(size, dict(columns), {}, distinct) if columns else Relation(min(size, 1), {}, {}, distinct=True)
