"""The parser of whole queries.

    query   = [:find find section*] | {:find [find] section*} | the EDN text of either
    section = :with variable+ | :in input* | :where clause* | :keys, :strs or :syms name+
            | :having condition+ | :order-by key+ | :limit n | :offset n | :timeout ms
    input   = source | % | binding | the plain symbol that a pull expression uses as its pattern

`find` is defined in `find.py`, `condition` and `key` in `sections.py`, `clause` and `binding` in `clauses.py`.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from sys import maxsize
from typing import Any, Final

from factstore.query.language.ast import Input, PullExpression, Query, RulesInput, SourceInput, Variable
from factstore.query.language.clauses import DEFAULT_SOURCE, parse_binding, parse_clauses
from factstore.query.language.dialect import (
    Dialect,
    check_nesting,
    invalid,
    is_sequence,
    nearest,
    read_text,
    shown,
    unquoted,
)
from factstore.query.language.find import Find, parse_find
from factstore.query.language.sections import DIRECTIONS, parse_having, parse_keys, parse_orders
from factstore.values.quoting import did_you_mean

_SECTIONS: Final = frozenset(
    (
        ":find",
        ":with",
        ":in",
        ":where",
        ":keys",
        ":strs",
        ":syms",
        ":having",
        ":order-by",
        ":limit",
        ":offset",
        ":timeout",
    )
)


def parse_query(form: Any) -> Query:
    """Return the typed form of a query that is given as a text, a vector or a map.

    Raises: QueryError(:db.error/invalid-query), which names the part that is wrong.
    """
    form = unquoted(read_text(form, "the query") if isinstance(form, str) else form)
    check_nesting(form, "a query")
    dialect = Dialect.of(form)
    sections = _sections(form, dialect)
    if not sections.get(":find"):
        raise invalid("a query begins with :find and at least one element", form)
    find = parse_find(sections[":find"], dialect)
    return Query(
        shape=find.shape,
        elements=find.elements,
        columns=find.columns,
        with_names=_with_names(sections, find, dialect),
        inputs=_inputs(sections.get(":in"), dialect, find),
        clauses=parse_clauses(sections.get(":where", []), dialect),
        keys=parse_keys(sections, find, dialect),
        having=parse_having(sections.get(":having", []), find, dialect),
        order=parse_orders(sections.get(":order-by", []), find, dialect),
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
        is_swapped = hasattr(form, "basis_t") or callable(getattr(form, "db", None))
        order = "; the query is the first argument, and the database the second" if is_swapped else ""
        raise invalid(f"a query is a vector, a map or the text of one{order}", form)
    for key in sections:
        if key not in _SECTIONS:
            raise invalid(f"a query has no section {key}{did_you_mean(nearest(key, _SECTIONS))}", form)
    return sections


def _as_section(value: Any) -> Any:
    return list(value) if is_sequence(value) else [value]


def _cut(form: Sequence[Any], dialect: Dialect) -> dict[str, Any]:
    """Split the vector form at its keywords; in `:order-by` the directions do not begin a section."""
    sections: dict[str, list[Any]] = {}
    current = None
    for part in form:
        key = dialect.keyword(part)
        if key is not None and not (current == ":order-by" and key in DIRECTIONS):
            if key in sections:
                raise invalid(f"{key} occurs twice in the query", form)
            current, sections[key] = key, []
        elif current is None:
            raise invalid(f"expected :find, got {shown(part)}", form)
        else:
            sections[current].append(part)
    return sections


def _variable(form: Any, dialect: Dialect, where: str) -> str:
    name = dialect.variable(form)
    if name is None:
        raise invalid(f"{where} holds variables only, got {shown(form)}", form)
    return name


def _with_names(sections: dict[str, Any], find: Find, dialect: Dialect) -> tuple[str, ...]:
    names = tuple(_variable(part, dialect, ":with") for part in sections.get(":with", ()))
    elements = {element.name for element in find.elements}
    repeated = [name for i, name in enumerate(names) if name in elements or name in names[:i]]
    if repeated:
        raise invalid(f":with adds variables to those of :find, but {repeated[0]} occurs twice", sections[":with"])
    return names


def _inputs(parts: list[Any] | None, dialect: Dialect, find: Find) -> tuple[Input, ...]:
    if parts is None:
        return (SourceInput(DEFAULT_SOURCE),)
    pulled = (element.pattern for element in find.elements if isinstance(element, PullExpression))
    patterns = {pattern.name for pattern in pulled if isinstance(pattern, Variable)}
    inputs = tuple(_input(part, dialect, parts, patterns) for part in parts)
    names = [part.name for part in inputs if isinstance(part, SourceInput)]
    if len(set(names)) < len(names) or sum(isinstance(part, RulesInput) for part in inputs) > 1:
        raise invalid("a source or % is named twice in :in", parts)
    return inputs


def _input(form: Any, dialect: Dialect, parts: Any, patterns: Set[str]) -> Input:
    source = dialect.source(form)
    if source is not None:
        return SourceInput(source)
    if dialect.is_symbol(form, "%"):
        return RulesInput()
    if dialect.name(form) in patterns:
        return Variable(str(form))
    return parse_binding(form, dialect, parts)


def _number(sections: dict[str, Any], key: str, form: Any) -> int | None:
    parts = sections.get(key)
    if parts is None or (len(parts) == 1 and parts[0] is None):
        return None
    if len(parts) != 1 or type(parts[0]) is not int or parts[0] < 0:
        raise invalid(f"{key} takes one number from 0", form)
    return min(int(parts[0]), maxsize)
