"""Clauses: the grammar of `:where` and of rules.

    clause   = pattern | call | not | or | rule-call
    pattern  = [source? term+]                        term     = variable | _ | constant
    call     = [(function argument*) binding?]        argument = term | source | 'form
    not      = (source? not clause+) | (source? not-join [variable+] clause+)
    or       = (source? or branch+)  | (source? or-join [[variable+]? variable*] branch+)
    branch   = clause | (and clause+)
    rule-call= (source? name argument+)
    binding  = variable | _ | [binding+] | [binding ...] | [[binding+]]
    rule     = [(name [variable+]? variable*) clause+]        function = symbol | ?variable | keyword

The first element decides whether a form is a list or a vector, not its brackets: Python data has only one kind of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from factstore.errors import QueryError
from factstore.query.functions.scalar import FUNCTIONS, plain_name
from factstore.query.language.ast import (
    BLANK,
    BindEach,
    Binding,
    BindTuple,
    Blank,
    Branch,
    Call,
    Clause,
    Constant,
    Not,
    Or,
    Pattern,
    Rule,
    RuleCall,
    SourceName,
    Term,
    Variable,
    bound_by,
    shared,
)
from factstore.query.language.dialect import (
    Dialect,
    check_nesting,
    invalid,
    is_quoted,
    is_sequence,
    read_text,
    shown,
    unquoted,
    without_quotes,
)
from factstore.values.types import Symbol, plain

DEFAULT_SOURCE: Final = "$"
_SIGNS: Final = frozenset(("%", ".", "...", "?"))  # symbols that stand for no value
_HOLD_FORMS: Final = frozenset(("q", "ground"))  # functions that accept a query or rules without a quote
Rules: TypeAlias = dict[str, Rule]


def parse_clauses(forms: Any, dialect: Dialect, source: str = DEFAULT_SOURCE) -> tuple[Clause, ...]:
    """Return the clauses of `:where`, or of the body of a clause or a rule."""
    if not is_sequence(forms):
        raise invalid(f"expected a vector of clauses, got {shown(forms)}", forms)
    return tuple(_clause(form, dialect, source) for form in forms)


def _clause(form: Any, dialect: Dialect, source: str) -> Clause:
    if not is_sequence(form) or not form:
        raise invalid("expected a clause, which is a non-empty vector or list", form)
    head, own_source = form[0], dialect.source(form[0])
    if own_source is not None:
        source = own_source
        if len(form) == 1:
            raise invalid(f"a clause needs more than the source {own_source}", form)
        head = form[1]
    parts = form[1:] if own_source is None else form[2:]
    name = dialect.name(head)
    if name in _COMPOUND:
        return _COMPOUND[name](form, parts, dialect, source)
    if is_sequence(head) and head and _is_call(head, parts, dialect):
        return _call(form, head, parts, dialect)
    is_plain_vector = own_source is not None and isinstance(form, list) and dialect.plain
    if name is not None and dialect.special(head) is None and not is_plain_vector:
        return _rule_call(form, name, parts, dialect, source)
    return _pattern(form, form if own_source is None else form[1:], dialect, source)


def _is_call(form: Sequence[Any], rest: Sequence[Any], dialect: Dialect) -> bool:
    if dialect.keyword(form[0]) is not None:
        # A lookup ref also begins with a keyword, and contains only constants.
        is_lookup_ref = not any(
            isinstance(dialect.special(part), Variable) or isinstance(part, Mapping) for part in form[1:]
        )
        return not is_lookup_ref and len(rest) <= 1
    return dialect.name(form[0]) is not None and dialect.source(form[0]) is None


def _pattern(form: Any, parts: Sequence[Any], dialect: Dialect, source: str) -> Pattern:
    terms = tuple(_pattern_term(part, dialect, form) for part in parts)
    names = frozenset(term.name for term in terms if isinstance(term, Variable))
    return Pattern(source, terms, form, names)


def _pattern_term(part: Any, dialect: Dialect, form: Any) -> Term:
    """Return a term of a pattern.

    In Python data a str with a colon stays a str: its position decides whether it is a keyword.
    """
    term = dialect.special(part)
    if isinstance(term, SourceName) or (term is None and dialect.symbol(part) in _SIGNS):
        raise invalid(f"{part} cannot be a term of a pattern", form)
    if term is None and is_sequence(part) and any(isinstance(dialect.special(each), Variable) for each in part):
        raise invalid(
            "a lookup ref inside a query contains only constants; bind the entity by a clause of its own", form
        )
    return Constant(_plain_constant(unquoted(part))) if term is None else term


def _plain_constant(value: Any) -> Any:
    return tuple(_plain_constant(part) for part in value) if isinstance(value, list) else plain(value)


def _argument(form: Any, dialect: Dialect, clause: Any) -> Term:
    term = dialect.special(form)
    if term is not None:
        return term
    if dialect.symbol(form) is not None and dialect.symbol(form) != "%":
        raise invalid(f"{form} is not a variable, source or constant; a symbol as a value is quoted, '{form}", clause)
    return Constant(dialect.constant(form) if dialect.plain else without_quotes(form))


def _check_argument(form: Any, dialect: Dialect, clause: Any) -> None:
    """Reject a call or a variable inside an argument: only whole arguments are replaced by values."""
    if not is_sequence(form) or not form or is_quoted(form):
        return
    is_list = isinstance(form, tuple) and dialect.name(form[0]) is not None and dialect.variable(form[0]) is None
    names_function = is_list and (not dialect.plain or form[0] in FUNCTIONS)
    if names_function and (not dialect.plain or any(dialect.variable(part) for part in form[1:])):
        raise invalid(
            f"a call cannot be an argument, got {shown(form)}; bind its result in a clause of its own", clause
        )
    if not dialect.plain and any(dialect.variable(part) for part in form):
        raise invalid(
            f"a variable cannot be inside an argument, got {shown(form)}; build it with a function such as vector",
            clause,
        )


def _call(form: Any, call: Sequence[Any], parts: Sequence[Any], dialect: Dialect) -> Call:
    if len(parts) > 1:
        raise invalid("a function clause is [(function arguments) binding], and nothing after the binding", form)
    function = dialect.name(call[0]) or dialect.keyword(call[0])
    assert function is not None
    function = plain_name(function)
    if function not in _HOLD_FORMS:
        for part in call[1:]:
            _check_argument(part, dialect, form)
    args = tuple(_argument(part, dialect, form) for part in call[1:])
    if any(isinstance(term, Blank) for term in args):
        raise invalid(f"_ cannot be an argument of {function}", form)
    binding = parse_binding(parts[0], dialect, form) if parts else None
    needs = frozenset(term.name for term in args if isinstance(term, Variable))
    if function.startswith("?"):
        needs |= {function}
    return Call(function, args, binding, form, needs, needs | frozenset(bound_by(binding)))


def parse_binding(form: Any, dialect: Dialect, clause: Any) -> Binding:
    """Return the binding for a form in `:in` or at the end of a function clause."""
    name = dialect.variable(form)
    if name is not None:
        return Variable(name)
    if dialect.is_symbol(form, "_"):
        return BLANK
    if not is_sequence(form) or not form:
        raise invalid(f"expected a binding such as ?x, [?a ?b], [?x ...] or [[?a ?b]], got {shown(form)}", clause)
    if dialect.is_symbol(form[-1], "..."):
        if len(form) != 2:
            raise invalid(f"a collection binding is [binding ...], got {shown(form)}", clause)
        return BindEach(parse_binding(form[0], dialect, clause))
    if len(form) == 1 and is_sequence(form[0]):
        return BindEach(parse_binding(form[0], dialect, clause))
    return BindTuple(tuple(parse_binding(part, dialect, clause) for part in form))


def _not(form: Any, parts: Sequence[Any], dialect: Dialect, source: str) -> Not:
    clauses = parse_clauses(parts, dialect, source)
    if not clauses:
        raise invalid("not needs at least one clause", form)
    return Not(None, clauses, form, shared(clauses))


def _not_join(form: Any, parts: Sequence[Any], dialect: Dialect, source: str) -> Not:
    names = _variables(parts[0] if parts else None, dialect, form)
    clauses = parse_clauses(parts[1:], dialect, source)
    if not clauses:
        raise invalid("not-join needs at least one clause after its variables", form)
    return Not(names, clauses, form, frozenset(names))


def _or(form: Any, parts: Sequence[Any], dialect: Dialect, source: str) -> Or:
    branches = tuple(_branch(part, dialect, source) for part in parts)
    if not branches:
        raise invalid("or needs at least one branch", form)
    bindable = frozenset().union(*map(_bindable, branches)) or frozenset().union(*map(shared, branches))
    uses = [_bindable(branch) | (shared(branch) & bindable) for branch in branches]
    if any(use != uses[0] for use in uses):
        sets = " and ".join(sorted({"{" + " ".join(sorted(use)) + "}" for use in uses}))
        raise invalid(
            f"the branches of or must use the same variables, got {sets}; or-join lists the shared ones", form
        )
    return Or(frozenset(), branches, form, bindable)


def _or_join(form: Any, parts: Sequence[Any], dialect: Dialect, source: str) -> Or:
    required, names = _parameters(parts[0] if parts else None, dialect, form)
    branches = tuple(_branch(part, dialect, source) for part in parts[1:])
    if not branches:
        raise invalid("or-join needs at least one branch after its variables", form)
    return Or(frozenset(required), branches, form, frozenset(names))


def _branch(form: Any, dialect: Dialect, source: str) -> tuple[Clause, ...]:
    if is_sequence(form) and form and dialect.name(form[0]) == "and":
        if len(form) == 1:
            raise invalid("and needs at least one clause", form)
        return parse_clauses(form[1:], dialect, source)
    return (_clause(form, dialect, source),)


def _and(form: Any, _parts: Sequence[Any], _dialect: Dialect, _source: str) -> Clause:
    raise invalid("and can only be a branch of or and or-join; clauses beside each other are always joined", form)


_COMPOUND: Final[dict[str | None, Callable[[Any, Sequence[Any], Dialect, str], Clause]]] = {
    "not": _not,
    "not-join": _not_join,
    "or": _or,
    "or-join": _or_join,
    "and": _and,
}


def _bindable(clauses: tuple[Clause, ...]) -> frozenset[str]:
    """Return the variables of clauses, without those that occur only in a `not`."""
    return shared(tuple(clause for clause in clauses if not isinstance(clause, Not)))


def _rule_call(form: Any, name: str, parts: Sequence[Any], dialect: Dialect, source: str) -> RuleCall:
    args = tuple(_argument(part, dialect, form) for part in parts)
    if not args:
        raise invalid(f"the rule {name} is called without arguments", form)
    if any(isinstance(term, SourceName) for term in args):
        raise invalid(f"a source is written before the name of a rule: ($source {name} …)", form)
    return RuleCall(source, name, args, form, frozenset(term.name for term in args if isinstance(term, Variable)))


def _variables(form: Any, dialect: Dialect, clause: Any) -> tuple[str, ...]:
    names = tuple(dialect.variable(part) for part in form) if is_sequence(form) else ()
    if not names or None in names:
        raise invalid(f"expected a vector of variables, got {shown(form)}", clause)
    if len(set(names)) < len(names):
        raise invalid(f"a variable is listed twice in {shown(form)}", clause)
    return names  # type: ignore[return-value]


def _parameters(form: Any, dialect: Dialect, clause: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the required variables of a head, which must be bound, and all its variables."""
    if is_sequence(form) and form and is_sequence(form[0]):
        required = _variables(form[0], dialect, clause)
        return required, _variables([*form[0], *form[1:]], dialect, clause)
    return (), _variables(form, dialect, clause)


def parse_rules(form: Any) -> Rules:
    """Return rules by name.

    Args:
        form: EDN text, or a list of rules.
    Raises: QueryError(:db.error/invalid-query).
    """
    form = unquoted(read_text(form, "the rules") if isinstance(form, str) else form)
    if not is_sequence(form):
        raise QueryError(":db.error/invalid-query", f"expected a vector of rules, got {shown(form)}", form=form)
    check_nesting(form, "a vector of rules")
    dialect = Dialect.of(form)
    definitions: dict[str, list[tuple[int, Branch]]] = {}
    for definition in form:
        name, required, branch = _definition(definition, dialect)
        definitions.setdefault(name, []).append((required, branch))
    return {name: _rule(name, of_rule) for name, of_rule in definitions.items()}


def _definition(form: Any, dialect: Dialect) -> tuple[str, int, Branch]:
    if not is_sequence(form) or len(form) < 2 or not is_sequence(form[0]) or not form[0]:
        raise invalid("a rule is [(name variables) clause …], with at least one clause", form)
    head = form[0]
    name = dialect.name(head[0])
    if name is None or dialect.special(head[0]) is not None or name in _COMPOUND:
        raise invalid(f"a rule needs a name, got {shown(head[0])}", form)
    listed, equalities = _distinct_variables(head[1:], dialect)
    required, parameters = _parameters(listed, dialect, form)
    clauses = (*parse_clauses(form[1:], dialect), *equalities)
    unused = [name for name in parameters if name not in shared(clauses)]
    if unused:
        raise invalid(
            f"no clause of the rule uses {' and '.join(unused)}, which its head lists", form, variables=unused
        )
    return name, len(required), Branch(parameters, clauses, form)


def _distinct_variables(head: Sequence[Any], dialect: Dialect) -> tuple[list[Any], list[Clause]]:
    """Return a rule's head with a new variable for each repeated one, and the clauses that make these equal."""
    seen: set[str] = set()
    equalities: list[Clause] = []

    def renamed(part: Any) -> Any:
        name = dialect.variable(part)
        if name is None or name not in seen:
            seen.update([name] if name else [])
            return [renamed(inner) for inner in part] if is_sequence(part) else part
        copy = f"{name} {len(equalities)}"  # a query cannot contain this name
        names = frozenset((name,))
        equalities.append(Call("identity", (Variable(name),), Variable(copy), head, names, names | {copy}))
        return Symbol(copy)

    return [renamed(part) for part in head], equalities


def _rule(name: str, definitions: list[tuple[int, Branch]]) -> Rule:
    required, first = definitions[0]
    for other, branch in definitions:
        if (other, len(branch.parameters)) != (required, len(first.parameters)):
            raise invalid(f"the definitions of rule {name} have different parameters", branch.form, rule=name)
    return Rule(name, len(first.parameters), required, tuple(branch for _, branch in definitions))
