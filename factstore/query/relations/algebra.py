"""The algebra of relations: join, antijoin, union and distinct, on keys of machine words.

Uses columns only, no clauses and no databases. Law: each operation equals its definition by nested loops over rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from factstore.columns.column import positions_in
from factstore.query.relations.orders import firsts_of, order_of
from factstore.query.relations.relation import (
    PLAIN,
    Array,
    Column,
    Ints,
    Numbers,
    Relation,
    concatenated,
    empty,
    machine_value,
    strict,
)

_FEW: Final = 256  # rows below which dicts are faster than arrays
_WORDS: Final = frozenset(("i", "b"))  # dtype kinds that are keys as they are
_WIDEST: Final = 1 << 62
_REPEATED: Final = 16  # times that each number occurs, on average, from which on most parts of a column have no new one
_PART: Final = 1 << 14  # rows whose temporary arrays fit into the cache of a processor


def comparable(left: Column, right: Column) -> tuple[Column, Column] | None:
    """Return two columns whose keys can be compared; None if no value of one can be in the other."""
    if left.kind is right.kind:
        return _of_one_dictionary(left, right)
    if left.kind in PLAIN and right.kind in PLAIN:
        return None
    return Column(object, left.values()), Column(object, right.values())


def _of_one_dictionary(left: Column, right: Column) -> tuple[Column, Column]:
    """Return two columns of one kind as indexes of one dictionary, if both have dictionaries."""
    if left.dictionary is None or right.dictionary is None:
        return left, right
    if left.dictionary is not right.dictionary:
        codes = left.dictionary.codes
        numbers = np.array(
            [codes.get(value, -1 - i) for i, value in enumerate(right.dictionary.values.tolist())], np.int64
        )
        return Column(int, left.data), Column(int, numbers[right.data])
    return Column(int, left.data), Column(int, right.data)


def _coded(left: Column, right: Column) -> tuple[Array, Array]:
    """Return arrays of whole numbers that are equal where the values of two comparable columns are."""
    a, b = left.array(), right.array()
    if left.kind in PLAIN and a.dtype.kind in _WORDS:
        return a, b
    if a.dtype.kind == "f":
        _, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
        return codes[: len(a)], codes[len(a) :]
    numbers = Numbers()
    return numbers.of(left.keys()), numbers.of(right.keys())


def _packed(lefts: Sequence[Array], rights: Sequence[Array]) -> tuple[Array, Array]:
    """Pack several columns of whole numbers into one column, whose numbers are equal where all columns are."""
    left, right = lefts[0], rights[0]
    for a, b in zip(lefts[1:], rights[1:], strict=True):
        left, right, width = _narrowed(left, right)
        a, b, other = _narrowed(a, b)
        if width * other >= _WIDEST:
            left, right, width = _densified(left, right)
            a, b, other = _densified(a, b)
        left, right = left * other + a, right * other + b
    return left, right


def _narrowed(a: Array, b: Array) -> tuple[Array, Array, int]:
    """Shift numbers so that the least is 0; also return the width of their range."""
    parts = [part for part in (a, b) if len(part)]
    if not parts:
        return a, b, 1
    least, most = min(int(part.min()) for part in parts), max(int(part.max()) for part in parts)
    if most - least >= _WIDEST:
        return _densified(a, b)
    return a.astype(np.int64) - least, b.astype(np.int64) - least, most - least + 1


def _densified(a: Array, b: Array) -> tuple[Array, Array, int]:
    distinct_numbers, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    return codes[: len(a)], codes[len(a) :], len(distinct_numbers)


def matches(lefts: Sequence[Column], rights: Sequence[Column]) -> tuple[Any, Any]:
    """Return the pairs of positions at which all of these columns are equal, as two arrays or lists."""
    pairs = [comparable(left, right) for left, right in zip(lefts, rights, strict=True)]
    if None in pairs:
        return [], []
    n, m = lefts[0].size, rights[0].size
    if n + m <= _FEW:
        return _matches_by_dict([pair[0].keys() for pair in pairs if pair], [pair[1].keys() for pair in pairs if pair])
    coded = [_coded(*pair) for pair in pairs if pair]
    left, right = _packed([pair[0] for pair in coded], [pair[1] for pair in coded])
    return _matches_of_words(left, right)


def _matches_by_dict(lefts: list[list[Any]], rights: list[list[Any]]) -> tuple[list[int], list[int]]:
    places: dict[Any, list[int]] = {}
    for i, key in enumerate(rights[0] if len(rights) == 1 else zip(*rights, strict=True)):
        places.setdefault(key, []).append(i)
    left, right = [], []
    for i, key in enumerate(lefts[0] if len(lefts) == 1 else zip(*lefts, strict=True)):
        for j in places.get(key, ()):
            left.append(i)
            right.append(j)
    return left, right


def _matches_of_words(left: Array, right: Array) -> tuple[Ints, Ints]:
    order = order_of(right)
    least, width = _range_of(right)
    if 0 < width <= 4 * (len(left) + len(right)) + 1024:
        # A table of counts by value needs one step; a search needs log n cache misses.
        counts_of = np.bincount(right - least, minlength=width)
        starts = np.cumsum(counts_of) - counts_of
        inside = (left >= least) & (left < least + width)
        at = np.where(inside, left - least, 0)
        low, counts = starts[at], np.where(inside, counts_of[at], 0)
    else:
        ordered = right[order]
        low = np.searchsorted(ordered, left, "left")
        counts = np.searchsorted(ordered, left, "right") - low
    at, which = positions_in(low, counts)
    return which, order[at]


def _range_of(numbers: Array) -> tuple[int, int]:
    if not len(numbers) or numbers.dtype.kind != "i":
        return 0, 0
    least = int(numbers.min())
    return least, int(numbers.max()) - least + 1


def join(left: Relation, right: Relation) -> Relation:
    """Return all pairs of rows that agree on the variables that both bind."""
    settled = _agree_on_constants(left, right)
    if settled is None:
        return empty(left.names | right.names)
    left, right = settled
    constants = {**right.constants, **left.constants}
    shared = [name for name in left.columns if name in right.columns]
    distinct = left.distinct and right.distinct
    if shared:
        at, other = matches([left.columns[name] for name in shared], [right.columns[name] for name in shared])
    elif left.size == 1 and not left.columns:
        return Relation(right.size, right.columns, constants, right.distinct)
    elif right.size == 1 and not right.columns:
        return Relation(left.size, left.columns, constants, left.distinct)
    else:
        at, other = np.repeat(np.arange(left.size), right.size), np.tile(np.arange(right.size), left.size)
    columns = {name: column.take(at) for name, column in left.columns.items()}
    columns.update((name, column.take(other)) for name, column in right.columns.items() if name not in left.columns)
    return Relation(len(at), columns, constants, distinct)


def _agree_on_constants(left: Relation, right: Relation) -> tuple[Relation, Relation] | None:
    """Return the rows of each that agree with the constants of the other; None if there are none."""
    for name, value in left.constants.items():
        if name in right.constants and strict(right.constants[name]) != strict(value):
            return None
    left, right = _only(left, right.constants), _only(right, left.constants)
    return None if not left.size or not right.size else (left, right)


def _only(relation: Relation, constants: dict[str, Any]) -> Relation:
    for name, value in constants.items():
        if name in relation.columns:
            relation = relation.filter(equal_to(relation.columns[name], value))
    return relation


def equal_to(column: Column, value: Any) -> list[bool] | Array:
    """Return the mask of the rows in which a column has a value."""
    kind, machine = machine_value(value)
    if kind in PLAIN and column.kind in PLAIN:
        if kind is not column.kind:
            return [False] * column.size
        return equal_stored(column, machine)
    key = strict(value)
    return [strict(each) == key for each in column.values()]


def equal_stored(column: Column, value: Any) -> list[bool] | Array:
    """Return the mask of the rows in which a column of one kind has a value, given in machine form."""
    if isinstance(column.data, list):
        return [each == value for each in column.data]
    if column.dictionary is not None:
        return np.asarray(column.data == column.dictionary.codes.get(value, -1), bool)
    if type(value) is tuple:
        return [each == value for each in column.data.tolist()]
    return np.asarray(column.data == value, bool)


def equal_columns(left: Column, right: Column) -> list[bool] | Array:
    """Return the mask of the rows in which two columns have the same value."""
    pair = comparable(left, right)
    if pair is None:
        return [False] * left.size
    a, b = pair[0].data, pair[1].data
    if isinstance(a, list) or isinstance(b, list) or a.dtype == object or b.dtype == object:
        return [x == y for x, y in zip(pair[0].keys(), pair[1].keys(), strict=True)]
    return np.asarray(a == b, bool)


def _has_agreeing(left: Relation, right: Relation) -> list[bool] | Array:
    """Return for each row of `left` whether a row of `right` agrees on the variables of both."""
    settled = _agree_on_constants(right, Relation(1, {}, left.constants))
    right = empty(right.names) if settled is None else settled[0]
    mask: Any = None
    for name in right.constants:
        if name in left.columns:
            here = np.asarray(equal_to(left.columns[name], right.constants[name]), bool)
            mask = here if mask is None else mask & here
    shared = [name for name in left.columns if name in right.columns]
    if not right.size:
        return [False] * left.size
    if not shared:
        return [True] * left.size if mask is None else mask
    agrees = members([left.columns[name] for name in shared], [right.columns[name] for name in shared], left.size)
    return agrees if mask is None else mask & np.asarray(agrees, bool)


def members(lefts: list[Column], rights: list[Column], size: int) -> list[bool] | Array:
    """Return for each of `size` rows whether some row on the right has the same values in all columns."""
    pairs = [comparable(left, right) for left, right in zip(lefts, rights, strict=True)]
    if None in pairs:
        return [False] * size
    if size + rights[0].size <= _FEW or (len(pairs) == 1 and not _is_words(pairs[0][0])):  # type: ignore[index]
        keys = [pair[1].keys() for pair in pairs if pair]
        wanted = set(keys[0] if len(keys) == 1 else zip(*keys, strict=True))
        rows = [pair[0].keys() for pair in pairs if pair]
        return [key in wanted for key in (rows[0] if len(rows) == 1 else zip(*rows, strict=True))]
    coded = [_coded(*pair) for pair in pairs if pair]
    left, right = _packed([pair[0] for pair in coded], [pair[1] for pair in coded])
    return np.isin(left, right)


def _is_words(column: Column) -> bool:
    return column.kind in (int, bool, datetime)


def antijoin(left: Relation, right: Relation) -> Relation:
    """Return the rows of `left` that agree with no row of `right`."""
    agrees = _has_agreeing(left, right)
    return left.filter([not each for each in agrees] if isinstance(agrees, list) else ~agrees)


def distinct(relation: Relation) -> Relation:
    """Return each row once."""
    if relation.distinct or relation.size < 2:
        return relation
    columns = list(relation.columns.values())
    if not columns:
        return relation.take(slice(0, 1), 1, distinct=True)
    columns = [column if column.dictionary is None else Column(int, column.data) for column in columns]
    if relation.size <= _FEW or (len(columns) == 1 and not _is_words(columns[0])):
        keys = [column.keys() for column in columns]
        first: dict[Any, int] = {}
        for i, key in enumerate(keys[0] if len(keys) == 1 else zip(*keys, strict=True)):
            first.setdefault(key, i)
        which: Any = list(first.values())
    else:
        coded = [_whole(column) for column in columns]
        none = [code[:0] for code in coded]
        which = first_places(_packed(coded, none)[0])
    if len(which) == relation.size:
        return Relation(relation.size, relation.columns, relation.constants, distinct=True)
    return relation.take(which, len(which), distinct=True)


def grouped(columns: Sequence[Column]) -> tuple[Ints, Ints]:
    """Group rows that are equal in all columns; return the group of each row and the first row of each group."""
    coded = [_whole(column) for column in columns]
    numbers = _packed(coded, [code[:0] for code in coded])[0]
    firsts = first_places(numbers)
    least, width = _range_of(numbers)
    if 0 < width <= 8 * len(numbers) + 1024:
        table = np.empty(width, np.int64)
        table[numbers[firsts] - least] = np.arange(len(firsts))
        return table[numbers - least], firsts
    order = order_of(numbers[firsts])
    return order[np.searchsorted(numbers[firsts], numbers, sorter=order)], firsts


def _whole(column: Column) -> Array:
    """Return a column as whole numbers that are equal where its values are."""
    column = column if column.dictionary is None else Column(int, column.data)
    return _coded(column, column.take(slice(0, 0)))[0]


def first_places(numbers: Array) -> Ints:
    """Return the first position of each number, in order."""
    numbers = numbers.view(np.int8) if numbers.dtype == np.bool_ else numbers
    least, width = _range_of(numbers)
    if len(numbers) > max(4 * _PART, width * _REPEATED) and width:
        return _first_places_of_few(numbers, least, width)
    if width <= 8 * len(numbers) + 1024:
        # Written backwards into a table by value, the first position of each number is the one that stays.
        table = np.empty(width, np.int64)
        places = np.arange(len(numbers))
        shifted = numbers - least
        table[shifted[::-1]] = places[::-1]
        return np.flatnonzero(table[shifted] == places)
    return firsts_of(numbers)


def _first_places_of_few(numbers: Array, least: int, width: int) -> Ints:
    """Find the first positions of numbers that are repeated often, part by part: most parts have no new number."""
    is_new = np.ones(width, bool)
    firsts = []
    for start in range(0, len(numbers), _PART):
        part = numbers[start : start + _PART] - least
        new = np.flatnonzero(is_new[part])
        if len(new):
            firsts.append(new[first_places(part[new])] + start)
            is_new[part[new]] = False
    return np.concatenate(firsts)


def union(relations: Sequence[Relation], names: Sequence[str]) -> Relation:
    """Return the rows of all relations, each once; all relations bind the names, and only those are kept."""
    relations = [relation.keep(names) for relation in relations if relation.size]
    if not relations:
        return empty(names)
    if len(relations) == 1:
        return distinct(relations[0])
    fixed = {
        name: value
        for name, value in relations[0].constants.items()
        if all(name in other.constants and strict(other.constants[name]) == strict(value) for other in relations)
    }
    columns = {
        name: concatenated([relation.column(name) for relation in relations]) for name in names if name not in fixed
    }
    if not columns:
        return Relation(1, {}, fixed, distinct=True)
    return distinct(Relation(sum(relation.size for relation in relations), columns, fixed))
