"""The parser of whole queries.

query   = [:find element+ section*] | {:find [element+] section*} | the EDN text of either
element = variable | (aggregate argument* variable) | (pull source? variable pattern)
find    = element+ | [element ...] | [element+] | element .
section = :with variable+ | :in input* | :where clause* | :keys, :strs or :syms name+
        | :order-by key+ | :limit n | :offset n | :timeout ms
input   = source | % | binding
key     = variable | aggregate | place, followed or not by :asc or :desc, or both in a vector
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from factstore.query.ast import (
    COLLECTION,
    RELATION,
    SCALAR,
    TUPLE,
    Aggregate,
    Constant,
    Element,
    Input,
    Order,
    PullExpression,
    Query,
    RulesInput,
    SourceInput,
    Variable,
)
from factstore.query.clauses import DEFAULT_SOURCE, parse_binding, parse_clauses
from factstore.query.forms import Dialect, hint, invalid, is_sequence, nearest, read_text, shown
from factstore.values import Keyword, Symbol

_SECTIONS: Final = frozenset((":find", ":with", ":in", ":where", ":keys", ":strs", ":syms", ":order-by", ":limit", ":offset", ":timeout"))
_KEY_MAKERS: Final[dict[str, Callable[[str], Any]]] = {
    ":keys": lambda name: Keyword(":" + name.removeprefix(":")),
    ":strs": str,
    ":syms": Symbol,
}
_DIRECTIONS: Final = {":asc": False, ":desc": True}


def parse_query(form: Any) -> Query:
    """Return the query that a text, a vector or a map is.

    Raises: QueryError(:db.error/invalid-query), pointing at the part that is wrong.
    """
    if isinstance(form, str):
        form = read_text(form, "the query")
    dialect = Dialect.of(form)
    sections = _sections(form, dialect)
    if not sections.get(":find"):
        raise invalid("a query begins with :find and what to find", form)
    shape, elements = _find(sections[":find"], dialect)
    inputs = _inputs(sections.get(":in"), dialect)
    return Query(
        shape=shape,
        elements=elements,
        with_names=tuple(_variable(part, dialect, ":with") for part in sections.get(":with", ())),
        inputs=inputs,
        clauses=parse_clauses(sections.get(":where", []), dialect),
        keys=_keys(sections, shape, elements, dialect),
        order=_orders(sections.get(":order-by", []), shape, elements, dialect),
        limit=_number(sections, ":limit", form),
        offset=_number(sections, ":offset", form) or 0,
        timeout=_number(sections, ":timeout", form),
    )


def _sections(form: Any, dialect: Dialect) -> dict[str, Any]:
    if isinstance(form, dict):
        sections = {dialect.keyword(key) or shown(key): _as_section(value) for key, value in form.items()}
    elif is_sequence(form):
        sections = _cut(form, dialect)
    else:
        raise invalid("a query is a vector, a map or the text of one", form)
    for key in sections:
        if key not in _SECTIONS:
            raise invalid(f"a query has no section {key}{hint(nearest(key, _SECTIONS))}", form)
    return sections


def _as_section(value: Any) -> Any:
    return list(value) if is_sequence(value) else [value]


def _cut(form: Sequence[Any], dialect: Dialect) -> dict[str, Any]:
    """Cut the vector form where its keywords stand; inside a section of `:order-by` directions are no section."""
    sections: dict[str, list[Any]] = {}
    current = None
    for part in form:
        key = dialect.keyword(part)
        if key is not None and not (current == ":order-by" and key in _DIRECTIONS):
            if key in sections:
                raise invalid(f"{key} stands twice in the query", form)
            current, sections[key] = key, []
        elif current is None:
            raise invalid(f"expected :find, got {shown(part)}", form)
        else:
            sections[current].append(part)
    return sections


def _find(parts: list[Any], dialect: Dialect) -> tuple[str, tuple[Element, ...]]:
    if len(parts) == 2 and dialect.is_symbol(parts[1], "."):
        return SCALAR, (_element(parts[0], dialect),)
    if len(parts) == 1 and is_sequence(parts[0]) and parts[0] and not _is_expression(parts[0], dialect):
        inner = parts[0]
        if dialect.is_symbol(inner[-1], "..."):
            if len(inner) != 2:
                raise invalid("a collection is found with [element ...]", parts)
            return COLLECTION, (_element(inner[0], dialect),)
        if len(inner) == 2 and dialect.is_symbol(inner[1], "."):  # {:find [?a .]} comes unwrapped, [:find [?a .]] does not
            raise invalid("a scalar is found with element . and no brackets", parts)
        return TUPLE, tuple(_element(part, dialect) for part in inner)
    if any(dialect.is_symbol(part, ".") for part in parts):
        raise invalid("a scalar is found with one element and a dot after it", parts)
    return RELATION, tuple(_element(part, dialect) for part in parts)


def _is_expression(form: Any, dialect: Dialect) -> bool:
    return dialect.name(form[0]) is not None and dialect.variable(form[0]) is None


def _element(form: Any, dialect: Dialect) -> Element:
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
    pattern = dialect.variable(rest[1])
    return PullExpression(source, name, rest[1] if pattern is None else Variable(pattern), form)


def _aggregate(form: Any, dialect: Dialect) -> Aggregate:
    function, parts = dialect.name(form[0]), form[1:]
    if function == "aggregate":  # (aggregate ?f ?x), with the callable as an input
        function, parts = dialect.variable(form[1]), form[2:]
    name = dialect.variable(parts[-1]) if parts else None
    if function is None or name is None:
        raise invalid("an aggregate is (function argument* ?variable)", form)
    args = tuple(dialect.special(part) or Constant(dialect.constant(part)) for part in parts[:-1])
    if any(not isinstance(term, Constant | Variable) for term in args):
        raise invalid("what stands before the variable of an aggregate is a constant or an input", form)
    return Aggregate(function, args, name, form)


def _variable(form: Any, dialect: Dialect, where: str) -> str:
    name = dialect.variable(form)
    if name is None:
        raise invalid(f"{where} holds variables only, got {shown(form)}", form)
    return name


def _inputs(parts: list[Any] | None, dialect: Dialect) -> tuple[Input, ...]:
    if parts is None:
        return (SourceInput(DEFAULT_SOURCE),)
    inputs = tuple(_input(part, dialect, parts) for part in parts)
    names = [part.name for part in inputs if isinstance(part, SourceInput)]
    if len(set(names)) < len(names) or sum(isinstance(part, RulesInput) for part in inputs) > 1:
        raise invalid("a source or % is named twice in :in", parts)
    return inputs


def _input(form: Any, dialect: Dialect, parts: Any) -> Input:
    source = dialect.source(form)
    if source is not None:
        return SourceInput(source)
    if dialect.is_symbol(form, "%"):
        return RulesInput()
    return parse_binding(form, dialect, parts)


def _keys(sections: dict[str, Any], shape: str, elements: tuple[Element, ...], dialect: Dialect) -> tuple[Any, ...] | None:
    asked = [key for key in _KEY_MAKERS if key in sections]
    if not asked:
        return None
    kind, names = asked[0], sections[asked[0]]
    if len(asked) > 1:
        raise invalid(f"only one of {' and '.join(asked)} can be asked for", names)
    if shape in (COLLECTION, SCALAR):
        raise invalid(f"{kind} names the columns of a relation or a tuple; this query finds a {shape}", names)
    if len(names) != len(elements):
        raise invalid(f"{kind} has {len(names)} names for {len(elements)} elements of :find", names)
    texts = [dialect.name(name) or dialect.keyword(name) for name in names]
    if None in texts:
        raise invalid(f"{kind} holds symbols only", names)
    return tuple(_KEY_MAKERS[kind](text) for text in texts if text is not None)


def _orders(parts: list[Any], shape: str, elements: tuple[Element, ...], dialect: Dialect) -> tuple[Order, ...]:
    if len(parts) == 1 and is_sequence(parts[0]) and not _is_expression(parts[0], dialect):
        parts = list(parts[0])
    if parts and shape in (SCALAR, TUPLE):
        raise invalid(f":order-by needs several rows to order; this query finds a {shape}", parts)
    orders: list[Order] = []
    for part in parts:
        direction = dialect.keyword(part)
        if direction in _DIRECTIONS and orders:
            orders[-1] = Order(orders[-1].place, _DIRECTIONS[direction])
        elif is_sequence(part) and len(part) == 2 and dialect.keyword(part[1]) in _DIRECTIONS:
            orders.append(Order(_place_of(part[0], elements, dialect), _DIRECTIONS[str(part[1])]))
        else:
            orders.append(Order(_place_of(part, elements, dialect), descending=False))
    return tuple(orders)


def _place_of(form: Any, elements: tuple[Element, ...], dialect: Dialect) -> int:
    if type(form) is int and 0 <= form < len(elements):
        return form
    if dialect.variable(form) is not None or is_sequence(form):
        wanted = _element(form, dialect)
        for place, element in enumerate(elements):
            if element == wanted:
                return place
    raise invalid(f":order-by takes what :find has, or its place from 0, got {shown(form)}", form)


def _number(sections: dict[str, Any], key: str, form: Any) -> int | None:
    parts = sections.get(key)
    if parts is None or parts == [None]:
        return None
    if len(parts) != 1 or type(parts[0]) is not int or parts[0] < 0:
        raise invalid(f"{key} takes one number from 0", form)
    return int(parts[0])
