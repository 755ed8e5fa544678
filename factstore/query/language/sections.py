"""Sections about the answer: `:keys` and its like, `:order-by` and `:having`, all of which speak of the columns of `:find`.

key       = column | place, followed or not by :asc or :desc, or both in a vector
condition = [(predicate argument*)] | [(function argument*) binding] | (not condition+) | (or condition+) | (predicate argument*)
argument  = column | input | constant | variable that another condition binds
column    = an element as it stands in :find, or its name
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
    """Return the keys of the dicts that a query finds; None when it finds tuples. Raises: QueryError(:db.error/invalid-query)."""
    asked = [key for key in _KEY_MAKERS if key in sections]
    if not asked:
        return None
    kind, names = asked[0], sections[asked[0]]
    if len(asked) > 1:
        raise invalid(f"only one of {' and '.join(asked)} can be asked for", names)
    if find.shape in (COLLECTION, SCALAR):
        raise invalid(f"{kind} names the columns of a relation or a tuple; this query finds a {find.shape}", names)
    if len(names) != len(find.elements):
        raise invalid(f"{kind} has {len(names)} names for {len(find.elements)} elements of :find", names)
    texts = [dialect.name(name) or dialect.keyword(name) for name in names]
    if None in texts:
        raise invalid(f"{kind} holds symbols only", names)
    try:
        return tuple(_KEY_MAKERS[kind](text) for text in texts if text is not None)
    except ValueError as error:
        raise invalid(f"{kind} holds names: {error}", names) from error


def parse_orders(parts: list[Any], find: Find, dialect: Dialect) -> tuple[Order, ...]:
    """Return the keys of `:order-by`, the first deciding first. Raises: QueryError(:db.error/invalid-query)."""
    if len(parts) == 1 and is_sequence(parts[0]) and not is_expression(parts[0], dialect):
        parts = list(parts[0])
    if parts and find.shape in (SCALAR, TUPLE):
        raise invalid(f":order-by needs several rows to order; this query finds a {find.shape}", parts)
    orders: list[Order] = []
    for part in parts:
        direction = dialect.keyword(part)
        if direction in DIRECTIONS and orders:
            orders[-1] = Order(orders[-1].place, DIRECTIONS[direction])
        elif is_sequence(part) and len(part) == 2 and dialect.keyword(part[1]) in DIRECTIONS:
            orders.append(Order(_place_of(part[0], find, dialect), DIRECTIONS[str(part[1])]))
        else:
            orders.append(Order(_place_of(part, find, dialect), descending=False))
    return tuple(orders)


def _place_of(form: Any, find: Find, dialect: Dialect) -> int:
    if type(form) is int and 0 <= form < len(find.elements):
        return form
    place = _column(form, find, dialect)
    if place is None:
        raise invalid(f":order-by takes what :find has, or its place from 0, got {shown(form)}", form)
    return place


def _column(form: Any, find: Find, dialect: Dialect) -> int | None:
    """Return the place of the column that a form is, by its name or by its element; None when it is none."""
    name = dialect.variable(form)
    if name is not None and name in find.columns:
        return find.columns.index(name)
    if name is None and not is_sequence(form):
        return None
    wanted = parse_element(form, dialect)
    return find.elements.index(wanted) if wanted in find.elements else None


# -- having


def parse_having(parts: Any, find: Find, dialect: Dialect) -> tuple[Clause, ...]:
    """Return the clauses that columns of the answer must satisfy, their elements replaced by the columns' variables.

    Raises: QueryError(:db.error/invalid-query).
    """
    if parts and find.shape in (SCALAR, TUPLE):
        raise invalid(f":having chooses among several rows; this query finds a {find.shape}", parts)
    clauses = parse_clauses([_condition(part, find, dialect) for part in parts], dialect)
    for clause in walk(clauses):
        if not isinstance(clause, Call | Not | Or):
            raise invalid(":having holds predicates, functions, not and or over the columns of :find", clause.form)
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
    """Return an `or` whose branches may speak of different columns: all of them are known, so no branch need bind any."""
    calls = [call for call in walk(parse_clauses(_flat(branches), dialect)) if isinstance(call, Call)]
    known = {name for call in calls for name in call.needs}.difference(*(bound_by(call.binding) for call in calls))
    return (
        [Symbol("or-join"), [[Symbol(name) for name in sorted(known)]], *branches]
        if known
        else [Symbol("or"), *branches]
    )


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
    place = _column(form, find, dialect)
    if place is None:
        raise invalid(f":having takes what :find has, got {shown(form)}", form)
    return Symbol(find.columns[place])
