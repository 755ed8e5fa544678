"""The writer: terms and conditions as the forms that the EDN reader would return for their text.

A path becomes a variable and the pattern that binds it. The pattern is in the outermost list of clauses that uses the
path. So a path inside `not_` or a branch of `or_` stays inside it, unless something outside also uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from factstore.query.builder.terms import (
    Aggregated,
    Calculated,
    Comparison,
    Compound,
    Descending,
    EntityTerm,
    FactCondition,
    Many,
    Named,
    Path,
    Pulled,
    RuleCondition,
    Source,
    Term,
    VariableTerm,
    shape_of,
    source_of,
    wrong,
)
from factstore.schema.class_fields import is_instance, name_of
from factstore.values.quoting import quoted
from factstore.values.types import Keyword, Symbol

BLANK: Final = Symbol("_")


class Additions:
    """What the builder adds to the inputs of a query: the rules that it calls, and classes and callables as inputs."""

    def __init__(self, reserved: frozenset[str]) -> None:
        self.reserved = reserved  # names that the caller chose; generated names must be different
        self.chosen: set[str] = set()
        self.inputs: dict[Symbol, Any] = {}
        self.rules: dict[Any, list[Any]] = {}

    def input(self, value: Any) -> Symbol:
        """Return the variable of an input with this value; add the input if it is new."""
        for name, each in self.inputs.items():
            if each is value:
                return name
        stem = name_of(getattr(value, "__name__", "f")).strip("<>")
        text = self.free(f"{stem}-shape" if isinstance(value, type) else stem, ())
        self.reserved |= {text}
        self.inputs[Symbol(f"?{text}")] = value
        return Symbol(f"?{text}")

    def free(self, stem: str, taken: Iterable[str]) -> str:
        """Return a name similar to `stem` that is not in use."""
        name, number = stem, 1
        while name in self.reserved or name in taken:
            number += 1
            name = f"{stem}{number}"
        return name


class ClauseWriter:
    """Writes one list of clauses, which can be inside another list."""

    def __init__(self, additions: Additions, outer: ClauseWriter | None = None) -> None:
        self.additions = additions
        self.outer = outer
        self.clauses: list[Any] = []
        self._names: dict[Any, Symbol] = outer._names if outer is not None else {}
        self._written: dict[Any, Symbol] = {}  # the variables of paths and calculations
        self._alive: list[Any] = (
            outer._alive if outer is not None else []
        )  # keeps terms alive, so that no id is used twice

    # -- terms

    def term(self, term: Any) -> Any:
        """Return the form of a term in a clause; first write the clauses that bind it."""
        if isinstance(term, VariableTerm):
            return self._variable(term)
        if isinstance(term, Path):
            return self._path(term)
        if isinstance(term, Calculated):
            return self._calculated(term)
        if isinstance(term, Term):
            raise wrong(f"{type(term).__name__.lower()} terms are allowed only in find, having and order_by")
        if is_instance(term) or isinstance(term, type):
            raise wrong(f"expected a value or a variable, got {quoted(term)}; entity(…) stands for an entity", got=term)
        return term

    def _variable(self, term: VariableTerm) -> Symbol:
        if term._name is not None:
            self.additions.chosen.add(term._name)
            return Symbol(f"?{term._name}")
        stem = name_of(term._shape.__name__) if isinstance(term, EntityTerm) and term._shape is not None else "v"
        return self._named(id(term), term, stem)

    def _named(self, key: Any, term: Any, stem: str) -> Symbol:
        name = self._names.get(key)
        if name is None:
            names = {str(each)[1:] for each in self._names.values()}
            name = self._names[key] = Symbol(f"?{self.additions.free(stem, names)}")
            self._alive.append((self, term))
        return name

    def _bound(self, key: Any) -> Symbol | None:
        """Return the variable of a path or a calculation in this list of clauses or in an enclosing one."""
        writer: ClauseWriter | None = self
        while writer is not None:
            if key in writer._written:
                return writer._written[key]
            writer = writer.outer
        return None

    def _path(self, path: Path) -> Symbol:
        key = self._key(path)
        variable = self._bound(key)
        if variable is None:
            owner = self.term(path._owner)
            stem = f"{str(owner)[1:]}-{name_of(path._slot.name)}"
            variable = self._written[key] = self._named((id(self), key), path, stem)
            self.fact((owner, Keyword(path._slot.attribute), variable), source_of(path))
        return variable

    def _key(self, path: Path) -> Any:
        owner = path._owner
        return (self._key(owner) if isinstance(owner, Path) else self.term(owner)), path._slot.attribute

    def _calculated(self, term: Calculated) -> Symbol:
        variable = self._bound(id(term))
        if variable is None:
            call = self.call(term)
            variable = self._written[id(term)] = self._named((id(self), id(term)), term, "v")
            self.clauses.append([call, variable])
        return variable

    def call(self, term: Calculated) -> tuple[Any, ...]:
        """Return a call of a function."""
        function = Symbol(term._function) if isinstance(term._function, str) else self.additions.input(term._function)
        if term._source is None:
            return (function, *map(self.term, term._args))
        path = term._source
        source = source_of(path)
        name = Symbol("$" if source is None else f"${source.name}")
        return (function, name, self.term(path._owner), Keyword(path._slot.attribute), *map(self.term, term._args))

    def fact(self, terms: tuple[Any, ...], source: Source | None) -> None:
        """Write a pattern."""
        self.clauses.append([*([] if source is None else [Symbol(f"${source.name}")]), *terms])

    # -- conditions

    def conditions(self, conditions: Iterable[Any]) -> None:
        """Write conditions; first those that bind variables for the others."""
        flat = list(_flattened(conditions))
        for nested in (False, True):
            for condition in flat:
                if nested == isinstance(condition, Compound):
                    self.condition(condition)

    def condition(self, condition: Any) -> None:
        """Write one condition."""
        if isinstance(condition, Comparison):
            self._compared(condition)
        elif isinstance(condition, FactCondition):
            self.fact(tuple(map(self.term, condition.terms)), condition.source)
        elif isinstance(condition, Calculated):
            self.clauses.append([self.call(condition)])
        elif isinstance(condition, RuleCondition):
            self._rule(condition)
        elif isinstance(condition, Path):  # an attribute with a boolean value
            self._compared(Comparison("=", condition, True))
        elif isinstance(condition, Compound):
            self._not(condition) if condition.word == "not" else self._or(condition)
        else:
            raise wrong(f"expected a condition such as p.name == n, got {quoted(condition)}", got=condition)

    def _compared(self, condition: Comparison) -> None:
        operator, left, right = condition.operator, condition.left, condition.right
        left, right = _constant(operator, left, right), _constant(operator, right, left)
        if operator != "=":
            self.clauses.append([(Symbol(operator), self.term(left), self.term(right))])
        elif isinstance(left, Path) or isinstance(right, Path):
            path, other = (left, right) if isinstance(left, Path) else (right, left)
            self.fact((self.term(path._owner), Keyword(path._slot.attribute), self.term(other)), source_of(path))
        elif isinstance(left, VariableTerm | Calculated) and isinstance(right, VariableTerm | Calculated):
            self._same(left, right)
        else:
            variable, value = (left, right) if isinstance(left, Term) else (right, left)
            self.clauses.append([(Symbol("ground"), value), self.term(variable)])

    def _same(self, left: Any, right: Any) -> None:
        """Write that two terms are equal; if one is a call of a function, its result is bound to the other one."""
        call, other = (left, right) if isinstance(left, Calculated) else (right, left)
        if isinstance(call, Calculated):
            self.clauses.append([self.call(call), self.term(other)])
        else:
            self.clauses.append([(Symbol("="), self.term(left), self.term(right))])

    def _rule(self, condition: RuleCondition) -> None:
        condition.rule.write(self.additions)
        self.clauses.append((Symbol(condition.rule.name), *map(self.term, condition.args)))

    def _inner(self, conditions: Iterable[Any]) -> list[Any]:
        writer = ClauseWriter(self.additions, self)
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
            return (Symbol("aggregate"), self.additions.input(function), *map(self.term, term._args), over)
        if isinstance(term, Pulled):
            source = source_of(term._term)
            pattern = self.additions.input(shape_of(term._term)) if term._pattern is None else term._pattern
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
        """Return the form of a column of the answer in conditions and keys of order."""
        if isinstance(term, Named):
            return self._variable(term._alias)
        if isinstance(term, Calculated):
            return self.term(term)
        return self.element(term) if isinstance(term, Term) else term

    def key(self, key: Any) -> list[Any]:
        """Return a key of `:order-by` and its direction."""
        return (
            [self.column(key.key), Keyword(":desc")]
            if isinstance(key, Descending)
            else [self.column(key), Keyword(":asc")]
        )

    def input(self, part: Any) -> Any:
        """Return the form of an input in `:in`."""
        if isinstance(part, Source):
            return Symbol(f"${part.name}")
        if isinstance(part, Many):
            inner = [self.input(each) for each in part.parts]
            return [inner[0], Symbol("...")] if len(inner) == 1 else [inner]
        if isinstance(part, tuple) and part:
            return [self.input(each) for each in part]
        if isinstance(part, VariableTerm):
            return self._variable(part)
        raise wrong(f"expected a variable, a tuple of them, many(…) or a source to take, got {quoted(part)}", got=part)


class HavingWriter(ClauseWriter):
    """Writes conditions on columns of an answer: terms are columns, and equality is a predicate."""

    def term(self, term: Any) -> Any:
        """Return the form of a column, or of a function of columns."""
        return self._calculated(term) if isinstance(term, Calculated) else self.column(term)

    def element(self, term: Any) -> Any:
        """Return a column's element, written as it is in `:find`."""
        assert self.outer is not None
        return self.outer.element(term)

    def _compared(self, condition: Comparison) -> None:
        self.clauses.append([(Symbol(condition.operator), self.term(condition.left), self.term(condition.right))])

    def _inner(self, conditions: Iterable[Any]) -> list[Any]:
        writer = HavingWriter(self.additions, self.outer)
        writer.conditions(conditions)
        return writer.clauses


def _constant(operator: str, term: Any, other: Any) -> Any:
    """Return a term; a value that is compared with a field is returned as it is stored."""
    if isinstance(term, Term) or not isinstance(other, Path) or other._slot.convention is None:
        return term
    if operator != "=" and other._slot.convention.idents:
        raise wrong(f"a field of an enum is compared with == only, and not_(…) of it, got {operator} {quoted(term)}")
    return other._slot.one_stored(term)


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
    """Return clauses in which each `or` lists the variables that its branches share with the clauses beside it.

    Variables that do not occur in every branch must be bound by other clauses, `[[?bound …] ?free …]`.
    """
    result = []
    for i, clause in enumerate(clauses):
        beside = outside.union(*(variables_in(other) for other in clauses[:i] + clauses[i + 1 :]))
        result.append(_joined(clause, beside) if isinstance(clause, tuple) else clause)
    return result


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
