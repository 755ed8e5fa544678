"""Rules: a call of one is the union of its definitions, each solved from what the caller has bound.

A rule that does not recurse is solved on the spot. One that is a closure is walked (`closure`). Any other recursion runs in
rounds: a *table* for each rule and each set of bound arguments holds the inputs asked for and the answers found, and a round
takes only what the last one added, once as new inputs and once as new answers in the place of each recursive call.

Law: a derivation is seen in the round in which the last of its parts became known, so none is missed; values come from a
finite set, so rounds end, on circles too.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from typing import Any

from factstore.query import algebra, closure
from factstore.query.ast import Clause, Constant, Given, Rule, RuleCall, Variable
from factstore.query.context import Context
from factstore.query.plan import estimate_of, seeded
from factstore.query.program import Closure, Step
from factstore.query.relation import PLAIN, UNIT, Column, Relation, concatenated, relation_of, strict
from factstore.query.scope import Adornment, adornment

Solve = Callable[[Context, tuple[Clause, ...], Relation, Set[str]], Relation]


def run_rule(context: Context, call: RuleCall, relation: Relation, keep: Set[str], solve: Solve) -> Relation:
    """Return a relation joined with the answers of a rule."""
    rule = context.scopes.rule(call)
    current = context.current
    if current is not None and rule.name in current.component:
        return current.run(call, relation, keep)
    inner = replace(context.under(call.source, call.form), current=None)
    if not context.program.is_recursive(rule.name):
        answers = _union(inner, rule, call, relation, keep, solve)
    else:
        bound = adornment(call, relation.names)
        answers = _closed(inner, rule, call, relation, bound, solve) or _tabled(inner, rule, call, relation, bound, solve)
    return _joined(relation, answers, call, keep)


def _names(arity: int) -> list[str]:
    return [str(place) for place in range(arity)]


def _union(context: Context, rule: Rule, call: RuleCall, relation: Relation, keep: Set[str], solve: Solve) -> Relation:
    """Solve the definitions of a rule that does not recurse, as far as the caller needs its arguments."""
    wanted = [place for place, term in enumerate(call.args) if isinstance(term, Variable) and (term.name in keep or relation.binds(term.name))]
    wanted += [place for place, term in enumerate(call.args) if _is_repeated(term, call) and place not in wanted]
    parts = []
    for branch in rule.branches:
        seed = algebra.distinct(seeded(call.args, branch.parameters, relation))
        found = solve(context, branch.clauses, seed, {branch.parameters[place] for place in wanted})
        parts.append(found.renamed({branch.parameters[place]: str(place) for place in wanted}))
    return algebra.union(parts, [str(place) for place in sorted(wanted)])


def _is_repeated(term: Any, call: RuleCall) -> bool:
    return isinstance(term, Variable) and call.args.count(term) > 1


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
    pair = algebra.comparable(answers.column(first), answers.column(second))
    if pair is None:
        return answers.take([], 0)
    return answers.filter([a == b for a, b in zip(pair[0].keys(), pair[1].keys(), strict=True)])


# -- closures


def _closed(context: Context, rule: Rule, call: RuleCall, relation: Relation, bound: Adornment, solve: Solve) -> Relation | None:
    """Walk a rule that is a closure; None when it is none, or its values are of mixed kinds, or its sets too large."""
    shape = context.program.closure(rule.name)
    if shape is None:
        return None
    seeds = {
        place: algebra.distinct(seeded(call.args, ("0", "1"), relation).keep((str(place),))).column(str(place)) for place in bound
    }
    if any(seed.kind not in PLAIN for seed in seeds.values()):
        return None
    try:
        return _Walk(context, shape, solve).answers(seeds)
    except _MixedKinds:
        return None


@dataclass(frozen=True, slots=True)
class _Walk:
    """One evaluation of a closure."""

    context: Context
    shape: Closure
    solve: Solve

    def answers(self, seeds: dict[int, Column]) -> Relation | None:
        """Return the answers for what is bound, as columns "0" and "1"."""
        moving, fixed = self.shape.moving, 1 - self.shape.moving
        if not self._solves_base({moving} if moving in seeds else set(seeds)):
            return None
        if moving in seeds:
            return self._forward(seeds[moving], moving)
        if fixed in seeds:
            return self._backward(seeds[fixed], moving)
        return self._everything(moving)

    def _forward(self, seed: Column, moving: int) -> Relation | None:
        if not self._solves(back=False, seeded_=True):
            return None
        origins = seed.machine()
        edges = closure.walked(origins, lambda nodes: self._pairs(seed.kind, nodes, back=False), self._all_pairs, self._size())
        nodes = list(dict.fromkeys([*origins, *edges, *(other for others in edges.values() for other in others)]))
        if len(origins) == 1:
            nodes = closure.reached(origins[0], edges)
        base = self._base({moving: Column(seed.kind, nodes)})
        return self._finish(origins, edges, base, moving, seed.kind)

    def _backward(self, seed: Column, moving: int) -> Relation | None:
        if not self._solves(back=True, seeded_=True):
            return None
        base = self._base({1 - moving: seed})
        starts = base.column(str(moving))
        if starts.kind not in PLAIN:
            return None
        reverse = closure.walked(
            starts.machine(), lambda nodes: self._pairs(starts.kind, nodes, back=True), self._all_reversed, self._size()
        )
        if len(seed.data) == 1 and seed.kind in PLAIN:
            return self._reached_backwards(starts, reverse, seed, moving)
        edges: closure.Edges = {}
        for node, others in reverse.items():
            for other in others:
                edges.setdefault(other, []).append(node)
        return self._finish(None, edges, base, moving, starts.kind)

    def _reached_backwards(self, starts: Column, reverse: closure.Edges, seed: Column, moving: int) -> Relation:
        root = object()  # one node before all starts, so that one walk does
        nodes = closure.reached(root, {**reverse, root: starts.machine()})[1:]
        columns = {str(moving): Column(starts.kind, nodes), str(1 - moving): Column(seed.kind, [seed.machine()[0]] * len(nodes))}
        return relation_of(columns, len(nodes), distinct=True)

    def _everything(self, moving: int) -> Relation | None:
        pairs = self._all_pairs()
        if pairs is None:
            return None
        base = self._base({})
        return self._finish(None, closure.grouped(pairs), base, moving, base.column(str(moving)).kind)

    def _finish(self, origins: list[Any] | None, edges: closure.Edges, base: Relation, moving: int, kind: type) -> Relation | None:
        left, right = base.column(str(moving)), base.column(str(1 - moving))
        if base.size and (left.kind is not kind or right.kind not in PLAIN):
            return None
        bases = list(zip(left.machine(), right.machine(), strict=True))
        found = closure.closed(origins, edges, bases, (kind, right.kind if base.size else kind))
        return None if found is None else found.renamed({"0": str(moving), "1": str(1 - moving)})

    def _solves(self, *, back: bool, seeded_: bool) -> bool:
        """Tell whether every step can be taken in a direction, from given nodes or from nothing."""
        scopes = self.context.scopes
        for step in self.shape.steps:
            start, end = (step.end, step.start) if back else (step.start, step.end)
            known, waiting = scopes.bindable(step.clauses, {start} if seeded_ else set())
            if waiting or not {start, end} <= known:
                return False
        return True

    def _solves_base(self, places: set[int]) -> bool:
        scopes = self.context.scopes
        for branch in self.shape.bases:
            known, waiting = scopes.bindable(branch.clauses, {branch.parameters[place] for place in places})
            if waiting or not known.issuperset(branch.parameters):
                return False
        return True

    def _size(self) -> float:
        """Return about how many edges there are."""
        return sum(min((estimate_of(self.context, clause, UNIT) for clause in step.clauses), default=1.0) for step in self.shape.steps)

    def _pairs(self, kind: type, nodes: list[Any], *, back: bool) -> list[tuple[Any, Any]]:
        """Return the edges that begin, or end, at some nodes, from there to the other side."""
        found = []
        for step in self.shape.steps:
            near, far = (step.end, step.start) if back else (step.start, step.end)
            seed = relation_of({near: Column(kind, nodes)}, len(nodes), distinct=True)
            found += self._solved(step, seed, near, far, kind)
        return found

    def _solved(self, step: Step, seed: Relation, near: str, far: str, kind: type | None) -> list[tuple[Any, Any]]:
        edges = self.solve(self.context, step.clauses, seed, frozenset((near, far)))
        left, right = edges.column(near), edges.column(far)
        if edges.size and (left.kind is not right.kind or left.kind not in PLAIN or (kind is not None and left.kind is not kind)):
            raise _MixedKinds
        return list(zip(left.machine(), right.machine(), strict=True))

    def _all_pairs(self) -> list[tuple[Any, Any]] | None:
        if not self._solves(back=False, seeded_=False):
            return None
        return [pair for step in self.shape.steps for pair in self._solved(step, UNIT, step.start, step.end, None)]

    def _all_reversed(self) -> list[tuple[Any, Any]] | None:
        pairs = self._all_pairs()
        return None if pairs is None else [(b, a) for a, b in pairs]

    def _base(self, seeds: dict[int, Column]) -> Relation:
        parts = []
        for branch in self.shape.bases:
            columns = {branch.parameters[place]: column for place, column in seeds.items()}
            size = len(next(iter(columns.values())).data) if columns else 1
            found = self.solve(self.context, branch.clauses, relation_of(columns, size, distinct=True), frozenset(branch.parameters))
            parts.append(found.renamed(dict(zip(branch.parameters, ("0", "1"), strict=True))))
        return algebra.union(parts, ("0", "1"))


class _MixedKinds(Exception):
    """Nodes of more than one kind: words cannot stand for them."""


# -- recursion in rounds


class Rows:
    """Rows that only grow, each kept once."""

    __slots__ = ("_chunks", "_kinds", "_seen", "_strict", "names")

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._chunks: list[Relation] = []
        self._seen: set[Any] = set()
        self._kinds: tuple[type, ...] | None = None
        self._strict = False

    def add(self, relation: Relation) -> Relation:
        """Add rows, and return those that are new."""
        columns = [relation.column(name) for name in self.names]
        kinds = tuple(column.kind for column in columns)
        if relation.size and not self._strict and (kinds != (self._kinds or kinds) or not PLAIN.issuperset(kinds)):
            self._seen = {key for chunk in self._chunks for key in _strict_keys([chunk.columns[name] for name in self.names])}
            self._strict = True
        if relation.size and self._kinds is None:
            self._kinds = kinds
        which = []
        keys = _strict_keys(columns) if self._strict else zip(*(column.machine() for column in columns), strict=True)
        for i, key in enumerate(keys if columns else [()] * min(relation.size, 1)):
            if key not in self._seen:
                self._seen.add(key)
                which.append(i)
        fresh = relation_of({name: column.take(which) for name, column in zip(self.names, columns, strict=True)}, len(which), distinct=True)
        if which:
            self._chunks.append(fresh)
        return fresh

    def all(self) -> Relation:
        """Return every row."""
        if len(self._chunks) != 1:
            columns = {name: concatenated([chunk.columns[name] for chunk in self._chunks] or [Column(object, [])]) for name in self.names}
            size = sum(chunk.size for chunk in self._chunks)
            self._chunks = [Relation(min(size, 1) if not columns else size, columns, {}, distinct=True)]
        return self._chunks[0]


def _strict_keys(columns: list[Column]) -> Any:
    return zip(*(map(strict, column.values()) for column in columns), strict=True)


@dataclass(slots=True, eq=False)
class Table:
    """What is known of one rule for one set of bound arguments."""

    rule: Rule
    bound: tuple[int, ...]
    inputs: Rows
    answers: Rows
    new_inputs: list[Relation] = field(default_factory=list)
    new_answers: list[Relation] = field(default_factory=list)
    # For each definition its recursive calls in the order in which they are made, with the tables that answer them.
    orders: dict[int, dict[int, tuple[RuleCall, Table]]] = field(default_factory=dict)

    def ask(self, inputs: Relation) -> None:
        """Ask for answers to further inputs."""
        fresh = self.inputs.add(inputs)
        if fresh.size:
            self.new_inputs.append(fresh)

    def answer(self, answers: Relation) -> None:
        """Add answers."""
        fresh = self.answers.add(answers)
        if fresh.size:
            self.new_answers.append(fresh)


class Tables:
    """All tables of one run of a query, by rule, bound arguments and default source."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[Any, Table] = {}

    def table(self, context: Context, rule: Rule, bound: Adornment) -> Table:
        """Return the table of a rule for these bound arguments."""
        key = rule.name, bound, id(context.sources.get("$"))
        found = self._tables.get(key)
        if found is None:
            places = tuple(sorted(bound))
            found = self._tables[key] = Table(rule, places, Rows(list(map(str, places))), Rows(_names(rule.arity)))
        return found

    def of(self, component: frozenset[str]) -> list[Table]:
        """Return the tables of some rules."""
        return [table for table in self._tables.values() if table.rule.name in component]


def _tabled(context: Context, rule: Rule, call: RuleCall, relation: Relation, bound: Adornment, solve: Solve) -> Relation:
    table = context.tables.table(context, rule, bound)
    table.ask(seeded(call.args, tuple(_names(rule.arity)), relation))
    component = context.program.component(rule.name)
    while any([_round(context, table, component, solve) for table in _with_news(context, component)]):
        pass
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


def _round(context: Context, news: tuple[Table, Relation | None, dict[int, Relation]], component: frozenset[str], solve: Solve) -> bool:
    table, inputs, called = news
    for number, branch in enumerate(table.rule.branches):
        names = dict(zip(_names(table.rule.arity), branch.parameters, strict=True))
        calls = tuple(table.orders.get(number, {}).items())
        if inputs is not None:
            current = Pass(context, table, number, component)
            _solve_into(current, branch.clauses, inputs.renamed(names), solve)
        for place, (key, (call, _)) in enumerate(calls):
            if key not in called:
                continue
            current = Pass(context, table, number, component, done={key}, asked={earlier for earlier, _ in calls[:place]})
            rest = tuple(clause for clause in branch.clauses if clause is not call)
            if table.bound:
                given = table.inputs.all().renamed(names)
                rest = (*rest, Given(given, call.form, frozenset(given.names)))
            _solve_into(current, rest, _joined(UNIT, called[key], call, call.variables), solve)
    return True


def _solve_into(current: Pass, clauses: tuple[Clause, ...], seed: Relation, solve: Solve) -> None:
    table = current.table
    parameters = table.rule.branches[current.number].parameters
    found = solve(replace(current.context, current=current), clauses, seed, frozenset(parameters))
    if found.size:
        table.answer(found.renamed(dict(zip(parameters, _names(table.rule.arity), strict=True))))


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
        key = id(call)
        if key not in order:
            bound = adornment(call, relation.names) if self.table.bound else frozenset()
            order[key] = call, self.context.tables.table(self.context, rule, bound)
        other = order[key][1]
        if key not in self.asked:
            seeds = seeded(call.args, tuple(_names(rule.arity)), relation)
            other.ask(seeds.keep(tuple(map(str, other.bound))))
        self.done.add(key)
        return _joined(relation, other.answers.all(), call, keep)
