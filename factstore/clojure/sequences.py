"""Clojure's functions of collections. They return tuples, dicts and frozensets, and never change an argument.

As a collection, nil is empty, a map has its pairs as elements, and a string its characters.
Law: elements and keys of different types differ, even if they are equal in Python.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, Final

from factstore.clojure.order import IN_ORDER
from factstore.values.exact import set_of, strict
from factstore.values.quoting import described, quoted

_ABSENT: Final = object()


def elements(value: Any) -> tuple[Any, ...]:
    """Return the elements of a collection: no elements for nil, the pairs of a map, the characters of a string."""
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return tuple(value.items())
    if not isinstance(value, list | tuple | Set | str | range):
        raise TypeError(f"expected a collection, got {described(value)}")
    return tuple(value)


def _or_nil(items: Iterable[Any]) -> tuple[Any, ...] | None:
    return tuple(items) or None


def _vector(value: Any) -> tuple[Any, ...]:
    if value is not None and not isinstance(value, list | tuple):
        raise TypeError(f"expected a vector, got {described(value)}")
    return tuple(value or ())


def _map(value: Any) -> dict[Any, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"expected a map, got {described(value)}")
    return dict(value or {})


def nth(collection: Any, index: int, default: Any = _ABSENT) -> Any:
    """Return the element at an index, counted from 0, or the default."""
    if collection is None:
        return None if default is _ABSENT else default
    if isinstance(collection, Mapping | Set):
        raise TypeError(f"expected an ordered collection for nth, got {described(collection)}")
    items = elements(collection)
    if type(index) is int and 0 <= index < len(items):
        return items[index]
    if default is _ABSENT:
        raise IndexError(f"index {quoted(index)} is out of range for a collection of {len(items)}")
    return default


def _sorted(collection: Any) -> tuple[Any, ...]:
    return tuple(sorted(elements(collection), key=IN_ORDER))


def _distinct(collection: Any) -> tuple[Any, ...]:
    firsts: dict[Any, Any] = {}
    for element in elements(collection):
        firsts.setdefault(strict(element), element)
    return tuple(firsts.values())


def conj(collection: Any = (), *items: Any) -> Any:
    """Return a collection with more elements: a vector has them at its end, a map accepts pairs and maps."""
    if isinstance(collection, Mapping):
        mapping = dict(collection)
        for item in items:
            mapping.update(item if isinstance(item, Mapping) else [_pair(item)])
        return mapping
    if isinstance(collection, Set):
        return set_of([*collection, *items])
    return (*reversed(items),) if collection is None else (*_vector(collection), *items)


def _pair(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise TypeError(f"expected a pair for a map, got {described(item)}")
    return item[0], item[1]


def _into(to: Any, collection: Any) -> Any:
    return conj(to, *elements(collection))


def _assoc(collection: Any, *pairs: Any) -> Any:
    if not pairs or len(pairs) % 2:
        raise TypeError("expected alternating keys and values for assoc")
    entries = list(zip(pairs[::2], pairs[1::2], strict=True))
    if collection is None or isinstance(collection, Mapping):
        return {**_map(collection), **dict(entries)}
    items = list(_vector(collection))
    for index, value in entries:
        if type(index) is not int or not 0 <= index <= len(items):
            raise IndexError(f"index {quoted(index)} is out of range for a vector of {len(items)}")
        items[index : index + 1] = [value]
    return tuple(items)


def _get_in(holder: Any, path: Any, default: Any = None) -> Any:
    for key in _vector(path):
        is_index = isinstance(holder, list | tuple) and type(key) is int and 0 <= key < len(holder)
        if not is_index and not (isinstance(holder, Mapping) and key in holder):
            return default
        holder = holder[key]
    return holder


def _merge(*maps: Any) -> dict[Any, Any] | None:
    dicts = [_map(each) for each in maps if each is not None]
    merged: dict[Any, Any] = {}
    for each in dicts:
        merged.update(each)
    return merged if dicts else None


def _frequencies(collection: Any) -> dict[Any, int]:
    counts = Counter(map(strict, elements(collection)))
    frequencies = {element: counts[strict(element)] for element in _distinct(collection)}
    if len(frequencies) < len(counts):
        raise TypeError(
            "two elements differ in type but are equal in Python, so that a map can contain only one of them"
        )
    return frequencies


def _partition(n: int, collection: Any, *, whole: bool) -> tuple[Any, ...]:
    items = elements(collection)
    if type(n) is not int or n < 1:
        raise ValueError(f"expected a positive integer, got {n!r}")
    return tuple(items[i : i + n] for i in range(0, len(items), n) if not whole or i + n <= len(items))


def _flatten(value: Any) -> tuple[Any, ...]:
    atoms: list[Any] = []
    stack = [value] if isinstance(value, list | tuple) else []
    while stack:
        item = stack.pop()
        if isinstance(item, list | tuple):
            stack.extend(reversed(item))
        else:
            atoms.append(item)
    return tuple(atoms)


def _interpose(separator: Any, collection: Any) -> tuple[Any, ...]:
    return tuple(part for element in elements(collection) for part in (separator, element))[1:]


def _interleave(*collections: Any) -> tuple[Any, ...]:
    return tuple(element for row in zip(*map(elements, collections), strict=False) for element in row)


def _subvec(vector: Any, start: int, end: int | None = None) -> tuple[Any, ...]:
    items = _vector(vector)
    stop = len(items) if end is None else end
    if not 0 <= start <= stop <= len(items):
        raise IndexError(f"the range {start} to {stop} is outside a vector of {len(items)}")
    return items[start:stop]


def _dedupe(collection: Any) -> tuple[Any, ...]:
    items = elements(collection)
    return tuple(item for i, item in enumerate(items) if i == 0 or strict(item) != strict(items[i - 1]))


def _select_keys(holder: Any, keys: Any) -> dict[Any, Any]:
    entries = _map(holder)
    return {key: entries[key] for key in elements(keys) if key in entries}


def _at_least_0(n: Any) -> int:
    if type(n) is not int:
        raise TypeError(f"expected a whole number, got {described(n)}")
    return max(n, 0)


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "nth": nth,
    "seq": lambda x: _or_nil(elements(x)),
    "next": lambda x: _or_nil(elements(x)[1:]),
    "fnext": lambda x: next(iter(elements(x)[1:]), None),
    "nfirst": lambda x: _or_nil(elements(next(iter(elements(x)), None))[1:]),
    "nnext": lambda x: _or_nil(elements(x)[2:]),
    "nthrest": lambda x, n: elements(x)[_at_least_0(n) :],
    "nthnext": lambda x, n: _or_nil(elements(x)[_at_least_0(n) :]),
    "split-at": lambda n, x: (elements(x)[: _at_least_0(n)], elements(x)[_at_least_0(n) :]),
    "rseq": lambda x: _or_nil(reversed(_vector(x))),
    "list*": lambda *items: _or_nil((*items[:-1], *elements(items[-1]))),
    "array-map": lambda *parts: dict(zip(parts[::2], parts[1::2], strict=True)),
    "ffirst": lambda x: next(iter(elements(next(iter(elements(x)), None))), None),
    "cons": lambda x, coll: (x, *elements(coll)),
    "conj": conj,
    "concat": lambda *colls: tuple(item for coll in colls for item in elements(coll)),
    "into": _into,
    "reverse": lambda x: elements(x)[::-1],
    "sort": _sorted,
    "distinct": _distinct,
    "distinct?": lambda *items: len({strict(item) for item in items}) == len(items),
    "dedupe": _dedupe,
    "take": lambda n, x: elements(x)[: _at_least_0(n)],
    "drop": lambda n, x: elements(x)[_at_least_0(n) :],
    "take-last": lambda n, x: _or_nil(elements(x)[max(len(elements(x)) - _at_least_0(n), 0) :]),
    "drop-last": lambda *args: elements(args[-1])[
        : max(len(elements(args[-1])) - (_at_least_0(args[0]) if len(args) > 1 else 1), 0)
    ],
    "butlast": lambda x: _or_nil(elements(x)[:-1]),
    "take-nth": lambda n, x: elements(x)[::n],
    "partition": lambda n, x: _partition(n, x, whole=True),
    "partition-all": lambda n, x: _partition(n, x, whole=False),
    "flatten": _flatten,
    "interpose": _interpose,
    "interleave": _interleave,
    "frequencies": _frequencies,
    "repeat": lambda n, x: (x,) * _at_least_0(n),
    "peek": lambda x: next(reversed(_vector(x)), None),
    "pop": lambda x: _vector(x)[:-1] if x else _refuse_pop(x),
    "subvec": _subvec,
    "hash-set": lambda *items: set_of(items),
    "disj": lambda x, *items: (
        None if x is None else set_of(each for each in x if strict(each) not in set(map(strict, items)))
    ),
    "get-in": _get_in,
    "assoc": _assoc,
    "dissoc": lambda x, *keys: {
        key: value for key, value in _map(x).items() if strict(key) not in set(map(strict, keys))
    },
    "merge": _merge,
    "select-keys": _select_keys,
    "zipmap": lambda keys, values: dict(zip(elements(keys), elements(values), strict=False)),
    "find": lambda x, key: (key, x[key]) if isinstance(x, Mapping) and key in x else None,
    "key": lambda pair: _pair(pair)[0],
    "val": lambda pair: _pair(pair)[1],
    "empty": lambda x: (
        {}
        if isinstance(x, Mapping)
        else frozenset()
        if isinstance(x, Set)
        else ()
        if isinstance(x, list | tuple)
        else None
    ),
}
# Functions that can return a dict, which the caller can change.
MAP_MAKERS: Final = frozenset(
    (
        "array-map",
        "hash-map",
        "conj",
        "into",
        "frequencies",
        "assoc",
        "dissoc",
        "merge",
        "select-keys",
        "zipmap",
        "empty",
    )
)


def _refuse_pop(value: Any) -> Any:
    if value is None:
        return None
    raise IndexError("an empty vector has no last element to pop")
