"""The typed form of a query: what every way of writing one becomes, and what everything after parsing reads.

Nodes are frozen and know no database. A variable is its name with the question mark. `form` is what the author wrote, for
messages. `variables` of a clause are those that it shares with the clauses beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

# -- terms: what stands in a place of a clause


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
    """`_`: anything, and never the same thing twice."""


BLANK: Final = Blank()
Term: TypeAlias = Variable | Constant | SourceName | Blank

# -- bindings: how a value is taken apart


@dataclass(frozen=True, slots=True)
class BindTuple:
    """`[?a _ ?b]`: the parts of one value, in order."""

    parts: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class BindEach:
    """`[?x ...]`, or `[[?a ?b]]`: every element of a collection in turn."""

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
    """`[$source? e a v tx op]`: facts of a source; places not written are blank."""

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
    needs: frozenset[str]  # variables among the arguments; all must be bound
    variables: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Not:
    """`(not clause+)` and `(not-join [variable+] clause+)`: rows for which the clauses do not hold."""

    names: tuple[str, ...] | None  # what not-join lists
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
    """Rows that are at hand already; what recursion is made of, written by nobody."""

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
    required: int  # this many first parameters must be bound by the caller
    branches: tuple[Branch, ...]


# -- find and in


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`(function argument* ?x)`: one value of all the values that a variable has in a group."""

    function: str  # a name, or a variable that an input binds to a callable
    args: tuple[Term, ...]  # what stands before the variable
    name: str
    form: Any = field(compare=False)


@dataclass(frozen=True, slots=True)
class PullExpression:
    """`(pull $source? ?e pattern)`; the pattern may be a variable that an input binds."""

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
    """One key of `:order-by`: a column of the answer, by its place."""

    place: int
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
    columns: tuple[str, ...]  # the variables by which :having and :order-by speak of the elements
    with_names: tuple[str, ...]
    inputs: tuple[Input, ...]
    clauses: tuple[Clause, ...]
    keys: tuple[Any, ...] | None = None  # of the dicts that :keys, :strs and :syms ask for
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    having: tuple[Clause, ...] = ()
    timeout: int | None = None  # milliseconds
    names: frozenset[str] = field(init=False)  # the variables that the answer is made of
    side_names: frozenset[str] = field(init=False)  # those that aggregates, pulls and :having take besides, from inputs
    aggregates: bool = field(init=False)  # whether any element is one
    is_bag: bool = field(
        init=False
    )  # whether rows may be equal: `:with` tells them apart, and no aggregate takes them together
    pulls: bool = field(init=False)  # whether the answer holds pulled maps, which Python cannot hash
    memo: dict[str, Any] = field(default_factory=dict, repr=False)  # what later stages worked out of this query

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
    """Yield the clauses and those inside them."""
    for clause in clauses:
        yield clause
        if isinstance(clause, Not):
            yield from walk(clause.clauses)
        elif isinstance(clause, Or):
            for branch in clause.branches:
                yield from walk(branch)


def shared(clauses: tuple[Clause, ...]) -> frozenset[str]:
    """Return the variables that occur in clauses, those that only a `not-join` or an `or-join` knows left out."""
    return frozenset().union(*(clause.variables for clause in clauses))
