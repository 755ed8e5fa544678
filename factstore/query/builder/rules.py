"""Rules: functions of Python whose parameters are variables and whose value is the condition under which they hold."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, cast, get_type_hints

from factstore.query.builder.terms import Compound, Entity, Held, Variable, wrong
from factstore.query.builder.writer import Given, Writer, joined
from factstore.schema.classes import is_shape, name_of
from factstore.values.types import Symbol

P = ParamSpec("P")


class Rule:
    """A rule; calling it is a condition."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = name_of(function.__name__)
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any) -> Held:
        expected = len(inspect.signature(self.function).parameters)
        if len(args) != expected:
            raise wrong(f"rule {self.name} takes {expected} arguments, got {len(args)}", rule=self.name)
        return Held(self, args)

    def write(self, given: Given) -> None:
        """Write the definitions of this rule, and of those that it calls, among what a query needs."""
        if any(rule is not self and rule.name == self.name for rule in given.rules):
            raise wrong(f"two rules are called {self.name}", rule=self.name)
        if self in given.rules:
            return
        given.rules[self] = []  # known already, so that a definition may call it
        known = len(given.inputs)
        parameters = self._parameters()
        body = self.function(*parameters)
        for part in body.parts if isinstance(body, Compound) and body.word == "or" else (body,):
            writer = Writer(given)
            head = [writer.term(each) for each in parameters]
            writer.conditions((part,))
            given.rules[self].append([(Symbol(self.name), *head), *joined(writer.clauses, {*head})])
        if len(given.inputs) > known:
            raise wrong(
                f"rule {self.name} applies a callable, which no rule can see; register it and call(…) it",
                rule=self.name,
            )

    def _parameters(self) -> list[Variable]:
        try:
            hints = get_type_hints(self.function)
        except Exception as error:  # an annotation that is text may be any code
            raise wrong(
                f"the types of rule {self.name}'s parameters must be known where it is defined: {error}", rule=self.name
            ) from error
        names = inspect.signature(self.function).parameters
        return [
            Entity(hints[name], name_of(name), None) if is_shape(hints.get(name)) else Variable(name_of(name))
            for name in names
        ]


def rule(function: Callable[P, bool]) -> Callable[P, bool]:
    """Return a rule: the condition that a function returns, for whatever it is called with; it may call itself.

    Parameters are variables of the types that their annotations say. An `or_` that is returned gives one definition for each
    of its branches.

    >>> @rule
    ... def grown_up(age: int) -> bool:
    ...     return age >= 18
    """
    return cast("Callable[P, bool]", Rule(function))
