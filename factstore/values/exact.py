"""Comparison of values by type and value. For Python 0, 0.0 and False are equal; for a store they are different values.

Usually, collections are Python's own. Only if two elements of different types are equal for Python, an `ExactRow` is
used instead of a tuple, or an `ExactSet` instead of a frozenset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final

MAX_NESTING: Final = 200  # levels of collections in a value; functions over values recurse on Python's stack


def deeper(depth: int) -> int:
    """Return the next depth of nested collections. Raises: RecursionError beyond `MAX_NESTING`."""
    if depth >= MAX_NESTING:
        raise RecursionError(f"a value has more than {MAX_NESTING} nested collections")
    return depth + 1


def strict(value: Any, depth: int = 0) -> Any:
    """Return a key that is equal for two values exactly if they are the same value of the same type.

    Args:
        depth: the number of collections around the value.
    Raises: RecursionError beyond `MAX_NESTING`, whatever the recursion limit of Python is.
    """
    kind = type(value)
    if kind is tuple or kind is list or kind is ExactRow:
        depth = deeper(depth)
        return tuple, tuple([strict(part, depth) for part in value])
    if isinstance(value, Mapping):
        depth = deeper(depth)
        return dict, frozenset([(strict(key, depth), strict(part, depth)) for key, part in value.items()])
    if kind is frozenset or kind is set or kind is ExactSet:
        depth = deeper(depth)
        return frozenset, frozenset([strict(part, depth) for part in value])
    if isinstance(value, datetime):
        return datetime, value
    try:
        hash(value)
    except TypeError:
        return kind, id(value)
    return kind, value


class ExactRow(tuple[Any, ...]):
    """A row of an answer that equals another tuple only if the types of all values are equal too.

    >>> ExactRow((0, "a")) == (0, "a"), ExactRow((0, "a")) == (0.0, "a"), (False, "a") in {ExactRow((0, "a"))}
    (True, False, False)
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and strict(tuple(self)) == strict(tuple(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__  # the hash of an equal tuple, so that each finds the other in a set


class ExactSet(AbstractSet[Any]):
    """An immutable set that distinguishes elements by type too.

    >>> elements = ExactSet([0, 0.0, False, 0])
    >>> elements, len(elements), True in elements, 0.0 in elements
    (ExactSet([0, 0.0, False]), 3, False, True)
    """

    __slots__ = ("_elements",)

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        self._elements: dict[Any, Any] = {}
        for element in elements:
            self._elements.setdefault(strict(element), element)

    def __contains__(self, element: object) -> bool:
        return strict(element) in self._elements

    def __iter__(self) -> Iterator[Any]:
        return iter(self._elements.values())

    def __len__(self) -> int:
        return len(self._elements)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, AbstractSet)
            and len(self) == len(other)
            and self._elements.keys() == set(map(strict, other))
        )

    def __le__(self, other: AbstractSet[Any]) -> bool:
        return (
            self._elements.keys() <= ExactSet(other)._elements.keys()
            if isinstance(other, AbstractSet)
            else NotImplemented
        )

    def __sub__(self, other: AbstractSet[Any]) -> ExactSet:
        left_out = ExactSet(other)
        return ExactSet(element for element in self if element not in left_out)

    def __hash__(self) -> int:
        return hash(frozenset(self._elements))

    def __repr__(self) -> str:
        return f"ExactSet({list(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ExactSet, (list(self),)


def set_of(elements: Iterable[Any]) -> AbstractSet[Any]:
    """Return elements as a frozenset, or as an ExactSet if some are unhashable, or equal but of different types."""
    elements = list(elements)
    try:
        plain = frozenset(elements)
    except TypeError:
        return ExactSet(elements)
    if len(plain) == len(elements):
        return plain
    exact = ExactSet(elements)
    return plain if len(exact) == len(plain) else exact


def rows_apart(rows: Iterable[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Return rows as a set; rows that are equal but have values of different types are ExactRows."""
    alike: dict[tuple[Any, ...], dict[Any, tuple[Any, ...]]] = {}
    for row in rows:
        alike.setdefault(row, {}).setdefault(strict(row), row)
    return {row if len(same) == 1 else ExactRow(row) for same in alike.values() for row in same.values()}
