"""A schema is a fold of the facts about it: one by one or all at once, what it knows of a name is what was said of it last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from factstore.schema import attribute as at
from factstore.schema.bootstrap import ENUM_IDS, SCHEMA
from factstore.values.types import Keyword

ENTITIES = range(100, 106)
NAMES = [Keyword(f":a/{letter}") for letter in "abcdef"]
KINDS = st.sampled_from([None, ":db.type/long", ":db.type/ref"])


@st.composite
def transactions(draw):
    """Renaming, and making attributes of entities, with a name taken from whoever has it."""
    present, kinds, log = {}, {}, []
    for t in range(1, draw(st.integers(1, 8)) + 1):
        facts = []
        for e in draw(st.lists(st.sampled_from(ENTITIES), unique=True, max_size=3)):
            name, kind = draw(st.sampled_from(NAMES)), draw(KINDS)
            if name not in present.values():
                facts += [(e, at.IDENT, present[e], t, False)] if e in present else []
                facts.append((e, at.IDENT, name, t, True))
                present[e] = name
            if kind is not None and e not in kinds:
                kinds[e] = kind
                facts.append((e, at.VALUE_TYPE, ENUM_IDS[kind], t, True))
                facts.append((e, at.CARDINALITY, ENUM_IDS[":db.cardinality/one"], t, True))
        log.append(facts)
    return log, present, kinds


@given(transactions())
def test_a_schema_knows_each_name_as_it_was_given_last(story):
    log, present, kinds = story
    one_by_one = SCHEMA
    for facts in log:
        one_by_one = one_by_one.plus(facts)
    meant = {fact[2]: fact[0] for facts in log for fact in facts if fact[1] == at.IDENT and fact[4]}
    attributes = {e for e in kinds if e in present}
    for schema in (one_by_one, SCHEMA.plus(*log)):
        for e in ENTITIES:
            found = schema.find(e)
            assert schema.ident(e) == present.get(e)
            assert (found and (found.id, found.ident, found.value_type.ident)) == ((e, present[e], kinds[e]) if e in attributes else None)
        for name in NAMES:
            found = schema.find(name)
            assert schema.entid(name) == meant.get(name)
            assert (found and found.id) == (meant[name] if meant.get(name) in attributes else None)
        assert [a for a in schema.references if a in ENTITIES] == sorted(e for e in attributes if kinds[e] == ":db.type/ref")
        assert [a.id for a in schema.attributes if a.id in ENTITIES] == sorted(attributes)
