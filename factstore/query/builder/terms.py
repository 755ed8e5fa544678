"""Terms: the parts of a query built in Python. A term has no name in the query and no form yet.

To a type checker a term has the type of the values that it stands for: `entity(Person)` is a Person and its `name` a
str. At run time a comparison of terms returns a *condition*. It has no truth value, so Python's `and`, `or` and `not`
cannot be used. Attributes of entities are found by `__getattr__`, so terms have no other public names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from factstore.errors import QueryError
from factstore.query.language.dialect import nearest
from factstore.rendering import html_record
from factstore.schema.class_fields import Slot, slots_of
from factstore.values.quoting import did_you_mean, quoted

_NAME: Final = re.compile(r"[A-Za-z][\w*+!-]*")


def wrong(message: str, **data: Any) -> QueryError:
    """Return the error for a query that cannot be expressed."""
    return QueryError(":db.error/invalid-query", message, **data)


class Condition:
    """A condition on the values of variables."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise TypeError(
            "a condition of a query has no truth value in Python: use and_, or_ and not_, and one comparison at a time"
        )


class Comparison(Condition):
    """`left operator right`."""

    __slots__ = ("left", "operator", "right")

    def __init__(self, operator: str, left: Any, right: Any) -> None:
        if left is None or right is None:
            raise wrong("no value equals None in a query; missing(…) is the condition that there is no value")
        self.operator, self.left, self.right = operator, left, right


class FactCondition(Condition):
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


class RuleCondition(Condition):
    """A call of a rule."""

    __slots__ = ("args", "rule")

    def __init__(self, rule: Any, args: tuple[Any, ...]) -> None:
        self.rule, self.args = rule, args


def _comparison(operator: str, *, reversed_: bool = False) -> Callable[[Any, Any], Any]:
    return lambda self, other: Comparison(operator, other, self) if reversed_ else Comparison(operator, self, other)


def _calculation(function: str, *, reversed_: bool = False) -> Callable[[Any, Any], Any]:
    return lambda self, other: Calculated(function, (other, self) if reversed_ else (self, other))


class Term:
    """A term that has a value: a variable, an attribute or a calculation."""

    __slots__ = ()

    __hash__ = object.__hash__
    __eq__, __ne__ = _comparison("="), _comparison("!=")
    __lt__, __le__, __gt__, __ge__ = map(_comparison, ("<", "<=", ">", ">="))
    __add__, __radd__ = _calculation("+"), _calculation("+", reversed_=True)
    __sub__, __rsub__ = _calculation("-"), _calculation("-", reversed_=True)
    __mul__, __rmul__ = _calculation("*"), _calculation("*", reversed_=True)
    __truediv__, __rtruediv__ = _calculation("/"), _calculation("/", reversed_=True)
    __mod__, __rmod__ = _calculation("mod"), _calculation("mod", reversed_=True)

    def __bool__(self) -> bool:
        raise TypeError("a variable of a query has no truth value in Python")

    def __iter__(self) -> Any:
        raise TypeError("a variable of a query cannot be iterated in Python; each(…) stands for each of its values")


class Source:
    """A source other than `$`: another database, or a collection of tuples."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise wrong(f"the name of a source has letters, digits and dashes, got {quoted(name)}", name=name)
        self.name = name

    def _repr_html_(self) -> str:
        return html_record("Source", {"name": f"${self.name}"})


class VariableTerm(Term):
    """A variable; if it has no name, it gets one when the query is written."""

    __slots__ = ("_name",)

    def __init__(self, name: str | None) -> None:
        if name is not None and not _NAME.fullmatch(name):
            raise wrong(f"the name of a variable has letters, digits and dashes, got {quoted(name)}", name=name)
        self._name = name

    def __repr__(self) -> str:
        return f"?{self._name or ''}"


class _HasAttributes(Term):
    """A term with attributes: an entity, or a reference to one."""

    __slots__ = ()
    _shape: type | None

    def __getattr__(self, name: str) -> Path:
        if name.startswith("__") or self._shape is None:
            raise AttributeError(name)
        slots = {slot.name: slot for slot in slots_of(self._shape)}
        if name not in slots:
            near = nearest(name, slots)
            raise AttributeError(f"{self._shape.__name__} has no field {name}{did_you_mean(near)}")
        return Path(self, slots[name])


class EntityTerm(_HasAttributes, VariableTerm):
    """A variable for an entity, whose attributes a class describes."""

    __slots__ = ("_shape", "_source")

    def __init__(self, shape: type, name: str | None, source: Source | None) -> None:
        super().__init__(name)
        self._shape = shape
        self._source = source


class Path(_HasAttributes):
    """An attribute of an entity; all its occurrences in one query are the same value."""

    __slots__ = ("_owner", "_slot")

    def __init__(self, owner: _HasAttributes, slot: Slot) -> None:
        self._owner, self._slot = owner, slot

    @property
    def _shape(self) -> type | None:  # type: ignore[override]
        return self._slot.shape

    def __repr__(self) -> str:
        return f"{self._owner!r}.{self._slot.name}"


class Calculated(Term):
    """A call of a function: built in, registered, or a Python callable."""

    __slots__ = ("_args", "_function", "_source")

    def __init__(self, function: str | Callable[..., Any], args: tuple[Any, ...], source: Path | None = None) -> None:
        self._function, self._args = function, args
        self._source = source  # a path whose source is the first argument

    def __repr__(self) -> str:
        return f"({self._function} …)"


class Aggregated(Term):
    """A function of all values of a term in a group."""

    __slots__ = ("_args", "_function", "_term")

    def __init__(self, function: str | Callable[..., Any], args: tuple[Any, ...], term: Any) -> None:
        self._function, self._args, self._term = function, args, term


class Pulled(Term):
    """A pull of an entity with a pattern."""

    __slots__ = ("_pattern", "_term")

    def __init__(self, term: Any, pattern: Any) -> None:
        self._term, self._pattern = term, pattern


class Named(Term):
    """A column with a name."""

    __slots__ = ("_alias", "_term")

    def __init__(self, term: Any, alias: VariableTerm) -> None:
        self._term, self._alias = term, alias


class Descending:
    """A key of `order_by`, in descending order."""

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
    return term._shape if isinstance(term, EntityTerm | Path) else None


def source_of(term: Any) -> Source | None:
    """Return the source of an entity, or of the entity at the beginning of a path; None: `$`."""
    while isinstance(term, Path):
        term = term._owner
    return term._source if isinstance(term, EntityTerm) else None
