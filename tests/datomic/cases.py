"""Cases: random schemas, transactions, queries and pulls that both stores understand; most are valid, some are not.

    schema ──► transactions on it ──► queries and pulls, each on the database now, then, since or with its history

New entities have tempids, known ones are `{:old n}`, lookup refs or idents, so a case contains no id of either store.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from factstore import Keyword, Symbol, Uri
from tests.datomic.clauses import queries
from tests.datomic.patterns import patterns
from tests.datomic.store import IDENTS

TEMPIDS: Final = ("a", "b", "c", "d")
VALUES: Final[dict[str, tuple[Any, ...]]] = {
    "long": (0, 1, 2, -1, (1 << 40), -(1 << 63)),
    "string": ("", "a", "b", "é", "?x", ":a"),
    "keyword": (Keyword(":k"), Keyword(":k/a"), Keyword(":k/b")),
    "boolean": (True, False),
    "double": (0.0, 1.0, 2.5, -1e300),
    "bigint": (1 << 70, -(1 << 70), 1 << 90),
    "bigdec": (Decimal("0"), Decimal("1.5"), Decimal("-20")),
    "instant": (datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 6, 5, 4, 3, 2, tzinfo=UTC)),
    "uuid": (uuid.UUID(int=1), uuid.UUID(int=1 << 127)),
    "uri": (Uri("http://a"), Uri("b:c")),
    "symbol": (Symbol("a"), Symbol("n/a")),
}
ONE, MANY = ":db.cardinality/one", ":db.cardinality/many"


class Attribute(NamedTuple):
    """An attribute of a case."""

    ident: str
    kind: str  # a key of VALUES, or "ref", "pair" of a long and a string, "list" of longs, "both" of the first two attributes
    many: bool
    unique: str | None

    def form(self, others: list[Attribute], component: bool, index: bool) -> dict[Any, Any]:
        """Return the tx-data that declares the attribute."""
        kind = self.kind if self.kind in VALUES or self.kind == "ref" else "tuple"
        made: dict[str, Any] = {"db/ident": self.ident, "db/valueType": f":db.type/{kind}", "db/cardinality": MANY if self.many else ONE}
        if self.unique:
            made["db/unique"] = f":db.unique/{self.unique}"
        if component and self.kind == "ref":
            made["db/isComponent"] = True
        if index:
            made["db/index"] = True
        if self.kind == "pair":
            made["db/tupleTypes"] = [Keyword(":db.type/long"), Keyword(":db.type/string")]
        if self.kind == "list":
            made["db/tupleType"] = ":db.type/long"
        if self.kind == "both":
            made["db/tupleAttrs"] = [Keyword(other.ident) for other in others[:2]]
        return {Keyword(f":{key}"): Keyword(value) if _is_keyword(value) else value for key, value in made.items()}


def _is_keyword(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(":")


def value_of(attribute: Attribute, entity: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Return a strategy for values of an attribute, a few of another type."""
    wrong = st.sampled_from(("a", Keyword(":k/a"), 1.5, True) if attribute.kind == "ref" else (1, "a", Keyword(":k/a"), 1.5, True))
    if attribute.kind == "ref":
        right: SearchStrategy[Any] = entity
    elif attribute.kind in VALUES:
        right = st.sampled_from(VALUES[attribute.kind])
    elif attribute.kind == "list":
        right = st.lists(st.sampled_from((0, 1, 2)), min_size=2, max_size=4)
    else:
        right = st.tuples(st.sampled_from((0, 1)), st.sampled_from(("a", "b"))).map(list)
    return st.integers(0, 30).flatmap(lambda n: wrong if n == 30 else right)


@st.composite
def schemas(draw: DrawFn) -> list[Attribute]:
    """Draw two to six attributes; the first two have cardinality one, so that a composite of them is valid."""
    found = []
    for i in range(draw(st.integers(2, 6))):
        kinds = sorted(VALUES) if i < 2 else [*sorted(VALUES), "ref", "ref", "ref", "ref", "pair", "list", "both"]
        kind = draw(st.sampled_from(kinds))
        many = i > 1 and kind != "both" and draw(st.booleans())
        unique = None if many or kind in ("boolean", "list", "ref") else draw(st.sampled_from((None, None, "identity", "value")))
        found.append(Attribute(f":x/{'abcdef'[i]}", kind, many, unique))
    return found


def entities(attributes: list[Attribute]) -> SearchStrategy[Any]:
    """Return a strategy for entities in a transaction."""
    new, old = st.sampled_from(TEMPIDS), st.integers(0, 5).map(lambda n: {Keyword(":old"): n})
    lookups: list[SearchStrategy[Any]] = [
        st.sampled_from(VALUES[a.kind]).map(lambda value, a=a: [Keyword(a.ident), value])
        for a in attributes
        if a.unique and a.kind in VALUES
    ]
    return st.one_of(new, new, new, old, old, st.sampled_from(IDENTS).map(Keyword), *lookups)


@st.composite
def forms(draw: DrawFn, attributes: list[Attribute]) -> Any:
    """Draw a form of a transaction."""
    entity, settable = entities(attributes), [a for a in attributes if a.kind != "both"]
    attribute = draw(st.sampled_from(settable))
    value, ident = value_of(attribute, entity), Keyword(attribute.ident)
    kind = draw(st.sampled_from(("map", "map", "map", "add", "retract", "retract-all", "cas", "entity", "tx", "enum", "alter")))
    if kind == "map":
        return _map(draw, settable, entity)
    if kind == "add":
        return [Keyword(":db/add"), draw(entity), ident, draw(value)]
    if kind == "retract":
        return [Keyword(":db/retract"), draw(entity), ident, draw(value)]
    if kind == "retract-all":
        return [Keyword(":db/retract"), draw(entity), ident]
    if kind == "cas":
        return [Keyword(":db/cas"), draw(entity), ident, draw(st.none() | value), draw(value)]
    if kind == "entity":
        return [Keyword(":db/retractEntity"), draw(entity)]
    if kind == "tx":
        return [Keyword(":db/add"), "datomic.tx", Keyword(":db/doc"), draw(st.sampled_from(("why", "who")))]
    if kind == "enum":
        return {Keyword(":db/id"): draw(st.sampled_from(TEMPIDS)), Keyword(":db/ident"): Keyword(draw(st.sampled_from(IDENTS)))}
    what, to = draw(st.sampled_from(_ALTERATIONS))
    return {Keyword(":db/id"): ident, Keyword(what): to}


_ALTERATIONS: Final = (
    (":db/cardinality", Keyword(MANY)),
    (":db/cardinality", Keyword(ONE)),
    (":db/doc", "a doc"),
    (":db/isComponent", True),
    (":db/noHistory", True),
)


def _map(draw: DrawFn, attributes: list[Attribute], entity: SearchStrategy[Any]) -> dict[Any, Any]:
    form: dict[Any, Any] = {Keyword(":db/id"): draw(entity)}
    for attribute in draw(st.lists(st.sampled_from(attributes), min_size=1, max_size=3, unique=True)):
        value = value_of(attribute, entity)
        if attribute.kind == "ref" and draw(st.integers(0, 5)) == 5:
            form[Keyword(f":x/_{attribute.ident[3:]}")] = draw(entity)
        elif attribute.many:
            form[Keyword(attribute.ident)] = draw(st.lists(value, min_size=1, max_size=3))
        else:
            form[Keyword(attribute.ident)] = draw(value)
    return form


def views() -> SearchStrategy[Any]:
    """Return a strategy for the database that a step reads."""
    number = st.integers(0, 5)
    past = [number.map(lambda n, key=key: {Keyword(key): n}) for key in (":as-of", ":since")]
    return st.one_of(st.none(), st.none(), st.none(), *past, st.just({Keyword(":history"): True}))


@st.composite
def cases(draw: DrawFn) -> list[dict[Any, Any]]:
    """Draw the steps of a case."""
    attributes = draw(schemas())
    declared = [a.form(attributes, draw(st.booleans()), draw(st.booleans())) for a in attributes]
    composite = Keyword(":db/tupleAttrs")
    plain, composites = [f for f in declared if composite not in f], [f for f in declared if composite in f]
    enums = [{Keyword(":db/ident"): Keyword(ident)} for ident in IDENTS]
    steps = [_tx(each) for each in ([*plain, *enums], composites) if each]
    steps += [_tx(each) for each in draw(st.lists(st.lists(forms(attributes), min_size=1, max_size=4), min_size=1, max_size=5))]
    for _ in range(draw(st.integers(1, 4))):
        step: dict[Any, Any] = {Keyword(":view"): draw(views())}
        if draw(st.integers(0, 3)):
            query, args = draw(queries(attributes, VALUES))
            step |= {Keyword(":query"): query, Keyword(":args"): args}
        else:
            step |= {
                Keyword(":pull"): draw(patterns(attributes)),
                Keyword(":eid"): draw(entities(attributes).filter(lambda e: e not in TEMPIDS)),
            }
        steps.append({key: value for key, value in step.items() if value is not None})
    return steps


def _tx(forms: list[Any]) -> dict[Any, Any]:
    return {Keyword(":tx"): forms}
