"""Rules: Python functions whose parameters are variables and whose return value is the condition of the rule."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, cast, get_type_hints

from factstore.query.builder.terms import Compound, EntityTerm, RuleCondition, VariableTerm, wrong
from factstore.query.builder.writer import Additions, ClauseWriter, joined
from factstore.schema.class_fields import is_shape, name_of
from factstore.values.types import Symbol

P = ParamSpec("P")


class RuleFunction:
    """A rule; a call of it is a condition."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = name_of(function.__name__)
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any) -> RuleCondition:
        expected = len(inspect.signature(self.function).parameters)
        if len(args) != expected:
            raise wrong(f"rule {self.name} takes {expected} arguments, got {len(args)}", rule=self.name)
        return RuleCondition(self, args)

    def write(self, additions: Additions) -> None:
        """Add the definitions of this rule, and of the rules that it calls, to what a query needs."""
        if any(rule is not self and rule.name == self.name for rule in additions.rules):
            raise wrong(f"two rules have the name {self.name}", rule=self.name)
        if self in additions.rules:
            return
        additions.rules[self] = []  # registered first, so that a definition can call the rule itself
        input_count = len(additions.inputs)
        parameters = self._parameters()
        body = self.function(*parameters)
        for part in body.parts if isinstance(body, Compound) and body.word == "or" else (body,):
            writer = ClauseWriter(additions)
            head = [writer.term(each) for each in parameters]
            writer.conditions((part,))
            additions.rules[self].append([(Symbol(self.name), *head), *joined(writer.clauses, {*head})])
        if len(additions.inputs) > input_count:
            raise wrong(
                f"rule {self.name} applies a callable, which rules cannot do; register it and use call(…)",
                rule=self.name,
            )

    def _parameters(self) -> list[VariableTerm]:
        try:
            hints = get_type_hints(self.function)
        except Exception as error:  # an annotation given as text can be any code
            raise wrong(
                f"the types of the parameters of rule {self.name} must be defined where the rule is: {error}",
                rule=self.name,
            ) from error
        names = inspect.signature(self.function).parameters
        return [
            EntityTerm(hints[name], name_of(name), None) if is_shape(hints.get(name)) else VariableTerm(name_of(name))
            for name in names
        ]


def rule(function: Callable[P, bool]) -> Callable[P, bool]:
    """Return a rule, whose condition is the return value of a function; the rule can call itself.

    Parameters are variables of the annotated types. If the function returns an `or_`, the rule has one definition for
    each branch.

    >>> @rule
    ... def grown_up(age: int) -> bool:
    ...     return age >= 18
    """
    return cast("Callable[P, bool]", RuleFunction(function))
