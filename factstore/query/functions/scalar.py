"""The built-in functions and predicates, with the names and meanings of Clojure, as tables of functions over values.

A query may call the functions in `FUNCTIONS`, and registered ones, by name. None is nil; only None and False are
false. A function raises TypeError or ValueError for an argument that it cannot take.
"""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from factstore.clojure import numbers, sequences, text
from factstore.clojure.order import NUMBERS, comparable, compare
from factstore.clojure.printing import text_of
from factstore.query.functions import decimals
from factstore.query.relations.relation import frozen
from factstore.values.exact import set_of, strict
from factstore.values.quoting import described, quoted
from factstore.values.types import Keyword, Symbol, plain

_TEXTS: Final = (str,)


def plain_name(name: str) -> str:
    """Return the name of a function in the tables: without the namespace of Clojure's core or of Datomic's API."""
    space, slash, rest = name.partition("/")
    return rest if slash and rest and space in ("clojure.core", "datomic.api") else name


def truthy(value: Any) -> bool:
    """Tell whether a value counts as true: all values except nil and false."""
    if value is True or value is False:
        return value
    same = plain(value)  # numpy's False is false
    return same is not None and same is not False


# -- comparing


def _ordered(holds: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def check(*values: Any) -> bool:
        _at_least(values, 1)
        return all(holds(*comparable(x, y)) for x, y in pairwise(values))

    return check


def equal(*values: Any) -> bool:
    """Tell whether all values are equal and of the same type."""
    _at_least(values, 1)
    first = strict(values[0])
    return all(strict(value) == first for value in values[1:])


def _numerically_equal(*values: Any) -> bool:
    _at_least(values, 1)
    _numbers(values)
    return all(x == y for x, y in pairwise(values))


def _at_least(values: Sequence[Any], count: int) -> None:
    if len(values) < count:
        raise TypeError(f"needs at least {count} argument{'s' if count > 1 else ''}, got {len(values)}")


def _least(*values: Any) -> Any:
    _at_least(values, 1)
    found = values[0]
    for value in values[1:]:
        found = value if compare(value, found) < 0 else found
    return found


def _greatest(*values: Any) -> Any:
    _at_least(values, 1)
    found = values[0]
    for value in values[1:]:
        found = value if compare(value, found) > 0 else found
    return found


# -- arithmetic


def _numbers(values: Sequence[Any]) -> None:
    for value in values:
        if type(value) not in NUMBERS:
            raise TypeError(f"expected a number, got {described(value)}")


def _whole(values: Sequence[Any]) -> None:
    for value in values:
        if type(value) is not int:
            raise TypeError(f"expected a whole number, got {described(value)}")


def _mixed(x: Any, y: Any) -> tuple[Any, Any]:
    """Return two numbers of types that Python can combine: a decimal with a float becomes a float, as in Clojure."""
    if isinstance(x, Decimal) and isinstance(y, float):
        return float(x), y
    if isinstance(x, float) and isinstance(y, Decimal):
        return x, float(y)
    return x, y


def _folded(step: Callable[[Any, Any], Any], nothing: int | None, alone: Callable[[Any], Any]) -> Callable[..., Any]:
    def calculate(*values: Any) -> Any:
        _numbers(values)
        if not values and nothing is not None:
            return nothing
        _at_least(values, 1)
        found = values[0]
        for value in values[1:]:
            found = step(*_mixed(found, value))
        return alone(found) if len(values) == 1 else found

    return calculate


def _divide(x: Any, y: Any) -> Any:
    if type(x) is int and type(y) is int:
        whole, rest = divmod(x, y)
        return x / y if rest else whole
    return x / y


_DIVIDE: Final = decimals.divided(_divide)


def _quot(x: Any, y: Any) -> Any:
    _numbers((x, y))
    if type(x) is int and type(y) is int:
        whole = abs(x) // abs(y)
        return whole if (x < 0) == (y < 0) else -whole
    x, y = _mixed(x, y)
    return type(x / y)(int(x / y))


def _rem(x: Any, y: Any) -> Any:
    return x - y * _quot(x, y)


def _mod(x: Any, y: Any) -> Any:
    _numbers((x, y))
    x, y = _mixed(x, y)
    return x % y


def _on_number(test: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        _numbers((value,))
        return test(value)

    return checked


def _on_whole(test: Callable[[int], bool]) -> Callable[[Any], bool]:
    def checked(value: Any) -> bool:
        _whole((value,))
        return test(value)

    return checked


# -- logic


def _and(*values: Any) -> Any:
    found: Any = True
    for value in values:
        found = value
        if not truthy(value):
            break
    return found


def _or(*values: Any) -> Any:
    found: Any = None
    for value in values:
        found = value
        if truthy(value):
            break
    return found


# -- text and names


def _text(value: Any) -> str:
    if type(value) not in _TEXTS:
        raise TypeError(f"expected a string, got {described(value)}")
    return str(value)


def _on_text(function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(value: Any, *rest: Any) -> Any:
        return function(_text(value), *rest)

    return checked


def _subs(text: Any, start: int, end: int | None = None) -> str:
    text, stop = _text(text), len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise ValueError(f"{quoted(start)} to {quoted(stop)} lies outside of a string of {len(text)}")
    return str(text[start:stop])


def _name(value: Any) -> str:
    if isinstance(value, Keyword):
        return value.name
    if isinstance(value, Symbol):
        return value.rpartition("/")[2] if len(value) > 1 else str(value)
    return _text(value)


def _namespace(value: Any) -> str | None:
    if isinstance(value, Keyword):
        return value.namespace
    if isinstance(value, Symbol):
        return value.rpartition("/")[0] or None
    raise TypeError(f"expected a keyword or a symbol, got {quoted(value)}")


def _pattern(value: Any) -> re.Pattern[str]:
    return value if isinstance(value, re.Pattern) else re.compile(_text(value))


def _found(match: re.Match[str] | None) -> Any:
    if match is None:
        return None
    return (match[0], *match.groups()) if match.re.groups else match[0]


def _like(text: Any, pattern: Any) -> bool:
    """Tell whether a text matches a pattern of SQL's LIKE: % is any text, _ one character."""
    parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in _text(pattern))
    return re.fullmatch("".join(parts), _text(text), re.DOTALL) is not None


def _joined(first: Any, *rest: Any) -> str:
    separator, parts = (first, rest[0]) if rest else ("", first)
    return text_of(separator).join(map(text_of, parts))


# -- collections


def _elements(value: Any) -> Collection[Any]:
    """Return the elements of a collection: none for nil, pairs for a map."""
    if value is None:
        return ()
    return tuple(value.items()) if isinstance(value, Mapping) else value


def _count(value: Any) -> int:
    return 0 if value is None else len(value)


def _get(holder: Any, key: Any, default: Any = None) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(key, default) if _is_key(holder, key) else default
    if isinstance(holder, Set):
        return key if contains(holder, key) else default
    if isinstance(holder, Sequence) and type(key) is int and 0 <= key < len(holder):
        return holder[key]
    return default


def _is_key(holder: Mapping[Any, Any], key: Any) -> bool:
    """Tell whether a map has a key: a number of the same type; for a keyword also its text."""
    if type(key) not in NUMBERS and type(key) is not bool:
        return key in holder
    return key in holder and any(strict(each) == strict(key) for each in holder)


def get_by_keyword(key: str, holder: Any, default: Any = None) -> Any:
    """Call a keyword as Clojure does: return its value in a map, an entity or a set; nil for any other argument."""
    return _get(holder, Keyword(key), default) if isinstance(holder, Mapping | Set) else default


def contains(holder: Any, key: Any) -> bool:
    """Tell whether a map has a key, a set has an element, or a vector or string has a position."""
    if isinstance(holder, Mapping):
        return _is_key(holder, key)
    if isinstance(holder, Set):
        # In a set of Python, 1, 1.0 and true are one element, and so are "a" and :a. Only for such keys search the set.
        doubtful = type(key) in (int, float, bool) or (isinstance(key, str) and key.startswith(":"))
        return key in holder and (not doubtful or any(strict(each) == strict(key) for each in holder))
    if isinstance(holder, Sequence):
        return type(key) is int and 0 <= key < len(holder)
    raise TypeError(f"contains? needs a map, a set, a vector or a string, got {quoted(holder)}")


def _in(value: Any, holder: Any) -> bool:
    return contains(holder if isinstance(holder, Set) else set_of(map(frozen, holder)), frozen(value))


def _tuple(*values: Any) -> tuple[Any, ...]:
    _at_least(values, 1)
    return values


def _untuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise TypeError(f"expected a tuple, got {quoted(value)}")
    return tuple(value)


def _type(value: Any) -> Keyword:
    return Keyword(f":{type(value).__name__}")


def _hash_map(*parts: Any) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    **numbers.FUNCTIONS,
    **sequences.FUNCTIONS,
    **text.FUNCTIONS,
    "=": equal,
    "not=": lambda *values: not equal(*values),
    "!=": lambda *values: not equal(*values),
    "==": _numerically_equal,
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "compare": compare,
    "min": _least,
    "max": _greatest,
    "+": _folded(decimals.add, 0, lambda x: x),
    "+'": _folded(decimals.add, 0, lambda x: x),
    "-": _folded(decimals.subtract, None, decimals.negate),
    "-'": _folded(decimals.subtract, None, decimals.negate),
    "*": _folded(decimals.multiply, 1, lambda x: x),
    "*'": _folded(decimals.multiply, 1, lambda x: x),
    "/": _folded(_DIVIDE, None, lambda x: _DIVIDE(1, x)),
    "quot": decimals.quotient(_quot),
    "rem": decimals.remainder(_rem),
    "mod": decimals.modulo(_mod),
    "inc": _on_number(lambda x: decimals.add(x, 1)),
    "inc'": _on_number(lambda x: decimals.add(x, 1)),
    "dec": _on_number(lambda x: decimals.subtract(x, 1)),
    "dec'": _on_number(lambda x: decimals.subtract(x, 1)),
    "abs": _on_number(decimals.absolute),
    "zero?": _on_number(lambda x: x == 0),
    "pos?": _on_number(lambda x: x > 0),
    "neg?": _on_number(lambda x: x < 0),
    "even?": _on_whole(lambda x: x % 2 == 0),
    "odd?": _on_whole(lambda x: x % 2 == 1),
    "rand": lambda n=1: random.random() * n,
    "rand-int": lambda n: random.randrange(n),
    "true?": lambda x: x is True,
    "false?": lambda x: x is False,
    "nil?": lambda x: x is None,
    "some?": lambda x: x is not None,
    "not": lambda x: not truthy(x),
    "and": _and,
    "or": _or,
    "boolean": truthy,
    "identity": lambda x: x,
    "ground": lambda x: x,
    "identical?": equal,
    "string?": lambda x: type(x) is str,
    "keyword?": lambda x: isinstance(x, Keyword),
    "symbol?": lambda x: isinstance(x, Symbol),
    "number?": lambda x: type(x) in NUMBERS,
    "integer?": lambda x: type(x) is int,
    "type": _type,
    "subs": _subs,
    "name": _name,
    "namespace": _namespace,
    "re-pattern": _pattern,
    "re-find": lambda pattern, text: _found(_pattern(pattern).search(_text(text))),
    "re-matches": lambda pattern, text: _found(_pattern(pattern).fullmatch(_text(text))),
    "re-seq": lambda pattern, text: tuple(map(_found, _pattern(pattern).finditer(_text(text)))) or None,
    "like": _like,
    "not-like": lambda text, pattern: not _like(text, pattern),
    "in": _in,
    "not-in": lambda value, holder: not _in(value, holder),
    "count": _count,
    "empty?": lambda x: _count(x) == 0,
    "not-empty": lambda x: x if _count(x) else None,
    "get": _get,
    "contains?": contains,
    "vector": lambda *values: values,
    "vec": lambda x: tuple(_elements(x)),
    "list": lambda *values: values,
    "set": lambda x: set_of(map(frozen, _elements(x))),
    "hash-map": _hash_map,
    "range": range,  # destructured as it is; a tuple where it is bound as one value
    "first": lambda x: next(iter(_elements(x)), None),
    "second": lambda x: _get(tuple(_elements(x)), 1),
    "last": lambda x: next(reversed(tuple(_elements(x))), None),
    "rest": lambda x: tuple(_elements(x))[1:],
    "keys": lambda x: tuple(x),
    "vals": lambda x: tuple(x.values()),
    "tuple": _tuple,
    "untuple": _untuple,
    "clojure.string/blank?": lambda x: x is None or not _text(x).strip(),
    "clojure.string/includes?": _on_text(lambda text, part: _text(part) in text),
    "clojure.string/starts-with?": _on_text(lambda text, part: text.startswith(_text(part))),
    "clojure.string/ends-with?": _on_text(lambda text, part: text.endswith(_text(part))),
    "clojure.string/upper-case": _on_text(str.upper),
    "clojure.string/lower-case": _on_text(str.lower),
    "clojure.string/capitalize": _on_text(str.capitalize),
    "clojure.string/trim": _on_text(str.strip),
    "clojure.string/triml": _on_text(str.lstrip),
    "clojure.string/trimr": _on_text(str.rstrip),
    "clojure.string/reverse": _on_text(lambda text: text[::-1]),
    "clojure.string/join": _joined,
}
