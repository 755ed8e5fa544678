"""The writer: terms and conditions as the forms that EDN text would be read as.

A path is a variable and the pattern that binds it. The pattern stands in the outermost list of clauses that speaks of the path,
so a path inside `not_` or a branch of `or_` stays inside it unless something outside speaks of it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from factstore.query.builder.terms import (
    Aggregated,
    Calculated,
    Compared,
    Compound,
    Descending,
    Entity,
    Held,
    Many,
    Named,
    Path,
    Pulled,
    Source,
    Stated,
    Term,
    Variable,
    shape_of,
    source_of,
    wrong,
)
from factstore.schema.classes import is_instance, name_of
from factstore.values.quoting import quoted
from factstore.values.types import Keyword, Symbol

BLANK: Final = Symbol("_")


class Given:
    """What a query needs beside what its user passes: the rules that it calls, and classes and callables as inputs."""

    def __init__(self, reserved: frozenset[str]) -> None:
        self.reserved = reserved  # names that somebody chose; none of ours may be one of them
        self.chosen: set[str] = set()
        self.inputs: dict[Symbol, Any] = {}
        self.rules: dict[Any, list[Any]] = {}

    def input(self, value: Any) -> Symbol:
        """Return the variable of an input that is bound already."""
        for name, known in self.inputs.items():
            if known is value:
                return name
        stem = name_of(getattr(value, "__name__", "f")).strip("<>")
        text = self.free(f"{stem}-shape" if isinstance(value, type) else stem, ())
        self.reserved |= {text}
        self.inputs[Symbol(f"?{text}")] = value
        return Symbol(f"?{text}")

    def free(self, stem: str, taken: Iterable[str]) -> str:
        """Return a name like `stem` that nobody has."""
        name, number = stem, 1
        while name in self.reserved or name in taken:
            number += 1
            name = f"{stem}{number}"
        return name


class Writer:
    """Writes one list of clauses, within others or not."""

    def __init__(self, given: Given, outer: Writer | None = None) -> None:
        self.given = given
        self.outer = outer
        self.clauses: list[Any] = []
        self._names: dict[Any, Symbol] = outer._names if outer is not None else {}
        self._written: dict[Any, Symbol] = {}  # of paths and calculations, by what they are
        self._alive: list[Any] = outer._alive if outer is not None else []  # so that no id is used twice

    # -- terms

    def term(self, term: Any) -> Any:
        """Return what stands for a term in a clause; what binds it is written before."""
        if isinstance(term, Variable):
            return self._variable(term)
        if isinstance(term, Path):
            return self._path(term)
        if isinstance(term, Calculated):
            return self._calculated(term)
        if isinstance(term, Term):
            raise wrong(f"{type(term).__name__.lower()} terms stand in find, having and order_by only")
        if is_instance(term) or isinstance(term, type):
            raise wrong(f"expected a value or a variable, got {quoted(term)}; entity(…) stands for an entity", got=term)
        return term

    def _variable(self, term: Variable) -> Symbol:
        if term._name is not None:
            self.given.chosen.add(term._name)
            return Symbol(f"?{term._name}")
        stem = name_of(term._shape.__name__) if isinstance(term, Entity) and term._shape is not None else "v"
        return self._named(id(term), term, stem)

    def _named(self, key: Any, term: Any, stem: str) -> Symbol:
        found = self._names.get(key)
        if found is None:
            found = self._names[key] = Symbol(
                f"?{self.given.free(stem, {str(name)[1:] for name in self._names.values()})}"
            )
            self._alive.append((self, term))
        return found

    def _bound(self, key: Any) -> Symbol | None:
        """Return the variable that a path or a calculation has here, from this list of clauses or from one around it."""
        writer: Writer | None = self
        while writer is not None:
            if key in writer._written:
                return writer._written[key]
            writer = writer.outer
        return None

    def _path(self, path: Path) -> Symbol:
        key = self._key(path)
        found = self._bound(key)
        if found is None:
            owner = self.term(path._owner)
            found = self._written[key] = self._named(
                (id(self), key), path, f"{str(owner)[1:]}-{name_of(path._slot.name)}"
            )
            self.fact((owner, Keyword(path._slot.attribute), found), source_of(path))
        return found

    def _key(self, path: Path) -> Any:
        owner = path._owner
        return (self._key(owner) if isinstance(owner, Path) else self.term(owner)), path._slot.attribute

    def _calculated(self, term: Calculated) -> Symbol:
        found = self._bound(id(term))
        if found is None:
            call = self.call(term)
            found = self._written[id(term)] = self._named((id(self), id(term)), term, "v")
            self.clauses.append([call, found])
        return found

    def call(self, term: Calculated) -> tuple[Any, ...]:
        """Return a call of a function."""
        function = Symbol(term._function) if isinstance(term._function, str) else self.given.input(term._function)
        if term._source is None:
            return (function, *map(self.term, term._args))
        path = term._source
        source = source_of(path)
        name = Symbol("$" if source is None else f"${source.name}")
        return (function, name, self.term(path._owner), Keyword(path._slot.attribute), *map(self.term, term._args))

    def fact(self, places: tuple[Any, ...], source: Source | None) -> None:
        """Write a pattern."""
        self.clauses.append([*([] if source is None else [Symbol(f"${source.name}")]), *places])

    # -- conditions

    def conditions(self, conditions: Iterable[Any]) -> None:
        """Write conditions, those that others may stand on first."""
        flat = list(_flattened(conditions))
        for nested in (False, True):
            for condition in flat:
                if nested == isinstance(condition, Compound):
                    self.condition(condition)

    def condition(self, condition: Any) -> None:
        """Write one condition."""
        if isinstance(condition, Compared):
            self._compared(condition)
        elif isinstance(condition, Stated):
            self.fact(tuple(map(self.term, condition.terms)), condition.source)
        elif isinstance(condition, Calculated):
            self.clauses.append([self.call(condition)])
        elif isinstance(condition, Held):
            self._held(condition)
        elif isinstance(condition, Path):  # that is true or false by itself
            self._compared(Compared("=", condition, True))
        elif isinstance(condition, Compound):
            self._not(condition) if condition.word == "not" else self._or(condition)
        else:
            raise wrong(f"expected a condition such as p.name == n, got {quoted(condition)}", got=condition)

    def _compared(self, condition: Compared) -> None:
        operator, left, right = condition.operator, condition.left, condition.right
        if operator != "=":
            self.clauses.append([(Symbol(operator), self.term(left), self.term(right))])
        elif isinstance(left, Path) or isinstance(right, Path):
            path, other = (left, right) if isinstance(left, Path) else (right, left)
            self.fact((self.term(path._owner), Keyword(path._slot.attribute), self.term(other)), source_of(path))
        elif isinstance(left, Variable | Calculated) and isinstance(right, Variable | Calculated):
            self._same(left, right)
        else:
            variable, value = (left, right) if isinstance(left, Term) else (right, left)
            self.clauses.append([(Symbol("ground"), value), self.term(variable)])

    def _same(self, left: Any, right: Any) -> None:
        """Write that two terms are equal: the result of a function is bound to the other of them."""
        call, other = (left, right) if isinstance(left, Calculated) else (right, left)
        if isinstance(call, Calculated):
            self.clauses.append([self.call(call), self.term(other)])
        else:
            self.clauses.append([(Symbol("="), self.term(left), self.term(right))])

    def _held(self, condition: Held) -> None:
        condition.rule.write(self.given)
        self.clauses.append((Symbol(condition.rule.name), *map(self.term, condition.args)))

    def _inner(self, conditions: Iterable[Any]) -> list[Any]:
        writer = Writer(self.given, self)
        writer.conditions(conditions)
        return writer.clauses

    def _not(self, condition: Compound) -> None:
        self.clauses.append((Symbol("not"), *self._inner(condition.parts)))

    def _or(self, condition: Compound) -> None:
        branches = [self._inner((part,)) for part in condition.parts]
        self.clauses.append((Symbol("or"), *map(_alone, branches)))

    # -- the answer

    def element(self, term: Any) -> Any:
        """Return an element of `:find`."""
        if isinstance(term, Named):
            return (Symbol("as"), self.element(term._term), self._variable(term._alias))
        if isinstance(term, Aggregated):
            function, over = term._function, self.term(term._term)
            if isinstance(function, str):
                return (Symbol(function), *map(self.term, term._args), over)
            return (Symbol("aggregate"), self.given.input(function), *map(self.term, term._args), over)
        if isinstance(term, Pulled):
            source = source_of(term._term)
            pattern = self.given.input(shape_of(term._term)) if term._pattern is None else term._pattern
            return (
                Symbol("pull"),
                *([] if source is None else [Symbol(f"${source.name}")]),
                self.term(term._term),
                pattern,
            )
        if not isinstance(term, Term):
            raise wrong(f"expected a variable, an aggregate or a pull to find, got {quoted(term)}", got=term)
        return self.term(term)

    def column(self, term: Any) -> Any:
        """Return how a column of the answer is spoken of by conditions and keys of order."""
        if isinstance(term, Named):
            return self._variable(term._alias)
        if isinstance(term, Calculated):
            return self.term(term)
        return self.element(term) if isinstance(term, Term) else term

    def key(self, key: Any) -> list[Any]:
        """Return a key of order and its direction."""
        return (
            [self.column(key.key), Keyword(":desc")]
            if isinstance(key, Descending)
            else [self.column(key), Keyword(":asc")]
        )

    def input(self, part: Any) -> Any:
        """Return what stands in `:in` for an input."""
        if isinstance(part, Source):
            return Symbol(f"${part.name}")
        if isinstance(part, Many):
            inner = [self.input(each) for each in part.parts]
            return [inner[0], Symbol("...")] if len(inner) == 1 else [inner]
        if isinstance(part, tuple) and part:
            return [self.input(each) for each in part]
        if isinstance(part, Variable):
            return self._variable(part)
        raise wrong(f"expected a variable, a tuple of them, many(…) or a source to take, got {quoted(part)}", got=part)


class HavingWriter(Writer):
    """Writes conditions over columns of an answer: terms are columns, and equality is a predicate."""

    def term(self, term: Any) -> Any:
        """Return what stands for a column, or for a function of columns."""
        return self._calculated(term) if isinstance(term, Calculated) else self.column(term)

    def element(self, term: Any) -> Any:
        """Return a column's element, written as it is in `:find`."""
        assert self.outer is not None
        return self.outer.element(term)

    def _compared(self, condition: Compared) -> None:
        self.clauses.append([(Symbol(condition.operator), self.term(condition.left), self.term(condition.right))])

    def _inner(self, conditions: Iterable[Any]) -> list[Any]:
        writer = HavingWriter(self.given, self.outer)
        writer.conditions(conditions)
        return writer.clauses


def _flattened(conditions: Iterable[Any]) -> Iterable[Any]:
    for condition in conditions:
        if isinstance(condition, Compound) and condition.word == "and":
            yield from _flattened(condition.parts)
        else:
            yield condition


def _alone(clauses: list[Any]) -> Any:
    """Return clauses as one branch of an `or`."""
    return clauses[0] if len(clauses) == 1 else (Symbol("and"), *clauses)


def variables_in(form: Any) -> set[Symbol]:
    """Return the variables that occur in a form."""
    if type(form) is Symbol:
        return {form} if form.startswith("?") else set()
    if isinstance(form, list | tuple):
        return set().union(*map(variables_in, form))
    return set()


def joined(clauses: list[Any], outside: set[Symbol]) -> list[Any]:
    """Return clauses in which each `or` says which variables its branches share with what stands beside it.

    Variables that some branch does not speak of must be bound already, `[[?bound …] ?free …]`.
    """
    found = []
    for i, clause in enumerate(clauses):
        beside = outside.union(*(variables_in(other) for other in clauses[:i] + clauses[i + 1 :]))
        found.append(_joined(clause, beside) if isinstance(clause, tuple) else clause)
    return found


def _joined(clause: tuple[Any, ...], outside: set[Symbol]) -> tuple[Any, ...]:
    if clause[0] == "not":
        return (clause[0], *joined(list(clause[1:]), outside))
    if clause[0] != "or":
        return clause
    uses = [variables_in(branch) for branch in clause[1:]]
    shared = sorted(set().union(*uses) & outside)
    bodies = [
        list(branch[1:]) if branch[0] == "and" and isinstance(branch, tuple) else [branch] for branch in clause[1:]
    ]
    inner = [joined(body, {Symbol(name) for name in shared}) for body in bodies]
    branches = list(map(_alone, inner))
    if all(use == set(shared) for use in uses):
        return (clause[0], *branches)
    bound = [name for name in shared if not all(name in use for use in uses)]
    free = [name for name in shared if name not in bound]
    return (Symbol("or-join"), [*([bound] if bound else []), *free], *branches)
