"""Sections about the answer: `:keys`, `:strs`, `:syms`, `:order-by` and `:having`. All refer to the columns of `:find`.

key       = column | position, optionally followed by :asc or :desc, or both in a vector
condition = [(predicate argument*)] | [(function argument*) binding] | (not condition+) | (or condition+)
          | (predicate argument*)
argument  = column | input | constant | a variable that another condition binds
column    = an element as it is written in :find, or its name
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from factstore.query.language.ast import COLLECTION, SCALAR, TUPLE, Call, Clause, Not, Or, Order, bound_by, walk
from factstore.query.language.clauses import parse_clauses
from factstore.query.language.dialect import Dialect, invalid, is_sequence, shown
from factstore.query.language.find import Find, is_expression, parse_element
from factstore.values.types import Keyword, Symbol

_KEY_MAKERS: Final[dict[str, Callable[[str], Any]]] = {
    ":keys": lambda name: Keyword(":" + name.removeprefix(":")),
    ":strs": str,
    ":syms": Symbol,
}
DIRECTIONS: Final = {":asc": False, ":desc": True}


def parse_keys(sections: dict[str, Any], find: Find, dialect: Dialect) -> tuple[Any, ...] | None:
    """Return the keys of the dicts that a query finds; None when it finds tuples.

    Raises: QueryError(:db.error/invalid-query).
    """
    kinds = [key for key in _KEY_MAKERS if key in sections]
    if not kinds:
        return None
    kind, names = kinds[0], sections[kinds[0]]
    if len(kinds) > 1:
        raise invalid(f"a query has at most one of {' and '.join(kinds)}", names)
    if find.shape in (COLLECTION, SCALAR):
        raise invalid(f"{kind} names the columns of a relation or a tuple; this query finds a {find.shape}", names)
    if len(names) != len(find.elements):
        raise invalid(f"{kind} has {len(names)} names for {len(find.elements)} elements of :find", names)
    texts = [dialect.name(name) or dialect.keyword(name) for name in names]
    if None in texts:
        raise invalid(f"{kind} contains only symbols", names)
    try:
        return tuple(_KEY_MAKERS[kind](text) for text in texts if text is not None)
    except ValueError as error:
        raise invalid(f"{kind} contains names: {error}", names) from error


def parse_orders(parts: list[Any], find: Find, dialect: Dialect) -> tuple[Order, ...]:
    """Return the keys of `:order-by`, the most significant first. Raises: QueryError(:db.error/invalid-query)."""
    if len(parts) == 1 and is_sequence(parts[0]) and not is_expression(parts[0], dialect):
        parts = list(parts[0])
    if parts and find.shape in (SCALAR, TUPLE):
        raise invalid(f":order-by needs several rows to order; this query finds a {find.shape}", parts)
    orders: list[Order] = []
    for part in parts:
        direction = dialect.keyword(part)
        if direction in DIRECTIONS and orders:
            orders[-1] = Order(orders[-1].position, DIRECTIONS[direction])
        elif is_sequence(part) and len(part) == 2 and dialect.keyword(part[1]) in DIRECTIONS:
            orders.append(Order(_position_of(part[0], find, dialect), DIRECTIONS[str(part[1])]))
        else:
            orders.append(Order(_position_of(part, find, dialect), descending=False))
    return tuple(orders)


def _position_of(form: Any, find: Find, dialect: Dialect) -> int:
    if type(form) is int and 0 <= form < len(find.elements):
        return form
    position = _column(form, find, dialect)
    if position is None:
        raise invalid(f":order-by takes an element of :find, or its position from 0, got {shown(form)}", form)
    return position


def _column(form: Any, find: Find, dialect: Dialect) -> int | None:
    """Return the position of the column that a form names, or whose element it is; None for other forms."""
    name = dialect.variable(form)
    if name is not None and name in find.columns:
        return find.columns.index(name)
    if name is None and not is_sequence(form):
        return None
    wanted = parse_element(form, dialect)
    return find.elements.index(wanted) if wanted in find.elements else None


# -- having


def parse_having(parts: Any, find: Find, dialect: Dialect) -> tuple[Clause, ...]:
    """Return the clauses of `:having`, with the variables of columns instead of their elements.

    Raises: QueryError(:db.error/invalid-query).
    """
    if parts and find.shape in (SCALAR, TUPLE):
        raise invalid(f":having chooses among several rows; this query finds a {find.shape}", parts)
    clauses = parse_clauses([_condition(part, find, dialect) for part in parts], dialect)
    for clause in walk(clauses):
        if not isinstance(clause, Call | Not | Or):
            raise invalid(":having contains predicates, functions, not and or, over the columns of :find", clause.form)
    return clauses


def _condition(form: Any, find: Find, dialect: Dialect) -> Any:
    if not is_sequence(form) or not form or (is_sequence(form[0]) and not form[0]):
        raise invalid("expected a condition such as [(> (count ?e) 3)]", form)
    head = dialect.name(form[0])
    if head == "or":
        return _either([_condition(part, find, dialect) for part in form[1:]], dialect)
    if head in ("not", "and"):
        return [form[0], *(_condition(part, find, dialect) for part in form[1:])]
    if head in ("not-join", "or-join"):
        return [*form[:2], *(_condition(part, find, dialect) for part in form[2:])]
    if is_expression(form, dialect):  # a bare call, (> ?n 3)
        return [_call(form, find, dialect)]
    return [_call(form[0], find, dialect), *form[1:]] if is_sequence(form[0]) else form


def _either(branches: list[Any], dialect: Dialect) -> Any:
    """Return an `or` whose branches may use different columns: all columns are bound, so no branch has to bind one."""
    calls = [call for call in walk(parse_clauses(_flat(branches), dialect)) if isinstance(call, Call)]
    bound = {name for call in calls for name in call.needs}.difference(*(bound_by(call.binding) for call in calls))
    if not bound:
        return [Symbol("or"), *branches]
    return [Symbol("or-join"), [[Symbol(name) for name in sorted(bound)]], *branches]


def _flat(branches: list[Any]) -> list[Any]:
    return [part for branch in branches for part in (branch[1:] if branch[0] == "and" else [branch])]


def _call(form: Any, find: Find, dialect: Dialect) -> Any:
    parts = (form[0], *(_argument(part, find, dialect) for part in form[1:]))
    return parts if isinstance(form, tuple) else list(parts)


def _argument(form: Any, find: Find, dialect: Dialect) -> Any:
    if not (
        is_sequence(form) and len(form) > 1 and is_expression(form, dialect) and dialect.variable(form[-1]) is not None
    ):
        return form
    position = _column(form, find, dialect)
    if position is None:
        raise invalid(f":having takes elements of :find, got {shown(form)}", form)
    return Symbol(find.columns[position])
