"""The `{python}` inputs of a cell: each becomes an input of the query, and is never pasted into its text.

    [:find ?name :where [?p :person/name ?name] [?p :person/born ?born] [(> ?born {year})]]     a new scalar input
    [:find ?e :in $ [?name ...] {names} :where [?e :person/name ?name]]                         the value of a binding
    [:find ?e :in $ {old} $now {db} …]    [… :in $ % {rules} …]                                 a source, or rules
    [:find (pull ?e {pattern}) …]         [… :limit {n}]                                        a pattern, or a number

An expression begins with a letter or `_`, because maps of EDN begin with other characters.
Law: an answer depends on the values of the expressions only; no value can change the structure of the query.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from factstore import edn
from factstore.edn.read import TOKEN
from factstore.errors import QueryError
from factstore.values.types import Keyword, Symbol

_MARK: Final = "·"  # in the names of the variables that stand for expressions; programs do not use it
_NAME: Final = re.compile(r"\s*[^\W\d]")
_NUMBERS: Final = frozenset((":limit", ":offset", ":timeout"))
_SOURCE: Final = "$"


class Bound(NamedTuple):
    """A query as data, and all its inputs."""

    query: Any
    inputs: list[Any]


class Cell(NamedTuple):
    """The text of a cell in which each expression is replaced by a variable of the same length, and the expressions."""

    text: str
    expressions: Mapping[str, str]


def cut(text: str) -> Cell:
    """Return a cell with its expressions apart.

    Raises: QueryError(:db.error/invalid-query) for a text that contains the names of such variables itself.
    """
    if f"?{_MARK}" in text:
        message = f"variables whose names begin with ?{_MARK} stand for the inputs of a cell; use another name"
        raise QueryError(":db.error/invalid-query", message, text=text, name=f"?{_MARK}")
    parts: list[str] = []
    found: dict[str, str] = {}
    done = at = 0
    while (token := TOKEN.match(text, at)) is not None and token[1]:
        at = token.end(1)
        expression = _expression(text, at) if token[1] == "{" else None
        if expression is not None:
            at += len(expression) + 1
            name = f"?{_MARK}{len(found):{_MARK}<{len(expression)}}"
            found[name] = expression
            parts += [text[done : token.start(1)], name]
            done = at
    return Cell("".join([*parts, text[done:]]), found)


def _expression(text: str, start: int) -> str | None:
    """Return the Python expression from a place to the brace that closes it; None if there is none."""
    if not _NAME.match(text, start):
        return None
    end = text.find("}", start)
    while end >= 0:
        try:
            ast.parse(text[start:end].strip(), mode="eval")
        except (SyntaxError, ValueError):  # a brace inside a string, or inside another pair of braces
            end = text.find("}", end + 1)
        else:
            return text[start:end]
    return None


def bound(cell: Cell, database: Any, value_of: Callable[[str], Any]) -> Bound:
    """Return the query of a cell with its inputs.

    Args:
        database: the value of each source in `:in` that has no expression; also if the query has no `:in`.
        value_of: returns the value of an expression.
    Raises: ReadError for a text that is not EDN; QueryError(:db.error/invalid-inputs) for an input without a value.
    """
    values = {Symbol(name): value_of(expression) for name, expression in cell.expressions.items()}
    form = edn.read(cell.text, quotes=True)
    sections = list(_sections(form))
    inputs: list[Any] = []
    named: list[Any] = []
    used: set[Any] = set()
    for name, items in sections:
        if name == ":in":
            for item, value in _pairs(items, values, database, used):
                named.append(item)
                inputs.append(value)
    if not any(name == ":in" for name, _ in sections):
        named, inputs = [Symbol(_SOURCE)], [database]
    written = [(name, _numbers(items, values, used) if name in _NUMBERS else items) for name, items in sections]
    patterns = {symbol: Symbol(symbol.removeprefix("?")) for symbol in _patterns(written, values)}
    for symbol, value in values.items():
        if symbol not in used:
            named.append(patterns.get(symbol, symbol))
            inputs.append(value)
    rest = [(name, _renamed(items, patterns) if name == ":find" else items) for name, items in written if name != ":in"]
    return Bound({Keyword(name): items for name, items in [*rest, (":in", named)]}, inputs)


def _sections(form: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield the sections of a query, that is a vector or a map. Raises: QueryError(:db.error/invalid-query)."""
    if isinstance(form, dict):
        yield from (
            (str(name), list(items) if isinstance(items, list | tuple) else [items]) for name, items in form.items()
        )
        return
    if not isinstance(form, list) or not form or not _begins(form[0]):
        message = "a cell of Datalog is one query, [:find ?name :where [?person :person/name ?name]]"
        raise QueryError(":db.error/invalid-query", message, got=form)
    starts = [i for i, part in enumerate(form) if _begins(part) and str(part) not in (":asc", ":desc")]
    for start, end in zip(starts, [*starts[1:], len(form)], strict=True):
        yield str(form[start]), form[start + 1 : end]


def _begins(part: Any) -> bool:
    return isinstance(part, str) and not isinstance(part, Symbol) and part.startswith(":")


def _pairs(items: Sequence[Any], values: Mapping[Any, Any], database: Any, used: set[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the parts of `:in`, each with its value: that of the expression after it, or the database for a source."""
    rest = list(items)
    while rest:
        item = rest.pop(0)
        if _is_input(item, values):
            message = "an expression in :in is the value of the part before it, as in :in $ ?name {name}"
            raise QueryError(":db.error/invalid-inputs", message, input=str(item))
        if rest and _is_input(rest[0], values):
            used.add(rest[0])
            yield item, values[rest.pop(0)]
        elif isinstance(item, Symbol) and item.startswith(_SOURCE):
            yield item, database
        else:
            shown = edn.write(item)
            message = f"{shown} in :in has no value; write an expression after it, {shown} {{name}}"
            raise QueryError(":db.error/invalid-inputs", message, input=shown)


def _is_input(form: Any, values: Mapping[Any, Any]) -> bool:
    return isinstance(form, Symbol) and form in values


def _numbers(items: Sequence[Any], values: Mapping[Any, Any], used: set[Any]) -> list[Any]:
    used.update(item for item in items if _is_input(item, values))
    return [values[item] if _is_input(item, values) else item for item in items]


def _patterns(sections: Sequence[tuple[str, list[Any]]], values: Mapping[Any, Any]) -> Iterator[Any]:
    """Yield the variables that stand for the pattern of a pull expression: there, queries take a plain symbol."""
    for name, items in sections:
        for item in items if name == ":find" else ():
            for form in (item, *item) if isinstance(item, list) else (item,):
                if isinstance(form, tuple) and form[:1] == (Symbol("pull"),) and _is_input(form[-1], values):
                    yield form[-1]


def _renamed(form: Any, names: Mapping[Any, Any]) -> Any:
    if isinstance(form, list | tuple):
        return type(form)(_renamed(part, names) for part in form)
    return names.get(form, form) if isinstance(form, Symbol) else form
