"""The grammar of `:find`: the elements of an answer, and the names of its columns.

find    = named+ | [named ...] | [named+] | named .
named   = element | (as element ?name)
element = variable | (aggregate argument* variable) | (pull source? variable (pattern | symbol of :in))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from factstore.query.functions.aggregates import AGGREGATES
from factstore.query.functions.scalar import plain_name
from factstore.query.language.ast import (
    COLLECTION,
    RELATION,
    SCALAR,
    TUPLE,
    Aggregate,
    Constant,
    Element,
    PullExpression,
    Variable,
)
from factstore.query.language.clauses import DEFAULT_SOURCE
from factstore.query.language.dialect import Dialect, invalid, is_sequence, shown, unquoted

_INPUT_NAME: Final = re.compile(r"[?\w][\w.*+!/?<>=-]*")  # in Python data the EDN text of a pattern is also a str


class Find(NamedTuple):
    """The shape of the answer, its elements, and the variables that name its columns."""

    shape: str
    elements: tuple[Element, ...]
    columns: tuple[str, ...]


def parse_find(parts: list[Any], dialect: Dialect) -> Find:
    """Return the shape, elements and columns of `:find`. Raises: QueryError(:db.error/invalid-query)."""
    if len(parts) == 2 and dialect.is_symbol(parts[1], "."):
        return _find(SCALAR, parts[:1], dialect)
    if len(parts) == 1 and is_sequence(parts[0]) and parts[0] and not is_expression(parts[0], dialect):
        inner = parts[0]
        if dialect.is_symbol(inner[-1], "..."):
            if len(inner) != 2:
                raise invalid("a collection is found with [element ...]", parts)
            return _find(COLLECTION, inner[:1], dialect)
        if len(inner) == 2 and dialect.is_symbol(inner[1], "."):  # [:find [?a .]]; the map {:find [?a .]} is correct
            raise invalid("a scalar is found with element . and no brackets", parts)
        return _find(TUPLE, inner, dialect)
    if any(dialect.is_symbol(part, ".") for part in parts):
        raise invalid("a scalar is found with one element and a dot after it", parts)
    return _find(RELATION, parts, dialect)


def _find(shape: str, parts: Sequence[Any], dialect: Dialect) -> Find:
    elements, columns, named = [], [], []
    for part in parts:
        element, name = _named(part, dialect)
        elements.append(element)
        columns.append(name or _column_name(element))
        named.append(name)
    for name in named:
        if name is not None and columns.count(name) > 1:
            raise invalid(f"{name} names two columns of :find", parts)
    return Find(shape, tuple(elements), tuple(columns))


def _column_name(element: Element) -> str:
    """Return the variable of a column; an element that is not a variable gets a name that no query can contain."""
    if isinstance(element, Variable):
        return element.name
    if isinstance(element, PullExpression):
        return f"?(pull {element.name})"
    args = (
        term.name if isinstance(term, Variable) else shown(term.value)
        for term in element.args
        if isinstance(term, Constant | Variable)
    )
    return f"?({' '.join((element.function, *args, element.name))})"


def _named(form: Any, dialect: Dialect) -> tuple[Element, str | None]:
    if not (is_sequence(form) and form and dialect.name(form[0]) == "as"):
        return parse_element(form, dialect), None
    name = dialect.variable(form[2]) if len(form) == 3 else None
    if name is None:
        raise invalid("a column is named by (as element ?name)", form)
    return parse_element(form[1], dialect), name


def is_expression(form: Any, dialect: Dialect) -> bool:
    """Tell whether a form begins like an aggregate or a pull expression."""
    return bool(form) and dialect.name(form[0]) is not None and dialect.variable(form[0]) is None


def parse_element(form: Any, dialect: Dialect) -> Element:
    """Return the element for a form. Raises: QueryError(:db.error/invalid-query)."""
    name = dialect.variable(form)
    if name is not None:
        return Variable(name)
    if not is_sequence(form) or len(form) < 2 or dialect.name(form[0]) is None:
        raise invalid(f"expected a variable, an aggregate or a pull expression in :find, got {shown(form)}", form)
    return _pull(form, dialect) if dialect.name(form[0]) == "pull" else _aggregate(form, dialect)


def _pull(form: Any, dialect: Dialect) -> PullExpression:
    source, rest = (dialect.source(form[1]), form[2:]) if dialect.source(form[1]) else (DEFAULT_SOURCE, form[1:])
    name = dialect.variable(rest[0]) if len(rest) == 2 else None
    if name is None or source is None:
        raise invalid("a pull expression is (pull source? ?entity pattern)", form)
    return PullExpression(source, name, _pattern(unquoted(rest[1]), dialect), form)


def _pattern(form: Any, dialect: Dialect) -> Any:
    """Return the pattern of a pull expression: the form itself, or the input that a variable or a symbol names."""
    name = dialect.name(form)
    if name is None or name == "*" or (dialect.plain and not _INPUT_NAME.fullmatch(name)):
        return form
    return Variable(name)


def _aggregate(form: Any, dialect: Dialect) -> Aggregate:
    function, parts = dialect.name(form[0]), form[1:]
    if function == "aggregate":  # (aggregate ?f ?x), with the callable as an input
        function, parts = dialect.variable(form[1]), form[2:]
    name = dialect.variable(parts[-1]) if parts else None
    if function is None or name is None:
        raise invalid("an aggregate is (function argument* ?variable)", form)
    args = tuple(dialect.special(part) or Constant(dialect.constant(part)) for part in parts[:-1])
    if any(not isinstance(term, Constant | Variable) for term in args):
        raise invalid("an argument before the variable of an aggregate is a constant or an input", form)
    plain = plain_name(function)
    return Aggregate(plain if plain in AGGREGATES else function, args, name, form)
