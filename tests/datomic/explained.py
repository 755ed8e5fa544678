"""Which differences are deliberate: for each id of docs/reference/differences.edn that random cases meet, when it applies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any, Final, NamedTuple

from factstore import Keyword, Symbol
from tests.conformance.compare import unordered
from tests.datomic.cases import TEMPIDS


class Answers(NamedTuple):
    """A step that the stores answer in different ways, and their answers."""

    step: Mapping[str, Any]
    ours: list[Any]
    theirs: list[Any]

    def refused(self, code: str) -> bool:
        """Return whether only this store raises an error, with this code."""
        return ":error" == self.ours[0] != self.theirs[0] and self.ours[1].startswith(code)

    def refuses(self, text: str) -> bool:
        """Return whether only Datomic raises an error, with this text in its message."""
        return ":error" == self.theirs[0] != self.ours[0] and text in self.theirs[1]

    def has_more_rows(self) -> bool:
        """Return whether both are rows, and only this store has some of them."""
        if ":ok" != self.ours[0] or ":ok" != self.theirs[0]:
            return False
        ours, theirs = self.ours[1], self.theirs[1]
        # Datomic returns an empty vector for an aggregate of nothing.
        return bool(ours) and (not theirs or (isinstance(ours, Set) and isinstance(theirs, Set) and ours > theirs))

    def has(self, wanted: Callable[[Any], object]) -> bool:
        """Return whether a part of the step, at any depth, is wanted."""
        return any(map(wanted, parts(self.step)))


def parts(form: Any) -> Iterator[Any]:
    """Yield a form and its parts at any depth."""
    yield form
    if isinstance(form, Mapping):
        form = [*form, *form.values()]
    if isinstance(form, list | tuple):
        for part in form:
            yield from parts(part)


def form(operation: str, entity: Callable[[Any], object]) -> Callable[[Any], object]:
    """Return a test for forms of a transaction with an operation, about an entity of a kind."""
    return lambda part: isinstance(part, list) and len(part) > 1 and part[0] == operation and entity(part[1])


def is_tempid(entity: Any) -> bool:
    return type(entity) is str and entity in TEMPIDS


def call(*names: str) -> Callable[[Any], object]:
    """Return a test for calls of a function in a query."""
    return lambda part: isinstance(part, tuple) and len(part) > 0 and type(part[0]) is Symbol and part[0] in names


def is_blank(part: Any) -> bool:
    return bool(part == Symbol("_"))


def has_blank_input(step: Mapping[str, Any]) -> bool:
    """Return whether a query has the symbol `_` in a binding of an input and in a clause."""
    query = list(step.get(":query", ()))
    if not {":in", ":where"} <= {part for part in query if isinstance(part, str)}:
        return False
    inputs, clauses = query[query.index(":in") : query.index(":where")], query[query.index(":where") :]
    return all(any(map(is_blank, parts(each))) for each in (inputs, clauses))


def groups_of(step: Mapping[str, Any]) -> int:
    """Return the number of groups of clauses of a query that share no variable."""
    query = list(step.get(":query", ()))
    clauses = query[query.index(":where") + 1 :] if ":where" in query else []
    groups: list[set[Any]] = []
    for clause in clauses:
        variables = {part for part in parts(clause) if type(part) is Symbol and part.startswith("?")}
        joined = [group for group in groups if group & variables]
        groups = [group for group in groups if not group & variables] + [variables.union(*joined)]
    return len(groups)


def without_idents(pulled: Any, depth: int = 0) -> Any:
    """Return the result of a pull without the idents of the entities that it refers to."""
    if isinstance(pulled, Mapping):
        return {key: without_idents(value, depth + 1) for key, value in pulled.items() if not depth or key != ":db/ident"}
    return [without_idents(each, depth) for each in pulled] if isinstance(pulled, list) else pulled


EXPLAINED: Final[dict[str, Callable[[Answers], object]]] = {
    "retract-tempid": lambda a: (
        (a.refused(":db.error/invalid-tx-form") or a.refused(":db.error/tempid-not-an-entity"))
        and a.has(lambda part: any(form(name, is_tempid)(part) for name in (":db/retract", ":db/retractEntity")))
    ),
    "tempid-of-existing": lambda a: (
        a.refuses("not-a-keyword")
        and a.has(lambda part: any(form(name, is_tempid)(part) for name in (":db/cas", ":db/retract", ":db/retractEntity")))
    ),
    "retract-tuple-type": lambda a: (
        (a.refused(":db.error/wrong-type-for-attribute") or a.refused(":db.error/invalid-tuple-value"))
        and " tuple " in a.ours[1]
        and a.has(form(":db/retract", bool))
    ),
    "component-cycle": lambda a: ":pull" in a.step and a.refuses("StackOverflowError"),
    "enum-ident": lambda a: (
        ":pull" in a.step
        and a.ours[0] == a.theirs[0] == ":ok"
        and unordered(without_idents(a.ours[1])) == unordered(without_idents(a.theirs[1]))
    ),
    "unreached-clause": lambda a: a.refuses("cardinality-many attrs not supported") and not a.ours[1] and a.has(call("get-else")),
    "cas-old-reference": lambda a: a.refuses("cas-failed") and a.has(form(":db/cas", bool)),
    "many-tuples": lambda a: ":tx" in a.step and a.refuses("Don't know how to create ISeq"),
    "joined-blanks": lambda a: (
        (a.refuses("Cannot interpret as a keyword") and a.has(is_blank)) or (has_blank_input(a.step) and a.has_more_rows())
    ),
    "unused-limit": lambda a: a.refused(":db.error/invalid-pull") and ":limit" in a.ours[1],
    "schema-conflict": lambda a: a.refused(":db.error/datoms-conflict") and "db/cardinality" in a.ours[1],
    "retract-two-values": lambda a: a.refuses("datoms-conflict") and 2 == a.theirs[1].count("false]"),
    "component-ref": lambda a: a.refused(":db.error/invalid-install-attribute") and a.has(lambda part: part == Keyword(":db/isComponent")),
    "one-number-type": lambda a: a.refuses("is not a valid :bigint"),
    "pr-str": lambda a: a.ours[0] == a.theirs[0] == ":ok" and a.has(call("pr-str")),
    "disjoint-clauses": lambda a: a.ours[0] == ":ok" and not a.ours[1] and groups_of(a.step) > 1,
}


def explanation(step: Mapping[str, Any], ours: list[Any], theirs: list[Any]) -> str | None:
    """Return the id of the deliberate difference that explains different answers to a step, or None."""
    answers = Answers(step, ours, theirs)
    return next((name for name, explains in EXPLAINED.items() if explains(answers)), None)
