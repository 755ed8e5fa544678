"""The typed form of a query: the parser and the builder return it, and every later stage reads it.

Nodes are immutable and do not depend on a database. The name of a variable includes the question mark. `form` is the
form as the author wrote it, for messages. The `variables` of a clause are those that it shares with the clauses beside
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

# -- terms: the parts of a clause


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, `?x`."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that was written into the query."""

    value: Any


@dataclass(frozen=True, slots=True)
class SourceName:
    """A source as an argument, `$` or `$log`."""

    name: str


@dataclass(frozen=True, slots=True)
class Blank:
    """`_`: matches anything; each occurrence is independent."""


BLANK: Final = Blank()
Term: TypeAlias = Variable | Constant | SourceName | Blank

# -- bindings: how a value is destructured


@dataclass(frozen=True, slots=True)
class BindTuple:
    """`[?a _ ?b]`: the parts of one value, in order."""

    parts: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class BindEach:
    """`[?x ...]`, or `[[?a ?b]]`: each element of a collection."""

    part: Binding


Binding: TypeAlias = Variable | Blank | BindTuple | BindEach


def bound_by(binding: Binding | None) -> tuple[str, ...]:
    """Return the variables that a binding binds, from left to right."""
    if isinstance(binding, Variable):
        return (binding.name,)
    if isinstance(binding, BindEach):
        return bound_by(binding.part)
    if isinstance(binding, BindTuple):
        return tuple(name for part in binding.parts for name in bound_by(part))
    return ()


# -- clauses


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """`[$source? e a v tx op]`: facts of a source; missing terms are blank."""

    source: str
    terms: tuple[Term, ...]
    form: Any
    variables: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """`[(function argument*) binding?]`: a predicate without the binding, a function with it."""

    function: str  # a name, or a variable that an input binds to a callable
    args: tuple[Term, ...]
    binding: Binding | None
    form: Any
    needs: frozenset[str]  # the variables among the arguments; all must be bound
    variables: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Not:
    """`(not clause+)` and `(not-join [variable+] clause+)`: rows for which the clauses do not hold."""

    names: tuple[str, ...] | None  # the variables that not-join lists; None for `not`
    clauses: tuple[Clause, ...]
    form: Any
    variables: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Or:
    """`(or branch+)` and `(or-join [[required*] variable*] branch+)`: rows for which any branch holds."""

    required: frozenset[str]
    branches: tuple[tuple[Clause, ...], ...]
    form: Any
    variables: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class RuleCall:
    """`($source? name argument*)`: rows for which a rule holds."""

    source: str
    name: str
    args: tuple[Term, ...]
    form: Any
    variables: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A relation as a clause. It has no syntax: the evaluation of recursive rules creates it."""

    relation: Any
    form: Any
    variables: frozenset[str]


Clause: TypeAlias = Pattern | Call | Not | Or | RuleCall | Given


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One definition of a rule, `[(name [required*]? variable*) clause+]`."""

    parameters: tuple[str, ...]
    clauses: tuple[Clause, ...]
    form: Any


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """All definitions of one name; they are alternatives."""

    name: str
    arity: int
    required: int  # the caller must bind the first `required` parameters
    branches: tuple[Branch, ...]


# -- find and in


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`(function argument* ?x)`: one value computed from all values of a variable in a group."""

    function: str  # a name, or a variable that an input binds to a callable
    args: tuple[Term, ...]  # the arguments before the variable
    name: str
    form: Any = field(compare=False)


@dataclass(frozen=True, slots=True)
class PullExpression:
    """`(pull $source? ?e pattern)`; the pattern can be a variable that an input binds."""

    source: str
    name: str
    pattern: Any
    form: Any = field(compare=False)


Element: TypeAlias = Variable | Aggregate | PullExpression

RELATION: Final = "relation"  # ?a ?b
COLLECTION: Final = "collection"  # [?a ...]
TUPLE: Final = "tuple"  # [?a ?b]
SCALAR: Final = "scalar"  # ?a .


@dataclass(frozen=True, slots=True)
class Order:
    """One key of `:order-by`: the position of a column of the answer, and the direction."""

    position: int
    descending: bool


@dataclass(frozen=True, slots=True)
class SourceInput:
    """`$name` in `:in`."""

    name: str


@dataclass(frozen=True, slots=True)
class RulesInput:
    """`%` in `:in`."""


Input: TypeAlias = SourceInput | RulesInput | Variable | Blank | BindTuple | BindEach


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A whole query."""

    shape: str  # RELATION, COLLECTION, TUPLE or SCALAR
    elements: tuple[Element, ...]
    columns: tuple[str, ...]  # the variables that stand for the elements in :having and :order-by
    with_names: tuple[str, ...]
    inputs: tuple[Input, ...]
    clauses: tuple[Clause, ...]
    keys: tuple[Any, ...] | None = None  # of the dicts that :keys, :strs and :syms request
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    having: tuple[Clause, ...] = ()
    timeout: int | None = None  # milliseconds
    names: frozenset[str] = field(init=False)  # the variables of the answer
    side_names: frozenset[str] = field(init=False)  # inputs that aggregates, pulls and :having use
    aggregates: bool = field(init=False)  # whether any element is an aggregate
    is_bag: bool = field(init=False)  # whether rows may be equal: `:with` distinguishes them and nothing is aggregated
    pulls: bool = field(init=False)  # whether the answer contains pulled maps, which are not hashable
    memo: dict[str, Any] = field(default_factory=dict, repr=False)  # results that later stages computed from this query

    def __post_init__(self) -> None:
        object.__setattr__(self, "aggregates", any(isinstance(element, Aggregate) for element in self.elements))
        object.__setattr__(self, "is_bag", bool(self.with_names) and not self.aggregates)
        object.__setattr__(self, "pulls", any(isinstance(element, PullExpression) for element in self.elements))
        object.__setattr__(
            self, "names", frozenset(element.name for element in self.elements) | frozenset(self.with_names)
        )
        object.__setattr__(
            self,
            "side_names",
            frozenset(name for element in self.elements for name in _sides(element)).union(
                shared(self.having) - {*self.columns}
            ),
        )


def _sides(element: Element) -> tuple[str, ...]:
    if isinstance(element, PullExpression):
        return (element.pattern.name,) if isinstance(element.pattern, Variable) else ()
    if isinstance(element, Aggregate):
        inputs = tuple(term.name for term in element.args if isinstance(term, Variable))
        return (*inputs, element.function) if element.function.startswith("?") else inputs
    return ()


def walk(clauses: tuple[Clause, ...]) -> Iterator[Clause]:
    """Yield the clauses and all clauses inside them."""
    for clause in clauses:
        yield clause
        if isinstance(clause, Not):
            yield from walk(clause.clauses)
        elif isinstance(clause, Or):
            for branch in clause.branches:
                yield from walk(branch)


def shared(clauses: tuple[Clause, ...]) -> frozenset[str]:
    """Return the variables that occur in clauses, without those that are local to a `not-join` or an `or-join`."""
    return frozenset().union(*(clause.variables for clause in clauses))
