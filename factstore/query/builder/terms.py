"""Terms: what a query built in Python is made of. Each carries what was written and knows nothing of names or forms.

To a type checker a term has the type of the values that it stands for: `entity(Person)` is a Person and its `name` a str. At
run time comparing terms gives a *condition*, which has no truth value: `and`, `or` and `not` of Python cannot take it.
Attributes of entities come by `__getattr__`, so nothing else of a term may have a public name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from factstore.errors import QueryError
from factstore.query.language.dialect import hint, nearest
from factstore.schema.classes import Slot, slots_of
from factstore.values.quoting import quoted

_NAME: Final = re.compile(r"[A-Za-z][\w*+!-]*")


def wrong(message: str, **data: Any) -> QueryError:
    """Return the error of what cannot be said."""
    return QueryError(":db.error/invalid-query", message, **data)


class Condition:
    """Something that holds or does not, of the values that variables have."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise TypeError(
            "a condition of a query is neither true nor false here: use and_, or_ and not_, and one comparison at a time"
        )


class Compared(Condition):
    """`left operator right`."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, operator: str, left: Any, right: Any) -> None:
        if left is None or right is None:
            raise wrong("nothing equals None in a query; missing(…) says that there is no value")
        self.operator, self.left, self.right = operator, left, right


class Stated(Condition):
    """A pattern, `[source? e a v tx op]`."""

    __slots__ = ("source", "terms")

    def __init__(self, terms: tuple[Any, ...], source: Source | None) -> None:
        self.terms, self.source = terms, source


class Compound(Condition):
    """`and`, `or` or `not` of conditions."""

    __slots__ = ("parts", "word")

    def __init__(self, word: str, parts: tuple[Any, ...]) -> None:
        if not parts:
            raise wrong(f"{word}_ needs at least one condition")
        self.word, self.parts = word, parts


class Held(Condition):
    """A rule called."""

    __slots__ = ("args", "rule")

    def __init__(self, rule: Any, args: tuple[Any, ...]) -> None:
        self.rule, self.args = rule, args


def _comparison(operator: str, *, turned: bool = False) -> Callable[[Any, Any], Any]:
    return lambda self, other: Compared(operator, other, self) if turned else Compared(operator, self, other)


def _calculation(function: str, *, turned: bool = False) -> Callable[[Any, Any], Any]:
    return lambda self, other: Calculated(function, (other, self) if turned else (self, other))


class Term:
    """What has a value."""

    __slots__ = ()

    __hash__ = object.__hash__
    __eq__, __ne__ = _comparison("="), _comparison("!=")
    __lt__, __le__, __gt__, __ge__ = map(_comparison, ("<", "<=", ">", ">="))
    __add__, __radd__ = _calculation("+"), _calculation("+", turned=True)
    __sub__, __rsub__ = _calculation("-"), _calculation("-", turned=True)
    __mul__, __rmul__ = _calculation("*"), _calculation("*", turned=True)
    __truediv__, __rtruediv__ = _calculation("/"), _calculation("/", turned=True)
    __mod__, __rmod__ = _calculation("mod"), _calculation("mod", turned=True)

    def __bool__(self) -> bool:
        raise TypeError("a variable of a query has no value here, so it is neither true nor false")

    def __iter__(self) -> Any:
        raise TypeError("a variable of a query has no elements here; each(…) stands for any one of them")


class Source:
    """A source beside `$`: another database, or a collection of tuples."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise wrong(f"a source is called by letters, digits and dashes, got {quoted(name)}", name=name)
        self.name = name


class Variable(Term):
    """A variable; without a name of its own it gets one when the query is written down."""

    __slots__ = ("_name",)

    def __init__(self, name: str | None) -> None:
        if name is not None and not _NAME.fullmatch(name):
            raise wrong(f"a variable is called by letters, digits and dashes, got {quoted(name)}", name=name)
        self._name = name

    def __repr__(self) -> str:
        return f"?{self._name or ''}"


class _Holder(Term):
    """What has attributes: an entity, or a reference to one."""

    __slots__ = ()
    _shape: type | None

    def __getattr__(self, name: str) -> Path:
        if name.startswith("__") or self._shape is None:
            raise AttributeError(name)
        slots = {slot.name: slot for slot in slots_of(self._shape)}
        if name not in slots:
            near = nearest(name, slots)
            raise AttributeError(f"{self._shape.__name__} has no field {name}{hint(near)}")
        return Path(self, slots[name])


class Entity(_Holder, Variable):
    """A variable that stands for an entity described by a class."""

    __slots__ = ("_shape", "_source")

    def __init__(self, shape: type, name: str | None, source: Source | None) -> None:
        super().__init__(name)
        self._shape = shape
        self._source = source


class Path(_Holder):
    """An attribute of an entity; wherever it stands in one query, it is the same value."""

    __slots__ = ("_owner", "_slot")

    def __init__(self, owner: _Holder, slot: Slot) -> None:
        self._owner, self._slot = owner, slot

    @property
    def _shape(self) -> type | None:  # type: ignore[override]
        return self._slot.shape

    def __repr__(self) -> str:
        return f"{self._owner!r}.{self._slot.name}"


class Calculated(Term):
    """A function of terms: built in, registered, or a callable of Python."""

    __slots__ = ("_args", "_function", "_source")

    def __init__(self, function: str | Callable[..., Any], args: tuple[Any, ...], source: Path | None = None) -> None:
        self._function, self._args = function, args
        self._source = source  # a path whose source stands first among the arguments

    def __repr__(self) -> str:
        return f"({self._function} …)"


class Aggregated(Term):
    """A function of all values that a term has in a group."""

    __slots__ = ("_args", "_function", "_term")

    def __init__(self, function: str | Callable[..., Any], args: tuple[Any, ...], term: Any) -> None:
        self._function, self._args, self._term = function, args, term


class Pulled(Term):
    """What a pattern pulls of an entity."""

    __slots__ = ("_pattern", "_term")

    def __init__(self, term: Any, pattern: Any) -> None:
        self._term, self._pattern = term, pattern


class Named(Term):
    """A column under a name."""

    __slots__ = ("_alias", "_term")

    def __init__(self, term: Any, alias: Variable) -> None:
        self._term, self._alias = term, alias


class Descending:
    """A key of order, the greatest first."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key


class Many:
    """An input of many values, or of many tuples."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[Any, ...]) -> None:
        self.parts = parts


def shape_of(term: Any) -> type | None:
    """Return the class of the entities that a term stands for."""
    return term._shape if isinstance(term, Entity | Path) else None


def source_of(term: Any) -> Source | None:
    """Return the source that an entity, or the entity at the beginning of a path, is in; None: `$`."""
    while isinstance(term, Path):
        term = term._owner
    return term._source if isinstance(term, Entity) else None
