"""Collections: vectors, maps and sets in, tuples, dicts and frozensets out; nothing that came in is changed.

nil is an empty collection, a map its pairs, a string its characters. Law: elements and keys of different types differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, Final

from factstore.clojure.order import IN_ORDER
from factstore.values.exact import set_of, strict
from factstore.values.quoting import described

_ABSENT: Final = object()


def elements(value: Any) -> tuple[Any, ...]:
    """Return the elements of a collection: of nil none, of a map its pairs, of a string its characters."""
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return tuple(value.items())
    if not isinstance(value, list | tuple | Set | str | range):
        raise TypeError(f"expected a collection, got {described(value)}")
    return tuple(value)


def _or_nil(found: Iterable[Any]) -> tuple[Any, ...] | None:
    return tuple(found) or None


def _vector(value: Any) -> tuple[Any, ...]:
    if value is not None and not isinstance(value, list | tuple):
        raise TypeError(f"expected a vector, got {described(value)}")
    return tuple(value or ())


def _map(value: Any) -> dict[Any, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"expected a map, got {described(value)}")
    return dict(value or {})


def nth(collection: Any, index: int, default: Any = _ABSENT) -> Any:
    """Return the element at a place from 0, or the default."""
    if collection is None:
        return None if default is _ABSENT else default
    if isinstance(collection, Mapping | Set):
        raise TypeError(f"nth needs an order, got {described(collection)}")
    items = elements(collection)
    if type(index) is int and 0 <= index < len(items):
        return items[index]
    if default is _ABSENT:
        raise IndexError(f"there is no place {index} in a collection of {len(items)}")
    return default


def _sorted(collection: Any) -> tuple[Any, ...]:
    return tuple(sorted(elements(collection), key=IN_ORDER))


def _distinct(collection: Any) -> tuple[Any, ...]:
    firsts: dict[Any, Any] = {}
    for element in elements(collection):
        firsts.setdefault(strict(element), element)
    return tuple(firsts.values())


def conj(collection: Any = (), *items: Any) -> Any:
    """Return a collection with more elements: at the end of a vector, pairs or maps into a map."""
    if isinstance(collection, Mapping):
        found = dict(collection)
        for item in items:
            found.update(item if isinstance(item, Mapping) else [_pair(item)])
        return found
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
        raise TypeError("assoc takes keys and values in turn")
    both = list(zip(pairs[::2], pairs[1::2], strict=True))
    if collection is None or isinstance(collection, Mapping):
        return {**_map(collection), **dict(both)}
    items = list(_vector(collection))
    for index, value in both:
        if type(index) is not int or not 0 <= index <= len(items):
            raise IndexError(f"there is no place {index} in a vector of {len(items)}")
        items[index : index + 1] = [value]
    return tuple(items)


def _get_in(holder: Any, path: Any, default: Any = None) -> Any:
    for key in _vector(path):
        is_place = isinstance(holder, list | tuple) and type(key) is int and 0 <= key < len(holder)
        if not is_place and not (isinstance(holder, Mapping) and key in holder):
            return default
        holder = holder[key]
    return holder


def _merge(*maps: Any) -> dict[Any, Any] | None:
    given = [_map(each) for each in maps if each is not None]
    found: dict[Any, Any] = {}
    for each in given:
        found.update(each)
    return found if given else None


def _frequencies(collection: Any) -> dict[Any, int]:
    counts = Counter(map(strict, elements(collection)))
    found = {element: counts[strict(element)] for element in _distinct(collection)}
    if len(found) < len(counts):
        raise TypeError(
            "two elements are equal in Python though their types differ, and a map can have only one of them"
        )
    return found


def _partition(n: int, collection: Any, *, whole: bool) -> tuple[Any, ...]:
    items = elements(collection)
    if type(n) is not int or n < 1:
        raise ValueError(f"expected a number from 1, got {n!r}")
    return tuple(items[i : i + n] for i in range(0, len(items), n) if not whole or i + n <= len(items))


def _flatten(value: Any) -> tuple[Any, ...]:
    found: list[Any] = []
    waiting = [value] if isinstance(value, list | tuple) else []
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):
            waiting.extend(reversed(item))
        else:
            found.append(item)
    return tuple(found)


def _interpose(separator: Any, collection: Any) -> tuple[Any, ...]:
    return tuple(part for element in elements(collection) for part in (separator, element))[1:]


def _interleave(*collections: Any) -> tuple[Any, ...]:
    return tuple(element for row in zip(*map(elements, collections), strict=False) for element in row)


def _subvec(vector: Any, start: int, end: int | None = None) -> tuple[Any, ...]:
    items = _vector(vector)
    stop = len(items) if end is None else end
    if not 0 <= start <= stop <= len(items):
        raise IndexError(f"{start} to {stop} lies outside of a vector of {len(items)}")
    return items[start:stop]


def _dedupe(collection: Any) -> tuple[Any, ...]:
    items = elements(collection)
    return tuple(item for i, item in enumerate(items) if i == 0 or strict(item) != strict(items[i - 1]))


def _select_keys(holder: Any, keys: Any) -> dict[Any, Any]:
    known = _map(holder)
    return {key: known[key] for key in elements(keys) if key in known}


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
# What returns a dict, which its user can change.
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
