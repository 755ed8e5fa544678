"""Rules: a call of one is the union of its definitions, each solved from what the caller has bound.

A rule that does not recurse is solved on the spot. One that is a closure is walked (`walks`); one that hands the answers of its
recursive call down unchanged is a matter of following its questions (`questions`). Any other recursion runs in rounds: a *table*
for each rule and each set of bound arguments holds the inputs asked for and the answers found, and a round takes only what the
last one added, once as new inputs and once as new answers in the place of each recursive call.

Law: a derivation is seen in the round in which the last of its parts became known, so none is missed; values come from a
finite set, so rounds end, on circles too.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from typing import Any

from factstore.query.analysis.scope import Adornment, adornment
from factstore.query.language.ast import Clause, Constant, Given, Rule, RuleCall, Variable
from factstore.query.planning.context import Context, Solve
from factstore.query.planning.plan import seeded
from factstore.query.relations import algebra
from factstore.query.relations.relation import PLAIN, UNIT, Relation
from factstore.query.rules.closure import MixedKinds, Walk
from factstore.query.rules.idents import with_entities
from factstore.query.rules.linear import Questions, shape_of
from factstore.query.rules.tables import Table, places_of


def run_rule(context: Context, call: RuleCall, relation: Relation, keep: Set[str], solve: Solve) -> Relation:
    """Return a relation joined with the answers of a rule."""
    rule = context.scopes.rule(call)
    current: Pass | None = context.current
    if current is not None and rule.name in current.component:
        return current.run(call, relation, keep)
    inner = replace(context.under(call.source, call.form), current=None)
    if not context.program.is_recursive(rule.name):
        return _joined(relation, _union(inner, rule, call, relation, keep, solve), call, keep)
    asked, rows = with_entities(inner, call, relation)
    bound = adornment(asked, rows.names)
    answers = (
        _closed(inner, rule, asked, rows, bound, solve)
        or _handed_down(inner, rule, asked, rows, bound, solve)
        or _tabled(inner, rule, asked, rows, bound, solve)
    )
    return _without(_joined(rows, answers, asked, keep), rows.names - relation.names)


def _without(relation: Relation, names: Set[str]) -> Relation:
    return relation.keep(relation.names - names) if names else relation


def _union(context: Context, rule: Rule, call: RuleCall, relation: Relation, keep: Set[str], solve: Solve) -> Relation:
    """Solve the definitions of a rule that does not recurse, as far as the caller needs its arguments."""
    wanted = [place for place, term in enumerate(call.args) if _is_wanted(term, call, relation, keep)]
    parts = []
    for branch in rule.branches:
        seed = algebra.distinct(seeded(call.args, branch.parameters, relation))
        found = solve(context, branch.clauses, seed, frozenset(branch.parameters[place] for place in wanted))
        parts.append(found.renamed({branch.parameters[place]: str(place) for place in wanted}))
    return algebra.union(parts, [str(place) for place in wanted])


def _is_wanted(term: Any, call: RuleCall, relation: Relation, keep: Set[str]) -> bool:
    return isinstance(term, Variable) and (term.name in keep or relation.binds(term.name) or call.args.count(term) > 1)


def _joined(relation: Relation, answers: Relation, call: RuleCall, keep: Set[str]) -> Relation:
    """Join a caller's rows with answers, whose columns are named by place."""
    first: dict[str, str] = {}
    for place, term in enumerate(call.args):
        name = str(place)
        if not answers.binds(name):
            continue
        if isinstance(term, Constant):
            answers = algebra.join(answers, Relation(1, {}, {name: term.value}, distinct=True))
        elif isinstance(term, Variable) and term.name in first:
            answers = _where_equal(answers, first[term.name], name)
        elif isinstance(term, Variable):
            first[term.name] = name
    wanted = {place: name for name, place in first.items() if name in keep or relation.binds(name)}
    return algebra.join(relation, algebra.distinct(answers.renamed(wanted)))


def _where_equal(answers: Relation, first: str, second: str) -> Relation:
    return answers.filter(algebra.equal_columns(answers.column(first), answers.column(second)))


def _closed(
    context: Context, rule: Rule, call: RuleCall, relation: Relation, bound: Adornment, solve: Solve
) -> Relation | None:
    """Walk a rule that is a closure; None when it is none, or its values are of mixed kinds, or its sets too large."""
    shape = context.program.closure(rule.name)
    if shape is None:
        return None
    seeds = {
        place: algebra.distinct(seeded(call.args, ("0", "1"), relation).keep((str(place),))).column(str(place))
        for place in bound
    }
    if any(seed.kind not in PLAIN for seed in seeds.values()):
        return None
    try:
        return Walk(context, shape, solve).answers(seeds)
    except MixedKinds:
        return None


def _handed_down(
    context: Context, rule: Rule, call: RuleCall, relation: Relation, bound: Adornment, solve: Solve
) -> Relation | None:
    """Follow the questions of a rule that hands its answers down unchanged; None when it does not."""
    shape = shape_of(context.program, rule.name, bound)
    if shape is None:
        return None
    places = places_of(rule.arity)
    seeds = algebra.distinct(
        seeded(call.args, tuple(places), relation).keep(frozenset(places[place] for place in bound))
    )
    return Questions(context, shape, solve).answers(seeds)


# -- recursion in rounds


def _tabled(
    context: Context, rule: Rule, call: RuleCall, relation: Relation, bound: Adornment, solve: Solve
) -> Relation:
    table: Table = context.tables.table(context, rule, bound)
    table.ask(seeded(call.args, tuple(places_of(rule.arity)), relation))
    component = context.program.component(rule.name)
    while news := _with_news(context, component):
        if context.guard is not None:
            context.guard.check(sum(each.answers.size for each in context.tables.of(component)), "a rule")
        for each in news:
            _round(each, component, solve)
    return table.answers.all()


def _with_news(context: Context, component: frozenset[str]) -> list[tuple[Table, Relation | None, dict[int, Relation]]]:
    """Take what is new in every table: for each table its new inputs, and the new answers of the tables that it calls."""
    tables = context.tables.of(component)
    answers = {id(table): _taken(table.new_answers) for table in tables}
    news = []
    for table in tables:
        called = {
            key: fresh
            for order in table.orders.values()
            for key, (_, other) in order.items()
            if (fresh := answers[id(other)]) is not None
        }
        inputs = _taken(table.new_inputs)
        if inputs is not None or called:
            news.append((table, inputs, called))
    return news


def _taken(news: list[Relation]) -> Relation | None:
    if not news:
        return None
    names = list(news[0].columns)
    taken = algebra.union(news, names) if names else UNIT
    news.clear()
    return taken


def _round(news: tuple[Table, Relation | None, dict[int, Relation]], component: frozenset[str], solve: Solve) -> None:
    table, inputs, called = news
    context = table.context
    for number, branch in enumerate(table.rule.branches):
        names = dict(zip(places_of(table.rule.arity), branch.parameters, strict=True))
        calls = tuple(table.orders.get(number, {}).items())
        if inputs is not None:
            current = Pass(context, table, number, component)
            _solve_into(current, branch.clauses, inputs.renamed(names), solve)
        for place, (key, (call, _)) in enumerate(calls):
            if key not in called:
                continue
            current = Pass(
                context, table, number, component, done={key}, asked={earlier for earlier, _ in calls[:place]}
            )
            rest = tuple(clause for clause in branch.clauses if clause is not call)
            answered, _ = with_entities(context.under(call.source, call.form), call, UNIT)
            if table.bound:
                given = table.inputs.all().renamed(names)
                rest = (*rest, Given(given, call.form, frozenset(given.names)))
            _solve_into(current, rest, _joined(UNIT, called[key], answered, call.variables), solve)


def _solve_into(current: Pass, clauses: tuple[Clause, ...], seed: Relation, solve: Solve) -> None:
    table = current.table
    parameters = table.rule.branches[current.number].parameters
    found = solve(replace(current.context, current=current), clauses, seed, frozenset(parameters))
    if found.size:
        table.answer(found.renamed(dict(zip(parameters, places_of(table.rule.arity), strict=True))))


@dataclass(slots=True)
class Pass:
    """One evaluation of one definition in a round; says which recursive calls may be made, and makes them.

    Calls are made in the order in which they were first made: what a later call asks depends on the answers of earlier ones,
    and only so is every question asked in time. A call before the one whose new answers are being used was asked already.
    """

    context: Context
    table: Table
    number: int
    component: frozenset[str]
    done: set[int] = field(default_factory=set)
    asked: set[int] = field(default_factory=set)

    def is_ready(self, call: RuleCall, bound: Set[str]) -> bool:
        """Tell whether a recursive call can be made now."""
        order = self.table.orders.get(self.number, {})
        key = id(call)
        if key in self.asked:
            return True
        for earlier, (_, other) in order.items():
            if earlier == key:
                return all(place in adornment(call, bound) for place in other.bound)
            if earlier not in self.done and earlier not in self.asked:
                return False
        rule = self.context.scopes.rule(call)
        return not self.table.bound or self.context.scopes.solves_rule(rule, adornment(call, bound))

    def run(self, call: RuleCall, relation: Relation, keep: Set[str]) -> Relation:
        """Return a relation joined with the answers known so far, and ask for those that are not."""
        order = self.table.orders.setdefault(self.number, {})
        rule = self.context.scopes.rule(call)
        inner = self.context.under(call.source, call.form)
        key = id(call)
        if key not in order:
            bound = adornment(call, relation.names) if self.table.bound else frozenset()
            order[key] = call, inner.tables.table(inner, rule, bound)
        other = order[key][1]
        asked, rows = with_entities(inner, call, relation)
        if key not in self.asked:
            seeds = seeded(asked.args, tuple(places_of(rule.arity)), rows)
            other.ask(seeds.keep(tuple(map(str, other.bound))))
        self.done.add(key)
        return _without(_joined(rows, other.answers.all(), asked, keep), rows.names - relation.names)
