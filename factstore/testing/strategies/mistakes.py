"""Invalid transactions, with the error that each must raise.

    a mistake of some kind, about entities of its own ──► put among valid forms about other new entities

Law: the store rejects each transaction on the database that the strategy is made from with the given code, and commits
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from factstore.db.database import Database
from factstore.schema.attribute import Attribute
from factstore.testing.naive.transactions import facts_of
from factstore.testing.strategies.entities import Values, entities
from factstore.testing.strategies.schemas import Schema, database_of, writable
from factstore.testing.strategies.values import few_of, of_attribute


class Invalid(NamedTuple):
    """An invalid transaction, and the code of its error."""

    tx_data: list[Any]
    code: str


Mistakes: TypeAlias = SearchStrategy[list[Any]]  # forms with the mistake
_NEW: Final = "mistake"  # the tempid of the entity that a mistake is about


class Context(NamedTuple):
    """What a mistake can be about."""

    db: Database
    facts: list[tuple[Any, Attribute, Any]]  # entity, attribute and value for users
    attributes: list[Attribute]


def invalid_transactions(schema: Schema, *, values: Values | None = None) -> SearchStrategy[Invalid]:
    """Return a strategy for transactions with one mistake, and the code of the error that they must raise.

    The kinds of mistakes that the schema and the facts of the database make possible are equally frequent.

    Args:
        schema: the database; or tx-data that declares attributes: a new store in which only that was transacted.
        values: ident → the strategy for single values of an attribute, for the valid forms around a mistake.
    """
    return invalid_on(database_of(schema), values or {})


@st.composite
def invalid_on(draw: DrawFn, db: Database, values: Values) -> Invalid:
    """Draw a transaction that a database must reject."""
    known = [(e, db.attribute(a), v) for e, a, v in sorted(facts_of(db), key=repr)]
    facts = [(e, a, a.load(v)) for e, a, v in known]
    context = Context(db, facts, writable(db))
    kinds = [(code, forms) for code, kind in KINDS for forms in kind(context)]
    code, forms = draw(st.sampled_from(kinds))
    plain = [str(a.ident) for a in context.attributes if a.unique is None and not a.is_ref]
    around = st.lists(entities(db, attributes=plain, values=values).filter(bool), max_size=2) if plain else st.just([])
    return Invalid(draw(st.permutations([*draw(around), *draw(forms)])), code)


# -- kinds of mistakes: each yields a strategy if the database allows the mistake


def _undeclared(_context: Context) -> Iterator[Mistakes]:
    yield st.just([{":no.such/attribute": 1}])


def _malformed(_context: Context) -> Iterator[Mistakes]:
    yield st.sampled_from([[[":db/add", _NEW]], [[]], [7], [[":db/retractEntity"]]])


def _function(_context: Context) -> Iterator[Mistakes]:
    yield st.just([["no.such/function", 1]])


def _wrong_type(context: Context) -> Iterator[Mistakes]:
    names = [(str(a.ident), 7 if a.value_type.name == "string" else "x") for a in context.attributes if not a.is_ref]
    if names:
        yield st.sampled_from(names).map(lambda wrong: [[":db/add", _NEW, *wrong]])


def _nil(context: Context) -> Iterator[Mistakes]:
    if context.attributes:
        yield st.sampled_from(context.attributes).map(lambda a: [[":db/add", _NEW, str(a.ident), None]])


def _slots(context: Context) -> Iterator[Mistakes]:
    tuples = [str(a.ident) for a in context.attributes if a.is_tuple]
    if tuples:
        yield st.sampled_from(tuples).map(lambda name: [[":db/add", _NEW, name, [1]]])


def _two_values(context: Context) -> Iterator[Mistakes]:
    single = [a for a in context.attributes if not (a.many or a.is_ref or a.unique)]
    if single:
        yield st.sampled_from(single).flatmap(
            lambda a: st.lists(few_of(a), min_size=2, max_size=2, unique_by=_key(a)).map(
                lambda pair: [[":db/add", _NEW, str(a.ident), v] for v in pair]
            )
        )


def _key(attribute: Attribute) -> Callable[[Any], Any]:
    return lambda value: attribute.store(value, lambda e: e)


def _both_ways(context: Context) -> Iterator[Mistakes]:
    facts = [fact for fact in context.facts if fact[1] in context.attributes]
    if facts:
        yield st.sampled_from(facts).map(
            lambda fact: [[op, fact[0], str(fact[1].ident), fact[2]] for op in (":db/add", ":db/retract")]
        )


def _swapped(context: Context) -> Iterator[Mistakes]:
    facts = [(e, a, v) for e, a, v in context.facts if a in context.attributes and not (a.many or a.is_ref)]
    if facts:
        yield st.sampled_from(facts).flatmap(
            lambda fact: (
                of_attribute(fact[1])
                .filter(lambda old: _key(fact[1])(old) != _key(fact[1])(fact[2]))
                .map(lambda old: [[":db/cas", fact[0], str(fact[1].ident), old, fact[2]]])
            )
        )


def _taken(context: Context) -> Iterator[Mistakes]:
    facts = [(e, a, v) for e, a, v in context.facts if a in context.attributes and a.unique and not a.is_identity]
    if facts:
        yield st.sampled_from(facts).map(lambda fact: [[":db/add", _NEW, str(fact[1].ident), fact[2]]])


def _two_entities(context: Context) -> Iterator[Mistakes]:
    facts = [fact for fact in context.facts if fact[1] in context.attributes and fact[1].is_identity]
    pairs = [(f, g) for f in facts for g in facts if f[0] != g[0] and (f[1] is not g[1] or f[1].many)]
    if pairs:
        yield st.sampled_from(pairs).map(lambda pair: [[":db/add", _NEW, str(a.ident), v] for _, a, v in pair])


def _unknown_lookup(context: Context) -> Iterator[Mistakes]:
    keys = [a for a in context.attributes if a.unique and not (a.is_ref or a.is_tuple)]
    held = {(a.id, _key(a)(v)) for _, a, v in context.facts if a in keys}
    if keys:
        yield st.sampled_from(keys).flatmap(
            lambda a: (
                of_attribute(a)
                .filter(lambda v: (a.id, _key(a)(v)) not in held)
                .map(lambda v: [[":db/add", [str(a.ident), v], str(a.ident), v]])
            )
        )


def _nowhere(context: Context) -> Iterator[Mistakes]:
    refs = [str(a.ident) for a in context.attributes if a.is_ref]
    if refs:
        yield st.sampled_from(refs).map(lambda name: [[":db/add", _NEW, name, "nowhere"]])


def _composite(context: Context) -> Iterator[Mistakes]:
    composites = [str(a.ident) for a in context.db.schema.attributes if a.tuple_attrs]
    if composites:
        yield st.sampled_from(composites).map(
            lambda name: [{":db/id": _NEW, ":db/doc": "new"}, [":db/retract", _NEW, name]]
        )


KINDS: Final[tuple[tuple[str, Callable[[Context], Iterator[Mistakes]]], ...]] = (
    (":db.error/not-an-entity", _undeclared),
    (":db.error/invalid-tx-form", _malformed),
    (":db.error/unknown-tx-function", _function),
    (":db.error/wrong-type-for-attribute", _wrong_type),
    (":db.error/nil-value", _nil),
    (":db.error/invalid-tuple-value", _slots),
    (":db.error/datoms-conflict", _two_values),
    (":db.error/datoms-conflict", _both_ways),
    (":db.error/cas-failed", _swapped),
    (":db.error/unique-conflict", _taken),
    (":db.error/upsert-conflict", _two_entities),
    (":db.error/not-an-entity", _unknown_lookup),
    (":db.error/tempid-not-an-entity", _nowhere),
    (":db.error/composite-tuple-write", _composite),
)
